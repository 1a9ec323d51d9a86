//! The highest score of each block of postings.
//!
//! tantivy stores of each full block the frequency and the length that score highest by its own k1 and b and by the
//! average length of the segment. By other parameters another row may score highest. With y = frequency / norm a score
//! is w × y / (1 + y). Passing from tantivy's norms to ours changes the y of two rows of a block by factors whose ratio is
//! bounded: ours / theirs is a fraction of two linear functions of the length, so it is monotone, and lies between its
//! values for the shortest and the longest text. The y that tantivy stores, divided by the smaller of the two, is a bound.
#![expect(clippy::cast_precision_loss, reason = "counts become weights")]

use tantivy::fieldnorm::FieldNormReader;

use super::bm25::saturate_frequency;
use super::weight::Bm25Weight;
use crate::index::text::store::{BlockMax, BlockPostings};

/// Bounds are raised by this factor, for floats round: the sum of up to a thousand scores, each with a relative error
/// below 2⁻²³, stays under the sum of their bounds.
pub(super) const BOUND_SLACK: f32 = 1.000_1;
/// The parameters of tantivy's `Bm25Weight`, which its index writer uses.
const TANTIVY_K1: f32 = 1.2;
const TANTIVY_B: f32 = 0.75;
/// tantivy stores frequencies from here on as this.
const FREQUENCY_MAX: u8 = u8::MAX;
/// The code of the shortest text with a token.
const SHORTEST_NORM: u8 = 1;

/// The highest score of the rows of each block, or more.
pub(super) fn bound_blocks(postings: &mut BlockPostings, weight: &Bm25Weight) -> Vec<f32> {
    let scale = weight.weight * BOUND_SLACK;
    // Only a run of the tail has no average, and its postings have no blocks.
    let Some(average_length) = weight.indexed_average_length() else {
        return vec![scale; postings.skip_list().len()];
    };
    let tantivy_norm = |code: u8| {
        let length = FieldNormReader::id_to_fieldnorm(code) as f32;
        TANTIVY_K1 * (1.0 - TANTIVY_B + TANTIVY_B * length / average_length)
    };
    let ratio = |code: u8| weight.norm_of_code(code) / tantivy_norm(code);
    let ratio = ratio(SHORTEST_NORM).min(ratio(u8::MAX));
    // tantivy stores nothing of the tail. It has fewer than 128 rows, and is unpacked anyway for a rare term.
    let tail_share = max_share_of_last_block(postings, weight);
    let shares = postings.skip_list().iter().map(|entry| match entry.block_max {
        None => tail_share,
        Some(BlockMax { frequency: FREQUENCY_MAX, .. }) => 1.0,
        Some(BlockMax { norm, frequency }) => {
            let y = f32::from(frequency) / tantivy_norm(norm) / ratio;
            // With k1 = 0 the ratio is 0: any row may score the whole weight.
            if y.is_finite() && y >= 0.0 { y / (1.0 + y) } else { 1.0 }
        }
    });
    shares.map(|share| share * scale).collect()
}

/// The highest share of the weight that a row of the last block scores.
fn max_share_of_last_block(postings: &mut BlockPostings, weight: &Bm25Weight) -> f32 {
    // invariant: postings without a block have no last one, and load none.
    let last = postings.skip_list().len().saturating_sub(1);
    postings.load_block(last);
    let (rows, frequencies) = postings.remaining();
    let rows = rows.iter().zip(frequencies);
    let shares = rows.map(|(row, frequency)| saturate_frequency(*frequency as f32, weight.norm_of(*row)));
    let share = shares.fold(0.0, f32::max);
    postings.load_block(0);
    share
}
