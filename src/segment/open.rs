//! Opening a segment: what every read needs first is read and decoded once, in one round trip.
//!
//! Locate (which sections of which files, from the meta alone), read (all of them together), decode (on the blocking
//! pool).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{try_join_all, try_join4};

use super::checksums::ChecksummedFile;
use super::ids::{IdIndex, IdIndexHead, RowIds};
use super::meta::{FileMeta, FileSection, SegmentMeta};
use super::open_column::{OpenColumn, OpenVectorColumn};
use super::open_vectors::{StoredVectors, VectorColumnHeads, VectorColumnLayout};
use super::parquet_rows::ParquetRows;
use super::row_sizes::RowSizes;
use super::sections::{
    CHECKSUMS, COLUMNS_BLOCKS, COLUMNS_HEAD, FOOTER, HEAD, ID_BLOCKS, ID_HEAD, ROW_ID_BLOCKS, ROW_ID_HEAD,
    ROW_SIZES,
};
use super::vectors::row_checksum_seed;
use crate::cache::{Blob, BlockCache, SharedObjects};
use crate::codec::{CodecError, u64_of, zip_equal};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::index::attributes::AttributeIndex;
use crate::index::text::TextIndex;
use crate::schema::{Column, ColumnKind, Schema};
use crate::storage::{IncarnationKeys, ObjectKey, StorageBackend};
use crate::types::ColumnId;

/// An id index up to this size is kept in memory whole: some 50,000 UUIDs. Segments of recent flushes are smaller, and
/// most writes look their ids up in them.
const RESIDENT_BYTES_MAX: u64 = 1 << 20;

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
    let layout =
        meta.check(&schemas.written).and_then(|()| SegmentLayout::locate(&files, keys, schemas, meta));
    let layout = layout.map_err(|e| e.at(keys.segment(meta.id).attributes()))?;
    let heads = layout.read_heads(env, cache.shared()).await?;
    let (schemas, rows) = (schemas.clone(), meta.rows);
    // Always off the async task: the work grows with the columns and row groups of the footer, which are not known yet.
    env.blocking(move || layout.decode(&schemas, rows, heads)).await?
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

/// The files of a segment, and the sections of them that are read first.
struct SegmentLayout {
    parquet: Blob,
    footer: FileSection,
    attributes: AttributesLayout,
    vectors: Vec<(ColumnId, VectorColumnLayout)>,
    text: Option<TextLayout>,
}

/// The sections of `attributes`.
struct AttributesLayout {
    blob: Blob,
    id_head: FileSection,
    id_blocks: FileSection,
    row_id_head: FileSection,
    row_id_blocks: FileSection,
    checksums: FileSection,
    row_sizes: FileSection,
    index: Option<AttributeIndexLayout>,
}

/// The head and the blocks of the attribute index.
struct AttributeIndexLayout {
    head: FileSection,
    blocks: FileSection,
}

/// The file of the text columns.
struct TextLayout {
    blob: Blob,
    head: FileSection,
}

/// The bytes that are read first.
struct SegmentHeads {
    footer: Bytes,
    attributes: AttributesHeads,
    vectors: Vec<VectorColumnHeads>,
    text: Option<Bytes>,
}

struct AttributesHeads {
    id_head: Bytes,
    row_id_head: Bytes,
    checksums: Bytes,
    row_sizes: Bytes,
    index_head: Option<Bytes>,
    /// The whole section, if it is small enough to keep.
    id_blocks: Option<Bytes>,
}

