//! Group commit: one put in flight, and all who wait ride in the next.
//!
//! A write leaves its batch in the queue and waits for an answer. The first to come starts a task that
//! commits group after group until the queue is empty: no task idles, and a caller who drops its future
//! neither stops nor halves a batch. What takes long, to ask the state and to upload rows, is done before a batch
//! comes into the queue.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
#[expect(
    clippy::disallowed_types,
    reason = "only tasks of the environment wait for a place, and these are polled"
)]
use tokio::sync::Semaphore;
use tokio::sync::oneshot;

use super::Checked;
use super::group::commit;
use super::link::{is_linked, linked_bytes_min};
use super::pace::Pace;
use super::pending::Pending;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::types::WriteReceipt;

/// How much rides in one entry, about.
const GROUP_BYTES: usize = 8 << 20;
const GROUP_OPERATIONS: usize = 10_000;
/// Batches with filters that are under way at a time: what each comes to is held in memory.
const FILTERS: usize = 4;
/// How often it is looked whether what is under way has ended.
const CLOSE_PAUSE: Duration = Duration::from_millis(5);

/// Batches on their way to the log of one namespace.
#[derive(Debug)]
#[expect(
    clippy::disallowed_types,
    reason = "only tasks of the environment wait for a place, and these are polled"
)]
pub(crate) struct Committer {
    queue: Mutex<Queue>,
    filters: Arc<Semaphore>,
    pace: Mutex<Pace>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Pending>,
    running: bool,
    closed: bool,
    /// Batches that are not in the queue yet.
    preparing: usize,
}

#[expect(
    clippy::disallowed_types,
    reason = "only tasks of the environment wait for a place, and these are polled"
)]
impl Default for Committer {
    fn default() -> Self {
        let filters = Arc::new(Semaphore::new(FILTERS));
        Self { queue: Mutex::default(), filters, pace: Mutex::default() }
    }
}

/// A batch that was let in and is on its way to the queue: the namespace is not closed before it is there.
struct Admitted(Arc<Committer>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.queue().preparing -= 1;
    }
}

impl Committer {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits a batch. It goes on even if this future is dropped.
    pub(crate) fn write<'a>(
        self: &'a Arc<Self>,
        engine: &'a Arc<Engine>,
        batch: Checked,
    ) -> BoxFuture<'a, Result<WriteReceipt>> {
        Box::pin(async move {
            let admitted = self.admit()?;
            let (answer, answered) = oneshot::channel();
            let quick = batch.is_blind() && !is_linked(batch.blind.rows(), linked_bytes_min(engine, false));
            if quick {
                // Nothing in it awaits anything.
                if let Some(pending) = Pending::prepare(engine, batch, answer, None).await {
                    self.enqueue(engine, pending);
                }
                drop(admitted);
            } else {
                let (committer, engine) = (Arc::clone(self), Arc::clone(engine));
                let spawner = engine.context.env.clone();
                spawner.spawn(async move {
                    let filters = !batch.delete_filters.is_empty() || !batch.patch_filters.is_empty();
                    let filters = filters.then(|| Arc::clone(&committer.filters));
                    let permit = match filters {
                        // It is never closed.
                        Some(filters) => filters.acquire_owned().await.ok(),
                        None => None,
                    };
                    if let Some(pending) = Pending::prepare(&engine, batch, answer, permit).await {
                        committer.enqueue(&engine, pending);
                    }
                    drop(admitted);
                });
            }
            // The task answers unless the runtime stops under it.
            answered.await.unwrap_or_else(|_| Err(Error::internal("the runtime stopped during the write")))
        })
    }

    fn admit(self: &Arc<Self>) -> Result<Admitted> {
        let mut queue = self.queue();
        if queue.closed {
            return Err(Error::new(ErrorKind::Closed, "the namespace was closed"));
        }
        queue.preparing += 1;
        Ok(Admitted(Arc::clone(self)))
    }

    fn enqueue(self: &Arc<Self>, engine: &Arc<Engine>, pending: Pending) {
        let start = {
            let mut queue = self.queue();
            queue.waiting.push_back(pending);
            !std::mem::replace(&mut queue.running, true)
        };
        if start {
            let run = Running { committer: Arc::clone(self), done: false };
            let engine = Arc::clone(engine);
            engine.context.env.clone().spawn(async move { run.commit_all(&engine).await });
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.queue().closed
    }

    /// Refuses what comes from now on, and waits for what was let in, however large.
    pub(crate) fn close<'a>(&'a self, engine: &'a Engine) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let under_way = |queue: MutexGuard<'_, Queue>| queue.running || queue.preparing > 0;
            self.queue().closed = true;
            while under_way(self.queue()) {
                engine.context.env.sleep(CLOSE_PAUSE).await;
            }
        })
    }

    /// The batches of the next entry, in the order they came. One whose rows are linked rides alone.
    fn next_group(&self, engine: &Engine) -> Vec<Pending> {
        let mut queue = self.queue();
        let alone = linked_bytes_min(engine, false);
        let (mut group, mut bytes, mut operations) = (Vec::new(), 0usize, 0);
        while let Some(next) = queue.waiting.front() {
            let (weight, count) = next.resolved.weight();
            bytes = bytes.saturating_add(weight);
            operations += count;
            let full = bytes >= GROUP_BYTES.min(alone) || operations > GROUP_OPERATIONS;
            if full && !group.is_empty() {
                break;
            }
            group.extend(queue.waiting.pop_front());
            if full {
                break;
            }
        }
        queue.running = !group.is_empty();
        group
    }
}

/// The task that commits. If it ends before the queue is empty, whoever waits is told.
struct Running {
    committer: Arc<Committer>,
    /// The queue was found empty: what is in it now belongs to a task after this one.
    done: bool,
}

impl Running {
    async fn commit_all(mut self, engine: &Arc<Engine>) {
        loop {
            let env = &engine.context.env;
            let rest = self.committer.pace.lock().unwrap_or_else(PoisonError::into_inner).rest(env);
            if let Some(rest) = rest {
                // Whoever comes meanwhile rides along.
                env.sleep(rest).await;
            }
            let group = self.committer.next_group(engine);
            if group.is_empty() {
                self.done = true;
                return;
            }
            commit(engine, group, &self.committer.pace).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut queue = self.committer.queue();
        queue.running = false;
        queue.waiting.clear();
    }
}
