//! Queries of a single word.
#![expect(clippy::cast_precision_loss, reason = "frequencies become weights")]

use super::bound_order::BoundOrder;
use super::term::BoundedTerm;
use crate::index::text::score::scorer::ExpandedTermScorer;
use crate::index::text::score::top_rows::TopRowCollector;
use crate::index::text::score::weight::Bm25Weight;

/// Offers every row with a term that may be a hit.
pub(in crate::index::text::score) fn offer_term(term: &mut BoundedTerm<'_>, top: &mut TopRowCollector<'_>) {
    // With one term its blocks are the windows: no two of them share a row.
    let mut order = BoundOrder::new(term.block_bounds.iter().copied());
    while let Some(block) = order.pop_reaching(top.threshold()) {
        term.blocks.load_block(block as usize);
        let (rows, frequencies) = term.blocks.remaining();
        let rows = rows.iter().zip(frequencies);
        offer_rows(term.weight, rows.map(|(row, frequency)| (*row, *frequency as f32)), top);
    }
}

/// Offers every row with a word that stands for several terms.
pub(in crate::index::text::score) fn offer_expanded_term(
    term: &ExpandedTermScorer,
    top: &mut TopRowCollector<'_>,
) {
    offer_rows(&term.weight, term.rows.iter().copied(), top);
}

fn offer_rows(weight: &Bm25Weight, rows: impl Iterator<Item = (u32, f32)>, top: &mut TopRowCollector<'_>) {
    // Scores are computed only of rows that enter. The minimum changes only when one does.
    let mut min_frequency = weight.min_frequency_for(top.threshold().into());
    for (row, frequency) in rows {
        if frequency >= min_frequency * weight.norm_of(row) {
            top.offer(weight.score(row, frequency), row);
            min_frequency = weight.min_frequency_for(top.threshold().into());
        }
    }
}
