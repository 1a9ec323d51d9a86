//! BM25: how much a token weighs in a text, given how rare it is and how long the text.
//!
//! Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009; the inverse document
//! frequency is Lucene's, which is never negative. Documents without a token in the column are not counted.
#![expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "counts become weights")]

use tantivy::fieldnorm::FieldNormReader;

/// A little less than 1, for floats round.
const ROUNDED: f32 = 0.999_99;

/// How many documents have text in a column, and how long it is in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) documents: u64,
    pub(crate) tokens: u64,
}

impl Totals {
    /// One more text of the length that a byte stands for.
    pub(super) fn add(&mut self, norm: u8) {
        self.documents += u64::from(norm > 0);
        self.tokens += u64::from(FieldNormReader::id_to_fieldnorm(norm));
    }

    pub(super) fn remove(&mut self, norm: u8) {
        self.documents = self.documents.saturating_sub(u64::from(norm > 0));
        self.tokens = self.tokens.saturating_sub(u64::from(FieldNormReader::id_to_fieldnorm(norm)));
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.documents += other.documents;
        self.tokens += other.tokens;
    }
}

/// The weights of a column: what its frequencies are set against, by length.
#[derive(Debug)]
pub(super) struct Lengths([f32; 256]);

impl Lengths {
    pub(super) fn new(k1: f32, b: f32, totals: Totals) -> Self {
        let average = totals.tokens as f64 / totals.documents.max(1) as f64;
        let mut table = [0.0; 256];
        for (slot, norm) in table.iter_mut().zip(0_u8..=u8::MAX) {
            let length = f64::from(FieldNormReader::id_to_fieldnorm(norm));
            let share = if average > 0.0 { length / average } else { 0.0 };
            *slot = (f64::from(k1) * (1.0 - f64::from(b) + f64::from(b) * share)) as f32;
        }
        Self(table)
    }

    pub(super) fn of(&self, norm: u8) -> f32 {
        self.0.get(usize::from(norm)).copied().unwrap_or_default()
    }
}

/// How rare a token is: of `documents`, `frequency` have it.
pub(super) fn rarity(documents: u64, frequency: u64) -> f32 {
    let (documents, frequency) = (documents.max(frequency) as f64, frequency as f64);
    (1.0 + (documents - frequency + 0.5) / (frequency + 0.5)).ln() as f32
}

/// A token that occurs `frequency` times, of `weight` = rarity × (k1 + 1), in a text of a length of the table.
pub(super) fn score(weight: f32, frequency: f32, length: f32) -> f32 {
    weight * share(frequency, length)
}

/// How much of its weight that is.
pub(super) fn share(frequency: f32, length: f32) -> f32 {
    frequency / (frequency + length)
}

/// Lengths times this: no frequency below it scores `least`. Such a frequency may score less, by rounding.
pub(super) fn enough(weight: f32, least: f32) -> f32 {
    if weight <= 0.0 {
        return f32::NEG_INFINITY;
    }
    let share = least / weight * ROUNDED;
    if share < 1.0 { share / (1.0 - share) } else { f32::INFINITY }
}
