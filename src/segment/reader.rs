//! Reading an open segment: everything that is not in memory takes one round trip.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::record_batch::RecordBatch;
use futures::future::{try_join, try_join_all};
use roaring::RoaringBitmap;

use super::ids::IdBlock;
use super::meta::SegmentMeta;
use super::open::{SegmentParts, open_parts};
use super::open_vectors::OpenVectorColumn;
use crate::cache::BlockCache;
use crate::codec::u64_of;
use crate::env::Env;
use crate::error::{Error, OrInternal, Result};
use crate::index::attributes::AttributeIndex;
use crate::index::text::TextIndex;
use crate::index::vector::VectorIndex;
use crate::schema::{Ids, Schema};
use crate::storage::{IncarnationKeys, StorageBackend};
use crate::types::{DocumentId, Sequence};

/// An open segment.
#[derive(Clone)]
pub(crate) struct Segment {
    env: Env,
    schema: Arc<Schema>,
    meta: SegmentMeta,
    parts: SegmentParts,
}

impl Segment {
    /// Opens a segment that a manifest describes. One round trip.
    pub(crate) async fn open(
        env: &Env,
        backend: &Arc<dyn StorageBackend>,
        cache: &BlockCache,
        keys: &IncarnationKeys,
        schema: &Arc<Schema>,
        meta: &SegmentMeta,
    ) -> Result<Self> {
        let parts = open_parts(env, backend, cache, keys, schema, meta).await?;
        Ok(Self { env: env.clone(), schema: Arc::clone(schema), meta: meta.clone(), parts })
    }

    pub(crate) fn meta(&self) -> &SegmentMeta {
        &self.meta
    }

    /// About how many bytes it keeps in memory while it is open. Centroid sets are not counted: segments share them.
    pub(crate) fn resident_bytes(&self) -> u64 {
        // invariant: a segment without text columns keeps no text.
        self.parts.head_bytes + self.parts.text.as_ref().map_or(0, |text| u64_of(text.kept_bytes()))
    }

    /// The same segment as the entry `sequence` links it: it was uploaded before its place in the log was known.
    pub(crate) fn linked_by(&self, sequence: Sequence) -> Self {
        let meta = SegmentMeta { sequences: (sequence, sequence), ..self.meta.clone() };
        Self { meta, ..self.clone() }
    }

    /// The rows of these ids, in their order, dead or not. At most one round trip.
    pub(crate) async fn find_rows(&self, ids: &[DocumentId]) -> Result<Vec<Option<u32>>> {
        // Segments of new ids in order, such as times, are ruled out without a read.
        if !ids.iter().any(|id| self.meta.may_hold(id)) {
            return Ok(vec![None; ids.len()]);
        }
        self.parts.ids.find_rows(&self.env, ids.into()).await
    }

    /// Finds those of `ids`, which ascend, that the segment has, dead or not: the position among `ids`, and the row. At
    /// most one round trip.
    pub(crate) async fn find_sorted_ids(&self, ids: &Ids) -> Result<Vec<(usize, u32)>> {
        let within = ids.rows_between(&self.meta.id_min, &self.meta.id_max);
        if within.is_empty() {
            return Ok(Vec::new());
        }
        let start = within.start;
        let found = self.parts.ids.find_sorted_ids(&self.env, &ids.slice(within)).await?;
        Ok(found.into_iter().map(|(at, row)| (start + at, row)).collect())
    }

    /// The ids from `first` to `last`, and some more before and behind, as pages for [`Self::id_page`].
    pub(crate) fn id_pages(&self, first: &DocumentId, last: &DocumentId) -> Vec<Range<usize>> {
        // What was outside the bounds becomes an empty range here, and that has no pages.
        let (first, last) = (first.max(&self.meta.id_min), last.min(&self.meta.id_max));
        self.parts.ids.pages(first, last)
    }

    /// The ids of a page with their rows, dead or not, in id order. At most one round trip.
    pub(crate) async fn id_page(&self, page: Range<usize>) -> Result<IdBlock> {
        self.parts.ids.read_page(&self.env, page).await
    }

    /// Up to `limit` ids greater than `after` with their rows, in id order, dead or not. At most one round
    /// trip.
    pub(crate) async fn next_ids(
        &self,
        after: Option<&DocumentId>,
        limit: usize,
    ) -> Result<Vec<(DocumentId, u32)>> {
        if limit == 0 || after.is_some_and(|id| *id >= self.meta.id_max) {
            return Ok(Vec::new());
        }
        self.parts.ids.next_ids(&self.env, after, limit).await
    }

    /// Up to `limit` ids less than `before` with their rows, the greatest id first, dead or not. At most one round
    /// trip.
    pub(crate) async fn previous_ids(
        &self,
        before: Option<&DocumentId>,
        limit: usize,
    ) -> Result<Vec<(DocumentId, u32)>> {
        if limit == 0 || before.is_some_and(|id| *id <= self.meta.id_min) {
            return Ok(Vec::new());
        }
        self.parts.ids.previous_ids(&self.env, before, limit).await
    }

