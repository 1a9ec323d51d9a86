//! A batch on its way to the log, resolved as of some entry.

use std::sync::Arc;
use std::time::Duration;

use roaring::RoaringBitmap;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Checked;
use super::link::{is_linked, linked_bytes_min, upload_rows};
use super::resolved::Resolved;
use crate::engine::{BaseState, Engine};
use crate::error::{Error, ErrorKind, Result};
use crate::memtable::MemRows;
use crate::segment::Segment;
use crate::types::{Sequence, WriteReceipt};
use crate::view::View;

/// How often the rows of a batch are uploaded: again when as many were touched as an entry has no room for.
const UPLOADS_MAX: u32 = 4;
/// A batch that took longer than this to resolve is likely behind others.
const SLOW: Duration = Duration::from_millis(200);

/// How often it is begun again because a file that it reads was collected.
const STARTS: u32 = 4;

/// A batch on its way to the log.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) batch: Checked,
    pub(super) resolved: Resolved,
    /// The state that it was resolved against, if what it came to there is known.
    at: Option<Sequence>,
    /// The rows of the base of what is resolved, uploaded.
    pub(super) linked: Option<Arc<Segment>>,
    uploads: u32,
    /// Others may have written much since it was resolved.
    pub(super) is_behind: bool,
    answer: oneshot::Sender<Result<WriteReceipt>>,
    /// Its place among those that hold what filters came to.
    permit: Option<OwnedSemaphorePermit>,
}

impl Pending {
    /// Resolves a batch and uploads its rows if they are many: before its turn, so that nobody waits for it. What it
    /// finds is brought up to date when its turn comes. `None` if the batch was answered already.
    pub(super) async fn prepare(
        engine: &Engine,
        batch: Checked,
        answer: oneshot::Sender<Result<WriteReceipt>>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Option<Self> {
        let begun = engine.context.env.moment();
        if let Some(receipt) = batch.token.and_then(|token| engine.find_receipt(token)) {
            let _ = answer.send(Ok(WriteReceipt { replayed: true, ..receipt }));
            return None;
        }
        let resolved = async {
            let (resolved, at) = resolve(engine, &batch).await?;
            let rows = resolved.base().rows();
            let many = is_linked(rows, linked_bytes_min(engine, false));
            let linked = if many { Some(upload_rows(engine, rows).await?) } else { None };
            Ok::<_, Error>((resolved, Some(at), linked))
        };
        let (resolved, at, linked) = match resolved.await {
            Ok(resolved) => resolved,
            Err(error) => {
                let _ = answer.send(Err(error));
                return None;
            }
        };
        let uploads = u32::from(linked.is_some());
        let is_behind = !batch.is_blind() && engine.context.env.elapsed(begun) > SLOW;
        Some(Self { batch, resolved, at, linked, uploads, is_behind, answer, permit })
    }

    /// Tells whoever waits. Nobody does if the caller dropped its future: then it is written all the same.
    pub(super) fn answer(self, outcome: Result<WriteReceipt>) {
        let _ = self.answer.send(outcome);
        drop(self.permit);
    }

    /// Makes it what the batch comes to after `base` and then `before`, the batches that go before it. With
    /// `in_full`, what is known of an earlier state does not count. Tells whether all of the state was asked.
    pub(super) async fn bring(
        &mut self,
        base: &BaseState,
        before: &[MemRows],
        in_full: bool,
    ) -> Result<bool> {
        if self.batch.is_blind() {
            return Ok(false);
        }
        let view = &base.view;
        let on_top = |view: View| before.iter().cloned().fold(view, |view, run| view.with_run(run));
        // Of entries that were flushed since, nobody can tell what they touched.
        let known = self.at.filter(|at| !in_full && base.manifest.flushed_through <= *at);
        let Some(at) = known else {
            self.resolved = Resolved::new(&on_top(view.clone()), &self.batch).await?;
            self.linked = None;
            self.at = Some(view.sequence);
            return Ok(true);
        };
        let newer = view.layers.iter().filter(|layer| layer.last() > at);
        let delta = View { segments: Arc::default(), layers: newer.cloned().collect(), ..view.clone() };
        self.resolved.amend(&on_top(delta), &self.batch).await?;
        self.at = Some(view.sequence);
        Ok(false)
    }

    /// What it comes to is to be found anew.
    pub(super) fn forget(&mut self) {
        self.at = None;
    }

    /// The segment to link, and the rows of it that do not count; none if no row counts.
    pub(super) fn link(&self) -> Option<(&Segment, &RoaringBitmap)> {
        let (segment, dead) = (self.linked.as_deref()?, self.resolved.hidden());
        (dead.len() < u64::from(segment.meta().rows)).then_some((segment, dead))
    }

    /// Uploads the rows if they are too many for an entry, `hurried` or not; those that were uploaded before do not
    /// count, as far as they are still what the batch comes to. Tells whether it did.
    pub(super) async fn upload(&mut self, engine: &Engine, hurried: bool) -> Result<bool> {
        let many = match &self.linked {
            Some(_) => is_linked(self.resolved.overlay().rows(), linked_bytes_min(engine, false)),
            None => is_linked(self.resolved.run()?.rows(), linked_bytes_min(engine, hurried)),
        };
        if !many {
            return Ok(false);
        }
        if self.uploads == UPLOADS_MAX {
            let why =
                "others keep writing the documents of a large batch: nothing was written, try again later";
            return Err(Error::new(ErrorKind::Unavailable, why));
        }
        self.uploads += 1;
        self.resolved.rebase(&engine.schema)?;
        self.linked = Some(upload_rows(engine, self.resolved.base().rows()).await?);
        Ok(true)
    }
}

/// What a batch comes to, and as of which entry.
async fn resolve(engine: &Engine, batch: &Checked) -> Result<(Resolved, Sequence)> {
    let mut starts = 1;
    loop {
        let base = engine.base_state()?;
        let at = base.view.sequence;
        if batch.is_blind() {
            return Ok((Resolved::blind(&engine.schema, batch)?, at));
        }
        match Resolved::new(&base.view, batch).await {
            // Compaction and collection were quicker.
            Err(error) if error.is_missing() && starts < STARTS => {
                engine.explain_missing_file(base.manifest.number, &error).await?;
                starts += 1;
            }
            outcome => return Ok((outcome?, at)),
        }
    }
}
