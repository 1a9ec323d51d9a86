//! The merges of a namespace in this process: one at a time, for whoever waits for one.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::future::pending;

use super::CompactReport;
use super::background::{run_in_task, spread_of};
use super::compact::{CompactionGoal, CompactionOutcome, compact, is_compaction_due, unindexed_segments};
use super::damaged::DamagedSegments;
use crate::engine::{Coalescer, Engine, SharedRun};
use crate::env::{Env, Moment};
use crate::error::{ErrorKind, Result};
use crate::retry::RetryPolicy;

/// How often automatic merges that fail are tried in a row. After that a later flush starts them again.
const FAILURES_MAX: u32 = 5;

/// The merges of one namespace in this process.
#[derive(Debug, Default)]
pub(super) struct MergeScheduler {
    runs: Coalescer<ServedGoal>,
    /// What those want who wait for a merge that has not begun. A wish ends with whoever has it.
    wishes: Mutex<Vec<Weak<CompactionGoal>>>,
    /// Whether a task merges by itself.
    automatic: AtomicBool,
    history: Mutex<MergeHistory>,
    damaged: DamagedSegments,
}

/// What a merge was for, and how it ended.
#[derive(Clone, Copy, Debug)]
struct ServedGoal {
    goal: CompactionGoal,
    outcome: CompactionOutcome,
}

/// How the last merges went.
#[derive(Default)]
struct MergeHistory {
    /// The duration of the last one that succeeded.
    took: Duration,
    /// Failures since then.
    failures: u32,
    /// When the last one failed, and for how long none begins by itself.
    pause: Option<(Moment, Duration)>,
}

impl MergeScheduler {
    /// Merges everything into as few segments as possible.
    pub(super) async fn compact(self: &Arc<Self>, engine: &Arc<Engine>) -> Result<CompactReport> {
        Ok(match self.merge(engine, CompactionGoal::Whole).await? {
            CompactionOutcome::Merged(report) => report,
            CompactionOutcome::Nothing | CompactionOutcome::Lost => CompactReport::default(),
        })
    }

    /// Indexes the segments of the newest manifest that lack it. Those that are added meanwhile are left to others.
    pub(super) async fn index_segments(self: &Arc<Self>, engine: &Arc<Engine>) -> Result<()> {
        let unindexed = || unindexed_segments(engine, &self.damaged);
        let wanted = unindexed()?;
        while unindexed()?.iter().any(|segment| wanted.contains(segment)) {
            // If it is lost, another process that was quicker has done a part of it.
            if let CompactionOutcome::Nothing = self.merge(engine, CompactionGoal::Index).await? {
                break;
            }
        }
        Ok(())
    }

    /// One merge for a goal, which begins after this call. One that is under way is finished first: two at a time would
    /// take the same segments.
    async fn merge(
        self: &Arc<Self>,
        engine: &Arc<Engine>,
        goal: CompactionGoal,
    ) -> Result<CompactionOutcome> {
        loop {
            // Before the run is joined, which takes all wishes when it begins.
            let wish = Arc::new(goal);
            self.wishes().push(Arc::downgrade(&wish));
            let served = self.join_next_run(engine).await?;
            // A run that began in between has taken the wish, and the one that was joined did not know it.
            if served.goal >= goal {
                return Ok(served.outcome);
            }
        }
    }

    fn join_next_run(self: &Arc<Self>, engine: &Arc<Engine>) -> SharedRun<ServedGoal> {
        let (merges, engine) = (Arc::clone(self), Arc::clone(engine));
        let work = async move {
            let (env, goal) = (engine.context.env.clone(), merges.take_goal());
            run_in_task(env, async move {
                // A merge takes much memory, and one keeps the cores busy: the namespaces of a database take turns. A
                // compaction or a flush that somebody waits for does not queue.
                let _turn = match goal {
                    CompactionGoal::Due => Some(engine.context.take_merge_turn().await?),
                    CompactionGoal::None | CompactionGoal::Index | CompactionGoal::Whole => None,
                };
                let (env, began) = (&engine.context.env, engine.context.env.moment());
                let outcome = compact(&engine, goal, &merges.damaged).await;
                merges.record_outcome(env, began, outcome.as_ref().ok());
                Ok(ServedGoal { goal, outcome: outcome? })
            })
            .await
        };
        self.runs.join_next_run(pending(), || work)
    }

    /// Takes the wishes: the greatest of those who still wait.
    fn take_goal(&self) -> CompactionGoal {
        let wishes = std::mem::take(&mut *self.wishes());
        // invariant: without a wish there is nothing to do.
        wishes.iter().filter_map(Weak::upgrade).map(|wish| *wish).max().unwrap_or_default()
    }

