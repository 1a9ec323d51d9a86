//! Coalescing: ranges that lie close together in an object become one request.

use std::ops::Range;

use bytes::Bytes;

use crate::cache::block::{Piece, Span};
use crate::codec::{checksum, to_usize};
use crate::error::{Error, Result};
use crate::storage::ObjectKey;

/// The largest gap between two ranges that are fetched by one request.
///
/// An object store takes tens of milliseconds to the first byte of a request, and then sends some tens of megabytes a
/// second: in the time of another request a connection moves about a megabyte. The gap is far below that because unused
/// bytes also count against the budget of a query, and take bandwidth from requests in parallel.
pub(super) const GAP_MAX: u64 = 64 << 10;
/// The longest range that coalescing makes. Above it, several connections in parallel are faster than one: 8 MiB is the
/// part size that S3's own guidelines give for ranged reads (8 to 16 MiB).
pub(super) const RANGE_MAX: u64 = 8 << 20;

/// One request to the store, and the spans that it serves, in ascending order.
#[derive(Debug, PartialEq)]
pub(super) struct RangeRequest {
    pub(super) range: Range<u64>,
    pub(super) spans: Vec<Span>,
}

impl RangeRequest {
    /// Divides the bytes that arrived among the spans, and verifies the checksum of each. The pieces share their memory.
    #[expect(clippy::needless_pass_by_value, reason = "a single piece is then the only owner of its memory")]
    pub(super) fn split_response(&self, key: &ObjectKey, bytes: Bytes) -> Result<Vec<Piece>> {
        let split = |span: &Span| {
            // Both are within the request, whose spans made its range.
            let start = to_usize(span.start - self.range.start, "an offset in a response")?;
            let end = to_usize(span.end - self.range.start, "an offset in a response")?;
            if end > bytes.len() {
                let cause = format!("{} bytes arrived for the range {:?}", bytes.len(), self.range);
                return Err(Error::corrupt(key, cause));
            }
            let piece = bytes.slice(start..end);
            if span.checksum.is_some_and(|expected| checksum(&piece) != expected) {
                return Err(Error::corrupt(
                    key,
                    format!("checksum mismatch in the range {:?}", span.range()),
                ));
            }
            Ok((span.range(), piece))
        };
        self.spans.iter().map(split).collect()
    }
}

/// The requests that cover `spans`, which ascend and are not empty.
pub(super) fn coalesce_spans(spans: &[Span]) -> Vec<RangeRequest> {
    let mut requests: Vec<RangeRequest> = Vec::new();
    for span in spans {
        match requests.last_mut() {
            // Overlapping spans are joined however long that gets: apart they would fetch the same bytes twice.
            Some(RangeRequest { range, spans })
                if span.start <= range.end
                    || (span.start - range.end <= GAP_MAX && span.end - range.start <= RANGE_MAX) =>
            {
                range.end = range.end.max(span.end);
                spans.push(span.clone());
            }
            _ => requests.push(RangeRequest { range: span.range(), spans: vec![span.clone()] }),
        }
    }
    requests
}
