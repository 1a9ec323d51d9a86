//! The nearest few of many rows, and what is as near as the last of them.
//!
//! **Invariant:** the outcome depends on what was pushed, never on the order of the pushes.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use roaring::RoaringBitmap;

use super::distance::Distance;
use crate::query::leg::ranking::PartRanking;

/// Entries that are reserved at first. The limit comes from the caller, and a large one is no reason to allocate.
const RESERVED_MAX: usize = 1 << 10;

/// The `limit` nearest of all pushed rows, and all rows that tie with the last of them: ties are cut by ids later,
/// which needs all of them. They are kept as a bitmap, so a column of equal vectors costs bits, not entries.
#[derive(Clone, Debug)]
pub(super) struct TopK {
    limit: usize,
    /// A max-heap: the farthest on top.
    heap: BinaryHeap<(Distance, u32)>,
    /// Rows that tie with the top of the full heap.
    ties: RoaringBitmap,
}

impl TopK {
    pub(super) fn new(limit: usize) -> Self {
        let heap = BinaryHeap::with_capacity(limit.min(RESERVED_MAX));
        Self { limit, heap, ties: RoaringBitmap::new() }
    }

    /// Offers a row.
    pub(super) fn push(&mut self, distance: f64, row: u32) {
        let entry = (Distance(distance), row);
        if self.heap.len() < self.limit {
            self.heap.push(entry);
            return;
        }
        let Some(mut farthest) = self.heap.peek_mut() else { return };
        match entry.0.cmp(&farthest.0) {
            Ordering::Greater => {}
            Ordering::Equal => {
                self.ties.insert(row);
            }
            Ordering::Less => {
                let (evicted, evicted_row) = std::mem::replace(&mut *farthest, entry);
                drop(farthest);
                // The evicted row ties with the new top, or all ties are now beyond the limit.
                if self.heap.peek().is_some_and(|top| top.0 < evicted) {
                    self.ties.clear();
                } else {
                    self.ties.insert(evicted_row);
                }
            }
        }
    }

    /// Offers rows at one distance.
    pub(super) fn push_all(&mut self, distance: f64, rows: &RoaringBitmap) {
        rows.iter().take(self.limit).for_each(|row| self.push(distance, row));
        let full = self.heap.len() == self.limit;
        if full && self.heap.peek().is_some_and(|farthest| farthest.0 == Distance(distance)) {
            self.ties |= rows;
        }
    }

    /// Offers all that another one holds.
    pub(super) fn merge(&mut self, other: Self) {
        let farthest = other.heap.peek().map(|(distance, _)| *distance);
        other.heap.into_iter().for_each(|(distance, row)| self.push(distance.0, row));
        // Ties are as far as the farthest that is held.
        if let Some(farthest) = farthest {
            self.push_all(farthest.0, &other.ties);
        }
    }

    /// Everything held.
    pub(super) fn into_ranking(self) -> PartRanking<Distance> {
        let held = self.heap.into_sorted_vec();
        if self.limit == 0 || held.len() < self.limit {
            return PartRanking { ahead: held, tied: None };
        }
        PartRanking::from_sorted(held, self.limit).with_ties(&self.ties)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn distance() -> impl Strategy<Value = f64> {
        let few = proptest::sample::select(vec![0.0, -0.0, 1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN]);
        prop_oneof![few, any::<f64>()]
    }

    /// As bits, so that NaN equals itself.
    fn bits(entries: impl IntoIterator<Item = (Distance, u32)>) -> Vec<(u64, u32)> {
        entries.into_iter().map(|(distance, row)| (distance.0.to_bits(), row)).collect()
    }

    proptest! {
        #[test]
        fn it_is_the_head_of_the_sorted_whole(
            distances in proptest::collection::vec(distance(), 0..60),
            limit in 0_usize..20,
            turn in 0_usize..60,
            split in 0_usize..60,
        ) {
            let mut entries: Vec<(Distance, u32)> = distances.into_iter().map(Distance).zip(0..).collect();
            let turn = turn % entries.len().max(1);
            entries.rotate_left(turn);
            // Whether one holds all, or two are merged.
            let (mut top, mut other) = (TopK::new(limit), TopK::new(limit));
            for (at, (distance, row)) in entries.iter().enumerate() {
                if at < split { top.push(distance.0, *row) } else { other.push(distance.0, *row) }
            }
            top.merge(other);
            entries.sort();
            let last = limit.checked_sub(1).and_then(|last| entries.get(last)).map(|last| last.0);
            entries.retain(|(distance, _)| limit > 0 && last.is_none_or(|last| *distance <= last));
            let PartRanking { ahead, tied } = top.into_ranking();
            prop_assert!(last.is_none() || ahead.len() < limit);
            let tied = tied.into_iter().flat_map(|(key, rows)| rows.into_iter().map(move |row| (key, row)));
            prop_assert_eq!(bits(ahead.into_iter().chain(tied)), bits(entries));
        }
    }

    #[test]
    fn a_great_limit_reserves_little_none_admits_nothing_and_all_ties_are_kept() {
        let mut all = TopK::new(usize::MAX);
        all.push(1.0, 1);
        assert_eq!(all.into_ranking().ahead, [(Distance(1.0), 1)]);
        let mut none = TopK::new(0);
        none.push(0.0, 1);
        assert!(none.into_ranking().ahead.is_empty());
        let mut same = TopK::new(1);
        (0..100_000).for_each(|row| same.push(1.0, row));
        assert_eq!(same.into_ranking().tied.unwrap().1.len(), 100_000);
    }
}