/// What is decoded of `attributes`.
struct AttributesParts {
    ids: IdIndex,
    row_ids: RowIds,
    row_sizes: RowSizes,
    index: Option<AttributeIndex>,
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
            let set = set.map(|set| (files.blob(keys.centroids(set.id), set.size), *set));
            let blob = files.blob(segment.vector(column.id), file.size);
            let seed = row_checksum_seed(meta.id, column.id);
            vectors.push((column.id, VectorColumnLayout::locate(blob, file, (shape, seed), set)?));
        }
        let text = meta.text.as_ref().map(|file| {
            Ok(TextLayout { blob: files.blob(segment.text(), file.size), head: file.section(HEAD)? })
        });
        Ok(Self {
            parquet: files.blob(segment.rows(), meta.parquet.size),
            footer: meta.parquet.section(FOOTER)?,
            attributes: AttributesLayout::locate(
                files.blob(segment.attributes(), meta.attributes.size),
                &meta.attributes,
            )?,
            vectors,
            text: text.transpose()?,
        })
    }

    /// Reads all heads together. One round trip.
    async fn read_heads(&self, env: &Env, shared: &SharedObjects) -> Result<SegmentHeads> {
        let text = async {
            let Some(text) = &self.text else { return Ok(None) };
            text.blob.read(text.head.span()).await.map(Some)
        };
        let (attributes, footer, vectors, text) = try_join4(
            self.attributes.read_heads(),
            self.parquet.read(self.footer.span()),
            try_join_all(self.vectors.iter().map(|(_, column)| column.read_heads(env, shared))),
            text,
        )
        .await?;
        Ok(SegmentHeads { footer, attributes, vectors, text })
    }

    fn decode(self, schemas: &SegmentSchemas, rows: u32, heads: SegmentHeads) -> Result<SegmentParts> {
        let written = schemas.written.as_ref();
        let stored_bytes = heads.stored_bytes();
        let attributes_key = self.attributes.blob.key().clone();
        let attributes = self.attributes.decode(written, rows, &heads.attributes);
        let attributes = attributes.map_err(|e| e.at(&attributes_key))?;
        let file = ChecksummedFile::decode(self.parquet, &heads.attributes.checksums);
        let file = file.map_err(|e| e.at(&attributes_key))?;
        let parquet = ParquetRows::decode(file, self.footer.range(), heads.footer, written, rows)?;
        let text = match (self.text, heads.text) {
            (Some(layout), Some(head)) => Some(Arc::new(layout.decode(schemas, rows, &head)?)),
            (None, None) => None,
            _ => return Err(Error::internal("the head of the text index was not read")),
        };
        let mut vectors = BTreeMap::new();
        for ((id, layout), heads) in zip_equal(self.vectors, heads.vectors, "vector columns and their heads")?
        {
            vectors.insert(id, layout.decode(rows, heads)?);
        }
        // invariant: only an estimate, which may saturate.
        let head_bytes = stored_bytes.saturating_mul(DECODED_FACTOR).saturating_add(parquet.resident_bytes());
        Ok(SegmentParts {
            ids: Arc::new(attributes.ids),
            rows: Arc::new(parquet),
            row_ids: attributes.row_ids,
            row_sizes: attributes.row_sizes.for_schema(&schemas.current, written),
            attributes: attributes.index.map(Arc::new),
            columns: schemas.match_columns(rows, vectors),
            text,
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

impl AttributesLayout {
    fn locate(blob: Blob, file: &FileMeta) -> Result<Self, CodecError> {
        // Both or neither: see `build_attributes_file`.
        let index = file.sections.contains_key(COLUMNS_HEAD).then(|| {
            Ok(AttributeIndexLayout {
                head: file.section(COLUMNS_HEAD)?,
                blocks: file.section(COLUMNS_BLOCKS)?,
            })
        });
        Ok(Self {
            blob,
            id_head: file.section(ID_HEAD)?,
            id_blocks: file.section(ID_BLOCKS)?,
            row_id_head: file.section(ROW_ID_HEAD)?,
            row_id_blocks: file.section(ROW_ID_BLOCKS)?,
            checksums: file.section(CHECKSUMS)?,
            row_sizes: file.section(ROW_SIZES)?,
            index: index.transpose()?,
        })
    }

    async fn read_heads(&self) -> Result<AttributesHeads> {
        let keep_ids = self.id_blocks.length <= RESIDENT_BYTES_MAX;
        let mut spans =
            vec![self.id_head.span(), self.row_id_head.span(), self.checksums.span(), self.row_sizes.span()];
        // All in one call: near ranges are joined into one request, and the others go out together.
        spans.extend(self.index.as_ref().map(|index| index.head.span()));
        spans.extend(keep_ids.then(|| self.id_blocks.span()));
        let mut read = self.blob.read_many(&spans).await?.into_iter();
        // In the order of the spans.
        let mut next =
            || read.next().ok_or_else(|| Error::internal("fewer sections were read than requested"));
        Ok(AttributesHeads {
            id_head: next()?,
            row_id_head: next()?,
            checksums: next()?,
            row_sizes: next()?,
            index_head: self.index.is_some().then(&mut next).transpose()?,
            id_blocks: keep_ids.then(&mut next).transpose()?,
        })
    }

    fn decode(
        self,
        schema: &Schema,
        rows: u32,
        heads: &AttributesHeads,
    ) -> Result<AttributesParts, CodecError> {
        let index = match (&self.index, &heads.index_head) {
            (Some(layout), Some(head)) => {
                Some(AttributeIndex::open(rows, self.blob.clone(), &layout.blocks.span(), head)?)
            }
            (None, None) => None,
            _ => return Err(CodecError::Truncated { what: "attributes" }),
        };
        let id_head = IdIndexHead::decode(schema.id(), rows, &self.id_blocks.range(), &heads.id_head)?;
        let row_id_blocks = self.row_id_blocks.span();
        Ok(AttributesParts {
            ids: IdIndex::new(id_head, self.blob.clone(), heads.id_blocks.as_ref())?,
            row_ids: RowIds::decode(schema.id(), rows, self.blob, &row_id_blocks, &heads.row_id_head)?,
            row_sizes: RowSizes::decode(schema, rows, &heads.row_sizes)?,
            index,
        })
    }
}

impl TextLayout {
    fn decode(self, schemas: &SegmentSchemas, rows: u32, head: &[u8]) -> Result<TextIndex> {
        let key = self.blob.key().clone();
        TextIndex::decode(self.blob, &schemas.current, &schemas.written, rows, head).map_err(|e| e.at(&key))
    }
}

impl SegmentHeads {
    /// The size of the heads on the store. Without the footer of Parquet, which measures itself when it is decoded.
    fn stored_bytes(&self) -> u64 {
        let attributes = &self.attributes;
        let fixed =
            [&attributes.id_head, &attributes.row_id_head, &attributes.checksums, &attributes.row_sizes];
        let optional = [&attributes.index_head, &attributes.id_blocks, &self.text];
        let all = fixed.into_iter().chain(optional.into_iter().flatten());
        let vectors = self.vectors.iter().map(VectorColumnHeads::stored_bytes);
        all.map(|bytes| u64_of(bytes.len())).chain(vectors).sum()
    }
}
