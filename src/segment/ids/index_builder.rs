//! Building the id index.

use super::block_list::{BlockList, BlockListBuilder};
use super::encoding::EncodedIds;
use super::{ID_INDEX_MAGIC, ID_INDEX_VERSION};
use crate::codec::{put_len_u32, to_u32};
use crate::error::Result;
use crate::schema::Ids;
use crate::types::IdKind;

/// A block is what a lookup reads: small beside the latency of a request, and large enough that
/// the head, which is read when the segment is opened, has an entry for about a thousand ids.
pub(super) const BLOCK_BYTES_MAX: usize = 32 << 10;
/// The most bytes of an id in a block: 64 of the longest id, 2 of its length, 4 of its row, and some to spare.
const ENTRY_BYTES_MAX: usize = 80;
const _: () = assert!(crate::types::ID_BYTES_MAX + 2 + 4 <= ENTRY_BYTES_MAX);

/// Encodes an id index; ids come in ascending order.
#[derive(Debug)]
pub(in crate::segment) struct IdIndexBuilder {
    kind: IdKind,
    list: BlockListBuilder,
    /// The first id of each block.
    fences: EncodedIds,
    /// The rows and ids of the open block.
    rows: Vec<u8>,
    ids: EncodedIds,
}

impl IdIndexBuilder {
    pub(in crate::segment) fn new(kind: IdKind) -> Self {
        Self {
            kind,
            list: BlockListBuilder::new(),
            fences: EncodedIds::default(),
            rows: Vec::new(),
            ids: EncodedIds::default(),
        }
    }

    /// Adds the id at `at`, which is that of `row`.
    pub(in crate::segment) fn push_id(&mut self, ids: &Ids, at: usize, row: u32) -> Result<()> {
        if self.rows.is_empty() {
            self.fences.push_id(ids, at)?;
        }
        self.ids.push_id(ids, at)?;
        self.rows.extend(row.to_le_bytes());
        // Closed before the next id comes, whose length is not known yet: the longest must still fit.
        if 4 + self.rows.len() + self.ids.len() + ENTRY_BYTES_MAX > BLOCK_BYTES_MAX {
            self.close_block()?;
        }
        Ok(())
    }

    fn close_block(&mut self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let entries = to_u32(self.rows.len() / 4, "the number of ids in a block")?;
        let mut block = Vec::with_capacity(4 + self.rows.len() + self.ids.len());
        block.extend(entries.to_le_bytes());
        block.append(&mut self.rows);
        self.ids.append_to(&mut block);
        self.list.push_block(&block, |entry, extent| {
            entry.extend(extent.offset.to_le_bytes());
            put_len_u32(entry, extent.length)?;
            entry.extend(entries.to_le_bytes());
            Ok(())
        })
    }

    pub(in crate::segment) fn finish(mut self) -> Result<BlockList> {
        self.close_block()?;
        let mut list = self.list.finish(ID_INDEX_MAGIC, ID_INDEX_VERSION, self.kind);
        self.fences.append_to(&mut list.head);
        Ok(list)
    }
}
