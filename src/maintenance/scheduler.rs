//! What maintenance of a namespace is under way in this process: one flush and one compaction at a time, beside each
//! other.
//!
//! Both run in tasks of their own, and whoever wants them done waits for the outcome: a caller that stops polling
//! holds up nobody, and when the last that waits is dropped the work ends.

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

/// How often a write that finds too much in the tail waits for a flush: what others write meanwhile is theirs to
/// wait for.
const RELIEFS: u32 = 3;
/// An automatic flush waits by chance for up to so many times as long as the last one took, where other processes
/// may be about to flush too: then few of them do.
const SPREAD: u32 = 4;
const SPREAD_MIN: Duration = Duration::from_secs(1);
const SPREAD_MAX: Duration = Duration::from_secs(30);

/// The maintenance of one namespace in this process.
#[derive(Debug, Default)]
pub(crate) struct MaintenanceScheduler {
    flushes: Coalescer<FlushReport>,
    compactions: Coalescer<CompactReport>,
    /// An automatic flush waits or is under way.
    automatic: AtomicBool,
    record: Mutex<Record>,
}

/// How flushes went.
#[derive(Default)]
struct Record {
    took: Duration,
    failures: u32,
    /// The last outcome if it was a failure, when, and for how long no other flush begins by itself.
    failed: Option<(Error, Moment, Duration)>,
}

impl MaintenanceScheduler {
    /// Flushes everything that was acknowledged before this call.
    pub(crate) fn flush<'a>(
        self: &'a Arc<Self>,
        engine: &'a Arc<Engine>,
    ) -> BoxFuture<'a, Result<FlushReport>> {
        Box::pin(async move { self.next_flush(engine).await })
    }

    /// Merges all segments of the newest manifest, and indexes what is not.
    pub(crate) fn compact<'a>(&'a self, engine: &'a Arc<Engine>) -> BoxFuture<'a, Result<CompactReport>> {
        Box::pin(async move {
            let engine = Arc::clone(engine);
            let work = || in_task(engine.context.env.clone(), async move { compact(&engine).await });
            self.compactions.join_next_run(pending(), work).await
        })
    }

    fn next_flush(self: &Arc<Self>, engine: &Arc<Engine>) -> SharedRun<FlushReport> {
        let (scheduler, engine) = (Arc::clone(self), Arc::clone(engine));
        let env = engine.context.env.clone();
        let work = async move {
            let began = engine.context.env.moment();
            let outcome = flush(&engine).await;
            scheduler.note(&engine.context.env, began, outcome.as_ref().err());
            outcome
        };
        self.flushes.join_next_run(pending(), || in_task(env, work))
    }

    /// Flushes while `due` says so, with whoever does already: the flush under way counts, whenever it began.
    ///
    /// # Errors
    /// Those of the flush. A moment after one failed, its error.
    pub(crate) fn relieve<'a>(
        self: &'a Arc<Self>,
        engine: &'a Arc<Engine>,
        due: impl Fn() -> bool + Send + 'a,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            for _ in 0..RELIEFS {
                if !due() {
                    return Ok(());
                }
                let run = match self.flushes.current_run() {
                    Some(run) => run,
                    None => match self.rests(&engine.context.env) {
                        Some(error) => {
                            return Err(error.context("the last flush failed, the next waits a little"));
                        }
                        None => self.next_flush(engine),
                    },
                };
                run.await?;
            }
            Ok(())
        })
    }

    /// Starts a flush in a task of its own, if it is due and no such task is there.
    pub(crate) fn flush_if(
        self: &Arc<Self>,
        engine: &Arc<Engine>,
        due: impl Fn(&Engine) -> bool + Send + Sync + 'static,
    ) {
        let env = &engine.context.env;
        if !due(engine) || self.rests(env).is_some() || self.automatic.swap(true, Ordering::SeqCst) {
            return;
        }
        let automatic = Automatic(Arc::clone(self));
        let engine = Arc::clone(engine);
        env.spawn(async move {
            let scheduler = &automatic.0;
            if engine.state().has_several_writers() {
                let env = &engine.context.env;
                env.sleep(env.jitter(scheduler.spread())).await;
                if let Err(error) = engine.refresh_newest_manifest().await {
                    tracing::debug!(namespace = %engine.name, %error, "it is not known whether another has flushed");
                }
            }
            if let Err(error) = scheduler.relieve(&engine, || due(&engine)).await {
                tracing::warn!(namespace = %engine.name, %error, "a flush failed; a later write tries again");
            }
        });
    }

    fn spread(&self) -> Duration {
        self.record().took.saturating_mul(SPREAD).clamp(SPREAD_MIN, SPREAD_MAX)
    }

    /// Why no flush begins by itself, if it is a moment since one failed.
    fn rests(&self, env: &Env) -> Option<Error> {
        let record = self.record();
        let (error, at, rest) = record.failed.as_ref()?;
        (env.elapsed(*at) < *rest).then(|| error.clone())
    }

    fn note(&self, env: &Env, began: Moment, error: Option<&Error>) {
        let mut record = self.record();
        let Some(error) = error else {
            *record = Record { took: env.elapsed(began), ..Record::default() };
            return;
        };
        record.failures = record.failures.saturating_add(1);
        let rest = RetryPolicy::AUTOMATIC_FLUSH.pause_after(record.failures);
        record.failed = Some((error.clone(), env.moment(), rest));
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        // Every change is made whole before the lock is let go.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({} failures)", self.failures)
    }
}

/// Takes the flag back however the task ends.
struct Automatic(Arc<MaintenanceScheduler>);

impl Drop for Automatic {
    fn drop(&mut self) {
        self.0.automatic.store(false, Ordering::SeqCst);
    }
}

/// The outcome of work that runs in a task, and ends when this is dropped.
fn in_task<T: Send + 'static>(
    env: Env,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> BoxFuture<'static, Result<T>> {
    let outcome = async move {
        let (mut answer, answered) = oneshot::channel();
        env.spawn(async move {
            let outcome = tokio::select! {
                biased;
                () = answer.closed() => None,
                outcome = work => Some(outcome),
            };
            if let Some(outcome) = outcome {
                // Whoever waited may be gone by now.
                let _ = answer.send(outcome);
            }
        });
        answered
            .await
            .unwrap_or_else(|_| Err(Error::internal("a maintenance task panicked, or the runtime stopped")))
    };
    outcome.boxed()
}
