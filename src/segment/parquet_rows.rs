//! `rows.parquet`: the id and the attributes, for us and for any other engine.
//!
//! Plain Parquet, format 1.0, zstd, in pages of 256 rows (fewer where they are large, and never twice as
//! many) with their index, so that a few rows are a few pages. The section `footer` of the meta spans the
//! offset indexes and the footer; pages are checked by block checksums (see [`super::checksums`]). The Arrow schema is
//! never taken from the file: ours decides.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder, RowGroupMetaData, SortingColumn,
};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use roaring::RoaringBitmap;

use super::checksums::{ChecksummedFile, VerifiedBlocks};
use super::compute;
use super::meta::{FileMeta, FileSection, RowOrder};
use super::vectors::row_runs;
use crate::codec::checksum;
use crate::env::Env;
use crate::error::{Error, OrInternal, Result};
use crate::schema::{ColumnKind, ID_COLUMN, Schema};
use crate::storage::ObjectKey;

/// The section that a reader needs first.
pub(super) const FOOTER: &str = "footer";

const PAGE_ROWS: usize = 256;
/// What it takes to plan a page, and how many bytes of pages it takes to decode, as [`compute`] counts.
const PAGE_ITEMS: usize = 16;
const ITEM_BYTES: u64 = 64;
const ROW_GROUP_ROWS: usize = 1 << 20;
/// A point read of a column with a dictionary reads the dictionary too: it may not cost more than a block.
const DICTIONARY_BYTES: usize = 16 << 10;
/// Statistics are cut to this many bytes.
const STATISTICS_BYTES: usize = 64;

/// The columns of the file: the id and the attributes.
pub(super) fn arrow_schema(schema: &Schema) -> SchemaRef {
    schema.arrow_projection(|column| matches!(column.kind, ColumnKind::Attribute(_)))
}

/// Encodes rows, in memory.
pub(super) struct ParquetBuilder {
    writer: ArrowWriter<Vec<u8>>,
    rows: usize,
}

