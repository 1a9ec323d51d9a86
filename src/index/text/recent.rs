//! What was looked up lately, at most so much of it.

use std::collections::HashMap;
use std::hash::Hash;

/// What is weighed by the caller, in two generations: what is asked again outlives what is not.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// What the young weigh, and may weigh.
    weight: usize,
    most: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> Recent<K, V> {
    /// Holds at most twice `most`.
    pub(super) fn new(most: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), weight: 0, most }
    }

    pub(super) fn get(&mut self, key: &K, weight: impl Fn(&V) -> usize) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.put(key, value.clone(), weight(&value));
        Some(value)
    }

    pub(super) fn put(&mut self, key: K, value: V, weight: usize) {
        if weight > self.most {
            return;
        }
        if self.weight + weight > self.most {
            self.old = std::mem::take(&mut self.young);
            self.weight = 0;
        }
        if self.young.insert(key, value).is_none() {
            self.weight += weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_again_stays_and_the_whole_is_bounded() {
        let mut recent = Recent::new(10);
        recent.put(0, 0, 1);
        for key in 1..100 {
            recent.put(key, key, 1);
            assert_eq!(recent.get(&0, |_| 1), Some(0));
            assert!(recent.young.len() + recent.old.len() <= 20);
        }
        assert_eq!(recent.get(&1, |_| 1), None);
        recent.put(200, 0, 11);
        assert_eq!(recent.get(&200, |_| 11), None);
    }
}
