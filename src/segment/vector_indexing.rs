//! Indexing the vectors of a segment that is built: by which centroid set, and in which order rows come to lie.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray};
use arrow::datatypes::{Float16Type, Float32Type, Int8Type};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use roaring::RoaringBitmap;
use uuid::Uuid;

use super::sorted_rows::SortedRows;
use super::vectors::RECORDS_START;
use crate::error::{Error, Result};
use crate::index::vector::{
    CentroidsMeta, CopyFinder, DistinctVectors, NamedCentroids, Random, Space, TrainingProgress,
    VectorIndexBuilder, fits, train,
};
use crate::schema::{Schema, VectorColumn};
use crate::types::VectorType;

/// A set serves until this many times the rows it was trained on are indexed at once.
const OUTGROWN: u64 = 4;

/// How the vector columns of a segment are indexed.
#[derive(Clone, Debug, Default)]
pub(crate) struct VectorIndexing {
    /// The sets there are, by column.
    pub(crate) sets: BTreeMap<String, NamedCentroids>,
    /// The name of a new set for each column that may get one.
    pub(crate) names: BTreeMap<String, Uuid>,
    /// Fewer vectors than this are not indexed: to compare them all is as fast.
    pub(crate) rows_min: usize,
    /// Whether a set that the rows have left behind is made anew.
    pub(crate) renew: bool,
    /// What training draws by.
    pub(crate) seed: u64,
    pub(crate) progress: Arc<TrainingProgress>,
}

/// The indexes of a segment.
#[derive(Debug, Default)]
pub(super) struct VectorIndexes {
    /// The rows in the order of the clusters of the first vector column, if that has an index.
    pub(super) order: Option<Vec<u32>>,
    pub(super) columns: BTreeMap<String, BuiltVectorIndex>,
}

/// The index of a column.
#[derive(Debug)]
pub(super) struct BuiltVectorIndex {
    pub(super) named: NamedCentroids,
    /// Whether the clusters are of rows that lie about as these do.
    pub(super) fits: bool,
    /// The bytes of the set, if it is new.
    pub(super) fresh: Option<Bytes>,
    /// What lies in the file of the column, from [`RECORDS_START`] on.
    pub(super) records: Vec<u8>,
    /// The section that tells where each record is.
    pub(super) section: Vec<u8>,
}

impl VectorIndexing {
    /// No index: for rows that must be written soon.
    pub(crate) fn none() -> Self {
        Self { rows_min: usize::MAX, ..Self::default() }
    }

    /// The indexes of the columns that get one. One column at a time is in memory as its metric compares it.
    pub(super) fn build(&self, schema: &Schema, source: &SortedRows) -> Result<VectorIndexes> {
        let rows = source.len() as usize;
        let mut indexes = VectorIndexes::default();
        if rows < self.rows_min {
            return Ok(indexes);
        }
        let mut positions = Vec::new();
        for (number, (name, shape)) in schema.vectors().enumerate() {
            if !(self.sets.contains_key(name) || self.names.contains_key(name)) {
                continue;
            }
            let coded = read_distinct_vectors(shape, name, source)?;
            if coded.len() < self.rows_min.max(1) {
                continue;
            }
            let ChosenCentroids { named, fits, fresh } = self.choose_centroids(name, shape, &coded)?;
            let built = VectorIndexBuilder::new(&named.set, &coded, &self.progress)?;
            if number == 0 {
                indexes.order = Some(append_missing_rows(built.order(&coded), rows));
            }
            if positions.is_empty() {
                positions = row_positions(indexes.order.as_deref(), rows);
            }
            let (records, section) =
                built.finish(&named.set, &coded, &positions, number > 0, RECORDS_START)?;
            indexes
                .columns
                .insert(name.to_owned(), BuiltVectorIndex { named, fits, fresh, records, section });
        }
        Ok(indexes)
    }

