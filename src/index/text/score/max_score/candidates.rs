//! Rows of a window that may be hits, passed from term to term.
#![expect(clippy::cast_precision_loss, reason = "frequencies become weights")]

use std::ops::Range;

use super::term::BoundedTerm;
use crate::index::text::score::bm25::term_score;
use crate::index::text::score::top_rows::TopRowCollector;
use crate::index::text::score::windows::{LANE_ROWS, WINDOW_ROWS, rows_of_window, slot_in_window};
use crate::index::text::store::POSTINGS_BLOCK_LEN;

/// Finding one row in postings, by two binary searches, costs as much as passing over this many rows of them.
const ROWS_PER_SEARCH: u64 = 12;
/// Maxima that are kept apart while a lane is tested: one vector register of `f64`.
const LANE_MAXIMA: usize = LANE_ROWS / 4;

/// Rows of a window that may be hits, with the scores of the terms so far.
#[derive(Debug, Default)]
pub(super) struct WindowCandidates {
    window: Range<u32>,
    rows: Vec<u32>,
    /// For each row. In `f64`, so that the order of terms does not show in a score.
    sums: Vec<f64>,
    /// For each row of the window its number among `rows`, from 1; 0 of others. All 0 between calls.
    numbers: Vec<u16>,
    found: Vec<FoundScore>,
}

/// A candidate that holds a term.
#[derive(Clone, Copy, Debug)]
struct FoundScore {
    /// The number of the candidate, from 1.
    number: u16,
    score: f32,
}

impl FoundScore {
    fn index(self) -> usize {
        usize::from(self.number) - 1
    }
}

/// A row that is taken out of a block, before it is scored.
#[derive(Clone, Copy, Debug, Default)]
struct BlockHit {
    row: u32,
    frequency: f32,
    norm: f32,
}

/// A candidate in a block of a term, before it is scored.
#[derive(Clone, Copy, Debug, Default)]
struct MergeHit {
    number: u16,
    row: u32,
    frequency: u32,
}

impl WindowCandidates {
    /// Starts a window, without candidates.
    pub(super) fn start_window(&mut self, window: u32) {
        self.window = rows_of_window(window);
        self.rows.clear();
        self.sums.clear();
    }

    /// The rows of the window.
    pub(super) fn window(&self) -> &Range<u32> {
        &self.window
    }

    /// Adds the rows of a term that can be hits if other terms add `other_bound`.
    #[expect(clippy::indexing_slicing, reason = "of a block at most as many rows are found as it has")]
    pub(super) fn push_term_rows(
        &mut self,
        term: &mut BoundedTerm<'_>,
        other_bound: f64,
        top: &TopRowCollector<'_>,
    ) {
        let min_frequency = term.weight.min_frequency_for(f64::from(top.threshold()) - other_bound);
        term.blocks.jump_to(self.window.start);
        loop {
            let (rows, frequencies) = term.blocks.take_until(self.window.end);
            let mut hits = [BlockHit::default(); POSTINGS_BLOCK_LEN];
            let mut count = 0;
            for (row, frequency) in rows.iter().zip(frequencies) {
                let (norm, frequency) = (term.weight.norm_of(*row), *frequency as f32);
                // Written whether it counts or not: which rows do is close to a coin toss, and a mispredicted branch
                // costs more than a store. Saves a third of the time.
                hits[count] = BlockHit { row: *row, frequency, norm };
                count += usize::from(frequency >= min_frequency * norm);
            }
            let hits = &hits[..count];
            let weight = term.weight.weight;
            self.rows.extend(hits.iter().map(|hit| hit.row));
            self.sums.extend(hits.iter().map(|hit| f64::from(term_score(weight, hit.frequency, hit.norm))));
            if rows.is_empty() || !term.blocks.advance_exhausted_block() {
                return;
            }
        }
    }

    /// Adds the rows whose sum is at least `threshold`, which leaves all sums 0.
    pub(super) fn drain_sums(&mut self, sums: &mut [f64], threshold: f64) {
        // A row with a sum of 0 holds none of the terms.
        let threshold = threshold.max(f64::MIN_POSITIVE);
        let lanes = sums.as_chunks_mut::<LANE_ROWS>().0.iter_mut();
        for (lane, start) in lanes.zip((self.window.start..).step_by(LANE_ROWS)) {
            // Most lanes have no such row. Their maximum takes a few vector instructions, and one branch for 16 rows.
            let mut maxima = [0.0_f64; LANE_MAXIMA];
            for sums in lane.as_chunks::<LANE_MAXIMA>().0 {
                for (maximum, sum) in maxima.iter_mut().zip(sums) {
                    // Not `f64::max`: its rule for NaN keeps it from being a single instruction.
                    *maximum = if *sum > *maximum { *sum } else { *maximum };
                }
            }
            if maxima.iter().any(|maximum| *maximum >= threshold) {
                for (sum, row) in lane.iter().zip(start..).filter(|(sum, _)| **sum >= threshold) {
                    self.rows.push(row);
                    self.sums.push(*sum);
                }
            }
            *lane = [0.0; LANE_ROWS];
        }
    }

