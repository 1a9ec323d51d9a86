//! The head of the index: where the blocks of every column are, and the keys at their bounds.
//!
//! ```text
//! "ECOL" | version u16 | zero u16 | rows u32 | columns u32
//! column: number u32 | part | 0 u8, or if it has trigrams: 1 u8 | keys of each block u32 | part
//! part:   bytes of a key u8, 0 if they differ | nulls u32
//!         greatest key: length u8 | its first bytes, up to 32
//!         blocks u32
//!         block of nulls, if some but not all are null: length u32 | XXH3-64
//!         block: fence length u8 | the first bytes of its first key, up to 32 | length u32 | XXH3-64
//! ```
//! Blocks lie in this order, one behind the other: the head stores lengths, and offsets are their sums.

use super::column::{FENCE_BYTES_MAX, FencedBlock, KeyColumn, truncate_key};
use crate::cache::Span;
use crate::codec::{CodecError, Reader, checksum, put_len_u32};
use crate::error::{Error, Result};
use crate::types::ColumnId;

const WHAT: &str = "attribute index";
const MAGIC: [u8; 4] = *b"ECOL";
const VERSION: u16 = 1;

/// Writes a head column by column.
#[derive(Debug)]
pub(crate) struct HeadWriter {
    bytes: Vec<u8>,
    /// The blocks of the part that is open: their number is stored before them.
    blocks: Vec<u8>,
    block_count: u32,
}

