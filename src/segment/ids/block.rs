//! A piece of the id index in memory.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::schema::Ids;
use crate::types::{DocumentId, IdKind};

/// Ids in ascending order with the row of each: cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct IdBlock {
    ids: Ids,
    rows: Arc<[u32]>,
}

impl IdBlock {
    /// Pairs ids, which ascend, with their rows.
    pub(crate) fn new(ids: Ids, rows: Arc<[u32]>) -> Result<Self> {
        // Checked once here, so that every id of a block has a row.
        if ids.len() != rows.len() {
            return Err(Error::internal(format!("{} ids with {} rows", ids.len(), rows.len())));
        }
        Ok(Self { ids, rows })
    }

    /// Blocks that follow each other as one.
    pub(super) fn concat(kind: IdKind, blocks: &[&Self]) -> Result<Self> {
        let ids: Vec<&Ids> = blocks.iter().map(|block| &block.ids).collect();
        let rows = blocks.iter().flat_map(|block| block.rows.iter().copied()).collect();
        Self::new(Ids::concat(kind, &ids)?, rows)
    }

    pub(crate) fn ids(&self) -> &Ids {
        &self.ids
    }

    /// The row of the id at `at`.
    pub(crate) fn row_at(&self, at: usize) -> Result<u32> {
        self.rows.get(at).copied().ok_or_else(|| Error::internal("an id beyond the end of its block"))
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn find_row(&self, id: &DocumentId) -> Result<Option<u32>> {
        self.ids.search(id).ok().map(|at| self.row_at(at)).transpose()
    }

    /// Appends the position in `ids` and the row of each id that the block has too. `ids` ascend, and are those from
    /// `start` on of a longer list, in which positions count.
    pub(super) fn find_shared(&self, ids: &Ids, start: usize, found: &mut Vec<(usize, u32)>) -> Result<()> {
        // The intersection gallops over both lists and cannot stop at an error: rows are looked up behind it.
        let mut matches = Vec::new();
        ids.intersect(&self.ids, |at, entry| matches.push((at, entry)));
        found.reserve(matches.len());
        for (at, entry) in matches {
            found.push((start + at, self.row_at(entry)?));
        }
        Ok(())
    }

    /// The entries below `bound`, the greatest first; all without a bound.
    pub(super) fn entries_before(
        &self,
        bound: Option<&DocumentId>,
    ) -> impl Iterator<Item = (DocumentId, u32)> {
        let end = bound.map_or(self.rows.len(), |id| self.ids.search(id).unwrap_or_else(|at| at));
        self.rows.iter().enumerate().take(end).rev().map(|(at, row)| (self.ids.get(at), *row))
    }

    /// The entries above `bound`, the least first; all without a bound.
    pub(super) fn entries_after(
        &self,
        bound: Option<&DocumentId>,
    ) -> impl Iterator<Item = (DocumentId, u32)> {
        let start = bound.map_or(0, |id| self.ids.search(id).map_or_else(|at| at, |at| at + 1));
        self.rows.iter().enumerate().skip(start).map(|(at, row)| (self.ids.get(at), *row))
    }
}