    /// Adds what a term scores, and keeps the candidates that can be hits if later terms add `later_bound`.
    #[expect(clippy::indexing_slicing, reason = "numbers of candidates come from counting them")]
    pub(super) fn add_optional_term(
        &mut self,
        term: &mut BoundedTerm<'_>,
        later_bound: f64,
        top: &TopRowCollector<'_>,
    ) {
        if self.rows.is_empty() {
            return;
        }
        self.find_scores(term);
        for found in &self.found {
            self.sums[found.index()] += f64::from(found.score);
        }
        let threshold = f64::from(top.threshold()) - later_bound;
        let mut kept = 0;
        for index in 0..self.rows.len() {
            let (row, sum) = (self.rows[index], self.sums[index]);
            kept = self.compact_row(kept, row, sum, sum >= threshold);
        }
        self.truncate(kept);
    }

    /// As [`Self::add_optional_term`], but keeps only candidates that hold the term.
    #[expect(clippy::indexing_slicing, reason = "numbers of candidates come from counting them")]
    pub(super) fn add_required_term(
        &mut self,
        term: &mut BoundedTerm<'_>,
        later_bound: f64,
        top: &TopRowCollector<'_>,
    ) {
        if self.rows.is_empty() {
            return;
        }
        self.find_scores(term);
        let threshold = f64::from(top.threshold()) - later_bound;
        let mut kept = 0;
        for at in 0..self.found.len() {
            let found = self.found[at];
            let (row, sum) = (self.rows[found.index()], self.sums[found.index()]);
            let sum = sum + f64::from(found.score);
            kept = self.compact_row(kept, row, sum, sum >= threshold);
        }
        self.truncate(kept);
    }

    /// Writes a candidate at index `kept`, which was read already. Returns the index behind it if it stays.
    #[expect(clippy::indexing_slicing, reason = "no more candidates are kept than were read")]
    fn compact_row(&mut self, kept: usize, row: u32, sum: f64, stays: bool) -> usize {
        debug_assert!(kept < self.rows.len(), "written behind what is read");
        (self.rows[kept], self.sums[kept]) = (row, sum);
        kept + usize::from(stays)
    }

    fn truncate(&mut self, kept: usize) {
        self.rows.truncate(kept);
        self.sums.truncate(kept);
    }

    /// Finds what a term scores in the candidates, into `found`, in their order.
    fn find_scores(&mut self, term: &mut BoundedTerm<'_>) {
        self.found.clear();
        // Few candidates are searched for; many are found by passing over all rows of the term in the window.
        if term.expected_matches(&self.window) > self.rows.len() as u64 * ROWS_PER_SEARCH {
            for (row, number) in self.rows.iter().zip(1..) {
                let score = term.find_score(*row);
                self.found.extend(score.map(|score| FoundScore { number, score }));
            }
        } else {
            self.merge_scores(term);
        }
    }

    /// Finds what a term scores by passing over all its rows in the window.
    #[expect(clippy::indexing_slicing, reason = "of a block at most as many rows are found as it has")]
    fn merge_scores(&mut self, term: &mut BoundedTerm<'_>) {
        let start = self.window.start;
        self.numbers.resize(WINDOW_ROWS as usize, 0);
        self.number_candidates();
        term.blocks.jump_to(start);
        let mut hits = [MergeHit::default(); POSTINGS_BLOCK_LEN];
        loop {
            let (rows, frequencies) = term.blocks.take_until(self.window.end);
            let mut count = 0;
            for (row, frequency) in rows.iter().zip(frequencies) {
                // invariant: only forged postings have rows outside of their window; such a row is no candidate.
                let number = self.numbers.get(slot_in_window(*row, start)).copied().unwrap_or(0);
                // Written whether it counts or not, as in `push_term_rows`.
                hits[count] = MergeHit { number, row: *row, frequency: *frequency };
                count += usize::from(number > 0);
            }
            self.found.extend(hits[..count].iter().map(|hit| FoundScore {
                number: hit.number,
                score: term.weight.score(hit.row, hit.frequency as f32),
            }));
            if rows.is_empty() || !term.blocks.advance_exhausted_block() {
                break;
            }
        }
        self.clear_numbers();
    }

    fn number_candidates(&mut self) {
        for (row, number) in self.rows.iter().zip(1..) {
            // invariant: as in `merge_scores`, a row outside of the window is forged.
            if let Some(slot) = self.numbers.get_mut(slot_in_window(*row, self.window.start)) {
                *slot = number;
            }
        }
    }

    /// Clears what [`Self::number_candidates`] set: candidates are fewer than the rows of a window.
    fn clear_numbers(&mut self) {
        for row in &self.rows {
            // invariant: as in `merge_scores`, a row outside of the window is forged.
            if let Some(slot) = self.numbers.get_mut(slot_in_window(*row, self.window.start)) {
                *slot = 0;
            }
        }
    }

    /// Offers the candidates, whose scores are complete.
    pub(super) fn offer(&mut self, top: &mut TopRowCollector<'_>) {
        for (row, sum) in self.rows.iter().zip(&self.sums) {
            #[expect(clippy::cast_possible_truncation, reason = "scores are f32")]
            top.offer(*sum as f32, *row);
        }
    }
}
