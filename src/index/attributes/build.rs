//! Building the index: columns are gathered in row order, and each is sorted when all rows are there.

use arrow::record_batch::RecordBatch;
use roaring::RoaringBitmap;

use super::block::{self, BlockWriter, Posting};
use super::column::{FENCE_BYTES_MAX, cut};
use super::index::HeadWriter;
use super::key::{KEY_BYTES_MAX, each_key, width};
use crate::error::{Error, Result};
use crate::schema::{AttributeType, Schema};

/// A block is closed when it is this large. A key with very many rows makes one that is larger.
const BLOCK_BYTES: usize = 16 << 10;

/// Gathers the filterable attributes of a segment.
#[derive(Debug)]
pub(crate) struct AttributesBuilder {
    rows: u32,
    block_bytes: usize,
    columns: Vec<Gathering>,
}

#[derive(Debug)]
struct Gathering {
    name: String,
    kind: AttributeType,
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

impl AttributesBuilder {
    pub(crate) fn new(schema: &Schema) -> Self {
        let columns =
            schema.attributes().filter(|(name, _)| schema.column(name).is_some_and(|c| c.filterable));
        let gathering = |(name, kind): (&str, AttributeType)| Gathering {
            name: name.to_owned(),
            kind,
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
            let (bytes, values) = (&mut column.bytes, &mut column.values);
            each_key(array, |at, key| {
                let key = cut(key, KEY_BYTES_MAX);
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
        head.column(&self.name, fixed, nulls, cut(max, FENCE_BYTES_MAX));
        if nulls > 0 && nulls < rows {
            let bytes = block::bitmap_bytes(self.nulls);
            head.block(None, &bytes);
            out.extend(bytes);
        }
        let (mut open, mut fence) = (BlockWriter::new(fixed.is_some()), Vec::new());
        let mut close = |open: &mut BlockWriter, fence: &[u8]| {
            if open.len() > 0 {
                let block = open.finish();
                head.block(Some(fence), &block);
                out.extend(block);
            }
        };
        let mut rows = Vec::new();
        for values in self.values.chunk_by(|a, b| key(a) == key(b)) {
            let Some(key) = values.first().map(key) else { continue };
            rows.clear();
            rows.extend(values.iter().map(|value| value.row));
            rows.dedup();
            let posted = Posting::of(&rows);
            if open.len() + open.size(key, &posted) > block_bytes {
                close(&mut open, &fence);
            }
            if open.len() == 0 {
                fence.clear();
                fence.extend(cut(key, FENCE_BYTES_MAX));
            }
            open.push(key, posted);
        }
        close(&mut open, &fence);
        head.end_column();
    }
}
