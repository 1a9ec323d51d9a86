//! The segments that merges leave alone, because they are damaged.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::merge::MergePlan;
use crate::memtable::PartId;

/// Segments that could not be merged because one of them is damaged: no policy chooses them again.
#[derive(Debug, Default)]
pub(super) struct DamagedSegments {
    segments: Mutex<BTreeSet<PartId>>,
    /// Whether a merge of all segments found damage.
    bars_whole_merges: AtomicBool,
}

impl DamagedSegments {
    pub(super) fn add(&self, plan: &MergePlan<'_>) {
        // Of all segments, most can still be merged with each other.
        if plan.is_whole {
            self.bars_whole_merges.store(true, Ordering::SeqCst);
        } else {
            self.lock().extend(plan.inputs.iter().map(|part| part.id));
        }
    }

    pub(super) fn bars_whole_merges(&self) -> bool {
        self.bars_whole_merges.load(Ordering::SeqCst)
    }

    pub(super) fn contains(&self, part: PartId) -> bool {
        self.lock().contains(&part)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<PartId>> {
        // Every change is an insertion, so a panic elsewhere leaves it sound.
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
