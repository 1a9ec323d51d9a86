//! Lists of any Arrow type into arrays and vectors.

use super::refusal::Refusal;
use super::scalar::{cast, scalar};
use super::{holds, item, nulls, shared, vectors};
use crate::schema::measure::{check_f16, check_f32, check_i8, to_f16};
use crate::schema::{AttributeType, ColumnKind, VectorColumn};
use crate::types::{Metric, VectorType};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, ListArray, OffsetSizeTrait, PrimitiveArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::filter;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float16Type, Float32Type, Float64Type, Int8Type};

/// Brings a column of lists into the Arrow type of an array of `element`.
pub(super) fn list(element: AttributeType, array: &ArrayRef) -> Result<ArrayRef, Refusal> {
    let kind =
        AttributeType::array(element).ok_or_else(|| Refusal::whole("there is no such array".into()))?;
    if *array.data_type() == DataType::Null {
        return nulls(ColumnKind::Attribute(kind), array.len()).ok_or_else(Refusal::too_large);
    }
    let lists = Lists::open(array)?.ok_or_else(|| Refusal::kind(kind, array.data_type()))?;
    let values = scalar(element, &lists.values).map_err(|refusal| lists.lift(refusal))?;
    lists.no_nulls(&values, "null inside an array")?;
    let list = ListArray::try_new(item(&values), lists.offsets, values, lists.nulls);
    Ok(shared(list.map_err(|e| Refusal::whole(e.to_string()))?))
}

/// Brings a column of lists of numbers into the Arrow type of a vector column.
pub(super) fn vector(shape: VectorColumn, array: &ArrayRef) -> Result<ArrayRef, Refusal> {
    if !holds(shape, array.len()) {
        return Err(Refusal::too_large());
    }
    if *array.data_type() == DataType::Null {
        return nulls(ColumnKind::Vector(shape), array.len()).ok_or_else(Refusal::too_large);
    }
    let lists = Lists::open(array)?
        .filter(|lists| lists.values.data_type().is_numeric() || lists.values.is_empty())
        .ok_or_else(|| {
            Refusal::whole(format!("wrong type: a vector is expected, this is {}", array.data_type()))
        })?;
    for (row, length) in lists.offsets.lengths().enumerate() {
        if length != shape.dimension && !lists.is_null(row) {
            let expected = shape.dimension;
            return Err(Refusal::at(
                row,
                &format!("wrong dimension: {expected} is expected, this is {length}"),
            ));
        }
    }
    lists.no_nulls(&lists.values, "null inside a vector")?;
    let values = match shape.element {
        VectorType::F32 => lists.vectors(shape, &f32s(&lists.values)?, check_f32),
        VectorType::F16 => lists.vectors(shape, &f16s(shape, &lists.values)?, check_f16),
        VectorType::I8 => {
            let values = i8s(&lists.values).map_err(|refusal| lists.lift(refusal))?;
            lists.vectors(shape, &values, check_i8)
        }
    }?;
    let list = vectors(shape, values, lists.nulls);
    Ok(shared(list.map_err(|e| Refusal::whole(e.to_string()))?))
}

/// Lists, whatever they came in: `offsets` begin at 0 and cover `values`, and null rows are empty.
struct Lists {
    offsets: OffsetBuffer<i32>,
    values: ArrayRef,
    nulls: Option<NullBuffer>,
}

impl Lists {
    fn open(array: &ArrayRef) -> Result<Option<Self>, Refusal> {
        let (bounds, values) = match array.data_type() {
            DataType::List(_) => (bounds(array.as_list::<i32>().offsets()), array.as_list::<i32>().values()),
            DataType::LargeList(_) => {
                (bounds(array.as_list::<i64>().offsets()), array.as_list::<i64>().values())
            }
            DataType::FixedSizeList(_, size) => {
                let size = usize::try_from(*size).unwrap_or(0);
                ((0..=array.len()).map(|row| row * size).collect(), array.as_fixed_size_list().values())
            }
            _ => return Ok(None),
        };
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0).cloned();
        let (first, last) = (bounds.first().copied().unwrap_or(0), bounds.last().copied().unwrap_or(0));
        let all: Vec<usize> = bounds.iter().zip(bounds.iter().skip(1)).map(|(from, to)| to - from).collect();
        let valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        let kept = |(row, &length): (usize, &usize)| if valid(row) { length } else { 0 };
        let offsets = OffsetBuffer::try_from_lengths(all.iter().enumerate().map(kept));
        let offsets: OffsetBuffer<i32> = offsets.map_err(|_| Refusal::too_large())?;
        let values = values.slice(first, last - first);
        let hidden = values.len() != offsets.lengths().sum::<usize>();
        let values = if hidden { visible(&values, &all, valid)? } else { values };
        Ok(Some(Self { offsets, values, nulls }))
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// The row that an element belongs to.
    fn row(&self, element: usize) -> usize {
        let after = |offset: &i32| usize::try_from(*offset).is_ok_and(|offset| offset <= element);
        self.offsets.partition_point(after).saturating_sub(1)
    }

