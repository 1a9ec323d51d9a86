//! What was read once is not read again: ranges of immutable objects, in memory and on a local disk.
//!
//! The cache sits in [`Blob`], where a format asks for its natural units (a block, a section, a bitmap): each
//! is kept whole, under its object and exact range, and handed out without a copy. Which units travel in one
//! request differs from query to query and leaves no trace here. Objects never change, so nothing is ever
//! invalidated.
//!
//! **Invariants:** the memory tier stays within its budget; no failure of the cache is an error of a read; a
//! cache without a disk tier spawns nothing, and [`BlockCache::off`] does nothing at all.

mod blob;
mod block;
#[cfg_attr(not(feature = "disk-cache"), path = "no_disk.rs")]
mod disk;
mod flight;
mod meter;
mod shared;
#[cfg(test)]
mod testing;

pub(crate) use blob::Blob;
pub(crate) use block::{Span, total_bytes};
#[cfg(feature = "disk-cache")]
pub(crate) use disk::DiskOptions;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use foyer::{Cache, CacheBuilder, S3FifoConfig};

use self::block::{BlockKey, Piece};
use self::disk::Disk;
use self::flight::Flights;
use self::meter::Count;
pub(crate) use self::meter::{Meter, Metered};
pub(crate) use self::shared::Shared;

/// What an entry costs beside its bytes and the name of its object: its record, its place in the index and
/// in the queues.
const ENTRY_OVERHEAD: usize = 256;
/// One lock guards a shard. More shards wait less for each other, but an entry must fit in one.
const SHARD_BYTES: usize = 32 << 20;
const SHARDS_MAX: usize = 8;

/// Blocks of the objects of one database. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct BlockCache(Option<Arc<Tiers>>, Shared);

/// What a cache did since it was opened, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Ranges found in memory.
    pub memory_hits: u64,
    /// Ranges found on the disk.
    pub disk_hits: u64,
    /// Ranges that joined a request for them that was under way.
    pub joined: u64,
    /// Ranges asked of the store.
    pub misses: u64,
    /// Bytes found in memory or on the disk.
    pub hit_bytes: u64,
    /// Bytes of the ranges asked of the store.
    pub miss_bytes: u64,
    /// Bytes of blocks held in memory now, within [`Settings::cache_bytes`](crate::Settings::cache_bytes).
    pub memory_bytes: u64,
    /// Bytes that open namespaces keep in memory beside the cache, about: what is always needed of their segments (ids,
    /// metadata of Parquet, fences, clusters, dictionaries), what their text indexes keep of what was asked, and their
    /// tails. Those without a handle stay within [`Settings::idle_bytes_max`](crate::Settings::idle_bytes_max).
    pub resident_bytes: u64,
}

/// The tiers behind a cache that is on.
struct Tiers {
    memory: Cache<BlockKey, Bytes>,
    disk: Option<Disk>,
    flights: Flights,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    memory_hits: AtomicU64,
    disk_hits: AtomicU64,
    joined: AtomicU64,
    misses: AtomicU64,
    hit_bytes: AtomicU64,
    miss_bytes: AtomicU64,
}

impl BlockCache {
    /// No cache: every read goes to the store, each for itself.
    pub(crate) fn off() -> Self {
        Self(None, Shared::default())
    }

    /// A cache in memory of at most `bytes`, which counts names and bookkeeping. With 0 it is off.
    pub(crate) fn memory(bytes: usize) -> Self {
        if bytes == 0 { Self::off() } else { Self::over(Tiers::new(bytes)) }
    }

    /// A cache in memory of at most `bytes`, over one on a local disk. Must be called on a tokio runtime,
    /// where the disk tier then runs its tasks and its blocking reads and writes. A disk that cannot be used
    /// is a warning, and the cache one in memory.
    #[cfg(feature = "disk-cache")]
    pub(crate) async fn with_disk(bytes: usize, disk: DiskOptions, env: &crate::env::Env) -> Self {
        match Disk::open(disk, env).await {
            Some(disk) => Self::over(Tiers { disk: Some(disk), ..Tiers::new(bytes) }),
            None => Self::memory(bytes),
        }
    }

