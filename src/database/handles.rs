//! The namespaces that a database has open: those with handles, and some that were used lately.
//!
//! A handle keeps its namespace open. When the last one goes the namespace is idle: it stays open, so that whoever
//! asks for it next pays nothing, until idle ones keep more than their budget; then those that were idle longest are
//! let go.
//!
//! **Invariants:** a name is lent once at a time, so that all its handles share what they know; no namespace is dropped
//! under the lock, for that ends leases, which takes it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::namespace::{Lease, Namespace};
use crate::types::NamespaceName;

/// Namespaces by their names.
#[derive(Debug)]
pub(super) struct Handles {
    slots: Mutex<Slots>,
    /// How much idle ones may keep.
    idle_bytes_max: u64,
}

#[derive(Debug, Default)]
struct Slots {
    by_name: BTreeMap<NamespaceName, Slot>,
    /// Idle ones, by when they became so.
    idle: BTreeMap<u64, NamespaceName>,
    idle_bytes: u64,
    /// Counts leases and their ends.
    tick: u64,
}

#[derive(Debug)]
enum Slot {
    /// Some have handles of it.
    Lent {
        number: u64,
        lease: Weak<Lease>,
    },
    Idle {
        since: u64,
        bytes: u64,
        namespace: Namespace,
    },
}

impl Handles {
    pub(super) fn new(idle_bytes_max: usize) -> Self {
        Self { slots: Mutex::default(), idle_bytes_max: idle_bytes_max as u64 }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        // Each change is made whole before the lock is let go.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handle of a namespace that is open here.
    pub(super) fn find(self: &Arc<Self>, name: &NamespaceName) -> Option<Namespace> {
        let found = self.borrow(&mut self.slots(), name)?;
        found.is_open().then_some(found)
    }

    /// Makes a namespace known to whoever opens it next, and returns a handle: of what is open already, if another
    /// was quicker.
    pub(super) fn keep(self: &Arc<Self>, fresh: Namespace) -> Namespace {
        let known = self.find(fresh.name());
        if let Some(known) = known.filter(|known| known.incarnation() >= fresh.incarnation()) {
            return known;
        }
        let mut slots = self.slots();
        // Two that opened it at once: the first lent it meanwhile.
        let known = self.borrow(&mut slots, fresh.name());
        if let Some(known) =
            known.as_ref().filter(|known| known.is_open() && known.incarnation() >= fresh.incarnation())
        {
            return known.clone();
        }
        let lent = self.lend(&mut slots, fresh);
        // What was held elsewhere when it became idle may be free by now.
        let dropped = slots.trim(self.idle_bytes_max);
        drop(slots);
        // What it replaces is dropped without the lock.
        drop((known, dropped));
        lent
    }

    /// Forgets a name. Who has a handle keeps it.
    pub(super) fn remove(&self, name: &NamespaceName) {
        let removed = self.slots().take(name);
        drop(removed);
    }

    /// All that are open, and none from here on.
    pub(super) fn take_all(&self) -> Vec<Namespace> {
        let mut slots = self.slots();
        // Leases are numbered on: the end of one from before is not that of a later one.
        let by_name = std::mem::take(&mut slots.by_name);
        (slots.idle, slots.idle_bytes) = Default::default();
        drop(slots);
        let open = by_name.into_values().filter_map(|slot| match slot {
            Slot::Lent { lease, .. } => Namespace::borrow(&lease),
            Slot::Idle { namespace, .. } => Some(namespace),
        });
        open.collect()
    }

    /// What all that are open keep in memory, about.
    pub(super) fn resident_bytes(&self) -> u64 {
        let (lent, idle) = {
            let slots = self.slots();
            let lent: Vec<Weak<Lease>> = slots.by_name.values().filter_map(Slot::lease).cloned().collect();
            (lent, slots.idle_bytes)
        };
        let lent = lent.iter().filter_map(Namespace::borrow).map(|namespace| namespace.resident_bytes());
        idle + lent.sum::<u64>()
    }

    fn borrow(self: &Arc<Self>, slots: &mut Slots, name: &NamespaceName) -> Option<Namespace> {
        match slots.by_name.get(name)? {
            Slot::Lent { lease, .. } => Namespace::borrow(lease),
            Slot::Idle { .. } => {
                let namespace = slots.take(name)?;
                Some(self.lend(slots, namespace))
            }
        }
    }

    fn lend(self: &Arc<Self>, slots: &mut Slots, namespace: Namespace) -> Namespace {
        let name = namespace.name().clone();
        let number = slots.next_tick();
        let handles = Arc::downgrade(self);
        let (lent, lease) = namespace.lend(move |namespace| {
            if let Some(handles) = handles.upgrade() {
                handles.ended(number, namespace);
            }
        });
        slots.by_name.insert(name, Slot::Lent { number, lease });
        lent
    }

    /// The last handle of a lease is gone.
    fn ended(&self, number: u64, namespace: Namespace) {
        let bytes = namespace.is_open().then(|| namespace.resident_bytes());
        let mut slots = self.slots();
        // Another may have been lent since.
        let ours = matches!(
            slots.by_name.get(namespace.name()),
            Some(Slot::Lent { number: known, .. }) if *known == number
        );
        let mut dropped = Vec::new();
        if ours {
            let name = namespace.name().clone();
            match bytes {
                Some(bytes) => {
                    let since = slots.next_tick();
                    slots.idle.insert(since, name.clone());
                    slots.idle_bytes += bytes;
                    slots.by_name.insert(name, Slot::Idle { since, bytes, namespace });
                    dropped = slots.trim(self.idle_bytes_max);
                }
                None => {
                    slots.by_name.remove(&name);
                }
            }
        }
        drop(slots);
        drop(dropped);
    }
}

impl Slot {
    fn lease(&self) -> Option<&Weak<Lease>> {
        match self {
            Self::Lent { lease, .. } => Some(lease),
            Self::Idle { .. } => None,
        }
    }
}

impl Slots {
    fn next_tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    /// Takes a name out: what is idle, to be dropped without the lock or lent.
    fn take(&mut self, name: &NamespaceName) -> Option<Namespace> {
        match self.by_name.remove(name)? {
            Slot::Lent { .. } => None,
            Slot::Idle { since, bytes, namespace } => {
                self.idle.remove(&since);
                self.idle_bytes -= bytes;
                Some(namespace)
            }
        }
    }

    /// Takes out those that were idle longest, until the others keep no more than that. Where a snapshot or a task
    /// still holds one, nothing would be freed: it stays.
    fn trim(&mut self, bytes_max: u64) -> Vec<Namespace> {
        let (mut left, mut chosen) = (self.idle_bytes, Vec::new());
        for name in self.idle.values() {
            if left <= bytes_max {
                break;
            }
            if let Some(Slot::Idle { bytes, namespace, .. }) = self.by_name.get(name)
                && namespace.is_alone()
            {
                left -= bytes;
                chosen.push(name.clone());
            }
        }
        chosen.iter().filter_map(|name| self.take(name)).collect()
    }
}
