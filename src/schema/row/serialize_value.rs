//! Serializes one field of a row into a value, guided by the type of its column.

use bytes::Bytes;
use half::f16;
use serde::Serialize;
use serde::ser::{Impossible, SerializeSeq, SerializeTuple, SerializeTupleStruct, Serializer};
use uuid::Uuid;

use super::RowError;
use super::depth::Depth;
use super::refuse::{refuse_data_variants, refuse_methods};
use crate::schema::numbers::to_component;
use crate::schema::{AttributeType, coerce_value, type_mismatch};
use crate::types::{COLUMN_NAME_BYTES_MAX, IdKind, VALUE_BYTES_MAX, Value, Vector};

/// What a value is serialized for.
#[derive(Clone, Copy, Debug)]
pub(super) enum ValueTarget {
    /// The name of a field.
    FieldName,
    /// A scalar column, or an element of an array.
    Scalar(AttributeType),
    /// An array column with elements of this type.
    Array(AttributeType),
    /// A vector column of this dimension.
    Vector(usize),
    /// A component of a vector.
    Component,
    /// A byte of a sequence.
    Byte,
}

impl ValueTarget {
    pub(super) fn for_id(kind: IdKind) -> Self {
        Self::Scalar(AttributeType::of_id(kind))
    }

    pub(super) fn for_attribute(kind: AttributeType) -> Self {
        kind.element().map_or(Self::Scalar(kind), Self::Array)
    }

    /// Converts a value of one of serde's types into the type of this target.
    fn convert(self, value: Value) -> Result<Value, RowError> {
        let why = match (self, value) {
            (Self::Scalar(kind), value) => {
                let value = interpret_scalar(kind, value)?;
                return coerce_value(kind, value).map_err(RowError::invalid);
            }
            (_, Value::Null) => return Ok(Value::Null),
            (Self::Component, value @ (Value::Int(_) | Value::Uint(_) | Value::Float(_)))
            | (Self::Byte, value @ (Value::Int(0..=255) | Value::Uint(0..=255)))
            | (Self::FieldName, value @ Value::String(_)) => return Ok(value),
            (Self::Component, _) => "a vector holds only numbers".into(),
            (Self::Byte, _) => "bytes are numbers from 0 to 255".into(),
            (Self::FieldName, _) => "the name of a field is not a string".into(),
            (Self::Array(kind), other) => type_mismatch(format_args!("[]{kind}"), other.kind_name()),
            (Self::Vector(_), other) => type_mismatch("a vector", other.kind_name()),
        };
        Err(RowError::invalid(why))
    }
}

/// Converts what serde has no type for: UUIDs from bytes, and datetimes from numbers. Only a row may do this. In a
/// document, a number for a datetime is more likely a mistake, since the unit is not known.
fn interpret_scalar(kind: AttributeType, value: Value) -> Result<Value, RowError> {
    match (kind, value) {
        (AttributeType::Uuid, Value::Bytes(bytes)) => {
            let uuid = Uuid::from_slice(&bytes).map(Value::Uuid);
            uuid.map_err(|_| RowError::invalid(format!("a uuid has 16 bytes, found {}", bytes.len())))
        }
        (AttributeType::Datetime, Value::Int(time)) => Ok(Value::Datetime(time)),
        (AttributeType::Datetime, Value::Uint(time)) => {
            let time = i64::try_from(time).map(Value::Datetime);
            time.map_err(|_| RowError::invalid("datetime out of range"))
        }
        (_, value) => Ok(value),
    }
}

/// Serializes one value of any type into a [`Value`] for its target.
#[derive(Clone, Copy, Debug)]
pub(super) struct ValueSerializer {
    target: ValueTarget,
    depth: Depth,
    /// Inside a newtype named `f16`, whose number is the bits of a half float: `half` serializes its type so.
    is_half: bool,
}

impl ValueSerializer {
    pub(super) fn new(target: ValueTarget) -> Self {
        Self { target, depth: Depth::default(), is_half: false }
    }

