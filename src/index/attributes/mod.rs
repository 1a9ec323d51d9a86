//! The attribute index: which rows have which values, found by reading a few blocks.
//!
//! It is an inverted index of values. Each column is a sorted list of its distinct values, each with its rows; the
//! elements of arrays count as values of their row. The list is cut into blocks of about 16 KiB. The head, which is
//! read when a segment is opened, holds the first value of every block, so that any predicate finds its blocks without
//! a read, and all of them are read together. The bytes are drawn in `format` and in the [format
//! page](crate::_docs::format).
//!
//! | folder | holds |
//! |---|---|
//! | `format` | keys, blocks, and the head: bytes to read and write |
//! | `trigram` | which keys hold which three bytes, for patterns over very many distinct strings |
//! | `predicate` | probes, patterns and approximate search: what keys are tested by |
//!
//! What the index cannot decide, such as the rest of a value longer than a key, it leaves to its caller: an answer is
//! [`Candidates`](crate::index::Candidates), the rows that match for certain and those that can match.
//!
//! **Invariant:** the order and equality of keys are those of Arrow's comparison of the values.

mod builder;
mod column;
mod format;
#[cfg(test)]
mod fuzz;
mod index;
mod predicate;
mod trigram;

pub(crate) use builder::AttributeIndexBuilder;
pub(crate) use column::AttributeColumn;
pub(crate) use format::{KeyList, bits_of, each_key, is_whole, value_of};
pub(crate) use index::AttributeIndex;
pub(crate) use predicate::{AttributeProbe, FuzzyMatcher, Pattern, QUERY_CHARS_MAX};
pub(crate) use trigram::TrigramLookup;
