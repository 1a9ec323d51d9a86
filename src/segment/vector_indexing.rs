//! Indexing the vectors of a segment that is built: by which centroid set, and in which order its rows are laid out.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, FixedSizeListArray};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use roaring::RoaringBitmap;
use uuid::Uuid;

use super::files::NewCentroids;
use super::sorted_rows::{SortedRows, sort_by_id};
use super::vector_values::{read_distinct_vectors, read_vector};
use super::vectors::RECORDS_START;
use crate::codec::{u64_of, usize_of};
use crate::error::{Error, OrInternal, Result};
use crate::index::vector::{
    CentroidsMeta, DistinctVectors, NamedCentroids, Points, RowClusters, SetPlan, Space, TrainingProgress,
    VectorIndexBuilder, still_fits, train_centroids,
};
use crate::schema::{ColumnKind, Schema, VectorColumn};
use crate::types::{ColumnId, ObjectId};

/// A set serves until this many times the rows it was trained on are indexed at once. Its clusters are then four times
/// as large as intended, and so is what a query reads of each.
const OUTGROWN: u64 = 4;

/// Where there is a set, so many times fewer vectors are indexed than a new set is made for. The vectors of a small segment
/// are few, but a namespace may have a dozen of them, and a search looks at the clusters around the query in any case.
const SHARING_FACTOR: usize = 8;

/// How the vector columns of a segment are indexed.
#[derive(Clone, Debug, Default)]
pub(crate) struct VectorIndexing {
    /// The sets there are, by column.
    pub(crate) sets: BTreeMap<ColumnId, NamedCentroids>,
    /// For each column that may get a new set, the UUID of that set.
    pub(crate) names: BTreeMap<ColumnId, Uuid>,
    /// Whether the sets were chosen for all rows of a namespace, of which a segment has a part: it is indexed by them whatever
    /// that part is.
    pub(crate) keeps_sets: bool,
    /// For fewer vectors than this no set is made: to compare them all is as fast.
    pub(crate) rows_min: usize,
    /// The seed of training.
    pub(crate) seed: u64,
    pub(crate) progress: Arc<TrainingProgress>,
}

/// Clusters of rows that are known before a segment is built of them, for they were in segments before.
#[derive(Clone, Debug)]
pub(crate) struct KnownClusters {
    pub(crate) column: ColumnId,
    /// The set whose clusters these are.
    pub(crate) set: ObjectId,
    /// In the order in which the rows are pushed.
    pub(crate) clusters: RowClusters,
    /// Whether the set fits the rows whose clusters are known.
    pub(crate) fits: bool,
}

/// The vector indexes of a segment.
#[derive(Debug, Default)]
pub(super) struct VectorIndexes {
    /// The rows in the order of the clusters of the first vector column, if that has an index.
    pub(super) order: Option<Vec<u32>>,
    pub(super) columns: BTreeMap<ColumnId, BuiltVectorIndex>,
}

/// The index of a column.
#[derive(Debug)]
pub(super) struct BuiltVectorIndex {
    pub(super) named: NamedCentroids,
    /// Whether the clusters are of rows distributed about as these are.
    pub(super) fits: bool,
    /// The bytes of the set, if it is new.
    pub(super) new_set: Option<Bytes>,
    /// The bytes of the column's file from [`RECORDS_START`] on.
    pub(super) records: Vec<u8>,
    /// The section that finds each record.
    pub(super) section: Vec<u8>,
}

impl VectorIndexing {
    /// No index: for rows that must be written soon.
    pub(crate) fn none() -> Self {
        Self { rows_min: usize::MAX, ..Self::default() }
    }

