//! Deserializes documents, and other sets of named values, into rows of any type.

use serde::de::value::{BorrowedStrDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use uuid::Uuid;

use super::RowError;
use crate::error::{Error, Result};
use crate::schema::ID_COLUMN;
use crate::types::datetime::format_datetime;
use crate::types::{Document, DocumentId, Value, Vector};

impl Document {
    /// Deserializes the document into a row: a struct or a map with the field `id` and fields named as columns.
    ///
    /// A column that the document lacks is `None` for an `Option`, the default for a field that has one, and an error
    /// otherwise. A UUID is a string, or 16 bytes for types that request bytes. A datetime is its milliseconds since
    /// 1970 as an `i64`, or RFC 3339 for types that request a string. A vector is a sequence of numbers; bytes are
    /// bytes or a sequence of `u8`.
    ///
    /// ```
    /// use elacsym::{Document, Vector};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Article {
    ///     id: u64,
    ///     title: String,
    ///     tags: Option<Vec<String>>,
    ///     embedding: Vec<f32>,
    /// }
    ///
    /// let document =
    ///     Document::new(7).with("title", "Cold reads").with("embedding", Vector::from([0.1, 0.9]));
    /// let article: Article = document.deserialize()?;
    /// assert_eq!((article.id, article.title.as_str()), (7, "Cold reads"));
    /// assert_eq!((article.tags, article.embedding), (None, vec![0.1, 0.9]));
    /// # Ok::<(), elacsym::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the document does not fit the type; the message
    /// names the column.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T> {
        self.deserialize_selected(|_| false)
    }

    /// As [`Document::deserialize`], for a document that was read with some of its columns: the error for a missing field
    /// tells whether its column is one of the others.
    pub(crate) fn deserialize_selected<T: DeserializeOwned>(
        &self,
        is_unselected: impl Fn(&str) -> bool,
    ) -> Result<T> {
        let row = T::deserialize(RowDeserializer::new(Cell::of_document(self)));
        row.map_err(|error| {
            let error = Error::from(error.explain_missing(is_unselected));
            error.context(format_args!("document `{}`", self.id()))
        })
    }
}

/// The source of a field, or of an element of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'de> {
    Id(&'de DocumentId),
    Value(&'de Value),
    /// A component of a vector of floats.
    F32(f32),
    /// A component of a vector of integers.
    I8(i8),
    /// A byte of a byte string.
    U8(u8),
}

impl<'de> Cell<'de> {
    /// All fields of a document, the id first.
    pub(crate) fn of_document(document: &'de Document) -> impl Iterator<Item = (&'de str, Self)> {
        let values = document.iter().map(|(column, value)| (column, Self::Value(value)));
        std::iter::once((ID_COLUMN, Self::Id(document.id()))).chain(values)
    }
}

/// Reads named cells as a struct or a map. Nulls are skipped, so that they count as missing: serde then uses a
/// field's default, which it would not do for a null.
#[derive(Debug)]
pub(crate) struct RowDeserializer<'de, I> {
    cells: I,
    next: Option<(&'de str, Cell<'de>)>,
}

impl<'de, I: Iterator<Item = (&'de str, Cell<'de>)>> RowDeserializer<'de, I> {
    pub(crate) fn new(cells: I) -> Self {
        Self { cells, next: None }
    }
}

impl<'de, I: Iterator<Item = (&'de str, Cell<'de>)>> Deserializer<'de> for RowDeserializer<'de, I> {
    type Error = RowError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_map(self)
    }

    // A row that exists is `Some` of a row: a caller may read hits into `Option<T>`.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, I: Iterator<Item = (&'de str, Cell<'de>)>> MapAccess<'de> for RowDeserializer<'de, I> {
    type Error = RowError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, RowError> {
        // The cell is kept for `next_value_seed`: serde reads a key and its value in two calls.
        self.next = self.cells.find(|(_, cell)| !matches!(cell, Cell::Value(Value::Null)));
        let Some((name, _)) = self.next else { return Ok(None) };
        seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, RowError> {
        let (name, cell) =
            self.next.take().ok_or_else(|| RowError::invalid("a value was requested before its name"))?;
        seed.deserialize(cell).map_err(|error| error.with_field(name))
    }
}

impl<'de> IntoDeserializer<'de, RowError> for Cell<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

