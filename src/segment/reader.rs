//! Reading a segment: what is always needed is read once, when it is opened; the rest in one round trip.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::future::{try_join, try_join_all, try_join4};
use roaring::RoaringBitmap;

use super::builder::{
    CHECKSUMS, COLUMNS_BLOCKS, COLUMNS_HEAD, ID_BLOCKS, ID_HEAD, ROW_ID_BLOCKS, ROW_ID_HEAD, ROW_SIZES,
};
use super::checksums::ChecksummedFile;
use super::ids::{IdBlock, IdIndex, IdIndexHead};
use super::meta::{FileMeta, FileSection, SegmentMeta};
use super::parquet_rows::{FOOTER, ParquetRows};
use super::row_ids::RowIds;
use super::row_sizes::RowSizes;
use super::vectors::{ExactVectors, HEAD, INDEX, row_checksum_seed};
use crate::cache::{Blob, BlockCache, Shared};
use crate::codec::CodecError;
use crate::env::Env;
use crate::error::{Error, OrInternal, Result};
use crate::index::attributes::AttributeIndex;
use crate::index::text::StoredIndex;
use crate::index::vector::{CentroidsMeta, NamedCentroids, VectorIndex};
use crate::schema::{ColumnKind, Ids, Schema, VectorColumn};
use crate::storage::{IncarnationKeys, SegmentKeys, StorageBackend};
use crate::types::{DocumentId, Sequence};

/// An id index up to this size is kept in memory whole.
const RESIDENT_BYTES_MAX: u64 = 1 << 20;

/// Decoded, heads take about so many times the bytes that they are stored in.
const DECODED: u64 = 2;

/// An open segment.
#[derive(Clone)]
pub(crate) struct Segment {
    env: Env,
    schema: Arc<Schema>,
    meta: SegmentMeta,
    ids: Arc<IdIndex>,
    rows: Arc<ParquetRows>,
    row_ids: RowIds,
    row_sizes: RowSizes,
    /// The index of the attributes; there is none if it would be larger than a manifest allows.
    attributes: Option<Arc<AttributeIndex>>,
    /// For each column of the schema, its vectors if it is a vector column.
    vectors: Vec<Option<ExactVectors>>,
    /// For each column of the schema, its index if it has one.
    indexes: Vec<Option<VectorIndex>>,
    text: Option<Arc<StoredIndex>>,
    /// What all of this takes in memory, about, but for what the text index keeps of what is asked.
    heads: u64,
}

/// The files of a segment, and where in them lies what is read first.
struct SegmentLayout {
    parquet: Blob,
    footer: FileSection,
    attributes: Blob,
    id_head: FileSection,
    id_blocks: FileSection,
    row_id_head: FileSection,
    row_id_blocks: FileSection,
    checksums: FileSection,
    row_sizes: FileSection,
    /// The head and the blocks of the attribute index.
    columns: Option<(FileSection, FileSection)>,
    vectors: Vec<VectorColumnLayout>,
    text: Option<(Blob, FileSection)>,
}

/// The file of a vector column, and what indexes it.
struct VectorColumnLayout {
    /// The place of the column in the schema.
    at: usize,
    shape: VectorColumn,
    blob: Blob,
    head: FileSection,
    index: Option<(FileSection, Blob, CentroidsMeta)>,
}

/// What of the files is read first.
struct SegmentHeads {
    /// The sections of `attributes`: the heads of ids, checksums, row sizes, the head of the attribute index if there is
    /// one, and the id blocks if they are kept.
    attributes: Vec<Bytes>,
    footer: Bytes,
    /// Of each vector file, with the index and its centroids if it has one.
    vectors: Vec<(Bytes, Option<(Bytes, NamedCentroids)>)>,
    text: Option<Bytes>,
}

