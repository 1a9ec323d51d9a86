//! One immutable object, read by ranges through the cache.
//!
//! **Invariant:** an object is never written again under its key. The cache does not revalidate what it holds.

mod coalesce;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::try_join_all;

use self::coalesce::{RangeRequest, coalesce_spans};
use super::BlockCache;
use super::block::{BlockKey, Piece, Span, find_piece, sort_key};
use super::meter::{self, CacheCounter};
use super::single_flight::{BlockSource, Fetch};
use super::tiers::Tiers;
use crate::codec::zip_equal;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{ObjectKey, StorageBackend};

/// One immutable object.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    backend: Arc<dyn StorageBackend>,
    cache: BlockCache,
    key: Arc<ObjectKey>,
    size: u64,
    /// Whether reads ignore cached blocks and fetches in flight. What they bring replaces what is cached.
    bypasses_cache: bool,
}

impl Blob {
    pub(crate) fn new(
        backend: Arc<dyn StorageBackend>,
        cache: BlockCache,
        key: impl Into<Arc<ObjectKey>>,
        size: u64,
    ) -> Self {
        Self { backend, cache, key: key.into(), size, bypasses_cache: false }
    }

    pub(crate) fn key(&self) -> &ObjectKey {
        &self.key
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    #[cfg(test)]
    pub(crate) async fn read(&self, span: Span) -> Result<Bytes> {
        match self.find_in_memory(&span) {
            Some(block) => Ok(block),
            None => require_piece(&self.fetch_missing(std::slice::from_ref(&span)).await?, &span),
        }
    }

    /// The bytes of each span, in the order of `spans`, in one round trip: spans that lie close together become one
    /// request, and all requests are sent at once.
    ///
    /// Bytes with a wrong checksum are requested once more, since the damage may have happened in transit. If they are
    /// wrong again, that is an error.
    pub(crate) async fn read_many(&self, spans: &[Span]) -> Result<Vec<Bytes>> {
        let cached: Vec<Option<Bytes>> = spans.iter().map(|span| self.find_in_memory(span)).collect();
        let missing = spans.iter().zip(&cached).filter(|(_, block)| block.is_none());
        let missing: Vec<_> = missing.map(|(span, _)| span.clone()).collect();
        let fetched = self.fetch_missing(&missing).await?;
        let block = |(cached, span): (Option<Bytes>, &Span)| match cached {
            Some(block) => Ok(block),
            None => require_piece(&fetched, span),
        };
        cached.into_iter().zip(spans).map(block).collect()
    }

    /// Reads the spans and decodes them, for formats with checksums of their own. If `decode` finds the bytes damaged,
    /// they are read once more from the store, and decoded again.
    pub(crate) async fn read_decoded<T, F>(
        &self,
        spans: &[Span],
        decode: impl Fn(Vec<Bytes>) -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        match decode(self.read_many(spans).await?).await {
            // Past the cache: there the same damaged bytes would be found again.
            Err(e) if may_be_transient(&e) => decode(self.bypassing_cache().read_many(spans).await?).await,
            outcome => outcome,
        }
    }

    /// The same object, read past the cache: for much that is read once.
    pub(crate) fn uncached(&self) -> Self {
        Self { cache: BlockCache::off(), ..self.clone() }
    }

    fn bypassing_cache(&self) -> Self {
        Self { bypasses_cache: true, ..self.clone() }
    }

    fn find_in_memory(&self, span: &Span) -> Option<Bytes> {
        let tiers = self.cache.tiers().filter(|_| !self.bypasses_cache)?;
        tiers.find_in_memory(&self.block_key(span))
    }

    /// Fetches spans that are not in memory. The pieces ascend, and there is one for each span that is not empty.
    async fn fetch_missing(&self, spans: &[Span]) -> Result<Vec<Piece>> {
        let mut missing: Vec<_> = spans.iter().filter(|span| !span.range().is_empty()).cloned().collect();
        // Ascending, because coalescing and `find_piece` rely on it; once each, because a key has one fetch.
        missing.sort_unstable_by_key(Span::sort_key);
        missing.dedup_by_key(|span| span.sort_key());
        if let Some(beyond) = missing.iter().find(|span| span.end > self.size) {
            let cause = format!("range {:?} of {} bytes", beyond.range(), self.size);
            return Err(Error::corrupt(&self.key, cause));
        }
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let first = match self.cache.tiers().filter(|_| !self.bypasses_cache) {
            Some(tiers) => self.fetch_through_cache(tiers, missing.clone()).await,
            None => self.fetch_from_store(&missing).await,
        };
        match first {
            Err(e) if may_be_transient(&e) => self.fetch_from_store(&missing).await,
            outcome => outcome,
        }
    }

    /// Fetches from the store, whatever is cached or in flight, and caches what arrives.
    async fn fetch_from_store(&self, missing: &[Span]) -> Result<Vec<Piece>> {
        let requests = coalesce_spans(missing);
        charge_requests(&requests)?;
        let requests = requests.into_iter().map(|request| self.send_request(request));
        Ok(meter::count_round(try_join_all(requests)).await?.concat())
    }

    /// Fetches from the disk tier, and from the store what it lacks. The pieces ascend.
    async fn fetch_through_cache(&self, tiers: &Arc<Tiers>, mut missing: Vec<Span>) -> Result<Vec<Piece>> {
        let mut pieces =
            tiers.read_from_disk(missing.iter().map(|span| self.block_key(span)).collect()).await;
        missing.retain(|span| find_piece(&pieces, &span.range()).is_none());
        // Charged as if nothing were in flight: whether another query fetches the same blocks right now must not
        // decide whether this one is within its budget.
        charge_requests(&coalesce_spans(&missing))?;
        let keys: Vec<_> = missing.iter().map(|span| self.block_key(span)).collect();
        let make_fetches = |open: Vec<BlockKey>| {
            let is_open = |span: &&Span| open.iter().any(|key| (key.start, key.end) == span.sort_key());
            self.make_fetches(&missing.iter().filter(is_open).cloned().collect::<Vec<_>>())
        };
        let sources = tiers.in_flight.join_or_start(&keys, |key| tiers.find_in_memory(key), make_fetches)?;
        let waits = zip_equal(&missing, sources, "spans and their sources")?;
        let waits = waits.map(async |(span, source)| {
            let fetch = match source {
                BlockSource::Memory(block) => return Ok((span.range(), block)),
                BlockSource::Joined(fetch) => {
                    meter::record(CacheCounter::Joined, 1);
                    tiers.counters.joined.fetch_add(1, Ordering::Relaxed);
                    fetch
                }
                BlockSource::Started(fetch) => {
                    tiers.counters.misses.fetch_add(1, Ordering::Relaxed);
                    tiers.counters.miss_bytes.fetch_add(span.end - span.start, Ordering::Relaxed);
                    fetch
                }
            };
            let fetched = meter::count_round(fetch).await?;
            Ok::<_, Error>((span.range(), require_piece(&fetched, span)?))
        });
        pieces.extend(try_join_all(waits).await?);
        pieces.sort_unstable_by_key(|(range, _)| sort_key(range));
        Ok(pieces)
    }

    /// Fetches of `spans`, which ascend, each with the keys that it brings.
    fn make_fetches(&self, spans: &[Span]) -> Vec<(Vec<BlockKey>, Fetch)> {
        let make_fetch = |request: RangeRequest| {
            let brings = request.spans.iter().map(|span| self.block_key(span)).collect();
            let response = self.send_request(request);
            let fetch = async move { Ok(response.await?.into()) };
            (brings, fetch.boxed())
        };
        coalesce_spans(spans).into_iter().map(make_fetch).collect()
    }

    /// Sends one request. What arrives is in the cache when this ends, as [`SingleFlight`](super::single_flight::SingleFlight)
    /// requires. Owns what it needs, because a shared fetch outlives the reader that started it.
    fn send_request(&self, request: RangeRequest) -> impl Future<Output = Result<Vec<Piece>>> + Send + use<> {
        let (backend, key) = (Arc::clone(&self.backend), Arc::clone(&self.key));
        let tiers = self.cache.tiers().map(Arc::clone);
        async move {
            // Blobs are files that a manifest or a log entry names: one that is gone is either lost, or was collected
            // after a newer manifest replaced it. `Error::missing` lets the reader find out which.
            let missing = |e: Error| if e.is(ErrorKind::NotFound) { Error::missing(&key) } else { e };
            let bytes = backend.get_range(&key, request.range.clone()).await.map_err(missing)?;
            let length = bytes.len();
            let pieces = request.split_response(&key, bytes)?;
            let Some(tiers) = tiers else { return Ok(pieces) };
            let insert = |(range, fetched)| {
                let block = tiers.insert_fetched(BlockKey::new(&key, &range), fetched, length);
                (range, block)
            };
            Ok(pieces.into_iter().map(insert).collect())
        }
    }

    fn block_key(&self, span: &Span) -> BlockKey {
        BlockKey::new(&self.key, &span.range())
    }
}

/// Whether another request may bring sound bytes: damage in transit looks like damage at rest.
fn may_be_transient(error: &Error) -> bool {
    error.is(ErrorKind::Corrupt) && !error.is_missing()
}

/// Charges requests to the budget of the query that reads.
fn charge_requests(requests: &[RangeRequest]) -> Result<()> {
    let bytes = requests.iter().map(|request| request.range.end - request.range.start).sum();
    if requests.is_empty() { Ok(()) } else { meter::charge(requests.len() as u64, bytes) }
}

/// The bytes of a span among those that were fetched. Empty spans are not fetched.
fn require_piece(pieces: &[Piece], span: &Span) -> Result<Bytes> {
    match find_piece(pieces, &span.range()) {
        Some(piece) => Ok(piece),
        None if span.range().is_empty() => Ok(Bytes::new()),
        None => Err(Error::internal("a fetch did not bring a span that it was for")),
    }
}
