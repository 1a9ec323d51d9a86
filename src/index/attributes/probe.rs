//! What a column is asked, and what it answers.

use std::ops::Bound;

use roaring::RoaringBitmap;

use super::key::KEY_BYTES_MAX;
use super::pattern::Pattern;

/// A predicate on the keys of a column. Keys are whole, however long.
#[derive(Clone, Debug)]
pub(crate) enum Probe {
    /// The rows without a value.
    Null,
    /// The rows that have one of these keys, which ascend.
    In(Vec<Box<[u8]>>),
    /// The rows that have a key within these bounds.
    Range(Bound<Box<[u8]>>, Bound<Box<[u8]>>),
    /// The rows that have a string which matches.
    Matches(Pattern),
}

/// Which rows match: `sure` surely, the others of `maybe` perhaps, the rest not. `maybe` holds all of `sure`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Known {
    pub(crate) sure: RoaringBitmap,
    pub(crate) maybe: RoaringBitmap,
}

/// What a probe says of the values of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Says {
    No,
    Maybe,
    Yes,
}

/// A probe that is asked about ascending keys.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    probe: &'a Probe,
    /// Keys before this one are less than any that is still asked about.
    next: usize,
}

impl<'a> Asking<'a> {
    pub(super) fn new(probe: &'a Probe) -> Self {
        Self { probe, next: 0 }
    }

    /// Of a key as it is stored: greater than those asked about before.
    pub(super) fn ask(&mut self, key: &[u8]) -> Says {
        let whole = key.len() < KEY_BYTES_MAX;
        match self.probe {
            Probe::Null => Says::No,
            Probe::In(keys) => {
                let rest = keys.get(self.next..).unwrap_or_default();
                self.next += skip(rest, key);
                match keys.get(self.next) {
                    Some(wanted) if whole && **wanted == *key => Says::Yes,
                    Some(wanted) if !whole && wanted.starts_with(key) => Says::Maybe,
                    _ => Says::No,
                }
            }
            Probe::Range(low, high) => above(low, key, whole).min(below(high, key, whole)),
            Probe::Matches(_) if !whole => Says::Maybe,
            Probe::Matches(pattern) => match std::str::from_utf8(key) {
                Ok(text) if pattern.is_match(text) => Says::Yes,
                Ok(_) => Says::No,
                // Nothing that was stored as a string.
                Err(_) => Says::Maybe,
            },
        }
    }
}

/// How many of ascending keys are less than `key`: by steps that double, so that a few are skipped at once.
pub(super) fn skip(keys: &[Box<[u8]>], key: &[u8]) -> usize {
    let mut step = 1;
    while keys.get(step - 1).is_some_and(|k| **k < *key) {
        step *= 2;
    }
    let (from, to) = (step / 2, step.min(keys.len()));
    from + keys.get(from..to).unwrap_or_default().partition_point(|k| **k < *key)
}

/// Whether what a key stands for is above a bound. What is not whole stands for all that begins with it.
fn above(low: &Bound<Box<[u8]>>, key: &[u8], whole: bool) -> Says {
    let (bound, included) = match low {
        Bound::Unbounded => return Says::Yes,
        Bound::Included(bound) => (&**bound, true),
        Bound::Excluded(bound) => (&**bound, false),
    };
    if key > bound || (included && key == bound) {
        Says::Yes
    } else if !whole && bound.starts_with(key) {
        Says::Maybe
    } else {
        Says::No
    }
}

fn below(high: &Bound<Box<[u8]>>, key: &[u8], whole: bool) -> Says {
    let (bound, included) = match high {
        Bound::Unbounded => return Says::Yes,
        Bound::Included(bound) => (&**bound, true),
        Bound::Excluded(bound) => (&**bound, false),
    };
    if key > bound || (!included && key == bound) {
        Says::No
    } else if !whole && bound.starts_with(key) {
        Says::Maybe
    } else {
        Says::Yes
    }
}
