//! Building a segment, in memory: rows come in the order of their ids, and are laid out by the clusters of the first
//! vector column if that is indexed.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::future::try_join_all;

use super::checksums;
use super::ids::IdIndexBuilder;
use super::meta::{FileMeta, FileSection, RowOrder, SECTION_BYTES_MAX, SegmentMeta};
use super::parquet_rows::ParquetBuilder;
use super::row_ids::RowIdsBuilder;
use super::row_sizes::RowSizes;
use super::sorted_rows::SortedRows;
use super::statistics::ColumnStatisticsBuilder;
use super::vector_indexing::{BuiltVectorIndex, VectorIndexes, VectorIndexing, row_positions};
use super::vectors::{ExactVectorsBuilder, HEAD, row_checksum_seed};
use crate::codec::checksum;
use crate::error::{Error, OrInternal, Result};
use crate::index::attributes::AttributeIndexBuilder;
use crate::index::text::TextWriter;
use crate::index::vector::NamedCentroids;
use crate::schema::{ColumnKind, Ids, Schema};
use crate::storage::{IncarnationKeys, ObjectKey, PutMode, SegmentKeys, StorageBackend};
use crate::types::{IdKind, SegmentId, Sequence};

/// Sections of `attributes`.
pub(super) const ID_HEAD: &str = "id.head";
pub(super) const ID_BLOCKS: &str = "id.blocks";
pub(super) const ROW_ID_HEAD: &str = "row_id.head";
pub(super) const ROW_ID_BLOCKS: &str = "row_id.blocks";
pub(super) const COLUMNS_HEAD: &str = "columns.head";
pub(super) const COLUMNS_BLOCKS: &str = "columns.blocks";
pub(super) const CHECKSUMS: &str = "checksums";
pub(super) const ROW_SIZES: &str = "row_sizes";

/// `"EATR" | version u16 | zero u16`: what `attributes` begins with; its sections are found by the meta.
const ATTRIBUTES_HEADER: [u8; 8] = *b"EATR\x01\0\0\0";

/// Builds the files of a segment. All of it is CPU work: call it on the blocking pool.
#[derive(Debug)]
pub(crate) struct SegmentBuilder {
    schema: Arc<Schema>,
    arrow: SchemaRef,
    id: SegmentId,
    sequences: (Sequence, Sequence),
    source: SortedRows,
}

/// The files of a segment, not yet on the store.
#[derive(Debug)]
pub(crate) struct SegmentFiles {
    pub(super) meta: SegmentMeta,
    parquet: Bytes,
    attributes: Bytes,
    /// By the place of the column in the schema.
    vectors: Vec<(usize, Bytes)>,
    text: Option<Bytes>,
    /// Centroid sets that were made for this segment, by column.
    centroids: BTreeMap<String, (NamedCentroids, Bytes)>,
    positions: Vec<u32>,
}

impl SegmentBuilder {
    /// A segment of rows that came from entries of these sequences, first and last.
    pub(crate) fn new(schema: Arc<Schema>, id: SegmentId, sequences: (Sequence, Sequence)) -> Self {
        Self { arrow: schema.arrow(), id, sequences, source: SortedRows::default(), schema }
    }

