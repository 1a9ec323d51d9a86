//! The rows that hold one token, in ascending order, wherever they lie.

use std::sync::Arc;

use tantivy::TERMINATED;

use super::blocks::Blocks;
use super::memory::MemoryPostings;

/// The row behind the last.
pub(super) const END: u32 = TERMINATED;

/// A walk over the rows that hold a token. It begins on the first.
#[derive(Clone)]
pub(super) enum Postings {
    Blocks(Box<Blocks>),
    Memory(Arc<MemoryPostings>, usize),
}

impl Postings {
    pub(super) fn row(&self) -> u32 {
        match self {
            Self::Blocks(blocks) => blocks.row(),
            Self::Memory(postings, at) => postings.rows.get(*at).copied().unwrap_or(END),
        }
    }

    pub(super) fn advance(&mut self) -> u32 {
        match self {
            Self::Blocks(blocks) if blocks.row() == END => END,
            Self::Blocks(blocks) => blocks.advance(),
            Self::Memory(_, at) => {
                *at += 1;
                self.row()
            }
        }
    }

    /// On to the first row that is not below `row`.
    pub(super) fn seek(&mut self, row: u32) -> u32 {
        match self {
            Self::Blocks(blocks) => blocks.seek(row),
            Self::Memory(postings, at) => {
                *at += postings.rows.get(*at..).unwrap_or_default().partition_point(|r| *r < row);
                self.row()
            }
        }
    }

    /// How many rows.
    pub(super) fn cost(&self) -> u64 {
        match self {
            Self::Blocks(blocks) => blocks.cost(),
            Self::Memory(postings, _) => postings.rows.len() as u64,
        }
    }

    /// How often the row holds the token.
    pub(super) fn frequency(&self) -> u32 {
        match self {
            Self::Blocks(blocks) => blocks.frequency(),
            Self::Memory(postings, at) => u32::try_from(postings.positions(*at).len()).unwrap_or(u32::MAX),
        }
    }

    /// Adds where in the row the token lies.
    pub(super) fn positions(&mut self, out: &mut Vec<u32>) {
        match self {
            Self::Blocks(blocks) => blocks.positions(out),
            Self::Memory(postings, at) => out.extend(postings.positions(*at)),
        }
    }
}
