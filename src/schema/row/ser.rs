//! One field of a row into a value, led by the type of its column.

use bytes::Bytes;
use half::f16;
use serde::Serialize;
use serde::ser::{Impossible, SerializeSeq, SerializeTuple, SerializeTupleStruct, Serializer};
use uuid::Uuid;

use super::RowError;
use super::fields::refuse;
use crate::schema::{AttributeType, coerce};
use crate::types::{COLUMN_NAME_BYTES_MAX, IdKind, VALUE_BYTES_MAX, Value, Vector};

/// How many wrappers (`Some`, newtypes) may stand around a value.
pub(super) const DEPTH_MAX: usize = 64;

/// Where a value goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// The name of a field.
    Name,
    /// A column of scalars, or an element of an array.
    Scalar(AttributeType),
    /// A column of arrays with such elements.
    Array(AttributeType),
    /// A vector column of such a dimension.
    Vector(usize),
    /// A component of a vector.
    Component,
    /// A byte of a sequence.
    Byte,
}

impl Place {
    pub(super) fn id(kind: IdKind) -> Self {
        Self::Scalar(match kind {
            IdKind::U64 => AttributeType::Uint,
            IdKind::Uuid => AttributeType::Uuid,
            IdKind::String => AttributeType::String,
        })
    }

    pub(super) fn attribute(kind: AttributeType) -> Self {
        kind.element().map_or(Self::Scalar(kind), Self::Array)
    }

    /// A value of one of serde's kinds, as this place takes it.
    fn take(self, value: Value) -> Result<Value, RowError> {
        let expected = match (self, value) {
            (Self::Scalar(kind), value) => {
                let value = read(kind, value)?;
                return coerce(kind, value).map_err(RowError::invalid);
            }
            (_, Value::Null) => return Ok(Value::Null),
            (Self::Component, value @ (Value::Int(_) | Value::Uint(_) | Value::Float(_)))
            | (Self::Byte, value @ (Value::Int(0..=255) | Value::Uint(0..=255)))
            | (Self::Name, value @ Value::String(_)) => return Ok(value),
            (Self::Component, _) => "a vector takes numbers alone".into(),
            (Self::Byte, _) => "bytes take numbers from 0 to 255 alone".into(),
            (Self::Name, _) => "the name of a field is not a string".into(),
            (Self::Array(kind), other) => {
                format!("wrong type: []{kind} is expected, this is {}", other.kind_name())
            }
            (Self::Vector(_), other) => {
                format!("wrong type: a vector is expected, this is {}", other.kind_name())
            }
        };
        Err(RowError::invalid(expected))
    }
}

/// Reads what serde has no kind for: UUIDs as bytes, and datetimes as numbers.
fn read(kind: AttributeType, value: Value) -> Result<Value, RowError> {
    match (kind, value) {
        (AttributeType::Uuid, Value::Bytes(bytes)) => {
            let uuid = Uuid::from_slice(&bytes).map(Value::Uuid);
            uuid.map_err(|_| RowError::invalid(format!("a uuid has 16 bytes, this has {}", bytes.len())))
        }
        (AttributeType::Datetime, Value::Int(time)) => Ok(Value::Datetime(time)),
        (AttributeType::Datetime, Value::Uint(time)) => {
            let time = i64::try_from(time).map(Value::Datetime);
            time.map_err(|_| RowError::invalid("a datetime is out of range"))
        }
        (_, value) => Ok(value),
    }
}

/// Turns one value of any type into a [`Value`] for its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct ValueSerializer {
    place: Place,
    depth: usize,
    /// Inside a newtype called `f16`, whose number is bits.
    half: bool,
}

impl ValueSerializer {
    pub(super) fn new(place: Place) -> Self {
        Self { place, depth: 0, half: false }
    }

