//! The bounds of a column, and comparisons that hold for all keys between them.

use super::super::bound::Comparison;
use crate::index::attributes::KeyList;
use crate::segment::{BOUND_BYTES_MAX, key_prefix};

/// All keys of a column are at least `min` and, compared by their first [`BOUND_BYTES_MAX`] bytes, at most `max`.
#[derive(Clone, Copy)]
pub(super) struct KeyBounds<'a> {
    pub(super) min: &'a [u8],
    pub(super) max: &'a [u8],
}

impl KeyBounds<'_> {
    /// Whether all keys are less than `key`.
    // The maximum may be truncated, so that the true one is longer and greater. It is less than `key` for certain only
    // if it already is within the length of a bound.
    pub(super) fn are_below(&self, key: &[u8]) -> bool {
        self.max < key_prefix(key)
    }

    pub(super) fn are_above(&self, key: &[u8]) -> bool {
        self.min > key
    }

    fn are_at_most(&self, key: &[u8]) -> bool {
        self.are_below(key) || (self.max == key && self.max.len() < BOUND_BYTES_MAX)
    }

    fn are_at_least(&self, key: &[u8]) -> bool {
        self.min >= key
    }

    pub(super) fn may_contain(&self, key: &[u8]) -> bool {
        !self.are_below(key) && !self.are_above(key)
    }

    /// The result of a comparison with `key`, if it is the same for all keys.
    pub(super) fn compare_all(&self, comparison: Comparison, key: &[u8]) -> Option<bool> {
        let (all_pass, all_fail) = match comparison {
            Comparison::Lt => (self.are_below(key), self.are_at_least(key)),
            Comparison::Lte => (self.are_at_most(key), self.are_above(key)),
            Comparison::Gt => (self.are_above(key), self.are_at_most(key)),
            Comparison::Gte => (self.are_at_least(key), self.are_below(key)),
            Comparison::Eq => (self.are_at_most(key) && self.are_at_least(key), !self.may_contain(key)),
        };
        if all_fail { Some(false) } else { all_pass.then_some(true) }
    }

    /// The result of the membership in a list, if it is the same for all keys.
    // The first key of the list from the minimum on decides: if it is above the bounds, so are the rest; and only if it
    // is the minimum can all keys equal it.
    pub(super) fn compare_all_with_list(&self, keys: &KeyList) -> Option<bool> {
        match keys.get(keys.seek_key(0, self.min)) {
            Some(key) => self.compare_all(Comparison::Eq, key),
            None => Some(false),
        }
    }
}
