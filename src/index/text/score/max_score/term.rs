//! A term of a segment, with the highest scores of its blocks.
#![expect(clippy::cast_precision_loss, reason = "frequencies become weights")]

use std::ops::Range;

use crate::index::text::postings::PostingsCursor;
use crate::index::text::score::scorer::{Scorer, TermScorer};
use crate::index::text::score::weight::Bm25Weight;
use crate::index::text::score::windows::{WINDOW_ROWS, count_windows, slot_in_window};
use crate::index::text::store::BlockPostings;

/// The bound of a window that holds no row of a term.
pub(super) const NO_ROWS: f32 = -1.0;

/// The postings of a term, and what their blocks score at most.
pub(in crate::index::text::score) struct BoundedTerm<'a> {
    pub(super) blocks: &'a mut BlockPostings,
    pub(super) weight: &'a Bm25Weight,
    pub(super) block_bounds: &'a [f32],
}

impl<'a> BoundedTerm<'a> {
    /// `None` for a term of a run, which has no blocks, and for one that weighs nothing: all its rows score 0, so none may
    /// be left out, and bounds are of no use.
    pub(in crate::index::text::score) fn new(term: &'a mut TermScorer) -> Option<Self> {
        let PostingsCursor::Blocks(blocks) = &mut term.postings else { return None };
        let (weight, block_bounds) = (&term.weight, term.block_bounds.as_slice());
        (weight.weight >= f32::EPSILON).then_some(Self { blocks, weight, block_bounds })
    }

    /// The terms of scorers; `None` if any is no bounded term.
    pub(in crate::index::text::score) fn all_of(
        scorers: impl Iterator<Item = &'a mut Scorer>,
    ) -> Option<Vec<Self>> {
        let terms = scorers.map(|scorer| match scorer {
            Scorer::Term(term) => Self::new(term),
            _ => None,
        });
        terms.collect()
    }

    /// The highest score of each window of a part of `rows` rows; [`NO_ROWS`] where there are none.
    pub(super) fn bound_windows(&self, rows: u32) -> Vec<f32> {
        debug_assert_eq!(self.blocks.skip_list().len(), self.block_bounds.len(), "a bound for each block");
        let mut windows = vec![NO_ROWS; count_windows(rows) as usize];
        let mut first = 0;
        for (entry, bound) in self.blocks.skip_list().iter().zip(self.block_bounds) {
            let last = (entry.last_row / WINDOW_ROWS) as usize;
            for window in windows.iter_mut().take(last + 1).skip(first) {
                *window = bound.max(*window);
            }
            // The next block begins behind the last row, which may be in the same window.
            first = (entry.last_row.saturating_add(1) / WINDOW_ROWS) as usize;
        }
        windows
    }

    /// Adds the scores of the rows of a window to its sums.
    pub(super) fn add_scores(&mut self, window: &Range<u32>, sums: &mut [f64]) {
        self.blocks.jump_to(window.start);
        loop {
            let (rows, frequencies) = self.blocks.take_until(window.end);
            for (row, frequency) in rows.iter().zip(frequencies) {
                // invariant: only forged postings have rows outside of their window; such a row is in no answer.
                if let Some(sum) = sums.get_mut(slot_in_window(*row, window.start)) {
                    *sum += f64::from(self.weight.score(*row, *frequency as f32));
                }
            }
            if rows.is_empty() || !self.blocks.advance_exhausted_block() {
                return;
            }
        }
    }

    /// About how many rows of a window hold the term.
    pub(super) fn expected_matches(&self, window: &Range<u32>) -> u64 {
        self.blocks.row_count() * window.len() as u64 / self.weight.row_count().max(1)
    }

    /// The score of a row, if it holds the term.
    pub(super) fn find_score(&mut self, row: u32) -> Option<f32> {
        let frequency = self.blocks.find_frequency(row)?;
        Some(self.weight.score(row, frequency as f32))
    }
}