impl SegmentHeads {
    /// The footer of Parquet is apart: it says itself what it takes when it is decoded.
    fn length(&self) -> u64 {
        let vectors = self
            .vectors
            .iter()
            .map(|(head, index)| head.len() + index.as_ref().map_or(0, |(section, _)| section.len()));
        let others = self.attributes.iter().chain(&self.text).map(Bytes::len);
        vectors.chain(others).sum::<usize>() as u64
    }
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
        let incarnation = keys;
        let keys = incarnation.segment(meta.id);
        let checked = meta
            .check(schema)
            .and_then(|()| SegmentLayout::locate(backend, cache, incarnation, &keys, schema, meta));
        let files = checked.map_err(|e| e.at(keys.attributes()))?;
        let heads = files.read(env, cache.shared()).await?;
        let (env, schema, meta) = (env.clone(), Arc::clone(schema), meta.clone());
        env.clone().blocking(move || files.decode(env, schema, meta, heads)).await?
    }

    pub(crate) fn meta(&self) -> &SegmentMeta {
        &self.meta
    }

    /// What it keeps in memory as long as it is open, about. Centroid sets are apart: segments share them.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.heads + self.text.as_ref().map_or(0, |text| text.kept_bytes() as u64)
    }

    /// The rows of these ids, in their order, dead or not. At most one round trip.
    pub(crate) async fn find_rows(&self, ids: &[DocumentId]) -> Result<Vec<Option<u32>>> {
        if !ids.iter().any(|id| self.meta.may_hold(id)) {
            return Ok(vec![None; ids.len()]);
        }
        self.ids.find_rows(&self.env, ids.into()).await
    }

    /// The same segment as the entry `sequence` links it: it was uploaded before its place in the log was known.
    pub(crate) fn linked_by(&self, sequence: Sequence) -> Self {
        let meta = SegmentMeta { sequences: (sequence, sequence), ..self.meta.clone() };
        Self { meta, ..self.clone() }
    }

    /// Of these ids, which are in ascending order, those that are here, dead or not: the place among them, and the
    /// row. At most one round trip.
    pub(crate) async fn find_sorted_ids(&self, ids: &Ids) -> Result<Vec<(usize, u32)>> {
        let within = ids.rows_between(&self.meta.id_min, &self.meta.id_max);
        if within.is_empty() {
            return Ok(Vec::new());
        }
        let start = within.start;
        let found = self.ids.find_sorted_ids(&self.env, &ids.slice(within)).await?;
        Ok(found.into_iter().map(|(at, row)| (start + at, row)).collect())
    }

    /// The ids from `least` to `greatest`, and some more before and behind, as pages for [`Self::id_page`].
    pub(crate) fn id_pages(&self, least: &DocumentId, greatest: &DocumentId) -> Vec<Range<usize>> {
        let (least, greatest) = (least.max(&self.meta.id_min), greatest.min(&self.meta.id_max));
        self.ids.pages(least, greatest)
    }

    /// The ids of a page with their rows, dead or not, in id order. At most one round trip.
    pub(crate) async fn id_page(&self, page: Range<usize>) -> Result<IdBlock> {
        self.ids.read_page(&self.env, page).await
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
        self.ids.next_ids(&self.env, after, limit).await
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
        self.ids.previous_ids(&self.env, before, limit).await
    }

    /// The id and these columns, by their place in [`Schema::columns`], of these rows: ascending rows, columns
    /// in the order of the schema. One round trip.
    pub(crate) async fn fetch_rows(&self, columns: &[usize], rows: &RoaringBitmap) -> Result<RecordBatch> {
        let columns: BTreeSet<usize> = columns.iter().copied().collect();
        let roots = self.parquet_columns(&columns)?;
        let wanted: Vec<_> = columns.iter().filter_map(|at| self.vectors.get(*at)?.as_ref()).collect();
        let vectors = try_join_all(wanted.iter().map(|vectors| vectors.fetch(&self.env, rows)));
        let attributes = async {
            if let [_] = roots.as_slice() {
                return Ok(vec![self.row_ids.fetch(&self.env, rows).await?]);
            }
            Ok(self.rows.fetch(&self.env, roots, rows).await?.columns().to_vec())
        };
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
        self.row_sizes.window(columns, from)
    }

    /// What all rows take before they are compressed, in bytes, about.
    pub(crate) fn uncompressed_bytes(&self) -> u64 {
        self.row_sizes.total()
    }

    /// What a row takes in these columns, in bytes, about.
    pub(crate) fn row_bytes(&self, columns: &[usize], row: u32) -> u64 {
        self.row_sizes.row_bytes(columns, row)
    }

    /// The vectors of a run of rows, each checked. One request.
    pub(crate) async fn fetch_vector_range(&self, column: usize, rows: Range<u32>) -> Result<ArrayRef> {
        let vectors = self.vectors.get(column).and_then(Option::as_ref);
        vectors.ok_or_else(|| Error::internal("not a vector column"))?.fetch_range(&self.env, rows).await
    }

    /// The rows without a vector in a column.
    pub(crate) fn rows_without_vector(&self, column: usize) -> Result<&RoaringBitmap> {
        let vectors = self.vectors.get(column).and_then(Option::as_ref);
        vectors.map(ExactVectors::nulls).ok_or_else(|| Error::internal("not a vector column"))
    }

    /// The index of the attributes, if there is one.
    pub(crate) fn attribute_index(&self) -> Option<&Arc<AttributeIndex>> {
        self.attributes.as_ref()
    }

    /// The index of a vector column, if it has one.
    pub(crate) fn vector_index(&self, column: usize) -> Option<&VectorIndex> {
        self.indexes.get(column).and_then(Option::as_ref)
    }

    /// How many rows have a vector in a column; 0 if it is no vector column.
    pub(crate) fn vector_count(&self, column: usize) -> u32 {
        self.vectors.get(column).and_then(Option::as_ref).map_or(0, ExactVectors::count)
    }

    /// The index of the text columns, if there are any.
    pub(crate) fn text_index(&self) -> Option<&Arc<StoredIndex>> {
        self.text.as_ref()
    }

    /// The vectors of some rows, each checked. One round trip.
    pub(crate) async fn fetch_vectors(&self, column: usize, rows: &RoaringBitmap) -> Result<ArrayRef> {
        let vectors = self.vectors.get(column).and_then(Option::as_ref);
        vectors.ok_or_else(|| Error::internal("not a vector column"))?.fetch(&self.env, rows).await
    }

    /// The columns of `rows.parquet` that hold the id and the attributes among `columns`.
    fn parquet_columns(&self, columns: &BTreeSet<usize>) -> Result<Vec<usize>> {
        if columns.last().is_some_and(|at| *at >= self.vectors.len()) {
            return Err(Error::internal("no such column"));
        }
        let attributes = self.vectors.iter().enumerate().filter(|(_, vectors)| vectors.is_none());
        let wanted = attributes.enumerate().filter(|(_, (at, _))| columns.contains(at));
        Ok(std::iter::once(0).chain(wanted.map(|(root, _)| root + 1)).collect())
    }

    fn assemble_batch(
        &self,
        columns: &BTreeSet<usize>,
        attributes: Vec<ArrayRef>,
        vectors: Vec<ArrayRef>,
    ) -> Result<RecordBatch> {
        let schema = Arc::new(
            self.schema
                .arrow()
                .project(&std::iter::once(0).chain(columns.iter().map(|at| at + 1)).collect::<Vec<_>>())
                .or_internal()?,
        );
        let (mut attributes, mut vectors) = (attributes.into_iter(), vectors.into_iter());
        let column = |at: &usize| match self.vectors.get(*at) {
            Some(Some(_)) => vectors.next(),
            _ => attributes.next(),
        };
        // The id comes first, as an attribute would.
        let arrays: Option<Vec<_>> = std::iter::once(&usize::MAX).chain(columns).map(column).collect();
        let arrays = arrays.ok_or_else(|| Error::internal("a column was not read"))?;
        RecordBatch::try_new(schema, arrays).or_internal()
    }
}