    /// The set for a column: the one there is, unless it is outgrown, or fits no longer and may be made anew.
    fn choose_centroids(
        &self,
        name: &str,
        shape: VectorColumn,
        coded: &DistinctVectors,
    ) -> Result<ChosenCentroids> {
        let rows = coded.rows.len() as u64;
        if let Some(named) = self.sets.get(name) {
            let may_be_new = self.names.contains_key(name);
            let outgrown = rows >= named.meta.trained.saturating_mul(OUTGROWN);
            if !(outgrown && may_be_new) {
                let fits = fits(&named.set, coded, &self.progress)?;
                if fits || !(self.renew && may_be_new) {
                    return Ok(ChosenCentroids { named: named.clone(), fits, fresh: None });
                }
            }
        }
        let id = *self.names.get(name).ok_or_else(|| Error::internal("a column without a set"))?;
        let mut chance = Random::new(self.seed);
        let mut random = || chance.next();
        let set = train(shape.metric, shape.code_bits, coded, &mut random, &self.progress)?;
        let bytes = set.encode();
        let meta = CentroidsMeta { id, size: bytes.len() as u64, trained: set.trained() };
        Ok(ChosenCentroids {
            named: NamedCentroids { meta, set: Arc::new(set) },
            fits: true,
            fresh: Some(bytes),
        })
    }
}

/// The set that a column is indexed by.
struct ChosenCentroids {
    named: NamedCentroids,
    fits: bool,
    fresh: Option<Bytes>,
}

/// An order of some rows, and behind them the others as they come.
fn append_missing_rows(mut order: Vec<u32>, rows: usize) -> Vec<u32> {
    let some: RoaringBitmap = order.iter().copied().collect();
    order.extend((0..).take(rows).filter(|row| !some.contains(*row)));
    order
}

/// The position of each row in an order.
pub(super) fn row_positions(order: Option<&[u32]>, rows: usize) -> Vec<u32> {
    let mut positions: Vec<u32> = (0..).take(rows).collect();
    for (position, row) in (0..).zip(order.unwrap_or_default()) {
        if let Some(slot) = positions.get_mut(*row as usize) {
            *slot = position;
        }
    }
    positions
}

/// The vectors of a column as its metric compares them, each once.
fn read_distinct_vectors(shape: VectorColumn, name: &str, source: &SortedRows) -> Result<DistinctVectors> {
    let list = |batch: &RecordBatch| {
        let array = batch.column_by_name(name).and_then(|array| array.as_fixed_size_list_opt()).cloned();
        array.ok_or_else(|| Error::internal("a vector column is missing"))
    };
    let lists: Vec<FixedSizeListArray> = source.batches().iter().map(list).collect::<Result<_>>()?;
    let mut coded = DistinctVectors { dimension: shape.dimension, ..DistinctVectors::default() };
    coded.values.reserve_exact(source.len() as usize * shape.dimension);
    // The places of what was not seen before, and the one at hand with another that may be the same.
    let (mut places, mut seen) = (Vec::new(), CopyFinder::default());
    let (mut vector, mut other) = (Vec::new(), Vec::new());
    let read = |(batch, row): (usize, usize), out: &mut Vec<f32>| {
        let list = lists.get(batch).filter(|list| list.is_valid(row));
        if let Some(list) = list {
            widen_to_f32(list.values(), shape.element, row * shape.dimension, shape.dimension, out);
        }
        list.is_some()
    };
    for (number, place) in (0..).zip(source.rows()) {
        if !read(place, &mut vector) {
            continue;
        }
        let next = u32::try_from(places.len()).map_err(|_| Error::internal("more vectors than rows"))?;
        if let Some(first) = seen.find(&vector, next)
            && places.get(first as usize).is_some_and(|place| read(*place, &mut other))
            && vector.iter().zip(&other).all(|(a, b)| a.to_bits() == b.to_bits())
        {
            coded.copies.push((first, number));
            continue;
        }
        Space::normalized(shape.metric, &vector, &mut coded.values);
        coded.rows.push(number);
        places.push(place);
    }
    coded.copies.sort_unstable();
    Ok(coded)
}

/// Components as f32.
fn widen_to_f32(values: &ArrayRef, element: VectorType, from: usize, count: usize, out: &mut Vec<f32>) {
    out.clear();
    let range = from..from + count;
    match element {
        VectorType::F32 => {
            out.extend(values.as_primitive::<Float32Type>().values().get(range).unwrap_or_default());
        }
        VectorType::F16 => {
            let values = values.as_primitive::<Float16Type>().values().get(range).unwrap_or_default();
            out.extend(values.iter().map(|x| x.to_f32()));
        }
        VectorType::I8 => {
            let values = values.as_primitive::<Int8Type>().values().get(range).unwrap_or_default();
            out.extend(values.iter().map(|x| f32::from(*x)));
        }
    }
}
