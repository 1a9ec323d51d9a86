//! Building a segment, in memory: rows come in the order of their ids, and are laid out by the clusters of the first
//! vector column if that is indexed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;

use super::checksums::encode_checksums;
use super::column_builders::{ColumnBuilders, VectorColumnBuilder};
use super::files::{NewCentroids, SegmentFiles};
use super::ids::{IdIndexBuilder, RowIdsBuilder};
use super::meta::{FileMeta, RowOrder, SECTION_BYTES_MAX, SegmentMeta};
use super::parquet_builder::ParquetFile;
use super::row_sizes::RowSizes;
use super::sections::{
    BuiltFile, COLUMNS_BLOCKS, COLUMNS_HEAD, ID_BLOCKS, ID_HEAD, ROW_ID_BLOCKS, ROW_ID_HEAD, ROW_SIZES,
    ROWS_CHECKSUMS, ROWS_FOOTER, SectionFileBuilder, TEXT_HEAD, vector_checksums, vector_head, vector_index,
};
use super::sorted_rows::SortedRows;
use super::vector_indexing::{BuiltVectorIndex, KnownClusters, VectorIndexing, row_positions};
use super::vectors::VectorFile;
use crate::codec::{UnknownFields, to_u32, u64_of, zip_equal};
use crate::error::{Error, Result};
use crate::index::attributes::AttributeIndexBuilder;
use crate::index::text::TextIndexBuilder;
use crate::index::vector::CentroidsMeta;
use crate::schema::{Ids, Schema};
use crate::storage::Payload;
use crate::types::{ColumnId, IdKind, ObjectId, Sequence};

/// `"ESIX" | version u16 | zero u16`: the first bytes of `index`. The meta locates its sections.
const INDEX_HEADER: [u8; 8] = *b"ESIX\x01\0\0\0";

/// Builds the files of a segment. All of it is CPU work: call it on the blocking pool.
#[derive(Debug)]
pub(crate) struct SegmentBuilder {
    schema: Arc<Schema>,
    arrow: SchemaRef,
    id: ObjectId,
    sequences: (Sequence, Sequence),
    rows: SortedRows,
    known: Option<KnownClusters>,
}

/// The sections of `index` while they are built.
struct IndexFileParts {
    ids: IdIndexBuilder,
    row_ids: RowIdsBuilder,
    row_sizes: RowSizes,
    attributes: AttributeIndexBuilder,
    parquet: ParquetFile,
    /// The heads of the vector columns, by the names of their sections.
    vectors: Vec<(String, Vec<u8>)>,
    text: Option<Bytes>,
}

/// The files of the vector columns, and what the meta records of their indexes.
#[derive(Default)]
struct VectorFiles {
    files: Vec<(ColumnId, Payload)>,
    /// The heads, by the names of their sections.
    heads: Vec<(String, Vec<u8>)>,
    metas: BTreeMap<ColumnId, FileMeta>,
    centroids: BTreeMap<ColumnId, CentroidsMeta>,
    unfit: BTreeSet<ColumnId>,
    new_centroids: BTreeMap<ColumnId, NewCentroids>,
}

impl SegmentBuilder {
    /// A segment of rows that came from entries of these sequences, first and last.
    pub(crate) fn new(schema: Arc<Schema>, id: ObjectId, sequences: (Sequence, Sequence)) -> Self {
        let rows = SortedRows::default();
        Self { arrow: schema.arrow(), id, sequences, rows, known: None, schema }
    }

    /// Adds rows, in the layout of [`Schema::arrow`]. Ids ascend, in a batch and from batch to batch.
    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.check_layout(&batch)?;
        self.rows.push_batch(self.schema.id(), batch)
    }

    /// Adds rows of batches of that layout, given by batch and row, without copying them. Ids ascend.
    pub(crate) fn push_rows(&mut self, batches: Vec<RecordBatch>, rows: &[(usize, usize)]) -> Result<()> {
        batches.iter().try_for_each(|batch| self.check_layout(batch))?;
        self.rows.push_rows(self.schema.id(), batches, rows)
    }

    /// Sets the clusters of the rows that are pushed, as far as they are known.
    pub(crate) fn with_clusters(self, known: KnownClusters) -> Self {
        Self { known: Some(known), ..self }
    }

    fn check_layout(&self, batch: &RecordBatch) -> Result<()> {
        if batch.schema_ref().fields() != self.arrow.fields() {
            return Err(Error::internal("a batch has another layout than its segment"));
        }
        Ok(())
    }

    /// The files. A segment without rows is an error.
    pub(crate) fn finish(self, indexing: &VectorIndexing) -> Result<SegmentFiles> {
        let rows = self.rows;
        let bounds = rows.bounds().cloned().ok_or_else(|| Error::internal("a segment without rows"))?;
        let row_count = to_u32(rows.len(), "the number of rows")?;
        // The order of the rows comes first, for all files keep to it.
        let mut indexes = indexing.build(&self.schema, self.id.birth, &rows, self.known.as_ref())?;
        let order = indexes.order.take();
        let row_order = if order.is_some() { RowOrder::Cluster } else { RowOrder::Id };
        // The caller needs the positions too: rows that die during a compaction are looked up in them.
        let positions = row_positions(order.as_deref(), rows.len())?;
        // One pass over the rows feeds all columns.
        let mut columns =
            ColumnBuilders::new(&self.schema, self.id, row_count, row_order, &mut indexes.columns)?;
        rows.visit_chunks(order.as_deref(), |batch| columns.push_batch(&batch))?;
        let id_index = build_id_index(self.schema.id(), &rows, &positions)?;
        // Everything is encoded now but the vectors, which stay where they were gathered.
        drop(rows);
        let parquet = columns.parquet.finish()?;
        let rows_file = parquet.bytes.clone();
        let vectors = finish_vector_files(columns.vectors, indexes.columns)?;
        // Absent exactly if the schema has no text column, which `SegmentMeta::check` holds.
        let text = columns.text.map(finish_text_file).transpose()?;
        let (text, text_head) = text.map(|file| (file.bytes, file.head)).unzip();
        let index = build_index_file(IndexFileParts {
            ids: id_index,
            row_ids: columns.row_ids,
            row_sizes: columns.row_sizes,
            attributes: columns.attribute_index,
            parquet,
            vectors: vectors.heads,
            text: text_head,
        })?;
        let meta = SegmentMeta {
            id: self.id,
            schema: self.schema.version(),
            order: row_order,
            rows: row_count,
            sequences: self.sequences,
            id_min: bounds.min,
            id_max: bounds.max,
            statistics: columns.statistics.finish().collect(),
            parquet: FileMeta::without_sections(rows_file.len()),
            index: index.meta,
            vectors: vectors.metas,
            centroids: vectors.centroids,
            unfit: vectors.unfit,
            text: text.as_ref().map(|text| FileMeta::without_sections(text.len())),
            deletes: None,
            unknown: UnknownFields::new(),
        };
        Ok(SegmentFiles {
            meta,
            parquet: rows_file.into(),
            index: index.body,
            vectors: vectors.files,
            text: text.map(Payload::from),
            new_centroids: vectors.new_centroids,
            positions,
        })
    }
}

