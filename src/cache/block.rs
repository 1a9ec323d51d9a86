//! What is kept: a range of an object, under its exact place.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::storage::ObjectKey;

/// Bytes of an object that are read together: what a format asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Their XXH3-64, if it is known. It is checked when they come from the store; what is cached is sound.
    pub(crate) checksum: Option<u64>,
}

impl Span {
    pub(crate) fn range(&self) -> Range<u64> {
        self.start..self.end
    }

    /// Spans in ascending order: by where they start, then by where they end.
    pub(super) fn order(&self) -> (u64, u64) {
        (self.start, self.end)
    }
}

/// How many bytes spans are together.
pub(crate) fn total_bytes(spans: &[Span]) -> u64 {
    spans.iter().map(|span| span.end.saturating_sub(span.start)).fold(0, u64::saturating_add)
}

impl From<Range<u64>> for Span {
    fn from(range: Range<u64>) -> Self {
        Self { start: range.start, end: range.end, checksum: None }
    }
}

/// A range with its bytes.
pub(super) type Piece = (Range<u64>, Bytes);

/// The place of a block. Two blocks of one object may overlap: a format asks for its own units, which hardly
/// ever do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct BlockKey {
    pub(super) object: Arc<ObjectKey>,
    pub(super) start: u64,
    pub(super) end: u64,
}

impl BlockKey {
    pub(super) fn new(object: &Arc<ObjectKey>, range: &Range<u64>) -> Self {
        Self { object: Arc::clone(object), start: range.start, end: range.end }
    }
}

/// The bytes of `range` among pieces in ascending order of their ranges.
pub(super) fn find(pieces: &[Piece], range: &Range<u64>) -> Option<Bytes> {
    let at = pieces.binary_search_by_key(&order(range), |(range, _)| order(range)).ok()?;
    pieces.get(at).map(|(_, bytes)| bytes.clone())
}

/// Ranges in ascending order: by where they start, then by where they end.
pub(super) fn order(range: &Range<u64>) -> (u64, u64) {
    (range.start, range.end)
}
