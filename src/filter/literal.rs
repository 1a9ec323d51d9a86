//! Values of a filter as Arrow arrays, and sets of them.
//!
//! **Invariant:** values have been coerced into the type of their column, and none is null.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use arrow::array::types::{ArrowPrimitiveType, Float64Type, Int64Type, TimestampMillisecondType, UInt64Type};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, FixedSizeBinaryBuilder, Float64Array, Int64Array,
    ListArray, StringArray, TimestampMillisecondArray, UInt64Array,
};
use arrow::buffer::{BooleanBuffer, OffsetBuffer};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};

use crate::error::{Error, OrInternal, Result};
use crate::index::attributes::KeyList;
use crate::schema::AttributeType;
use crate::types::Value;

/// The values as an array of their type.
pub(super) fn build_array(kind: AttributeType, values: Vec<Value>) -> Result<ArrayRef> {
    let DataType::List(field) = kind.arrow_type() else { return build_scalars(kind, &values) };
    let element = kind.element().ok_or_else(|| mismatch(kind))?;
    let mut lengths = Vec::with_capacity(values.len());
    let mut flat = Vec::new();
    for value in values {
        let Value::Array(elements) = value else { return Err(mismatch(kind)) };
        lengths.push(elements.len());
        flat.extend(elements);
    }
    // The field of the type, so that kernels find equal types on both sides.
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(field, offsets, build_scalars(element, &flat)?, None).or_internal()?))
}

fn build_scalars(kind: AttributeType, values: &[Value]) -> Result<ArrayRef> {
    macro_rules! each {
        ($variant:ident) => {
            values.iter().filter_map(|v| if let Value::$variant(x) = v { Some(x) } else { None })
        };
    }
    let array: ArrayRef = match kind {
        AttributeType::String => Arc::new(StringArray::from_iter_values(each!(String))),
        AttributeType::Int => Arc::new(Int64Array::from_iter_values(each!(Int).copied())),
        AttributeType::Uint => Arc::new(UInt64Array::from_iter_values(each!(Uint).copied())),
        AttributeType::Float => Arc::new(Float64Array::from_iter_values(each!(Float).copied())),
        AttributeType::Bool => Arc::new(BooleanArray::from(each!(Bool).copied().collect::<Vec<_>>())),
        AttributeType::Datetime => {
            let array = TimestampMillisecondArray::from_iter_values(each!(Datetime).copied());
            Arc::new(array.with_timezone("UTC"))
        }
        AttributeType::Uuid => {
            let mut builder = FixedSizeBinaryBuilder::with_capacity(values.len(), 16);
            for uuid in each!(Uuid) {
                builder.append_value(uuid.as_bytes()).or_internal()?;
            }
            Arc::new(builder.finish())
        }
        AttributeType::Bytes => Arc::new(BinaryArray::from_iter_values(each!(Bytes))),
        _ => return Err(mismatch(kind)),
    };
    // Values of another variant were skipped above.
    if array.len() == values.len() { Ok(array) } else { Err(mismatch(kind)) }
}

fn mismatch(kind: AttributeType) -> Error {
    Error::internal(format!("a value of a filter is not {kind}"))
}

/// A set of values of one type: hashed for the evaluation on batches, and as sorted keys for indexes and statistics.
// Both forms are built on first use: which are needed depends on the segments, and a list may have 100,000 values.
#[derive(Debug)]
pub(super) struct ValueSet {
    kind: AttributeType,
    values: ArrayRef,
    hashed: OnceLock<HashedValues>,
    keys: OnceLock<Arc<KeyList>>,
}

#[derive(Debug)]
enum HashedValues {
    /// Numbers and booleans, by their bits.
    Bits(HashSet<u64>),
    /// Strings, bytes and UUIDs.
    Bytes(HashSet<Box<[u8]>>),
    /// Arrays, in Arrow's row format.
    Rows(HashSet<Box<[u8]>>),
}

impl ValueSet {
    pub(super) fn new(kind: AttributeType, values: Vec<Value>) -> Result<Self> {
        Ok(Self { kind, values: build_array(kind, values)?, hashed: OnceLock::new(), keys: OnceLock::new() })
    }

