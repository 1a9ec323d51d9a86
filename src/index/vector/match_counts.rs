//! How many codes of each cluster match a filter.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::section::RecordEntry;
use crate::codec::u64_of;

/// How many of the codes of each cluster match a filter.
#[derive(Debug)]
pub(crate) struct MatchCounts {
    pub(super) matching: Arc<RoaringBitmap>,
    /// The matching rows of each entry, if some list theirs.
    pub(super) rows: Option<Vec<u32>>,
    /// Codes that match, of all clusters.
    pub(super) codes: u64,
}

impl MatchCounts {
    /// What the counts take in memory, besides the rows that match.
    pub(crate) fn resident_bytes(&self) -> u64 {
        4 * self.rows.as_ref().map_or(0, |rows| u64_of(rows.len()))
    }

    /// Codes that match, of all clusters.
    pub(crate) fn codes(&self) -> u64 {
        self.codes
    }

    /// How many rows of an entry match.
    // Runs are counted on demand: of thousands of entries a query needs some tens.
    #[expect(clippy::indexing_slicing, reason = "there is a count for each entry of the same index")]
    pub(super) fn matching_rows(&self, number: usize, entry: &RecordEntry) -> u64 {
        match (&self.rows, entry.run()) {
            (Some(rows), _) => rows[number].into(),
            (None, Some(run)) => self.matching.range_cardinality(run),
            (None, None) => unreachable!("rows of all entries are counted if one lists them"),
        }
    }
}