    /// What is said of an element, said of its row.
    fn lift(&self, refusal: Refusal) -> Refusal {
        refusal.lift(|element| self.row(element))
    }

    fn no_nulls(&self, values: &ArrayRef, why: &str) -> Result<(), Refusal> {
        let first = values.logical_nulls().and_then(|nulls| (0..nulls.len()).find(|i| nulls.is_null(*i)));
        first.map_or(Ok(()), |element| Err(Refusal::at(self.row(element), why)))
    }

    /// Checks the components and puts zeros where rows are null.
    fn vectors<T: ArrowPrimitiveType>(
        &self,
        shape: VectorColumn,
        values: &PrimitiveArray<T>,
        check: impl Fn(Metric, &[T::Native]) -> Result<(), &'static str>,
    ) -> Result<ArrayRef, Refusal> {
        let at = |vector: usize| self.row(vector * shape.dimension);
        for (place, vector) in values.values().chunks_exact(shape.dimension).enumerate() {
            check(shape.metric, vector).map_err(|why| Refusal::at(at(place), why))?;
        }
        if self.nulls.is_none() {
            return Ok(shared(PrimitiveArray::<T>::new(values.values().clone(), None)));
        }
        let rows = self.offsets.len() - 1;
        let mut spread = Vec::with_capacity(rows * shape.dimension);
        let mut vectors = values.values().chunks_exact(shape.dimension);
        for row in 0..rows {
            match if self.is_null(row) { None } else { vectors.next() } {
                Some(vector) => spread.extend_from_slice(vector),
                None => spread.resize(spread.len() + shape.dimension, T::Native::default()),
            }
        }
        Ok(shared(PrimitiveArray::<T>::new(spread.into(), None)))
    }
}

fn bounds<O: OffsetSizeTrait>(offsets: &[O]) -> Vec<usize> {
    offsets.iter().map(|offset| offset.as_usize()).collect()
}

/// The elements of the rows that are not null.
fn visible(values: &ArrayRef, lengths: &[usize], valid: impl Fn(usize) -> bool) -> Result<ArrayRef, Refusal> {
    let mut mask = BooleanBufferBuilder::new(values.len());
    for (row, length) in lengths.iter().enumerate() {
        mask.append_n(*length, valid(row));
    }
    let mask = BooleanArray::new(mask.finish(), None);
    filter(values, &mask).map_err(|e| Refusal::whole(e.to_string()))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounds; what does not fit becomes infinite and is refused"
)]
fn f32s(values: &ArrayRef) -> Result<PrimitiveArray<Float32Type>, Refusal> {
    if let Some(wide) = values.as_primitive_opt::<Float64Type>() {
        return Ok(wide.unary(|x| x as f32));
    }
    Ok(cast(values, &DataType::Float32)?.as_primitive().clone())
}

fn f16s(shape: VectorColumn, values: &ArrayRef) -> Result<PrimitiveArray<Float16Type>, Refusal> {
    if let Some(same) = values.as_primitive_opt::<Float16Type>() {
        return Ok(same.clone());
    }
    let wide = f32s(values)?;
    let vectors = wide.values().chunks_exact(shape.dimension);
    Ok(PrimitiveArray::from_iter_values(vectors.flat_map(|vector| to_f16(shape.metric, vector))))
}

fn i8s(values: &ArrayRef) -> Result<PrimitiveArray<Int8Type>, Refusal> {
    if let Some(same) = values.as_primitive_opt::<Int8Type>() {
        return Ok(same.clone());
    }
    let floats = f32s(values)?;
    let whole = |x: &f32| x.fract() == 0.0 && (-128.0..=127.0).contains(x);
    if let Some(element) = floats.values().iter().position(|x| !whole(x)) {
        return Err(Refusal::at(element, "i8 takes whole numbers from -128 to 127"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked above")]
    Ok(floats.unary(|x| x as i8))
}
