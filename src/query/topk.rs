//! The nearest few of many, in a total order.
//!
//! **Invariant:** the outcome depends on what was pushed, never on the order of the pushes.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// How many entries are reserved at first: a limit is the caller's word, not a reason to allocate.
const RESERVED_MAX: usize = 1 << 10;

/// The `limit` least of all pushed entries: by distance, then by key. A key is pushed at most once.
#[derive(Clone, Debug)]
pub(crate) struct TopK<T> {
    limit: usize,
    /// The greatest on top.
    heap: BinaryHeap<Entry<T>>,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    distance: f32,
    key: T,
}

impl<T: Ord> TopK<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, heap: BinaryHeap::with_capacity(limit.min(RESERVED_MAX)) }
    }

    /// Offers an entry; whether it is among the least so far.
    pub(crate) fn push(&mut self, distance: f32, key: T) -> bool {
        let entry = Entry { distance, key };
        if self.heap.len() < self.limit {
            self.heap.push(entry);
            return true;
        }
        match self.heap.peek_mut() {
            Some(mut greatest) if entry < *greatest => {
                *greatest = entry;
                true
            }
            _ => false,
        }
    }

    /// Whether an entry of this distance could still enter.
    #[cfg(test)]
    fn admits(&self, distance: f32) -> bool {
        self.limit > 0 && self.threshold().is_none_or(|greatest| distance.total_cmp(&greatest).is_le())
    }

    /// When full: the greatest distance held. What is farther cannot enter; what is as far may, by its key.
    #[cfg(test)]
    pub(crate) fn threshold(&self) -> Option<f32> {
        if self.heap.len() < self.limit { None } else { self.heap.peek().map(|entry| entry.distance) }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Everything held, least first.
    pub(crate) fn into_sorted_vec(self) -> Vec<(f32, T)> {
        self.heap.into_sorted_vec().into_iter().map(|entry| (entry.distance, entry.key)).collect()
    }
}

impl<T: Ord> Extend<(f32, T)> for TopK<T> {
    fn extend<I: IntoIterator<Item = (f32, T)>>(&mut self, entries: I) {
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

    fn distance() -> impl Strategy<Value = f32> {
        let few = proptest::sample::select(vec![0.0, -0.0, 1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
        prop_oneof![few, any::<f32>()]
    }

    /// As bits, so that NaN equals itself.
    fn bits(entries: Vec<(f32, u16)>) -> Vec<(u32, u16)> {
        entries.into_iter().map(|(distance, key)| (distance.to_bits(), key)).collect()
    }

    proptest! {
        #[test]
        fn it_is_the_head_of_the_sorted_whole(
            distances in proptest::collection::vec(distance(), 0..60),
            limit in 0_usize..20,
            turn in 0_usize..60,
        ) {
            let mut entries: Vec<(f32, u16)> = distances.into_iter().zip(0..).collect();
            let turn = turn % entries.len().max(1);
            entries.rotate_left(turn);
            let mut top = TopK::new(limit);
            for (distance, key) in &entries {
                let admitted = top.admits(*distance);
                let entered = top.push(*distance, *key);
                prop_assert!(admitted || !entered);
                prop_assert!(top.len() <= limit);
            }
            let (first, second) = entries.split_at(turn);
            let mut merged = TopK::new(limit);
            for half in [first, second] {
                let mut part = TopK::new(limit);
                part.extend(half.iter().copied());
                merged.extend(part.into_sorted_vec());
            }
            entries.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            entries.truncate(limit);
            prop_assert_eq!(bits(top.into_sorted_vec()), bits(entries.clone()));
            prop_assert_eq!(bits(merged.into_sorted_vec()), bits(entries));
        }
    }

    #[test]
    fn a_great_limit_reserves_little_and_none_admits_nothing() {
        let mut all = TopK::new(usize::MAX);
        assert!(all.push(1.0, 1) && all.threshold().is_none());
        let mut none = TopK::new(0);
        assert!(!none.admits(0.0) && !none.push(0.0, 1));
        let mut one = TopK::new(1);
        assert!(one.push(1.0, 5) && one.admits(1.0) && !one.push(1.0, 6) && one.push(1.0, 4));
        assert_eq!(one.threshold(), Some(1.0));
    }
}