    /// The id and these columns, by their index in [`Schema::columns`], of these rows: ascending rows, columns
    /// in the order of the schema. One round trip.
    pub(crate) async fn fetch_rows(&self, columns: &[usize], rows: &RoaringBitmap) -> Result<RecordBatch> {
        let columns: BTreeSet<usize> = columns.iter().copied().collect();
        let parquet_columns = self.parquet_columns(&columns)?;
        // invariant: `parquet_columns` has refused columns that do not exist, and attributes are in Parquet.
        let exact = columns.iter().filter_map(|column| self.parts.vectors.get(*column)?.as_ref());
        let vectors = try_join_all(exact.map(|column| column.exact.fetch(&self.env, rows)));
        let attributes = async {
            // The row ids spare a page of Parquet for the id alone, which most searches want.
            if let [_] = parquet_columns.as_slice() {
                return Ok(vec![self.parts.row_ids.fetch_ids(&self.env, rows).await?]);
            }
            let batch = self.parts.rows.fetch_rows(&self.env, parquet_columns, rows).await?;
            Ok(batch.columns().to_vec())
        };
        // Joined and not one after the other: one round trip.
        let (attributes, vectors) = try_join(attributes, vectors).await?;
        self.assemble_batch(&columns, attributes, vectors)
    }

    /// As [`Self::fetch_rows`], of a run of rows: with [`Self::scan_window`], a scan.
    #[cfg(test)]
    pub(crate) async fn fetch_row_range(&self, columns: &[usize], rows: Range<u32>) -> Result<RecordBatch> {
        let mut bitmap = RoaringBitmap::new();
        bitmap.insert_range(rows);
        self.fetch_rows(columns, &bitmap).await
    }

    /// The rows from `from` on that a scan of `columns` reads together: about 32 MiB of them. Empty past the
    /// last row.
    pub(crate) fn scan_window(&self, columns: &[usize], from: u32) -> Range<u32> {
        self.parts.row_sizes.scan_window(columns, from)
    }

    /// About how many bytes all rows take before they are compressed.
    pub(crate) fn uncompressed_bytes(&self) -> u64 {
        self.parts.row_sizes.total_bytes()
    }

    /// About how many bytes a row takes in these columns.
    pub(crate) fn row_bytes(&self, columns: &[usize], row: u32) -> u64 {
        self.parts.row_sizes.row_bytes(columns, row)
    }

    /// The vectors of a run of rows, each checked. One round trip.
    pub(crate) async fn fetch_vector_range(&self, column: usize, rows: Range<u32>) -> Result<ArrayRef> {
        self.vector_column(column)?.exact.fetch_range(&self.env, rows).await
    }

    /// The vectors of some rows, each checked. One round trip.
    pub(crate) async fn fetch_vectors(&self, column: usize, rows: &RoaringBitmap) -> Result<ArrayRef> {
        self.vector_column(column)?.exact.fetch(&self.env, rows).await
    }

    /// The rows without a vector in a column.
    pub(crate) fn rows_without_vector(&self, column: usize) -> Result<&RoaringBitmap> {
        self.vector_column(column).map(|column| column.exact.nulls())
    }

    fn vector_column(&self, column: usize) -> Result<&OpenVectorColumn> {
        let column = self.parts.vectors.get(column).and_then(Option::as_ref);
        column.ok_or_else(|| Error::internal("not a vector column"))
    }

    /// The index of a vector column, if it has one.
    pub(crate) fn vector_index(&self, column: usize) -> Option<&VectorIndex> {
        self.parts.vectors.get(column)?.as_ref()?.index.as_ref()
    }

    /// How many rows have a vector in a column; 0 if it is no vector column.
    pub(crate) fn vector_count(&self, column: usize) -> u32 {
        // invariant: no row has a vector in a column of another type.
        self.parts.vectors.get(column).and_then(Option::as_ref).map_or(0, |column| column.exact.count())
    }

    /// The index of the attributes, if there is one.
    pub(crate) fn attribute_index(&self) -> Option<&Arc<AttributeIndex>> {
        self.parts.attributes.as_ref()
    }

    /// The index of the text columns, if there are any.
    pub(crate) fn text_index(&self) -> Option<&Arc<TextIndex>> {
        self.parts.text.as_ref()
    }

    /// The columns of `rows.parquet` that hold the id and the attributes among `columns`.
    fn parquet_columns(&self, columns: &BTreeSet<usize>) -> Result<Vec<usize>> {
        if columns.last().is_some_and(|column| *column >= self.parts.vectors.len()) {
            return Err(Error::internal("a column that the schema does not have"));
        }
        // Parquet has the id first, and the attributes behind it in the order of the schema, without the vectors.
        let attributes = self.parts.vectors.iter().enumerate().filter(|(_, vectors)| vectors.is_none());
        let wanted = attributes.enumerate().filter(|(_, (column, _))| columns.contains(column));
        Ok(std::iter::once(0).chain(wanted.map(|(number, _)| number + 1)).collect())
    }

    /// Puts arrays from Parquet, the id first, and arrays of vectors into the order of the schema.
    fn assemble_batch(
        &self,
        columns: &BTreeSet<usize>,
        attributes: Vec<ArrayRef>,
        vectors: Vec<ArrayRef>,
    ) -> Result<RecordBatch> {
        // The Arrow schema has the id before the columns.
        let fields: Vec<usize> = std::iter::once(0).chain(columns.iter().map(|column| column + 1)).collect();
        let schema = Arc::new(self.schema.arrow().project(&fields).or_internal()?);
        let missing = || Error::internal("a column was not read");
        let (mut attributes, mut vectors) = (attributes.into_iter(), vectors.into_iter());
        let mut arrays = vec![attributes.next().ok_or_else(missing)?];
        for column in columns {
            let array = match self.parts.vectors.get(*column) {
                Some(Some(_)) => vectors.next(),
                _ => attributes.next(),
            };
            arrays.push(array.ok_or_else(missing)?);
        }
        RecordBatch::try_new(schema, arrays).or_internal()
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment({}, {} rows)", self.meta.id, self.meta.rows)
    }
}
