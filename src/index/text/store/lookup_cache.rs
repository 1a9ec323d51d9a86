//! A small cache of dictionary lookups.

use std::collections::HashMap;
use std::hash::Hash;

/// Values that the caller weighs, in two generations: a value that is used again moves to the young generation, and
/// outlives those that are not.
///
/// An LRU list would order every lookup. Here a hit in the young generation changes nothing, and dropping a generation
/// is one move.
#[derive(Debug)]
pub(super) struct LookupCache<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    young_weight: usize,
    /// The most weight of one generation.
    weight_max: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> LookupCache<K, V> {
    /// A cache of at most twice `weight_max`.
    pub(super) fn new(weight_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), young_weight: 0, weight_max }
    }

    pub(super) fn get(&mut self, key: &K, weigh: impl Fn(&V) -> usize) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.put(key, value.clone(), weigh(&value));
        Some(value)
    }

    pub(super) fn put(&mut self, key: K, value: V, weight: usize) {
        // A value that fills a generation by itself would drop all others for one lookup.
        if weight > self.weight_max {
            return;
        }
        if self.young_weight + weight > self.weight_max {
            self.old = std::mem::take(&mut self.young);
            self.young_weight = 0;
        }
        if self.young.insert(key, value).is_none() {
            self.young_weight += weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_again_stays_and_the_whole_is_bounded() {
        let mut cache = LookupCache::new(10);
        cache.put(0, 0, 1);
        for key in 1..100 {
            cache.put(key, key, 1);
            assert_eq!(cache.get(&0, |_| 1), Some(0));
            assert!(cache.young.len() + cache.old.len() <= 20);
        }
        assert_eq!(cache.get(&1, |_| 1), None);
        cache.put(200, 0, 11);
        assert_eq!(cache.get(&200, |_| 11), None);
    }
}
