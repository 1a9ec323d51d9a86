//! Group commit: one put is in flight, and all batches that come meanwhile share the next entry.
//!
//! A write leaves its batch in the queue and waits for an answer. The first one starts a task that commits group after
//! group until the queue is empty, so no task idles, and a caller that drops its future neither stops nor halves a batch.
//! What takes long, reading the state and uploading rows, is done before a batch enters the queue.
//!
//! There is never more than one put in flight: entry n+2 could not be sent before the outcome of n+1 is known, or a gap
//! might stay in the log. Throughput comes from the size of groups.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
#[expect(
    clippy::disallowed_types,
    reason = "only tasks of the environment wait for a permit, and these are always polled"
)]
use tokio::sync::Semaphore;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::CheckedBatch;
use super::group::{commit_group, group_bytes_max};
use super::link::{linked_bytes_min, should_link};
use super::pace::CommitPacer;
use super::pending::PendingBatch;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::types::WriteReceipt;

/// A group is closed when it reaches this number of operations: each is resolved while the batches behind it wait.
const GROUP_OPERATIONS: usize = 10_000;
/// How many batches with filters are under way at a time. Each holds what its filters matched in memory, up to
/// [`Settings::batch_bytes_max`](crate::settings::Settings::batch_bytes_max), until it is committed.
const FILTER_BATCHES_MAX: usize = 4;
/// How often `close` checks whether writes are still under way. Polled, not notified: it happens once in the life of a
/// handle, and a simulation replays sleeps.
const CLOSE_PAUSE: Duration = Duration::from_millis(5);

/// Batches on their way to the log of one namespace.
#[derive(Debug)]
#[expect(
    clippy::disallowed_types,
    reason = "only tasks of the environment wait for a permit, and these are always polled"
)]
pub(crate) struct Committer {
    queue: Mutex<Queue>,
    filter_permits: Arc<Semaphore>,
    pacer: CommitPacer,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<PendingBatch>,
    /// Whether a task commits.
    running: bool,
    closed: bool,
    /// The number of batches that were admitted and are not in the queue yet.
    preparing: usize,
}

#[expect(
    clippy::disallowed_types,
    reason = "only tasks of the environment wait for a permit, and these are always polled"
)]
impl Default for Committer {
    fn default() -> Self {
        let filter_permits = Arc::new(Semaphore::new(FILTER_BATCHES_MAX));
        Self { queue: Mutex::default(), filter_permits, pacer: CommitPacer::default() }
    }
}

/// Counts a batch as preparing until it is dropped: `close` waits for it.
struct PreparingGuard(Arc<Committer>);

impl Drop for PreparingGuard {
    fn drop(&mut self) {
        self.0.queue().preparing -= 1;
    }
}

