//! The head of the index, and the index as it is read by it.
//!
//! ```text
//! "ECOL" | version u16 | zero u16 | rows u32 | columns u32
//! column: name length u16 | name | part | 0 u8, or if it has trigrams: 1 u8 | keys of each block u32 | part
//! part:   bytes of a key u8, 0 if they differ | nulls u32
//!         greatest key: length u8 | its first bytes, up to 32
//!         blocks u32
//!         block of nulls, if some but not all are null: length u32 | XXH3-64
//!         block: fence length u8 | the first bytes of its first key, up to 32 | length u32 | XXH3-64
//! ```
//! Blocks lie in this order, one behind the other.

use std::collections::HashMap;

use bytes::Bytes;

use super::column::{AttributeColumn, FENCE_BYTES_MAX, Fenced};
use super::trigrams::{self, Trigrams};
use crate::cache::{Blob, Span};
use crate::codec::{CodecError, Reader, checksum};
use crate::error::{Error, Result};

const WHAT: &str = "attribute index";
const MAGIC: [u8; 4] = *b"ECOL";
const VERSION: u16 = 2;

/// The attribute index of a segment.
#[derive(Debug)]
pub(crate) struct AttributeIndex {
    blob: Blob,
    columns: HashMap<String, AttributeColumn>,
}

/// Writes a head column by column.
#[derive(Debug)]
pub(super) struct HeadWriter {
    bytes: Vec<u8>,
    blocks: Vec<u8>,
    count: u32,
}