    /// Adds rows, in the layout of [`Schema::arrow`]. Ids ascend, in a batch and from batch to batch.
    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.check_layout(&batch)?;
        self.source.push(self.schema.id(), batch)
    }

    /// Adds rows of batches of that layout, given by batch and row, without copying them. Ids ascend.
    pub(crate) fn push_rows(&mut self, batches: Vec<RecordBatch>, rows: &[(usize, usize)]) -> Result<()> {
        batches.iter().try_for_each(|batch| self.check_layout(batch))?;
        self.source.push_rows(self.schema.id(), batches, rows)
    }

    fn check_layout(&self, batch: &RecordBatch) -> Result<()> {
        if batch.schema_ref().fields() != self.arrow.fields() {
            return Err(Error::internal("a batch has another layout than its segment"));
        }
        Ok(())
    }

    /// The files. A segment without rows is an error.
    pub(crate) fn finish(self, indexing: &VectorIndexing) -> Result<SegmentFiles> {
        let source = self.source;
        let bounds = source.bounds().cloned();
        let (id_min, id_max) = bounds.ok_or_else(|| Error::internal("a segment without rows"))?;
        let VectorIndexes { order, columns: mut indexes } = indexing.build(&self.schema, &source)?;
        let rows = source.len();
        let positions = row_positions(order.as_deref(), rows as usize);
        let row_order = if order.is_some() { RowOrder::Cluster } else { RowOrder::Id };
        let mut columns = Columns::new(&self.schema, self.id, rows, row_order, &mut indexes)?;
        source.visit(order.as_deref(), |batch| columns.push(&batch))?;
        let ids = index_ids(self.schema.id(), &source, &positions)?;
        drop(source);

        let (parquet, parquet_meta) = columns.parquet.finish()?;
        let mut file = SectionFileBuilder::new(ATTRIBUTES_HEADER.to_vec());
        let (columns_head, blocks) = columns.index.finish()?;
        // A manifest with a larger section would be refused: filters then read the values.
        let fits = blocks.len() as u64 <= SECTION_BYTES_MAX;
        if fits {
            file.section(COLUMNS_BLOCKS, &blocks);
        }
        drop(blocks);
        let (head, blocks) = ids.finish()?;
        file.section(ID_BLOCKS, &blocks);
        file.section(ID_HEAD, &head);
        let (head, blocks) = columns.ids.finish()?;
        file.section(ROW_ID_BLOCKS, &blocks);
        file.section(ROW_ID_HEAD, &head);
        file.section(CHECKSUMS, &checksums::encode_checksums(&parquet));
        file.section(ROW_SIZES, &columns.row_sizes.encode());
        if fits {
            file.section(COLUMNS_HEAD, &columns_head);
        }
        let (attributes, attributes_meta) = file.finish();
        let (mut vectors, mut vectors_meta) = (Vec::new(), BTreeMap::new());
        let (mut made, mut used, mut unfit) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        for (name, writer) in columns.vectors {
            let index = indexes.remove(&name);
            let section = index.map(|index| {
                used.insert(name.clone(), index.named.meta);
                unfit.extend((!index.fits).then(|| name.clone()));
                made.extend(index.fresh.map(|bytes| (name.clone(), (index.named, bytes))));
                index.section
            });
            let (bytes, meta) = writer.finish(section)?;
            let place = self.schema.columns().iter().position(|column| column.name == name);
            vectors.push((place.ok_or_else(|| Error::internal("vectors of no column"))?, bytes));
            vectors_meta.insert(name, meta);
        }
        let (text, text_meta) = columns.text.map(finish_text_file).transpose()?.unzip();
        let meta = SegmentMeta {
            id: self.id,
            order: row_order,
            rows,
            sequences: self.sequences,
            id_min,
            id_max,
            statistics: columns.statistics.finish().collect(),
            parquet: parquet_meta,
            attributes: attributes_meta,
            vectors: vectors_meta,
            centroids: used,
            unfit,
            text: text_meta,
            deletes: None,
        };
        Ok(SegmentFiles { meta, parquet, attributes, vectors, text, centroids: made, positions })
    }
}

/// The index of the ids, with the position of each row.
fn index_ids(kind: IdKind, source: &SortedRows, positions: &[u32]) -> Result<IdIndexBuilder> {
    let columns = source.batches().iter().map(|batch| Ids::new(kind, batch.column(0)));
    let columns: Vec<Ids> = columns.collect::<Result<_>>()?;
    let mut index = IdIndexBuilder::new(kind);
    for ((batch, row), position) in source.rows().zip(positions) {
        if let Some(ids) = columns.get(batch) {
            index.push(ids, row, *position)?;
        }
    }
    Ok(index)
}

/// Everything that is written in the order of the rows.
struct Columns {
    kind: IdKind,
    parquet: ParquetBuilder,
    ids: RowIdsBuilder,
    row_sizes: RowSizes,
    index: AttributeIndexBuilder,
    statistics: ColumnStatisticsBuilder,
    vectors: BTreeMap<String, ExactVectorsBuilder>,
    text: Option<TextWriter>,
    attributes: Vec<usize>,
}

