//! Opening a segment: what every read needs first is read and decoded once, in one round trip.
//!
//! Locate (the files, from the meta alone), read (all heads in one request, and centroid sets that are not in memory),
//! decode (on the blocking pool).

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::{try_join, try_join_all};

use super::checksums::ChecksummedFile;
use super::heads::SegmentHeads;
use super::ids::{IdIndex, IdIndexHead, RowIds};
use super::meta::{FileMeta, SegmentMeta};
use super::open_column::{OpenColumn, OpenVectorColumn};
use super::open_vectors::{StoredVectors, VectorColumnLayout};
use super::parquet_rows::ParquetRows;
use super::row_sizes::RowSizes;
use super::sections::{
    COLUMNS_BLOCKS, COLUMNS_HEAD, ID_BLOCKS, ID_HEAD, ROW_ID_BLOCKS, ROW_ID_HEAD, ROW_SIZES, ROWS_CHECKSUMS,
    ROWS_FOOTER, TEXT_HEAD,
};
use super::vectors::row_checksum_seed;
use crate::cache::{Blob, BlockCache};
use crate::codec::{CodecError, zip_equal};
use crate::env::Env;
use crate::error::Result;
use crate::index::attributes::AttributeIndex;
use crate::index::text::TextIndex;
use crate::index::vector::NamedCentroids;
use crate::schema::{Column, ColumnKind, Schema};
use crate::storage::{IncarnationKeys, ObjectKey, StorageBackend};
use crate::types::ColumnId;

/// Heads take about this many times their stored bytes when they are decoded. Only an estimate: it weighs open
/// namespaces against each other.
const DECODED_FACTOR: u64 = 2;

/// What an open segment keeps in memory.
#[derive(Clone)]
pub(super) struct SegmentParts {
    pub(super) ids: Arc<IdIndex>,
    pub(super) rows: Arc<ParquetRows>,
    pub(super) row_ids: RowIds,
    pub(super) row_sizes: RowSizes,
    /// The index of the attributes. There is none if it would be larger than a manifest allows.
    pub(super) attributes: Option<Arc<AttributeIndex>>,
    /// What there is of each column of the reader's schema.
    pub(super) columns: Vec<OpenColumn>,
    pub(super) text: Option<Arc<TextIndex>>,
    /// About how many bytes of memory all of this takes, without what the text index keeps of later reads.
    pub(super) head_bytes: u64,
}

/// The schema that readers use, and the one that a segment was written with.
#[derive(Clone)]
pub(super) struct SegmentSchemas {
    pub(super) current: Arc<Schema>,
    pub(super) written: Arc<Schema>,
}

/// Reads and decodes what a segment keeps in memory. One round trip.
pub(super) async fn open_parts(
    env: &Env,
    backend: &Arc<dyn StorageBackend>,
    cache: &BlockCache,
    keys: &IncarnationKeys,
    schemas: &SegmentSchemas,
    meta: &SegmentMeta,
) -> Result<SegmentParts> {
    let files = FileOpener { backend, cache };
    let index_key = keys.segment(meta.id).index();
    let layout =
        meta.check(&schemas.written).and_then(|()| SegmentLayout::locate(&files, keys, schemas, meta));
    let layout = layout.map_err(|e| e.at(&index_key))?;
    let sets = layout.vectors.iter().map(|column| column.load_centroids(env, cache.shared()));
    let (heads, sets) = try_join(SegmentHeads::read(&layout.index, &layout.file), try_join_all(sets)).await?;
    let (schemas, rows) = (schemas.clone(), meta.rows);
    // Always off the async task: the work grows with the columns and row groups of the footer, which are not known yet.
    env.blocking(move || layout.decode(&schemas, rows, &heads, sets)).await?
}

/// Makes blobs of keys.
struct FileOpener<'a> {
    backend: &'a Arc<dyn StorageBackend>,
    cache: &'a BlockCache,
}

impl FileOpener<'_> {
    fn blob(&self, key: ObjectKey, size: u64) -> Blob {
        Blob::new(Arc::clone(self.backend), self.cache.clone(), key, size)
    }
}

/// The files of a segment.
struct SegmentLayout {
    index: Blob,
    /// The sections of `index`.
    file: FileMeta,
    parquet: Blob,
    vectors: Vec<VectorColumnLayout>,
    text: Option<Blob>,
}

