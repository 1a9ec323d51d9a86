//! Serializes a whole row, field by field, into a document.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{Impossible, SerializeMap, SerializeStruct, Serializer};

use super::RowError;
use super::depth::Depth;
use super::refuse::{refuse_data_variants, refuse_methods};
use super::serialize_value::{ValueSerializer, ValueTarget};
use crate::error::Result;
use crate::schema::{ColumnKind, ID_COLUMN, Schema};
use crate::types::{Document, DocumentId, Value};

impl Document {
    /// Makes a document from a row: a struct or a map with a field `id` and fields named as the columns of `schema`.
    ///
    /// | column | takes |
    /// |---|---|
    /// | id | a number, a UUID or a string, as the schema declares |
    /// | string | strings, characters, enum variants without data |
    /// | int, uint, float | numbers that fit exactly; an `f32` widens |
    /// | bool | `bool` |
    /// | uuid | its text form, or 16 bytes |
    /// | datetime | milliseconds since 1970 as an integer, or RFC 3339; without a zone it is UTC |
    /// | bytes | bytes, or a sequence of `u8` |
    /// | array | a sequence of what its element type takes |
    /// | vector | a sequence of numbers |
    ///
    /// `None` is null. Digits of a datetime below a millisecond are dropped, rounding towards the past.
    ///
    /// ```
    /// use elacsym::schema::{AttributeType, Schema};
    /// use elacsym::{Document, IdKind, Metric, VectorType};
    ///
    /// #[derive(serde::Serialize)]
    /// struct Article<'a> {
    ///     id: u64,
    ///     title: &'a str,
    ///     published: Option<&'a str>,
    ///     embedding: &'a [f32],
    /// }
    ///
    /// let schema = Schema::builder(IdKind::U64)
    ///     .attribute("title", AttributeType::String)
    ///     .attribute("published", AttributeType::Datetime)
    ///     .vector("embedding", VectorType::F32, 2, Metric::Cosine)
    ///     .build()?;
    /// let published = Some("2024-02-29T12:00:00Z");
    /// let article = Article { id: 7, title: "Cold reads", published, embedding: &[0.1, 0.9] };
    /// let document = Document::from_serialize(&schema, &article)?;
    /// assert_eq!(document.get("title"), Some(&"Cold reads".into()));
    /// # Ok::<(), elacsym::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a row that is neither a struct nor a map, has no
    /// id, an unknown field, a duplicate field, or a map or sequence where the column takes none, and for what
    /// [`Schema::check`] refuses; [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) under the same
    /// conditions as [`Schema::check`].
    pub fn from_serialize<T: Serialize + ?Sized>(schema: &Schema, row: &T) -> Result<Self> {
        // The serializer knows the columns' types, so that numbers and UUIDs arrive in the right kind; limits and
        // vectors are left to `check`, which every document passes in any case.
        let document = row.serialize(RowSerializer { schema, depth: Depth::default() })?;
        schema.check(document)
    }
}

#[derive(Clone, Copy)]
struct RowSerializer<'a> {
    schema: &'a Schema,
    depth: Depth,
}

impl<'a> RowSerializer<'a> {
    fn start_fields(self) -> RowFields<'a> {
        RowFields { schema: self.schema, id: None, values: BTreeMap::new(), key: None }
    }

    fn descend(self) -> Result<Self, RowError> {
        Ok(Self { depth: self.depth.descend()?, ..self })
    }
}

const NOT_A_ROW: &str = "a row is a struct or a map";

impl<'a> Serializer for RowSerializer<'a> {
    type Ok = Document;
    type Error = RowError;
    type SerializeSeq = Impossible<Document, RowError>;
    type SerializeTuple = Impossible<Document, RowError>;
    type SerializeTupleStruct = Impossible<Document, RowError>;
    type SerializeTupleVariant = Impossible<Document, RowError>;
    type SerializeMap = RowFields<'a>;
    type SerializeStruct = RowFields<'a>;
    type SerializeStructVariant = Impossible<Document, RowError>;

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Document, RowError> {
        value.serialize(self.descend()?)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Document, RowError> {
        value.serialize(self.descend()?)
    }

    // The length that a map claims is not believed: nothing is allocated by it.
    fn serialize_map(self, _: Option<usize>) -> Result<RowFields<'a>, RowError> {
        Ok(self.start_fields())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<RowFields<'a>, RowError> {
        Ok(self.start_fields())
    }

