//! The lease that all handles of a namespace share: it ends, and gives the namespace back, when the last of them is
//! dropped.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use super::Namespace;
use crate::codec::u64_of;
use crate::memtable::PartSource;

/// Estimates of what an open namespace takes besides its indexes and its tail: names, schema and locks; and in the
/// manifest each segment. And each write with a token that is in memory.
const NAMESPACE_BYTES: u64 = 4 << 10;
const SEGMENT_BYTES: u64 = 4 << 10;
const TOKEN_BYTES: u64 = 192;

/// Held by every handle of a namespace that a database lent.
pub(crate) struct Lease {
    /// A handle without a lease: one with it would keep the lease alive for ever. `None` only while the lease is dropped.
    namespace: Option<Namespace>,
    on_end: Box<dyn Fn(Namespace) + Send + Sync>,
}

impl Namespace {
    /// A handle that passes the namespace to `on_end` when it and all its clones are gone.
    pub(crate) fn with_lease(mut self, on_end: impl Fn(Self) + Send + Sync + 'static) -> (Self, Weak<Lease>) {
        self.lease = None;
        let lease = Arc::new(Lease { namespace: Some(self.clone()), on_end: Box::new(on_end) });
        let weak = Arc::downgrade(&lease);
        (Self { lease: Some(lease), ..self }, weak)
    }

    /// Another handle of a leased namespace. `None` once the last one is gone.
    pub(crate) fn from_lease(lease: &Weak<Lease>) -> Option<Self> {
        // Either this upgrade succeeds and the lease lives on, or the last handle has gone and `on_end` gets the
        // namespace: the count of references decides, without a lock.
        let lease = lease.upgrade()?;
        let namespace = lease.namespace.clone()?;
        Some(Self { lease: Some(lease), ..namespace })
    }

    /// Whether nothing else in this process uses it: no handle, snapshot or task.
    pub(crate) fn is_unshared(&self) -> bool {
        // Snapshots, tasks and handles all hold the engine.
        Arc::strong_count(&self.engine) == 1
    }

    /// An estimate of what it keeps in memory: heads of segments and their indexes, dead rows, what
    /// is known of live rows, the tail.
    pub(crate) fn resident_bytes(&self) -> u64 {
        // Copied out of the lock: walking all segments takes longer than a write should wait.
        let (segments, tail, live) = {
            let state = self.engine.state();
            (Arc::clone(&state.segments), state.memtable.clone(), Arc::clone(&state.live))
        };
        let tokens = self.engine.token_count() * TOKEN_BYTES;
        let dead: u64 = segments.iter().map(|part| u64_of(part.deletes.serialized_size())).sum();
        let sources =
            segments.iter().map(|part| &part.source).chain(tail.layers().iter().map(|l| l.source()));
        let mut bytes = NAMESPACE_BYTES + tokens + dead + live.resident_bytes();
        // Segments share centroid sets: each set counts once.
        let mut sets = HashMap::new();
        for source in sources {
            bytes += match source {
                PartSource::Memory(run) => u64_of(run.bytes()),
                PartSource::Segment(segment) => {
                    sets.extend(segment.meta().centroids.values().map(|set| (set.id, set.size)));
                    SEGMENT_BYTES + segment.resident_bytes()
                }
            };
        }
        // A set is kept as it is stored and once more rotated.
        bytes + sets.into_values().map(|size| size * 2).sum::<u64>()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(namespace) = self.namespace.take() {
            (self.on_end)(namespace);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}
