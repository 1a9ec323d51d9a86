//! What a dictionary stores of a term, of a segment or of the tail.

use std::sync::Arc;

use tantivy::postings::TermInfo;

use super::memory_postings::MemoryPostings;
use crate::index::text::terms::RowCount;

/// Where the postings of a term are.
#[derive(Clone, Debug)]
pub(crate) enum TermPostings {
    /// In the packed file of a segment.
    Stored(TermInfo),
    /// In the index of a run of the tail.
    Memory(Arc<MemoryPostings>),
}

impl RowCount for TermPostings {
    fn row_count(&self) -> u64 {
        match self {
            Self::Stored(info) => info.row_count(),
            Self::Memory(postings) => postings.row_count(),
        }
    }
}
