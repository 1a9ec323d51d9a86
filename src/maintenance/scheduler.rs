//! The maintenance of a namespace in this process: at most one flush and one compaction at a time, which may overlap.
//!
//! Both run in tasks of their own, and callers wait for the outcome. So a caller that stops polling holds up nobody, and
//! the work ends when the last caller that waits is dropped.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use tokio::sync::oneshot;

use super::{CompactReport, FlushReport, compact, flush};
use crate::engine::{Coalescer, Engine, SharedRun};
use crate::env::{Env, Moment};
use crate::error::{Error, Result};
use crate::retry::RetryPolicy;

/// How many flushes a write waits for when the tail is too long. After that it goes on: the tail is long because of what
/// others have written meanwhile, and they wait too.
const STALL_FLUSHES_MAX: u32 = 3;
/// Where several processes write, all see the tail grow beyond the limit at the same time, and all but one flush would be
/// in vain. So an automatic flush is delayed at random, by up to this many times the duration of the last flush: with
/// this spread the first is mostly done before the second begins.
const SPREAD_FACTOR: u32 = 4;
/// Not less: the duration of the first flush is not known, and a list has to see the manifest of another.
const SPREAD_MIN: Duration = Duration::from_secs(1);
/// Not more: the tail goes on growing meanwhile, and each entry of it makes reads slower.
const SPREAD_MAX: Duration = Duration::from_secs(30);

/// The maintenance of one namespace in this process.
#[derive(Debug, Default)]
pub(crate) struct MaintenanceScheduler {
    flushes: Coalescer<FlushReport>,
    compactions: Coalescer<CompactReport>,
    /// Whether an automatic flush is delayed or under way.
    automatic: AtomicBool,
    history: Mutex<FlushHistory>,
}

/// How the last flushes went.
#[derive(Default)]
struct FlushHistory {
    /// The duration of the last flush that succeeded.
    took: Duration,
    /// Failures since then.
    failures: u32,
    last_failure: Option<FlushFailure>,
}

/// A flush that failed, and was the last.
struct FlushFailure {
    error: Error,
    when: Moment,
    /// For how long no automatic flush begins.
    pause: Duration,
}

