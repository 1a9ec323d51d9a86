//! Building the index: columns are gathered in row order, and each is sorted when all rows are there.

use arrow::record_batch::RecordBatch;
use roaring::RoaringBitmap;

use super::format::{
    HeadWriter, KEY_BYTES_MAX, KeyColumnWriter, each_key, encode_bitmap, key_width, truncate_key,
};
use super::trigram::TrigramIndexBuilder;
use crate::codec::{to_u32, usize_of};
use crate::error::{Error, Result};
use crate::schema::{AttributeType, Column, ColumnKind, Schema};
use crate::types::ColumnId;

/// A block is closed before it grows larger. A key with very many rows has a larger one of its own.
///
/// A lookup reads whole blocks: smaller ones cost less to transfer, but each has a fence in the head, which stays in
/// memory as long as the segment is open.
const BLOCK_BYTES: usize = 16 << 10;

/// Builds the attribute index of a segment from its filterable attributes.
#[derive(Debug)]
pub(crate) struct AttributeIndexBuilder {
    rows: u32,
    block_bytes: usize,
    columns: Vec<ColumnBuilder>,
}

/// Gathers the values of a column.
#[derive(Debug)]
struct ColumnBuilder {
    id: ColumnId,
    /// Where it is in a batch: behind the id.
    index: usize,
    kind: AttributeType,
    trigrams: Option<TrigramIndexBuilder>,
    nulls: RoaringBitmap,
    /// The bytes of all keys, one behind the other.
    bytes: Vec<u8>,
    values: Vec<KeyOfRow>,
}

/// A value of a row, by where its key is in the bytes of the column. Sorting moves 16 bytes a value, whatever the
/// lengths of keys.
#[derive(Clone, Copy, Debug)]
struct KeyOfRow {
    start: usize,
    length: u8,
    row: u32,
}

impl AttributeIndexBuilder {
    pub(crate) fn new(schema: &Schema) -> Self {
        let builder = |(index, column): (usize, &Column)| match column.kind {
            ColumnKind::Attribute(kind) if column.filterable => Some(ColumnBuilder {
                id: column.id,
                index,
                kind,
                trigrams: column.trigrams.then(TrigramIndexBuilder::default),
                nulls: RoaringBitmap::new(),
                bytes: Vec::new(),
                values: Vec::new(),
            }),
            ColumnKind::Attribute(_) | ColumnKind::Vector(_) => None,
        };
        let columns = schema.arrow_columns().filter_map(builder);
        Self { rows: 0, block_bytes: BLOCK_BYTES, columns: columns.collect() }
    }

    /// Sets smaller blocks, so that few rows make many.
    #[cfg(test)]
    pub(crate) fn with_block_bytes(mut self, bytes: usize) -> Self {
        self.block_bytes = bytes;
        self
    }

    /// Adds the next rows of the segment.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let first = self.rows;
        let end = to_u32(usize_of(first) + batch.num_rows(), "the rows of a segment")?;
        for column in &mut self.columns {
            column.push_rows(batch, first)?;
        }
        self.rows = end;
        Ok(())
    }

    /// The head and the blocks.
    pub(crate) fn finish(self) -> Result<(Vec<u8>, Vec<u8>)> {
        let mut blocks = Vec::new();
        let mut head = HeadWriter::new(self.rows, self.columns.len())?;
        for column in self.columns {
            column.write(self.rows, self.block_bytes, &mut head, &mut blocks)?;
        }
        Ok((head.finish(), blocks))
    }
}

impl ColumnBuilder {
    /// Adds the values of rows of which the first has the number `first`. The caller checks that the last has one too.
    #[expect(clippy::cast_possible_truncation, reason = "rows fit 32 bits, and the limit of keys fits 8")]
    fn push_rows(&mut self, batch: &RecordBatch, first: u32) -> Result<()> {
        let array = batch.columns().get(self.index);
        let array = array.ok_or_else(|| Error::internal("an attribute is missing"))?;
        if let Some(nulls) = array.nulls() {
            let null = (first..).zip(nulls.iter()).filter(|(_, valid)| !valid).map(|(row, _)| row);
            self.nulls.extend(null);
        }
        let (bytes, values, trigrams) = (&mut self.bytes, &mut self.values, &mut self.trigrams);
        each_key(array, |index, value| {
            let key = truncate_key(value, KEY_BYTES_MAX);
            if let Some(trigrams) = trigrams {
                // Now or never: of a long value, only the key is kept.
                trigrams.push_value(value, key);
            }
            values.push(KeyOfRow { start: bytes.len(), length: key.len() as u8, row: first + index as u32 });
            bytes.extend(key);
        })
    }

    /// Writes the blocks, and the column into the head.
    #[expect(clippy::indexing_slicing, reason = "each value was pushed with the bytes it names")]
    fn write(
        mut self,
        rows: u32,
        block_bytes: usize,
        head: &mut HeadWriter,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let key = |value: &KeyOfRow| &self.bytes[value.start..][..usize::from(value.length)];
        self.values.sort_unstable_by(|a, b| key(a).cmp(key(b)).then(a.row.cmp(&b.row)));
        // invariant: a column without a value has no key, and its greatest key is empty.
        let max = self.values.last().map(key).unwrap_or_default();
        let nulls = to_u32(self.nulls.len(), "the rows without a value")?;
        let width = key_width(self.kind);
        head.begin_column(self.id);
        head.begin_part(width, nulls, max)?;
        // Without a null, or with nothing else, the number of nulls says it all.
        if nulls > 0 && nulls < rows {
            let bytes = encode_bitmap(self.nulls)?;
            head.push_null_block(&bytes)?;
            out.extend(bytes);
        }
        let mut writer = KeyColumnWriter::new(head, out, width.is_some(), block_bytes);
        let mut trigrams = self.trigrams;
        let mut rows_of_key = Vec::new();
        for values in self.values.chunk_by(|a, b| key(a) == key(b)) {
            let key = key(&values[0]);
            rows_of_key.clear();
            rows_of_key.extend(values.iter().map(|value| value.row));
            // An array may have an element twice, or two that have one key.
            rows_of_key.dedup();
            writer.push_key(key, &rows_of_key)?;
            if let Some(trigrams) = &mut trigrams {
                trigrams.push_key(key)?;
            }
        }
        let key_counts = writer.finish()?;
        head.mark_trigrams(trigrams.is_some().then_some(key_counts.as_slice()));
        if let Some(trigrams) = trigrams {
            trigrams.write(block_bytes, head, out)?;
        }
        Ok(())
    }
}
