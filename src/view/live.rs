//! The live rows of parts, and what searches derive of them, found once for each state.
//!
//! Every query needs them, and they change with writes alone. A state of a namespace has one [`LiveCache`], which its
//! views share; the cache of the next state takes over what the write in between left as it was.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use roaring::RoaringBitmap;

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
}

impl LiveRows {
    /// All of `count` rows but the dead ones.
    fn new(count: u32, dead: RoaringBitmap) -> Self {
        let mut rows = RoaringBitmap::new();
        rows.insert_range(0..count);
        rows -= &dead;
        Self { rows: Arc::new(rows), dead: Arc::new(DeadRows::new(dead)), vectors: Mutex::default() }
    }

    pub(crate) fn rows(&self) -> &Arc<RoaringBitmap> {
        &self.rows
    }

    pub(crate) fn dead(&self) -> &Arc<DeadRows> {
        &self.dead
    }

    /// Those with a vector in a column, which the rows in `nulls` have not.
    pub(crate) fn with_vector(&self, column: usize, nulls: &RoaringBitmap) -> Arc<LiveVectors> {
        let make = || {
            // Most columns have a vector in every row: then the rows are the same, and share their memory.
            let rows = if nulls.is_empty() { Arc::clone(&self.rows) } else { Arc::new(&*self.rows - nulls) };
            Arc::new(LiveVectors { rows, counts: OnceLock::new(), filter: OnceLock::new() })
        };
        Arc::clone(lock(&self.vectors).entry(column).or_insert_with(make))
    }
}

impl LiveVectors {
    pub(crate) fn rows(&self) -> &Arc<RoaringBitmap> {
        &self.rows
    }

    /// How many of them are in each cluster.
    pub(crate) async fn match_counts(&self, index: &VectorIndex) -> Result<Arc<MatchCounts>> {
        // Two queries may count at once, which nobody waits for: they find the same.
        match self.counts.get() {
            Some(counts) => Ok(Arc::clone(counts)),
            None => {
                let counts = Arc::new(index.count_all_matches(&self.rows).await?);
                Ok(Arc::clone(self.counts.get_or_init(|| counts)))
            }
        }
    }

    /// The rows as a scan tests them.
    pub(crate) fn filter(&self, index: &VectorIndex) -> Result<RowFilter> {
        match self.filter.get() {
            Some(filter) => Ok(filter.clone()),
            None => {
                let filter = index.filter_all_rows(&self.rows)?;
                Ok(self.filter.get_or_init(|| filter).clone())
            }
        }
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
