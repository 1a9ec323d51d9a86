//! The maintenance of a namespace in this process: at most one flush and one merge at a time, which may overlap.
//!
//! Both run in tasks of their own, and callers wait for the outcome. So a caller that stops polling holds up nobody, and
//! the work ends when the last caller that waits is dropped. What begins by itself, a flush after a write and merges after a
//! flush, is waited for by a task.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, pending};

use super::background::{run_in_task, spread_of};
use super::collect::{collect, find_garbage, find_replacement};
use super::collect_scheduler::CollectScheduler;
use super::merge_scheduler::MergeScheduler;
use super::stats::measure;
use super::{CollectReport, CompactReport, FlushReport, Garbage, MaintainReport, NamespaceStats, flush};
use crate::engine::{Coalescer, Engine, SharedRun};
use crate::env::{Env, Moment};
use crate::error::{Error, Result};
use crate::retry::RetryPolicy;

/// How many flushes a write waits for when the tail is too long. After that it goes on: the tail is long because of what
/// others have written meanwhile, and they wait too.
const STALL_FLUSHES_MAX: u32 = 3;
/// How often one call for what is due looks whether more is due after what it did.
const MAINTAIN_ROUNDS_MAX: u32 = 4;

/// The maintenance of one namespace in this process.
#[derive(Debug, Default)]
pub(crate) struct MaintenanceScheduler {
    flushes: Coalescer<FlushReport>,
    merges: Arc<MergeScheduler>,
    collections: Arc<CollectScheduler>,
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
        Box::pin(async move {
            let report = self.join_next_flush(engine).await?;
            // Large batches arrive without an index. A process that loads some, flushes and ends leaves none behind.
            if let Err(error) = self.merges.index_segments(engine).await {
                tracing::warn!(namespace = %engine.name, %error, "large batches were flushed but not indexed; the next flush tries again");
            }
            Ok(report)
        })
    }

    /// Merges all segments of the newest manifest, and indexes vectors that are not indexed yet.
    pub(crate) fn compact<'a>(&'a self, engine: &'a Arc<Engine>) -> BoxFuture<'a, Result<CompactReport>> {
        Box::pin(async move {
            let report = self.merges.compact(engine).await?;
            self.collections.start_if_due(engine);
            Ok(report)
        })
    }

    /// Deletes what nothing needs any more.
    pub(crate) fn collect(engine: &Arc<Engine>) -> BoxFuture<'static, Result<CollectReport>> {
        let (env, engine) = (engine.context.env.clone(), Arc::clone(engine));
        run_in_task(env, async move { collect(&engine).await })
    }

    /// What a collection would delete.
    pub(crate) fn garbage(engine: &Arc<Engine>) -> BoxFuture<'static, Result<Vec<Garbage>>> {
        let (env, engine) = (engine.context.env.clone(), Arc::clone(engine));
        run_in_task(env, async move { find_garbage(&engine).await })
    }

    /// Flushes, merges and collects what is due.
    pub(crate) fn maintain<'a>(
        self: &'a Arc<Self>,
        engine: &'a Arc<Engine>,
    ) -> BoxFuture<'a, Result<MaintainReport>> {
        Box::pin(async move {
            let mut report = MaintainReport::default();
            let outcome = self.flush_and_merge(engine, &mut report).await;
            // Last, as a part of what a merge replaced may be old by then. A merge that failed is no reason to leave garbage.
            let collected = Self::collect_due(engine).await;
            outcome?;
            report.collected = collected?;
            Ok(report)
        })
    }

    /// What the namespace consists of, and what is due.
    pub(crate) fn stats(&self, engine: &Arc<Engine>) -> BoxFuture<'static, Result<NamespaceStats>> {
        let (engine, merges) = (Arc::clone(engine), Arc::clone(&self.merges));
        Box::pin(async move { measure(&engine, &merges).await })
    }

    async fn flush_and_merge(
        self: &Arc<Self>,
        engine: &Arc<Engine>,
        report: &mut MaintainReport,
    ) -> Result<()> {
        // Others go on writing during merges, but who writes for ever must not keep a collection from beginning.
        for _ in 0..MAINTAIN_ROUNDS_MAX {
            engine.catch_up_from_newest_manifest().await?;
            let is_flush_due = engine.backlog().calls_for_flush(&engine.context.settings);
            if is_flush_due {
                report.add_flush(self.flush(engine).await?);
            }
            let merged = self.merges.merge_due(engine).await?;
            report.merged.add(merged);
            if !is_flush_due && merged.merged == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn collect_due(engine: &Arc<Engine>) -> Result<CollectReport> {
        let Some(replacement) = find_replacement(engine).await? else { return Ok(CollectReport::default()) };
        // Where nobody writes, no manifest tells the time of the store's clock.
        if !replacement.is_due(&engine.context.settings, engine.store_time_ms().await?) {
            return Ok(CollectReport::default());
        }
        Self::collect(engine).await
    }

    fn join_next_flush(self: &Arc<Self>, engine: &Arc<Engine>) -> SharedRun<FlushReport> {
        let (scheduler, engine) = (Arc::clone(self), Arc::clone(engine));
        let env = engine.context.env.clone();
        let work = async move {
            let began = engine.context.env.moment();
            // Before the flush, after which the tail tells nothing.
            let others_write = engine.state().has_several_writers();
            let outcome = flush(&engine).await;
            scheduler.record_outcome(&engine.context.env, began, outcome.as_ref().err());
            if outcome.is_ok() {
                scheduler.merges.start_if_due(&engine, others_write);
                scheduler.collections.start_if_due(&engine);
            }
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
        spread_of(self.history().took)
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
