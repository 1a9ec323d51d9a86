//! The id of each row, in row order: what a search needs to name what it found, without a page of Parquet.
//!
//! ```text
//! head:   "EROW" | version u16 | kind u16 | blocks u32 | (length u32, checksum u64) × blocks
//! blocks: ids of 256 rows each, as the id index writes them, one block behind the other
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeBinaryArray, StringBuilder, UInt64Array};
use bytes::Bytes;
use roaring::RoaringBitmap;

use super::compute;
use super::ids::{EncodedIds, kind_code};
use crate::cache::{Blob, Span};
use crate::codec::{CodecError, Reader, checksum, put_len_u32, to_usize};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::schema::Ids;
use crate::types::IdKind;

const WHAT: &str = "row ids";
const MAGIC: [u8; 4] = *b"EROW";
const VERSION: u16 = 1;
const BLOCK_ROWS: u32 = 256;

/// Encodes ids as rows are laid out.
#[derive(Debug)]
pub(super) struct RowIdsBuilder {
    kind: IdKind,
    blocks: Vec<u8>,
    directory: Vec<u8>,
    count: u32,
    open: EncodedIds,
    open_rows: u32,
}

impl RowIdsBuilder {
    pub(super) fn new(kind: IdKind) -> Self {
        let (blocks, directory) = (Vec::new(), Vec::new());
        Self { kind, blocks, directory, count: 0, open: EncodedIds::default(), open_rows: 0 }
    }

    pub(super) fn push(&mut self, ids: &Ids) -> Result<()> {
        for at in 0..ids.len() {
            self.open.push(ids, at)?;
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
        let start = self.blocks.len();
        self.open.append_to(&mut self.blocks);
        let block = self.blocks.get(start..).unwrap_or_default();
        put_len_u32(&mut self.directory, block.len())?;
        self.directory.extend(checksum(block).to_le_bytes());
        self.count += 1;
        self.open_rows = 0;
        Ok(())
    }

    /// The head and the blocks.
    pub(super) fn finish(mut self) -> Result<(Vec<u8>, Vec<u8>)> {
        self.close_block()?;
        let mut head = Vec::new();
        head.extend(MAGIC);
        head.extend(VERSION.to_le_bytes());
        head.extend(kind_code(self.kind).to_le_bytes());
        head.extend(self.count.to_le_bytes());
        head.append(&mut self.directory);
        Ok((head, self.blocks))
    }
}

/// The ids of rows, read block by block.
#[derive(Clone, Debug)]
pub(super) struct RowIds {
    kind: IdKind,
    rows: u32,
    blob: Blob,
    blocks: Vec<Span>,
}

impl RowIds {
    /// Reads a head, which must be that of `rows` rows whose blocks are in `section` of the file.
    pub(super) fn decode(
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
    pub(super) async fn fetch(&self, env: &Env, rows: &RoaringBitmap) -> Result<ArrayRef> {
        if rows.max().is_some_and(|row| row >= self.rows) {
            return Err(Error::internal("rows that are not in the segment"));
        }
        let wanted: BTreeSet<u32> = rows.iter().map(|row| row / BLOCK_ROWS).collect();
        let spans = wanted.iter().filter_map(|block| self.blocks.get(*block as usize)).cloned();
        let bytes = self.blob.read_many(&spans.collect::<Vec<_>>()).await?;
        let (kind, all, rows) = (self.kind, self.rows, rows.clone());
        let items = to_usize(rows.len(), "the number of rows")?;
        let work = move || match kind {
            IdKind::U64 => {
                let ids = decode_fixed(all, &rows, wanted, &bytes)?.into_iter().map(u64::from_le_bytes);
                Ok(Arc::new(UInt64Array::from_iter_values(ids)) as ArrayRef)
            }
            IdKind::Uuid => {
                let ids = decode_fixed::<16>(all, &rows, wanted, &bytes)?.into_flattened();
                Ok(Arc::new(FixedSizeBinaryArray::new(16, ids.into(), None)) as ArrayRef)
            }
            IdKind::String => decode_strings(all, &rows, wanted, &bytes),
        };
        let ids: Result<ArrayRef, CodecError> = compute(env, items, work).await?;
        ids.map_err(|e| e.at(self.blob.key()))
    }
}

/// The rows of a block that are wanted, by their places in it, and how many rows it has.
fn rows_in_block(all: u32, rows: &RoaringBitmap, block: u32) -> (impl Iterator<Item = usize>, usize) {
    let first = block * BLOCK_ROWS;
    let end = all.min(first.saturating_add(BLOCK_ROWS));
    (rows.range(first..end).map(move |row| (row - first) as usize), end.saturating_sub(first) as usize)
}

/// Ids of so many bytes each: only those that are wanted are looked at.
fn decode_fixed<const BYTES: usize>(
    all: u32,
    rows: &RoaringBitmap,
    wanted: BTreeSet<u32>,
    bytes: &[Bytes],
) -> Result<Vec<[u8; BYTES]>, CodecError> {
    let mut picked = Vec::new();
    for (block, bytes) in wanted.into_iter().zip(bytes) {
        let (places, count) = rows_in_block(all, rows, block);
        let (ids, rest) = bytes.as_chunks::<BYTES>();
        if ids.len() != count || !rest.is_empty() {
            return Err(CodecError::malformed(WHAT, "a block is not of its rows"));
        }
        picked.extend(places.filter_map(|at| ids.get(at)));
    }
    Ok(picked)
}

fn decode_strings(
    all: u32,
    rows: &RoaringBitmap,
    wanted: BTreeSet<u32>,
    bytes: &[Bytes],
) -> Result<ArrayRef, CodecError> {
    let mut picked = StringBuilder::new();
    for (block, bytes) in wanted.into_iter().zip(bytes) {
        let (places, count) = rows_in_block(all, rows, block);
        let mut reader = Reader::new(WHAT, bytes);
        let (lengths, _) = reader.take(count * 2)?.as_chunks::<2>();
        let mut ends = Vec::with_capacity(count + 1);
        ends.push(0);
        for length in lengths {
            let last = ends.last().copied().unwrap_or_default();
            ends.push(last + usize::from(u16::from_le_bytes(*length)));
        }
        let ids = reader.take(ends.last().copied().unwrap_or_default())?;
        reader.end()?;
        for at in places {
            let range = ends.get(at).zip(ends.get(at + 1)).and_then(|(start, end)| ids.get(*start..*end));
            let id = std::str::from_utf8(range.unwrap_or_default());
            picked.append_value(id.map_err(|_| CodecError::malformed(WHAT, "an id is no text"))?);
        }
    }
    Ok(Arc::new(picked.finish()))
}