impl SegmentLayout {
    fn locate(
        backend: &Arc<dyn StorageBackend>,
        cache: &BlockCache,
        incarnation: &IncarnationKeys,
        keys: &SegmentKeys,
        schema: &Schema,
        meta: &SegmentMeta,
    ) -> Result<Self, CodecError> {
        let blob = |key, file: &FileMeta| Blob::new(Arc::clone(backend), cache.clone(), key, file.size);
        let vector = |(at, name, shape): (usize, &str, VectorColumn)| {
            let missing = || CodecError::malformed("segment meta", "no such vector column");
            let file = meta.vectors.get(name).ok_or_else(missing)?;
            let index = meta.centroids.get(name).map(|set| {
                let key = incarnation.centroids(set.id);
                Ok((file.section(INDEX)?, Blob::new(Arc::clone(backend), cache.clone(), key, set.size), *set))
            });
            let (blob, index) = (blob(keys.vector(at), file), index.transpose()?);
            Ok(VectorColumnLayout { at, shape, blob, head: file.section(HEAD)?, index })
        };
        let columns = schema.columns().iter().enumerate();
        let vectors = columns.filter_map(|(at, column)| match column.kind {
            ColumnKind::Vector(shape) => Some((at, column.name.as_str(), shape)),
            ColumnKind::Attribute(_) => None,
        });
        let text = meta.text.as_ref().map(|file| Ok((blob(keys.text(), file), file.section(HEAD)?)));
        let section = |name| meta.attributes.sections.get(name).copied();
        Ok(Self {
            text: text.transpose()?,
            parquet: blob(keys.rows(), &meta.parquet),
            footer: meta.parquet.section(FOOTER)?,
            attributes: blob(keys.attributes(), &meta.attributes),
            id_head: meta.attributes.section(ID_HEAD)?,
            id_blocks: meta.attributes.section(ID_BLOCKS)?,
            row_id_head: meta.attributes.section(ROW_ID_HEAD)?,
            row_id_blocks: meta.attributes.section(ROW_ID_BLOCKS)?,
            checksums: meta.attributes.section(CHECKSUMS)?,
            row_sizes: meta.attributes.section(ROW_SIZES)?,
            columns: section(COLUMNS_HEAD).zip(section(COLUMNS_BLOCKS)),
            vectors: vectors.map(vector).collect::<Result<_, CodecError>>()?,
        })
    }

