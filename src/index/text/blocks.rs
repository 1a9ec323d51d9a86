//! Postings of a packed index block by block, with a bound of what the rows of each can score.
//!
//! tantivy keeps of each block of 128 rows the frequency and the length that score most by its own k1 and b and by
//! the average length of the segment. By others another row may score most. With y = frequency / K(length) a score
//! is w·y / (1 + y), and passing from one K to another changes any two y of a block by factors whose ratio is
//! bounded: K'/K is a fraction of two linear functions of the length, so it is monotone, and lies between its
//! values for the shortest and the longest text. Divided by the least of them the y that tantivy keeps is a bound.
#![expect(clippy::cast_precision_loss, reason = "counts become weights")]

use std::fmt;

use tantivy::fieldnorm::FieldNormReader;
use tantivy::postings::BlockSegmentPostings;
use tantivy::query::Bm25Weight;

use super::bm25::Lengths;
use super::postings::END;

/// Rows of a full block.
const BLOCK: usize = 128;
/// A little more, for floats round.
const SLACK: f32 = 1.000_1;
/// What tantivy's index assumes.
const K1: f32 = 1.2;
const B: f32 = 0.75;

/// A walk over postings block by block.
#[derive(Clone)]
pub(super) struct Blocks {
    postings: BlockSegmentPostings,
    /// The place in the block.
    at: usize,
    /// The average length by which the bounds of the blocks were chosen.
    average: f32,
    norms: FieldNormReader,
}

/// What turns the bound that tantivy keeps of a block into one of ours.
#[derive(Clone)]
pub(super) struct Bounds {
    tantivy: Bm25Weight,
    /// The most that `tantivy` gives.
    most: f32,
    /// The least ratio of our lengths to tantivy's.
    ratio: f32,
}

impl Blocks {
    /// `tokens` and `rows` are those of the column in the segment, as tantivy counted them.
    pub(super) fn new(
        postings: BlockSegmentPostings,
        norms: FieldNormReader,
        tokens: u64,
        rows: u32,
    ) -> Self {
        Self { postings, at: 0, average: tokens as f32 / rows.max(1) as f32, norms }
    }

    pub(super) fn row(&self) -> u32 {
        self.postings.doc(self.at)
    }

    pub(super) fn cost(&self) -> u64 {
        self.postings.doc_freq().into()
    }

    /// From the row at hand to the end of its block: rows and frequencies.
    pub(super) fn rest(&self) -> impl Iterator<Item = (u32, u32)> {
        let rows = self.postings.docs().iter().zip(self.postings.freqs()).skip(self.at);
        rows.map(|(row, frequency)| (*row, *frequency))
    }

    /// On to the first row of the next block.
    pub(super) fn next_block(&mut self) {
        self.at = 0;
        self.postings.advance();
    }

    pub(super) fn frequency(&self) -> u32 {
        self.postings.freq(self.at)
    }

    pub(super) fn advance(&mut self) -> u32 {
        if self.at + 1 == BLOCK {
            self.at = 0;
            self.postings.advance();
        } else {
            self.at += 1;
        }
        self.row()
    }

    pub(super) fn seek(&mut self, row: u32) -> u32 {
        if self.row() < row {
            self.at = self.postings.seek(row.min(END));
        }
        self.row()
    }

    /// The last row of the block at hand.
    pub(super) fn last(&self) -> u32 {
        self.postings.docs().last().copied().unwrap_or(END)
    }

    /// No row of the block at hand scores more, at this weight.
    pub(super) fn bound(&mut self, bounds: &Bounds, weight: f32) -> f32 {
        let share = self.postings.block_max_score(&self.norms, &bounds.tantivy) / bounds.most;
        let y = share / (1.0 - share) / bounds.ratio;
        let bound = if y.is_finite() && y >= 0.0 { weight * (y / (1.0 + y)) } else { weight };
        bound * SLACK
    }

    pub(super) fn bounds(&self, lengths: &Lengths) -> Bounds {
        let theirs = |norm: u8| {
            let length = FieldNormReader::id_to_fieldnorm(norm) as f32;
            K1 * (1.0 - B + B * length / self.average)
        };
        let ratio = |norm: u8| lengths.of(norm) / theirs(norm);
        // Of one row in one, none has it: some weight that is known.
        let tantivy = Bm25Weight::for_one_term_without_explain(0, 1, self.average);
        let most = (1.0_f32 + 1.5 / 0.5).ln() * (1.0 + K1);
        Bounds { tantivy, most, ratio: ratio(1).min(ratio(u8::MAX)) }
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blocks(at row {})", self.row())
    }
}
