//! The bytes of the attribute index: keys, blocks of keys with their rows, and the head that names the blocks.
//!
//! | file | holds |
//! |---|---|
//! | `key`, `key_list` | values as bytes that compare as the values do, and sorted lists of them |
//! | `block_writer`, `block` | a block: neighbouring keys, each with its rows |
//! | `column_writer`, `column` | the blocks of a column, and the bounds by which a key finds its blocks |
//! | `head` | the head: where the blocks of all columns lie |
//! | `portable`, `row_gatherer`, `row_set` | rows as the portable format of roaring bitmaps, their union and lookup |
//!
//! **Invariant:** nothing here knows what a predicate or a trigram is: a column maps keys of bytes to rows, and both
//! the values of an attribute and its trigrams are such columns.

mod block;
mod block_writer;
mod column;
mod column_writer;
mod head;
mod key;
mod key_list;
mod portable;
mod row_gatherer;
mod row_set;
mod search;

pub(super) use block::{BlockKeys, KeyBlock, KeyPostings};
pub(super) use column::{KeyColumn, KeyRows, truncate_key};
pub(super) use column_writer::KeyColumnWriter;
pub(super) use head::{AttributeColumnHead, HeadWriter, TrigramHead, decode_head};
pub(super) use key::{KEY_BYTES_MAX, key_width};
pub(crate) use key::{bits_of, each_key, is_whole, value_of};
pub(crate) use key_list::KeyList;
pub(super) use portable::{decode_bitmap, encode_bitmap};
pub(super) use row_gatherer::RowGatherer;
pub(super) use search::seek_forward;
