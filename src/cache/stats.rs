//! What a cache counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Statistics of a cache since it was opened, and what it holds now.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::*;
/// let db = Database::open("memory://").await?;
/// # let docs = db.create_namespace("docs", Schema::builder(IdKind::U64).build()?).await?;
/// docs.write(Document::new(1)).await?;
/// docs.flush().await?;
/// docs.get_one(1).await?;
/// let stats = db.cache_stats();
/// println!("{} ranges from memory, {} from the store", stats.memory_hits, stats.misses);
/// assert_eq!(stats.disk_hits, 0); // there is no disk tier
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Ranges found in memory.
    pub memory_hits: u64,
    /// Ranges found on the disk.
    pub disk_hits: u64,
    /// Ranges that joined a request already in flight.
    pub joined: u64,
    /// Ranges requested from the store.
    pub misses: u64,
    /// Bytes found in memory or on the disk.
    pub hit_bytes: u64,
    /// Bytes of the ranges requested from the store.
    pub miss_bytes: u64,
    /// Bytes of blocks held in memory now, within [`Settings::cache_bytes`](crate::Settings::cache_bytes).
    pub memory_bytes: u64,
    /// Approximate bytes that open namespaces keep in memory outside the cache: the heads of their segments (ids,
    /// Parquet metadata, fences, clusters, dictionaries), what their text indexes keep of earlier queries, their tails,
    /// and the idempotency tokens that writes have looked up. Namespaces without a handle stay within [`Settings::idle_bytes_max`](crate::Settings::idle_bytes_max).
    pub resident_bytes: u64,
}

/// The counters behind [`CacheStats`].
#[derive(Default)]
pub(super) struct CacheCounters {
    pub(super) memory_hits: AtomicU64,
    pub(super) disk_hits: AtomicU64,
    pub(super) joined: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) hit_bytes: AtomicU64,
    pub(super) miss_bytes: AtomicU64,
}

impl CacheCounters {
    pub(super) fn stats(&self, memory_bytes: u64) -> CacheStats {
        // Relaxed, and each by itself: no decision depends on the counts agreeing with each other.
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStats {
            memory_hits: load(&self.memory_hits),
            disk_hits: load(&self.disk_hits),
            joined: load(&self.joined),
            misses: load(&self.misses),
            hit_bytes: load(&self.hit_bytes),
            miss_bytes: load(&self.miss_bytes),
            memory_bytes,
            // The database fills it in, because it knows its namespaces.
            resident_bytes: 0,
        }
    }
}
