//! Keys: values as bytes that compare as the values do.

use arrow::array::types::{ArrowPrimitiveType, Float64Type, Int64Type, TimestampMillisecondType, UInt64Type};
use arrow::array::{Array, ArrayRef, AsArray, ListArray};
use arrow::datatypes::DataType;
use bytes::Bytes;
use uuid::Uuid;

use crate::codec::to_usize;
use crate::error::{Error, Result};
use crate::schema::AttributeType;
use crate::types::Value;

/// A longer value is stored by its first bytes. A key of this length may therefore be the start of any longer value.
///
/// Without a limit a few long texts would fill blocks, and 16 bits would not hold where a key ends.
pub(crate) const KEY_BYTES_MAX: usize = 128;
/// The sign bit of a word.
const SIGN: u64 = 1 << 63;

/// Whether a stored key is the whole of its value.
pub(crate) fn is_whole(key: &[u8]) -> bool {
    key.len() < KEY_BYTES_MAX
}

/// The number or truth value of a key by its bits, as they are in an Arrow array. Of other keys, 0.
pub(crate) fn bits_of(kind: AttributeType, key: &[u8]) -> u64 {
    // invariant: keys of numbers have 8 bytes; a key of any other length is of a type without a number, which is 0 as
    // documented.
    let bits = key.try_into().map_or(0, u64::from_be_bytes);
    match kind {
        AttributeType::Int | AttributeType::Datetime => bits ^ SIGN,
        AttributeType::Float => {
            if bits & SIGN == 0 {
                !bits
            } else {
                bits ^ SIGN
            }
        }
        // invariant: the key of a truth value has one byte; an empty key is no truth value, and 0 as documented.
        AttributeType::Bool => key.first().copied().unwrap_or_default().into(),
        _ => bits,
    }
}

/// The value of a whole key of a scalar type; `None` if it is not a key of the type.
pub(crate) fn value_of(kind: AttributeType, key: &[u8]) -> Option<Value> {
    if key_width(kind).is_some_and(|width| usize::from(width) != key.len()) {
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

/// The bytes of every key of a type, or `None` where lengths differ.
pub(crate) fn key_width(kind: AttributeType) -> Option<u8> {
    match kind.element().unwrap_or(kind) {
        AttributeType::Bool => Some(1),
        AttributeType::Uuid => Some(16),
        AttributeType::String | AttributeType::Bytes => None,
        _ => Some(8),
    }
}

/// Flips the sign bit, so that negative numbers are the smaller words.
fn signed_key(bits: u64) -> [u8; 8] {
    (bits ^ SIGN).to_be_bytes()
}

/// The total order of IEEE 754, which is Arrow's: of negative numbers the greater magnitude is the less, so all their
/// bits are flipped.
fn float_key(bits: u64) -> [u8; 8] {
    (if bits & SIGN == 0 { bits ^ SIGN } else { !bits }).to_be_bytes()
}

/// Calls `each` with the row and the key of every value that is not null, in the order of the rows. The elements of
/// arrays are values of their row.
pub(crate) fn each_key(array: &ArrayRef, mut each: impl FnMut(usize, &[u8])) -> Result<()> {
    match array.as_list_opt::<i32>() {
        Some(list) => each_element_key(list, &mut each),
        None => each_scalar_key(array, &mut each),
    }
}

fn each_element_key(list: &ListArray, each: &mut dyn FnMut(usize, &[u8])) -> Result<()> {
    let offsets = list.value_offsets().iter();
    let ends = offsets.map(|offset| to_usize(*offset, "an offset")).collect::<Result<Vec<usize>>>()?;
    let Some((first, ends)) = ends.split_first() else { return Ok(()) };
    let mut row = 0;
    each_scalar_key(list.values(), &mut |index, key| {
        while ends.get(row).is_some_and(|end| *end <= index) {
            row += 1;
        }
        // The slot of a null may hold elements, and a slice of an array shares all of them.
        if index >= *first && row < list.len() && list.is_valid(row) {
            each(row, key);
        }
    })
}

fn each_scalar_key(array: &ArrayRef, each: &mut dyn FnMut(usize, &[u8])) -> Result<()> {
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
    // A macro, as arrays of strings and of bytes share no trait whose items are bytes.
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
        DataType::Int64 => numbers::<Int64Type>(array, each, |x| signed_key(x.cast_unsigned())),
        DataType::Timestamp(..) => {
            numbers::<TimestampMillisecondType>(array, each, |x| signed_key(x.cast_unsigned()))
        }
        DataType::UInt64 => numbers::<UInt64Type>(array, each, u64::to_be_bytes),
        DataType::Float64 => numbers::<Float64Type>(array, each, |x| float_key(x.to_bits())),
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
        let keys = floats.map(|x| float_key(x.to_bits()));
        assert!(keys.is_sorted_by(|a, b| a < b));
        let keys = [i64::MIN, -1, 0, 1, i64::MAX].map(|x| signed_key(x.cast_unsigned()));
        assert!(keys.is_sorted_by(|a, b| a < b));
        for bits in [0, 1, u64::MAX, 1.5_f64.to_bits(), (-1.5_f64).to_bits()] {
            assert_eq!(bits_of(AttributeType::Int, &signed_key(bits)), bits);
            assert_eq!(bits_of(AttributeType::Float, &float_key(bits)), bits);
        }
    }
}
