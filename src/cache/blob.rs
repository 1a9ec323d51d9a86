//! One immutable object, read by ranges through the cache.
//!
//! **Invariant:** the object is never written again under its name, or the cache would lie.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::try_join_all;

use super::block::{BlockKey, Piece, Span, find, order};
use super::flight::{Seat, Trip};
use super::meter::{self, Count};
use super::{BlockCache, Tiers};
use crate::codec::checksum;
use crate::error::{Error, ErrorKind, Result};
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
    /// Reads go past what is cached and what is under way; what they bring is kept.
    fresh: bool,
}

impl Blob {
    pub(crate) fn new(
        backend: Arc<dyn StorageBackend>,
        cache: BlockCache,
        key: impl Into<Arc<ObjectKey>>,
        size: u64,
    ) -> Self {
        Self { backend, cache, key: key.into(), size, fresh: false }
    }

    pub(crate) fn key(&self) -> &ObjectKey {
        &self.key
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The same object, read from the store itself. What it brings replaces what is cached.
    fn fresh(&self) -> Self {
        Self { fresh: true, ..self.clone() }
    }

    pub(crate) async fn read(&self, span: Span) -> Result<Bytes> {
        match self.in_memory(&span) {
            Some(block) => Ok(block),
            None => Ok(pick(&self.bring(std::slice::from_ref(&span)).await?, &span)),
        }
    }

    /// The bytes of each span, in their order, in one round trip: near ones are joined into one request, and
    /// all requests are issued together. Bytes with the wrong checksum are asked for once more, for the damage may
    /// be on the way; then they are an error.
    pub(crate) async fn read_many(&self, spans: &[Span]) -> Result<Vec<Bytes>> {
        let found: Vec<Option<Bytes>> = spans.iter().map(|span| self.in_memory(span)).collect();
        let missing = spans.iter().zip(&found).filter(|(_, found)| found.is_none());
        let missing: Vec<_> = missing.map(|(span, _)| span.clone()).collect();
        let pieces = self.bring(&missing).await?;
        let found = found.into_iter().zip(spans);
        Ok(found.map(|(found, span)| found.unwrap_or_else(|| pick(&pieces, span))).collect())
    }

    /// What `decode` makes of the bytes of each span, for formats with checksums of their own. If it finds them
    /// damaged they are read once more, past the cache.
    pub(crate) async fn read_decoded<T, F>(
        &self,
        spans: &[Span],
        decode: impl Fn(Vec<Bytes>) -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        match decode(self.read_many(spans).await?).await {
            Err(e) if is_damage(&e) => decode(self.fresh().read_many(spans).await?).await,
            outcome => outcome,
        }
    }

    fn in_memory(&self, span: &Span) -> Option<Bytes> {
        let tiers = self.cache.0.as_ref().filter(|_| !self.fresh)?;
        tiers.get(&self.block(span))
    }

    /// What is not in memory, in ascending order and each span once.
    async fn bring(&self, spans: &[Span]) -> Result<Vec<Piece>> {
        let mut missing: Vec<_> = spans.iter().filter(|span| !span.range().is_empty()).cloned().collect();
        missing.sort_unstable_by_key(Span::order);
        missing.dedup_by_key(|span| span.order());
        if let Some(beyond) = missing.iter().find(|span| span.end > self.size) {
            let cause = format!("range {:?} of {} bytes", beyond.range(), self.size);
            return Err(Error::corrupt(&self.key, cause));
        }
        match &self.cache.0 {
            _ if missing.is_empty() => Ok(Vec::new()),
            Some(tiers) if !self.fresh => match self.through(tiers, missing.clone()).await {
                Err(e) if is_damage(&e) => self.direct(&missing).await,
                outcome => outcome,
            },
            _ => match self.direct(&missing).await {
                Err(e) if is_damage(&e) => self.direct(&missing).await,
                outcome => outcome,
            },
        }
    }

    /// From the store, whatever is cached or under way.
    async fn direct(&self, missing: &[Span]) -> Result<Vec<Piece>> {
        let requests = join(missing);
        spend(&requests)?;
        let requests = requests.into_iter().map(|request| self.send(request));
        let pieces = meter::round(try_join_all(requests)).await?.concat();
        if let Some(tiers) = &self.cache.0 {
            for (range, fetched) in &pieces {
                tiers.keep(BlockKey::new(&self.key, range), fetched.clone());
            }
        }
        Ok(pieces)
    }

    /// Through the lower tiers, in the order of `missing`.
    async fn through(&self, tiers: &Arc<Tiers>, mut missing: Vec<Span>) -> Result<Vec<Piece>> {
        let mut pieces = tiers.read_disk(missing.iter().map(|span| self.block(span)).collect()).await;
        missing.retain(|span| find(&pieces, &span.range()).is_none());
        spend(&join(&missing))?;
        let keys: Vec<_> = missing.iter().map(|span| self.block(span)).collect();
        let depart = |open: Vec<BlockKey>| {
            let wanted = |span: &&Span| open.iter().any(|key| (key.start, key.end) == span.order());
            self.depart(tiers, &missing.iter().filter(wanted).cloned().collect::<Vec<_>>())
        };
        let seats = tiers.flights.board(&keys, |key| tiers.get(key), depart);
        let waits = missing.iter().zip(seats).map(async |(span, seat)| {
            let (flight, counter) = match seat {
                Seat::Here(block) => return Ok((span.range(), block)),
                Seat::Joined(flight) => {
                    meter::count(Count::Joined, 1);
                    (flight, &tiers.counters.joined)
                }
                Seat::Own(flight) => {
                    tiers.counters.miss_bytes.fetch_add(span.end - span.start, Ordering::Relaxed);
                    (flight, &tiers.counters.misses)
                }
            };
            counter.fetch_add(1, Ordering::Relaxed);
            let brought = meter::round(flight).await?;
            Ok::<_, Error>((span.range(), pick(&brought, span)))
        });
        pieces.extend(try_join_all(waits).await?);
        pieces.sort_unstable_by_key(|(range, _)| order(range));
        Ok(pieces)
    }

    /// The requests for spans in ascending order, each with what it brings. They keep what they bring.
    fn depart(&self, tiers: &Arc<Tiers>, spans: &[Span]) -> Vec<(Vec<BlockKey>, Trip)> {
        let depart = |request: Request| {
            let brings = request.spans.iter().map(|span| self.block(span)).collect();
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
        join(spans).into_iter().map(depart).collect()
    }

    /// The pieces of one request, each with its checksum verified.
    fn send(&self, request: Request) -> impl Future<Output = Result<Vec<Piece>>> + Send + use<> {
        let (backend, key) = (Arc::clone(&self.backend), Arc::clone(&self.key));
        async move {
            let bytes = backend.get_range(&key, request.whole.clone()).await;
            // Only what a manifest or an entry names is read here.
            let gone = |e: Error| if e.is(ErrorKind::NotFound) { Error::missing(&key) } else { e };
            let bytes = bytes.map_err(gone)?;
            let cut = |span: &Span| {
                let piece = request.cut(&bytes, &span.range()).ok_or_else(|| {
                    let cause = format!("{} bytes came for the range {:?}", bytes.len(), request.whole);
                    Error::corrupt(&key, cause)
                })?;
                if span.checksum.is_some_and(|expected| checksum(&piece) != expected) {
                    let cause = format!("checksum mismatch of the range {:?}", span.range());
                    return Err(Error::corrupt(&key, cause));
                }
                Ok((span.range(), piece))
            };
            request.spans.iter().map(cut).collect()
        }
    }

    fn block(&self, span: &Span) -> BlockKey {
        BlockKey::new(&self.key, &span.range())
    }
}

/// Whether to read once more: the damage may be on the way.
fn is_damage(error: &Error) -> bool {
    error.is(ErrorKind::Corrupt) && !error.is_missing()
}

/// Asks the budget of the query that reads for what requests bring.
fn spend(requests: &[Request]) -> Result<()> {
    let bytes = requests.iter().map(|request| request.whole.end - request.whole.start).sum();
    if requests.is_empty() { Ok(()) } else { meter::spend(requests.len() as u64, bytes) }
}

fn pick(pieces: &[Piece], span: &Span) -> Bytes {
    // Only an empty range was not asked for.
    find(pieces, &span.range()).unwrap_or_default()
}

/// One request to the store, and the spans it is for, in ascending order.
#[derive(Debug, PartialEq)]
struct Request {
    whole: Range<u64>,
    spans: Vec<Span>,
}

impl Request {
    /// A range of the bytes that came, which may be fewer than were asked for.
    fn cut(&self, bytes: &Bytes, range: &Range<u64>) -> Option<Bytes> {
        let offset = |position: u64| usize::try_from(position.checked_sub(self.whole.start)?).ok();
        let (start, end) = (offset(range.start)?, offset(range.end)?);
        (end <= bytes.len()).then(|| bytes.slice(start..end))
    }
}

/// The requests that cover `spans`, which are in ascending order and not empty.
fn join(spans: &[Span]) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    for span in spans {
        match requests.last_mut() {
            Some(Request { whole, spans })
                if span.start <= whole.end
                    || (span.start - whole.end <= GAP && span.end - whole.start <= JOINED_MAX) =>
            {
                whole.end = whole.end.max(span.end);
                spans.push(span.clone());
            }
            _ => requests.push(Request { whole: span.range(), spans: vec![span.clone()] }),
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

    const MIB: usize = 1 << 20;

    fn spans(ranges: &[Range<u64>]) -> Vec<Span> {
        ranges.iter().cloned().map(Span::from).collect()
    }

    fn wholes(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
        join(&spans(ranges)).into_iter().map(|request| request.whole).collect()
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
        assert_eq!(blob.read((100..200).into()).await?, store.expected(100..200));
        let ranges = [300..400, 100..200, 7..7, 50..60, 300..400];
        let expected: Vec<_> = ranges.iter().map(|range| store.expected(range.clone())).collect();
        assert_eq!(blob.read_many(&spans(&ranges)).await?, expected);
        assert_eq!(blob.read_many(&spans(&ranges)).await?, expected);
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
            blob.read(range.into()).await?;
            blob.read((0..10_000).into()).await?;
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
        blob.read((0..100).into()).await?;
        for _ in 0..2 {
            assert_eq!(blob.read((0..MIB as u64).into()).await?, store.expected(0..MIB as u64));
        }
        blob.read((0..100).into()).await?;
        assert_eq!(store.requests().len(), 3);
        Ok(())
    }

    #[tokio::test]
    async fn many_who_want_a_range_wait_for_one_request() -> Result<()> {
        let store = TestStore::new(MIB).await?;
        let cache = BlockCache::memory(8 * MIB);
        let blob = store.blob(&cache);
        store.hold();
        let both = spans(&[0..10, 500_000..500_010]);
        let mut all = std::pin::pin!(join_all((0..50).map(|_| blob.read_many(&both))));
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
        let both = spans(&[0..10, 20..30]);
        let mut leader = Box::pin(blob.read_many(&both));
        let mut follower = Box::pin(blob.read((20..30).into()));
        assert!(poll!(&mut leader).is_pending() && poll!(&mut follower).is_pending());
        drop(leader);
        assert!(poll!(&mut follower).is_pending());
        store.release();
        assert_eq!(follower.await?, store.expected(20..30));
        // The request went on, and what the leader wanted is there too.
        assert_eq!(blob.read((0..10).into()).await?, store.expected(0..10));
        assert_eq!(store.requests().as_slice(), std::slice::from_ref(&(0..30)));
        Ok(())
    }

    #[tokio::test]
    async fn a_request_that_all_gave_up_is_made_again() -> Result<()> {
        let store = TestStore::new(MIB).await?;
        let blob = store.blob(&BlockCache::memory(8 * MIB));
        store.hold();
        let mut read = Box::pin(blob.read((0..10).into()));
        assert!(poll!(&mut read).is_pending());
        drop(read);
        store.release();
        assert_eq!(blob.read((0..10).into()).await?, store.expected(0..10));
        assert_eq!(store.requests().len(), 2);
        Ok(())
    }

    #[tokio::test]
    async fn an_error_reaches_all_who_wait_and_is_not_kept() -> Result<()> {
        let store = TestStore::new(MIB).await?;
        let blob = store.blob(&BlockCache::memory(8 * MIB));
        store.hold();
        let mut reads = std::pin::pin!(join_all((0..3).map(|_| blob.read((0..10).into()))));
        assert!(poll!(&mut reads).is_pending());
        store.fail_next();
        store.release();
        for read in reads.await {
            assert_eq!(read.unwrap_err().kind(), ErrorKind::Unavailable);
        }
        assert_eq!(blob.read((0..10).into()).await?, store.expected(0..10));
        Ok(())
    }

    #[tokio::test]
    async fn a_range_past_the_end_is_damage_and_not_a_panic() -> Result<()> {
        let store = TestStore::new(100).await?;
        let blob = store.blob(&BlockCache::memory(MIB));
        assert_eq!(blob.read((50..101).into()).await.unwrap_err().kind(), ErrorKind::Corrupt);
        // The store holds less than was promised.
        let backend = Arc::new(store.clone());
        let longer = Blob::new(backend, BlockCache::off(), blob.key().clone(), 1 << 40);
        assert_eq!(longer.read((50..1 << 39).into()).await.unwrap_err().kind(), ErrorKind::Corrupt);
        Ok(())
    }

    #[tokio::test]
    async fn damaged_bytes_are_read_once_more_and_do_not_stay_in_the_cache() -> Result<()> {
        let store = TestStore::new(MIB).await?;
        let blob = store.blob(&BlockCache::memory(8 * MIB));
        let decode = |bytes: Vec<Bytes>| {
            let sound = bytes == [store.expected(5..10), store.expected(20..30)];
            futures::future::ready(if sound { Ok(()) } else { Err(Error::corrupt("object", "bad")) })
        };
        store.damage_next();
        blob.read_decoded(&spans(&[5..10, 20..30]), decode).await?;
        assert_eq!(store.requests().len(), 2);
        blob.read_decoded(&spans(&[5..10, 20..30]), decode).await?;
        assert_eq!(store.requests().len(), 2, "the sound bytes are cached");

        let refuse = |_: Vec<Bytes>| async { Err::<(), _>(Error::corrupt("object", "always")) };
        assert_eq!(
            blob.read_decoded(&[(5..10).into()], refuse).await.unwrap_err().kind(),
            ErrorKind::Corrupt
        );
        assert_eq!(store.requests().len(), 3, "once more and no more");
        Ok(())
    }

    #[tokio::test]
    async fn a_sum_is_checked_where_bytes_come_in() -> Result<()> {
        let store = TestStore::new(MIB).await?;
        for cache in [BlockCache::memory(8 * MIB), BlockCache::off()] {
            let blob = store.blob(&cache);
            let span = |range: Range<u64>| Span {
                checksum: Some(checksum(&store.expected(range.clone()))),
                ..range.into()
            };
            let before = store.requests().len();
            store.damage_next();
            assert_eq!(blob.read(span(5..10)).await?, store.expected(5..10));
            assert_eq!(store.requests().len() - before, 2, "once more, and it was right");
            let wrong = Span { checksum: Some(7), ..(20..30).into() };
            assert_eq!(blob.read(wrong).await.unwrap_err().kind(), ErrorKind::Corrupt);
            assert_eq!(store.requests().len() - before, 4, "once more and no more");
        }
        Ok(())
    }

    #[tokio::test]
    async fn without_a_cache_every_read_is_a_request() -> Result<()> {
        let store = TestStore::new(MIB).await?;
        let cache = BlockCache::memory(0);
        let blob = store.blob(&cache);
        for _ in 0..2 {
            assert_eq!(blob.read((0..10).into()).await?, store.expected(0..10));
        }
        assert_eq!(store.requests().len(), 2);
        assert_eq!(cache.stats(), crate::cache::CacheStats::default());
        Ok(())
    }

    #[test]
    fn every_range_gets_its_own_bytes() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let store = runtime.block_on(TestStore::new(MIB + 5000)).unwrap();
        let reads =
            proptest::collection::vec(proptest::collection::vec((0..MIB as u64, 0u64..5000), 0..20), 1..4);
        proptest!(|(reads in reads, bytes in prop_oneof![Just(0), 1000..MIB])| {
            let blob = store.blob(&BlockCache::memory(bytes));
            for ranges in reads {
                let ranges: Vec<_> = ranges.iter().map(|(start, len)| *start..start + len).collect();
                let expected: Vec<_> = ranges.iter().map(|r| store.expected(r.clone())).collect();
                prop_assert_eq!(runtime.block_on(blob.read_many(&spans(&ranges))).unwrap(), expected);
            }
        });
    }
}
