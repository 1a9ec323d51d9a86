//! Building a segment, in memory: rows come in the order of their ids, and are laid out by the leaves of the first
//! vector column if that is indexed.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::future::try_join_all;
use roaring::RoaringBitmap;

use super::ids::{IdIndexBuilder, check_order};
use super::indexing::Indexing;
use super::meta::{FileMeta, RowOrder, SECTION_BYTES_MAX, Section, SegmentMeta};
use super::row_ids::RowIdsBuilder;
use super::rows::RowsWriter;
use super::sums;
use super::vectors::{VectorWriter, seed};
use super::weights::Weights;
use crate::codec::checksum;
use crate::error::{Error, Result};
use crate::index::attributes::AttributesBuilder;
use crate::index::vector::Named;
use crate::schema::{ColumnKind, Ids, Schema};
use crate::storage::{LifeKeys, ObjectKey, PutMode, SegmentKeys, StorageBackend};
use crate::types::{DocumentId, IdKind, SegmentId, Sequence};

/// Rows that are brought into order at a time.
const ORDERED_ROWS: usize = 4_096;

/// Sections of `attributes`.
pub(super) const ID_HEAD: &str = "id.head";
pub(super) const ID_BLOCKS: &str = "id.blocks";
pub(super) const ROW_ID_HEAD: &str = "row_id.head";
pub(super) const ROW_ID_BLOCKS: &str = "row_id.blocks";
pub(super) const COLUMNS_HEAD: &str = "columns.head";
pub(super) const COLUMNS_BLOCKS: &str = "columns.blocks";
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
    batches: Vec<RecordBatch>,
}

/// The files of a segment, not yet on the store.
#[derive(Debug)]
pub(crate) struct SegmentFiles {
    pub(super) meta: SegmentMeta,
    parquet: Bytes,
    attributes: Bytes,
    vectors: BTreeMap<String, Bytes>,
    /// Centroid sets that were made for this segment, by column.
    centroids: BTreeMap<String, (Named, Bytes)>,
    places: Vec<u32>,
}

impl SegmentBuilder {
    /// A segment of rows that came from entries of these sequences, first and last.
    pub(crate) fn new(schema: Arc<Schema>, id: SegmentId, sequences: (Sequence, Sequence)) -> Self {
        Self { arrow: schema.arrow(), id, sequences, rows: 0, bounds: None, batches: Vec::new(), schema }
    }

    /// Adds rows, in the layout of [`Schema::arrow`]. Ids ascend, in a batch and from batch to batch.
    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if batch.schema_ref().fields() != self.arrow.fields() {
            return Err(Error::internal("a batch has another layout than its segment"));
        }
        let ids = Ids::new(self.schema.id(), batch.column(0))?;
        check_order(&ids, self.bounds.as_ref().map(|(_, last)| last))?;
        let end = u32::try_from(batch.num_rows()).ok().and_then(|rows| self.rows.checked_add(rows));
        self.rows = end.ok_or_else(|| Error::limit("a segment of too many rows"))?;
        let last = ids.get(ids.len() - 1);
        let first = self.bounds.take().map_or_else(|| ids.get(0), |(first, _)| first);
        self.bounds = Some((first, last));
        self.batches.push(batch);
        Ok(())
    }

    /// The files. A segment without rows is an error.
    pub(crate) fn finish(self, indexing: &Indexing) -> Result<SegmentFiles> {
        let (id_min, id_max) = self.bounds.ok_or_else(|| Error::internal("a segment without rows"))?;
        let mut indexes: BTreeMap<_, _> = indexing.build(&self.schema, &self.batches)?.into_iter().collect();
        let leading = self.schema.vectors().map(|(name, _)| name).next();
        let order =
            leading.and_then(|name| indexes.get(name)).map(|index| complete(index.order(), self.rows));
        let places = places(order.as_deref(), self.rows);
        let mut columns = Columns::new(&self.schema, self.id)?;
        match &order {
            None => self.batches.iter().try_for_each(|batch| columns.push(batch))?,
            Some(order) => in_order(&self.batches, order, |batch| columns.push(&batch))?,
        }
        let mut ids = IdIndexBuilder::new(self.schema.id());
        let mut places_left = places.iter();
        for batch in &self.batches {
            let of_batch = Ids::new(self.schema.id(), batch.column(0))?;
            for (at, place) in (0..of_batch.len()).zip(places_left.by_ref()) {
                ids.push(&of_batch, at, *place);
            }
        }
        drop(self.batches);

        let (parquet, parquet_meta) = columns.parquet.finish()?;
        let mut file = FileBuilder::new(ATTRIBUTES_HEADER.to_vec());
        let (columns_head, blocks) = columns.index.finish();
        // A manifest with a larger section would be refused: filters then read the values.
        let fits = blocks.len() as u64 <= SECTION_BYTES_MAX;
        if fits {
            file.section(COLUMNS_BLOCKS, &blocks);
        }
        drop(blocks);
        let (head, blocks) = ids.finish();
        file.section(ID_BLOCKS, &blocks);
        file.section(ID_HEAD, &head);
        let (head, blocks) = columns.ids.finish();
        file.section(ROW_ID_BLOCKS, &blocks);
        file.section(ROW_ID_HEAD, &head);
        file.section(SUMS, &sums::encode(&parquet));
        file.section(WEIGHTS, &columns.weights.encode());
        if fits {
            file.section(COLUMNS_HEAD, &columns_head);
        }
        let (attributes, attributes_meta) = file.finish();
        let (mut vectors, mut vectors_meta) = (BTreeMap::new(), BTreeMap::new());
        let (mut made, mut used) = (BTreeMap::new(), BTreeMap::new());
        for (name, writer) in columns.vectors {
            let mut index = indexes.remove(&name);
            if let Some(index) = &mut index {
                used.insert(name.clone(), index.named.meta);
                let fresh = index.fresh.take().map(|bytes| (index.named.clone(), bytes));
                made.extend(fresh.map(|fresh| (name.clone(), fresh)));
            }
            let listed = leading != Some(name.as_str());
            let index = |base| index.map(|index| index.finish(&places, listed, base));
            let (bytes, meta) = writer.finish(index)?;
            vectors.insert(name.clone(), bytes);
            vectors_meta.insert(name, meta);
        }
        let meta = SegmentMeta {
            id: self.id,
            order: if order.is_some() { RowOrder::Leaf } else { RowOrder::Id },
            rows: self.rows,
            sequences: self.sequences,
            id_min,
            id_max,
            parquet: parquet_meta,
            attributes: attributes_meta,
            vectors: vectors_meta,
            centroids: used,
            deletes: None,
        };
        Ok(SegmentFiles { meta, parquet, attributes, vectors, centroids: made, places })
    }
}