impl Columns {
    /// For so many rows. Takes the records of the indexes: they lie before the vectors.
    fn new(
        schema: &Schema,
        id: SegmentId,
        rows: u32,
        order: RowOrder,
        indexes: &mut BTreeMap<String, BuiltVectorIndex>,
    ) -> Result<Self> {
        let writer = |(name, shape): (&str, _)| {
            let records =
                indexes.get_mut(name).map(|index| mem::take(&mut index.records)).unwrap_or_default();
            (name.to_owned(), ExactVectorsBuilder::new(shape, row_checksum_seed(id, name), rows, records))
        };
        let columns = schema.columns().iter().enumerate();
        let attributes = columns.filter(|(_, column)| matches!(column.kind, ColumnKind::Attribute(_)));
        Ok(Self {
            kind: schema.id(),
            parquet: ParquetBuilder::new(schema, order)?,
            ids: RowIdsBuilder::new(schema.id()),
            row_sizes: RowSizes::new(schema),
            index: AttributeIndexBuilder::new(schema),
            statistics: ColumnStatisticsBuilder::new(schema),
            vectors: schema.vectors().map(writer).collect(),
            text: TextWriter::new(schema)?,
            // Where the id and the attributes lie in a batch.
            attributes: std::iter::once(0).chain(attributes.map(|(at, _)| at + 1)).collect(),
        })
    }

    fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        self.parquet.push(&batch.project(&self.attributes).or_internal()?)?;
        self.ids.push(&Ids::new(self.kind, batch.column(0))?)?;
        self.row_sizes.push(batch);
        if let Some(text) = &mut self.text {
            text.push(batch)?;
        }
        self.index.push(batch)?;
        self.statistics.push(batch)?;
        for (name, writer) in &mut self.vectors {
            let array = batch.column_by_name(name);
            writer.push(array.ok_or_else(|| Error::internal("a vector column is missing"))?)?;
        }
        Ok(())
    }
}

/// The file of the text columns.
fn finish_text_file(writer: TextWriter) -> Result<(Bytes, FileMeta)> {
    let (bytes, head) = writer.finish()?;
    let (offset, length) = (head.start as u64, head.len() as u64);
    let checksum = checksum(bytes.get(head).unwrap_or_default());
    let section = FileSection { offset, length, checksum };
    let meta = FileMeta { size: bytes.len() as u64, sections: BTreeMap::from([(HEAD.to_owned(), section)]) };
    Ok((bytes.into(), meta))
}

impl SegmentFiles {
    /// For each row, as they were pushed, its position in the segment.
    pub(crate) fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// The centroid sets that were made for this segment, by column.
    pub(crate) fn new_centroids(&self) -> impl Iterator<Item = (&String, &NamedCentroids)> {
        self.centroids.iter().map(|(column, (named, _))| (column, named))
    }

    /// Writes all files, together. The segment exists once a manifest names it.
    pub(crate) async fn upload(
        self,
        backend: &Arc<dyn StorageBackend>,
        incarnation: &IncarnationKeys,
    ) -> Result<SegmentMeta> {
        let keys = incarnation.segment(self.meta.id);
        // The names of the segment and of sets are unique, so an overwrite can only repeat an earlier try.
        let sets = self.centroids.values();
        let sets = sets.map(|(named, bytes)| (incarnation.centroids(named.meta.id), bytes.clone()));
        let puts = self
            .files(&keys)
            .into_iter()
            .chain(sets)
            .map(|(key, bytes)| async move { backend.put(&key, bytes, PutMode::Overwrite).await });
        try_join_all(puts).await?;
        Ok(self.meta)
    }

    fn files(&self, keys: &SegmentKeys) -> Vec<(ObjectKey, Bytes)> {
        let vectors = self.vectors.iter().map(|(place, bytes)| (keys.vector(*place), bytes.clone()));
        let others = [(keys.rows(), self.parquet.clone()), (keys.attributes(), self.attributes.clone())];
        let text = self.text.iter().map(|bytes| (keys.text(), bytes.clone()));
        others.into_iter().chain(vectors).chain(text).collect()
    }
}

/// A file of sections, one behind the other.
struct SectionFileBuilder {
    bytes: Vec<u8>,
    sections: BTreeMap<String, FileSection>,
}

impl SectionFileBuilder {
    fn new(header: Vec<u8>) -> Self {
        Self { bytes: header, sections: BTreeMap::new() }
    }

    fn section(&mut self, name: &str, bytes: &[u8]) {
        let (offset, length) = (self.bytes.len() as u64, bytes.len() as u64);
        self.sections.insert(name.to_owned(), FileSection { offset, length, checksum: checksum(bytes) });
        self.bytes.extend(bytes);
    }

    fn finish(self) -> (Bytes, FileMeta) {
        let meta = FileMeta { size: self.bytes.len() as u64, sections: self.sections };
        (self.bytes.into(), meta)
    }
}
