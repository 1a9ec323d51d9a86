//! The only access to time, randomness and tasks.
//!
//! The library starts no runtime and no thread: tasks and CPU-heavy work go to the caller's runtime through an [`Env`].
//! A simulation passes a [`Runtime`] of its own, so that a seed replays a run.
//!
//! **Invariant:** no other module reads a clock, draws a random number, sleeps or spawns; clippy's `disallowed-methods`
//! enforces it.

mod cost;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use tokio::sync::oneshot;
use uuid::Uuid;

pub(crate) use cost::Cost;

use crate::error::{Error, Result};

/// The services that the library needs from its environment.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::time::{Duration, Instant, UNIX_EPOCH};
/// use elacsym::Database;
/// use elacsym::env::{Env, Runtime};
/// use elacsym::futures::future::BoxFuture;
///
/// /// That of tokio, with the same numbers in every run.
/// #[derive(Debug)]
/// struct Repeated { start: Instant, number: AtomicU64 }
///
/// impl Runtime for Repeated {
///     fn monotonic(&self) -> Duration { self.start.elapsed() }
///     fn wall_ms(&self) -> i64 { UNIX_EPOCH.elapsed().map_or(0, |time| time.as_millis() as i64) }
///     fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> { Box::pin(tokio::time::sleep(duration)) }
///     fn random(&self) -> u64 { self.number.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed) }
///     fn spawn(&self, task: BoxFuture<'static, ()>) { drop(tokio::spawn(task)); }
///     fn blocking(&self, work: Box<dyn FnOnce() + Send>) { drop(tokio::task::spawn_blocking(work)); }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// let env = Env::new(Repeated { start: Instant::now(), number: AtomicU64::new(1) });
/// let db = Database::builder().env(env).open("memory://").await?;
/// # assert!(db.list_namespaces().await?.is_empty());
/// # Ok(()) }
/// ```
pub trait Runtime: fmt::Debug + Send + Sync + 'static {
    /// Time since a fixed point in the past. It never decreases.
    fn monotonic(&self) -> Duration;
    /// Milliseconds since 1970-01-01 UTC.
    fn wall_ms(&self) -> i64;
    /// A future that ends after `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
    /// 64 random bits.
    fn random(&self) -> u64;
    /// Runs a task to completion, whether or not anyone awaits it.
    fn spawn(&self, task: BoxFuture<'static, ()>);
    /// Runs work that takes CPU time or blocks where it does not hold up other tasks.
    fn blocking(&self, work: Box<dyn FnOnce() + Send>);
}

/// A handle to a [`Runtime`].
///
/// ```
/// use elacsym::Database;
/// use elacsym::env::Env;
///
/// let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
/// // The tasks of the database run there, whichever runtime waits for them.
/// let env = runtime.block_on(async { Env::current() })?;
/// let db = runtime.block_on(Database::builder().env(env).open("memory://"))?;
/// assert!(runtime.block_on(db.list_namespaces())?.is_empty());
/// # Ok::<_, elacsym::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Env(Arc<dyn Runtime>);

/// A point in time on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    monotonic: Duration,
    wall_ms: i64,
}

impl Moment {
    pub(crate) fn is_before(self, other: Self) -> bool {
        self.monotonic < other.monotonic
    }
}

impl Env {
    /// An environment over a runtime of the caller.
    pub fn new(runtime: impl Runtime) -> Self {
        Self(Arc::new(runtime))
    }

    /// The tokio runtime this is called on.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) outside a tokio runtime, and on one without timers
    /// (`enable_time`).
    pub fn current() -> Result<Self> {
        let handle = tokio::runtime::Handle::try_current()
            .map_err(|_| Error::invalid("no tokio runtime: call this from within one"))?;
        // tokio has no method to ask for this: without timers, creating a sleep panics. Better here than in a request.
        let timers = AssertUnwindSafe(|| drop(tokio_sleep(&handle, Duration::ZERO)));
        if std::panic::catch_unwind(timers).is_err() {
            let why = "the tokio runtime has no timers: build it with `enable_time` or `enable_all`";
            return Err(Error::invalid(why));
        }
        #[expect(clippy::disallowed_methods, reason = "the one place that may")]
        let start = std::time::Instant::now();
        Ok(Self::new(TokioRuntime { handle, start }))
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment { monotonic: self.0.monotonic(), wall_ms: self.0.wall_ms() }
    }

    /// Time since `start`, by the clock that advanced more.
    ///
    /// A monotonic clock may stop while the machine is suspended (`CLOCK_MONOTONIC` of Linux does), and a wall clock
    /// may be set back. What leans on this is how long a look at the store is trusted: too long a time costs a request,
    /// too short a time could lose a write.
    pub(crate) fn elapsed(&self, start: Moment) -> Duration {
        // invariant: a wall clock that was set back saw no time pass; the monotonic one did.
        let wall = u64::try_from(self.0.wall_ms() - start.wall_ms).unwrap_or(0);
        // invariant: a runtime whose monotonic clock goes back breaks its contract, and the wall clock remains.
        self.0.monotonic().saturating_sub(start.monotonic).max(Duration::from_millis(wall))
    }

