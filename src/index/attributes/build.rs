//! Building the index: columns are gathered in row order, and each is sorted when all rows are there.

use arrow::record_batch::RecordBatch;
use roaring::RoaringBitmap;

use super::block::{self, BlockWriter, Posting};
use super::column::{FENCE_BYTES_MAX, cut};
use super::index::HeadWriter;
use super::key::{KEY_BYTES_MAX, each_key, width};
use super::trigrams::TrigramsBuilder;
use crate::error::{Error, Result};
use crate::schema::{AttributeType, Schema};

/// A block is closed when it is this large. A key with very many rows makes one that is larger.
const BLOCK_BYTES: usize = 16 << 10;

/// Gathers the filterable attributes of a segment.
#[derive(Debug)]
pub(crate) struct AttributeIndexBuilder {
    rows: u32,
    block_bytes: usize,
    columns: Vec<Gathering>,
}

#[derive(Debug)]
struct Gathering {
    name: String,
    kind: AttributeType,
    trigrams: Option<TrigramsBuilder>,
    nulls: RoaringBitmap,
    /// The bytes of all keys, one behind the other.
    bytes: Vec<u8>,
    values: Vec<Value>,
}

/// Where the key of a value lies.
#[derive(Clone, Copy, Debug)]
struct Value {
    start: usize,
    length: u8,
    row: u32,
}

impl AttributeIndexBuilder {
    pub(crate) fn new(schema: &Schema) -> Self {
        let columns =
            schema.attributes().filter(|(name, _)| schema.column(name).is_some_and(|c| c.filterable));
        let gathering = |(name, kind): (&str, AttributeType)| Gathering {
            name: name.to_owned(),
            kind,
            trigrams: schema.column(name).filter(|c| c.trigrams).map(|_| TrigramsBuilder::default()),
            nulls: RoaringBitmap::new(),
            bytes: Vec::new(),
            values: Vec::new(),
        };
        Self { rows: 0, block_bytes: BLOCK_BYTES, columns: columns.map(gathering).collect() }
    }

    /// With smaller blocks, so that few rows make many.
    #[cfg(test)]
    pub(crate) fn with_block_bytes(mut self, bytes: usize) -> Self {
        self.block_bytes = bytes;
        self
    }

    /// Adds the next rows of the segment.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let first = self.rows;
        for column in &mut self.columns {
            let array = batch.column_by_name(&column.name);
            let array = array.ok_or_else(|| Error::internal("an attribute is missing"))?;
            if let Some(nulls) = array.nulls() {
                let null = (first..).zip(nulls.iter()).filter(|(_, valid)| !valid).map(|(row, _)| row);
                column.nulls.extend(null);
            }
            let (bytes, values, trigrams) = (&mut column.bytes, &mut column.values, &mut column.trigrams);
            each_key(array, |at, value| {
                let key = cut(value, KEY_BYTES_MAX);
                if let Some(trigrams) = trigrams {
                    trigrams.value(value, key);
                }
                let row = first.saturating_add(u32::try_from(at).unwrap_or(u32::MAX));
                let length = u8::try_from(key.len()).unwrap_or(u8::MAX);
                values.push(Value { start: bytes.len(), length, row });
                bytes.extend(key);
            })?;
        }
        let rows = u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
        self.rows = first.saturating_add(rows);
        Ok(())
    }

    /// The head and the blocks.
    pub(crate) fn finish(self) -> (Vec<u8>, Vec<u8>) {
        let mut blocks = Vec::new();
        let mut head = HeadWriter::new(self.rows, self.columns.len());
        for column in self.columns {
            column.write((self.rows, self.block_bytes), &mut head, &mut blocks);
        }
        (head.finish(), blocks)
    }
}

impl Gathering {
    fn write(mut self, (rows, block_bytes): (u32, usize), head: &mut HeadWriter, out: &mut Vec<u8>) {
        let key = |value: &Value| {
            self.bytes.get(value.start..value.start + usize::from(value.length)).unwrap_or_default()
        };
        self.values.sort_unstable_by(|a, b| key(a).cmp(key(b)).then(a.row.cmp(&b.row)));
        let max = self.values.last().map(key).unwrap_or_default();
        let nulls = u32::try_from(self.nulls.len()).unwrap_or(u32::MAX);
        let fixed = width(self.kind);
        head.name(&self.name);
        head.part(fixed, nulls, cut(max, FENCE_BYTES_MAX));
        if nulls > 0 && nulls < rows {
            let bytes = block::bitmap_bytes(self.nulls);
            head.block(None, &bytes);
            out.extend(bytes);
        }
        let mut blocks = BlocksWriter::new(BlockWriter::new(fixed.is_some()), block_bytes);
        let mut trigrams = self.trigrams;
        let mut rows = Vec::new();
        for values in self.values.chunk_by(|a, b| key(a) == key(b)) {
            let Some(key) = values.first().map(key) else { continue };
            rows.clear();
            rows.extend(values.iter().map(|value| value.row));
            rows.dedup();
            blocks.push(key, &rows, head, out);
            if let Some(trigrams) = &mut trigrams {
                trigrams.key(key);
            }
        }
        blocks.close(head, out);
        head.end_part();
        head.trigrams(trigrams.is_some().then_some(blocks.counts.as_slice()));
        if let Some(trigrams) = trigrams {
            trigrams.write(block_bytes, head, out);
        }
    }
}

/// Writes keys with their rows in blocks of about the same size.
pub(super) struct BlocksWriter {
    open: BlockWriter,
    block_bytes: usize,
    fence: Vec<u8>,
    /// Keys of each block that is closed.
    counts: Vec<u32>,
}

impl BlocksWriter {
    pub(super) fn new(open: BlockWriter, block_bytes: usize) -> Self {
        Self { open, block_bytes, fence: Vec::new(), counts: Vec::new() }
    }

    /// Adds the next key and its rows, which ascend.
    pub(super) fn push(&mut self, key: &[u8], rows: &[u32], head: &mut HeadWriter, out: &mut Vec<u8>) {
        let posting = Posting::of(rows);
        if self.open.len() + self.open.size(key, &posting) > self.block_bytes {
            self.close(head, out);
        }
        if self.open.len() == 0 {
            self.fence = cut(key, FENCE_BYTES_MAX).to_vec();
        }
        self.open.push(key, posting);
    }

    /// Ends the block that is open.
    pub(super) fn close(&mut self, head: &mut HeadWriter, out: &mut Vec<u8>) {
        if self.open.len() > 0 {
            self.counts.push(self.open.keys());
            let block = self.open.finish();
            head.block(Some(&self.fence), &block);
            out.extend(block);
        }
    }
}