    refuse_methods! { NOT_A_ROW, Document;
        serialize_bool(bool); serialize_i8(i8); serialize_i16(i16); serialize_i32(i32); serialize_i64(i64);
        serialize_u8(u8); serialize_u16(u16); serialize_u32(u32); serialize_u64(u64); serialize_f32(f32);
        serialize_f64(f64); serialize_char(char); serialize_str(&str); serialize_bytes(&[u8]);
        serialize_none(); serialize_unit(); serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }
    refuse_methods! { NOT_A_ROW, Impossible<Document, RowError>;
        serialize_seq(Option<usize>); serialize_tuple(usize); serialize_tuple_struct(&'static str, usize);
    }
    refuse_data_variants! { NOT_A_ROW, Document }
}

/// The fields of a row so far.
struct RowFields<'a> {
    schema: &'a Schema,
    id: Option<DocumentId>,
    // Ordered by name, so that the error of a row with several faults is always the same.
    values: BTreeMap<String, Value>,
    /// The key of a map whose value comes next.
    key: Option<String>,
}

impl RowFields<'_> {
    fn add_field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), RowError> {
        let added = if name == ID_COLUMN { self.set_id(value) } else { self.set_value(name, value) };
        added.map_err(|error| error.with_field(name))
    }

    fn set_id<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), RowError> {
        let target = ValueTarget::for_id(self.schema.id());
        let id = match value.serialize(ValueSerializer::new(target))? {
            Value::Uint(id) => id.into(),
            Value::Uuid(id) => id.into(),
            Value::String(id) => id.into(),
            // The target accepts the type of the id alone; what is left is null.
            _ => return Err(RowError::invalid("an id is null")),
        };
        if self.id.replace(id).is_some() { Err(duplicate_field()) } else { Ok(()) }
    }

    fn set_value<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), RowError> {
        let column = self.schema.column(name).ok_or_else(|| RowError::invalid("unknown field"))?;
        let target = match column.kind {
            ColumnKind::Attribute(kind) => ValueTarget::for_attribute(kind),
            ColumnKind::Vector(shape) => ValueTarget::Vector(shape.dimension),
        };
        let value = value.serialize(ValueSerializer::new(target))?;
        // A null counts as a value: a map that has a key twice is refused even if the second value is null.
        if self.values.insert(name.to_owned(), value).is_some() {
            return Err(duplicate_field());
        }
        Ok(())
    }

    fn finish(self) -> Result<Document, RowError> {
        let id = self.id.ok_or_else(|| RowError::invalid("the row has no field `id`"))?;
        let mut document = Document::new(id);
        for (column, value) in self.values {
            document.set(column, value);
        }
        Ok(document)
    }
}

fn duplicate_field() -> RowError {
    RowError::invalid("duplicate field")
}

impl SerializeStruct for RowFields<'_> {
    type Ok = Document;
    type Error = RowError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), RowError> {
        self.add_field(key, value)
    }

    fn end(self) -> Result<Document, RowError> {
        self.finish()
    }
}

// Maps come from `HashMap`, `serde_json::Value` and `#[serde(flatten)]`: keys are only known at run time, unlike those of
// structs above.
impl SerializeMap for RowFields<'_> {
    type Ok = Document;
    type Error = RowError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), RowError> {
        match key.serialize(ValueSerializer::new(ValueTarget::FieldName)) {
            Ok(Value::String(key)) => {
                self.key = Some(key);
                Ok(())
            }
            _ => Err(RowError::invalid("the name of a field is not a string")),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), RowError> {
        // serde calls key and value in turn, but a hand-written `Serialize` may not.
        let key = self.key.take().ok_or_else(|| RowError::invalid("a map has a value without a key"))?;
        self.add_field(&key, value)
    }

    fn end(self) -> Result<Document, RowError> {
        self.finish()
    }
}
