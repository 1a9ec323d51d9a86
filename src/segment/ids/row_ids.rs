//! The id of each row, in row order: what a search needs to name what it found, without a page of Parquet.
//!
//! ```text
//! head:   "EROW" | version u16 | kind u16 | blocks u32 | (length u32, checksum u64) × blocks
//! blocks: ids of 256 rows each, one block behind the other
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeBinaryArray, StringBuilder, UInt64Array};
use bytes::Bytes;
use roaring::RoaringBitmap;

use super::block_list::{BlockList, BlockListBuilder};
use super::encoding::{EncodedIds, kind_code};
use crate::cache::{Blob, Span};
use crate::codec::{CodecError, Reader, put_len_u32, usize_of, zip_equal};
use crate::env::{Cost, Env};
use crate::error::{Error, Result};
use crate::schema::Ids;
use crate::types::IdKind;

const WHAT: &str = "row ids";
const MAGIC: [u8; 4] = *b"EROW";
const VERSION: u16 = 1;
/// A block is read whole for the id of any of its rows: 2 KiB of numbers, 4 KiB of UUIDs. The results of a search are
/// seldom neighbours, so that larger blocks would mostly read ids that nobody wants; each block costs 12 bytes of head.
const BLOCK_ROWS: u32 = 256;

/// Encodes ids in the order of rows.
#[derive(Debug)]
pub(in crate::segment) struct RowIdsBuilder {
    kind: IdKind,
    list: BlockListBuilder,
    /// The ids of the open block.
    ids: EncodedIds,
    open_rows: u32,
}

impl RowIdsBuilder {
    pub(in crate::segment) fn new(kind: IdKind) -> Self {
        Self { kind, list: BlockListBuilder::new(), ids: EncodedIds::default(), open_rows: 0 }
    }

    pub(in crate::segment) fn push_ids(&mut self, ids: &Ids) -> Result<()> {
        for at in 0..ids.len() {
            self.ids.push_id(ids, at)?;
            self.open_rows += 1;
            if self.open_rows == BLOCK_ROWS {
                self.close_block()?;
            }
        }
        Ok(())
    }

    fn close_block(&mut self) -> Result<()> {
        if self.open_rows == 0 {
            return Ok(());
        }
        let mut block = Vec::with_capacity(self.ids.len());
        self.ids.append_to(&mut block);
        self.open_rows = 0;
        // All blocks but the last have as many rows, and none is left out: length and checksum find each of them.
        self.list.push_block(&block, |entry, extent| put_len_u32(entry, extent.length))
    }

    pub(in crate::segment) fn finish(mut self) -> Result<BlockList> {
        self.close_block()?;
        Ok(self.list.finish(MAGIC, VERSION, self.kind))
    }
}

/// The ids of rows, read block by block.
#[derive(Clone, Debug)]
pub(in crate::segment) struct RowIds {
    kind: IdKind,
    rows: u32,
    blob: Blob,
    blocks: Vec<Span>,
}

impl RowIds {
    /// Reads a head, which must be that of `rows` rows whose blocks are in `section` of the file.
    pub(in crate::segment) fn decode(
        kind: IdKind,
        rows: u32,
        blob: Blob,
        section: &Span,
        head: &[u8],
    ) -> Result<Self, CodecError> {
        let mut reader = Reader::new(WHAT, head);
        reader.magic(MAGIC)?;
        reader.version(VERSION)?;
        let (found, count) = (reader.u16()?, reader.u32()?);
        // Which block has a row follows from its number, so only the count has to be right.
        if found != kind_code(kind) || count != rows.div_ceil(BLOCK_ROWS) {
            return Err(CodecError::malformed(WHAT, "they are not of these rows"));
        }
        let (mut blocks, mut start) = (Vec::new(), section.start);
        for _ in 0..count {
            let end = start.saturating_add(reader.u32()?.into());
            blocks.push(Span { start, end, checksum: Some(reader.u64()?) });
            start = end;
        }
        reader.end()?;
        if start != section.end {
            return Err(CodecError::malformed(WHAT, "blocks and section do not agree"));
        }
        Ok(Self { kind, rows, blob, blocks })
    }