    /// The indexes of the columns that get one, of a segment that is born at `birth`. One column at a time is in memory as
    /// its metric compares it.
    pub(super) fn build(
        &self,
        schema: &Schema,
        birth: u64,
        rows: &SortedRows,
        known: Option<&KnownClusters>,
    ) -> Result<VectorIndexes> {
        let mut indexes = VectorIndexes::default();
        let mut positions = None;
        let mut is_first = true;
        for (index, column) in schema.arrow_columns() {
            let ColumnKind::Vector(shape) = column.kind else { continue };
            let decides_order = std::mem::take(&mut is_first);
            let rows_min = self.rows_min_of(column.id);
            if rows.len() < rows_min {
                continue;
            }
            // A copy of the vectors as f32, the only one: it is dropped before the next column is read.
            let vectors = read_distinct_vectors(shape, index, rows)?;
            if vectors.len() < rows_min {
                continue;
            }
            let known = known.filter(|known| known.column == column.id);
            let ChosenCentroids { named, fits, new_set } =
                self.choose_centroids(column.id, shape, birth, &vectors, known)?;
            let known = known_clusters(&named, known);
            let builder = VectorIndexBuilder::new(&named.set, &vectors, &known, &self.progress)?;
            // The first vector column decides the order of all rows: the vectors of its clusters then are runs of rows,
            // and exact distances take few reads. The records of other columns name rows wherever they are.
            if decides_order {
                indexes.order = Some(append_missing_rows(builder.row_order(&vectors), rows.len()));
            }
            let positions = match &mut positions {
                Some(positions) => positions,
                // The first column has had its turn: from here on the order is known.
                None => positions.insert(row_positions(indexes.order.as_deref(), rows.len())?),
            };
            let (records, section) =
                builder.finish(&named.set, &vectors, positions, !decides_order, RECORDS_START)?;
            let index = BuiltVectorIndex { named, fits, new_set, records, section };
            indexes.columns.insert(column.id, index);
        }
        Ok(indexes)
    }

    /// How many vectors of a column are indexed, at least.
    pub(crate) fn rows_min_of(&self, column: ColumnId) -> usize {
        match (self.sets.contains_key(&column), self.names.contains_key(&column)) {
            (true, _) if self.keeps_sets => 1,
            (true, _) => (self.rows_min / SHARING_FACTOR).max(1),
            (false, true) => self.rows_min.max(1),
            (false, false) => usize::MAX,
        }
    }

    /// The set for a column: the one there is, unless it is outgrown and may be replaced.
    fn choose_centroids(
        &self,
        column: ColumnId,
        shape: VectorColumn,
        birth: u64,
        vectors: &DistinctVectors,
        known: Option<&KnownClusters>,
    ) -> Result<ChosenCentroids> {
        if let Some(named) = self.sets.get(&column) {
            let may_be_new = self.names.contains_key(&column);
            if !(may_be_new && is_outgrown(named.meta.trained, u64_of(vectors.len()))) {
                // A misfit costs recall or reads, but a new set makes all segments of the old one misfits: only what
                // rewrites all rows replaces it. Others note the misfit in the meta, for the next compaction.
                let clusters = known_clusters(named, known);
                let fits = self.keeps_sets
                    || known.is_none_or(|known| known.fits)
                        && still_fits(&named.set, vectors, &clusters, &self.progress)?;
                return Ok(ChosenCentroids { named: named.clone(), fits, new_set: None });
            }
        }
        self.train_set(column, shape, birth, vectors, u64_of(vectors.len()))
    }

    /// A new set for a column, trained on vectors that are a sample of `rows` rows.
    fn train_set(
        &self,
        column: ColumnId,
        shape: VectorColumn,
        birth: u64,
        vectors: &DistinctVectors,
        rows: u64,
    ) -> Result<ChosenCentroids> {
        let uuid = *self.names.get(&column).ok_or_else(|| Error::internal("a column without a set"))?;
        // Both are uploaded together: what protects the segment until a manifest names it protects the set.
        let id = ObjectId { birth, uuid };
        let before = self.sets.get(&column).map(|named| named.set.as_ref());
        let plan = SetPlan { id, shape: shape.into(), before, seed: self.seed, rows };
        let set = train_centroids(&plan, vectors, &self.progress)?;
        let bytes = set.encode()?;
        let meta = CentroidsMeta { id, size: u64_of(bytes.len()), trained: set.trained() };
        Ok(ChosenCentroids {
            named: NamedCentroids { meta, set: Arc::new(set) },
            fits: true,
            new_set: Some(bytes),
        })
    }

    /// A new set for a column of a namespace, trained on a sample of its `count` rows that have a vector. `None` if the
    /// sample has none.
    pub(crate) fn train_on_sample(
        &self,
        schema: &Schema,
        birth: u64,
        column: ColumnId,
        sample: Vec<RecordBatch>,
        count: u64,
    ) -> Result<Option<NewCentroids>> {
        let (shape, vectors) = read_sample(schema, column, sample)?;
        // Rows that died may have been the only ones with a vector.
        if vectors.rows.is_empty() {
            return Ok(None);
        }
        let chosen = self.train_set(column, shape, birth, &vectors, count)?;
        Ok(chosen.new_set.map(|bytes| NewCentroids { named: chosen.named, bytes }))
    }