fn visit_elements<'de, V: Visitor<'de>>(
    items: impl Iterator<Item = Cell<'de>>,
    visitor: V,
) -> Result<V::Value, RowError> {
    let mut elements = SeqDeserializer::new(items);
    let value = visitor.visit_seq(&mut elements)?;
    // A tuple reads as many elements as it has: what is left over is an error, not silently dropped.
    elements.end().map(|()| value)
}

fn visit_vector<'de, V: Visitor<'de>>(vector: &'de Vector, visitor: V) -> Result<V::Value, RowError> {
    match vector {
        Vector::F32(v) => visit_elements(v.iter().map(|x| Cell::F32(*x)), visitor),
        // serde has no half floats: an f32 holds each of them exactly.
        Vector::F16(v) => visit_elements(v.iter().map(|x| Cell::F32(x.to_f32())), visitor),
        Vector::I8(v) => visit_elements(v.iter().map(|x| Cell::I8(*x)), visitor),
    }
}

impl<'de> Cell<'de> {
    fn visit_natural<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        match self {
            Self::Id(DocumentId::U64(id)) => visitor.visit_u64(*id),
            Self::Id(DocumentId::Negative(id)) => visitor.visit_i64(*id),
            Self::Id(DocumentId::String(text)) => visitor.visit_borrowed_str(text),
            // Formatted into a buffer on the stack: no allocation for a type that parses it at once.
            Self::Id(DocumentId::Uuid(id)) | Self::Value(Value::Uuid(id)) => {
                visitor.visit_str(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
            }
            // Only for types that are not options, such as `serde_json::Value`.
            Self::Value(Value::Null) => visitor.visit_unit(),
            Self::Value(Value::String(text)) => visitor.visit_borrowed_str(text),
            Self::Value(Value::Int(x) | Value::Datetime(x)) => visitor.visit_i64(*x),
            Self::Value(Value::Uint(x)) => visitor.visit_u64(*x),
            Self::Value(Value::Float(x)) => visitor.visit_f64(*x),
            Self::Value(Value::Bool(x)) => visitor.visit_bool(*x),
            Self::Value(Value::Bytes(bytes)) => visitor.visit_borrowed_bytes(bytes),
            Self::Value(Value::Array(values)) => visit_elements(values.iter().map(Cell::Value), visitor),
            Self::Value(Value::Vector(vector)) => visit_vector(vector, visitor),
            Self::F32(x) => visitor.visit_f32(x),
            Self::I8(x) => visitor.visit_i8(x),
            Self::U8(x) => visitor.visit_u8(x),
        }
    }

    /// For types that request text: a datetime is RFC 3339.
    fn visit_text<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        let Self::Value(Value::Datetime(time)) = self else { return self.visit_natural(visitor) };
        let text = format_datetime(*time);
        visitor.visit_string(text.ok_or_else(|| RowError::invalid("datetime outside the range of RFC 3339"))?)
    }

    /// The bytes of a cell, for types that request bytes or a sequence: a UUID is 16 bytes.
    fn as_bytes(self) -> Option<&'de [u8]> {
        match self {
            Self::Id(DocumentId::Uuid(id)) | Self::Value(Value::Uuid(id)) => Some(id.as_bytes()),
            Self::Value(Value::Bytes(bytes)) => Some(bytes),
            _ => None,
        }
    }

    fn visit_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        match self.as_bytes() {
            Some(bytes) => visitor.visit_borrowed_bytes(bytes),
            None => self.visit_natural(visitor),
        }
    }

    fn visit_sequence<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        match self.as_bytes() {
            Some(bytes) => visit_elements(bytes.iter().map(|x| Self::U8(*x)), visitor),
            None => self.visit_natural(visitor),
        }
    }
}

impl<'de> Deserializer<'de> for Cell<'de> {
    type Error = RowError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        self.visit_natural(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        self.visit_text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        self.visit_text(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        self.visit_bytes(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        self.visit_bytes(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        self.visit_sequence(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, RowError> {
        self.visit_sequence(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        self.visit_sequence(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        match self {
            Self::Value(Value::Null) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        // `half` deserializes its `f16` from bits inside such a struct, or from a float. It gets the float, since an
        // f32 vector may be read into it as well.
        if name == "f16" {
            return self.visit_natural(visitor);
        }
        visitor.visit_newtype_struct(self)
    }

    // A variant without data, by its name.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        match self {
            Self::Value(Value::String(name)) => visitor.visit_enum(name.as_str().into_deserializer()),
            Self::Id(DocumentId::String(name)) => visitor.visit_enum((**name).into_deserializer()),
            _ => self.visit_natural(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char unit unit_struct map struct identifier
        ignored_any
    }
}
