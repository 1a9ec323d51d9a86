//! Writing `rows.parquet`: pages that are small enough to read a single row, whatever lies in them.

use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{RowGroupMetaData, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::meta::RowOrder;
use super::parquet_rows::numbered_schema;
use crate::codec::{to_usize, u64_of};
use crate::error::{Error, OrInternal, Result};
use crate::schema::{ID_COLUMN, Schema};

/// A point read decodes a page of each column. Smaller pages cost more: each has a header, and an
/// entry of the offset index.
const PAGE_ROWS: usize = 256;
/// The size at which a page ends, before compression. A document is read with the whole page of each of its columns:
/// with texts of a kilobyte, 256 rows are as many kilobytes to decompress for one hit. At this size a compressed page is
/// about a block of checksums, which is read anyway.
const PAGE_BYTES: usize = 32 << 10;
/// Rows that the writer gets at a time. It looks at the limits of a page only after what it gets, or after as many rows as
/// seem to fit by the size of the first ones: short texts before long ones would make a page beyond any limit.
const WRITE_ROWS: usize = 32;
/// The bytes of a column that the writer gets at a time, unless a single row has more.
const WRITE_BYTES: usize = 1 << 20;
/// What a read of ten documents spans: the pages of all columns of a group lie next to each other, so that those of one
/// row are few requests whatever the number of columns, and other engines skip groups by their bounds. Smaller groups
/// make the footer larger, which is read when a segment is opened: 8,192 rows cost it about 20 bytes for each page.
const ROW_GROUP_ROWS: usize = 1 << 13;
/// A point read of a column with a dictionary reads the dictionary too: it may not cost more than a block of checksums.
const DICTIONARY_BYTES: usize = 16 << 10;
/// Statistics are cut to this many bytes.
const STATISTICS_BYTES: usize = 64;

/// Encodes rows, in memory.
pub(super) struct ParquetBuilder {
    writer: ArrowWriter<Vec<u8>>,
    rows: usize,
}

impl ParquetBuilder {
    /// For rows that come in this order, which the footer declares to other engines.
    pub(super) fn new(schema: &Schema, order: RowOrder) -> Result<Self> {
        let options = ArrowWriterOptions::new()
            .with_properties(writer_properties(schema, order)?)
            // Parquet's own types suffice, and an Arrow schema from a file must not be trusted anyway.
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), numbered_schema(schema), options);
        Ok(Self { writer: writer.map_err(parquet_bug)?, rows: 0 })
    }

    /// Adds rows: a batch of [`arrow_schema`](super::parquet_rows::arrow_schema).
    pub(super) fn push_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut start = 0;
        while start < batch.num_rows() {
            // Pieces end where pages of full length do.
            let rows = (WRITE_ROWS - self.rows % WRITE_ROWS).min(batch.num_rows() - start);
            let piece = take_piece(batch, start, rows)?;
            self.writer.write(&piece).map_err(parquet_bug)?;
            self.rows += piece.num_rows();
            start += piece.num_rows();
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<ParquetFile> {
        let metadata = self.writer.finish().map_err(parquet_bug)?;
        let bytes = Bytes::from(std::mem::take(self.writer.inner_mut()));
        // Offset indexes are next to the footer: all from the first of them on is what a reader needs first.
        let mut start = u64_of(bytes.len());
        for column in metadata.row_groups().iter().flat_map(RowGroupMetaData::columns) {
            let offset = column.offset_index_offset().and_then(|offset| u64::try_from(offset).ok());
            let offset =
                offset.ok_or_else(|| Error::internal("parquet was written without its page index"))?;
            start = start.min(offset);
        }
        let footer = bytes.slice(to_usize(start, "an offset in a file")?..);
        Ok(ParquetFile { bytes, footer })
    }
}

/// The rows of a batch from `start`: `rows` of them, or fewer if a column of them takes much.
fn take_piece(batch: &RecordBatch, start: usize, rows: usize) -> Result<RecordBatch> {
    let mut rows = rows;
    loop {
        let piece = batch.slice(start, rows);
        let mut largest = 0;
        for column in piece.columns() {
            largest = largest.max(column.to_data().get_slice_memory_size().or_internal()?);
        }
        if rows == 1 || largest <= WRITE_BYTES {
            return Ok(piece);
        }
        // Half as many: what is long often lies together, and a few tries cost less than sizing every row.
        rows /= 2;
    }
}