impl HeadWriter {
    pub(crate) fn new(rows: u32, columns: usize) -> Result<Self> {
        let mut bytes = Vec::new();
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 2]);
        bytes.extend(rows.to_le_bytes());
        put_len_u32(&mut bytes, columns)?;
        Ok(Self { bytes, blocks: Vec::new(), block_count: 0 })
    }

    /// Begins a column.
    pub(crate) fn begin_column(&mut self, id: ColumnId) {
        self.bytes.extend(id.0.to_le_bytes());
    }

    /// Begins the keys of a column, or its trigrams. `width` is the length of all keys, if they have one.
    pub(crate) fn begin_part(&mut self, width: Option<u8>, nulls: u32, max_key: &[u8]) -> Result<()> {
        // invariant: 0 is how the format writes that lengths differ; no type has keys of 0 bytes.
        self.bytes.push(width.unwrap_or(0));
        self.bytes.extend(nulls.to_le_bytes());
        put_fence(&mut self.bytes, max_key)
    }

    /// Adds the block of the rows that are null, before all blocks of keys.
    pub(crate) fn push_null_block(&mut self, block: &[u8]) -> Result<()> {
        put_len_u32(&mut self.blocks, block.len())?;
        self.blocks.extend(checksum(block).to_le_bytes());
        Ok(())
    }

    /// Adds a block of keys.
    pub(super) fn push_block(&mut self, fence: &[u8], block: &[u8]) -> Result<()> {
        put_fence(&mut self.blocks, fence)?;
        self.block_count += 1;
        put_len_u32(&mut self.blocks, block.len())?;
        self.blocks.extend(checksum(block).to_le_bytes());
        Ok(())
    }

    /// Ends the keys of a column, or its trigrams.
    pub(super) fn end_part(&mut self) {
        self.bytes.extend(self.block_count.to_le_bytes());
        self.bytes.append(&mut self.blocks);
        self.block_count = 0;
    }

    /// Writes whether trigrams follow the keys of a column, and then the number of keys of each block.
    pub(crate) fn mark_trigrams(&mut self, key_counts: Option<&[u32]>) {
        self.bytes.push(key_counts.is_some().into());
        for count in key_counts.into_iter().flatten() {
            self.bytes.extend(count.to_le_bytes());
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Appends a fence, the first bytes of a key, behind its length.
fn put_fence(out: &mut Vec<u8>, key: &[u8]) -> Result<()> {
    let fence = truncate_key(key, FENCE_BYTES_MAX);
    let length = u8::try_from(fence.len());
    out.push(length.map_err(|_| Error::internal("a fence is longer than its length field allows"))?);
    out.extend(fence);
    Ok(())
}

/// A column as its head describes it.
#[derive(Debug)]
pub(crate) struct AttributeColumnHead {
    pub(crate) id: ColumnId,
    pub(crate) keys: KeyColumn,
    pub(crate) trigrams: Option<TrigramHead>,
}

/// The trigrams of a column as their head describes them.
#[derive(Debug)]
pub(crate) struct TrigramHead {
    /// The trigrams as keys, whose rows are numbers of keys.
    pub(crate) column: KeyColumn,
    /// The number of the first key of each block of keys.
    pub(crate) first_keys: Vec<u32>,
}

/// Reads a head, which must be that of `rows` rows whose blocks are in `section` of the file.
pub(crate) fn decode_head(
    rows: u32,
    section: &Span,
    head: &[u8],
) -> Result<Vec<AttributeColumnHead>, CodecError> {
    let mut reader = Reader::new(WHAT, head);
    reader.magic(MAGIC)?;
    reader.version(VERSION)?;
    reader.u16()?;
    if reader.u32()? != rows {
        return Err(CodecError::malformed(WHAT, "it is not of these rows"));
    }
    let count = reader.u32()?;
    let mut decoder = HeadDecoder { reader, offset: section.start };
    // Grows with the columns that are there: the count is not trusted with an allocation.
    let mut columns = Vec::new();
    for _ in 0..count {
        columns.push(decoder.decode_column(rows)?);
    }
    decoder.reader.end()?;
    if decoder.offset != section.end {
        return Err(CodecError::malformed(WHAT, "blocks and section do not agree"));
    }
    Ok(columns)
}

/// Reads a head, and sums up the lengths of blocks to their offsets.
struct HeadDecoder<'a> {
    reader: Reader<'a>,
    /// Where the next block begins in the file.
    offset: u64,
}

impl HeadDecoder<'_> {
    fn decode_column(&mut self, rows: u32) -> Result<AttributeColumnHead, CodecError> {
        let id = ColumnId(self.reader.u32()?);
        let keys = self.decode_part(rows)?;
        let has_trigrams = self.read_u8_up_to(1)? == 1;
        let trigrams = has_trigrams.then(|| self.decode_trigrams(&keys)).transpose()?;
        Ok(AttributeColumnHead { id, keys, trigrams })
    }

    fn decode_trigrams(&mut self, keys: &KeyColumn) -> Result<TrigramHead, CodecError> {
        let (mut first_keys, mut key_count) = (Vec::new(), 0_u32);
        for _ in &keys.blocks {
            first_keys.push(key_count);
            let next = key_count.checked_add(self.reader.u32()?);
            key_count = next.ok_or_else(|| CodecError::malformed(WHAT, "more keys than can be numbered"))?;
        }
        Ok(TrigramHead { column: self.decode_part(key_count)?, first_keys })
    }

    /// Reads keys in blocks, which have rows below `rows`.
    fn decode_part(&mut self, rows: u32) -> Result<KeyColumn, CodecError> {
        let malformed = |why: &str| CodecError::malformed(WHAT, why);
        let width = match self.read_u8_up_to(u8::MAX.into())? {
            0 => None,
            width => Some(usize::from(width)),
        };
        let nulls = self.reader.u32()?;
        let max = self.read_fence()?;
        let count = self.reader.u32()?;
        if nulls > rows {
            return Err(malformed("more nulls than rows"));
        }
        let null_block = (nulls > 0 && nulls < rows).then(|| self.read_span()).transpose()?;
        let mut blocks: Vec<FencedBlock> = Vec::new();
        for _ in 0..count {
            let fence = self.read_fence()?;
            // Searches for blocks rely on the order of fences. Equal ones are of keys that differ behind them.
            if blocks.last().is_some_and(|last| last.fence > fence) || fence > max {
                return Err(malformed("fences out of order"));
            }
            blocks.push(FencedBlock { fence, span: self.read_span()? });
        }
        Ok(KeyColumn { rows, width, nulls, null_block, max, blocks })
    }

    fn read_u8_up_to(&mut self, max: usize) -> Result<u8, CodecError> {
        match self.reader.take(1)? {
            [byte] if usize::from(*byte) <= max => Ok(*byte),
            _ => Err(CodecError::malformed(WHAT, "a length that is too large")),
        }
    }

    fn read_fence(&mut self) -> Result<Vec<u8>, CodecError> {
        let length = self.read_u8_up_to(FENCE_BYTES_MAX)?;
        Ok(self.reader.take(length.into())?.to_vec())
    }

    fn read_span(&mut self) -> Result<Span, CodecError> {
        let start = self.offset;
        // Saturation is refused by the comparison with the section.
        let end = start.saturating_add(self.reader.u32()?.into());
        let span = Span { start, end, checksum: Some(self.reader.u64()?) };
        self.offset = end;
        Ok(span)
    }
}