    /// Which values of a column are in the set. The bits of nulls have no meaning.
    pub(super) fn contains(&self, array: &ArrayRef) -> Result<BooleanBuffer> {
        // Two threads may build it at once. Only one result is kept, and no thread waits for another.
        let hashed = if let Some(hashed) = self.hashed.get() {
            hashed
        } else {
            let hashed = HashedValues::new(&self.values, self.kind)?;
            self.hashed.get_or_init(|| hashed)
        };
        match hashed {
            HashedValues::Bits(set) => test_bits(array, |bits| set.contains(&bits)),
            HashedValues::Bytes(set) => test_bytes(array, |bytes| set.contains(bytes)),
            HashedValues::Rows(set) => {
                let rows = encode_rows(array, self.kind)?;
                Some(rows.iter().map(|row| set.contains(row.as_ref())).collect())
            }
        }
        .ok_or_else(|| mismatch(self.kind))
    }

    /// The keys of the values in order; `None` for arrays, which have no keys as a whole.
    pub(super) fn keys(&self) -> Option<Arc<KeyList>> {
        if self.values.data_type().is_nested() {
            return None;
        }
        if let Some(keys) = self.keys.get() {
            return Some(Arc::clone(keys));
        }
        // Without keys the predicate is left to evaluation, which is correct for every type and reports the error.
        let keys = Arc::new(KeyList::new(&self.values).ok()?);
        Some(Arc::clone(self.keys.get_or_init(|| keys)))
    }
}

impl HashedValues {
    fn new(array: &ArrayRef, kind: AttributeType) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::List(_) => {
                Self::Rows(encode_rows(array, kind)?.iter().map(|row| row.as_ref().into()).collect())
            }
            DataType::Utf8 | DataType::Binary | DataType::FixedSizeBinary(_) => {
                let mut set = HashSet::with_capacity(array.len());
                test_bytes(array, |bytes| set.insert(bytes.into())).ok_or_else(|| mismatch(kind))?;
                Self::Bytes(set)
            }
            _ => {
                let mut set = HashSet::with_capacity(array.len());
                test_bits(array, |bits| set.insert(bits)).ok_or_else(|| mismatch(kind))?;
                Self::Bits(set)
            }
        })
    }
}

/// Tests the bits of every number or boolean; `None` for another type.
// Minus zero is stored as zero and NaN is rejected, so equal floats have equal bits.
fn test_bits(array: &ArrayRef, mut test: impl FnMut(u64) -> bool) -> Option<BooleanBuffer> {
    fn bits<T: ArrowPrimitiveType>(
        array: &ArrayRef,
        mut test: impl FnMut(T::Native) -> bool,
    ) -> Option<BooleanBuffer> {
        Some(array.as_primitive_opt::<T>()?.values().iter().map(|x| test(*x)).collect())
    }
    match array.data_type() {
        DataType::Int64 => bits::<Int64Type>(array, |x| test(x.cast_unsigned())),
        DataType::Timestamp(..) => bits::<TimestampMillisecondType>(array, |x| test(x.cast_unsigned())),
        DataType::UInt64 => bits::<UInt64Type>(array, test),
        DataType::Float64 => bits::<Float64Type>(array, |x| test(x.to_bits())),
        DataType::Boolean => Some(array.as_boolean_opt()?.values().iter().map(|x| test(x.into())).collect()),
        _ => None,
    }
}

/// Tests the bytes of every string, byte string or UUID; `None` for another type.
fn test_bytes(array: &ArrayRef, mut test: impl FnMut(&[u8]) -> bool) -> Option<BooleanBuffer> {
    Some(match array.data_type() {
        DataType::Utf8 => {
            let array = array.as_string_opt::<i32>()?;
            BooleanBuffer::collect_bool(array.len(), |row| test(array.value(row).as_bytes()))
        }
        DataType::Binary => {
            let array = array.as_binary_opt::<i32>()?;
            BooleanBuffer::collect_bool(array.len(), |row| test(array.value(row)))
        }
        DataType::FixedSizeBinary(_) => {
            let array = array.as_fixed_size_binary_opt()?;
            BooleanBuffer::collect_bool(array.len(), |row| test(array.value(row)))
        }
        _ => return None,
    })
}

/// Arrays as bytes that are equal exactly when the arrays are.
fn encode_rows(array: &ArrayRef, kind: AttributeType) -> Result<Rows> {
    let list = array.as_list_opt::<i32>().ok_or_else(|| mismatch(kind))?;
    let kind = kind.arrow_type();
    let DataType::List(field) = &kind else { return Err(Error::internal("not an array type")) };
    // Readers choose the name and nullability of the element's field, and the converter rejects another than its own.
    let (_, offsets, values, nulls) = list.clone().into_parts();
    let list: ArrayRef =
        Arc::new(ListArray::try_new(Arc::clone(field), offsets, values, nulls).or_internal()?);
    RowConverter::new(vec![SortField::new(kind)]).or_internal()?.convert_columns(&[list]).or_internal()
}
