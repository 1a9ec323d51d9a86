//! One immutable object, read by ranges through the cache.
//!
//! **Invariant:** the object is never written again under its name, or the cache would lie.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::try_join_all;

use super::block::{BlockKey, Piece, find, order};
use super::flight::{Seat, Trip};
use super::{BlockCache, Tiers};
use crate::error::{Error, Result};
use crate::storage::{ObjectKey, StorageBackend};

/// Ranges closer than this become one request: at an object store's bandwidth the bytes between cost less
/// than another request.
const GAP: u64 = 64 << 10;
/// The longest range that joining makes: above it, requests in parallel are faster.
const JOINED_MAX: u64 = 8 << 20;

/// One immutable object.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    backend: Arc<dyn StorageBackend>,
    cache: BlockCache,
    key: Arc<ObjectKey>,
    size: u64,
}

impl Blob {
    pub(crate) fn new(
        backend: Arc<dyn StorageBackend>,
        cache: BlockCache,
        key: impl Into<Arc<ObjectKey>>,
        size: u64,
    ) -> Self {
        Self { backend, cache, key: key.into(), size }
    }

    pub(crate) fn key(&self) -> &ObjectKey {
        &self.key
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let tiers = self.cache.0.as_ref();
        if let Some(block) = tiers.and_then(|tiers| tiers.get(&self.block(&range))) {
            return Ok(block);
        }
        self.bring(std::slice::from_ref(&range)).await.map(|pieces| pick(&pieces, &range))
    }

    /// The bytes of each range, in their order, in one round trip: near ranges are joined into one request,
    /// and all requests are issued together.
    pub(crate) async fn read_many(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let tiers = self.cache.0.as_ref();
        let in_memory = |range| tiers.and_then(|tiers| tiers.get(&self.block(range)));
        let found: Vec<Option<Bytes>> = ranges.iter().map(in_memory).collect();
        let missing = ranges.iter().zip(&found).filter(|(_, found)| found.is_none());
        let missing: Vec<_> = missing.map(|(range, _)| range.clone()).collect();
        let pieces = self.bring(&missing).await?;
        let found = found.into_iter().zip(ranges);
        Ok(found.map(|(found, range)| found.unwrap_or_else(|| pick(&pieces, range))).collect())
    }

    /// What is not in memory, in ascending order and each range once.
    async fn bring(&self, ranges: &[Range<u64>]) -> Result<Vec<Piece>> {
        let mut missing: Vec<_> = ranges.iter().filter(|range| !range.is_empty()).cloned().collect();
        missing.sort_unstable_by_key(order);
        missing.dedup();
        if let Some(beyond) = missing.iter().find(|range| range.end > self.size) {
            return Err(Error::corrupt(&self.key, format!("range {beyond:?} of {} bytes", self.size)));
        }
        match &self.cache.0 {
            _ if missing.is_empty() => Ok(Vec::new()),
            Some(tiers) => self.through(tiers, missing).await,
            None => {
                let requests = join(&missing).into_iter().map(|request| self.send(request));
                Ok(try_join_all(requests).await?.concat())
            }
        }
    }

    /// Through the lower tiers, in the order of `missing`.
    async fn through(&self, tiers: &Arc<Tiers>, mut missing: Vec<Range<u64>>) -> Result<Vec<Piece>> {
        let mut pieces = tiers.read_disk(missing.iter().map(|range| self.block(range)).collect()).await;
        missing.retain(|range| find(&pieces, range).is_none());
        let keys: Vec<_> = missing.iter().map(|range| self.block(range)).collect();
        let seats = tiers.flights.board(&keys, |key| tiers.get(key), |keys| self.depart(tiers, &keys));
        let waits = missing.into_iter().zip(seats).map(async |(range, seat)| {
            let (flight, counter) = match seat {
                Seat::Here(block) => return Ok((range, block)),
                Seat::Joined(flight) => (flight, &tiers.counters.joined),
                Seat::Own(flight) => {
                    tiers.counters.miss_bytes.fetch_add(range.end - range.start, Ordering::Relaxed);
                    (flight, &tiers.counters.misses)
                }
            };
            counter.fetch_add(1, Ordering::Relaxed);
            let brought = flight.await?;
            Ok::<_, Error>((range.clone(), pick(&brought, &range)))
        });
        pieces.extend(try_join_all(waits).await?);
        pieces.sort_unstable_by_key(|(range, _)| order(range));
        Ok(pieces)
    }

    /// The requests for blocks in ascending order, each with what it brings. They keep what they bring.
    fn depart(&self, tiers: &Arc<Tiers>, keys: &[BlockKey]) -> Vec<(Vec<BlockKey>, Trip)> {
        let ranges: Vec<_> = keys.iter().map(|key| key.start..key.end).collect();
        let depart = |request: Request| {
            let brings = request.ranges.iter().map(|range| self.block(range)).collect();
            let (tiers, object, sent) = (Arc::clone(tiers), Arc::clone(&self.key), self.send(request));
            let trip = async move {
                let keep = |(range, fetched)| {
                    let block = tiers.keep(BlockKey::new(&object, &range), fetched);
                    (range, block)
                };
                Ok(sent.await?.into_iter().map(keep).collect())
            };
            (brings, trip.boxed())
        };
        join(&ranges).into_iter().map(depart).collect()
    }

