//! The namespaces that a database has open: those with handles, and some that were used recently.
//!
//! A handle keeps its namespace open. When its last handle is dropped a namespace becomes idle. It stays open, so that
//! opening it again costs nothing, until idle namespaces take more memory than their budget; then the least recently
//! used ones are dropped.
//!
//! **Invariants:** a name has one lease at a time, so that all its handles share one state and one committer; no
//! namespace is dropped under the lock, for that may end a lease, which takes the lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::codec::u64_of;
use crate::namespace::{Lease, Namespace};
use crate::types::NamespaceName;

/// The open namespaces of a database.
#[derive(Debug)]
pub(super) struct OpenNamespaces {
    slots: Mutex<Slots>,
    /// How much memory idle ones may take.
    idle_bytes_max: u64,
}

#[derive(Debug, Default)]
struct Slots {
    by_name: BTreeMap<NamespaceName, Slot>,
    /// Idle namespaces by the tick at which they became idle: the first is the least recently used.
    idle: BTreeMap<u64, IdleNamespace>,
    /// The sum over `idle`.
    idle_bytes: u64,
    /// Counts leases and their ends: a clock for the order of use.
    tick: u64,
}

#[derive(Debug)]
enum Slot {
    /// It has handles.
    Leased {
        /// Tells this lease from an earlier one of the same name.
        number: u64,
        lease: Weak<Lease>,
    },
    /// It has none: it is in `idle`, by this tick.
    Idle { since: u64 },
}

/// A namespace without handles.
#[derive(Debug)]
struct IdleNamespace {
    namespace: Namespace,
    /// What it kept in memory when it became idle. Tasks and snapshots that still hold it may change that: the budget is
    /// for an estimate.
    bytes: u64,
}

