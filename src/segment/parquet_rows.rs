//! `rows.parquet`: the id and the attributes, for this crate and for any other engine.
//!
//! Plain Parquet, format 1.0, zstd, in pages of 256 rows (fewer where they take more than about 32 KiB, and at most 31
//! more) with their offsets, so that a few rows are a few pages. The offset indexes and the footer are also a head in
//! `index`, section `rows.footer`; pages are checked by block checksums (see [`super::checksums`]). The Arrow schema
//! comes from the namespace, never from the file.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema as ArrowSchema, SchemaRef};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::DecodeResult;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection};
use parquet::arrow::push_decoder::{PageKind, ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::arrow::{PARQUET_FIELD_ID_META_KEY, ProjectionMask};
use parquet::errors::ParquetError;
use roaring::RoaringBitmap;

use super::checksums::{ChecksummedFile, VerifiedBlocks};
use super::page_header::check_page_sizes;
use super::parquet_footer::decode_footer;
use super::vectors::row_runs;
use crate::codec::{guarded, to_usize, u64_of, usize_of};
use crate::env::{Cost, Env};
use crate::error::{Error, OrInternal, Result};
use crate::schema::{ColumnKind, Schema};
use crate::storage::ObjectKey;
use crate::types::ColumnId;

/// The columns of the file: the id and the attributes.
pub(super) fn arrow_schema(schema: &Schema) -> SchemaRef {
    schema.arrow_projection(|column| matches!(column.kind, ColumnKind::Attribute(_)))
}

/// The same with the number of each column, which Parquet stores as its field id.
pub(super) fn numbered_schema(schema: &Schema) -> SchemaRef {
    let attributes = schema.columns().iter().filter(|c| matches!(c.kind, ColumnKind::Attribute(_)));
    let ids = std::iter::once(ColumnId::DOCUMENT_ID).chain(attributes.map(|column| column.id));
    let plain = arrow_schema(schema);
    let numbered = plain.fields().iter().zip(ids).map(|(field, id)| {
        let number = (PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string());
        Field::clone(field).with_metadata(HashMap::from([number]))
    });
    Arc::new(ArrowSchema::new(numbered.collect::<Vec<_>>()))
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