    /// The pieces of one request.
    fn send(&self, request: Request) -> impl Future<Output = Result<Vec<Piece>>> + Send + use<> {
        let (backend, key) = (Arc::clone(&self.backend), Arc::clone(&self.key));
        async move {
            let bytes = backend.get_range(&key, request.whole.clone()).await?;
            let cut = |range: Range<u64>| request.cut(&bytes, &range).map(|piece| (range, piece));
            let pieces: Option<Vec<Piece>> = request.ranges.iter().cloned().map(cut).collect();
            let short = || format!("{} bytes came for the range {:?}", bytes.len(), request.whole);
            pieces.ok_or_else(|| Error::corrupt(&key, short()))
        }
    }

    fn block(&self, range: &Range<u64>) -> BlockKey {
        BlockKey::new(&self.key, range)
    }
}

fn pick(pieces: &[Piece], range: &Range<u64>) -> Bytes {
    // Only an empty range was not asked for.
    find(pieces, range).unwrap_or_default()
}

/// One request to the store, and the ranges it is for, in ascending order.
#[derive(Debug, PartialEq)]
struct Request {
    whole: Range<u64>,
    ranges: Vec<Range<u64>>,
}

impl Request {
    /// A range of the bytes that came, which may be fewer than were asked for.
    fn cut(&self, bytes: &Bytes, range: &Range<u64>) -> Option<Bytes> {
        let offset = |position: u64| usize::try_from(position.checked_sub(self.whole.start)?).ok();
        let (start, end) = (offset(range.start)?, offset(range.end)?);
        (end <= bytes.len()).then(|| bytes.slice(start..end))
    }
}