/// Everything that is written in the order of the rows.
struct Columns {
    kind: IdKind,
    parquet: RowsWriter,
    ids: RowIdsBuilder,
    weights: Weights,
    index: AttributesBuilder,
    vectors: BTreeMap<String, VectorWriter>,
    attributes: Vec<usize>,
}

impl Columns {
    fn new(schema: &Schema, id: SegmentId) -> Result<Self> {
        let writer = |(name, shape): (&str, _)| (name.to_owned(), VectorWriter::new(shape, seed(id, name)));
        let columns = schema.columns().iter().enumerate();
        let attributes = columns.filter(|(_, column)| matches!(column.kind, ColumnKind::Attribute(_)));
        Ok(Self {
            kind: schema.id(),
            parquet: RowsWriter::new(schema)?,
            ids: RowIdsBuilder::new(schema.id()),
            weights: Weights::new(schema),
            index: AttributesBuilder::new(schema),
            vectors: schema.vectors().map(writer).collect(),
            // Where the id and the attributes lie in a batch.
            attributes: std::iter::once(0).chain(attributes.map(|(at, _)| at + 1)).collect(),
        })
    }

    fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        self.parquet.push(&batch.project(&self.attributes)?)?;
        self.ids.push(&Ids::new(self.kind, batch.column(0))?);
        self.weights.push(batch);
        self.index.push(batch)?;
        for (name, writer) in &mut self.vectors {
            let array = batch.column_by_name(name);
            writer.push(array.ok_or_else(|| Error::internal("a vector column is missing"))?)?;
        }
        Ok(())
    }
}

/// An order of some rows, and behind them the others as they come.
fn complete(mut order: Vec<u32>, rows: u32) -> Vec<u32> {
    let some: RoaringBitmap = order.iter().copied().collect();
    order.extend((0..rows).filter(|row| !some.contains(*row)));
    order
}

/// Where each row comes to lie.
fn places(order: Option<&[u32]>, rows: u32) -> Vec<u32> {
    let mut places: Vec<u32> = (0..rows).collect();
    for (place, row) in (0..).zip(order.unwrap_or_default()) {
        if let Some(slot) = places.get_mut(*row as usize) {
            *slot = place;
        }
    }
    places
}

/// The rows of batches in another order, some at a time: a column of an Arrow batch holds 2 GiB at most.
fn in_order(
    batches: &[RecordBatch],
    order: &[u32],
    mut each: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let ends: Vec<usize> = batches
        .iter()
        .scan(0, |end, batch| {
            *end += batch.num_rows();
            Some(*end)
        })
        .collect();
    let find = |row: &u32| {
        let row = *row as usize;
        let batch = ends.partition_point(|end| *end <= row);
        let start = batch.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or_default();
        (batch, row - start)
    };
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    for rows in order.chunks(ORDERED_ROWS) {
        let indices: Vec<(usize, usize)> = rows.iter().map(find).collect();
        each(interleave_record_batch(&batches, &indices)?)?;
    }
    Ok(())
}

impl SegmentFiles {
    /// For each row, as they were pushed, where it came to lie.
    pub(crate) fn places(&self) -> &[u32] {
        &self.places
    }

    /// The centroid sets that were made for this segment, by column.
    pub(crate) fn made(&self) -> impl Iterator<Item = (&String, &Named)> {
        self.centroids.iter().map(|(column, (named, _))| (column, named))
    }

    /// Writes all files, together. The segment exists once a manifest names it.
    pub(crate) async fn upload(
        self,
        backend: &Arc<dyn StorageBackend>,
        life: &LifeKeys,
    ) -> Result<SegmentMeta> {
        let keys = life.segment(self.meta.id);
        // The names of the segment and of sets are unique, so an overwrite can only repeat an earlier try.
        let sets = self.centroids.values();
        let sets = sets.map(|(named, bytes)| (life.centroids(named.meta.id), bytes.clone()));
        let puts = self
            .files(&keys)
            .into_iter()
            .chain(sets)
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
