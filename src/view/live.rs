//! The live rows of parts, and what searches derive of them, found once for each state.
//!
//! Every query needs them, and they change with writes alone. A state of a namespace has one [`LiveCache`], which its
//! views share; the cache of the next state takes over what the write in between left as it was.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use roaring::RoaringBitmap;

use crate::codec::{all_rows, subtract_rows, subtract_shared, u64_of};
use crate::env::{Cost, Env};
use crate::error::Result;
use crate::index::text::DeadRows;
use crate::index::vector::{MatchCounts, RowFilter, VectorIndex};
use crate::memtable::PartId;

/// The live rows of a part in one state.
#[derive(Debug)]
pub(crate) struct LiveRows {
    rows: Arc<RoaringBitmap>,
    dead: Arc<DeadRows>,
    /// By the position of the column in the schema.
    vectors: Mutex<BTreeMap<usize, Arc<LiveVectors>>>,
}

/// The live rows of a segment that have a vector in a column, in the forms that a search takes.
#[derive(Debug)]
pub(crate) struct LiveVectors {
    rows: Arc<RoaringBitmap>,
    counts: OnceLock<Arc<MatchCounts>>,
    filter: OnceLock<RowFilter>,
    /// Whether a search has used them.
    used: AtomicBool,
}

impl LiveRows {
    /// All of `count` rows but the dead ones.
    fn new(count: u32, dead: RoaringBitmap) -> Self {
        let rows = Arc::new(subtract_rows(&all_rows(count), &dead));
        Self { rows, dead: Arc::new(DeadRows::new(dead)), vectors: Mutex::default() }
    }

    pub(crate) fn rows(&self) -> &Arc<RoaringBitmap> {
        &self.rows
    }

    pub(crate) fn dead(&self) -> &Arc<DeadRows> {
        &self.dead
    }

    /// What is kept of them in memory, about.
    fn resident_bytes(&self) -> u64 {
        let of_column = |live: &Arc<LiveVectors>| {
            // invariant: what was not derived takes no memory.
            let counts = live.counts.get().map_or(0, |counts| counts.resident_bytes());
            // invariant: as above.
            counts + live.filter.get().map_or(0, RowFilter::resident_bytes)
        };
        let columns: u64 = lock(&self.vectors).values().map(of_column).sum();
        u64_of(self.rows.serialized_size()) + self.dead.resident_bytes() + columns
    }

    /// Those with a vector in a column, which the rows in `nulls` have not.
    pub(crate) fn with_vector(&self, column: usize, nulls: &RoaringBitmap) -> Arc<LiveVectors> {
        let make = || {
            // Most columns have a vector in every row: then the rows are the same, and share their memory.
            Arc::new(LiveVectors {
                rows: subtract_shared(&self.rows, nulls),
                counts: OnceLock::new(),
                filter: OnceLock::new(),
                used: AtomicBool::new(false),
            })
        };
        Arc::clone(lock(&self.vectors).entry(column).or_insert_with(make))
    }
}

impl LiveVectors {
    pub(crate) fn rows(&self) -> &Arc<RoaringBitmap> {
        &self.rows
    }

    /// Whether a search has used them before. Counting all of them is worth it from the second on: a single search looks at
    /// few clusters, and a namespace that is written between any two searches has no second.
    pub(crate) fn is_reused(&self) -> bool {
        self.used.swap(true, Ordering::Relaxed)
    }

    /// How many of them are in each cluster.
    pub(crate) async fn match_counts(&self, index: &VectorIndex) -> Result<Arc<MatchCounts>> {
        if let Some(counts) = self.counts.get() {
            return Ok(Arc::clone(counts));
        }
        // Two queries may count at once, which nobody waits for: they find the same.
        let counts = index.count_matches(&self.rows).await?;
        Ok(Arc::clone(self.counts.get_or_init(|| Arc::new(counts))))
    }

    /// The rows as a scan tests them.
    pub(crate) async fn filter(&self, env: &Env, index: &VectorIndex) -> Result<RowFilter> {
        if let Some(filter) = self.filter.get() {
            return Ok(filter.clone());
        }
        let (cost, index) = (Cost::masked_rows(self.rows.len()), index.clone());
        let rows = Arc::clone(&self.rows);
        let filter = env.compute(cost, move || index.filter_all_rows(&rows)).await??;
        Ok(self.filter.get_or_init(|| filter).clone())
    }
}