    pub(crate) fn wall_ms(&self) -> i64 {
        self.0.wall_ms()
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        self.0.sleep(duration).await;
    }

    /// The future's output, or `None` when `limit` passes first.
    pub(crate) async fn timeout<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
        let mut sleep = std::pin::pin!(self.0.sleep(limit));
        let mut future = std::pin::pin!(future);
        tokio::select! {
            biased;
            output = &mut future => Some(output),
            () = &mut sleep => None,
        }
    }

    /// A random version 4 UUID.
    pub(crate) fn uuid(&self) -> Uuid {
        let bits = (u128::from(self.0.random()) << 64) | u128::from(self.0.random());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }

    /// A random duration from zero to `max`, evenly distributed.
    pub(crate) fn jitter(&self, max: Duration) -> Duration {
        // invariant: u64 holds 584 years of nanoseconds, and no pause is longer.
        let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        // The bias of the remainder is below 2^-20 for pauses of up to hours.
        Duration::from_nanos(self.0.random() % nanos.saturating_add(1))
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(Box::pin(task));
    }

    /// Runs CPU work: inline if it is cheap, otherwise on the blocking pool.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        cost: Cost,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        if cost.is_inline() { Ok(work()) } else { self.blocking(work).await }
    }

    /// Runs `work` on the blocking pool, however short it is: for work of unknown cost, and for system calls
    /// that block. A panic in it is returned as an error.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        self.0.blocking(Box::new(move || {
            // Caught here: a panic would otherwise be lost with the thread's task, and the caller would see a runtime
            // that shut down. Unwind safe, because nothing that `work` owns survives it.
            let outcome = std::panic::catch_unwind(AssertUnwindSafe(work));
            // The receiver is gone if the caller was dropped. The outcome is then of no use.
            let _ = sender.send(outcome);
        }));
        match receiver.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) => Err(Error::internal("a blocking task panicked")),
            Err(_) => Err(Error::internal("the runtime shut down during a blocking task")),
        }
    }
}

#[derive(Debug)]
struct TokioRuntime {
    handle: tokio::runtime::Handle,
    start: std::time::Instant,
}

#[expect(clippy::disallowed_methods, reason = "the one place that may")]
impl Runtime for TokioRuntime {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall_ms(&self) -> i64 {
        system_wall_ms()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio_sleep(&self.handle, duration))
    }

    fn random(&self) -> u64 {
        // A v4 UUID has six fixed bits; folded this way each is covered by a random one.
        let (high, low) = Uuid::new_v4().as_u64_pair();
        high ^ low.rotate_left(32)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.handle.spawn(task);
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.handle.spawn_blocking(work);
    }
}

/// Milliseconds since 1970-01-01 UTC by the clock of the system, for what is made without an [`Env`].
#[expect(clippy::disallowed_methods, reason = "the one place that may")]
pub(crate) fn system_wall_ms() -> i64 {
    // invariant: a clock before 1970 reads as 1970. Timestamps are informative, and `elapsed` has the other clock.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // invariant: i64 holds 292 million years of milliseconds.
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A sleep on the timers of `handle`. Our futures may be polled outside of any runtime, where `tokio::time::sleep`
/// panics.
#[expect(clippy::disallowed_methods, reason = "the one place that may")]
fn tokio_sleep(handle: &tokio::runtime::Handle, duration: Duration) -> tokio::time::Sleep {
    let _within = handle.enter();
    tokio::time::sleep(duration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[tokio::test]
    async fn a_panic_in_blocking_work_is_an_error() -> Result<()> {
        let env = Env::current()?;
        assert_eq!(env.blocking(|| 1 + 1).await?, 2);
        let error = env.blocking(|| -> u32 { panic!("boom") }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        Ok(())
    }

    #[test]
    fn outside_a_runtime_there_is_no_environment() {
        assert_eq!(Env::current().unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_runtime_without_timers_is_refused() {
        let bare = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = bare.block_on(async { Env::current() }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("enable_time"), "{error}");
    }

    #[test]
    fn a_future_may_be_polled_outside_the_runtime() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let env = runtime.block_on(async { Env::current() }).unwrap();
        let mut work = std::pin::pin!(async {
            env.sleep(Duration::from_millis(1)).await;
            env.timeout(Duration::from_mins(1), async { 7 }).await
        });
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let slept = loop {
            match work.as_mut().poll(&mut context) {
                std::task::Poll::Ready(slept) => break slept,
                std::task::Poll::Pending => std::thread::yield_now(),
            }
        };
        assert_eq!(slept, Some(7));
    }
}