impl MaintenanceScheduler {
    /// Flushes everything that was acknowledged before this call.
    pub(crate) fn flush<'a>(
        self: &'a Arc<Self>,
        engine: &'a Arc<Engine>,
    ) -> BoxFuture<'a, Result<FlushReport>> {
        Box::pin(async move { self.join_next_flush(engine).await })
    }

    /// Merges all segments of the newest manifest, and indexes vectors that are not indexed yet.
    pub(crate) fn compact<'a>(&'a self, engine: &'a Arc<Engine>) -> BoxFuture<'a, Result<CompactReport>> {
        Box::pin(async move {
            let engine = Arc::clone(engine);
            let work = || run_in_task(engine.context.env.clone(), async move { compact(&engine).await });
            self.compactions.join_next_run(pending(), work).await
        })
    }

    fn join_next_flush(self: &Arc<Self>, engine: &Arc<Engine>) -> SharedRun<FlushReport> {
        let (scheduler, engine) = (Arc::clone(self), Arc::clone(engine));
        let env = engine.context.env.clone();
        let work = async move {
            let began = engine.context.env.moment();
            let outcome = flush(&engine).await;
            scheduler.record_outcome(&engine.context.env, began, outcome.as_ref().err());
            outcome
        };
        self.flushes.join_next_run(pending(), || run_in_task(env, work))
    }

    /// Flushes as long as `is_due`, a few times at most. A flush that is under way already counts, whenever it began: the
    /// caller wants a shorter tail, not its own entries flushed.
    ///
    /// # Errors
    /// Those of the flush; while automatic flushes pause after a failure, that of the last flush.
    pub(crate) fn flush_while<'a>(
        self: &'a Arc<Self>,
        engine: &'a Arc<Engine>,
        is_due: impl Fn() -> bool + Send + 'a,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            for _ in 0..STALL_FLUSHES_MAX {
                if !is_due() {
                    return Ok(());
                }
                let run = match self.flushes.current_run() {
                    Some(run) => run,
                    // Without the pause, every write to a store that is down would start a flush that fails.
                    None => match self.recent_failure(&engine.context.env) {
                        Some(error) => {
                            return Err(error.context("the last flush failed, the next waits a little"));
                        }
                        None => self.join_next_flush(engine),
                    },
                };
                run.await?;
            }
            Ok(())
        })
    }

    /// Starts an automatic flush in a task of its own, if it is due and there is no such task.
    pub(crate) fn start_flush_if(
        self: &Arc<Self>,
        engine: &Arc<Engine>,
        is_due: impl Fn(&Engine) -> bool + Send + Sync + 'static,
    ) {
        let env = &engine.context.env;
        if !is_due(engine)
            || self.recent_failure(env).is_some()
            || self.automatic.swap(true, Ordering::SeqCst)
        {
            return;
        }
        let automatic = AutomaticFlushGuard(Arc::clone(self));
        let engine = Arc::clone(engine);
        env.spawn(async move {
            let scheduler = &automatic.0;
            if engine.state().has_several_writers() {
                let env = &engine.context.env;
                env.sleep(env.jitter(scheduler.flush_spread())).await;
                // Another process may have flushed meanwhile: then it is not due any more.
                if let Err(error) = engine.refresh_newest_manifest().await {
                    tracing::debug!(namespace = %engine.name, %error, "could not refresh the manifest before an automatic flush");
                }
            }
            if let Err(error) = scheduler.flush_while(&engine, || is_due(&engine)).await {
                tracing::warn!(namespace = %engine.name, %error, "an automatic flush failed; a later write starts the next");
            }
        });
    }

    fn flush_spread(&self) -> Duration {
        self.history().took.saturating_mul(SPREAD_FACTOR).clamp(SPREAD_MIN, SPREAD_MAX)
    }

    /// The error of the last flush, while automatic flushes pause because of it.
    fn recent_failure(&self, env: &Env) -> Option<Error> {
        let history = self.history();
        let failure = history.last_failure.as_ref()?;
        (env.elapsed(failure.when) < failure.pause).then(|| failure.error.clone())
    }

    fn record_outcome(&self, env: &Env, began: Moment, error: Option<&Error>) {
        let mut history = self.history();
        let Some(error) = error else {
            *history = FlushHistory { took: env.elapsed(began), ..FlushHistory::default() };
            return;
        };
        history.failures = history.failures.saturating_add(1);
        let pause = RetryPolicy::AUTOMATIC_FLUSH.pause_after(history.failures);
        history.last_failure = Some(FlushFailure { error: error.clone(), when: env.moment(), pause });
    }

    fn history(&self) -> MutexGuard<'_, FlushHistory> {
        // Every change is completed before the lock is released, so a panic elsewhere leaves it sound.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for FlushHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FlushHistory({} failures)", self.failures)
    }
}

/// Clears the flag however the task ends.
struct AutomaticFlushGuard(Arc<MaintenanceScheduler>);

impl Drop for AutomaticFlushGuard {
    fn drop(&mut self) {
        self.0.automatic.store(false, Ordering::SeqCst);
    }
}

/// Runs work in a task of its own. The future is its outcome; the work ends when that is dropped.
fn run_in_task<T: Send + 'static>(
    env: Env,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> BoxFuture<'static, Result<T>> {
    let outcome = async move {
        let (mut answer, answered) = oneshot::channel();
        env.spawn(async move {
            let outcome = tokio::select! {
                // Checked before each poll of the work, so that it ends at its next await.
                biased;
                () = answer.closed() => None,
                outcome = work => Some(outcome),
            };
            if let Some(outcome) = outcome {
                // The caller may be gone by now.
                let _ = answer.send(outcome);
            }
        });
        answered
            .await
            .unwrap_or_else(|_| Err(Error::internal("a maintenance task panicked, or the runtime stopped")))
    };
    outcome.boxed()
}
