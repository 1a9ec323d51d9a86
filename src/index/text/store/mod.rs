//! The text index of a segment as bytes: written once, fetched in verified blocks, decoded on demand.
//!
//! A segment has one tantivy index of all its text columns. Its files lie one after another in the object `text`; the
//! [`head`] says where, and [`PackedFile`](packed_file) fetches from it. tantivy writes the index and reads its
//! dictionary; postings and positions are decoded [here](block_postings), since tantivy's readers move forward only.

mod block_postings;
mod builder;
mod dictionary;
mod directory;
mod head;
mod index;
mod lookup_cache;
mod packed_file;
mod position_reader;
mod survey;
mod varint;

pub(in crate::index::text) use block_postings::{BlockMax, BlockPostings, NO_MORE_ROWS, POSTINGS_BLOCK_LEN};
pub(crate) use builder::TextIndexBuilder;
pub(in crate::index::text) use dictionary::DictionaryMatches;
#[cfg(test)]
pub(in crate::index::text) use head::PACKED_BLOCK_BYTES;
pub(crate) use index::TextIndex;
pub(in crate::index::text) use index::{PostingsRequest, TermLookup};
pub(in crate::index::text) use packed_file::RangePins;
