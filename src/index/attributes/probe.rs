//! What a column is asked, and what it answers.

use std::ops::Bound;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::keys::KeyList;
use super::pattern::Pattern;

/// A predicate on the keys of a column. Keys are whole, however long.
#[derive(Clone, Debug)]
pub(crate) enum Probe {
    /// The rows without a value.
    Null,
    /// The rows that have one of these keys.
    In(Arc<KeyList>),
    /// The rows that have a key within these bounds.
    Range(Bound<Box<[u8]>>, Bound<Box<[u8]>>),
    /// The rows that have a string which matches.
    Matches(Pattern),
    /// The same, asked only of keys that can match: these of each of the blocks that are read.
    Sifted(Pattern, Vec<Vec<u32>>),
}

/// Which rows match: `sure` surely, the others of `maybe` perhaps, the rest not. `maybe` holds all of `sure`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Known {
    pub(crate) sure: RoaringBitmap,
    pub(crate) maybe: RoaringBitmap,
}

impl Known {
    /// Nothing is left in question.
    pub(super) fn exactly(rows: RoaringBitmap) -> Self {
        Self { maybe: rows.clone(), sure: rows }
    }
}
