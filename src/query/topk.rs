//! The nearest few of many, and what is as near as the last of them.
//!
//! **Invariant:** with fewer ties than [`TIES_MAX`] the outcome depends on what was pushed, never on the order of
//! the pushes.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// How many entries are reserved at first: a limit is the caller's word, not a reason to allocate.
const RESERVED_MAX: usize = 1 << 10;

/// The most entries that are kept for being as near as the last: which of more of them are is left to chance.
const TIES_MAX: usize = 4_096;

/// The `limit` least of all pushed entries by distance, and those whose distance is that of the greatest of them:
/// who chooses among them has to see them all.
#[derive(Clone, Debug)]
pub(crate) struct TopK<T> {
    limit: usize,
    /// The greatest on top.
    heap: BinaryHeap<Entry<T>>,
    /// As far as the top of the full heap.
    ties: Vec<Entry<T>>,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    distance: f64,
    key: T,
}

impl<T: Ord> TopK<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, heap: BinaryHeap::with_capacity(limit.min(RESERVED_MAX)), ties: Vec::new() }
    }

    /// Offers an entry.
    pub(crate) fn push(&mut self, distance: f64, key: T) {
        let entry = Entry { distance, key };
        if self.heap.len() < self.limit {
            self.heap.push(entry);
            return;
        }
        let Some(mut greatest) = self.heap.peek_mut() else { return };
        match distance.total_cmp(&greatest.distance) {
            Ordering::Greater => {}
            Ordering::Equal => self.ties.push(entry),
            Ordering::Less => {
                let out = std::mem::replace(&mut *greatest, entry);
                drop(greatest);
                if self.heap.peek().is_some_and(|now| now.distance.total_cmp(&out.distance).is_lt()) {
                    self.ties.clear();
                } else {
                    self.ties.push(out);
                }
            }
        }
        self.ties.truncate(TIES_MAX);
    }

    /// Everything held, least first, ties by key.
    pub(crate) fn into_sorted_vec(self) -> Vec<(f64, T)> {
        let mut held = self.heap.into_vec();
        held.extend(self.ties);
        held.sort_unstable();
        held.into_iter().map(|entry| (entry.distance, entry.key)).collect()
    }
}

impl<T: Ord> Extend<(f64, T)> for TopK<T> {
    fn extend<I: IntoIterator<Item = (f64, T)>>(&mut self, entries: I) {
        for (distance, key) in entries {
            self.push(distance, key);
        }
    }
}

impl<T: Ord> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then_with(|| self.key.cmp(&other.key))
    }
}

impl<T: Ord> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T: Ord> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn distance() -> impl Strategy<Value = f64> {
        let few = proptest::sample::select(vec![0.0, -0.0, 1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN]);
        prop_oneof![few, any::<f64>()]
    }

    /// As bits, so that NaN equals itself.
    fn bits(entries: Vec<(f64, u16)>) -> Vec<(u64, u16)> {
        entries.into_iter().map(|(distance, key)| (distance.to_bits(), key)).collect()
    }

    proptest! {
        #[test]
        fn it_is_the_head_of_the_sorted_whole(
            distances in proptest::collection::vec(distance(), 0..60),
            limit in 0_usize..20,
            turn in 0_usize..60,
        ) {
            let mut entries: Vec<(f64, u16)> = distances.into_iter().zip(0..).collect();
            let turn = turn % entries.len().max(1);
            entries.rotate_left(turn);
            let mut top = TopK::new(limit);
            top.extend(entries.iter().copied());
            let (first, second) = entries.split_at(turn);
            let mut merged = TopK::new(limit);
            for half in [first, second] {
                let mut part = TopK::new(limit);
                part.extend(half.iter().copied());
                merged.extend(part.into_sorted_vec());
            }
            entries.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let last = limit.checked_sub(1).and_then(|last| entries.get(last)).map(|last| last.0);
            entries.retain(|(distance, _)| limit > 0 && last.is_none_or(|last| distance.total_cmp(&last).is_le()));
            prop_assert_eq!(bits(top.into_sorted_vec()), bits(entries.clone()));
            prop_assert_eq!(bits(merged.into_sorted_vec()), bits(entries));
        }
    }

    #[test]
    fn a_great_limit_reserves_little_none_admits_nothing_and_ties_are_bounded() {
        let mut all = TopK::new(usize::MAX);
        all.push(1.0, 1);
        assert_eq!(all.into_sorted_vec(), [(1.0, 1)]);
        let mut none = TopK::new(0);
        none.push(0.0, 1);
        assert!(none.into_sorted_vec().is_empty());
        let mut same = TopK::new(1);
        same.extend((0..3 * TIES_MAX).map(|key| (1.0, key)));
        assert_eq!(same.into_sorted_vec().len(), 1 + TIES_MAX);
    }
}
