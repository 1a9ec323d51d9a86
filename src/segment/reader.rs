//! Reading an open segment: everything that is not in memory takes one round trip.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::record_batch::RecordBatch;
use futures::future::{try_join, try_join_all};
use roaring::RoaringBitmap;

use super::ids::IdBlock;
use super::meta::SegmentMeta;
use super::open::{SegmentParts, SegmentSchemas, open_parts};
use super::open_column::{OpenColumn, OpenVectorColumn, ReadMode};
use crate::cache::BlockCache;
use crate::codec::u64_of;
use crate::env::Env;
use crate::error::{Error, OrInternal, Result};
use crate::index::attributes::AttributeIndex;
use crate::index::text::TextIndex;
use crate::index::vector::VectorIndex;
use crate::schema::{Ids, Schema, SchemaVersions};
use crate::storage::{IncarnationKeys, StorageBackend};
use crate::types::{DocumentId, Sequence};

/// The position of the id in `rows.parquet`.
const ID_POSITION: usize = 0;

/// An open segment.
#[derive(Clone)]
pub(crate) struct Segment {
    env: Env,
    schema: Arc<Schema>,
    meta: SegmentMeta,
    parts: SegmentParts,
}

impl Segment {
    /// Opens a segment that a manifest describes, for readers with the current one of `schemas`. One round trip.
    pub(crate) async fn open(
        env: &Env,
        backend: &Arc<dyn StorageBackend>,
        cache: &BlockCache,
        keys: &IncarnationKeys,
        schemas: &SchemaVersions,
        meta: &SegmentMeta,
    ) -> Result<Self> {
        let written = schemas.find_version(meta.schema).ok_or_else(|| {
            let why = format!("version {} of the schema is not in the manifest", meta.schema);
            Error::corrupt(keys.segment(meta.id).index(), why)
        })?;
        let schemas = SegmentSchemas { current: Arc::clone(schemas.current()), written: Arc::clone(written) };
        let parts = open_parts(env, backend, cache, keys, &schemas, meta).await?;
        Ok(Self { env: env.clone(), schema: schemas.current, meta: meta.clone(), parts })
    }

    pub(crate) fn meta(&self) -> &SegmentMeta {
        &self.meta
    }

    /// The version of the schema that its rows are read with.
    pub(crate) fn schema_version(&self) -> u32 {
        self.schema.version()
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
        self.read_rows(columns, rows, ReadMode::Blocks).await
    }

    /// As [`Self::fetch_rows`], of many rows that are wanted once: vectors are not cached.
    pub(crate) async fn fetch_bulk(&self, columns: &[usize], rows: &RoaringBitmap) -> Result<RecordBatch> {
        self.read_rows(columns, rows, ReadMode::Bulk).await
    }

    async fn read_rows(
        &self,
        columns: &[usize],
        rows: &RoaringBitmap,
        mode: ReadMode,
    ) -> Result<RecordBatch> {
        let columns: BTreeSet<usize> = columns.iter().copied().collect();
        let opened = columns.iter().map(|column| self.column(*column)).collect::<Result<Vec<_>>>()?;
        let vectors = opened.iter().filter_map(|column| match column {
            OpenColumn::Vector(vectors) => Some(vectors.fetch(&self.env, rows, mode)),
            OpenColumn::Attribute(_) => None,
        });
        // Joined and not one after the other: one round trip.
        let (attributes, vectors) =
            try_join(self.fetch_attributes(&opened, rows), try_join_all(vectors)).await?;
        self.assemble_batch(&columns, attributes, vectors)
    }