/// The id index: the position of the row of each id.
fn build_id_index(kind: IdKind, rows: &SortedRows, positions: &[u32]) -> Result<IdIndexBuilder> {
    // `rows` is still in the order of ids, which the index needs, whatever the order of the files.
    let columns = rows.batches().iter().map(|batch| Ids::new(kind, batch.column(0)));
    let columns: Vec<Ids> = columns.collect::<Result<_>>()?;
    let mut index = IdIndexBuilder::new(kind);
    for ((batch, row), position) in zip_equal(rows.rows(), positions, "rows and their positions")? {
        let ids = columns.get(batch).ok_or_else(|| Error::internal("a row of no batch"))?;
        index.push_id(ids, row, *position)?;
    }
    Ok(index)
}

/// The file of the indexes, with all heads of the segment behind its blocks: they are read in one request.
fn build_index_file(parts: IndexFileParts) -> Result<BuiltFile> {
    let (ids, row_ids) = (parts.ids.finish()?, parts.row_ids.finish()?);
    let (head, blocks) = parts.attributes.finish()?;
    // A manifest with a larger section is refused. Without the index filters read the values, which is slower and as
    // right.
    let has_attributes = u64_of(blocks.len()) <= SECTION_BYTES_MAX;
    let mut file = SectionFileBuilder::default();
    file.push_bytes(INDEX_HEADER.to_vec());
    if has_attributes {
        file.push_section(COLUMNS_BLOCKS, blocks);
    }
    file.push_section(ROW_ID_BLOCKS, row_ids.blocks);
    // The last of the blocks: if they are small, they are read with the heads.
    file.push_section(ID_BLOCKS, ids.blocks);
    file.push_section(ID_HEAD, ids.head);
    file.push_section(ROW_ID_HEAD, row_ids.head);
    file.push_section(ROW_SIZES, parts.row_sizes.encode());
    if has_attributes {
        file.push_section(COLUMNS_HEAD, head);
    }
    file.push_section(ROWS_CHECKSUMS, encode_checksums(&parts.parquet.bytes));
    file.push_section(ROWS_FOOTER, parts.parquet.footer);
    for (name, head) in parts.vectors {
        file.push_section(name, head);
    }
    if let Some(head) = parts.text {
        file.push_section(TEXT_HEAD, head);
    }
    Ok(file.finish())
}

fn finish_vector_files(
    columns: Vec<VectorColumnBuilder>,
    mut indexes: BTreeMap<ColumnId, BuiltVectorIndex>,
) -> Result<VectorFiles> {
    let mut vectors = VectorFiles::default();
    for VectorColumnBuilder { id, exact, .. } in columns {
        let mut section = None;
        if let Some(index) = indexes.remove(&id) {
            // By name and size alone: the file of a set is shared by all segments that are coded by it.
            vectors.centroids.insert(id, index.named.meta);
            if !index.fits {
                vectors.unfit.insert(id);
            }
            if let Some(bytes) = index.new_set {
                vectors.new_centroids.insert(id, NewCentroids { named: index.named, bytes });
            }
            section = Some((vector_index(id), index.section));
        }
        let VectorFile { file, head, checksums } = exact.finish()?;
        let checksums = checksums.map(|checksums| (vector_checksums(id), checksums));
        vectors.heads.push((vector_head(id), head));
        vectors.heads.extend(checksums.into_iter().chain(section));
        vectors.files.push((id, file.body));
        vectors.metas.insert(id, file.meta);
    }
    Ok(vectors)
}

/// The text columns as a file, and its head.
struct TextFile {
    bytes: Bytes,
    head: Bytes,
}

/// The file of the text columns.
fn finish_text_file(builder: TextIndexBuilder) -> Result<TextFile> {
    let (bytes, head) = builder.finish()?;
    let mut bytes = Bytes::from(bytes);
    if head.end != bytes.len() {
        return Err(Error::internal("the head of a text index is not its end"));
    }
    let head = bytes.split_off(head.start);
    Ok(TextFile { bytes, head })
}
