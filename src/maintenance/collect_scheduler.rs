//! Collections that begin by themselves: now and then after a commit, where the store shows that nobody collected lately.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::collect::{collect, find_replacement};
use crate::engine::Engine;
use crate::env::Moment;
use crate::error::Result;
use crate::retry::RetryPolicy;

/// How long after a commit a look at the manifests waits at least. Programs that end right after a flush are spared it, and
/// so is whoever waits for the flush.
const DELAY_MIN: Duration = Duration::from_secs(10);
/// What is added at random: processes that write one namespace do not look at the same time, and the first leaves nothing to
/// the others.
const DELAY_SPREAD: Duration = Duration::from_secs(20);

/// The automatic collections of one namespace in this process.
#[derive(Debug, Default)]
pub(super) struct CollectScheduler {
    /// Whether a look is delayed, or a collection under way.
    is_running: AtomicBool,
    history: Mutex<CollectHistory>,
}

/// When it was looked last, and how it went.
#[derive(Debug, Default)]
struct CollectHistory {
    last: Option<Moment>,
    /// Failures in a row, and for how long none begins by itself since the last.
    failures: u32,
    pause: Duration,
}

/// Clears the flag however the task ends.
struct RunningGuard(Arc<CollectScheduler>);

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.0.is_running.store(false, Ordering::SeqCst);
    }
}

impl CollectScheduler {
    /// Starts a task that collects if that is overdue, unless one was started a short while ago. To be called after a
    /// commit, which may have made garbage.
    pub(super) fn start_if_due(self: &Arc<Self>, engine: &Arc<Engine>) {
        if !self.is_due(engine) || self.is_running.swap(true, Ordering::SeqCst) {
            return;
        }
        let running = RunningGuard(Arc::clone(self));
        let env = engine.context.env.clone();
        // A namespace that is dropped meanwhile is not kept in memory by its garbage.
        let engine = Arc::downgrade(engine);
        env.clone().spawn(async move {
            env.sleep(DELAY_MIN + env.jitter(DELAY_SPREAD)).await;
            let Some(engine) = engine.upgrade() else { return };
            let outcome = collect_if_overdue(&engine).await;
            if let Err(error) = &outcome {
                tracing::warn!(namespace = %engine.name, %error, "an automatic collection failed; a later commit starts the next");
            }
            running.0.record_outcome(&engine, outcome.is_ok());
        });
    }

    fn is_due(&self, engine: &Engine) -> bool {
        let (env, settings) = (&engine.context.env, &engine.context.settings);
        let history = self.history();
        let pause = settings.trust_period().max(history.pause);
        settings.auto_collect && history.last.is_none_or(|last| env.elapsed(last) >= pause)
    }

    fn record_outcome(&self, engine: &Engine, succeeded: bool) {
        let mut history = self.history();
        history.last = Some(engine.context.env.moment());
        history.failures = if succeeded { 0 } else { history.failures.saturating_add(1) };
        history.pause = match history.failures {
            0 => Duration::ZERO,
            failures => RetryPolicy::AUTOMATIC_COLLECTION.pause_after(failures),
        };
    }

    fn history(&self) -> MutexGuard<'_, CollectHistory> {
        // Every change is completed before the lock is released, so a panic elsewhere leaves it sound.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn collect_if_overdue(engine: &Arc<Engine>) -> Result<()> {
    let replacement = find_replacement(engine).await?;
    if replacement.is_some_and(|replacement| replacement.is_overdue(&engine.context.settings)) {
        collect(engine).await?;
    }
    Ok(())
}