impl HeadWriter {
    pub(super) fn new(rows: u32, columns: usize) -> Self {
        let mut bytes = Vec::new();
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 2]);
        bytes.extend(rows.to_le_bytes());
        bytes.extend(number(columns));
        Self { bytes, blocks: Vec::new(), count: 0 }
    }

    /// Begins a column.
    pub(super) fn name(&mut self, name: &str) {
        // Names have 128 bytes at most.
        self.bytes.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
        self.bytes.extend(name.as_bytes());
    }

    /// Begins the keys of a column, or its trigrams.
    pub(super) fn part(&mut self, width: Option<usize>, nulls: u32, max: &[u8]) {
        self.bytes.push(width.and_then(|width| u8::try_from(width).ok()).unwrap_or(0));
        self.bytes.extend(nulls.to_le_bytes());
        short(max, &mut self.bytes);
    }

    /// Adds a block to the column: that of the nulls has no fence and comes first.
    pub(super) fn block(&mut self, fence: Option<&[u8]>, block: &[u8]) {
        if let Some(fence) = fence {
            short(fence, &mut self.blocks);
            self.count += 1;
        }
        self.blocks.extend(number(block.len()));
        self.blocks.extend(checksum(block).to_le_bytes());
    }

    pub(super) fn end_part(&mut self) {
        self.bytes.extend(self.count.to_le_bytes());
        self.bytes.append(&mut self.blocks);
        self.count = 0;
    }

    /// Ends the keys of a column. If trigrams follow, it needs the number of keys of each block.
    pub(super) fn trigrams(&mut self, keys: Option<&[u32]>) {
        self.bytes.push(keys.is_some().into());
        self.bytes.extend(keys.unwrap_or_default().iter().flat_map(|count| count.to_le_bytes()));
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

fn number(n: usize) -> [u8; 4] {
    u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes()
}

/// Bytes behind their number.
fn short(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    out.extend(bytes);
}

impl AttributeIndex {
    /// Reads a head, which must be that of `rows` rows whose blocks are in `section` of the file.
    pub(crate) fn decode(rows: u32, blob: Blob, section: &Span, head: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(WHAT, head);
        reader.magic(MAGIC)?;
        if reader.version(VERSION)? < VERSION {
            return Err(CodecError::malformed(WHAT, "a version from before the first release"));
        }
        reader.u16()?;
        if reader.u32()? != rows {
            return Err(CodecError::malformed(WHAT, "it is not of these rows"));
        }
        let count = reader.u32()?;
        let (mut columns, mut start) = (HashMap::new(), section.start);
        for _ in 0..count {
            let (name, column) = column(&mut reader, rows, &mut start)?;
            if columns.insert(name, column).is_some() {
                return Err(CodecError::malformed(WHAT, "a column twice"));
            }
        }
        reader.end()?;
        if start != section.end {
            return Err(CodecError::malformed(WHAT, "blocks and section do not agree"));
        }
        Ok(Self { blob, columns })
    }

    /// The index of a column, if it has one.
    pub(crate) fn column(&self, name: &str) -> Option<&AttributeColumn> {
        self.columns.get(name)
    }

    /// Blocks, in the order they are asked for. One round trip.
    pub(crate) async fn read_blocks(&self, spans: &[Span]) -> Result<Vec<Bytes>> {
        self.blob.read_many(spans).await
    }

    /// What a block that cannot be read means.
    pub(crate) fn corrupt_block(&self, error: CodecError) -> Error {
        error.at(self.blob.key())
    }
}

fn column(
    reader: &mut Reader<'_>,
    rows: u32,
    start: &mut u64,
) -> Result<(String, AttributeColumn), CodecError> {
    let length = reader.u16()?;
    let name = reader.take(length.into())?.to_vec();
    let name = String::from_utf8(name).map_err(|_| CodecError::malformed(WHAT, "a name is not UTF-8"))?;
    let mut column = part(reader, rows, start)?;
    if short_of(reader, 1)? == 1 {
        let (mut firsts, mut keys) = (Vec::new(), 0_u32);
        for _ in &column.blocks {
            firsts.push(keys);
            keys = keys.saturating_add(reader.u32()?);
        }
        let trigrams = part(reader, keys, start)?;
        if trigrams.width != Some(trigrams::WIDTH) {
            return Err(CodecError::malformed(WHAT, "trigrams that are none"));
        }
        column.trigrams = Some(Box::new(Trigrams { column: trigrams, firsts }));
    }
    Ok((name, column))
}

/// Keys in blocks with their rows, of which there are so many.
fn part(reader: &mut Reader<'_>, rows: u32, start: &mut u64) -> Result<AttributeColumn, CodecError> {
    let bad = |why: &str| CodecError::malformed(WHAT, why);
    let width = match short_of(reader, u8::MAX)? {
        0 => None,
        width => Some(usize::from(width)),
    };
    let nulls = reader.u32()?;
    let max = fence(reader)?;
    let count = reader.u32()?;
    if nulls > rows {
        return Err(bad("more nulls than rows"));
    }
    let null_block = (nulls > 0 && nulls < rows).then(|| span(reader, start)).transpose()?;
    let mut blocks: Vec<Fenced> = Vec::new();
    for _ in 0..count {
        let fence = fence(reader)?;
        if blocks.last().is_some_and(|last| last.fence > fence) || fence > max {
            return Err(bad("fences out of order"));
        }
        blocks.push(Fenced { fence, span: span(reader, start)? });
    }
    Ok(AttributeColumn { rows, width, nulls, null_block, max, blocks, trigrams: None })
}

fn short_of(reader: &mut Reader<'_>, max: u8) -> Result<u8, CodecError> {
    let byte = reader.take(1)?.first().copied().unwrap_or_default();
    if byte > max { Err(CodecError::malformed(WHAT, "a length that is too large")) } else { Ok(byte) }
}

fn fence(reader: &mut Reader<'_>) -> Result<Vec<u8>, CodecError> {
    let length = short_of(reader, u8::try_from(FENCE_BYTES_MAX).unwrap_or(u8::MAX))?;
    Ok(reader.take(length.into())?.to_vec())
}

fn span(reader: &mut Reader<'_>, start: &mut u64) -> Result<Span, CodecError> {
    let end = start.saturating_add(reader.u32()?.into());
    let span = Span { start: *start, end, checksum: Some(reader.u64()?) };
    *start = end;
    Ok(span)
}
