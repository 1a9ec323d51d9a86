//! A cache of immutable objects by range, in memory and on a local disk.
//!
//! The cache sits in [`Blob`], where a format reads its natural units (a block, a section, a bitmap): each is cached as
//! a whole, under its object and exact range, and handed out without a copy. Which units share a request differs from
//! query to query and leaves no trace here. Objects never change, so nothing is ever invalidated.
//!
//! **Invariants:** the memory tier stays within its budget; no failure of the cache is an error of a read; a cache
//! without a disk tier spawns nothing, and [`BlockCache::off`] does nothing at all.

mod blob;
mod block;
#[cfg_attr(not(feature = "disk-cache"), path = "no_disk.rs")]
mod disk;
mod meter;
mod shared;
mod single_flight;
mod stats;
#[cfg(test)]
mod testing;
mod tiers;

pub(crate) use blob::Blob;
pub(crate) use block::{Span, total_bytes};
#[cfg(feature = "disk-cache")]
pub(crate) use disk::DiskOptions;
pub(crate) use meter::{Meter, Metered};
pub(crate) use shared::SharedObjects;
pub use stats::CacheStats;

use std::sync::Arc;

use self::tiers::Tiers;

/// The cached blocks of the objects of one database. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct BlockCache {
    /// `None` when the cache is off.
    tiers: Option<Arc<Tiers>>,
    shared_objects: SharedObjects,
}

impl BlockCache {
    /// No cache: every read goes to the store, each by itself.
    pub(crate) fn off() -> Self {
        Self::default()
    }

    /// A cache in memory of at most `bytes`, keys and bookkeeping included. With 0 it is off.
    pub(crate) fn memory(bytes: usize) -> Self {
        if bytes == 0 { Self::off() } else { Self::with_tiers(Tiers::new(bytes)) }
    }

    /// A cache in memory of at most `bytes`, over one on a local disk. Must be called on a tokio runtime, where the
    /// disk tier then runs its tasks and its blocking reads and writes. If the disk cannot be used, that is logged as a
    /// warning, and the cache has no disk tier.
    #[cfg(feature = "disk-cache")]
    pub(crate) async fn with_disk(bytes: usize, disk: DiskOptions, env: &crate::env::Env) -> Self {
        match disk::Disk::open(disk, env).await {
            Some(disk) => Self::with_tiers(Tiers::new(bytes).with_disk(disk)),
            None => Self::memory(bytes),
        }
    }

    fn with_tiers(tiers: Tiers) -> Self {
        Self { tiers: Some(Arc::new(tiers)), shared_objects: SharedObjects::default() }
    }

    fn tiers(&self) -> Option<&Arc<Tiers>> {
        self.tiers.as_ref()
    }

    /// Decoded objects that are in use.
    pub(crate) fn shared(&self) -> &SharedObjects {
        &self.shared_objects
    }

    pub(crate) fn stats(&self) -> CacheStats {
        // invariant: a cache that is off has found nothing and holds nothing.
        self.tiers().map(|tiers| tiers.stats()).unwrap_or_default()
    }

    /// Waits until the disk tier has written what it was given, and releases its folder to other processes. Reads go on
    /// without it. A cache that is dropped without being closed loses only what was not yet written.
    pub(crate) async fn close(&self) {
        if let Some(tiers) = self.tiers() {
            tiers.close_disk().await;
        }
    }
}
