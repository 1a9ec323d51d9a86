//! What the rows of a block of postings score at most.
//!
//! tantivy keeps of each full block the frequency and the length that score most by its own k1 and b and by the
//! average length of the segment. By others another row may score most. With y = frequency / K(length) a score is
//! w·y / (1 + y), and passing from one K to another changes any two y of a block by factors whose ratio is bounded:
//! K'/K is a fraction of two linear functions of the length, so it is monotone, and lies between its values for the
//! shortest and the longest text. Divided by the least of them the y that tantivy keeps is a bound.
#![expect(clippy::cast_precision_loss, reason = "counts become weights")]

use tantivy::fieldnorm::FieldNormReader;

use super::blocks::Blocks;
use super::bm25::share;
use super::scorer::Weigher;

/// A little more than a bound, for floats round.
pub(super) const SLACK: f32 = 1.000_1;
/// What tantivy's index assumes.
const K1: f32 = 1.2;
const B: f32 = 0.75;
/// A frequency from here on is kept as this.
const MANY: u8 = u8::MAX;

/// What the rows of each block score at most.
pub(super) fn bounds(blocks: &mut Blocks, weigher: &Weigher) -> Vec<f32> {
    let theirs = |norm: u8| {
        let length = FieldNormReader::id_to_fieldnorm(norm) as f32;
        K1 * (1.0 - B + B * length / weigher.average)
    };
    let ratio = |norm: u8| weigher.lengths.of(norm) / theirs(norm);
    let ratio = ratio(1).min(ratio(u8::MAX));
    let last = blocks.blocks().len().saturating_sub(1);
    blocks.load(last);
    let (rows, frequencies) = blocks.rest();
    let exact = rows.iter().zip(frequencies);
    let exact =
        exact.map(|(row, frequency)| share(*frequency as f32, weigher.length(*row))).fold(0.0, f32::max);
    blocks.load(0);
    let shares = blocks.blocks().iter().map(|block| match block.most {
        None => exact,
        Some((_, MANY)) => 1.0,
        Some((norm, frequency)) => {
            let y = f32::from(frequency) / theirs(norm) / ratio;
            if y.is_finite() && y >= 0.0 { y / (1.0 + y) } else { 1.0 }
        }
    });
    shares.map(|share| share * weigher.weight * SLACK).collect()
}