/// A file, and its end from the first offset index on.
#[derive(Debug)]
pub(super) struct ParquetFile {
    pub(super) bytes: Bytes,
    pub(super) footer: Bytes,
}

impl std::fmt::Debug for ParquetBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ParquetBuilder({} rows)", self.rows)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn parquet_bug(error: ParquetError) -> Error {
    Error::internal(format!("parquet: {error}"))
}

fn writer_properties(schema: &Schema, order: RowOrder) -> Result<WriterProperties> {
    // Engines leave out a sort that the footer declares done: a false claim would be a wrong result of theirs.
    let sorted = match order {
        RowOrder::Id => Some(vec![SortingColumn { column_idx: 0, descending: false, nulls_first: true }]),
        RowOrder::Cluster => None,
    };
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("elacsym version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).map_err(parquet_bug)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        // Ids are distinct: a dictionary would hold them all and save nothing.
        .set_column_dictionary_enabled(ColumnPath::from(ID_COLUMN), false)
        // Bounds of pages would take more than the pages of numbers themselves; those of groups are enough to skip by.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_statistics_truncate_length(Some(STATISTICS_BYTES))
        .set_sorting_columns(sorted);
    // Bounds of elements and of opaque bytes are of no use to a filter on whole values.
    for (name, kind) in schema.attributes() {
        let path = match kind.arrow_type() {
            DataType::List(_) => vec![name.to_owned(), "list".to_owned(), "item".to_owned()],
            DataType::Binary => vec![name.to_owned()],
            _ => continue,
        };
        properties = properties.set_column_statistics_enabled(ColumnPath::new(path), EnabledStatistics::None);
    }
    Ok(properties.build())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, ListArray, StringArray, UInt64Array};
    use arrow::datatypes::Int64Type;
    use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
    use parquet::file::metadata::PageIndexPolicy;

    use super::*;
    use crate::schema::AttributeType;
    use crate::segment::parquet_rows::arrow_schema;
    use crate::types::IdKind;

    #[test]
    fn the_file_is_plain_parquet_in_small_indexed_pages() -> Result<()> {
        let schema = Schema::builder(IdKind::U64)
            .attribute("n", AttributeType::Int)
            .attribute("text", AttributeType::String)
            .attribute("many", AttributeType::IntArray)
            .build()?;
        let DataType::List(item) = AttributeType::IntArray.arrow_type() else { panic!("an array is a list") };
        let list = |n: i64| Some([Some(n), Some(n + 1)]);
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>((0..1_000).map(list));
        let lists = ListArray::new(item, lists.offsets().clone(), Arc::clone(lists.values()), None);
        let batch = RecordBatch::try_new(
            arrow_schema(&schema),
            vec![
                Arc::new(UInt64Array::from_iter_values(0..1_000)),
                Arc::new(Int64Array::from_iter_values(0..1_000)),
                Arc::new(StringArray::from_iter_values((0..1_000).map(|n| format!("{n:>100}")))),
                Arc::new(lists),
            ],
        )
        .unwrap();
        let mut writer = ParquetBuilder::new(&schema, RowOrder::Id)?;
        writer.push_batch(&batch.slice(0, 100))?;
        writer.push_batch(&batch.slice(100, 900))?;
        let ParquetFile { bytes, footer } = writer.finish()?;
        assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
        assert!(bytes.ends_with(&footer) && footer.len() < bytes.len());

        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options).unwrap();
        assert!(builder.metadata().file_metadata().key_value_metadata().is_none());
        let pages = builder.metadata().page_index_for_row_group(0);
        for column in 0..4 {
            let rows: Vec<_> =
                pages.page_locations(column).unwrap().iter().map(|p| p.first_row_index).collect();
            assert!(rows.windows(2).all(|pair| pair[1] - pair[0] < 512), "{column}: {rows:?}");
            assert!(rows.len() <= 8 + 2, "{column}: {rows:?}");
        }
        let read: Vec<_> = builder.with_batch_size(1_000).build().unwrap().map(|b| b.unwrap()).collect();
        assert_eq!(read[0].columns()[..3], batch.columns()[..3]);
        Ok(())
    }
}
