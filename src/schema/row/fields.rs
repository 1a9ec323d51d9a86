//! A whole row, field by field, into a document.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{Impossible, SerializeMap, SerializeStruct, Serializer};

use super::RowError;
use super::ser::{DEPTH_MAX, Place, ValueSerializer};
use crate::error::Result;
use crate::schema::{ColumnKind, ID_COLUMN, Schema};
use crate::types::{Document, DocumentId, Value};

impl Document {
    /// A document from a row of any type that is a struct or a map: its field `id`, and fields named as the
    /// columns of `schema`.
    ///
    /// | column | takes |
    /// |---|---|
    /// | id | a number, a UUID or a string, as the schema says |
    /// | string | strings, characters, enum variants without data |
    /// | int, uint, float | numbers that fit exactly; an `f32` widens |
    /// | bool | `bool` |
    /// | uuid | a string that spells one, or 16 bytes |
    /// | datetime | milliseconds since 1970 as an integer, or RFC 3339; without a zone it is UTC |
    /// | bytes | bytes, or a sequence of `u8` |
    /// | array | a sequence of what its elements take |
    /// | vector | a sequence of numbers |
    ///
    /// `None` is null. What of a datetime is finer than a millisecond is cut off, towards the past.
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
    /// id, an unknown field, a field twice, a map or a sequence where the column takes none, and for what
    /// [`Schema::check`] refuses; [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) as there.
    pub fn from_serialize<T: Serialize + ?Sized>(schema: &Schema, row: &T) -> Result<Self> {
        let document = row.serialize(RowSerializer { schema, depth: 0 })?;
        schema.check(document)
    }
}

#[derive(Clone, Copy)]
struct RowSerializer<'a> {
    schema: &'a Schema,
    depth: usize,
}

impl<'a> RowSerializer<'a> {
    fn fields(self) -> Fields<'a> {
        Fields { schema: self.schema, id: None, values: BTreeMap::new(), key: None }
    }

    fn inside(self) -> Result<Self, RowError> {
        if self.depth == DEPTH_MAX {
            return Err(RowError::invalid("nested too deep"));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

/// Every way to serialize that is not one of a row.
macro_rules! refuse {
    ($what:expr, $ok:ty; $($method:ident($($type:ty),*);)*) => {$(
        fn $method(self, $(_: $type),*) -> Result<$ok, RowError> {
            Err(RowError::invalid($what))
        }
    )*};
}
pub(super) use refuse;

const NOT_A_ROW: &str = "a row is a struct or a map";

impl<'a> Serializer for RowSerializer<'a> {
    type Ok = Document;
    type Error = RowError;
    type SerializeSeq = Impossible<Document, RowError>;
    type SerializeTuple = Impossible<Document, RowError>;
    type SerializeTupleStruct = Impossible<Document, RowError>;
    type SerializeTupleVariant = Impossible<Document, RowError>;
    type SerializeMap = Fields<'a>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Impossible<Document, RowError>;

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Document, RowError> {
        value.serialize(self.inside()?)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Document, RowError> {
        value.serialize(self.inside()?)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Fields<'a>, RowError> {
        Ok(self.fields())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'a>, RowError> {
        Ok(self.fields())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Document, RowError> {
        Err(RowError::invalid(NOT_A_ROW))
    }

    refuse! { NOT_A_ROW, Document;
        serialize_bool(bool); serialize_i8(i8); serialize_i16(i16); serialize_i32(i32); serialize_i64(i64);
        serialize_u8(u8); serialize_u16(u16); serialize_u32(u32); serialize_u64(u64); serialize_f32(f32);
        serialize_f64(f64); serialize_char(char); serialize_str(&str); serialize_bytes(&[u8]);
        serialize_none(); serialize_unit(); serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }
    refuse! { NOT_A_ROW, Impossible<Document, RowError>;
        serialize_seq(Option<usize>); serialize_tuple(usize); serialize_tuple_struct(&'static str, usize);
        serialize_tuple_variant(&'static str, u32, &'static str, usize);
        serialize_struct_variant(&'static str, u32, &'static str, usize);
    }
}

/// The fields of a row so far.
struct Fields<'a> {
    schema: &'a Schema,
    id: Option<DocumentId>,
    values: BTreeMap<String, Value>,
    key: Option<String>,
}

impl Fields<'_> {
    fn add<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), RowError> {
        self.place(name, value).map_err(|error| error.at(name))
    }

    fn place<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), RowError> {
        let twice = || RowError::invalid("a field comes twice");
        if name == ID_COLUMN {
            let id = match value.serialize(ValueSerializer::new(Place::id(self.schema.id())))? {
                Value::Uint(id) => id.into(),
                Value::Uuid(id) => id.into(),
                Value::String(id) => id.into(),
                _ => return Err(RowError::invalid("an id is null")),
            };
            return if self.id.replace(id).is_some() { Err(twice()) } else { Ok(()) };
        }
        let column = self.schema.column(name).ok_or_else(|| RowError::invalid("unknown field"))?;
        let place = match column.kind {
            ColumnKind::Attribute(kind) => Place::attribute(kind),
            ColumnKind::Vector(shape) => Place::Vector(shape.dimension),
        };
        let value = value.serialize(ValueSerializer::new(place))?;
        if self.values.insert(name.to_owned(), value).is_some() {
            return Err(twice());
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

impl SerializeStruct for Fields<'_> {
    type Ok = Document;
    type Error = RowError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), RowError> {
        self.add(key, value)
    }

    fn end(self) -> Result<Document, RowError> {
        self.finish()
    }
}

impl SerializeMap for Fields<'_> {
    type Ok = Document;
    type Error = RowError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), RowError> {
        match key.serialize(ValueSerializer::new(Place::Name)) {
            Ok(Value::String(key)) => {
                self.key = Some(key);
                Ok(())
            }
            _ => Err(RowError::invalid("the name of a field is not a string")),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), RowError> {
        let key = self.key.take().ok_or_else(|| RowError::invalid("a value came before its name"))?;
        self.add(&key, value)
    }

    fn end(self) -> Result<Document, RowError> {
        self.finish()
    }
}
