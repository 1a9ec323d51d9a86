//! The caller's runtime on a clock that tests stop: tokio's, while it is paused.

#![expect(clippy::disallowed_methods, reason = "a runtime is made of them")]

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use elacsym::env::Runtime;
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::rng::Rng;

/// Tokio as it is, but for the clock and for chance, which a seed determines.
#[derive(Debug)]
pub struct Paused {
    start: Instant,
    rng: Mutex<Rng>,
}

impl Paused {
    pub fn new(seed: u64) -> Self {
        Self { start: Instant::now(), rng: Mutex::new(Rng::new(seed)) }
    }
}

impl Runtime for Paused {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall_ms(&self) -> i64 {
        1_750_000_000_000 + i64::try_from(self.start.elapsed().as_millis()).expect("a short test")
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn random(&self) -> u64 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).bits()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        tokio::task::spawn_blocking(work);
    }
}
