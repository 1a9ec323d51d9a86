//! The attribute index: which rows have which values, found by reading a few blocks.
//!
//! Each column is a list of its distinct values in order, each with the rows that have it; the elements of arrays
//! count as values of their row. The list is cut into blocks of about 16 KiB. The head, which is read when a segment
//! is opened, holds the first value of every block, so any predicate knows its blocks and they are read together.
//!
//! What the index cannot decide, as of values longer than a key, it says: an answer is two sets, the rows that
//! surely match and those that may.
//!
//! **Invariant:** the order and equality of keys are those of Arrow's comparison of the values.

mod answer;
mod block;
mod build;
mod column;
mod fuzzy;
mod gather;
mod index;
mod key;
mod keys;
mod pattern;
mod portable;
mod probe;
mod trigrams;

pub(crate) use build::AttributeIndexBuilder;
pub(crate) use column::AttributeColumn;
pub(crate) use fuzzy::{FuzzyMatcher, QUERY_CHARS_MAX};
pub(crate) use index::AttributeIndex;
pub(crate) use key::{bits_of, each_key, is_whole, value_of};
pub(crate) use keys::KeyList;
pub(crate) use pattern::Pattern;
pub(crate) use probe::{AttributeProbe, Candidates};
pub(crate) use trigrams::TrigramLookup;
