//! Ids of rows, both ways: the id index finds the row of an id, the row ids are the id of each row.
//!
//! Not a dictionary of tantivy-sstable: ids of fixed width are found without decoding a block, and one head says of all
//! blocks where they are, so that any number of ids is found in one request.
//!
//! Both are two sections of `index`: blocks, and a head that finds them. Ids are encoded alike: 8 bytes
//! little-endian, 16 bytes of a UUID, or for strings all lengths (`u16`), then all bytes.

mod block;
mod block_list;
mod encoding;
#[cfg(test)]
mod fuzz;
mod head;
mod index;
mod index_builder;
mod row_ids;
#[cfg(test)]
mod tests;

pub(crate) use block::IdBlock;
pub(super) use head::IdIndexHead;
pub(super) use index::IdIndex;
pub(super) use index_builder::IdIndexBuilder;
pub(super) use row_ids::{RowIds, RowIdsBuilder};

/// Names the id index in errors.
const ID_INDEX: &str = "id index";
const ID_INDEX_MAGIC: [u8; 4] = *b"EIDX";
const ID_INDEX_VERSION: u16 = 1;
