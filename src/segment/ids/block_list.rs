//! Blocks of a section and the head that finds them, as the id index and the row ids have both.

use super::encoding::kind_code;
use crate::codec::{checksum, u64_of};
use crate::error::Result;
use crate::types::IdKind;

/// Encoded blocks, one behind the other, and the head that finds them.
#[derive(Debug)]
pub(in crate::segment) struct BlockList {
    pub(in crate::segment) head: Vec<u8>,
    pub(in crate::segment) blocks: Vec<u8>,
}

/// Collects the blocks of a section and the entries of its head.
#[derive(Debug)]
pub(super) struct BlockListBuilder {
    blocks: Vec<u8>,
    entries: Vec<u8>,
    count: u32,
}

/// Where a block begins in its section, and its length.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockExtent {
    pub(super) offset: u64,
    pub(super) length: usize,
}

impl BlockListBuilder {
    pub(super) fn new() -> Self {
        Self { blocks: Vec::new(), entries: Vec::new(), count: 0 }
    }

    /// Appends a block. Its entry of the head is what `describe` writes, and the checksum of the block.
    pub(super) fn push_block(
        &mut self,
        block: &[u8],
        describe: impl FnOnce(&mut Vec<u8>, BlockExtent) -> Result<()>,
    ) -> Result<()> {
        describe(&mut self.entries, BlockExtent { offset: u64_of(self.blocks.len()), length: block.len() })?;
        self.entries.extend(checksum(block).to_le_bytes());
        self.blocks.extend(block);
        self.count += 1;
        Ok(())
    }

    /// `magic | version u16 | kind u16 | blocks u32 | entry × blocks`, and the blocks.
    pub(super) fn finish(self, magic: [u8; 4], version: u16, kind: IdKind) -> BlockList {
        let mut head = Vec::with_capacity(12 + self.entries.len());
        head.extend(magic);
        head.extend(version.to_le_bytes());
        head.extend(kind_code(kind).to_le_bytes());
        head.extend(self.count.to_le_bytes());
        head.extend(self.entries);
        BlockList { head, blocks: self.blocks }
    }
}
