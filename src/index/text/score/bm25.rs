//! BM25: the score of a term in a text, by how rare the term is, how often the text holds it, and how long the text is.
//!
//! Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009. The inverse document
//! frequency is Lucene's, which is never negative. Documents without a token in the column are not counted.
#![expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "counts become weights")]

use tantivy::fieldnorm::FieldNormReader;

use crate::index::text::totals::FieldTotals;

/// A threshold is lowered by this factor before it is turned into a frequency, for floats round: a row that just reaches
/// it must not be lost. Far more than the error of the four operations, far less than scores differ by.
const THRESHOLD_SLACK: f32 = 0.999_99;

/// For each length code of a column what a frequency is set against: k1 × (1 − b + b × length / average length).
#[derive(Debug)]
pub(super) struct NormTable([f32; 256]);

impl NormTable {
    pub(super) fn new(k1: f32, b: f32, totals: FieldTotals) -> Self {
        let average = totals.tokens as f64 / totals.documents.max(1) as f64;
        let mut table = [0.0; 256];
        for (entry, norm) in table.iter_mut().zip(0_u8..=u8::MAX) {
            let length = f64::from(FieldNormReader::id_to_fieldnorm(norm));
            let relative_length = if average > 0.0 { length / average } else { 0.0 };
            *entry = (f64::from(k1) * (1.0 - f64::from(b) + f64::from(b) * relative_length)) as f32;
        }
        Self(table)
    }

    #[expect(clippy::indexing_slicing, reason = "there is an entry for each byte")]
    pub(super) fn get(&self, norm: u8) -> f32 {
        self.0[usize::from(norm)]
    }
}

/// The inverse document frequency of a term that `frequency` of `documents` hold.
pub(super) fn idf(documents: u64, frequency: u64) -> f32 {
    // A damaged head may state fewer documents than its postings have.
    let (documents, frequency) = (documents.max(frequency) as f64, frequency as f64);
    (1.0 + (documents - frequency + 0.5) / (frequency + 0.5)).ln() as f32
}

/// The score of a term with a weight of idf × (k1 + 1), in a text with an entry of the [`NormTable`].
pub(super) fn term_score(weight: f32, frequency: f32, norm: f32) -> f32 {
    weight * saturate_frequency(frequency, norm)
}

/// The part of its weight that a term scores: from 0, ever closer to 1.
pub(super) fn saturate_frequency(frequency: f32, norm: f32) -> f32 {
    frequency / (frequency + norm)
}

/// The lowest frequency that may score `threshold`, per unit of norm: where `frequency < this × norm` it cannot.
///
/// Solves w × f / (f + n) = t for f / n. One multiplication and one comparison then decide on a row, where its score
/// would take a division.
pub(super) fn min_frequency_for(weight: f32, threshold: f32) -> f32 {
    if weight <= 0.0 {
        return f32::NEG_INFINITY;
    }
    let share = threshold / weight * THRESHOLD_SLACK;
    if share < 1.0 { share / (1.0 - share) } else { f32::INFINITY }
}
