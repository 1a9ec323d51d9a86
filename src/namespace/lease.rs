//! What the handles of one namespace share, and who is told when the last of them goes.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use super::Namespace;
use crate::memtable::PartSource;

/// What an open namespace takes beside its segments and its tail: names, schema, locks, the manifest's record of each
/// segment and of each write with a token, about.
const NAMESPACE_BYTES: u64 = 4 << 10;
const SEGMENT_BYTES: u64 = 4 << 10;
const TOKEN_BYTES: u64 = 192;

/// Held by every handle of a namespace that a database lent.
pub(crate) struct Lease {
    /// Without a lease, or it would never end.
    namespace: Option<Namespace>,
    ended: Box<dyn Fn(Namespace) + Send + Sync>,
}

impl Namespace {
    /// A handle that hands the namespace to `ended` when it and all its clones are gone.
    pub(crate) fn lend(mut self, ended: impl Fn(Self) + Send + Sync + 'static) -> (Self, Weak<Lease>) {
        self.lease = None;
        let lease = Arc::new(Lease { namespace: Some(self.clone()), ended: Box::new(ended) });
        let weak = Arc::downgrade(&lease);
        (Self { lease: Some(lease), ..self }, weak)
    }

    /// Another handle of a namespace that is lent. `None` once the last one is gone.
    pub(crate) fn borrow(lease: &Weak<Lease>) -> Option<Self> {
        let lease = lease.upgrade()?;
        let namespace = lease.namespace.clone()?;
        Some(Self { lease: Some(lease), ..namespace })
    }

    /// Whether nothing else in this process uses it: no handle, snapshot or task.
    pub(crate) fn is_alone(&self) -> bool {
        Arc::strong_count(&self.engine) == 1
    }

    /// What it keeps in memory, about: heads of segments and what their indexes keep, dead rows, the tail.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let (segments, tail, manifest, tokens) = {
            let state = self.engine.state();
            (
                Arc::clone(&state.segments),
                state.memtable.clone(),
                Arc::clone(&state.manifest),
                state.tokens.len(),
            )
        };
        let tokens = (manifest.tokens.len() + tokens) as u64 * TOKEN_BYTES;
        let dead: u64 = segments.iter().map(|part| part.deletes.serialized_size() as u64).sum();
        let sources =
            segments.iter().map(|part| &part.source).chain(tail.layers().iter().map(|l| l.source()));
        let mut bytes = NAMESPACE_BYTES + tokens + dead;
        // Segments share the sets of their columns.
        let mut sets = HashMap::new();
        for source in sources {
            bytes += match source {
                PartSource::Memory(run) => run.bytes() as u64,
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
            (self.ended)(namespace);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}