impl ParquetBuilder {
    /// A writer of rows that come in this order, which the footer tells other engines.
    pub(super) fn new(schema: &Schema, order: RowOrder) -> Result<Self> {
        let options = ArrowWriterOptions::new()
            .with_properties(writer_properties(schema, order)?)
            // Parquet's own types say it all, and nobody may trust an Arrow schema from a file.
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), arrow_schema(schema), options);
        Ok(Self { writer: writer.map_err(parquet_bug)?, rows: 0 })
    }

    /// Adds rows: a batch of [`arrow_schema`].
    pub(super) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        // The writer closes a page only between the pieces it cuts a batch into: let them start with pages.
        let first = batch.num_rows().min(PAGE_ROWS - self.rows % PAGE_ROWS);
        for piece in [batch.slice(0, first), batch.slice(first, batch.num_rows() - first)] {
            self.writer.write(&piece).map_err(parquet_bug)?;
        }
        self.rows += batch.num_rows();
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(Bytes, FileMeta)> {
        let metadata = self.writer.finish().map_err(parquet_bug)?;
        let bytes = Bytes::from(std::mem::take(self.writer.inner_mut()));
        let columns = metadata.row_groups().iter().flat_map(RowGroupMetaData::columns);
        let offset = columns.filter_map(|c| u64::try_from(c.offset_index_offset()?).ok()).min();
        let footer = offset.and_then(|offset| bytes.get(usize::try_from(offset).ok()?..));
        let (Some(offset), Some(footer)) = (offset, footer) else {
            return Err(Error::internal("parquet was written without its page index"));
        };
        let section = FileSection { offset, length: footer.len() as u64, checksum: checksum(footer) };
        let meta = FileMeta { size: bytes.len() as u64, sections: [(FOOTER.to_owned(), section)].into() };
        Ok((bytes, meta))
    }
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
    // Engines drop a sort that the footer says is done: it may only be claimed where it is so.
    let sorted = match order {
        RowOrder::Id => Some(vec![SortingColumn { column_idx: 0, descending: false, nulls_first: true }]),
        RowOrder::Cluster => None,
    };
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("elacsym version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).map_err(parquet_bug)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        // The writer looks at the limit of a page only after each such batch.
        .set_write_batch_size(PAGE_ROWS)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_column_dictionary_enabled(ColumnPath::from(ID_COLUMN), false)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(Some(STATISTICS_BYTES))
        .set_column_index_truncate_length(Some(STATISTICS_BYTES))
        .set_sorting_columns(sorted);
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

/// The rows of a segment: its footer in memory, its pages on the store.
#[derive(Debug)]
pub(super) struct ParquetRows {
    file: ChecksummedFile,
    schema: SchemaRef,
    metadata: ArrowReaderMetadata,
    count: u32,
}

impl ParquetRows {
    /// Reads a footer, which must be that of `rows` rows of `schema`.
    pub(super) fn decode(
        file: ChecksummedFile,
        footer: Range<u64>,
        bytes: Bytes,
        schema: &Schema,
        rows: u32,
    ) -> Result<Self> {
        let key = file.blob().key().clone();
        let size = file.blob().size();
        parse_guarded(&key, || {
            let metadata = decode_footer(size, footer, bytes)?;
            let schema = arrow_schema(schema);
            let names = metadata.file_metadata().schema().get_fields().iter().map(|field| field.name());
            if !names.eq(schema.fields().iter().map(|field| field.name().as_str())) {
                return Err(ParquetError::General("the columns are not those of the schema".to_owned()));
            }
            if metadata.file_metadata().num_rows() != i64::from(rows)
                || metadata.row_groups().iter().map(|group| i128::from(group.num_rows())).sum::<i128>()
                    != i128::from(rows)
            {
                return Err(ParquetError::General("the rows are not those of the segment".to_owned()));
            }
            let options = ArrowReaderOptions::new().with_schema(Arc::clone(&schema));
            let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), options)?;
            Ok(Self { file, schema, metadata, count: rows })
        })
    }

    /// What the footer takes in memory.
    pub(super) fn resident_bytes(&self) -> u64 {
        self.metadata.metadata().memory_size() as u64
    }

    /// The columns at `columns` of [`arrow_schema`], in ascending order, of `rows`. One round trip.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        env: &Env,
        columns: Vec<usize>,
        rows: &RoaringBitmap,
    ) -> Result<RecordBatch> {
        let schema = Arc::new(self.schema.project(&columns).or_internal()?);
        if rows.is_empty() {
            return Ok(RecordBatch::new_empty(schema));
        }
        if rows.max().is_some_and(|row| row >= self.count) {
            return Err(Error::internal("rows that are not in the segment"));
        }
        let (this, rows) = (Arc::clone(self), rows.clone());
        // A few rows are planned and decoded where we are: a change of threads takes longer.
        let pages = usize::try_from(rows.len()).unwrap_or(usize::MAX).saturating_mul(columns.len());
        let plan = compute(env, pages.saturating_mul(PAGE_ITEMS), move || this.plan_read(&columns, &rows));
        let (decoder, ranges) = plan.await??;
        let blocks = self.file.fetch_blocks(&ranges).await?;
        let key = self.file.blob().key().clone();
        let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let items = usize::try_from(bytes / ITEM_BYTES).unwrap_or(usize::MAX);
        compute(env, items, move || parse_guarded(&key, || decode_rows(decoder, &blocks, &schema))).await?
    }

    /// What decodes the rows, and every range that it will ask for.
    fn plan_read(
        &self,
        columns: &[usize],
        rows: &RoaringBitmap,
    ) -> Result<(ParquetPushDecoder, Vec<Range<u64>>)> {
        let size = self.file.blob().size();
        parse_guarded(self.file.blob().key(), || {
            let spans = row_runs(rows).into_iter().map(|run| run.start as usize..run.end as usize);
            let selection = RowSelection::from_consecutive_ranges(spans, self.count as usize);
            let projection = ProjectionMask::roots(self.metadata.parquet_schema(), columns.iter().copied());
            let decoder = ParquetPushDecoderBuilder::new_with_metadata(self.metadata.clone())
                .with_projection(projection)
                .with_row_selection(selection)
                .with_batch_size(usize::try_from(rows.len()).unwrap_or(usize::MAX))
                .build()?;
            let mut ranges: Vec<Range<u64>> = Vec::new();
            for planned in decoder.scan_plan() {
                if planned.range.start > planned.range.end || planned.range.end > size {
                    return Err(ParquetError::General(format!("a page at {:?}", planned.range)));
                }
                ranges.push(planned.range);
            }
            Ok((decoder, ranges))
        })
    }
}

