//! What a column is asked, and what it answers.

use std::ops::Bound;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::keys::KeyList;
use super::pattern::Pattern;

/// A predicate on the keys of a column. Keys are whole, however long.
#[derive(Clone, Debug)]
pub(crate) enum AttributeProbe {
    /// The rows without a value.
    Null,
    /// The rows that have one of these keys.
    In(Arc<KeyList>),
    /// The rows that have a key within these bounds.
    Range(Bound<Box<[u8]>>, Bound<Box<[u8]>>),
    /// The rows that have a string which matches.
    Matches(Pattern),
    /// The same, asked only of keys that can match: these of each of the blocks that are read.
    MatchesAmong(Pattern, Vec<Vec<u32>>),
}

/// The answer of an index: the rows that match for certain, and those that can match. All others do not match.
///
/// `possible` holds every row of `definite`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Candidates {
    pub(crate) definite: RoaringBitmap,
    pub(crate) possible: RoaringBitmap,
}

impl Candidates {
    /// Nothing is left in question.
    pub(super) fn exactly(rows: RoaringBitmap) -> Self {
        Self { possible: rows.clone(), definite: rows }
    }
}
