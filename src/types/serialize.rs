//! Documents as a service sends them: serde of ids, values, vectors and documents.
//!
//! The form is the natural one of a format: numbers are numbers and vectors are sequences of them, UUIDs are texts. In
//! formats that people read, such as JSON, datetimes are RFC 3339 (outside the years 0 to 9999, which that cannot write,
//! milliseconds since 1970); in others they are milliseconds.

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use super::datetime::format_datetime;
use super::{Document, DocumentId, NamespaceName, Value, Vector};

/// The name that the id of a document has among its columns.
const ID: &str = "id";

impl Serialize for DocumentId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::U64(id) => to.serialize_u64(*id),
            Self::Negative(id) => to.serialize_i64(*id),
            Self::Uuid(id) => to.collect_str(&id.hyphenated()),
            Self::String(id) => to.serialize_str(id),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_unit(),
            Self::String(text) => to.serialize_str(text),
            Self::Int(number) => to.serialize_i64(*number),
            Self::Uint(number) => to.serialize_u64(*number),
            Self::Float(number) => to.serialize_f64(*number),
            Self::Bool(value) => to.serialize_bool(*value),
            Self::Uuid(value) => to.collect_str(&value.hyphenated()),
            Self::Datetime(milliseconds) => {
                match Some(*milliseconds).filter(|_| to.is_human_readable()).and_then(format_datetime) {
                    Some(text) => to.serialize_str(&text),
                    None => to.serialize_i64(*milliseconds),
                }
            }
            Self::Bytes(bytes) => to.serialize_bytes(bytes),
            Self::Array(values) => to.collect_seq(values),
            Self::Vector(vector) => vector.serialize(to),
        }
    }
}

impl Serialize for Vector {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut components = to.serialize_seq(Some(self.dimension()))?;
        match self {
            Self::F32(v) => v.iter().try_for_each(|x| components.serialize_element(x))?,
            Self::F16(v) => v.iter().try_for_each(|x| components.serialize_element(&x.to_f32()))?,
            Self::I8(v) => v.iter().try_for_each(|x| components.serialize_element(x))?,
        }
        components.end()
    }
}

/// A map: `id`, then the columns in order of their names. Null columns are left out.
impl Serialize for Document {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let columns = || self.iter().filter(|(_, value)| !value.is_null());
        let mut map = to.serialize_map(Some(columns().count() + 1))?;
        map.serialize_entry(ID, self.id())?;
        for (column, value) in columns() {
            map.serialize_entry(column, value)?;
        }
        map.end()
    }
}

impl Serialize for NamespaceName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}
