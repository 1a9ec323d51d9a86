//! Keys: values as bytes that compare as the values do.

use arrow::array::types::{ArrowPrimitiveType, Float64Type, Int64Type, TimestampMillisecondType, UInt64Type};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use bytes::Bytes;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::schema::AttributeType;
use crate::types::Value;

/// A longer value is stored by its first bytes. What is this long may therefore be the start of any longer value.
pub(super) const KEY_BYTES_MAX: usize = 128;

/// Whether a key as it is stored is the whole of its value.
pub(crate) fn is_whole(key: &[u8]) -> bool {
    key.len() < KEY_BYTES_MAX
}

/// The number or truth value of a key by its bits, as they are in an Arrow array. Of other keys, 0.
pub(crate) fn bits_of(kind: AttributeType, key: &[u8]) -> u64 {
    let bits = key.try_into().map_or(0, u64::from_be_bytes);
    match kind {
        AttributeType::Int | AttributeType::Datetime => bits ^ (1 << 63),
        AttributeType::Float => {
            if bits >> 63 == 0 {
                !bits
            } else {
                bits ^ (1 << 63)
            }
        }
        AttributeType::Bool => key.first().copied().unwrap_or_default().into(),
        _ => bits,
    }
}

/// The value of a whole key of a type that is no array; `None` if it is no key of the type.
pub(crate) fn value_of(kind: AttributeType, key: &[u8]) -> Option<Value> {
    if width(kind).is_some_and(|width| width != key.len()) {
        return None;
    }
    let bits = bits_of(kind, key);
    Some(match kind {
        AttributeType::Int => Value::Int(bits.cast_signed()),
        AttributeType::Datetime => Value::Datetime(bits.cast_signed()),
        AttributeType::Uint => Value::Uint(bits),
        AttributeType::Float => Value::Float(f64::from_bits(bits)),
        AttributeType::Bool => Value::Bool(bits != 0),
        AttributeType::Uuid => Value::Uuid(Uuid::from_slice(key).ok()?),
        AttributeType::String => Value::String(String::from_utf8(key.to_vec()).ok()?),
        AttributeType::Bytes => Value::Bytes(Bytes::copy_from_slice(key)),
        _ => return None,
    })
}

/// Bytes of every key of a type, or `None` where they differ.
pub(super) fn width(kind: AttributeType) -> Option<usize> {
    match kind.element().unwrap_or(kind) {
        AttributeType::Bool => Some(1),
        AttributeType::Uuid => Some(16),
        AttributeType::String | AttributeType::Bytes => None,
        _ => Some(8),
    }
}

fn signed(bits: u64) -> [u8; 8] {
    (bits ^ (1 << 63)).to_be_bytes()
}

/// In the total order of IEEE 754, which is Arrow's.
fn float(bits: u64) -> [u8; 8] {
    (if bits >> 63 == 0 { bits ^ (1 << 63) } else { !bits }).to_be_bytes()
}

/// Calls `each` with the row and the key of every value that is not null, in the order of the rows. The elements of
/// arrays are values of their row.
pub(crate) fn each_key(array: &ArrayRef, mut each: impl FnMut(usize, &[u8])) -> Result<()> {
    let Some(list) = array.as_list_opt::<i32>() else { return scalars(array, &mut each) };
    let ends: Vec<usize> =
        list.value_offsets().iter().map(|offset| usize::try_from(*offset).unwrap_or(0)).collect();
    let Some((first, ends)) = ends.split_first() else { return Ok(()) };
    let mut row = 0;
    scalars(list.values(), &mut |at, key| {
        while ends.get(row).is_some_and(|end| *end <= at) {
            row += 1;
        }
        // The slot of a null may hold elements, and a slice of an array shares all of them.
        if at >= *first && row < list.len() && list.is_valid(row) {
            each(row, key);
        }
    })
}

fn scalars(array: &ArrayRef, each: &mut dyn FnMut(usize, &[u8])) -> Result<()> {
    fn numbers<T: ArrowPrimitiveType>(
        array: &ArrayRef,
        each: &mut dyn FnMut(usize, &[u8]),
        key: impl Fn(T::Native) -> [u8; 8],
    ) -> Option<()> {
        let array = array.as_primitive_opt::<T>()?;
        array.iter().enumerate().for_each(|(at, x)| {
            if let Some(x) = x {
                each(at, &key(x));
            }
        });
        Some(())
    }
    macro_rules! bytes {
        ($array:expr) => {
            $array.map(|array| {
                for (at, x) in array.iter().enumerate() {
                    if let Some(x) = x {
                        each(at, x.as_ref());
                    }
                }
            })
        };
    }
    let done = match array.data_type() {
        DataType::Int64 => numbers::<Int64Type>(array, each, |x| signed(x.cast_unsigned())),
        DataType::Timestamp(..) => {
            numbers::<TimestampMillisecondType>(array, each, |x| signed(x.cast_unsigned()))
        }
        DataType::UInt64 => numbers::<UInt64Type>(array, each, u64::to_be_bytes),
        DataType::Float64 => numbers::<Float64Type>(array, each, |x| float(x.to_bits())),
        DataType::Boolean => array.as_boolean_opt().map(|array| {
            for (at, x) in array.iter().enumerate() {
                if let Some(x) = x {
                    each(at, &[u8::from(x)]);
                }
            }
        }),
        DataType::Utf8 => bytes!(array.as_string_opt::<i32>()),
        DataType::Binary => bytes!(array.as_binary_opt::<i32>()),
        DataType::FixedSizeBinary(16) => bytes!(array.as_fixed_size_binary_opt()),
        _ => None,
    };
    done.ok_or_else(|| Error::internal("a column of this type has no keys"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_order_as_their_keys() {
        let floats = [f64::NEG_INFINITY, -1.0, -5e-324, -0.0, 0.0, 5e-324, 1.0, f64::INFINITY];
        let keys = floats.map(|x| float(x.to_bits()));
        assert!(keys.is_sorted_by(|a, b| a < b));
        let keys = [i64::MIN, -1, 0, 1, i64::MAX].map(|x| signed(x.cast_unsigned()));
        assert!(keys.is_sorted_by(|a, b| a < b));
        for bits in [0, 1, u64::MAX, 1.5_f64.to_bits(), (-1.5_f64).to_bits()] {
            assert_eq!(bits_of(AttributeType::Int, &signed(bits)), bits);
            assert_eq!(bits_of(AttributeType::Float, &float(bits)), bits);
        }
    }
}