    fn descend(self) -> Result<Self, RowError> {
        Ok(Self { depth: self.depth.descend()?, ..self })
    }

    fn start_sequence(self) -> Result<SequenceSerializer, RowError> {
        // The length that a sequence claims is not used to allocate: it is the caller's word alone.
        let (element, collected) = match self.target {
            ValueTarget::Array(kind) => {
                (ValueTarget::Scalar(kind), Collected::Array { values: Vec::new(), size: 0 })
            }
            ValueTarget::Vector(dimension) => {
                (ValueTarget::Component, Collected::Vector { components: Vec::new(), dimension })
            }
            ValueTarget::Scalar(AttributeType::Bytes | AttributeType::Uuid) => {
                (ValueTarget::Byte, Collected::Bytes(Vec::new()))
            }
            ValueTarget::Scalar(kind) => {
                return Err(RowError::invalid(type_mismatch(kind, "a sequence")));
            }
            // Inside a vector or bytes, or as the name of a field.
            _ => return Err(RowError::invalid("a sequence inside a sequence of numbers")),
        };
        Ok(SequenceSerializer { target: self.target, element, collected })
    }
}

/// Methods for types with a [`From`] into [`Value`].
macro_rules! serialize_scalars {
    ($($method:ident($type:ty);)*) => {$(
        fn $method(self, value: $type) -> Result<Value, RowError> {
            self.target.convert(value.into())
        }
    )*};
}

const NESTED: &str = "a map, struct or enum with data inside a row: columns are flat";

impl Serializer for ValueSerializer {
    type Ok = Value;
    type Error = RowError;
    type SerializeSeq = SequenceSerializer;
    type SerializeTuple = SequenceSerializer;
    type SerializeTupleStruct = SequenceSerializer;
    type SerializeTupleVariant = Impossible<Value, RowError>;
    type SerializeMap = Impossible<Value, RowError>;
    type SerializeStruct = Impossible<Value, RowError>;
    type SerializeStructVariant = Impossible<Value, RowError>;

    serialize_scalars! {
        serialize_bool(bool); serialize_i8(i8); serialize_i16(i16); serialize_i32(i32); serialize_i64(i64);
        serialize_u8(u8); serialize_u32(u32); serialize_u64(u64); serialize_f32(f32); serialize_f64(f64);
    }

    fn serialize_u16(self, value: u16) -> Result<Value, RowError> {
        self.target.convert(if self.is_half { f16::from_bits(value).to_f32().into() } else { value.into() })
    }

    // Wider integers are accepted if their value fits: some types serialize small numbers that way.
    fn serialize_i128(self, value: i128) -> Result<Value, RowError> {
        let narrow = i64::try_from(value).map(Value::Int).or_else(|_| u64::try_from(value).map(Value::Uint));
        self.target.convert(narrow.map_err(|_| RowError::invalid("a number does not fit 64 bits"))?)
    }

    fn serialize_u128(self, value: u128) -> Result<Value, RowError> {
        let narrow = u64::try_from(value).map(Value::Uint);
        self.target.convert(narrow.map_err(|_| RowError::invalid("a number does not fit 64 bits"))?)
    }