/// The requests that cover `ranges`, which are in ascending order and not empty.
fn join(ranges: &[Range<u64>]) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    for range in ranges {
        match requests.last_mut() {
            Some(Request { whole, ranges })
                if range.start <= whole.end
                    || (range.start - whole.end <= GAP && range.end - whole.start <= JOINED_MAX) =>
            {
                whole.end = whole.end.max(range.end);
                ranges.push(range.clone());
            }
            _ => requests.push(Request { whole: range.clone(), ranges: vec![range.clone()] }),
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use futures::poll;
    use proptest::prelude::*;

    use super::*;
    use crate::cache::testing::TestStore;
    use crate::error::ErrorKind;

    const MIB: usize = 1 << 20;

    fn wholes(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
        join(ranges).into_iter().map(|request| request.whole).collect()
    }

    #[test]
    fn near_ranges_become_one_request() {
        assert_eq!(wholes(&[0..10, 1000..1010]).as_slice(), std::slice::from_ref(&(0..1010)));
        assert_eq!(wholes(&[5..6, GAP + 7..GAP + 8]), [5..6, GAP + 7..GAP + 8]);
        assert_eq!(wholes(&[0..JOINED_MAX, JOINED_MAX + 1..JOINED_MAX + 2]).len(), 2);
    }

    #[tokio::test]
    async fn a_range_is_asked_for_once_and_only_misses_are_joined() -> Result<()> {
        let store = TestStore::new(MIB).await?;
        let cache = BlockCache::memory(8 * MIB);
        let blob = store.blob(&cache);
        assert_eq!(blob.read(100..200).await?, store.expected(100..200));
        let ranges = [300..400, 100..200, 7..7, 50..60, 300..400];
        let expected: Vec<_> = ranges.iter().map(|range| store.expected(range.clone())).collect();
        assert_eq!(blob.read_many(&ranges).await?, expected);
        assert_eq!(blob.read_many(&ranges).await?, expected);
        assert_eq!(store.requests(), [100..200, 50..400]);
        let stats = cache.stats();
        assert_eq!((stats.memory_hits, stats.misses, stats.miss_bytes), (5, 3, 210));
        Ok(())
    }

    #[tokio::test]
    async fn the_budget_holds_and_what_is_used_stays() -> Result<()> {
        let store = TestStore::new(8 * MIB).await?;
        let cache = BlockCache::memory(MIB);
        let blob = store.blob(&cache);
        for start in (0..8 * MIB as u64).step_by(10_000) {
            let range = start..(start + 10_000).min(blob.size());
            blob.read(range).await?;
            blob.read(0..10_000).await?;
            assert!(cache.stats().memory_bytes <= MIB as u64);
        }
        assert_eq!(store.requests().iter().filter(|range| range.start == 0).count(), 1);
        assert!(cache.stats().memory_bytes > MIB as u64 / 2);
        Ok(())
    }

    #[tokio::test]
    async fn a_block_too_large_to_keep_is_read_and_not_kept() -> Result<()> {
        let store = TestStore::new(2 * MIB).await?;
        let cache = BlockCache::memory(MIB);
        let blob = store.blob(&cache);
        blob.read(0..100).await?;
        for _ in 0..2 {
            assert_eq!(blob.read(0..MIB as u64).await?, store.expected(0..MIB as u64));
        }
        blob.read(0..100).await?;
        assert_eq!(store.requests().len(), 3);
        Ok(())
    }

    #[tokio::test]
    async fn many_who_want_a_range_wait_for_one_request() -> Result<()> {
        let store = TestStore::new(MIB).await?;
        let cache = BlockCache::memory(8 * MIB);
        let blob = store.blob(&cache);
        store.hold();
        let mut all = std::pin::pin!(join_all((0..50).map(|_| blob.read_many(&[0..10, 500_000..500_010]))));
        assert!(poll!(&mut all).is_pending());
        store.release();
        for read in all.await {
            assert_eq!(read?, [store.expected(0..10), store.expected(500_000..500_010)]);
        }
        assert_eq!(store.requests().len(), 2);
        assert_eq!((cache.stats().misses, cache.stats().joined), (2, 98));
        Ok(())
    }

    #[tokio::test]
    async fn a_dropped_leader_leaves_its_request_to_the_others() -> Result<()> {
        let store = TestStore::new(MIB).await?;
        let cache = BlockCache::memory(8 * MIB);
        let blob = store.blob(&cache);
        store.hold();
        let mut leader = Box::pin(blob.read_many(&[0..10, 20..30]));
        let mut follower = Box::pin(blob.read(20..30));
        assert!(poll!(&mut leader).is_pending() && poll!(&mut follower).is_pending());
        drop(leader);
        assert!(poll!(&mut follower).is_pending());
        store.release();
        assert_eq!(follower.await?, store.expected(20..30));
        // The request went on, and what the leader wanted is there too.
        assert_eq!(blob.read(0..10).await?, store.expected(0..10));
        assert_eq!(store.requests().as_slice(), std::slice::from_ref(&(0..30)));
        Ok(())
    }

    #[tokio::test]
    async fn a_request_that_all_gave_up_is_made_again() -> Result<()> {
        let store = TestStore::new(MIB).await?;
        let blob = store.blob(&BlockCache::memory(8 * MIB));
        store.hold();
        let mut read = Box::pin(blob.read(0..10));
        assert!(poll!(&mut read).is_pending());
        drop(read);
        store.release();
        assert_eq!(blob.read(0..10).await?, store.expected(0..10));
        assert_eq!(store.requests().len(), 2);
        Ok(())
    }

    #[tokio::test]
    async fn an_error_reaches_all_who_wait_and_is_not_kept() -> Result<()> {
        let store = TestStore::new(MIB).await?;
        let blob = store.blob(&BlockCache::memory(8 * MIB));
        store.hold();
        let mut reads = std::pin::pin!(join_all((0..3).map(|_| blob.read(0..10))));
        assert!(poll!(&mut reads).is_pending());
        store.fail_next();
        store.release();
        for read in reads.await {
            assert_eq!(read.unwrap_err().kind(), ErrorKind::Unavailable);
        }
        assert_eq!(blob.read(0..10).await?, store.expected(0..10));
        Ok(())
    }

    #[tokio::test]
    async fn a_range_past_the_end_is_damage_and_not_a_panic() -> Result<()> {
        let store = TestStore::new(100).await?;
        let blob = store.blob(&BlockCache::memory(MIB));
        assert_eq!(blob.read(50..101).await.unwrap_err().kind(), ErrorKind::Corrupt);
        // The store holds less than was promised.
        let backend = Arc::new(store.clone());
        let longer = Blob::new(backend, BlockCache::off(), blob.key().clone(), 1 << 40);
        assert_eq!(longer.read(50..1 << 39).await.unwrap_err().kind(), ErrorKind::Corrupt);
        Ok(())
    }

    #[tokio::test]
    async fn without_a_cache_every_read_is_a_request() -> Result<()> {
        let store = TestStore::new(MIB).await?;
        let cache = BlockCache::memory(0);
        let blob = store.blob(&cache);
        for _ in 0..2 {
            assert_eq!(blob.read(0..10).await?, store.expected(0..10));
        }
        assert_eq!(store.requests().len(), 2);
        assert_eq!(cache.stats(), crate::cache::CacheStats::default());
        Ok(())
    }

    #[test]
    fn every_range_gets_its_own_bytes() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let store = runtime.block_on(TestStore::new(MIB + 5000)).unwrap();
        let reads =
            proptest::collection::vec(proptest::collection::vec((0..MIB as u64, 0u64..5000), 0..20), 1..4);
        proptest!(|(reads in reads, bytes in prop_oneof![Just(0), 1000..MIB])| {
            let blob = store.blob(&BlockCache::memory(bytes));
            for ranges in reads {
                let ranges: Vec<_> = ranges.iter().map(|(start, len)| *start..start + len).collect();
                let expected: Vec<_> = ranges.iter().map(|r| store.expected(r.clone())).collect();
                prop_assert_eq!(runtime.block_on(blob.read_many(&ranges)).unwrap(), expected);
            }
        });
    }
}