impl SegmentLayout {
    fn locate(
        files: &FileOpener<'_>,
        keys: &IncarnationKeys,
        schemas: &SegmentSchemas,
        meta: &SegmentMeta,
    ) -> Result<Self, CodecError> {
        let segment = keys.segment(meta.id);
        let mut vectors = Vec::new();
        for (column, shape) in schemas.written.vector_columns() {
            // Nothing is read of a column that was dropped.
            if schemas.current.column_by_id(column.id).is_none() {
                continue;
            }
            let missing = || CodecError::malformed("segment meta", "no such vector column");
            let file = meta.vectors.get(&column.id).ok_or_else(missing)?;
            let set = meta.centroids.get(&column.id);
            vectors.push(VectorColumnLayout {
                id: column.id,
                shape,
                blob: files.blob(segment.vector(column.id), file.size),
                seed: row_checksum_seed(meta.id, column.id),
                set: set.map(|set| (files.blob(keys.centroids(set.id), set.size), *set)),
            });
        }
        Ok(Self {
            index: files.blob(segment.index(), meta.index.size),
            file: meta.index.clone(),
            parquet: files.blob(segment.rows(), meta.parquet.size),
            vectors,
            text: meta.text.as_ref().map(|file| files.blob(segment.text(), file.size)),
        })
    }

    fn decode(
        mut self,
        schemas: &SegmentSchemas,
        rows: u32,
        heads: &SegmentHeads,
        sets: Vec<Option<NamedCentroids>>,
    ) -> Result<SegmentParts> {
        let index_key = self.index.key().clone();
        let rows_heads = heads.head(ROWS_CHECKSUMS).and_then(|checksums| {
            let file = ChecksummedFile::decode(self.parquet.clone(), checksums)?;
            Ok((file, heads.head(ROWS_FOOTER)?.clone()))
        });
        let (file, footer) = rows_heads.map_err(|e| e.at(&index_key))?;
        let parquet = ParquetRows::decode(file, &footer, &schemas.written, rows)?;
        let vectors = std::mem::take(&mut self.vectors);
        let vectors = zip_equal(vectors, sets, "vector columns and their centroid sets")?;
        self.decode_heads(schemas, parquet, rows, heads, vectors).map_err(|e| e.at(index_key))
    }

    fn decode_heads(
        self,
        schemas: &SegmentSchemas,
        parquet: ParquetRows,
        rows: u32,
        heads: &SegmentHeads,
        columns: impl Iterator<Item = (VectorColumnLayout, Option<NamedCentroids>)>,
    ) -> Result<SegmentParts, CodecError> {
        let written = schemas.written.as_ref();
        let id_blocks = self.file.section(ID_BLOCKS)?;
        let id_head = IdIndexHead::decode(written.id(), rows, &id_blocks.range(), heads.head(ID_HEAD)?)?;
        let row_id_blocks = self.file.section(ROW_ID_BLOCKS)?.span();
        let row_ids = heads.head(ROW_ID_HEAD)?;
        let row_ids = RowIds::decode(written.id(), rows, self.index.clone(), &row_id_blocks, row_ids)?;
        let row_sizes = RowSizes::decode(written, rows, heads.head(ROW_SIZES)?)?;
        // Both or neither: see `build_index_file`.
        let attributes = heads.find_head(COLUMNS_HEAD).map(|head| {
            let blocks = self.file.section(COLUMNS_BLOCKS)?.span();
            AttributeIndex::open(rows, self.index.clone(), &blocks, head)
        });
        let text = self.text.map(|blob| {
            TextIndex::decode(blob, &schemas.current, written, rows, heads.head(TEXT_HEAD)?).map(Arc::new)
        });
        let mut vectors = BTreeMap::new();
        for (layout, set) in columns {
            vectors.insert(layout.id, layout.decode(rows, heads, set)?);
        }
        // invariant: only an estimate, which may saturate.
        let head_bytes =
            heads.bytes().saturating_mul(DECODED_FACTOR).saturating_add(parquet.resident_bytes());
        Ok(SegmentParts {
            ids: Arc::new(IdIndex::new(id_head, self.index, heads.find_head(ID_BLOCKS))?),
            rows: Arc::new(parquet),
            row_ids,
            row_sizes: row_sizes.for_schema(&schemas.current, written),
            attributes: attributes.transpose()?.map(Arc::new),
            columns: schemas.match_columns(rows, vectors),
            text: text.transpose()?,
            head_bytes,
        })
    }
}

impl SegmentSchemas {
    /// What a segment has of each column of the reader's schema, given its vector columns.
    fn match_columns(&self, rows: u32, mut vectors: BTreeMap<ColumnId, StoredVectors>) -> Vec<OpenColumn> {
        let is_attribute = |column: &&Column| matches!(column.kind, ColumnKind::Attribute(_));
        let attributes: Vec<ColumnId> =
            self.written.columns().iter().filter(is_attribute).map(|column| column.id).collect();
        let open = |column: &Column| match column.kind {
            ColumnKind::Attribute(_) => {
                // Parquet has the id first, and the attributes behind it.
                OpenColumn::Attribute(attributes.iter().position(|id| *id == column.id).map(|at| at + 1))
            }
            ColumnKind::Vector(shape) => {
                let stored = vectors.remove(&column.id).map(Box::new).map(OpenVectorColumn::Stored);
                OpenColumn::Vector(stored.unwrap_or_else(|| OpenVectorColumn::absent(shape, rows)))
            }
        };
        self.current.columns().iter().map(open).collect()
    }
}
