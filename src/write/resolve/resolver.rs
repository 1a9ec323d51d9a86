//! A batch that is being resolved: its effects so far, and how much of the limits they use.

use std::ops::Range;

use arrow::array::RecordBatch;

use super::{Resolution, ResolveScope};
use crate::codec::u64_of;
use crate::error::{Error, Result};
use crate::memtable::{MemRows, batch_bytes};
use crate::types::Document;
use crate::view::{RowAddr, View};
use crate::write::effects::Effects;

/// Bytes of documents to patch that are read at a time. Each is in memory several times while it is patched: as read, as
/// a document, and encoded again.
const PATCH_PIECE_BYTES: usize = 32 << 20;

/// A batch that is being resolved, step by step.
pub(super) struct Resolver<'a> {
    /// The state with the effects of the steps so far on top.
    pub(super) view: View,
    runs: Vec<MemRows>,
    pub(super) effects: Effects,
    /// Whether writes by filter may stop at a limit instead of failing.
    pub(super) partial: bool,
    pub(super) scope: ResolveScope<'a>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(view: &View, partial: bool, scope: ResolveScope<'a>) -> Self {
        Self { view: view.clone(), runs: Vec::new(), effects: Effects::default(), partial, scope }
    }

    /// Makes the effect of a step visible to the steps after it.
    pub(super) fn apply_step(&mut self, run: MemRows) {
        if !run.is_empty() {
            self.view = self.view.with_run(run.clone());
            self.runs.push(run);
        }
    }

    pub(super) fn finish(self) -> Result<Resolution> {
        let mut stack = Vec::new();
        for run in self.runs {
            MemRows::push_on_stack(&mut stack, run)?;
        }
        Ok(Resolution { run: MemRows::merge_stack(&self.view.schema, stack)?, effects: self.effects })
    }

    /// Ranges of addresses whose documents are read and patched together.
    pub(super) fn split_into_pieces(&self, addrs: &[RowAddr]) -> Result<Vec<Range<usize>>> {
        // An eighth of a small limit, so that the first piece does not pass it already: a batch that allows a part is
        // filled piece by piece.
        let bytes_max = u64_of(PATCH_PIECE_BYTES.min(self.view.settings.batch_bytes_max / 8));
        self.view.split_by_bytes(addrs, &self.view.all_columns(), bytes_max)
    }

    /// The whole documents at some addresses, in their order.
    pub(super) async fn fetch_documents(&self, addrs: &[RowAddr]) -> Result<Vec<Document>> {
        let batch = self.view.fetch_documents(addrs, &self.view.all_columns()).await?;
        self.view.schema.documents(&batch)
    }

    /// Counts the rows of patched documents towards the size limit of a batch: a patch of a few bytes may rewrite
    /// gigabytes. `false`: they do not fit and are left out, as `partial` allows.
    pub(super) fn reserve_row_bytes(&mut self, rows: &RecordBatch, partial: bool) -> Result<bool> {
        let bytes_max = self.view.settings.batch_bytes_max;
        let is_first = self.scope.row_bytes == 0;
        self.scope.row_bytes = self.scope.row_bytes.saturating_add(batch_bytes(rows));
        if self.scope.row_bytes <= bytes_max {
            return Ok(true);
        }
        if is_first {
            // The first piece is a single document then. A caller who repeats a partial batch until nothing remains
            // would never get past it.
            return Err(Error::limit(format!("a patched document of more than {bytes_max} bytes")));
        }
        let what = "patches of documents that take more bytes than a batch may";
        self.stop_at_limit(what, bytes_max, partial)?;
        Ok(false)
    }

    /// Records that more documents match than are taken, if `partial` allows that.
    pub(super) fn stop_at_limit(&mut self, what: &str, limit: usize, partial: bool) -> Result<()> {
        if !partial {
            return Err(Error::limit(format!(
                "{what}: at most {limit} are allowed, unless the batch allows a part"
            )));
        }
        self.effects.remaining = true;
        Ok(())
    }
}