    /// The ids of rows, and the attributes among some columns in their order; `None` for those that the segment does not
    /// have. One round trip.
    async fn fetch_attributes(
        &self,
        columns: &[&OpenColumn],
        rows: &RoaringBitmap,
    ) -> Result<Vec<Option<ArrayRef>>> {
        let attributes = columns.iter().filter_map(|column| match column {
            OpenColumn::Attribute(position) => Some(*position),
            OpenColumn::Vector(_) => None,
        });
        let attributes: Vec<Option<usize>> = attributes.collect();
        // Parquet reads columns in its own order, which that of the schema need not be.
        let stored: BTreeSet<usize> = attributes.iter().copied().flatten().chain([ID_POSITION]).collect();
        let stored: Vec<usize> = stored.into_iter().collect();
        // The row ids spare a page of Parquet for the id alone, which most searches want.
        let read = if stored == [ID_POSITION] {
            vec![self.parts.row_ids.fetch_ids(&self.env, rows).await?]
        } else {
            self.parts.rows.fetch_rows(&self.env, stored.clone(), rows).await?.columns().to_vec()
        };
        let find = |position: Option<usize>| match position {
            None => Ok(None),
            Some(position) => {
                let array = stored.binary_search(&position).ok().and_then(|at| read.get(at));
                array.cloned().map(Some).ok_or_else(|| Error::internal("a column was not read"))
            }
        };
        std::iter::once(Some(ID_POSITION)).chain(attributes).map(find).collect()
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

    /// About how many bytes a row takes before it is compressed, on average. The sum over all groups of rows: to be kept by
    /// who needs it for each row.
    pub(crate) fn uncompressed_row_bytes(&self) -> u64 {
        self.uncompressed_bytes() / u64::from(self.meta.rows.max(1))
    }

    /// About how many bytes a row takes in these columns.
    pub(crate) fn row_bytes(&self, columns: &[usize], row: u32) -> u64 {
        self.parts.row_sizes.row_bytes(columns, row)
    }

    /// Folds over the vectors of a run of rows, each checked, in pieces that come with the number of their first row. One
    /// round trip. `fold` runs on the pool if the run is long.
    pub(crate) async fn fold_vectors<T, F>(
        &self,
        column: usize,
        rows: Range<u32>,
        init: T,
        fold: F,
    ) -> Result<T>
    where
        T: Clone + Send + Sync + 'static,
        F: Fn(T, u32, ArrayRef) -> Result<T> + Clone + Send + Sync + 'static,
    {
        self.vector_column(column)?.fold_range(&self.env, rows, init, fold).await
    }

    /// The vectors of some rows, each checked. One round trip.
    pub(crate) async fn fetch_vectors(&self, column: usize, rows: &RoaringBitmap) -> Result<ArrayRef> {
        self.vector_column(column)?.fetch(&self.env, rows, ReadMode::Blocks).await
    }

    /// The rows without a vector in a column.
    pub(crate) fn rows_without_vector(&self, column: usize) -> Result<&RoaringBitmap> {
        self.vector_column(column).map(OpenVectorColumn::nulls)
    }

    fn column(&self, column: usize) -> Result<&OpenColumn> {
        let column = self.parts.columns.get(column);
        column.ok_or_else(|| Error::internal("a column that the schema does not have"))
    }

    fn vector_column(&self, column: usize) -> Result<&OpenVectorColumn> {
        match self.column(column)? {
            OpenColumn::Vector(vectors) => Ok(vectors),
            OpenColumn::Attribute(_) => Err(Error::internal("not a vector column")),
        }
    }

    /// The index of a vector column, if it has one.
    pub(crate) fn vector_index(&self, column: usize) -> Option<&VectorIndex> {
        self.vector_column(column).ok()?.index()
    }

    /// How many rows have a vector in a column; 0 if it is no vector column.
    pub(crate) fn vector_count(&self, column: usize) -> u32 {
        // invariant: no row has a vector in a column of another type.
        self.vector_column(column).map_or(0, OpenVectorColumn::count)
    }

    /// The index of the attributes, if there is one.
    pub(crate) fn attribute_index(&self) -> Option<&Arc<AttributeIndex>> {
        self.parts.attributes.as_ref()
    }

    /// The index of the text columns, if there are any.
    pub(crate) fn text_index(&self) -> Option<&Arc<TextIndex>> {
        self.parts.text.as_ref()
    }

    /// Puts arrays of the id, of attributes and of vectors into the order of the schema.
    fn assemble_batch(
        &self,
        columns: &BTreeSet<usize>,
        attributes: Vec<Option<ArrayRef>>,
        vectors: Vec<ArrayRef>,
    ) -> Result<RecordBatch> {
        // The Arrow schema has the id before the columns.
        let fields: Vec<usize> = std::iter::once(0).chain(columns.iter().map(|column| column + 1)).collect();
        let schema = Arc::new(self.schema.arrow().project(&fields).or_internal()?);
        let missing = || Error::internal("a column was not read");
        let (mut attributes, mut vectors) = (attributes.into_iter(), vectors.into_iter());
        let ids = attributes.next().flatten().ok_or_else(missing)?;
        let mut arrays = vec![Arc::clone(&ids)];
        for (column, field) in columns.iter().zip(schema.fields().iter().skip(1)) {
            arrays.push(match self.column(*column)? {
                OpenColumn::Vector(_) => vectors.next().ok_or_else(missing)?,
                OpenColumn::Attribute(_) => {
                    let stored = attributes.next().ok_or_else(missing)?;
                    // invariant: a segment has no value of a column that was declared after it was written.
                    stored.unwrap_or_else(|| new_null_array(field.data_type(), ids.len()))
                }
            });
        }
        RecordBatch::try_new(schema, arrays).or_internal()
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment({}, {} rows)", self.meta.id, self.meta.rows)
    }
}
