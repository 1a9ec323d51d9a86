//! Lists of any Arrow type to arrays and vectors.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, ListArray, OffsetSizeTrait, PrimitiveArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::filter;
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DataType, Float16Type, Float32Type, Float64Type, Int8Type,
};

use super::import_error::ImportError;
use super::layout::{fits_column, item_field, null_column, to_shared, vector_array};
use super::scalar::{cast_exact, import_scalars};
use crate::schema::check::{NOT_WHOLE, wrong_dimension};
use crate::schema::numbers::exact_i8;
use crate::schema::vectors::{check_f16, check_f32, check_i8, to_f16};
use crate::schema::{AttributeType, ColumnKind, VectorColumn, type_mismatch};
use crate::types::{Metric, VectorType};

/// Converts a column of lists into the Arrow type of an array attribute with these elements.
pub(super) fn import_lists(element: AttributeType, array: &ArrayRef) -> Result<ArrayRef, ImportError> {
    let kind = AttributeType::array(element)
        .ok_or_else(|| ImportError::in_column("arrays of this type do not exist"))?;
    if *array.data_type() == DataType::Null {
        return null_column(ColumnKind::Attribute(kind), array.len()).ok_or_else(ImportError::too_large);
    }
    let lists = ListColumn::open(array)?.ok_or_else(|| ImportError::wrong_type(kind, array.data_type()))?;
    let values = import_scalars(element, &lists.values).map_err(|error| lists.at_row(error))?;
    lists.check_no_nulls(&values, "null inside an array")?;
    let list = ListArray::try_new(item_field(&values), lists.offsets, values, lists.nulls);
    Ok(to_shared(list.map_err(|e| ImportError::in_column(e.to_string()))?))
}

/// Converts a column of lists of numbers into the Arrow type of a vector column.
pub(super) fn import_vectors(shape: VectorColumn, array: &ArrayRef) -> Result<ArrayRef, ImportError> {
    if !fits_column(shape, array.len()) {
        return Err(ImportError::too_large());
    }
    if *array.data_type() == DataType::Null {
        return null_column(ColumnKind::Vector(shape), array.len()).ok_or_else(ImportError::too_large);
    }
    // A batch without a vector may have any type of element: pandas infers one from the values.
    let lists = ListColumn::open(array)?
        .filter(|lists| lists.values.data_type().is_numeric() || lists.values.is_empty())
        .ok_or_else(|| ImportError::in_column(type_mismatch("a vector", array.data_type())))?;
    for (row, length) in lists.offsets.lengths().enumerate() {
        if length != shape.dimension && !lists.is_null(row) {
            return Err(ImportError::in_row(row, wrong_dimension(shape.dimension, length)));
        }
    }
    lists.check_no_nulls(&lists.values, "null inside a vector")?;
    let values = match shape.element {
        VectorType::F32 => lists.check_vectors(shape, &to_f32s(&lists.values)?, check_f32),
        VectorType::F16 => lists.check_vectors(shape, &to_f16s(shape, &lists.values)?, check_f16),
        VectorType::I8 => {
            let values = to_i8s(&lists.values).map_err(|error| lists.at_row(error))?;
            lists.check_vectors(shape, &values, check_i8)
        }
    }?;
    let list = vector_array(shape, values, lists.nulls);
    Ok(to_shared(list.map_err(|e| ImportError::in_column(e.to_string()))?))
}

/// A column of lists, whatever type it came in.
///
/// **Invariant:** `offsets` begin at 0 and cover `values`, and null rows are empty.
struct ListColumn {
    offsets: OffsetBuffer<i32>,
    values: ArrayRef,
    nulls: Option<NullBuffer>,
}

impl ListColumn {
    /// Normalizes a column of lists, or returns `None` for a column of another type.
    fn open(array: &ArrayRef) -> Result<Option<Self>, ImportError> {
        let (bounds, values) = match array.data_type() {
            DataType::List(_) => {
                (to_bounds(array.as_list::<i32>().offsets()), array.as_list::<i32>().values())
            }
            DataType::LargeList(_) => {
                (to_bounds(array.as_list::<i64>().offsets()), array.as_list::<i64>().values())
            }
            DataType::FixedSizeList(_, size) => {
                let size = size.as_usize();
                ((0..=array.len()).map(|row| row * size).collect(), array.as_fixed_size_list().values())
            }
            _ => return Ok(None),
        };
        let (Some(&first), Some(&last)) = (bounds.first(), bounds.last()) else {
            return Err(ImportError::in_column("a list without offsets"));
        };
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0).cloned();
        let is_valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        // The pairs of neighbours: one length less than there are bounds.
        let lengths: Vec<usize> =
            bounds.iter().zip(bounds.iter().skip(1)).map(|(from, to)| to - from).collect();
        let visible = lengths.iter().enumerate().map(|(row, &length)| if is_valid(row) { length } else { 0 });
        let offsets = OffsetBuffer::try_from_lengths(visible);
        let offsets: OffsetBuffer<i32> = offsets.map_err(|_| ImportError::too_large())?;
        // A slice of an array keeps the values of the whole.
        let values = values.slice(first, last - first);
        // Null rows may have values beneath them: of any kind, so that they must not be checked or stored.
        let has_hidden = values.len() != offsets.lengths().sum::<usize>();
        let values = if has_hidden { drop_hidden(&values, &lengths, is_valid)? } else { values };
        Ok(Some(Self { offsets, values, nulls }))
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// The row that an element belongs to.
    fn find_row(&self, element: usize) -> usize {
        // Offsets begin at 0, so that at least one is not greater than the element: the subtraction never underflows.
        // Of several equal offsets, which belong to empty rows, the search passes all but the last.
        self.offsets.partition_point(|offset| offset.as_usize() <= element) - 1
    }

