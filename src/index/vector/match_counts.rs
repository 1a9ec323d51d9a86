//! How many codes of each cluster match a filter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use roaring::RoaringBitmap;

use super::section::RecordEntry;
use crate::codec::u64_of;

/// In place of a count that nobody has needed yet. No entry has as many rows.
const UNKNOWN: u32 = u32::MAX;

/// How many of the codes of each cluster match a filter.
// A run is counted when it is asked for, once: of thousands of entries a query needs some tens, each several times.
#[derive(Debug)]
pub(crate) struct MatchCounts {
    matching: Arc<RoaringBitmap>,
    /// The matching rows of each entry.
    rows: Box<[AtomicU32]>,
    /// Codes that match, of all clusters.
    pub(super) codes: u64,
}

impl MatchCounts {
    /// Counts of `entries` entries, to be counted on demand.
    pub(super) fn of_runs(matching: Arc<RoaringBitmap>, entries: usize) -> Self {
        Self::of_rows(matching, std::iter::repeat_n(UNKNOWN, entries))
    }

    /// Counts that are known.
    pub(super) fn of_rows(matching: Arc<RoaringBitmap>, rows: impl IntoIterator<Item = u32>) -> Self {
        Self { matching, rows: rows.into_iter().map(AtomicU32::new).collect(), codes: 0 }
    }

    /// What the counts take in memory, besides the rows that match.
    pub(crate) fn resident_bytes(&self) -> u64 {
        4 * u64_of(self.rows.len())
    }

    /// Codes that match, of all clusters.
    pub(crate) fn codes(&self) -> u64 {
        self.codes
    }

    /// How many rows of an entry match.
    #[expect(clippy::indexing_slicing, reason = "there is a count for each entry of the same index")]
    pub(super) fn matching_rows(&self, number: usize, entry: &RecordEntry) -> u64 {
        // The order of memory does not matter: whoever finds a count unknown finds the same.
        let known = self.rows[number].load(Ordering::Relaxed);
        if known != UNKNOWN {
            return known.into();
        }
        let Some(run) = entry.run() else {
            unreachable!("rows of all entries are counted if one lists them")
        };
        let count = self.matching.range_cardinality(run);
        if let Ok(count) = u32::try_from(count) {
            self.rows[number].store(count, Ordering::Relaxed);
        }
        count
    }
}
