//! Reading the vectors of a column from the batches that a segment is built of.

use arrow::array::{Array, AsArray, FixedSizeListArray};
use arrow::datatypes::{Float16Type, Float32Type, Int8Type};
use arrow::record_batch::RecordBatch;

use super::sorted_rows::SortedRows;
use crate::codec::{to_u32, usize_of};
use crate::error::{Error, Result};
use crate::index::vector::{CopyFinder, DistinctVectors, Space};
use crate::schema::VectorColumn;
use crate::types::VectorType;

/// The vectors of the column at `index` of a batch as its metric compares them, each once.
///
/// Placeholders and texts that occur twice make copies, which would count for more than all other vectors in
/// training: it sees each vector once, and the index names the rows of its copies.
pub(super) fn read_distinct_vectors(
    shape: VectorColumn,
    index: usize,
    rows: &SortedRows,
) -> Result<DistinctVectors> {
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
        read_vector(self.shape, list, row, out)
    }
}

/// Puts the components of a vector, as f32, in place of what is in `out`. `false` if the row has none.
pub(super) fn read_vector(
    shape: VectorColumn,
    list: &FixedSizeListArray,
    row: usize,
    out: &mut Vec<f32>,
) -> Result<bool> {
    if list.is_null(row) {
        return Ok(false);
    }
    out.clear();
    let range = row * shape.dimension..(row + 1) * shape.dimension;
    let missing = || Error::internal("a vector beyond the end of its column");
    let values = list.values();
    match shape.element {
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