    /// What is always needed.
    async fn read(&self, env: &Env, shared: &Shared) -> Result<SegmentHeads> {
        let mut sections =
            vec![self.id_head.span(), self.row_id_head.span(), self.checksums.span(), self.row_sizes.span()];
        sections.extend(self.columns.map(|(head, _)| head.span()));
        sections.extend((self.id_blocks.length <= RESIDENT_BYTES_MAX).then(|| self.id_blocks.span()));
        let text = async {
            let Some((blob, head)) = &self.text else { return Ok(None) };
            blob.read(head.span()).await.map(Some)
        };
        let (attributes, footer, vectors, text) = try_join4(
            self.attributes.read_many(&sections),
            self.parquet.read(self.footer.span()),
            try_join_all(self.vectors.iter().map(|file| file.read(env, shared))),
            text,
        )
        .await?;
        Ok(SegmentHeads { attributes, footer, vectors, text })
    }

    fn decode(
        self,
        env: Env,
        schema: Arc<Schema>,
        meta: SegmentMeta,
        heads: SegmentHeads,
    ) -> Result<Segment> {
        let attributes_key = self.attributes.key().clone();
        let heads_length = heads.length();
        let (ids, row_ids, file, row_sizes, attributes) =
            self.decode_attributes(&schema, &meta, &heads.attributes).map_err(|e| e.at(attributes_key))?;
        let rows = ParquetRows::decode(file, self.footer.range(), heads.footer, &schema, meta.rows)?;
        let text = self.text.zip(heads.text).map(|((blob, _), head)| {
            let key = blob.key().clone();
            let index = StoredIndex::decode(blob, &schema, meta.rows, &head).map_err(|e| e.at(&key))?;
            Ok::<_, Error>(Arc::new(index))
        });
        let text = text.transpose()?;
        let mut vectors = vec![None; schema.columns().len()];
        let mut indexes = vec![None; schema.columns().len()];
        for (file, (head, index)) in self.vectors.into_iter().zip(heads.vectors) {
            let VectorColumnLayout { at, shape, blob, .. } = file;
            let key = blob.key().clone();
            let name = schema.columns().get(at).map_or("", |column| column.name.as_str());
            let index = index
                .map(|(section, named)| VectorIndex::decode(blob.clone(), named.set, meta.rows, &section));
            let decoded =
                ExactVectors::decode(blob, shape, row_checksum_seed(meta.id, name), meta.rows, &head);
            if let Some(column) = vectors.get_mut(at) {
                *column = Some(decoded.map_err(|e| e.at(&key))?);
            }
            if let Some(column) = indexes.get_mut(at) {
                *column = index.transpose().map_err(|e| e.at(&key))?;
            }
        }
        let heads_bytes = heads_length.saturating_mul(DECODED) + rows.resident_bytes();
        Ok(Segment {
            env,
            schema,
            meta,
            ids: Arc::new(ids),
            rows: Arc::new(rows),
            row_ids,
            row_sizes,
            attributes: attributes.map(Arc::new),
            vectors,
            indexes,
            text,
            heads: heads_bytes,
        })
    }

