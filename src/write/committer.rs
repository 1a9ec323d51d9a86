//! Group commit: one put in flight, and all who wait ride in the next.
//!
//! A write leaves its batch in the queue and waits for an answer. The first to come starts a task that
//! commits group after group until the queue is empty: no task idles, and a caller who drops its future
//! neither stops nor halves a batch.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Checked;
use super::resolve::resolve;
use crate::engine::{Appended, Base, Draft, Engine};
use crate::error::{Error, ErrorKind, Result};
use crate::memtable::{Run, batch_bytes};
use crate::query::View;
use crate::segment::{Indexing, Segment, SegmentBuilder, SegmentMeta};
use crate::types::{SegmentId, Sequence, TokenRecord, WriteReceipt};
use crate::wal::{EntryBody, EntryKind};

/// How much rides in one entry, about.
const GROUP_BYTES: usize = 8 << 20;
const GROUP_OPERATIONS: usize = 10_000;

/// Batches on their way to the log of one namespace.
#[derive(Debug, Default)]
pub(crate) struct Committer {
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Pending>,
    running: bool,
    closed: bool,
}

#[derive(Debug)]
struct Pending {
    batch: Checked,
    /// Its rows, if they were uploaded while it waited.
    linked: Option<Linked>,
    answer: oneshot::Sender<Result<WriteReceipt>>,
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
            let (answer, answered) = oneshot::channel();
            let pending = Pending { batch, linked: None, answer };
            if self.is_closed() {
                return Err(closed());
            }
            if pending.batch.is_blind() && pending.batch.bytes >= engine.context.settings.reference_bytes_min
            {
                let (committer, engine) = (Arc::clone(self), Arc::clone(engine));
                let spawner = engine.context.env.clone();
                spawner.spawn(async move { committer.upload_and_enqueue(&engine, pending).await });
            } else {
                self.enqueue(engine, pending);
            }
            // The task answers unless the runtime stops under it.
            answered.await.unwrap_or_else(|_| Err(Error::internal("the runtime stopped during the write")))
        })
    }

    /// A large batch whose rows are the same in every state is uploaded before its turn, beside others: only
    /// its entry waits for the one before it.
    async fn upload_and_enqueue(self: Arc<Self>, engine: &Arc<Engine>, mut pending: Pending) {
        match upload_early(engine, &pending.batch).await {
            Ok(linked) => {
                pending.linked = linked;
                self.enqueue(engine, pending);
            }
            Err(error) => {
                let _ = pending.answer.send(Err(error));
            }
        }
    }

    fn enqueue(self: &Arc<Self>, engine: &Arc<Engine>, pending: Pending) {
        let start = {
            let mut queue = self.queue();
            if queue.closed {
                let _ = pending.answer.send(Err(closed()));
                return;
            }
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

    /// Refuses what comes from now on, and waits for what is under way.
    pub(crate) fn close<'a>(&'a self, engine: &'a Engine) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.queue().closed = true;
            while self.queue().running {
                engine.context.env.sleep(std::time::Duration::from_millis(5)).await;
            }
        })
    }

    /// The batches of the next entry, in the order they came.
    fn next_group(&self, engine: &Engine) -> Vec<Pending> {
        let mut queue = self.queue();
        let alone = engine.context.settings.reference_bytes_min;
        let (mut group, mut bytes, mut operations) = (Vec::new(), 0, 0);
        while let Some(next) = queue.waiting.front() {
            bytes += next.batch.bytes;
            // A batch of filters alone counts as one: what it comes to is not known yet.
            operations += next.batch.operations.max(1);
            let full = bytes > GROUP_BYTES || operations > GROUP_OPERATIONS || next.batch.bytes >= alone;
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
            let group = self.committer.next_group(engine);
            if group.is_empty() {
                self.done = true;
                return;
            }
            commit(engine, group).await;
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

/// A group resolved against one state.
struct Group {
    run: Run,
    receipts: Vec<WriteReceipt>,
    tokens: Vec<TokenRecord>,
}

/// Rows that were uploaded as a segment, for an entry to link.
#[derive(Debug)]
struct Linked {
    meta: SegmentMeta,
    segment: Arc<Segment>,
}

/// What attempts at one group leave to those after them.
#[derive(Default)]
struct Progress {
    linked: Option<Linked>,
    /// How often another was quicker.
    moved: u32,
    /// The log was proved to end here at some time after the group was taken.
    proved: Option<Sequence>,
}

/// Commits a group: resolves it, appends it, and if another was quicker resolves it again.
async fn commit(engine: &Arc<Engine>, mut group: Vec<Pending>) {
    let batch = engine.context.env.uuid();
    let mut progress = Progress::default();
    if let [only] = group.as_mut_slice() {
        progress.linked = only.linked.take();
    }
    loop {
        match attempt(engine, batch, &mut group, &mut progress).await {
            Ok(Some(receipts)) => {
                for (pending, receipt) in group.into_iter().zip(receipts) {
                    // Nobody waits if the caller dropped its future: it is written all the same.
                    let _ = pending.answer.send(Ok(receipt));
                }
                return;
            }
            Ok(None) => {}
            Err(error) => {
                for pending in group {
                    let _ = pending.answer.send(Err(error.clone()));
                }
                return;
            }
        }
    }
}

/// One attempt: the receipts, or `None` if the state moved on.
async fn attempt(
    engine: &Arc<Engine>,
    batch: Uuid,
    group: &mut Vec<Pending>,
    progress: &mut Progress,
) -> Result<Option<Vec<WriteReceipt>>> {
    if progress.moved > 1 {
        // Far behind: reading on is quicker than losing one number after another.
        engine.catch_up().await?;
    }
    let base = engine.base()?;
    let before = group.len();
    replay(&base, group);
    let mut gone = None;
    let resolved = resolve_group(&base.view, group, &mut gone).await?;
    if let Some(gone) = gone {
        // A newer manifest took the place of the one that named a file, or it is lost.
        engine.look_again(base.manifest.number, &gone).await?;
        return Ok(None);
    }
    if group.len() != before {
        // What was uploaded has rows of batches that are answered.
        progress.linked = None;
    }
    if group.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let at = |sequence: Sequence, receipts: Vec<WriteReceipt>| {
        receipts.into_iter().map(|receipt| WriteReceipt { sequence, ..receipt }).collect()
    };
    if resolved.run.is_empty() && resolved.tokens.is_empty() {
        // Nothing to write. That holds if the state it was read from was the newest after the call.
        if progress.proved.is_none_or(|proved| base.view.sequence < proved) {
            engine.catch_up().await?;
            progress.proved = Some(engine.sequence());
        }
        let newest = progress.proved.is_some_and(|proved| base.view.sequence >= proved);
        return Ok(newest.then(|| at(base.view.sequence, resolved.receipts)));
    }
    let sequence = base.view.sequence.next();
    let draft = draft(engine, batch, group, &resolved, sequence, &mut progress.linked).await?;
    match engine.append(&base, &draft).await? {
        Appended::Done(sequence) => Ok(Some(at(sequence, resolved.receipts))),
        Appended::Moved => {
            progress.moved += 1;
            Ok(None)
        }
    }
}

/// Answers the batches whose token is remembered.
fn replay(base: &Base, group: &mut Vec<Pending>) {
    let known = |pending: &Pending| base.receipt(pending.batch.token?).cloned();
    let (mut fresh, mut replays) = (Vec::new(), Vec::new());
    for pending in group.drain(..) {
        match known(&pending) {
            Some(receipt) => replays.push((pending, receipt)),
            None => fresh.push(pending),
        }
    }
    for (pending, receipt) in replays {
        let _ = pending.answer.send(Ok(WriteReceipt { replayed: true, ..receipt }));
    }
    *group = fresh;
}

/// Resolves batch after batch, each against the state with those before it. One that is refused by the state
/// is answered and leaves the group, one that needs a file that is `gone` stays.
async fn resolve_group(view: &View, group: &mut Vec<Pending>, gone: &mut Option<Error>) -> Result<Group> {
    let (mut kept, mut stack) = (Vec::new(), Vec::new());
    let mut done = Group { run: Run::empty(&view.schema)?, receipts: Vec::new(), tokens: Vec::new() };
    for pending in group.drain(..) {
        let token = pending.batch.token;
        let twin = done.tokens.iter().find(|record| Some(record.token) == token);
        if let Some(twin) = twin {
            done.receipts.push(WriteReceipt { replayed: true, ..twin.receipt.clone() });
            kept.push(pending);
            continue;
        }
        let state = if pending.batch.is_blind() {
            view.clone()
        } else {
            stack.iter().cloned().fold(view.clone(), |view, run| view.with(run))
        };
        match resolve(&state, &pending.batch).await {
            Ok(resolved) => {
                Run::stack(&mut stack, resolved.run)?;
                let receipt = WriteReceipt { sequence: view.sequence.next(), ..resolved.receipt };
                let kept_receipt = WriteReceipt { ids: None, ..receipt.clone() };
                done.tokens.extend(token.map(|token| TokenRecord { token, receipt: kept_receipt }));
                done.receipts.push(receipt);
                kept.push(pending);
            }
            Err(error) if error.is_missing() => {
                *gone = Some(error);
                kept.push(pending);
            }
            Err(error) => {
                let _ = pending.answer.send(Err(error));
            }
        }
    }
    *group = kept;
    done.run = Run::unstack(&view.schema, stack)?;
    Ok(done)
}

/// The entry of a group: with its rows, or with a link to a segment of them if they are many.
async fn draft(
    engine: &Arc<Engine>,
    batch: Uuid,
    group: &[Pending],
    resolved: &Group,
    sequence: Sequence,
    linked: &mut Option<Linked>,
) -> Result<Draft> {
    let rows = resolved.run.rows();
    let deletes = resolved.run.deletes().as_ref().clone();
    let tokens = resolved.tokens.clone();
    let kind = EntryKind::Data;
    if !is_linked(engine, rows) {
        let body = EntryBody { rows: rows.clone(), deletes, segments: Vec::new(), tokens };
        return Ok(Draft { kind, batch, body, linked: Vec::new() });
    }
    // Rows that do not depend on the state are the same as in the last attempt.
    let same = group.iter().all(|pending| pending.batch.is_blind());
    let upload = match linked.take().filter(|_| same) {
        Some(upload) => upload,
        None => link(engine, rows, sequence).await?,
    };
    let meta = SegmentMeta { sequences: (sequence, sequence), ..upload.meta.clone() };
    let segment = Arc::clone(&upload.segment);
    *linked = Some(upload);
    let rows = RecordBatch::new_empty(rows.schema());
    let body = EntryBody { rows, deletes, segments: vec![meta], tokens };
    Ok(Draft { kind, batch, body, linked: vec![segment] })
}

/// Uploads the rows of a blind batch, unless it was written before or is small after all.
async fn upload_early(engine: &Arc<Engine>, batch: &Checked) -> Result<Option<Linked>> {
    let base = engine.base()?;
    if batch.token.is_some_and(|token| base.receipt(token).is_some()) {
        return Ok(None);
    }
    let resolved = resolve(&base.view, batch).await?;
    let rows = resolved.run.rows();
    if !is_linked(engine, rows) {
        return Ok(None);
    }
    link(engine, rows, base.view.sequence.next()).await.map(Some)
}

/// Whether rows are so many that an entry links a segment of them.
fn is_linked(engine: &Engine, rows: &RecordBatch) -> bool {
    rows.num_rows() > 0 && batch_bytes(rows) >= engine.context.settings.reference_bytes_min
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the namespace was closed")
}

/// Uploads rows as a segment.
async fn link(engine: &Arc<Engine>, rows: &RecordBatch, sequence: Sequence) -> Result<Linked> {
    let context = &engine.context;
    let id = SegmentId { birth: engine.state().manifest.number, uuid: context.env.uuid() };
    let (schema, rows) = (Arc::clone(&engine.schema), rows.clone());
    let build = move || {
        let mut builder = SegmentBuilder::new(schema, id, (sequence, sequence));
        builder.push(rows)?;
        // It has to be quick: compaction will index it.
        builder.finish(&Indexing::none())
    };
    let files = context.env.blocking(build).await??;
    let meta = files.upload(&context.backend, &engine.keys).await?;
    let segment = engine.open_segment(&meta).await?;
    Ok(Linked { meta, segment })
}

/// Seals the namespace: the last entry of its life.
pub(crate) fn seal(engine: &Arc<Engine>) -> BoxFuture<'_, Result<Sequence>> {
    Box::pin(async move {
        let batch = engine.context.env.uuid();
        loop {
            let base = engine.base()?;
            let rows = RecordBatch::new_empty(engine.schema.arrow());
            let body = EntryBody { rows, deletes: Vec::new(), segments: Vec::new(), tokens: Vec::new() };
            let draft = Draft { kind: EntryKind::Seal, batch, body, linked: Vec::new() };
            if let Appended::Done(sequence) = engine.append(&base, &draft).await? {
                return Ok(sequence);
            }
            engine.catch_up().await?;
        }
    })
}
