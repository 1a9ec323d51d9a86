//! The BM25 weight of a term in a part.

use std::sync::Arc;

use tantivy::directory::OwnedBytes;

use super::bm25::{NormTable, min_frequency_for, term_score};
use super::part::LoadedTextPart;
use super::stats::TextStats;
use crate::error::Result;

/// Scores rows for one term, or for a phrase: its weight, and the lengths of the rows.
#[derive(Clone, Debug)]
pub(super) struct Bm25Weight {
    /// idf × (k1 + 1) × boost: no row scores more.
    pub(super) weight: f32,
    norm_table: Arc<NormTable>,
    /// The length code of each row.
    norms: OwnedBytes,
    /// The average length that the stored block maxima were computed with; `None` for a run.
    indexed_average_length: Option<f32>,
}

impl Bm25Weight {
    pub(super) fn new(part: &LoadedTextPart, stats: &TextStats, field: usize, idf: f32) -> Result<Self> {
        Ok(Self {
            weight: idf * (part.plan.k1(field)? + 1.0),
            norm_table: stats.norm_table(field)?,
            norms: part.source.norms(field)?,
            indexed_average_length: part.source.indexed_average_length(field)?,
        })
    }

    pub(super) fn indexed_average_length(&self) -> Option<f32> {
        self.indexed_average_length
    }

    /// The norm of a length code.
    pub(super) fn norm_of_code(&self, code: u8) -> f32 {
        self.norm_table.get(code)
    }

    /// What the frequency of a row is set against.
    pub(super) fn norm_of(&self, row: u32) -> f32 {
        // invariant: a row beyond the part is in forged postings alone. It counts as empty, and no search returns it.
        self.norm_table.get(self.norms.get(row as usize).copied().unwrap_or_default())
    }

    /// The score of a row that holds the term `frequency` times.
    pub(super) fn score(&self, row: u32, frequency: f32) -> f32 {
        term_score(self.weight, frequency, self.norm_of(row))
    }

    /// The rows of the part.
    pub(super) fn row_count(&self) -> u64 {
        self.norms.len() as u64
    }

    /// See [`min_frequency_for`].
    #[expect(clippy::cast_possible_truncation, reason = "a bound, with room for rounding")]
    pub(super) fn min_frequency_for(&self, threshold: f64) -> f32 {
        min_frequency_for(self.weight, threshold as f32)
    }
}
