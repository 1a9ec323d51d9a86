//! A batch on its way to the log, resolved as of some entry.

use std::time::Duration;

use roaring::RoaringBitmap;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::CheckedBatch;
use super::link::{LinkedRows, linked_bytes_min, should_link, upload_rows};
use super::resolved::ResolvedBatch;
use crate::engine::{BaseState, Engine};
use crate::error::{Error, ErrorKind, Result};
use crate::memtable::MemRows;
use crate::segment::Segment;
use crate::types::{Sequence, WriteReceipt};
use crate::view::View;

/// How often the rows of a batch are uploaded. The first upload is repeated when others have touched more of its
/// documents than an entry has room for; a batch that loses that race four times would likely lose it for ever.
const UPLOADS_MAX: u32 = 4;
/// A batch that took longer than this to resolve reads the log before it is appended: other processes have likely
/// written meanwhile, and one read is quicker than one lost put.
const SLOW_RESOLUTION: Duration = Duration::from_millis(200);

/// How often resolution starts over because compaction and collection removed a file that it reads.
const STARTS_MAX: u32 = 4;

/// A batch on its way to the log.
#[derive(Debug)]
pub(super) struct PendingBatch {
    pub(super) batch: CheckedBatch,
    pub(super) resolved: ResolvedBatch,
    /// The entry as of which it is resolved; `None` if it has to be resolved from scratch.
    resolved_at: Option<Sequence>,
    /// The rows of the base of `resolved`, uploaded.
    linked: Option<LinkedRows>,
    uploads: u32,
    /// Others may have written much since it was resolved.
    pub(super) is_behind: bool,
    /// The answer if the current attempt at its group succeeds, but for the sequence.
    pub(super) receipt: Option<WriteReceipt>,
    answer: oneshot::Sender<Result<WriteReceipt>>,
    /// Bounds how many batches hold what their filters matched. Held until the batch is answered.
    permit: Option<OwnedSemaphorePermit>,
}

