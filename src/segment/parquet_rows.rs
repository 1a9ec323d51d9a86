//! `rows.parquet`: the id and the attributes, for this crate and for any other engine.
//!
//! Plain Parquet, format 1.0, zstd, in pages of 256 rows (fewer where they are large: about 32 KiB, and never twice as
//! many rows) with their offsets, so that a few rows are a few pages. The offset indexes and the footer are also a head in
//! `index`, section `rows.footer`; pages are checked by block checksums (see [`super::checksums`]). The Arrow schema
//! comes from the namespace, never from the file.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::DecodeResult;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::arrow::push_decoder::{PageKind, ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::arrow::{PARQUET_FIELD_ID_META_KEY, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{RowGroupMetaData, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use roaring::RoaringBitmap;

use super::checksums::{ChecksummedFile, VerifiedBlocks};
use super::meta::RowOrder;
use super::page_header::check_page_sizes;
use super::parquet_footer::decode_footer;
use super::vectors::row_runs;
use crate::codec::{guarded, to_usize, u64_of, usize_of};
use crate::env::{Cost, Env};
use crate::error::{Error, OrInternal, Result};
use crate::schema::{ColumnKind, ID_COLUMN, Schema};
use crate::storage::ObjectKey;
use crate::types::ColumnId;

/// A point read decodes a page of each column. Smaller pages cost more: each has a header, and an
/// entry of the offset index.
const PAGE_ROWS: usize = 256;
/// The size at which a page ends, before compression. A document is read with the whole page of each of its columns:
/// with texts of a kilobyte, 256 rows are as many kilobytes to decompress for one hit. At this size a compressed page is
/// about a block of checksums, which is read anyway.
const PAGE_BYTES: usize = 32 << 10;
/// Rows that are written before the writer looks at the limits of a page.
const WRITE_ROWS: usize = 32;
/// What a read of ten documents spans: the pages of all columns of a group lie next to each other, so that those of one
/// row are few requests whatever the number of columns, and other engines skip groups by their bounds. Smaller groups
/// make the footer larger, which is read when a segment is opened: 8,192 rows cost it about 20 bytes for each page.
const ROW_GROUP_ROWS: usize = 1 << 13;
/// A point read of a column with a dictionary reads the dictionary too: it may not cost more than a block of checksums.
const DICTIONARY_BYTES: usize = 16 << 10;
/// Statistics are cut to this many bytes.
const STATISTICS_BYTES: usize = 64;

/// The columns of the file: the id and the attributes.
pub(super) fn arrow_schema(schema: &Schema) -> SchemaRef {
    schema.arrow_projection(|column| matches!(column.kind, ColumnKind::Attribute(_)))
}

/// The same with the number of each column, which Parquet stores as its field id.
fn numbered_schema(schema: &Schema) -> SchemaRef {
    let attributes = schema.columns().iter().filter(|c| matches!(c.kind, ColumnKind::Attribute(_)));
    let ids = std::iter::once(ColumnId::DOCUMENT_ID).chain(attributes.map(|column| column.id));
    let plain = arrow_schema(schema);
    let numbered = plain.fields().iter().zip(ids).map(|(field, id)| {
        let number = (PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string());
        Field::clone(field).with_metadata(HashMap::from([number]))
    });
    Arc::new(ArrowSchema::new(numbered.collect::<Vec<_>>()))
}

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

    /// Adds rows: a batch of [`arrow_schema`].
    pub(super) fn push_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        // The writer closes pages only between pieces of a batch. A piece that began within a page would make it longer
        // than others: the rows that complete the open page go first.
        let first = batch.num_rows().min(PAGE_ROWS - self.rows % PAGE_ROWS);
        for piece in [batch.slice(0, first), batch.slice(first, batch.num_rows() - first)] {
            self.writer.write(&piece).map_err(parquet_bug)?;
        }
        self.rows += batch.num_rows();
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
        .set_write_batch_size(WRITE_ROWS)
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

/// The rows of a segment: its footer in memory, its pages on the store.
#[derive(Debug)]
pub(super) struct ParquetRows {
    file: ChecksummedFile,
    schema: SchemaRef,
    metadata: ArrowReaderMetadata,
    count: u32,
}