    fn inside(self) -> Result<Self, RowError> {
        if self.depth == DEPTH_MAX {
            return Err(RowError::invalid("nested too deep"));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn items(self) -> Result<Items, RowError> {
        let (element, collected) = match self.place {
            Place::Array(kind) => (Place::Scalar(kind), Collected::Array(Vec::new(), 0)),
            Place::Vector(dimension) => (Place::Component, Collected::Vector(Vec::new(), dimension)),
            Place::Scalar(AttributeType::Bytes | AttributeType::Uuid) => {
                (Place::Byte, Collected::Bytes(Vec::new()))
            }
            Place::Scalar(kind) => {
                return Err(RowError::invalid(format!("wrong type: {kind} is expected, this is a sequence")));
            }
            _ => return Err(RowError::invalid("a sequence inside a sequence of numbers")),
        };
        Ok(Items { place: self.place, element, collected })
    }
}

/// Kinds with a [`From`] into [`Value`].
macro_rules! scalars {
    ($($method:ident($type:ty);)*) => {$(
        fn $method(self, value: $type) -> Result<Value, RowError> {
            self.place.take(value.into())
        }
    )*};
}

const NESTED: &str = "a map, struct or enum with data inside a row: columns are flat";

impl Serializer for ValueSerializer {
    type Ok = Value;
    type Error = RowError;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Impossible<Value, RowError>;
    type SerializeMap = Impossible<Value, RowError>;
    type SerializeStruct = Impossible<Value, RowError>;
    type SerializeStructVariant = Impossible<Value, RowError>;

    scalars! {
        serialize_bool(bool); serialize_i8(i8); serialize_i16(i16); serialize_i32(i32); serialize_i64(i64);
        serialize_u8(u8); serialize_u32(u32); serialize_u64(u64); serialize_f32(f32); serialize_f64(f64);
    }

    fn serialize_u16(self, value: u16) -> Result<Value, RowError> {
        self.place.take(if self.half { f16::from_bits(value).to_f32().into() } else { value.into() })
    }

    fn serialize_i128(self, value: i128) -> Result<Value, RowError> {
        let narrow = i64::try_from(value).map(Value::Int).or_else(|_| u64::try_from(value).map(Value::Uint));
        self.place.take(narrow.map_err(|_| RowError::invalid("a number does not fit 64 bits"))?)
    }

    fn serialize_u128(self, value: u128) -> Result<Value, RowError> {
        let narrow = u64::try_from(value).map(Value::Uint);
        self.place.take(narrow.map_err(|_| RowError::invalid("a number does not fit 64 bits"))?)
    }

    fn serialize_char(self, value: char) -> Result<Value, RowError> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<Value, RowError> {
        let name = matches!(self.place, Place::Name);
        below_limit(value.len(), if name { COLUMN_NAME_BYTES_MAX } else { VALUE_BYTES_MAX })?;
        self.place.take(value.into())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Value, RowError> {
        below_limit(value.len(), VALUE_BYTES_MAX)?;
        self.place.take(Value::Bytes(Bytes::copy_from_slice(value)))
    }

    fn serialize_none(self) -> Result<Value, RowError> {
        Ok(Value::Null)
    }

    fn serialize_unit(self) -> Result<Value, RowError> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, RowError> {
        value.serialize(self.inside()?)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Value, RowError> {
        let half = name == "f16";
        value.serialize(Self { half, ..self.inside()? })
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Value, RowError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Value, RowError> {
        Err(RowError::invalid(NESTED))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items, RowError> {
        self.items()
    }

    fn serialize_tuple(self, _: usize) -> Result<Items, RowError> {
        self.items()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Items, RowError> {
        self.items()
    }

    refuse! { NESTED, Value; serialize_unit_struct(&'static str); }
    refuse! { NESTED, Impossible<Value, RowError>;
        serialize_map(Option<usize>); serialize_struct(&'static str, usize);
        serialize_tuple_variant(&'static str, u32, &'static str, usize);
        serialize_struct_variant(&'static str, u32, &'static str, usize);
    }
}

fn below_limit(bytes: usize, limit: usize) -> Result<(), RowError> {
    if bytes > limit {
        return Err(RowError::limit(format!("value of more than {limit} bytes")));
    }
    Ok(())
}

/// A sequence so far. It ends with an error as soon as it is too long.
#[derive(Debug)]
pub(super) struct Items {
    place: Place,
    element: Place,
    collected: Collected,
}

#[derive(Debug)]
enum Collected {
    /// With the size of the values in bytes.
    Array(Vec<Value>, usize),
    /// With the dimension of the column.
    Vector(Vec<f32>, usize),
    Bytes(Vec<u8>),
}

impl Items {
    fn add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), RowError> {
        let value = value.serialize(ValueSerializer::new(self.element))?;
        match &mut self.collected {
            Collected::Array(values, size) => {
                if value.is_null() {
                    return Err(RowError::invalid("null inside an array"));
                }
                *size += value.size();
                // Empty strings have no size, but they have a place.
                below_limit((*size).max(values.len()), VALUE_BYTES_MAX)?;
                values.push(value);
            }
            Collected::Vector(components, dimension) => {
                if components.len() == *dimension {
                    let why = format!("wrong dimension: {dimension} is expected, this is more");
                    return Err(RowError::invalid(why));
                }
                components.push(component(&value)?);
            }
            Collected::Bytes(bytes) => {
                below_limit(bytes.len() + 1, VALUE_BYTES_MAX)?;
                bytes.push(byte(&value)?);
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Value, RowError> {
        match self.collected {
            Collected::Array(values, _) => Ok(Value::Array(values)),
            Collected::Vector(components, _) => Ok(Value::Vector(Vector::F32(components))),
            Collected::Bytes(bytes) => self.place.take(Value::Bytes(bytes.into())),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "vectors hold f32 at most")]
fn component(value: &Value) -> Result<f32, RowError> {
    match *value {
        Value::Float(x) => Ok(x as f32),
        Value::Int(x) => Ok(x as f32),
        Value::Uint(x) => Ok(x as f32),
        _ => Err(RowError::invalid("null inside a vector")),
    }
}

fn byte(value: &Value) -> Result<u8, RowError> {
    let byte = match *value {
        Value::Int(x) => u8::try_from(x).ok(),
        Value::Uint(x) => u8::try_from(x).ok(),
        _ => None,
    };
    byte.ok_or_else(|| RowError::invalid("null inside bytes"))
}

/// All sequences are one to us.
macro_rules! sequence {
    ($($trait:ident::$method:ident;)*) => {$(
        impl $trait for Items {
            type Ok = Value;
            type Error = RowError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), RowError> {
                self.add(value)
            }

            fn end(self) -> Result<Value, RowError> {
                self.finish()
            }
        }
    )*};
}

sequence! {
    SerializeSeq::serialize_element; SerializeTuple::serialize_element; SerializeTupleStruct::serialize_field;
}