    /// Whether the set of a column fits vectors about as well as those it was trained on.
    pub(crate) fn fits(&self, schema: &Schema, column: ColumnId, sample: Vec<RecordBatch>) -> Result<bool> {
        let named = self.sets.get(&column).ok_or_else(|| Error::internal("a column without a set"))?;
        let (_, vectors) = read_sample(schema, column, sample)?;
        still_fits(&named.set, &vectors, &RowClusters::default(), &self.progress)
    }

    /// The clusters of vectors of a column, in an array of its Arrow type, that have one.
    pub(crate) fn assign_rows(
        &self,
        column: ColumnId,
        shape: VectorColumn,
        vectors: &FixedSizeListArray,
    ) -> Result<Vec<Option<u32>>> {
        let named = self.sets.get(&column).ok_or_else(|| Error::internal("a column without a set"))?;
        let (mut values, mut vector, mut has_vector) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..vectors.len() {
            has_vector.push(read_vector(shape, vectors, row, &mut vector)?);
            if has_vector.last() == Some(&true) {
                Space::push_normalized(shape.metric, &vector, &mut values);
            }
        }
        let mut found =
            named.set.plain().assign(Points::new(&values, shape.dimension)?, &self.progress)?.into_iter();
        Ok(has_vector.into_iter().map(|has_vector| if has_vector { found.next() } else { None }).collect())
    }
}

/// The vectors of a column in batches that may lack others.
fn read_sample(
    schema: &Schema,
    column: ColumnId,
    sample: Vec<RecordBatch>,
) -> Result<(VectorColumn, DistinctVectors)> {
    let described = schema.vector_columns().find(|(described, _)| described.id == column);
    let (column, shape) = described.ok_or_else(|| Error::internal("a set of a column without vectors"))?;
    let Some(batch) = sample.first() else { return Ok((shape, DistinctVectors::default())) };
    let index = batch.schema_ref().index_of(column.name.as_str()).or_internal()?;
    let sorted = sort_by_id(schema.id(), &sample)?;
    let mut rows = SortedRows::default();
    rows.push_rows(schema.id(), sample, &sorted)?;
    Ok((shape, read_distinct_vectors(shape, index, &rows)?))
}

/// Whether so many rows are too many for the clusters of a set that was trained on so many.
pub(crate) fn is_outgrown(trained: u64, rows: u64) -> bool {
    rows >= trained.saturating_mul(OUTGROWN)
}

/// The clusters of a set that are known.
fn known_clusters(named: &NamedCentroids, known: Option<&KnownClusters>) -> RowClusters {
    match known {
        Some(known) if known.set == named.meta.id => known.clusters.clone(),
        _ => RowClusters::default(),
    }
}

/// The set that a column is indexed by.
struct ChosenCentroids {
    named: NamedCentroids,
    fits: bool,
    /// Its bytes, if it is new.
    new_set: Option<Bytes>,
}

/// Appends the rows that `order` does not have, those without a vector, in the order of their ids.
fn append_missing_rows(mut order: Vec<u32>, rows: usize) -> Vec<u32> {
    // Rows without a vector come last, so that the clusters are one run without gaps.
    let ordered: RoaringBitmap = order.iter().copied().collect();
    order.extend((0..).take(rows).filter(|row| !ordered.contains(*row)));
    order
}

/// The position of each row in an order, the inverse of the permutation. Without an order, rows stay where they are.
pub(super) fn row_positions(order: Option<&[u32]>, rows: usize) -> Result<Vec<u32>> {
    let Some(order) = order else { return Ok((0..).take(rows).collect()) };
    let wrong_order = || Error::internal("the order of rows is not one of all rows");
    if order.len() != rows {
        return Err(wrong_order());
    }
    let mut positions = vec![0; rows];
    for (position, row) in (0..).zip(order) {
        *positions.get_mut(usize_of(*row)).ok_or_else(wrong_order)? = position;
    }
    Ok(positions)
}
