//! The unit of the cache: a range of an object, under exactly that range.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::storage::ObjectKey;

/// A range of an object that a format reads as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// The XXH3-64 of its bytes, if it is known. It is checked when they arrive from the store, and not again when they
    /// come from the cache.
    pub(crate) checksum: Option<u64>,
}

impl Span {
    pub(crate) fn range(&self) -> Range<u64> {
        self.start..self.end
    }

    /// The order of spans: by start, then by end.
    pub(super) fn sort_key(&self) -> (u64, u64) {
        (self.start, self.end)
    }
}

/// The number of bytes in all spans.
pub(crate) fn total_bytes(spans: &[Span]) -> u64 {
    // invariant: ends are not below starts in a span that was decoded, and a total beyond u64 is above any limit.
    spans.iter().map(|span| span.end.saturating_sub(span.start)).fold(0, u64::saturating_add)
}

impl From<Range<u64>> for Span {
    fn from(range: Range<u64>) -> Self {
        Self { start: range.start, end: range.end, checksum: None }
    }
}

/// A range with its bytes.
pub(super) type Piece = (Range<u64>, Bytes);

/// The key of a block. Blocks of one object may overlap, but hardly ever do: a format always reads the same units, so a
/// map by exact range finds nearly all that an interval tree would.
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

/// The bytes of `range`, by binary search in pieces that ascend by [`sort_key`].
pub(super) fn find_piece(pieces: &[Piece], range: &Range<u64>) -> Option<Bytes> {
    let found = pieces.binary_search_by_key(&sort_key(range), |(range, _)| sort_key(range)).ok()?;
    pieces.get(found).map(|(_, bytes)| bytes.clone())
}

/// The order of ranges: by start, then by end.
pub(super) fn sort_key(range: &Range<u64>) -> (u64, u64) {
    (range.start, range.end)
}