    // A character is a string of one: columns have no type for it.
    fn serialize_char(self, value: char) -> Result<Value, RowError> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<Value, RowError> {
        // Before the text is copied: `Schema::check` would refuse it too, but only after the allocation.
        let is_name = matches!(self.target, ValueTarget::FieldName);
        check_size(value.len(), if is_name { COLUMN_NAME_BYTES_MAX } else { VALUE_BYTES_MAX })?;
        self.target.convert(value.into())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Value, RowError> {
        check_size(value.len(), VALUE_BYTES_MAX)?;
        self.target.convert(Value::Bytes(Bytes::copy_from_slice(value)))
    }

    // Null for every column: `None` and `()` do not say which type is missing, and every column may be null.
    fn serialize_none(self) -> Result<Value, RowError> {
        Ok(Value::Null)
    }

    fn serialize_unit(self) -> Result<Value, RowError> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, RowError> {
        value.serialize(self.descend()?)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Value, RowError> {
        let is_half = name == "f16";
        value.serialize(Self { is_half, ..self.descend()? })
    }

    // An enum without data is its name, as in JSON.
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Value, RowError> {
        self.serialize_str(variant)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<SequenceSerializer, RowError> {
        self.start_sequence()
    }

    fn serialize_tuple(self, _: usize) -> Result<SequenceSerializer, RowError> {
        self.start_sequence()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<SequenceSerializer, RowError> {
        self.start_sequence()
    }

    refuse_methods! { NESTED, Value; serialize_unit_struct(&'static str); }
    refuse_methods! { NESTED, Impossible<Value, RowError>;
        serialize_map(Option<usize>); serialize_struct(&'static str, usize);
    }
    refuse_data_variants! { NESTED, Value }
}

fn check_size(bytes: usize, limit: usize) -> Result<(), RowError> {
    if bytes > limit {
        return Err(RowError::limit(format!("value of more than {limit} bytes")));
    }
    Ok(())
}

/// A sequence so far. It fails as soon as it is too long, so that an endless iterator of a caller ends.
#[derive(Debug)]
pub(super) struct SequenceSerializer {
    target: ValueTarget,
    element: ValueTarget,
    collected: Collected,
}

#[derive(Debug)]
enum Collected {
    Array {
        values: Vec<Value>,
        /// The size of the values in bytes.
        size: usize,
    },
    Vector {
        components: Vec<f32>,
        /// The dimension of the column.
        dimension: usize,
    },
    Bytes(Vec<u8>),
}

impl SequenceSerializer {
    fn add_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), RowError> {
        let value = value.serialize(ValueSerializer::new(self.element))?;
        match &mut self.collected {
            Collected::Array { values, size } => {
                if value.is_null() {
                    return Err(RowError::invalid("null inside an array"));
                }
                *size += value.size();
                // The number of values counts as well: empty strings have no size but take memory.
                check_size((*size).max(values.len()), VALUE_BYTES_MAX)?;
                values.push(value);
            }
            Collected::Vector { components, dimension } => {
                if components.len() == *dimension {
                    return Err(RowError::invalid(format!(
                        "wrong dimension: expected {dimension}, found more"
                    )));
                }
                // The target let numbers and null through.
                let null = || RowError::invalid("null inside a vector");
                components.push(to_component(&value).ok_or_else(null)?);
            }
            Collected::Bytes(bytes) => {
                check_size(bytes.len() + 1, VALUE_BYTES_MAX)?;
                bytes.push(to_byte(&value)?);
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Value, RowError> {
        match self.collected {
            Collected::Array { values, .. } => Ok(Value::Array(values)),
            // Too short a vector is left to `Schema::check`, which reports both dimensions.
            Collected::Vector { components, .. } => Ok(Value::Vector(Vector::F32(components))),
            Collected::Bytes(bytes) => self.target.convert(Value::Bytes(bytes.into())),
        }
    }
}

fn to_byte(value: &Value) -> Result<u8, RowError> {
    let byte = match *value {
        Value::Int(x) => u8::try_from(x).ok(),
        Value::Uint(x) => u8::try_from(x).ok(),
        _ => None,
    };
    // The target let numbers from 0 to 255 and null through.
    byte.ok_or_else(|| RowError::invalid("null inside bytes"))
}

/// Sequences, tuples and tuple structs are the same to a column.
macro_rules! serialize_sequences {
    ($($trait:ident::$method:ident;)*) => {$(
        impl $trait for SequenceSerializer {
            type Ok = Value;
            type Error = RowError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), RowError> {
                self.add_element(value)
            }

            fn end(self) -> Result<Value, RowError> {
                self.finish()
            }
        }
    )*};
}

serialize_sequences! {
    SerializeSeq::serialize_element; SerializeTuple::serialize_element; SerializeTupleStruct::serialize_field;
}
