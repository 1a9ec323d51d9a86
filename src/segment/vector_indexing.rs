//! Indexing the vectors of a segment that is built: by which centroid set, and in which order its rows are laid out.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, FixedSizeListArray};
use arrow::datatypes::{Float16Type, Float32Type, Int8Type};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use roaring::RoaringBitmap;
use uuid::Uuid;

use super::sorted_rows::SortedRows;
use super::vectors::RECORDS_START;
use crate::codec::{to_u32, u64_of, usize_of};
use crate::error::{Error, Result};
use crate::index::vector::{
    CentroidsMeta, CopyFinder, DistinctVectors, NamedCentroids, SetPlan, Space, TrainingProgress,
    VectorIndexBuilder, still_fits, train_centroids,
};
use crate::schema::{ColumnKind, Schema, VectorColumn};
use crate::types::{ColumnId, ObjectId, VectorType};

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
    /// For fewer vectors than this no set is made: to compare them all is as fast.
    pub(crate) rows_min: usize,
    /// Whether a set that no longer fits the rows is replaced.
    pub(crate) renew: bool,
    /// The seed of training.
    pub(crate) seed: u64,
    pub(crate) progress: Arc<TrainingProgress>,
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
    pub(super) fn build(&self, schema: &Schema, birth: u64, rows: &SortedRows) -> Result<VectorIndexes> {
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
            let ChosenCentroids { named, fits, new_set } =
                self.choose_centroids(column.id, shape, birth, &vectors)?;
            let builder = VectorIndexBuilder::new(&named.set, &vectors, &self.progress)?;
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
    fn rows_min_of(&self, column: ColumnId) -> usize {
        match (self.sets.contains_key(&column), self.names.contains_key(&column)) {
            (true, _) => (self.rows_min / SHARING_FACTOR).max(1),
            (false, true) => self.rows_min.max(1),
            (false, false) => usize::MAX,
        }
    }

    /// The set for a column: the one there is, unless it is outgrown, or fits no longer and may be replaced.
    fn choose_centroids(
        &self,
        column: ColumnId,
        shape: VectorColumn,
        birth: u64,
        vectors: &DistinctVectors,
    ) -> Result<ChosenCentroids> {
        if let Some(named) = self.sets.get(&column) {
            let may_be_new = self.names.contains_key(&column);
            let outgrown = u64_of(vectors.rows.len()) >= named.meta.trained.saturating_mul(OUTGROWN);
            if !(outgrown && may_be_new) {
                let fits = still_fits(&named.set, vectors, &self.progress)?;
                // A misfit costs recall or reads, but a new set makes all segments of the old one misfits: only what
                // rewrites all rows replaces it. Others note the misfit in the meta, for the next compaction.
                if fits || !(self.renew && may_be_new) {
                    return Ok(ChosenCentroids { named: named.clone(), fits, new_set: None });
                }
            }
        }
        let uuid = *self.names.get(&column).ok_or_else(|| Error::internal("a column without a set"))?;
        // Both are uploaded together: what protects the segment until a manifest names it protects the set.
        let id = ObjectId { birth, uuid };
        let before = self.sets.get(&column).map(|named| named.set.as_ref());
        let plan = SetPlan { id, shape: shape.into(), before, seed: self.seed };
        let set = train_centroids(&plan, vectors, &self.progress)?;
        let bytes = set.encode()?;
        let meta = CentroidsMeta { id, size: u64_of(bytes.len()), trained: set.trained() };
        Ok(ChosenCentroids {
            named: NamedCentroids { meta, set: Arc::new(set) },
            fits: true,
            new_set: Some(bytes),
        })
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

/// The vectors of the column at `index` of a batch as its metric compares them, each once.
///
/// Placeholders and texts that occur twice make copies, which would count for more than all other vectors in
/// training: it sees each vector once, and the index names the rows of its copies.
fn read_distinct_vectors(shape: VectorColumn, index: usize, rows: &SortedRows) -> Result<DistinctVectors> {
    let reader = VectorReader::new(shape, index, rows)?;
    let mut vectors = DistinctVectors { dimension: shape.dimension, ..DistinctVectors::default() };
    // Exactly: a vector that doubles its capacity would take up to twice the memory of all vectors.
    vectors.values.reserve_exact(rows.len() * shape.dimension);
    // The batch and row of the first copy of each vector.
    let (mut firsts, mut seen) = (Vec::new(), CopyFinder::default());
    let (mut vector, mut candidate) = (Vec::new(), Vec::new());
    for (row, address) in (0..).zip(rows.rows()) {
        if !reader.read_vector(address, &mut vector)? {
            continue;
        }
        let number = to_u32(firsts.len(), "the number of different vectors")?;
        // `seen` knows hashes: only a comparison bit by bit distinguishes a copy from a collision.
        if let Some(first) = seen.find(&vector, number) {
            let address = firsts.get(usize_of(first)).copied();
            reader.read_vector(
                address.ok_or_else(|| Error::internal("a vector that was not seen"))?,
                &mut candidate,
            )?;
            if vector.iter().map(|x| x.to_bits()).eq(candidate.iter().map(|x| x.to_bits())) {
                vectors.copies.push((first, row));
                continue;
            }
        }
        Space::push_normalized(shape.metric, &vector, &mut vectors.values);
        vectors.rows.push(row);
        firsts.push(address);
    }
    // By the number of the vector: the index finds the copies of one by binary search.
    vectors.copies.sort_unstable();
    Ok(vectors)
}

/// Reads single vectors of a column from the batches of a segment.
struct VectorReader {
    shape: VectorColumn,
    /// The column of each batch.
    lists: Vec<FixedSizeListArray>,
}

impl VectorReader {
    fn new(shape: VectorColumn, index: usize, rows: &SortedRows) -> Result<Self> {
        let list = |batch: &RecordBatch| {
            let array = batch.columns().get(index).and_then(|array| array.as_fixed_size_list_opt()).cloned();
            array.ok_or_else(|| Error::internal("a vector column is missing"))
        };
        Ok(Self { shape, lists: rows.batches().iter().map(list).collect::<Result<_>>()? })
    }

    /// Puts the components of a vector, as f32, in place of what is in `out`. `false` if the row has none.
    fn read_vector(&self, (batch, row): (usize, usize), out: &mut Vec<f32>) -> Result<bool> {
        let list = self.lists.get(batch).ok_or_else(|| Error::internal("a row of no batch"))?;
        if list.is_null(row) {
            return Ok(false);
        }
        out.clear();
        let range = row * self.shape.dimension..(row + 1) * self.shape.dimension;
        let missing = || Error::internal("a vector beyond the end of its column");
        let values = list.values();
        match self.shape.element {
            VectorType::F32 => {
                let values = values.as_primitive::<Float32Type>().values();
                out.extend(values.get(range).ok_or_else(missing)?);
            }
            VectorType::F16 => {
                let values = values.as_primitive::<Float16Type>().values();
                out.extend(values.get(range).ok_or_else(missing)?.iter().map(|x| x.to_f32()));
            }
            VectorType::I8 => {
                let values = values.as_primitive::<Int8Type>().values();
                out.extend(values.get(range).ok_or_else(missing)?.iter().map(|x| f32::from(*x)));
            }
        }
        Ok(true)
    }
}
