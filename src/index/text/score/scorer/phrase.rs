//! The scorer of a phrase.

use crate::index::text::postings::PhraseCursor;
use crate::index::text::score::weight::Bm25Weight;

/// Rows of a phrase, scored as a term whose idf is the sum over its words.
pub(in crate::index::text::score) struct PhraseScorer {
    pub(in crate::index::text::score) cursor: PhraseCursor,
    pub(in crate::index::text::score) weight: Bm25Weight,
}

impl PhraseScorer {
    /// The score of the current row.
    pub(super) fn score(&self) -> f32 {
        self.weight.score(self.cursor.row(), self.cursor.frequency())
    }
}