    /// Starts merges in a task of its own, if one is due and there is no such task. `others_write`: other processes may be
    /// about to do the same.
    pub(super) fn start_if_due(self: &Arc<Self>, engine: &Arc<Engine>, others_write: bool) {
        let mut claim = AutomaticClaim { merges: Arc::clone(self), is_held: false };
        if !self.is_due(engine) || !claim.take() {
            return;
        }
        let engine = Arc::clone(engine);
        engine.context.env.clone().spawn(async move {
            let mut failures = 0;
            loop {
                match claim.merges.merge_by_itself(&engine, others_write).await {
                    Ok(()) => failures = 0,
                    Err(error) => {
                        tracing::warn!(namespace = %engine.name, %error, "an automatic merge failed");
                        failures += 1;
                        if error.is_retryable() && failures < FAILURES_MAX {
                            let pause = RetryPolicy::AUTOMATIC_FLUSH.pause_after(failures);
                            engine.context.env.sleep(pause).await;
                            continue;
                        }
                    }
                }
                claim.release();
                // A flush that committed a moment ago saw the claim, and left what is due now to this task.
                if failures > 0 || !claim.merges.is_due(&engine) || !claim.take() {
                    break;
                }
            }
        });
    }

    async fn merge_by_itself(self: &Arc<Self>, engine: &Arc<Engine>, others_write: bool) -> Result<()> {
        if others_write {
            self.yield_to_others(engine).await;
        }
        self.merge_due(engine).await.map(drop)
    }

    /// Merges until no merge is due, or others are quicker again and again. The report is that of all merges.
    ///
    /// # Errors
    /// That of the first merge that found damage, after the others are done; any other error at once.
    pub(super) async fn merge_due(self: &Arc<Self>, engine: &Arc<Engine>) -> Result<CompactReport> {
        let (mut report, mut vain, mut damage) = (CompactReport::default(), 0, None);
        while vain < FAILURES_MAX && self.has_work(engine, CompactionGoal::Due)? {
            match self.merge(engine, CompactionGoal::Due).await {
                Ok(CompactionOutcome::Merged(merge)) => {
                    report.add(merge);
                    vain = 0;
                }
                Ok(CompactionOutcome::Lost) => {
                    self.yield_to_others(engine).await;
                    vain += 1;
                }
                Ok(CompactionOutcome::Nothing) => break,
                // Those that it would have merged are left alone from here on.
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    damage.get_or_insert(error);
                    vain += 1;
                }
                Err(error) => return Err(error),
            }
        }
        damage.map_or(Ok(report), Err)
    }

    /// Waits for a random time, and learns what others did meanwhile.
    async fn yield_to_others(&self, engine: &Engine) {
        let (env, took) = (&engine.context.env, self.history().took);
        env.sleep(env.jitter(spread_of(took))).await;
        if let Err(error) = engine.refresh_newest_manifest().await {
            tracing::debug!(namespace = %engine.name, %error, "could not refresh the manifest before an automatic merge");
        }
    }

    /// Whether a merge for a goal has something to do.
    pub(super) fn has_work(&self, engine: &Engine, goal: CompactionGoal) -> Result<bool> {
        is_compaction_due(engine, goal, &self.damaged)
    }

    fn is_due(&self, engine: &Engine) -> bool {
        let env = &engine.context.env;
        let pauses = self.history().pause.is_some_and(|(when, pause)| env.elapsed(when) < pause);
        // invariant: a state that cannot be read fails the next operation, with its reason.
        let is_due = || self.has_work(engine, CompactionGoal::Due).unwrap_or(false);
        engine.context.settings.auto_compact && !pauses && is_due()
    }

    fn record_outcome(&self, env: &Env, began: Moment, outcome: Option<&CompactionOutcome>) {
        let mut history = self.history();
        match outcome {
            Some(CompactionOutcome::Merged(_)) => {
                *history = MergeHistory { took: env.elapsed(began), ..MergeHistory::default() };
            }
            Some(CompactionOutcome::Nothing | CompactionOutcome::Lost) => {}
            None => {
                history.failures = history.failures.saturating_add(1);
                let pause = RetryPolicy::AUTOMATIC_FLUSH.pause_after(history.failures);
                history.pause = Some((env.moment(), pause));
            }
        }
    }

    fn history(&self) -> MutexGuard<'_, MergeHistory> {
        // Every change is completed before the lock is released, so a panic elsewhere leaves it sound.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wishes(&self) -> MutexGuard<'_, Vec<Weak<CompactionGoal>>> {
        // As above.
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MergeHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MergeHistory({} failures)", self.failures)
    }
}

/// The claim of one task to merge by itself, which ends with the task however that ends.
struct AutomaticClaim {
    merges: Arc<MergeScheduler>,
    is_held: bool,
}

impl AutomaticClaim {
    /// Takes it, unless another task has it.
    fn take(&mut self) -> bool {
        self.is_held = !self.merges.automatic.swap(true, Ordering::SeqCst);
        self.is_held
    }

    fn release(&mut self) {
        if std::mem::take(&mut self.is_held) {
            self.merges.automatic.store(false, Ordering::SeqCst);
        }
    }
}

impl Drop for AutomaticClaim {
    fn drop(&mut self) {
        self.release();
    }
}
