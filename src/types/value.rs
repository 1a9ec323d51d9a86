//! Values of attributes.

use bytes::Bytes;
use uuid::Uuid;

use super::Vector;

/// The value of an attribute or vector column.
///
/// Numbers convert with [`From`]. The schema determines the type of a column. A `uint` or `float` column accepts a
/// [`Value::Int`], and an `int` or `float` column a [`Value::Uint`], if the number is exactly representable. A `uuid`
/// column accepts a [`Value::String`] that is a UUID, and a `datetime` column one in RFC 3339: UTC if it has no zone,
/// and rounded down to a millisecond.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// No value.
    Null,
    /// UTF-8 text.
    String(String),
    /// A signed 64-bit number.
    Int(i64),
    /// An unsigned 64-bit number.
    Uint(u64),
    /// A 64-bit float. NaN is rejected; minus zero is stored as zero.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A UUID.
    Uuid(Uuid),
    /// Milliseconds since 1970-01-01 UTC.
    Datetime(i64),
    /// Arbitrary bytes.
    Bytes(Bytes),
    /// An array of elements of one type, which are not null, arrays or bytes.
    Array(Vec<Value>),
    /// A vector.
    Vector(Vector),
}

impl Value {
    /// Whether this is [`Value::Null`].
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The size in bytes that limits apply to.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Int(_) | Self::Uint(_) | Self::Float(_) | Self::Datetime(_) => 8,
            Self::Uuid(_) => 16,
            Self::String(s) => s.len(),
            Self::Bytes(b) => b.len(),
            Self::Array(values) => values.iter().map(Self::size).sum(),
            Self::Vector(v) => v.dimension() * v.kind().size(),
        }
    }

    /// The kind of the value, for error messages.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::String(_) => "string",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Float(_) => "float",
            Self::Bool(_) => "bool",
            Self::Uuid(_) => "uuid",
            Self::Datetime(_) => "datetime",
            Self::Bytes(_) => "bytes",
            Self::Array(_) => "array",
            Self::Vector(_) => "vector",
        }
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Self {
        Self::Array(values.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>, const N: usize> From<[T; N]> for Value {
    fn from(values: [T; N]) -> Self {
        Self::Array(values.into_iter().map(Into::into).collect())
    }
}

macro_rules! from {
    ($($type:ty => $variant:ident),* $(,)?) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

from! {
    &str => String, String => String, bool => Bool, f32 => Float, f64 => Float, Uuid => Uuid, Bytes => Bytes,
    i8 => Int, i16 => Int, i32 => Int, i64 => Int, u8 => Uint, u16 => Uint, u32 => Uint, u64 => Uint,
    Vector => Vector,
}
