//! Statistics of a text column that BM25 needs: how many documents have text in it, and how long that is in all.

use tantivy::fieldnorm::FieldNormReader;

/// Documents with text in a column, and their length.
///
/// A length is what tantivy keeps of it in one byte, everywhere, also in the sums: the exact length of a stored
/// document is not known, and a dead document must subtract just what it added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldTotals {
    pub(crate) documents: u64,
    pub(crate) tokens: u64,
}

impl FieldTotals {
    /// Adds a text with the length code `norm`.
    pub(super) fn add_norm(&mut self, norm: u8) {
        self.documents += u64::from(norm > 0);
        self.tokens += u64::from(FieldNormReader::id_to_fieldnorm(norm));
    }

    /// Removes a text that was added before.
    pub(super) fn remove_norm(&mut self, norm: u8) {
        // invariant: saturating, since a damaged head may state smaller totals than its norms add up to.
        self.documents = self.documents.saturating_sub(u64::from(norm > 0));
        self.tokens = self.tokens.saturating_sub(u64::from(FieldNormReader::id_to_fieldnorm(norm)));
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.documents += other.documents;
        self.tokens += other.tokens;
    }
}
