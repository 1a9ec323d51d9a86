//! Futures on the thread of a test, so that what they allocate is counted and what they panic with is caught.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::env::{Env, Runtime};

/// A future over a store in memory is ready after a few polls. One that is not waits for ever.
const POLLS_MAX: usize = 10_000;

#[derive(Debug)]
struct InlineRuntime;

/// An environment that runs everything at once, on the thread of its caller. Its clock stands still.
pub(crate) fn inline_env() -> Env {
    Env::new(InlineRuntime)
}

/// The output of a future that waits for nothing but other futures.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let (mut future, mut context) = (pin!(future), Context::from_waker(Waker::noop()));
    for _ in 0..POLLS_MAX {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
    panic!("a future waits for something that does not come");
}

impl Runtime for InlineRuntime {
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn wall_ms(&self) -> i64 {
        0
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        futures::future::ready(()).boxed()
    }

    fn random(&self) -> u64 {
        0
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        block_on(task);
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}