fn decode_footer(size: u64, range: Range<u64>, bytes: Bytes) -> Result<ParquetMetaData, ParquetError> {
    // Page statistics are for other engines.
    let mut decoder = ParquetMetaDataPushDecoder::try_new(size)?
        .with_column_index_policy(PageIndexPolicy::Skip)
        .with_offset_index_policy(PageIndexPolicy::Required);
    decoder.push_range(range, bytes)?;
    match decoder.try_decode()? {
        DecodeResult::Data(metadata) => Ok(metadata),
        DecodeResult::NeedsData(_) | DecodeResult::Finished => {
            Err(ParquetError::General("the footer is not where the segment says".to_owned()))
        }
    }
}

fn decode_rows(
    mut decoder: ParquetPushDecoder,
    blocks: &VerifiedBlocks,
    schema: &SchemaRef,
) -> Result<RecordBatch, ParquetError> {
    let mut batches = Vec::new();
    // It asks once for a row group, if it asks for what it planned.
    let mut asks = decoder.row_groups_remaining() + 1;
    loop {
        match decoder.try_decode()? {
            DecodeResult::Data(batch) => batches.push(batch),
            DecodeResult::Finished => break,
            DecodeResult::NeedsData(ranges) => {
                let bytes = ranges.iter().map(|range| blocks.read(range)).collect::<Option<Vec<_>>>();
                let (true, Some(bytes)) = (asks > 0, bytes) else {
                    return Err(ParquetError::General(format!("unplanned reads {ranges:?}")));
                };
                asks -= 1;
                decoder.push_ranges(ranges, bytes)?;
            }
        }
    }
    let same = batches.iter().all(|batch| {
        let types = batch.columns().iter().map(|column| column.data_type());
        types.eq(schema.fields().iter().map(|field| field.data_type()))
    });
    if !same {
        return Err(ParquetError::General("other types than those of the schema".to_owned()));
    }
    let batches: Result<Vec<_>, _> =
        batches.into_iter().map(|b| RecordBatch::try_new(Arc::clone(schema), b.columns().to_vec())).collect();
    let batches = batches?;
    match batches.as_slice() {
        [batch] => Ok(batch.clone()),
        many => Ok(concat_batches(schema, many)?),
    }
}

/// Runs a parser of bytes from the store. It may panic on damaged ones: that is an error of the object.
fn parse_guarded<T>(key: &ObjectKey, parse: impl FnOnce() -> Result<T, ParquetError>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(parse)) {
        Ok(parsed) => parsed.map_err(|e| Error::corrupt(key, e)),
        Err(_) => Err(Error::corrupt(key, "the parquet decoder panicked")),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, ListArray, StringArray, UInt64Array};
    use arrow::datatypes::Int64Type;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::schema::AttributeType;
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
        writer.push(&batch.slice(0, 100))?;
        writer.push(&batch.slice(100, 900))?;
        let (bytes, meta) = writer.finish()?;
        assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
        assert_eq!(meta.section(FOOTER).unwrap().range().end, bytes.len() as u64);

        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options).unwrap();
        assert!(builder.metadata().file_metadata().key_value_metadata().is_none());
        let pages = builder.metadata().page_index_for_row_group(0);
        assert!(pages.column_index(0).is_some() && pages.column_index(2).is_some());
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