impl ParquetRows {
    /// Reads a footer, which must be that of `rows` rows of `schema`, the one that the segment was written with.
    pub(super) fn decode(file: ChecksummedFile, footer: &Bytes, schema: &Schema, rows: u32) -> Result<Self> {
        let key = file.blob().key().clone();
        let size = file.blob().size();
        parse_guarded(&key, || {
            // A checksum proves that these bytes were written, not that they are of this segment: the footer must have
            // its columns and its rows, or reads would return those of another.
            let metadata = decode_footer(size, footer)?;
            let numbered = numbered_schema(schema);
            let found = metadata.file_metadata().schema().get_fields().iter().map(|field| {
                let info = field.get_basic_info();
                (field.name(), info.has_id().then(|| info.id().to_string()))
            });
            let expected = numbered.fields().iter().map(|field| {
                (field.name().as_str(), field.metadata().get(PARQUET_FIELD_ID_META_KEY).cloned())
            });
            if !found.eq(expected) {
                return Err(ParquetError::General("the columns are not those of the schema".to_owned()));
            }
            if metadata.file_metadata().num_rows() != i64::from(rows)
                || metadata.row_groups().iter().map(|group| i128::from(group.num_rows())).sum::<i128>()
                    != i128::from(rows)
            {
                return Err(ParquetError::General("the rows are not those of the segment".to_owned()));
            }
            let options = ArrowReaderOptions::new().with_schema(numbered);
            let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), options)?;
            Ok(Self { file, schema: arrow_schema(schema), metadata, count: rows })
        })
    }

    /// What the footer takes in memory.
    pub(super) fn resident_bytes(&self) -> u64 {
        u64_of(self.metadata.metadata().memory_size())
    }

    /// The columns at `columns` of [`arrow_schema`], in ascending order, of `rows`. One round trip.
    pub(super) async fn fetch_rows(
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
            return Err(Error::internal("rows that the segment does not have"));
        }
        let (this, rows) = (Arc::clone(self), rows.clone());
        // At worst each row is in a page of its own.
        let cost = Cost::planned_pages(rows.len().saturating_mul(columns.len() as u64));
        let (decoder, ranges) = env.compute(cost, move || this.plan_read(&columns, &rows)).await??;
        let blocks = self.file.fetch_blocks(&ranges).await?;
        let key = self.file.blob().key().clone();
        let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let decode = move || {
            parse_guarded(&key, || {
                check_page_sizes(&ranges, &blocks)?;
                decode_rows(decoder, &blocks, &schema)
            })
        };
        env.compute(Cost::compressed_bytes(bytes), decode).await?
    }

    /// What decodes the rows, and every range that it will ask for.
    fn plan_read(
        &self,
        columns: &[usize],
        rows: &RoaringBitmap,
    ) -> Result<(ParquetPushDecoder, Vec<Range<u64>>)> {
        let size = self.file.blob().size();
        let batch_rows = to_usize(rows.len(), "the number of rows")?;
        parse_guarded(self.file.blob().key(), || {
            let spans = row_runs(rows).into_iter().map(|run| usize_of(run.start)..usize_of(run.end));
            let selection = RowSelection::from_consecutive_ranges(spans, usize_of(self.count));
            let projection = ProjectionMask::roots(self.metadata.parquet_schema(), columns.iter().copied());
            let decoder = ParquetPushDecoderBuilder::new_with_metadata(self.metadata.clone())
                .with_projection(projection)
                .with_row_selection(selection)
                // All rows in one batch for each row group: a scan has bounded them already.
                .with_batch_size(batch_rows)
                .build()?;
            let mut ranges: Vec<Range<u64>> = Vec::new();
            // The whole plan is fetched at once: the decoder by itself would request one row group after the other.
            for planned in decoder.scan_plan() {
                if planned.range.start > planned.range.end || planned.range.end > size {
                    return Err(ParquetError::General(format!(
                        "a page is out of bounds. range=`{:?}`",
                        planned.range
                    )));
                }
                // Each range that is fetched has to begin with the header of a page, which is looked at before decoding.
                if planned.kind == PageKind::ColumnChunk {
                    return Err(ParquetError::General("a column without the places of its pages".to_owned()));
                }
                ranges.push(planned.range);
            }
            Ok((decoder, ranges))
        })
    }
}

fn decode_rows(
    mut decoder: ParquetPushDecoder,
    blocks: &VerifiedBlocks,
    schema: &SchemaRef,
) -> Result<RecordBatch, ParquetError> {
    let mut batches = Vec::new();
    // One request for each row group, if the decoder keeps to its plan. The bound ends a loop that damage could make it
    // run forever.
    let mut requests_left = decoder.row_groups_remaining() + 1;
    loop {
        match decoder.try_decode()? {
            DecodeResult::Data(batch) => batches.push(batch),
            DecodeResult::Finished => break,
            DecodeResult::NeedsData(ranges) => {
                let bytes = ranges.iter().map(|range| blocks.read_range(range)).collect::<Option<Vec<_>>>();
                let (true, Some(bytes)) = (requests_left > 0, bytes) else {
                    return Err(ParquetError::General(format!("unplanned reads {ranges:?}")));
                };
                requests_left -= 1;
                decoder.push_ranges(ranges, bytes)?;
            }
        }
    }
    // Names and nullability may differ, which the schema replaces below. Types may not: values would be read as others.
    let same_types = batches.iter().all(|batch| {
        let types = batch.columns().iter().map(|column| column.data_type());
        types.eq(schema.fields().iter().map(|field| field.data_type()))
    });
    if !same_types {
        return Err(ParquetError::General("the types are not those of the schema".to_owned()));
    }
    let batches: Result<Vec<_>, _> =
        batches.into_iter().map(|b| RecordBatch::try_new(Arc::clone(schema), b.columns().to_vec())).collect();
    let batches = batches?;
    match batches.as_slice() {
        [batch] => Ok(batch.clone()),
        many => Ok(concat_batches(schema, many)?),
    }
}

/// Runs a parser of bytes from the store. It may panic on damaged bytes: that is an error of the object.
fn parse_guarded<T>(key: &ObjectKey, parse: impl FnOnce() -> Result<T, ParquetError>) -> Result<T> {
    match guarded(parse) {
        Some(parsed) => parsed.map_err(|e| Error::corrupt(key, e)),
        None => Err(Error::corrupt(key, "the parquet decoder panicked")),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, ListArray, StringArray, UInt64Array};
    use arrow::datatypes::Int64Type;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::file::metadata::PageIndexPolicy;

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
