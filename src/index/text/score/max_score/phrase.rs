//! Rows with a phrase.
#![expect(clippy::cast_precision_loss, reason = "frequencies become weights")]

use std::ops::Range;

use super::bound_order::BoundOrder;
use super::term::BoundedTerm;
use crate::index::text::postings::PhraseCursor;
use crate::index::text::score::bounds::bound_blocks;
use crate::index::text::score::scorer::PhraseScorer;
use crate::index::text::score::top_rows::TopRowCollector;
use crate::index::text::score::weight::Bm25Weight;
use crate::index::text::score::windows::{count_windows, rows_of_window};

/// Offers every row with a phrase that may be a hit.
///
/// Positions are what costs: they are unpacked and compared row by row. A row holds the phrase no more often than each of
/// its words, so the frequencies of the words decide first whether a row can be a hit at all.
pub(in crate::index::text::score) fn offer_phrase(
    phrase: &mut PhraseScorer,
    rows: u32,
    top: &mut TopRowCollector<'_>,
) {
    let (cursor, weight) = (&mut phrase.cursor, &phrase.weight);
    let mut order = BoundOrder::new(bound_windows(cursor, weight, rows).into_iter());
    let mut candidates = Vec::new();
    while let Some(window) = order.pop_reaching(top.threshold()) {
        collect_candidates(cursor, weight, rows_of_window(window), top.threshold(), &mut candidates);
        for row in candidates.iter().copied() {
            // The threshold may have risen within the window.
            let min_frequency = weight.min_frequency_for(top.threshold().into()) * weight.norm_of(row);
            let is_frequent = |frequency: u32| frequency as f32 >= min_frequency;
            if cursor.block_postings_mut().all(|word| word.find_frequency(row).is_some_and(is_frequent)) {
                let frequency = cursor.count_occurrences(row);
                if frequency > 0.0 {
                    top.offer(weight.score(row, frequency), row);
                }
            }
        }
    }
}

/// What the phrase scores at most in each window: what the word scores that scores least there, by the weight of the
/// phrase.
fn bound_windows(cursor: &mut PhraseCursor, weight: &Bm25Weight, rows: u32) -> Vec<f32> {
    let mut windows: Vec<f32> = vec![f32::INFINITY; count_windows(rows) as usize];
    for blocks in cursor.block_postings_mut() {
        let block_bounds = bound_blocks(blocks, weight);
        let of_word = BoundedTerm { blocks, weight, block_bounds: &block_bounds }.bound_windows(rows);
        for (window, bound) in windows.iter_mut().zip(of_word) {
            *window = window.min(bound);
        }
    }
    windows
}

/// The rows of a window that hold the first word often enough. Without slop it is the rarest.
fn collect_candidates(
    cursor: &mut PhraseCursor,
    weight: &Bm25Weight,
    window: Range<u32>,
    threshold: f32,
    candidates: &mut Vec<u32>,
) {
    candidates.clear();
    let Some(first) = cursor.block_postings_mut().next() else { return };
    let min_frequency = weight.min_frequency_for(threshold.into());
    let is_frequent = |row: u32, frequency: u32| frequency as f32 >= min_frequency * weight.norm_of(row);
    first.jump_to(window.start);
    loop {
        let (rows, frequencies) = first.take_until(window.end);
        let rows = rows.iter().zip(frequencies);
        let rows = rows.filter(|(row, frequency)| is_frequent(**row, **frequency));
        candidates.extend(rows.map(|(row, _)| *row));
        if !first.advance_exhausted_block() {
            return;
        }
    }
}
