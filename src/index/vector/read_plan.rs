//! Which records a search reads, and how many at a time.

use super::section::RecordEntry;

/// The records that a search reads, those of the nearest clusters first.
#[derive(Debug, Default)]
pub(crate) struct ReadPlan {
    /// The records that are in memory at a time.
    pub(crate) windows: Vec<ReadWindow>,
    pub(crate) clusters: u64,
    pub(crate) bytes: u64,
}

/// Records that are read and scanned together.
#[derive(Debug)]
pub(crate) struct ReadWindow {
    pub(super) entries: Vec<RecordEntry>,
    pub(crate) bytes: u64,
}
