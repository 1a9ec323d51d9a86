//! The tiers of a cache that is on: memory, a local disk if there is one, and the fetches in flight.

use std::fmt;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use foyer_memory::{Cache, CacheBuilder, S3FifoConfig};

use super::block::{BlockKey, Piece};
use super::disk::Disk;
use super::meter::{self, CacheCounter};
use super::single_flight::SingleFlight;
use super::stats::{CacheCounters, CacheStats};

/// What an entry takes besides its bytes and the name of its object: its record, its slot in the index and its links in
/// the queues. An estimate from above, so that the budget holds for many small blocks too.
const ENTRY_OVERHEAD: usize = 256;
/// The memory of a shard, at least. More shards mean less waiting for the lock of each, but a shard bounds the size of
/// its entries: see [`SHARD_PART`].
const SHARD_BYTES_MIN: usize = 32 << 20;
/// A lock is held for one map operation, so a few shards keep even a large machine from waiting.
const SHARDS_MAX: usize = 8;
/// Blocks of at least this size are kept as they arrived, without a copy, if they are all that arrived. A smaller one may
/// be in the read buffer of a connection, which is at most about half as large, and would keep all of it alive.
const SHARED_BYTES_MIN: usize = 1 << 20;
/// An entry takes at most this part of a shard: a larger one would evict nearly everything else in it.
const SHARD_PART: usize = 2;

pub(super) struct Tiers {
    memory: Cache<BlockKey, Bytes>,
    disk: Option<Disk>,
    pub(super) in_flight: SingleFlight,
    pub(super) counters: CacheCounters,
}

impl Tiers {
    pub(super) fn new(memory_bytes: usize) -> Self {
        let memory = CacheBuilder::new(memory_bytes)
            .with_shards((memory_bytes / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX))
            // S3-FIFO: a scan passes through its small queue and does not evict what is used often.
            .with_eviction_config(S3FifoConfig::default())
            .with_weighter(entry_bytes)
            .build();
        Self { memory, disk: None, in_flight: SingleFlight::default(), counters: CacheCounters::default() }
    }

    #[cfg(feature = "disk-cache")]
    pub(super) fn with_disk(self, disk: Disk) -> Self {
        Self { disk: Some(disk), ..self }
    }

    pub(super) fn find_in_memory(&self, key: &BlockKey) -> Option<Bytes> {
        let block = self.memory.get(key)?.value().clone();
        self.counters.memory_hits.fetch_add(1, Ordering::Relaxed);
        self.counters.hit_bytes.fetch_add(block.len() as u64, Ordering::Relaxed);
        meter::record(CacheCounter::MemoryHits, 1);
        Some(block)
    }

    /// Those of `keys` that are on the disk, in their order. They move to memory.
    pub(super) async fn read_from_disk(&self, keys: Vec<BlockKey>) -> Vec<Piece> {
        let Some(disk) = &self.disk else { return Vec::new() };
        let reads = keys.into_iter().map(async |key| {
            let block = disk.get(&key).await?;
            self.counters.disk_hits.fetch_add(1, Ordering::Relaxed);
            self.counters.hit_bytes.fetch_add(block.len() as u64, Ordering::Relaxed);
            meter::record(CacheCounter::DiskHits, 1);
            let range = key.start..key.end;
            self.insert_in_memory(key, block.clone());
            Some((range, block))
        });
        futures::future::join_all(reads).await.into_iter().flatten().collect()
    }

    /// Caches a block that arrived from the store in a response of `length` bytes, and returns the bytes to use.
    pub(super) fn insert_fetched(&self, key: BlockKey, fetched: Bytes, length: usize) -> Bytes {
        let disk = self.disk.as_ref().filter(|disk| disk.accepts(fetched.len()));
        if disk.is_none() && !self.fits_in_memory(&key, &fetched) {
            return fetched;
        }
        // What arrived is often a slice of a larger response, or of an object that a store has in memory: a small block
        // would keep all of it alive. Runs of vectors are whole responses, and large.
        let is_whole = fetched.len() == length && length >= SHARED_BYTES_MIN && fetched.is_unique();
        let block = if is_whole { fetched } else { Bytes::copy_from_slice(&fetched) };
        if let Some(disk) = disk {
            disk.put(&key, block.clone());
        }
        self.insert_in_memory(key, block.clone());
        block
    }

    fn insert_in_memory(&self, key: BlockKey, block: Bytes) {
        if self.fits_in_memory(&key, &block) {
            self.memory.insert(key, block);
        }
    }

    fn fits_in_memory(&self, key: &BlockKey, block: &Bytes) -> bool {
        entry_bytes(key, block) <= self.memory.capacity() / self.memory.shards() / SHARD_PART
    }

    pub(super) fn stats(&self) -> CacheStats {
        self.counters.stats(self.memory.usage() as u64)
    }

    pub(super) async fn close_disk(&self) {
        if let Some(disk) = &self.disk {
            disk.close().await;
        }
    }
}

impl fmt::Debug for Tiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stats().fmt(f)
    }
}

fn entry_bytes(key: &BlockKey, block: &Bytes) -> usize {
    ENTRY_OVERHEAD + key.object.as_str().len() + block.len()
}
