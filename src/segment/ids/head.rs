//! The head of the id index: where its blocks are, and with which id each begins.
//!
//! ```text
//! "EIDX" | version u16 | kind u16 | blocks u32 | (offset u64, length u32, entries u32, XXH3-64) × blocks | ids
//! ```
//! The ids are the first of each block, its *fence*. A block, of at most 32 KiB, is
//! ```text
//! entries u32 | row u32 × entries | ids
//! ```

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::block::IdBlock;
use super::encoding::{decode_ids, kind_code};
use super::{ID_INDEX as WHAT, ID_INDEX_MAGIC, ID_INDEX_VERSION};
use crate::cache::Span;
use crate::codec::{CodecError, Reader, usize_of};
use crate::error::{Error, Result};
use crate::schema::Ids;
use crate::types::{DocumentId, IdKind};

#[derive(Debug)]
pub(in crate::segment) struct IdIndexHead {
    kind: IdKind,
    rows: u32,
    /// The least id of each block.
    fences: Ids,
    blocks: Vec<IdBlockEntry>,
}

#[derive(Clone, Debug)]
struct IdBlockEntry {
    span: Span,
    entries: u32,
}

/// The ids of an ascending list that one block may hold.
#[derive(Clone, Debug)]
pub(super) struct BlockShare {
    pub(super) block: usize,
    pub(super) ids: Range<usize>,
}

impl IdIndexHead {
    /// Reads the head of an index of `rows` rows; `section` is the range of `id.blocks` in the file.
    pub(in crate::segment) fn decode(
        kind: IdKind,
        rows: u32,
        section: &Range<u64>,
        head: &[u8],
    ) -> Result<Self, CodecError> {
        let mut reader = Reader::new(WHAT, head);
        reader.magic(ID_INDEX_MAGIC)?;
        reader.version(ID_INDEX_VERSION)?;
        if reader.u16()? != kind_code(kind) {
            return Err(CodecError::malformed(WHAT, "another kind of id"));
        }
        let count = usize_of(reader.u32()?);
        // Not reserved: the count is not to be believed before as many entries were read.
        let mut blocks = Vec::new();
        let (mut entries, mut end) = (0u64, section.start);
        for _ in 0..count {
            let start = section.start.saturating_add(reader.u64()?);
            let stop = start.saturating_add(reader.u32()?.into());
            let block_entries = reader.u32()?;
            let span = Span { start, end: stop, checksum: Some(reader.u64()?) };
            // Blocks without gaps and overlaps are what lets a whole section be cut by the spans of the head.
            if span.start != end || block_entries == 0 {
                return Err(CodecError::malformed(WHAT, "blocks do not follow each other"));
            }
            end = stop;
            entries += u64::from(block_entries);
            blocks.push(IdBlockEntry { span, entries: block_entries });
        }
        let fences = decode_ids(WHAT, kind, count, &mut reader)?;
        reader.end()?;
        if entries != u64::from(rows) || end != section.end || !fences.is_ascending() {
            return Err(CodecError::malformed(WHAT, "blocks and rows do not agree"));
        }
        Ok(Self { kind, rows, fences, blocks })
    }

    pub(super) fn kind(&self) -> IdKind {
        self.kind
    }

    pub(super) fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// Where a block is in the file, with its checksum.
    pub(super) fn block_span(&self, number: usize) -> Result<&Span> {
        self.block_entry(number).map(|entry| &entry.span)
    }

    /// How many ids a block holds.
    pub(super) fn block_len(&self, number: usize) -> Result<usize> {
        self.block_entry(number).map(|entry| usize_of(entry.entries))
    }

    fn block_entry(&self, number: usize) -> Result<&IdBlockEntry> {
        self.blocks.get(number).ok_or_else(|| Error::internal("a block that the id index does not have"))
    }

    /// The block that holds `id`, if any does.
    pub(super) fn find_block(&self, id: &DocumentId) -> Option<usize> {
        match self.fences.search(id) {
            Ok(block) => Some(block),
            // The block before the first greater fence. There is none if `id` is less than all ids.
            Err(next) => next.checked_sub(1),
        }
    }

    /// Divides `ids`, which ascend, among the blocks that may hold them. Blocks without any are left out.
    pub(super) fn divide_ids(&self, ids: &Ids) -> Vec<BlockShare> {
        let lower_bound = |id: &DocumentId| ids.search(id).unwrap_or_else(|at| at);
        let mut shares = Vec::new();
        // Ids below the first fence are in no block.
        let mut start = if self.fences.len() == 0 { ids.len() } else { lower_bound(&self.fences.get(0)) };
        // Each step skips to the block of the next id and takes all ids up to the fence behind that block: two binary
        // searches for a block that is read, and none for the blocks between.
        while start < ids.len() {
            let Some(block) = self.find_block(&ids.get(start)) else { break };
            let is_last = block + 1 >= self.fences.len();
            let end = if is_last { ids.len() } else { lower_bound(&self.fences.get(block + 1)) };
            // The id at `start` is below the next fence, so that a share is never empty and the loop ends.
            let end = end.max(start + 1);
            shares.push(BlockShare { block, ids: start..end });
            start = end;
        }
        shares
    }

    /// Decodes the block of this number.
    pub(super) fn decode_block(&self, number: usize, bytes: &[u8]) -> Result<IdBlock, CodecError> {
        let bad = |why| CodecError::malformed(WHAT, why);
        let entry = self.blocks.get(number).ok_or_else(|| bad("no such block"))?;
        let mut reader = Reader::new(WHAT, bytes);
        let entries = reader.u32()?;
        if entries != entry.entries {
            return Err(bad("wrong number of entries"));
        }
        let entries = usize_of(entries);
        let (rows, _) = reader.take(entries.saturating_mul(4))?.as_chunks::<4>();
        let rows: Arc<[u32]> = rows.iter().map(|row| u32::from_le_bytes(*row)).collect();
        let ids = decode_ids(WHAT, self.kind, entries, &mut reader)?;
        reader.end()?;
        // The checksum proves that the block is as it was written, not that it is the block of this number: the ids
        // must be those from its fence up to the next.
        let at_fence = ids.get(0) == self.fences.get(number);
        let below_next =
            number + 1 >= self.fences.len() || ids.compare(entries - 1, &self.fences.get(number + 1)).is_lt();
        if !at_fence || !below_next || !ids.is_ascending() || rows.iter().any(|row| *row >= self.rows) {
            return Err(bad("ids are not where they belong"));
        }
        IdBlock::new(ids, rows).map_err(|e| CodecError::malformed(WHAT, e))
    }

    /// Decodes all blocks of a whole section.
    pub(super) fn decode_all_blocks(&self, section: &Bytes) -> Result<Vec<IdBlock>, CodecError> {
        let mut unread = Reader::new(WHAT, section);
        let mut blocks = Vec::with_capacity(self.blocks.len());
        for (number, entry) in self.blocks.iter().enumerate() {
            // Blocks follow each other from the start of the section, as `decode` checked.
            let length = usize::try_from(entry.span.end - entry.span.start);
            let length = length.map_err(|_| CodecError::Truncated { what: WHAT })?;
            blocks.push(self.decode_block(number, unread.take(length)?)?);
        }
        unread.end()?;
        Ok(blocks)
    }
}
