//! The nearest few of many rows, and what is as near as the last of them.
//!
//! **Invariant:** the outcome depends on what was pushed, never on the order of the pushes.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use roaring::RoaringBitmap;

use super::ties::Ranked;

/// How many entries are reserved at first: a limit is the caller's word, not a reason to allocate.
const RESERVED_MAX: usize = 1 << 10;

/// The `limit` least of all pushed rows by distance, and all whose distance is that of the greatest of them: who
/// chooses among them has to see them all. However many tie, they take a bit or two each.
#[derive(Clone, Debug)]
pub(super) struct TopK {
    limit: usize,
    /// The greatest on top.
    heap: BinaryHeap<Entry>,
    /// As far as the top of the full heap.
    ties: RoaringBitmap,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    distance: f64,
    row: u32,
}

impl TopK {
    pub(super) fn new(limit: usize) -> Self {
        let heap = BinaryHeap::with_capacity(limit.min(RESERVED_MAX));
        Self { limit, heap, ties: RoaringBitmap::new() }
    }

    /// Offers a row.
    pub(super) fn push(&mut self, distance: f64, row: u32) {
        let entry = Entry { distance, row };
        if self.heap.len() < self.limit {
            self.heap.push(entry);
            return;
        }
        let Some(mut greatest) = self.heap.peek_mut() else { return };
        match distance.total_cmp(&greatest.distance) {
            Ordering::Greater => {}
            Ordering::Equal => {
                self.ties.insert(row);
            }
            Ordering::Less => {
                let out = std::mem::replace(&mut *greatest, entry);
                drop(greatest);
                if self.heap.peek().is_some_and(|now| now.distance.total_cmp(&out.distance).is_lt()) {
                    self.ties.clear();
                } else {
                    self.ties.insert(out.row);
                }
            }
        }
    }

    /// Offers rows that are as near as each other.
    pub(super) fn push_all(&mut self, distance: f64, rows: &RoaringBitmap) {
        rows.iter().take(self.limit).for_each(|row| self.push(distance, row));
        let full = self.heap.len() == self.limit;
        if full && self.heap.peek().is_some_and(|greatest| greatest.distance.total_cmp(&distance).is_eq()) {
            self.ties |= rows;
        }
    }

    /// Everything held.
    pub(super) fn finish(self) -> Ranked {
        let mut held: Vec<(f64, u32)> =
            self.heap.into_sorted_vec().into_iter().map(|entry| (entry.distance, entry.row)).collect();
        if self.limit == 0 || held.len() < self.limit {
            return Ranked { sure: held, tied: None };
        }
        let mut ranked = Ranked::of(std::mem::take(&mut held), self.limit);
        if let Some((_, tied)) = &mut ranked.tied {
            *tied |= self.ties;
        }
        ranked
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then_with(|| self.row.cmp(&other.row))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn distance() -> impl Strategy<Value = f64> {
        let few = proptest::sample::select(vec![0.0, -0.0, 1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN]);
        prop_oneof![few, any::<f64>()]
    }

    /// As bits, so that NaN equals itself.
    fn bits(entries: impl IntoIterator<Item = (f64, u32)>) -> Vec<(u64, u32)> {
        entries.into_iter().map(|(distance, row)| (distance.to_bits(), row)).collect()
    }

    proptest! {
        #[test]
        fn it_is_the_head_of_the_sorted_whole(
            distances in proptest::collection::vec(distance(), 0..60),
            limit in 0_usize..20,
            turn in 0_usize..60,
        ) {
            let mut entries: Vec<(f64, u32)> = distances.into_iter().zip(0..).collect();
            let turn = turn % entries.len().max(1);
            entries.rotate_left(turn);
            let mut top = TopK::new(limit);
            for (distance, row) in &entries {
                top.push(*distance, *row);
            }
            entries.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let last = limit.checked_sub(1).and_then(|last| entries.get(last)).map(|last| last.0);
            entries.retain(|(distance, _)| limit > 0 && last.is_none_or(|last| distance.total_cmp(&last).is_le()));
            let Ranked { sure, tied } = top.finish();
            prop_assert!(last.is_none() || sure.len() < limit);
            let tied = tied.into_iter().flat_map(|(key, rows)| rows.into_iter().map(move |row| (key, row)));
            prop_assert_eq!(bits(sure.into_iter().chain(tied)), bits(entries));
        }
    }

    #[test]
    fn a_great_limit_reserves_little_none_admits_nothing_and_all_ties_are_kept() {
        let mut all = TopK::new(usize::MAX);
        all.push(1.0, 1);
        assert_eq!(all.finish().sure, [(1.0, 1)]);
        let mut none = TopK::new(0);
        none.push(0.0, 1);
        assert!(none.finish().sure.is_empty());
        let mut same = TopK::new(1);
        (0..100_000).for_each(|row| same.push(1.0, row));
        assert_eq!(same.finish().tied.unwrap().1.len(), 100_000);
    }
}