impl PendingBatch {
    fn new(
        batch: CheckedBatch,
        (resolved, sequence): (ResolvedBatch, Sequence),
        answer: oneshot::Sender<Result<WriteReceipt>>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            batch,
            resolved,
            resolved_at: Some(sequence),
            linked: None,
            uploads: 0,
            is_behind: false,
            receipt: None,
            answer,
            permit,
        }
    }

    /// Prepares a batch of a few blind writes, without a request. `None` if the batch was answered.
    pub(super) fn prepare_blind(
        engine: &Engine,
        batch: CheckedBatch,
        answer: oneshot::Sender<Result<WriteReceipt>>,
    ) -> Option<Self> {
        // Once more when its turn comes, which decides: another process may send the same batch.
        if let Some(outcome) = engine.find_known_receipt(batch.token).transpose() {
            // The caller may have dropped its future, here and below.
            let _ = answer.send(outcome);
            return None;
        }
        match ResolvedBatch::from_blind(&engine.schema, &batch) {
            Ok(resolved) => Some(Self::new(batch, (resolved, engine.sequence()), answer, None)),
            Err(error) => {
                let _ = answer.send(Err(error));
                None
            }
        }
    }

    /// Resolves a batch and uploads its rows if they are many. This happens before its turn, beside other batches, so
    /// that no batch waits for it. When its turn comes it is brought up to date. `None` if the batch was answered.
    pub(super) async fn prepare(
        engine: &Engine,
        batch: CheckedBatch,
        answer: oneshot::Sender<Result<WriteReceipt>>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Option<Self> {
        let begun = engine.context.env.moment();
        if let Some(outcome) = engine.find_receipt(batch.token).await.transpose() {
            let _ = answer.send(outcome);
            return None;
        }
        let prepared = async {
            let (resolved, sequence) = resolve_newest(engine, &batch).await?;
            let rows = resolved.base().rows();
            let should_link = should_link(rows, linked_bytes_min(engine, false));
            let linked = if should_link { Some(upload_rows(engine, rows).await?) } else { None };
            Ok::<_, Error>((resolved, sequence, linked))
        };
        let (resolved, sequence, linked) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => {
                let _ = answer.send(Err(error));
                return None;
            }
        };
        let is_behind = !batch.is_blind() && engine.context.env.elapsed(begun) > SLOW_RESOLUTION;
        Some(Self {
            uploads: u32::from(linked.is_some()),
            linked,
            is_behind,
            ..Self::new(batch, (resolved, sequence), answer, permit)
        })
    }

    /// Answers the caller with an outcome other than the success of its group.
    pub(super) fn answer(self, outcome: Result<WriteReceipt>) {
        // Without a receiver the caller dropped its future. The batch is committed all the same.
        let _ = self.answer.send(outcome);
        drop(self.permit);
    }

    /// Answers the caller that its batch is in the log, at `sequence`.
    pub(super) fn acknowledge(mut self, sequence: Sequence) {
        let receipt = self.receipt.take().map(|receipt| WriteReceipt { sequence, ..receipt });
        self.answer(receipt.ok_or_else(|| Error::internal("a batch was committed without a receipt")));
    }

    /// Brings it up to the state of `base` with `before` on top, the batches that precede it in its group. Returns whether
    /// the whole state was read, which may have taken long.
    pub(super) async fn update(&mut self, base: &BaseState, before: &[MemRows]) -> Result<bool> {
        if self.batch.is_blind() {
            return Ok(false);
        }
        let view = &base.view;
        let on_top = |view: View| before.iter().cloned().fold(view, |view, run| view.with_run(run));
        // Once entries are flushed their layers are gone, and nothing tells which documents they touched.
        let resolved_at = self.resolved_at.filter(|at| base.manifest.flushed_through <= *at);
        let Some(resolved_at) = resolved_at else {
            self.resolved = ResolvedBatch::new(&on_top(view.clone()), &self.batch).await?;
            self.linked = None;
            self.resolved_at = Some(view.sequence);
            return Ok(true);
        };
        // A layer may merge entries from before and after `resolved_at`. Resolving a document once more is harmless.
        let newer = view.layers.iter().filter(|layer| layer.last_sequence() > resolved_at);
        let delta = view.of_layers(newer.cloned().collect());
        self.resolved.update(&on_top(delta), &self.batch).await?;
        self.resolved_at = Some(view.sequence);
        Ok(false)
    }

    /// Discards the resolution: the next update starts from scratch.
    pub(super) fn discard_resolution(&mut self) {
        self.resolved_at = None;
        self.receipt = None;
    }

    /// Forgets the upload of its rows if collection may have taken them, as after a long sleep: they are uploaded again,
    /// or become part of the entry.
    pub(super) async fn drop_stale_link(&mut self, engine: &Engine) -> Result<()> {
        if let Some(linked) = &self.linked
            && !linked.may_be_linked(engine).await?
        {
            self.linked = None;
        }
        Ok(())
    }

    /// The segment to link, and its dead rows; `None` if there is none or all its rows are dead.
    pub(super) fn link(&self) -> Option<(&Segment, &RoaringBitmap)> {
        let (segment, dead) = (self.linked.as_ref()?.segment.as_ref(), self.resolved.hidden());
        (dead.len() < u64::from(segment.meta().rows)).then_some((segment, dead))
    }

    /// What its entry holds besides the segment that it links.
    pub(super) fn rows_of_entry(&self, engine: &Engine) -> Result<MemRows> {
        match &self.linked {
            Some(_) => self.resolved.to_rows_beside_base(&engine.schema),
            None => self.resolved.to_rows(),
        }
    }

    /// Uploads the rows that are not uploaded yet, or not any more as they are, if these are too many for an entry,
    /// `hurried` or not. Returns whether it did.
    pub(super) async fn upload_if_large(&mut self, engine: &Engine, hurried: bool) -> Result<bool> {
        let should_link = match &self.linked {
            Some(_) => should_link(self.resolved.overlay().rows(), linked_bytes_min(engine, false)),
            None => should_link(self.resolved.to_rows()?.rows(), linked_bytes_min(engine, hurried)),
        };
        if !should_link {
            return Ok(false);
        }
        if self.uploads == UPLOADS_MAX {
            let why =
                "others keep writing the documents of a large batch: nothing was written, try again later";
            return Err(Error::new(ErrorKind::Unavailable, why));
        }
        self.uploads += 1;
        self.resolved.merge_overlay(&engine.schema)?;
        self.linked = Some(upload_rows(engine, self.resolved.base().rows()).await?);
        Ok(true)
    }
}

/// Resolves a batch against the newest known state; also returns the entry as of which it is resolved.
async fn resolve_newest(engine: &Engine, batch: &CheckedBatch) -> Result<(ResolvedBatch, Sequence)> {
    let mut starts = 1;
    loop {
        let base = engine.base_state()?;
        let sequence = base.view.sequence;
        if batch.is_blind() {
            return Ok((ResolvedBatch::from_blind(&engine.schema, batch)?, sequence));
        }
        match ResolvedBatch::new(&base.view, batch).await {
            // Compaction and collection were quicker.
            Err(error) if error.is_missing() && starts < STARTS_MAX => {
                engine.explain_missing_file(base.manifest.number, &error).await?;
                starts += 1;
            }
            outcome => return Ok((outcome?, sequence)),
        }
    }
}
