//! Components of vectors as bytes of a file and as an Arrow array. Both are the same bytes on every processor that
//! matters, and then neither way copies them.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, FixedSizeListArray, PrimitiveArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, Float16Type, Float32Type, Int8Type};
use bytes::Bytes;
use half::f16;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::types::VectorType;

/// The components of all rows of an array, `width` bytes each, as they are stored. They share the memory of the array
/// unless something other than zeros stands under a null.
pub(super) fn array_components(
    list: &FixedSizeListArray,
    element: VectorType,
    width: usize,
) -> Result<Bytes> {
    let mut components = match element {
        VectorType::F32 => primitive_bytes::<Float32Type, 4>(list, f32::to_le_bytes),
        VectorType::F16 => primitive_bytes::<Float16Type, 2>(list, f16::to_le_bytes),
        VectorType::I8 => primitive_bytes::<Int8Type, 1>(list, i8::to_le_bytes),
    };
    let length = list.len() * width;
    if components.len() < length {
        return Err(Error::internal("a list of vectors ends early"));
    }
    components.truncate(length);
    Ok(match list.nulls() {
        Some(nulls) => zeroed_nulls(components, nulls, width),
        None => components,
    })
}

fn primitive_bytes<T: ArrowPrimitiveType, const N: usize>(
    list: &FixedSizeListArray,
    encode: impl Fn(T::Native) -> [u8; N],
) -> Bytes {
    let values = list.values().as_primitive::<T>().values();
    if cfg!(target_endian = "little") {
        return values.inner().clone().into();
    }
    values.iter().flat_map(|x| encode(*x)).collect()
}

/// What stands under a null is anything. Zeros make equal rows equal files.
fn zeroed_nulls(components: Bytes, nulls: &NullBuffer, width: usize) -> Bytes {
    let is_zero = |vector: &[u8]| vector.iter().all(|byte| *byte == 0);
    if components.chunks_exact(width).zip(nulls).all(|(vector, valid)| valid || is_zero(vector)) {
        return components;
    }
    let mut zeroed = components.to_vec();
    for (vector, _) in zeroed.chunks_exact_mut(width).zip(nulls).filter(|(_, valid)| !valid) {
        vector.fill(0);
    }
    zeroed.into()
}

/// An array of the components in `runs`, one behind the other. It shares the memory of a single run, which is copied only
/// if it does not begin where elements may.
pub(super) fn components_array(runs: &[Bytes], element: VectorType) -> ArrayRef {
    match element {
        VectorType::F32 => primitive_array::<Float32Type, 4>(runs, f32::from_le_bytes),
        VectorType::F16 => primitive_array::<Float16Type, 2>(runs, f16::from_le_bytes),
        VectorType::I8 => primitive_array::<Int8Type, 1>(runs, i8::from_le_bytes),
    }
}

fn primitive_array<T: ArrowPrimitiveType, const N: usize>(
    runs: &[Bytes],
    decode: impl Fn([u8; N]) -> T::Native,
) -> ArrayRef {
    let values = match runs {
        [run] if cfg!(target_endian = "little") && is_aligned::<T::Native>(run) => {
            ScalarBuffer::new(run.clone().into(), 0, run.len() / N)
        }
        _ => {
            let mut values = Vec::with_capacity(runs.iter().map(|run| run.len() / N).sum());
            // The width of a vector is a multiple of that of a component, so that chunks leave nothing over.
            for run in runs {
                values.extend(run.as_chunks().0.iter().map(|bytes| decode(*bytes)));
            }
            values.into()
        }
    };
    Arc::new(PrimitiveArray::<T>::new(values, None))
}

/// Whether values of a type may lie where `bytes` begin.
fn is_aligned<N: ArrowNativeType>(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(align_of::<N>())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float32Array, Int8Array};
    use arrow::datatypes::{DataType, Field};

    use super::*;

    fn list(values: ArrayRef, nulls: Option<NullBuffer>) -> FixedSizeListArray {
        let field = Field::new("item", values.data_type().clone(), false);
        FixedSizeListArray::new(Arc::new(field), 3, values, nulls)
    }

    #[test]
    fn bytes_are_those_of_the_array_and_back() {
        let values = Float32Array::from_iter_values((0..30_u8).map(f32::from));
        let start = values.values().as_ptr().addr();
        let whole = list(Arc::new(values), None);
        // A slice begins within the buffer.
        let bytes = array_components(&whole.slice(2, 5), VectorType::F32, 12).unwrap();
        assert_eq!((bytes.as_ptr().addr(), bytes.len()), (start + 24, 60));
        let array = components_array(std::slice::from_ref(&bytes), VectorType::F32);
        assert_eq!(array.as_primitive::<Float32Type>().values().as_ptr().addr(), start + 24);
        assert_eq!(&array, whole.slice(2, 5).values());
        assert_eq!(array.data_type(), &DataType::Float32);
    }

    #[test]
    fn bytes_that_cannot_be_shared_are_copied() {
        let values = Float32Array::from_iter_values((0..30_u8).map(f32::from));
        let bytes = array_components(&list(Arc::new(values.clone()), None), VectorType::F32, 12).unwrap();
        let shifted = Bytes::from([&[0], &bytes[..]].concat()).slice(1..);
        assert!(!is_aligned::<f32>(&shifted) || !is_aligned::<f32>(&shifted.slice(1..)));
        for bytes in [shifted.clone(), Bytes::copy_from_slice(&bytes)] {
            assert_eq!(components_array(&[bytes], VectorType::F32).as_primitive(), &values);
        }
        let runs = [shifted.slice(..24), shifted.slice(24..)];
        assert_eq!(components_array(&runs, VectorType::F32).as_primitive(), &values);
        assert!(components_array(&[], VectorType::F16).is_empty());
        assert!(components_array(&[Bytes::new()], VectorType::F32).is_empty());
    }

    #[test]
    fn what_stands_under_a_null_becomes_zeros() {
        let nulls = || Some(vec![true, false, true].into());
        let dirty: ArrayRef = Arc::new(Int8Array::from_iter_values(1..10));
        let bytes = array_components(&list(dirty, nulls()), VectorType::I8, 3).unwrap();
        assert_eq!(bytes, [1, 2, 3, 0, 0, 0, 7, 8, 9].as_slice());
        let clean = Int8Array::from(vec![1, 2, 3, 0, 0, 0, 7, 8, 9]);
        let start = clean.values().as_ptr().addr();
        let bytes = array_components(&list(Arc::new(clean), nulls()), VectorType::I8, 3).unwrap();
        assert_eq!(bytes.as_ptr().addr(), start, "nothing had to be changed");
    }
}
