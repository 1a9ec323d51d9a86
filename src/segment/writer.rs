//! Building a segment: one pass over rows in id order, in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::future::try_join_all;

use super::ids::{IdIndexBuilder, check_order};
use super::meta::{FileMeta, RowOrder, Section, SegmentMeta};
use super::rows::RowsWriter;
use super::sums;
use super::vectors::{VectorWriter, seed};
use super::weights::Weights;
use crate::codec::checksum;
use crate::error::{Error, Result};
use crate::schema::{ColumnKind, Ids, Schema};
use crate::storage::{LifeKeys, ObjectKey, PutMode, SegmentKeys, StorageBackend};
use crate::types::{DocumentId, SegmentId, Sequence};

/// Sections of `attributes`.
pub(super) const ID_HEAD: &str = "id.head";
pub(super) const ID_BLOCKS: &str = "id.blocks";
pub(super) const SUMS: &str = "sums";
pub(super) const WEIGHTS: &str = "weights";

/// `"EATR" | version u16 | zero u16`: what `attributes` begins with; its sections are found by the meta.
const ATTRIBUTES_HEADER: [u8; 8] = *b"EATR\x01\0\0\0";

/// Builds the files of a segment. All of it is CPU work: call it on the blocking pool.
#[derive(Debug)]
pub(crate) struct SegmentBuilder {
    schema: Arc<Schema>,
    arrow: SchemaRef,
    id: SegmentId,
    sequences: (Sequence, Sequence),
    rows: u32,
    bounds: Option<(DocumentId, DocumentId)>,
    parquet: RowsWriter,
    ids: IdIndexBuilder,
    weights: Weights,
    vectors: BTreeMap<String, VectorWriter>,
}

/// The files of a segment, not yet on the store.
#[derive(Debug)]
pub(crate) struct SegmentFiles {
    pub(super) meta: SegmentMeta,
    parquet: Bytes,
    attributes: Bytes,
    vectors: BTreeMap<String, Bytes>,
}

impl SegmentBuilder {
    /// A segment of rows that came from entries of these sequences, first and last.
    pub(crate) fn new(schema: Arc<Schema>, id: SegmentId, sequences: (Sequence, Sequence)) -> Result<Self> {
        let writer = |(name, shape): (&str, _)| (name.to_owned(), VectorWriter::new(shape, seed(id, name)));
        let vectors = schema.vectors().map(writer);
        Ok(Self {
            arrow: schema.arrow(),
            id,
            sequences,
            rows: 0,
            bounds: None,
            parquet: RowsWriter::new(&schema)?,
            ids: IdIndexBuilder::new(schema.id()),
            weights: Weights::new(&schema),
            vectors: vectors.collect(),
            schema,
        })
    }

    /// Adds rows, in the layout of [`Schema::arrow`]. Ids ascend, in a batch and from batch to batch.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if batch.schema_ref().fields() != self.arrow.fields() {
            return Err(Error::internal("a batch has another layout than its segment"));
        }
        let ids = Ids::new(self.schema.id(), batch.column(0))?;
        check_order(&ids, self.bounds.as_ref().map(|(_, last)| last))?;
        let end = u32::try_from(batch.num_rows()).ok().and_then(|rows| self.rows.checked_add(rows));
        let end = end.ok_or_else(|| Error::limit("a segment of too many rows"))?;

        self.parquet.push(&batch.project(&self.attribute_columns())?)?;
        for (at, row) in (self.rows..end).enumerate() {
            self.ids.push(&ids, at, row);
        }
        self.weights.push(batch);
        for (name, writer) in &mut self.vectors {
            let array = batch.column_by_name(name);
            writer.push(array.ok_or_else(|| Error::internal("a vector column is missing"))?)?;
        }
        let last = ids.get(ids.len() - 1);
        let first = self.bounds.take().map_or_else(|| ids.get(0), |(first, _)| first);
        self.bounds = Some((first, last));
        self.rows = end;
        Ok(())
    }

    /// Where the id and the attributes lie in a batch.
    fn attribute_columns(&self) -> Vec<usize> {
        let columns = self.schema.columns().iter().enumerate();
        let attributes = columns.filter(|(_, column)| matches!(column.kind, ColumnKind::Attribute(_)));
        std::iter::once(0).chain(attributes.map(|(at, _)| at + 1)).collect()
    }

    /// The files. A segment without rows is an error.
    pub(crate) fn finish(self) -> Result<SegmentFiles> {
        let (id_min, id_max) = self.bounds.ok_or_else(|| Error::internal("a segment without rows"))?;
        let (parquet, parquet_meta) = self.parquet.finish()?;
        let mut file = FileBuilder::new(ATTRIBUTES_HEADER.to_vec());
        let (head, blocks) = self.ids.finish();
        file.section(ID_BLOCKS, &blocks);
        file.section(ID_HEAD, &head);
        file.section(SUMS, &sums::encode(&parquet));
        file.section(WEIGHTS, &self.weights.encode());
        let (attributes, attributes_meta) = file.finish();
        let (mut vectors, mut vectors_meta) = (BTreeMap::new(), BTreeMap::new());
        for (name, writer) in self.vectors {
            let (bytes, meta) = writer.finish()?;
            vectors.insert(name.clone(), bytes);
            vectors_meta.insert(name, meta);
        }
        let meta = SegmentMeta {
            id: self.id,
            order: RowOrder::Id,
            rows: self.rows,
            sequences: self.sequences,
            id_min,
            id_max,
            parquet: parquet_meta,
            attributes: attributes_meta,
            vectors: vectors_meta,
            deletes: None,
        };
        Ok(SegmentFiles { meta, parquet, attributes, vectors })
    }
}

impl SegmentFiles {
    /// Writes all files, together. The segment exists once a manifest names it.
    pub(crate) async fn upload(
        self,
        backend: &Arc<dyn StorageBackend>,
        keys: &LifeKeys,
    ) -> Result<SegmentMeta> {
        let keys = keys.segment(self.meta.id);
        // The name of the segment is unique, so an overwrite can only repeat an earlier try.
        let puts = self
            .files(&keys)
            .into_iter()
            .map(|(key, bytes)| async move { backend.put(&key, bytes, PutMode::Overwrite).await });
        try_join_all(puts).await?;
        Ok(self.meta)
    }

    fn files(&self, keys: &SegmentKeys) -> Vec<(ObjectKey, Bytes)> {
        let vectors = self.vectors.iter().map(|(column, bytes)| (keys.vector(column), bytes.clone()));
        let others = [(keys.rows(), self.parquet.clone()), (keys.attributes(), self.attributes.clone())];
        others.into_iter().chain(vectors).collect()
    }
}

/// A file of sections, one behind the other.
struct FileBuilder {
    bytes: Vec<u8>,
    sections: BTreeMap<String, Section>,
}

impl FileBuilder {
    fn new(header: Vec<u8>) -> Self {
        Self { bytes: header, sections: BTreeMap::new() }
    }

    fn section(&mut self, name: &str, bytes: &[u8]) {
        let (offset, length) = (self.bytes.len() as u64, bytes.len() as u64);
        self.sections.insert(name.to_owned(), Section { offset, length, checksum: checksum(bytes) });
        self.bytes.extend(bytes);
    }

    fn finish(self) -> (Bytes, FileMeta) {
        let meta = FileMeta { size: self.bytes.len() as u64, sections: self.sections };
        (self.bytes.into(), meta)
    }
}