/// The live rows of the parts of one state, as far as they were needed.
#[derive(Debug, Default)]
pub(crate) struct LiveCache {
    found: Mutex<BTreeMap<PartId, Arc<LiveRows>>>,
    /// Those of the states before. A part is seldom changed by a write: what is derived of its rows stays.
    before: BTreeMap<PartId, Arc<LiveRows>>,
}

impl LiveCache {
    /// The cache of the next state, which has these parts.
    pub(crate) fn successor(&self, parts: impl Iterator<Item = PartId>) -> Self {
        let found = lock(&self.found);
        let known =
            |part: PartId| Some((part, Arc::clone(found.get(&part).or_else(|| self.before.get(&part))?)));
        Self { found: Mutex::default(), before: parts.filter_map(known).collect() }
    }

    /// What it keeps in memory, about.
    pub(crate) fn resident_bytes(&self) -> u64 {
        // A part that is in both has one list of rows in memory, or the one before is about to go.
        let found = lock(&self.found);
        let before = self.before.iter().filter(|(part, _)| !found.contains_key(*part)).map(|(_, live)| live);
        found.values().chain(before).map(|live| live.resident_bytes()).sum()
    }

    pub(super) fn get(&self, part: PartId) -> Option<Arc<LiveRows>> {
        lock(&self.found).get(&part).cloned()
    }

    /// Keeps the live rows of a part with `count` rows, of which these are dead.
    pub(super) fn keep(&self, part: PartId, count: u32, dead: RoaringBitmap) -> Arc<LiveRows> {
        // Comparing bitmaps is cheap beside what is derived of one.
        let unchanged = self.before.get(&part).filter(|before| *before.dead.rows() == dead);
        let live = unchanged.map_or_else(|| Arc::new(LiveRows::new(count, dead)), Arc::clone);
        // Of two that were found at once, the first stays, so that what is derived of it is derived once.
        Arc::clone(lock(&self.found).entry(part).or_insert(live))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is a single insertion, so a panic elsewhere leaves a map sound.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_a_write_leaves_alone_is_taken_over() {
        let [one, other] = [1, 2].map(|id| PartId::Memory(Uuid::from_u128(id)));
        let cache = LiveCache::default();
        assert!(cache.get(one).is_none());
        let before = cache.keep(one, 10, RoaringBitmap::from([3]));
        assert_eq!((before.rows().len(), before.rows().contains(3)), (9, false));
        cache.keep(other, 5, RoaringBitmap::new());
        // The first that was found stays.
        assert!(Arc::ptr_eq(&before, &cache.keep(one, 10, RoaringBitmap::from([3]))));
        assert!(Arc::ptr_eq(&before, &cache.get(one).unwrap()));

        let next = cache.successor([one, other].into_iter());
        // A write may hide rows of any part: nothing is known before it was looked up.
        assert!(next.get(one).is_none());
        assert!(Arc::ptr_eq(&before, &next.keep(one, 10, RoaringBitmap::from([3]))));
        let changed = next.keep(other, 5, RoaringBitmap::from([0, 4]));
        assert_eq!(changed.rows().iter().collect::<Vec<_>>(), [1, 2, 3]);

        // Of parts that are gone nothing is kept, and of parts that were not looked up in between what was known.
        let last = next.successor([one].into_iter()).successor([one, other].into_iter());
        assert!(Arc::ptr_eq(&before, &last.keep(one, 10, RoaringBitmap::from([3]))));
        assert!(!Arc::ptr_eq(&changed, &last.keep(other, 5, RoaringBitmap::from([0, 4]))));
    }

    #[test]
    fn rows_without_a_vector_are_no_part_of_a_column() {
        let live = LiveRows::new(6, RoaringBitmap::from([1]));
        assert!(Arc::ptr_eq(live.with_vector(0, &RoaringBitmap::new()).rows(), live.rows()));
        let with_vector = live.with_vector(1, &RoaringBitmap::from([0, 1]));
        assert_eq!(with_vector.rows().iter().collect::<Vec<_>>(), [2, 3, 4, 5]);
        assert!(Arc::ptr_eq(&with_vector, &live.with_vector(1, &RoaringBitmap::from([0, 1]))));
    }
}