    /// The ids of `rows`, in their order. One round trip.
    pub(in crate::segment) async fn fetch_ids(&self, env: &Env, rows: &RoaringBitmap) -> Result<ArrayRef> {
        if rows.max().is_some_and(|row| row >= self.rows) {
            return Err(Error::internal("rows that the segment does not have"));
        }
        let numbers: BTreeSet<u32> = rows.iter().map(|row| row / BLOCK_ROWS).collect();
        let span = |number: &u32| {
            let span = self.blocks.get(usize_of(*number)).cloned();
            span.ok_or_else(|| Error::internal("a block of row ids that is not in the head"))
        };
        let spans: Vec<Span> = numbers.iter().map(span).collect::<Result<_>>()?;
        let bytes = self.blob.read_many(&spans).await?;
        let cost = Cost::id_lookups(rows.len());
        let blocks = zip_equal(numbers, bytes, "blocks of row ids and their bytes")?;
        let read = ReadRowIds { segment_rows: self.rows, rows: rows.clone(), blocks: blocks.collect() };
        let kind = self.kind;
        let ids = env.compute(cost, move || read.decode(kind)).await?;
        ids.map_err(|e| e.at(self.blob.key()))
    }
}

/// Blocks that were read, and the rows whose ids are wanted of them.
struct ReadRowIds {
    segment_rows: u32,
    rows: RoaringBitmap,
    /// By number.
    blocks: Vec<(u32, Bytes)>,
}

impl ReadRowIds {
    fn decode(&self, kind: IdKind) -> Result<ArrayRef, CodecError> {
        match kind {
            IdKind::U64 => {
                let ids = self.decode_fixed()?.into_iter().map(u64::from_le_bytes);
                Ok(Arc::new(UInt64Array::from_iter_values(ids)))
            }
            IdKind::Uuid => {
                let ids = self.decode_fixed::<16>()?.into_flattened();
                Ok(Arc::new(FixedSizeBinaryArray::new(16, ids.into(), None)))
            }
            IdKind::String => self.decode_strings(),
        }
    }

    /// The wanted rows of a block, counted from its first.
    fn wanted_rows(&self, block: u32) -> impl Iterator<Item = usize> {
        let rows = self.block_rows(block);
        let first = rows.start;
        self.rows.range(rows).map(move |row| usize_of(row - first))
    }

    fn block_rows(&self, block: u32) -> std::ops::Range<u32> {
        let first = block.saturating_mul(BLOCK_ROWS);
        first..first.saturating_add(BLOCK_ROWS).min(self.segment_rows)
    }

    /// Ids of `BYTES` bytes each: only the wanted ones are copied.
    fn decode_fixed<const BYTES: usize>(&self) -> Result<Vec<[u8; BYTES]>, CodecError> {
        let mut picked = Vec::new();
        for (block, bytes) in &self.blocks {
            let (ids, remainder) = bytes.as_chunks::<BYTES>();
            if ids.len() != self.block_rows(*block).len() || !remainder.is_empty() {
                return Err(CodecError::malformed(WHAT, "a block is not of its rows"));
            }
            for row in self.wanted_rows(*block) {
                picked.push(*ids.get(row).ok_or(CodecError::Truncated { what: WHAT })?);
            }
        }
        Ok(picked)
    }

    fn decode_strings(&self) -> Result<ArrayRef, CodecError> {
        let mut picked = StringBuilder::new();
        for (block, bytes) in &self.blocks {
            let count = self.block_rows(*block).len();
            let mut reader = Reader::new(WHAT, bytes);
            let (lengths, _) = reader.take(count * 2)?.as_chunks::<2>();
            // An id is found by the sum of the lengths before it.
            let mut offsets = Vec::with_capacity(count + 1);
            let mut end = 0;
            offsets.push(end);
            for length in lengths {
                end += usize::from(u16::from_le_bytes(*length));
                offsets.push(end);
            }
            let ids = reader.take(end)?;
            reader.end()?;
            for row in self.wanted_rows(*block) {
                let range = offsets.get(row).zip(offsets.get(row + 1)).map(|(start, end)| *start..*end);
                let id =
                    range.and_then(|range| ids.get(range)).ok_or(CodecError::Truncated { what: WHAT })?;
                let id = std::str::from_utf8(id);
                // Only the wanted ids are validated: Arrow must not hold text that is not UTF-8.
                picked.append_value(id.map_err(|_| CodecError::malformed(WHAT, "an id is not UTF-8"))?);
            }
        }
        Ok(Arc::new(picked.finish()))
    }
}
