//! One immutable object, read by ranges.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join_all;

use super::{ObjectKey, StorageBackend};
use crate::error::Result;

/// Ranges closer than this become one request: at an object store's bandwidth the bytes between cost less
/// than another request.
const GAP: u64 = 64 << 10;
/// The longest range that joining makes: above it, requests in parallel are faster.
const JOINED_MAX: u64 = 8 << 20;

/// One immutable object.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    backend: Arc<dyn StorageBackend>,
    key: ObjectKey,
    size: u64,
}

impl Blob {
    pub(crate) fn new(backend: Arc<dyn StorageBackend>, key: ObjectKey, size: u64) -> Self {
        Self { backend, key, size }
    }

    pub(crate) fn key(&self) -> &ObjectKey {
        &self.key
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        self.backend.get_range(&self.key, range).await
    }

    /// The bytes of each range, in their order, in one round trip: near ranges are joined into one request,
    /// and all requests are issued together.
    pub(crate) async fn read_many(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let joined = join(ranges);
        let bytes = try_join_all(joined.iter().map(|range| self.read(range.clone()))).await?;
        Ok(ranges.iter().map(|range| cut(&joined, &bytes, range)).collect())
    }
}

/// The requests that cover `ranges`, in ascending order.
fn join(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = ranges.iter().filter(|r| !r.is_empty()).cloned().collect();
    sorted.sort_unstable_by_key(|r| r.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match joined.last_mut() {
            Some(last)
                if range.start <= last.end
                    || (range.start - last.end <= GAP && range.end - last.start <= JOINED_MAX) =>
            {
                last.end = last.end.max(range.end);
            }
            _ => joined.push(range),
        }
    }
    joined
}

fn cut(joined: &[Range<u64>], bytes: &[Bytes], range: &Range<u64>) -> Bytes {
    let at = joined.partition_point(|r| r.start <= range.start).checked_sub(1);
    let found = at.and_then(|at| Some((joined.get(at)?, bytes.get(at)?)));
    match found {
        Some((whole, bytes)) if !range.is_empty() => {
            let offset = |position: u64| usize::try_from(position - whole.start).unwrap_or(usize::MAX);
            bytes.slice(offset(range.start)..offset(range.end))
        }
        _ => Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn near_ranges_become_one_request() {
        assert_eq!(join(&[0..10, 1000..1010]), [0..1010]);
        assert_eq!(join(&[5..6, GAP + 7..GAP + 8]), [5..6, GAP + 7..GAP + 8]);
        assert_eq!(join(&[0..JOINED_MAX, JOINED_MAX + 1..JOINED_MAX + 2]).len(), 2);
    }

    proptest! {
        #[test]
        fn every_range_gets_its_own_bytes(
            starts in proptest::collection::vec((0u64..1 << 20, 0u64..5000), 0..40)
        ) {
            let whole = Bytes::from((0..(1 << 20) + 5000).map(|i| (i % 251) as u8).collect::<Vec<_>>());
            let slice = |r: &Range<u64>| whole.slice(r.start as usize..r.end as usize);
            let ranges: Vec<_> = starts.iter().map(|(start, len)| *start..start + len).collect();
            let joined = join(&ranges);
            let bytes: Vec<_> = joined.iter().map(slice).collect();
            for range in &ranges {
                prop_assert_eq!(cut(&joined, &bytes, range), slice(range));
            }
        }
    }
}
