//! Fetches in flight, so that concurrent readers of a block share one request.
//!
//! A fetch has no task of its own: every reader that waits for it polls it. When the reader that started it is dropped,
//! the others drive it on; when the last is dropped, the fetch is cancelled.
//!
//! **Invariant:** a fetch is deregistered only after its blocks are in the cache. A reader that finds a block in
//! neither place therefore has to ask the store.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

use super::block::{BlockKey, Piece};
use crate::error::{Error, Result};

/// Fetches some blocks: each range of the request with its bytes, in ascending order.
pub(super) type Fetch = BoxFuture<'static, Result<Arc<[Piece]>>>;

/// A fetch that several readers may await.
pub(super) type SharedFetch = Shared<Fetch>;

/// Where a block comes from that was not in memory.
pub(super) enum BlockSource {
    /// It has arrived in memory meanwhile.
    Memory(Bytes),
    /// Another reader is fetching it.
    Joined(SharedFetch),
    /// This reader started a fetch of it.
    Started(SharedFetch),
}

/// The fetches in flight. Clones share them.
#[derive(Clone, Default)]
pub(super) struct SingleFlight(Arc<Mutex<FetchRegistry>>);

/// The fetches in flight by the blocks they bring. Weak, so that the registry keeps none alive that nobody awaits.
#[derive(Default)]
struct FetchRegistry {
    by_block: HashMap<BlockKey, (u64, WeakShared<Fetch>)>,
    last_id: u64,
}

impl SingleFlight {
    /// Finds a source for every key, in the order of `keys`. `find_in_memory` looks into the cache. `make_fetches` gets
    /// the keys that nobody is fetching, and returns fetches that cover them, each with the keys it brings.
    pub(super) fn join_or_start(
        &self,
        keys: &[BlockKey],
        find_in_memory: impl Fn(&BlockKey) -> Option<Bytes>,
        make_fetches: impl FnOnce(Vec<BlockKey>) -> Vec<(Vec<BlockKey>, Fetch)>,
    ) -> Result<Vec<BlockSource>> {
        // Declared before the guard and so dropped after it: dropping the last handle of a fetch takes the lock.
        let sources: Vec<Option<BlockSource>>;
        let mut started: HashMap<BlockKey, SharedFetch> = HashMap::new();
        {
            // Looking up and registering are one critical section: two readers that miss at the same time would
            // otherwise both start a fetch.
            let mut registry = self.lock();
            sources = keys.iter().map(|key| registry.find_source(key, &find_in_memory)).collect();
            let open = keys.iter().zip(&sources).filter(|(_, source)| source.is_none());
            for (brings, fetch) in make_fetches(open.map(|(key, _)| key.clone()).collect()) {
                let fetch = self.register(&mut registry, &brings, fetch);
                started.extend(brings.into_iter().map(|key| (key, fetch.clone())));
            }
        }
        let source = |(key, source): (&BlockKey, Option<BlockSource>)| {
            let source = source.or_else(|| started.get(key).cloned().map(BlockSource::Started));
            source.ok_or_else(|| Error::internal("no fetch brings a block that was requested"))
        };
        keys.iter().zip(sources).map(source).collect()
    }

    fn register(&self, registry: &mut FetchRegistry, brings: &[BlockKey], fetch: Fetch) -> SharedFetch {
        registry.last_id += 1;
        let id = registry.last_id;
        let registration = Registration { in_flight: self.clone(), keys: brings.to_vec(), id };
        let fetch = async move {
            // Part of the future, so that it is dropped with it, however that ends.
            let _registration = registration;
            fetch.await
        };
        let fetch = fetch.boxed().shared();
        // invariant: only a fetch that was polled to its end has no weak handle, and this one was not polled at all.
        if let Some(weak) = fetch.downgrade() {
            registry.by_block.extend(brings.iter().map(|key| (key.clone(), (id, weak.clone()))));
        }
        fetch
    }

    fn lock(&self) -> MutexGuard<'_, FetchRegistry> {
        // Every change is one call on the map: a panic elsewhere leaves it sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FetchRegistry {
    /// A block that is in flight or in memory. In flight first: a fetch that ends between the two looks has put its
    /// block into memory, while in the other order it would be missed in both.
    fn find_source(
        &self,
        key: &BlockKey,
        find_in_memory: impl Fn(&BlockKey) -> Option<Bytes>,
    ) -> Option<BlockSource> {
        let fetch = self.by_block.get(key).and_then(|(_, fetch)| fetch.upgrade());
        fetch.map(BlockSource::Joined).or_else(|| find_in_memory(key).map(BlockSource::Memory))
    }
}

impl fmt::Debug for SingleFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SingleFlight({} blocks)", self.lock().by_block.len())
    }
}

/// Deregisters a fetch when it has ended, or nobody awaits it any more.
struct Registration {
    in_flight: SingleFlight,
    keys: Vec<BlockKey>,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut registry = self.in_flight.lock();
        for key in &self.keys {
            // Another fetch may have been registered for the key after all handles of this one were gone.
            if registry.by_block.get(key).is_some_and(|(id, _)| *id == self.id) {
                registry.by_block.remove(key);
            }
        }
    }
}
