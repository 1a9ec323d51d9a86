//! Values of attributes.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use uuid::Uuid;

use super::Vector;
use super::datetime::{format_datetime, parse_datetime};
use super::list::display_list;
use crate::error::{Error, Result, escaped_start};

/// The value of an attribute or vector column.
///
/// Numbers convert with [`From`]. The schema determines the type of a column. A `uint` or `float` column accepts a
/// [`Value::Int`], and an `int` or `float` column a [`Value::Uint`], if the number is exactly representable. A `uuid`
/// column accepts a [`Value::String`] that is a UUID, and a `datetime` column one that [`Value::datetime`] reads.
///
/// The accessors return `None` for a value of another type. `as_i64`, `as_u64` and `as_f64` convert between the types of
/// numbers where that changes nothing. A value displays as a person would write it: text without quotes, a datetime in
/// RFC 3339, of a long vector or array the beginning.
///
/// ```
/// use elacsym::{Document, Value};
///
/// let document = Document::new(7).with("title", "Cold reads").with("year", 2024).with("tags", ["s3", "search"]);
/// assert_eq!(document.get("title").and_then(Value::as_str), Some("Cold reads"));
/// assert_eq!(document.get("year").and_then(Value::as_u64), Some(2024));
/// assert_eq!(document.get("tags").unwrap().to_string(), "[s3, search]");
/// ```
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

    /// A datetime from RFC 3339: UTC if it has no zone, and rounded down to a millisecond. A date alone is its midnight in
    /// UTC. Whatever was written, a datetime displays in full.
    ///
    /// ```
    /// use elacsym::Value;
    ///
    /// let value = Value::datetime("2024-02-29T12:00:00+01:00")?;
    /// assert_eq!(value.to_string(), "2024-02-29T11:00:00.000Z");
    /// assert_eq!(Value::datetime("2024-02-29")?.to_string(), "2024-02-29T00:00:00.000Z");
    /// # Ok::<_, elacsym::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for any other text.
    pub fn datetime(text: &str) -> Result<Self> {
        parse_datetime(text)
            .map(Self::Datetime)
            .map_err(|why| Error::invalid(format!("{why}. text=`{}`", escaped_start(text, 40))))
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// A whole number in the range of `i64`.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Uint(number) => i64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// A whole number in the range of `u64`.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Uint(number) => Some(*number),
            Self::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// A number that a float holds exactly.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "compared in i128, which holds them all"
    )]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            Self::Int(number) => Some(*number as f64).filter(|float| *float as i128 == i128::from(*number)),
            Self::Uint(number) => Some(*number as f64).filter(|float| *float as i128 == i128::from(*number)),
            _ => None,
        }
    }

    /// True or false.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// A UUID.
    #[must_use]
    pub fn as_uuid(&self) -> Option<Uuid> {
        if let Self::Uuid(value) = self { Some(*value) } else { None }
    }

    /// A datetime: milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn as_datetime(&self) -> Option<i64> {
        if let Self::Datetime(milliseconds) = self { Some(*milliseconds) } else { None }
    }

    /// Bytes.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// The elements of an array.
    #[must_use]
    pub fn as_slice(&self) -> Option<&[Value]> {
        if let Self::Array(values) = self { Some(values) } else { None }
    }

    /// A vector.
    #[must_use]
    pub fn as_vector(&self) -> Option<&Vector> {
        if let Self::Vector(vector) = self { Some(vector) } else { None }
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

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => pad_whole(f, "null"),
            Self::String(text) => f.pad(text),
            Self::Int(number) => number.fmt(f),
            Self::Uint(number) => number.fmt(f),
            Self::Float(number) => number.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::Uuid(value) => value.fmt(f),
            Self::Datetime(milliseconds) => match format_datetime(*milliseconds) {
                Some(text) => pad_whole(f, &text),
                None => write!(f, "{milliseconds} ms since 1970"),
            },
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Array(values) => display_list(f, values),
            Self::Vector(vector) => vector.fmt(f),
        }
    }
}

/// Pads a text without cutting it to a precision, which is that of numbers.
fn pad_whole(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    if f.precision().is_some() { f.write_str(text) } else { f.pad(text) }
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

impl<T: Clone + Into<Value>> From<&[T]> for Value {
    fn from(values: &[T]) -> Self {
        Self::Array(values.iter().cloned().map(Into::into).collect())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::String(text.clone())
    }
}

impl From<Cow<'_, str>> for Value {
    fn from(text: Cow<'_, str>) -> Self {
        Self::String(text.into_owned())
    }
}

impl From<Arc<str>> for Value {
    fn from(text: Arc<str>) -> Self {
        Self::String((*text).to_owned())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Uint(number as u64)
    }
}

impl From<isize> for Value {
    fn from(number: isize) -> Self {
        Self::Int(number as i64)
    }
}

/// A datetime, rounded down to a millisecond.
impl From<SystemTime> for Value {
    fn from(time: SystemTime) -> Self {
        // invariant: i64 holds 292 million years of milliseconds, and no system's clock reaches as far.
        let milliseconds = |millis: u128| i64::try_from(millis).unwrap_or(i64::MAX);
        Self::Datetime(match time.duration_since(UNIX_EPOCH) {
            Ok(since) => milliseconds(since.as_millis()),
            Err(before) => -milliseconds(before.duration().as_nanos().div_ceil(1_000_000)),
        })
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