impl Committer {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Each change leaves the queue sound, so a panic elsewhere does not matter.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits a batch. The commit continues even if this future is dropped.
    pub(crate) fn write<'a>(
        self: &'a Arc<Self>,
        engine: &'a Arc<Engine>,
        batch: CheckedBatch,
    ) -> BoxFuture<'a, Result<WriteReceipt>> {
        Box::pin(async move {
            let preparing = self.admit()?;
            let (answer, answered) = oneshot::channel();
            let is_quick = batch.is_blind()
                && !should_link(batch.blind.rows(), linked_bytes_min(engine, false))
                && (batch.token.is_none() || engine.has_token_list());
            if is_quick {
                // Nothing to read and nothing to upload: preparing it does not wait, so it needs no task to survive a
                // dropped future.
                if let Some(pending) = PendingBatch::prepare_blind(engine, batch, answer) {
                    self.enqueue(engine, pending);
                }
                drop(preparing);
            } else {
                let (committer, engine) = (Arc::clone(self), Arc::clone(engine));
                let env = engine.context.env.clone();
                env.spawn(async move {
                    let permit = committer.acquire_filter_permit(&batch).await;
                    if let Some(pending) = PendingBatch::prepare(&engine, batch, answer, permit).await {
                        committer.enqueue(&engine, pending);
                    }
                    // Only now: `close` must see the batch either as preparing or in the queue.
                    drop(preparing);
                });
            }
            // The task answers unless the runtime stops under it.
            answered.await.unwrap_or_else(|_| Err(Error::internal("the runtime stopped during the write")))
        })
    }

    fn admit(self: &Arc<Self>) -> Result<PreparingGuard> {
        let mut queue = self.queue();
        if queue.closed {
            return Err(Error::new(ErrorKind::Closed, "the namespace was closed"));
        }
        queue.preparing += 1;
        Ok(PreparingGuard(Arc::clone(self)))
    }

    /// Waits for a permit if the batch has filters.
    async fn acquire_filter_permit(&self, batch: &CheckedBatch) -> Option<OwnedSemaphorePermit> {
        if batch.delete_filters.is_empty() && batch.patch_filters.is_empty() {
            return None;
        }
        // invariant: the semaphore is never closed, and without a permit only memory is bounded less.
        Arc::clone(&self.filter_permits).acquire_owned().await.ok()
    }

    fn enqueue(self: &Arc<Self>, engine: &Arc<Engine>, pending: PendingBatch) {
        // Under one lock: the task that runs finds the queue empty and clears `running` under it, too. So a batch is
        // either seen by that task or starts another.
        let starts_task = {
            let mut queue = self.queue();
            queue.waiting.push_back(pending);
            !std::mem::replace(&mut queue.running, true)
        };
        if starts_task {
            let task = CommitTask { committer: Arc::clone(self), done: false };
            let engine = Arc::clone(engine);
            engine.context.env.clone().spawn(async move { task.commit_groups(&engine).await });
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.queue().closed
    }

    /// Refuses batches from now on, and waits for those that were admitted, however large.
    pub(crate) fn close<'a>(&'a self, engine: &'a Engine) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let is_busy = |queue: MutexGuard<'_, Queue>| queue.running || queue.preparing > 0;
            self.queue().closed = true;
            while is_busy(self.queue()) {
                engine.context.env.sleep(CLOSE_PAUSE).await;
            }
        })
    }

    /// Takes the batches of the next entry from the queue, in the order they came. A batch whose rows are linked is
    /// alone in its group.
    fn take_group(&self, engine: &Engine) -> Vec<PendingBatch> {
        let mut queue = self.queue();
        let bytes_max = group_bytes_max(engine);
        let (mut group, mut bytes, mut operations) = (Vec::new(), 0usize, 0);
        while let Some(next) = queue.waiting.front() {
            let (weight, count) = next.resolved.weight();
            bytes = bytes.saturating_add(weight);
            operations += count;
            let is_full = bytes >= bytes_max || operations > GROUP_OPERATIONS;
            // One that does not fit waits for the next group, but a group has at least one.
            if is_full && !group.is_empty() {
                break;
            }
            group.extend(queue.waiting.pop_front());
            if is_full {
                break;
            }
        }
        queue.running = !group.is_empty();
        group
    }
}

/// The task that commits. If it ends before the queue is empty, the batches in it are dropped, which answers their
/// callers.
struct CommitTask {
    committer: Arc<Committer>,
    /// The queue was found empty: what is in it now belongs to a task after this one.
    done: bool,
}

impl CommitTask {
    async fn commit_groups(mut self, engine: &Arc<Engine>) {
        loop {
            let env = &engine.context.env;
            if let Some(pause) = self.committer.pacer.take_pause(env) {
                // Before the group is taken: batches that come during the pause join it.
                env.sleep(pause).await;
            }
            let group = self.committer.take_group(engine);
            if group.is_empty() {
                self.done = true;
                return;
            }
            commit_group(engine, group, &self.committer.pacer).await;
        }
    }
}

impl Drop for CommitTask {
    fn drop(&mut self) {
        // A panic, or the runtime stopped. Without this the next batch would wait for a task that is gone.
        if self.done {
            return;
        }
        let mut queue = self.committer.queue();
        queue.running = false;
        queue.waiting.clear();
    }
}
