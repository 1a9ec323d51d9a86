//! What an index answers: candidates.

use roaring::RoaringBitmap;

/// The answer of an index to a predicate: the rows that match for certain, and those that can match. All other rows do
/// not match.
///
/// `possible` holds every row of `definite`. The rows between the two are in doubt, and only they have to be read and
/// compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Candidates {
    pub(crate) definite: RoaringBitmap,
    pub(crate) possible: RoaringBitmap,
}

impl Candidates {
    /// The answer that leaves no row in doubt.
    pub(crate) fn exact(rows: RoaringBitmap) -> Self {
        Self { possible: rows.clone(), definite: rows }
    }
}