    fn over(tiers: Tiers) -> Self {
        Self(Some(Arc::new(tiers)), Shared::default())
    }

    /// Decoded objects that are in use.
    pub(crate) fn shared(&self) -> &Shared {
        &self.1
    }

    /// What the cache did so far.
    pub(crate) fn stats(&self) -> CacheStats {
        self.0.as_ref().map(|tiers| tiers.stats()).unwrap_or_default()
    }

    /// Waits until the disk tier holds what it was given, and lets another process use its folder. Reads go
    /// on without it. A cache that is dropped unclosed loses only what was not yet written.
    pub(crate) async fn close(&self) {
        if let Some(disk) = self.0.as_ref().and_then(|tiers| tiers.disk.as_ref()) {
            disk.close().await;
        }
    }
}

impl Tiers {
    fn new(bytes: usize) -> Self {
        let memory = CacheBuilder::new(bytes)
            .with_shards((bytes / SHARD_BYTES).clamp(1, SHARDS_MAX))
            // A scan passes through a small queue and leaves what is used often alone.
            .with_eviction_config(S3FifoConfig::default())
            .with_weighter(weight)
            .build();
        Self { memory, disk: None, flights: Flights::default(), counters: Counters::default() }
    }

    /// A block in memory.
    fn get(&self, key: &BlockKey) -> Option<Bytes> {
        let block = self.memory.get(key)?.value().clone();
        self.counters.memory_hits.fetch_add(1, Ordering::Relaxed);
        meter::count(Count::MemoryHits, 1);
        self.counters.hit_bytes.fetch_add(block.len() as u64, Ordering::Relaxed);
        Some(block)
    }

    /// Those of `keys` that are on the disk. They are in memory from here on.
    async fn read_disk(&self, keys: Vec<BlockKey>) -> Vec<Piece> {
        let Some(disk) = &self.disk else { return Vec::new() };
        let reads = keys.into_iter().map(async |key| {
            let block = disk.get(&key).await?;
            self.counters.disk_hits.fetch_add(1, Ordering::Relaxed);
            meter::count(Count::DiskHits, 1);
            self.counters.hit_bytes.fetch_add(block.len() as u64, Ordering::Relaxed);
            let range = key.start..key.end;
            self.remember(key, block.clone());
            Some((range, block))
        });
        futures::future::join_all(reads).await.into_iter().flatten().collect()
    }

    /// Keeps a block that came from the store, as a copy: what came is often a slice of a larger buffer,
    /// all of which it would hold in memory.
    fn keep(&self, key: BlockKey, fetched: Bytes) -> Bytes {
        let disk = self.disk.as_ref().filter(|disk| disk.takes(fetched.len()));
        if disk.is_none() && !self.fits(&key, &fetched) {
            return fetched;
        }
        let block = Bytes::copy_from_slice(&fetched);
        if let Some(disk) = disk {
            disk.put(&key, block.clone());
        }
        self.remember(key, block.clone());
        block
    }

    fn remember(&self, key: BlockKey, block: Bytes) {
        if self.fits(&key, &block) {
            self.memory.insert(key, block);
        }
    }

    /// A larger entry would push out a shard whole.
    fn fits(&self, key: &BlockKey, block: &Bytes) -> bool {
        weight(key, block) <= self.memory.capacity() / self.memory.shards() / 2
    }

    fn stats(&self) -> CacheStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        CacheStats {
            memory_hits: count(&counters.memory_hits),
            disk_hits: count(&counters.disk_hits),
            joined: count(&counters.joined),
            misses: count(&counters.misses),
            hit_bytes: count(&counters.hit_bytes),
            miss_bytes: count(&counters.miss_bytes),
            memory_bytes: self.memory.usage() as u64,
            // Known to who opens namespaces.
            resident_bytes: 0,
        }
    }
}

impl fmt::Debug for Tiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stats().fmt(f)
    }
}

fn weight(key: &BlockKey, block: &Bytes) -> usize {
    ENTRY_OVERHEAD + key.object.as_str().len() + block.len()
}
