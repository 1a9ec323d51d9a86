//! A cursor over the rows that hold one term, in ascending order, of a segment or of the tail.

use std::sync::Arc;

use super::memory_postings::MemoryPostings;
use crate::index::text::store::{BlockPostings, NO_MORE_ROWS};

/// A cursor over the rows of a term. It starts on the first.
///
/// An enum, not a trait object: most loops match once and then run over the blocks of a segment without dispatch.
#[derive(Clone)]
pub(in crate::index::text) enum PostingsCursor {
    Blocks(Box<BlockPostings>),
    /// Postings, and the index of the current row.
    Memory(Arc<MemoryPostings>, usize),
}

impl PostingsCursor {
    pub(in crate::index::text) fn row(&self) -> u32 {
        match self {
            Self::Blocks(blocks) => blocks.row(),
            // invariant: behind the last row there is no element to hold the sentinel.
            Self::Memory(postings, index) => postings.rows.get(*index).copied().unwrap_or(NO_MORE_ROWS),
        }
    }

    pub(in crate::index::text) fn advance(&mut self) -> u32 {
        match self {
            Self::Blocks(blocks) if blocks.row() == NO_MORE_ROWS => NO_MORE_ROWS,
            Self::Blocks(blocks) => blocks.advance(),
            Self::Memory(_, index) => {
                *index += 1;
                self.row()
            }
        }
    }

    /// Moves forward to the first row that is not below `row`.
    pub(in crate::index::text) fn seek(&mut self, row: u32) -> u32 {
        match self {
            Self::Blocks(blocks) => blocks.seek(row),
            Self::Memory(postings, index) => {
                // invariant: a cursor that advanced beyond its end has no rows ahead.
                let ahead = postings.rows.get(*index..).unwrap_or_default();
                *index += ahead.partition_point(|candidate| *candidate < row);
                self.row()
            }
        }
    }

    pub(in crate::index::text) fn row_count(&self) -> u64 {
        match self {
            Self::Blocks(blocks) => blocks.row_count(),
            Self::Memory(postings, _) => postings.row_count(),
        }
    }

    /// How often the current row holds the term.
    pub(in crate::index::text) fn frequency(&self) -> u32 {
        match self {
            Self::Blocks(blocks) => blocks.frequency(),
            Self::Memory(postings, index) => postings.frequency_at(*index),
        }
    }

    /// Appends the positions of the term in the current row.
    pub(in crate::index::text) fn read_positions(&mut self, out: &mut Vec<u32>) {
        match self {
            Self::Blocks(blocks) => blocks.read_positions(out),
            Self::Memory(postings, index) => out.extend(postings.positions_at(*index)),
        }
    }
}
