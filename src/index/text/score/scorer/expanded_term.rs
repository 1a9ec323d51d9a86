//! The scorer of a word that stands for several terms: a prefix, or a misspelt word.
//!
//! The terms score as one, whose frequency in a row is the sum of theirs. So their rows are collected up front, window by
//! window; a cursor over hundreds of postings would compare them all for every row.
#![expect(clippy::cast_precision_loss, reason = "frequencies become weights")]

use std::ops::Range;

use crate::error::Result;
use crate::index::text::postings::{PostingsCursor, TermPostings, TextSource};
use crate::index::text::score::weight::Bm25Weight;
use crate::index::text::score::windows::{LANE_ROWS, WINDOW_ROWS, slot_in_window};
use crate::index::text::store::{BlockPostings, NO_MORE_ROWS};
use crate::index::text::terms::{ExpandedTerm, RowCount, TermSpec};

/// Terms of up to this many rows are rare: one block. A prefix may have thousands of them, and a cursor for each would be
/// visited in every window.
const RARE_ROWS_MAX: u64 = 128;

/// Rows of a word that stands for several terms.
pub(in crate::index::text::score) struct ExpandedTermScorer {
    /// The rows, ascending, and how often each holds the terms.
    pub(in crate::index::text::score) rows: Vec<(u32, f32)>,
    pub(in crate::index::text::score) weight: Bm25Weight,
    index: usize,
}

/// A frequent term: its postings, and how much an occurrence counts.
struct WeightedPostings {
    postings: PostingsCursor,
    frequency_factor: f32,
}

impl ExpandedTermScorer {
    /// Collects the rows of terms of a column. A nearer term counts more.
    pub(super) fn new(
        source: &TextSource,
        field: usize,
        terms: &[&ExpandedTerm<TermPostings>],
        weight: Bm25Weight,
    ) -> Result<Self> {
        // Sums of floats depend on their order, so terms are added in the same order in every part. Sums of whole numbers
        // do not: the rare terms without edits, of which a prefix has many, can be collected apart.
        let mut frequent: Vec<WeightedPostings> = Vec::new();
        let mut rare: Vec<(u32, f32)> = Vec::new();
        for term in terms {
            let mut postings = source.open_postings(field, term, false)?;
            if term.edits > 0 || term.postings.row_count() > RARE_ROWS_MAX {
                let frequency_factor = TermSpec::frequency_factor(term.edits);
                frequent.push(WeightedPostings { postings, frequency_factor });
                continue;
            }
            while postings.row() != NO_MORE_ROWS {
                rare.push((postings.row(), postings.frequency() as f32));
                postings.advance();
            }
        }
        rare.sort_unstable_by_key(|(row, _)| *row);
        let postings: u64 = terms.iter().map(|term| term.postings.row_count()).sum();
        // invariant: only a capacity, bounded by the rows of the part.
        let capacity = usize::try_from(postings.min(weight.row_count())).unwrap_or_default();
        Ok(Self { rows: sum_frequencies(frequent, rare, capacity), weight, index: 0 })
    }

    pub(super) fn row(&self) -> u32 {
        // invariant: behind the last row there is no element to hold the sentinel.
        self.rows.get(self.index).map_or(NO_MORE_ROWS, |(row, _)| *row)
    }

    /// Moves forward to the first row that is not below `row`.
    pub(super) fn seek(&mut self, row: u32) -> u32 {
        // invariant: the index is at most the length, and there nothing is ahead.
        let ahead = self.rows.get(self.index..).unwrap_or_default();
        self.index += match ahead {
            [] => 0,
            [(next, _), ..] if *next >= row => 0,
            // Unions mostly move by one row.
            [_, (next, _), ..] if *next >= row => 1,
            _ => ahead.partition_point(|(candidate, _)| *candidate < row),
        };
        self.row()
    }

    /// The score of the current row.
    pub(super) fn score(&self) -> f32 {
        // invariant: behind the last row nothing scores.
        self.rows.get(self.index).map_or(0.0, |(row, frequency)| self.weight.score(*row, *frequency))
    }

    pub(super) fn row_count(&self) -> u64 {
        self.rows.len() as u64
    }
}

/// The rows of all postings in ascending order, with the sums of their frequencies.
fn sum_frequencies(
    mut frequent: Vec<WeightedPostings>,
    rare: Vec<(u32, f32)>,
    capacity: usize,
) -> Vec<(u32, f32)> {
    let mut rows = Vec::with_capacity(capacity);
    let mut sums = vec![0.0_f32; WINDOW_ROWS as usize];
    let mut rare = rare.into_iter().peekable();
    loop {
        // invariant: without frequent or rare postings left, the other ones decide.
        let next_frequent = frequent.iter().map(|term| term.postings.row()).min().unwrap_or(NO_MORE_ROWS);
        let row = rare.peek().map_or(NO_MORE_ROWS, |(row, _)| *row).min(next_frequent);
        if row == NO_MORE_ROWS {
            return rows;
        }
        let start = row - row % WINDOW_ROWS;
        let window = start..start.saturating_add(WINDOW_ROWS);
        while let Some((row, frequency)) = rare.next_if(|(row, _)| *row < window.end) {
            add_to_slot(&mut sums, row, start, frequency);
        }
        for WeightedPostings { postings, frequency_factor } in &mut frequent {
            match postings {
                PostingsCursor::Blocks(blocks) => {
                    add_block_frequencies(blocks, *frequency_factor, &window, &mut sums);
                }
                PostingsCursor::Memory(..) => {
                    while postings.row() < window.end {
                        let frequency = *frequency_factor * postings.frequency() as f32;
                        add_to_slot(&mut sums, postings.row(), start, frequency);
                        postings.advance();
                    }
                }
            }
        }
        drain_sums(&mut sums, start, &mut rows);
    }
}

fn add_to_slot(sums: &mut [f32], row: u32, start: u32, frequency: f32) {
    // invariant: only forged postings have rows outside of their window; such a row is in no answer.
    if let Some(sum) = sums.get_mut(slot_in_window(row, start)) {
        *sum += frequency;
    }
}

/// Adds the frequencies of the rows of a window, and moves behind them.
fn add_block_frequencies(blocks: &mut BlockPostings, factor: f32, window: &Range<u32>, sums: &mut [f32]) {
    if blocks.row() >= window.end {
        return;
    }
    loop {
        let (rows, frequencies) = blocks.take_until(window.end);
        for (row, frequency) in rows.iter().zip(frequencies) {
            add_to_slot(sums, *row, window.start, factor * *frequency as f32);
        }
        if rows.is_empty() || !blocks.advance_exhausted_block() {
            return;
        }
    }
}

/// Moves the rows of a window that have a sum to `rows`, which leaves all sums 0.
#[expect(clippy::indexing_slicing, reason = "of a lane at most as many rows are found as it has")]
fn drain_sums(sums: &mut [f32], start: u32, rows: &mut Vec<(u32, f32)>) {
    for (lane, start) in sums.as_chunks_mut::<LANE_ROWS>().0.iter_mut().zip((start..).step_by(LANE_ROWS)) {
        let mut found = [(0, 0.0); LANE_ROWS];
        let mut count = 0;
        for (sum, row) in lane.iter().zip(start..) {
            // Written whether it counts or not: about half of the rows do, and a mispredicted branch costs more than a
            // store. Saves a third of the time.
            found[count] = (row, *sum);
            count += usize::from(*sum > 0.0);
        }
        rows.extend_from_slice(&found[..count]);
        *lane = [0.0; LANE_ROWS];
    }
}
