//! Postings in memory.

use crate::error::{Error, Result};

/// The rows that hold a term, and the positions in them.
#[derive(Debug, Default)]
pub(crate) struct MemoryPostings {
    /// Ascending.
    pub(in crate::index::text) rows: Vec<u32>,
    /// For each row, where its positions end in `positions`.
    position_ends: Vec<u32>,
    positions: Vec<u32>,
}

impl MemoryPostings {
    /// Adds a position. Rows ascend, and so do the positions of a row.
    pub(super) fn push(&mut self, row: u32, position: u32) {
        debug_assert!(self.rows.last().is_none_or(|last| *last <= row), "rows ascend");
        self.positions.push(position);
        // invariant: positions beyond `u32` are counted as the last, and `finish` refuses them.
        let end = u32::try_from(self.positions.len()).unwrap_or(u32::MAX);
        match (self.rows.last(), self.position_ends.last_mut()) {
            (Some(last), Some(last_end)) if *last == row => *last_end = end,
            _ => {
                self.rows.push(row);
                self.position_ends.push(end);
            }
        }
    }

    /// Checks that all positions could be counted.
    pub(super) fn finish(self) -> Result<Self> {
        match u32::try_from(self.positions.len()) {
            Ok(_) => Ok(self),
            Err(_) => Err(Error::internal("a term has more positions than 32 bits count")),
        }
    }

    pub(super) fn row_count(&self) -> u64 {
        self.rows.len() as u64
    }

    /// The positions in the row at an index of `rows`.
    #[expect(clippy::indexing_slicing, reason = "each row has an end, and ends lie within the positions")]
    pub(in crate::index::text) fn positions_at(&self, index: usize) -> &[u32] {
        debug_assert!(index < self.rows.len(), "a row of these postings");
        let start = if index == 0 { 0 } else { self.position_ends[index - 1] };
        &self.positions[start as usize..self.position_ends[index] as usize]
    }

    /// How often the row at an index of `rows` holds the term.
    pub(super) fn frequency_at(&self, index: usize) -> u32 {
        // invariant: `finish` checked that all positions together are fewer.
        u32::try_from(self.positions_at(index).len()).unwrap_or(u32::MAX)
    }
}