impl OpenNamespaces {
    pub(super) fn new(idle_bytes_max: usize) -> Self {
        Self { slots: Mutex::default(), idle_bytes_max: u64_of(idle_bytes_max) }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        // Each change is completed before the lock is released, so a panic elsewhere leaves it sound.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handle of a namespace that is open here.
    pub(super) fn find(self: &Arc<Self>, name: &NamespaceName) -> Option<Namespace> {
        let found = self.reuse(&mut self.slots(), name)?;
        // The guard is dropped by now: if this handle is the last, dropping it ends its lease.
        found.is_open().then_some(found)
    }

    /// Adds a namespace that was just opened, and returns a handle: one of the namespace that is there already, if
    /// another task was quicker to open it.
    pub(super) fn insert(self: &Arc<Self>, fresh: Namespace) -> Namespace {
        // Outside the lock first: a handle that is found and not wanted is dropped without it.
        let known = self.find(fresh.name());
        if let Some(known) = known.filter(|known| known.incarnation() >= fresh.incarnation()) {
            return known;
        }
        let mut slots = self.slots();
        // Again under the lock: another task may have added it in between.
        let known = self.reuse(&mut slots, fresh.name());
        if let Some(known) =
            known.as_ref().filter(|known| known.is_open() && known.incarnation() >= fresh.incarnation())
        {
            return known.clone();
        }
        let handle = self.start_lease(&mut slots, fresh);
        // An idle namespace that a snapshot or task still held when it became idle may be unshared by now.
        let evicted = slots.evict_idle(self.idle_bytes_max);
        drop(slots);
        // After the lock: dropping a namespace may end a lease.
        drop((known, evicted));
        handle
    }

    /// Removes a name. Its handles stay valid.
    pub(super) fn remove(&self, name: &NamespaceName) {
        let removed = self.slots().take(name);
        // The guard of the line above is gone by now.
        drop(removed);
    }

    /// Removes and returns all open namespaces.
    pub(super) fn take_all(&self) -> Vec<Namespace> {
        let mut slots = self.slots();
        // The tick goes on: otherwise the end of a lease from before could be taken for that of a later one.
        let (by_name, idle) = (std::mem::take(&mut slots.by_name), std::mem::take(&mut slots.idle));
        slots.idle_bytes = 0;
        drop(slots);
        // A lease whose last handle is being dropped right now has nothing to close.
        let leased = by_name.values().filter_map(Slot::lease).filter_map(Namespace::from_lease);
        leased.chain(idle.into_values().map(|idle| idle.namespace)).collect()
    }

    /// An estimate of what all open namespaces keep in memory.
    pub(super) fn resident_bytes(&self) -> u64 {
        let (leases, idle_bytes) = {
            let slots = self.slots();
            let leases: Vec<Weak<Lease>> = slots.by_name.values().filter_map(Slot::lease).cloned().collect();
            (leases, slots.idle_bytes)
        };
        let in_use = leases.iter().filter_map(Namespace::from_lease);
        idle_bytes + in_use.map(|namespace| namespace.resident_bytes()).sum::<u64>()
    }

    /// A handle of a namespace that is open, if it is. An idle one is leased again.
    fn reuse(self: &Arc<Self>, slots: &mut Slots, name: &NamespaceName) -> Option<Namespace> {
        match slots.by_name.get(name)? {
            Slot::Leased { lease, .. } => Namespace::from_lease(lease),
            Slot::Idle { .. } => {
                let namespace = slots.take(name)?;
                Some(self.start_lease(slots, namespace))
            }
        }
    }

    fn start_lease(self: &Arc<Self>, slots: &mut Slots, namespace: Namespace) -> Namespace {
        let name = namespace.name().clone();
        let number = slots.next_tick();
        let open = Arc::downgrade(self);
        let (handle, lease) = namespace.with_lease(move |namespace| {
            // Without the database there is nobody who could open the namespace again: it is dropped.
            if let Some(open) = open.upgrade() {
                open.end_lease(number, namespace);
            }
        });
        slots.by_name.insert(name, Slot::Leased { number, lease });
        handle
    }

    /// Makes a namespace idle whose last handle is gone.
    fn end_lease(&self, number: u64, namespace: Namespace) {
        let bytes = namespace.is_open().then(|| namespace.resident_bytes());
        let mut slots = self.slots();
        // The namespace may have been removed or replaced since it was leased.
        let ours = matches!(
            slots.by_name.get(namespace.name()),
            Some(Slot::Leased { number: known, .. }) if *known == number
        );
        let mut evicted = Vec::new();
        if ours {
            let name = namespace.name().clone();
            match bytes {
                Some(bytes) => {
                    let since = slots.next_tick();
                    slots.by_name.insert(name, Slot::Idle { since });
                    slots.idle.insert(since, IdleNamespace { namespace, bytes });
                    slots.idle_bytes += bytes;
                    evicted = slots.evict_idle(self.idle_bytes_max);
                }
                // Closed or deleted: nobody can use it again.
                None => {
                    slots.by_name.remove(&name);
                }
            }
        }
        drop(slots);
        drop(evicted);
    }
}

impl Slot {
    fn lease(&self) -> Option<&Weak<Lease>> {
        match self {
            Self::Leased { lease, .. } => Some(lease),
            Self::Idle { .. } => None,
        }
    }
}

impl Slots {
    fn next_tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    /// Removes a name. Returns the namespace if it is idle, to be leased, or to be dropped after the lock.
    fn take(&mut self, name: &NamespaceName) -> Option<Namespace> {
        match self.by_name.remove(name)? {
            Slot::Leased { .. } => None,
            Slot::Idle { since } => {
                let IdleNamespace { namespace, bytes } = self.idle.remove(&since)?;
                self.idle_bytes -= bytes;
                Some(namespace)
            }
        }
    }

    /// Removes and returns the least recently used idle namespaces, until the others take at most `bytes_max`. One that a
    /// snapshot or a task still holds stays: dropping it would free nothing, and opening it again would load it twice.
    fn evict_idle(&mut self, bytes_max: u64) -> Vec<Namespace> {
        let mut bytes_left = self.idle_bytes;
        let mut evicted_ticks = Vec::new();
        for (tick, idle) in &self.idle {
            if bytes_left <= bytes_max {
                break;
            }
            if idle.namespace.is_unshared() {
                bytes_left -= idle.bytes;
                evicted_ticks.push(*tick);
            }
        }
        self.idle_bytes = bytes_left;
        let evicted = evicted_ticks.iter().filter_map(|tick| self.idle.remove(tick));
        let evicted: Vec<Namespace> = evicted.map(|idle| idle.namespace).collect();
        for namespace in &evicted {
            self.by_name.remove(namespace.name());
        }
        evicted
    }
}