    /// Turns an error about an element into one about its row.
    fn at_row(&self, error: ImportError) -> ImportError {
        error.map_row(|element| self.find_row(element))
    }

    fn check_no_nulls(&self, values: &ArrayRef, why: &str) -> Result<(), ImportError> {
        let first = values.logical_nulls().and_then(|nulls| (0..nulls.len()).find(|i| nulls.is_null(*i)));
        first.map_or(Ok(()), |element| Err(ImportError::in_row(self.find_row(element), why)))
    }

    /// Checks the vectors and returns the components of all rows, with zeros where rows are null.
    fn check_vectors<T: ArrowPrimitiveType>(
        &self,
        shape: VectorColumn,
        values: &PrimitiveArray<T>,
        check: impl Fn(Metric, &[T::Native]) -> Result<(), &'static str>,
    ) -> Result<ArrayRef, ImportError> {
        let row_of = |vector: usize| self.find_row(vector * shape.dimension);
        for (number, vector) in values.values().chunks_exact(shape.dimension).enumerate() {
            check(shape.metric, vector).map_err(|why| ImportError::in_row(row_of(number), why))?;
        }
        if self.nulls.is_none() {
            return Ok(to_shared(PrimitiveArray::<T>::new(values.values().clone(), None)));
        }
        // Null rows are empty here and take a vector's room in the layout: the others move apart.
        let rows = self.offsets.len() - 1;
        let mut spread = Vec::with_capacity(rows * shape.dimension);
        let mut vectors = values.values().chunks_exact(shape.dimension);
        for row in 0..rows {
            match if self.is_null(row) { None } else { vectors.next() } {
                Some(vector) => spread.extend_from_slice(vector),
                None => spread.resize(spread.len() + shape.dimension, T::Native::default()),
            }
        }
        Ok(to_shared(PrimitiveArray::<T>::new(spread.into(), None)))
    }
}

fn to_bounds<O: OffsetSizeTrait>(offsets: &[O]) -> Vec<usize> {
    offsets.iter().map(|offset| offset.as_usize()).collect()
}

/// The elements of the rows that are not null.
fn drop_hidden(
    values: &ArrayRef,
    lengths: &[usize],
    is_valid: impl Fn(usize) -> bool,
) -> Result<ArrayRef, ImportError> {
    let mut mask = BooleanBufferBuilder::new(values.len());
    for (row, length) in lengths.iter().enumerate() {
        mask.append_n(*length, is_valid(row));
    }
    let mask = BooleanArray::new(mask.finish(), None);
    filter(values, &mask).map_err(|e| ImportError::in_column(e.to_string()))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounds; a component that does not fit becomes infinite, which is refused"
)]
fn to_f32s(values: &ArrayRef) -> Result<PrimitiveArray<Float32Type>, ImportError> {
    // Arrow's exact cast fails where an f64 is too large. A document reports an infinite component there: so does this.
    if let Some(wide) = values.as_primitive_opt::<Float64Type>() {
        return Ok(wide.unary(|x| x as f32));
    }
    Ok(cast_exact(values, &DataType::Float32)?.as_primitive().clone())
}

fn to_f16s(shape: VectorColumn, values: &ArrayRef) -> Result<PrimitiveArray<Float16Type>, ImportError> {
    if let Some(halves) = values.as_primitive_opt::<Float16Type>() {
        return Ok(halves.clone());
    }
    // Vector by vector, since by cosine the length of each decides how it is scaled.
    let wide = to_f32s(values)?;
    let vectors = wide.values().chunks_exact(shape.dimension);
    Ok(PrimitiveArray::from_iter_values(vectors.flat_map(|vector| to_f16(shape.metric, vector))))
}

fn to_i8s(values: &ArrayRef) -> Result<PrimitiveArray<Int8Type>, ImportError> {
    if let Some(bytes) = values.as_primitive_opt::<Int8Type>() {
        return Ok(bytes.clone());
    }
    let floats = to_f32s(values)?;
    let mut bytes = Vec::with_capacity(floats.len());
    for (element, x) in floats.values().iter().enumerate() {
        bytes.push(exact_i8(*x).ok_or_else(|| ImportError::in_row(element, NOT_WHOLE))?);
    }
    Ok(PrimitiveArray::new(bytes.into(), floats.nulls().cloned()))
}
