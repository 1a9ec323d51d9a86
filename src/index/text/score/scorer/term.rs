//! The scorer of a single term.

use crate::index::text::postings::PostingsCursor;
use crate::index::text::score::bounds::{BOUND_SLACK, bound_blocks};
use crate::index::text::score::weight::Bm25Weight;
use crate::index::text::store::NO_MORE_ROWS;

/// Rows of a single term.
pub(in crate::index::text::score) struct TermScorer {
    pub(in crate::index::text::score) postings: PostingsCursor,
    pub(in crate::index::text::score) weight: Bm25Weight,
    /// The highest score of each block; empty for a run.
    pub(in crate::index::text::score) block_bounds: Vec<f32>,
    /// The highest score of all rows.
    pub(super) score_bound: f32,
}

/// The highest score of some rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowsBound {
    pub(super) score_bound: f32,
    /// The last of the rows.
    pub(super) last_row: u32,
}

impl TermScorer {
    pub(super) fn new(mut postings: PostingsCursor, weight: Bm25Weight) -> Self {
        let block_bounds = match &mut postings {
            PostingsCursor::Blocks(blocks) => bound_blocks(blocks, &weight),
            PostingsCursor::Memory(..) => Vec::new(),
        };
        // invariant: of a run no block is known; its rows score at most the weight.
        let highest = block_bounds.iter().copied().reduce(f32::max).unwrap_or(weight.weight);
        Self { postings, weight, block_bounds, score_bound: highest * BOUND_SLACK }
    }

    /// The score of the current row.
    pub(super) fn score(&self) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "frequencies become weights")]
        let frequency = self.postings.frequency() as f32;
        self.weight.score(self.postings.row(), frequency)
    }

    /// The highest score from the current row to the end of its block; to the end of all, if no block is known.
    pub(super) fn bound_of_block(&self) -> RowsBound {
        let all_rows = RowsBound { score_bound: self.score_bound, last_row: NO_MORE_ROWS };
        let PostingsCursor::Blocks(blocks) = &self.postings else { return all_rows };
        let number = blocks.block_number();
        match (self.block_bounds.get(number), blocks.skip_list().get(number)) {
            (Some(bound), Some(entry)) => RowsBound { score_bound: *bound, last_row: entry.last_row },
            // Behind the last block.
            _ => all_rows,
        }
    }

    /// Moves to the first row from the current one on whose block may score `threshold` or more.
    pub(super) fn seek_competitive(&mut self, threshold: f32) -> u32 {
        while self.postings.row() != NO_MORE_ROWS {
            let RowsBound { score_bound, last_row } = self.bound_of_block();
            if score_bound >= threshold || last_row >= NO_MORE_ROWS {
                break;
            }
            self.postings.seek(last_row + 1);
        }
        self.postings.row()
    }
}