    fn decode_attributes(
        &self,
        schema: &Schema,
        meta: &SegmentMeta,
        bytes: &[Bytes],
    ) -> Result<(IdIndex, RowIds, ChecksummedFile, RowSizes, Option<AttributeIndex>), CodecError> {
        let missing = CodecError::Truncated { what: "attributes" };
        let [head, row_ids, checksums, row_sizes, blocks @ ..] = bytes else { return Err(missing) };
        let (attributes, blocks) = match (&self.columns, blocks) {
            (None, blocks) => (None, blocks),
            (Some((_, section)), [head, blocks @ ..]) => {
                let index = AttributeIndex::open(meta.rows, self.attributes.clone(), &section.span(), head)?;
                (Some(index), blocks)
            }
            (Some(_), []) => return Err(missing),
        };
        let head = IdIndexHead::decode(schema.id(), meta.rows, &self.id_blocks.range(), head)?;
        let ids = IdIndex::new(head, self.attributes.clone(), blocks.first().cloned())?;
        let section = self.row_id_blocks.span();
        let row_ids = RowIds::decode(schema.id(), meta.rows, self.attributes.clone(), &section, row_ids)?;
        let file = ChecksummedFile::decode(self.parquet.clone(), checksums)?;
        Ok((ids, row_ids, file, RowSizes::decode(schema, meta.rows, row_sizes)?, attributes))
    }
}

impl VectorColumnLayout {
    async fn read(&self, env: &Env, shared: &Shared) -> Result<(Bytes, Option<(Bytes, NamedCentroids)>)> {
        let Some((section, centroids, meta)) = &self.index else {
            return Ok((self.blob.read(self.head.span()).await?, None));
        };
        let of = (self.shape.metric, self.shape.dimension);
        let named = NamedCentroids::load(env, centroids, shared, *meta, of);
        // They lie next to each other: one request.
        let heads = [self.head.span(), section.span()];
        let (heads, named) = try_join(self.blob.read_many(&heads), named).await?;
        let [head, index] =
            <[Bytes; 2]>::try_from(heads).map_err(|_| Error::internal("two sections were asked for"))?;
        Ok((head, Some((index, named))))
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment({}, {} rows)", self.meta.id, self.meta.rows)
    }
}
