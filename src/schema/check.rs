//! Documents against the schema: every value in the type of its column, or an error that names the column.

use std::{fmt, iter};

use uuid::Uuid;

use super::numbers::{exact_float, exact_i8, to_component};
use super::vectors::{check_f16, check_f32, check_i8, to_f16};
use super::{AttributeType, Column, ColumnKind, ID_COLUMN, Schema, VectorColumn};
use crate::error::{Error, Result};
use crate::types::datetime::parse_datetime;
use crate::types::{DOCUMENT_BYTES_MAX, Document, VALUE_BYTES_MAX, Value, Vector, VectorType};

/// The most column names that an error lists.
const LISTED_COLUMNS_MAX: usize = 16;

/// Column names as an error about another one lists them.
fn list_names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.take(LISTED_COLUMNS_MAX).collect();
    if names.is_empty() { "no columns".to_owned() } else { names.join(", ") }
}

impl Schema {
    /// The names of the first columns, for an error that says what there is.
    pub(crate) fn list_columns(&self) -> String {
        list_names(self.column_names())
    }

    /// As [`Self::list_columns`], where the id may be named as well.
    pub(crate) fn list_columns_and_id(&self) -> String {
        list_names(iter::once(ID_COLUMN).chain(self.column_names()))
    }

    fn column_names(&self) -> impl Iterator<Item = &str> {
        self.columns().iter().map(|column| column.name.as_str())
    }

    /// Checks a document and converts its values into the types of their columns.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for an id of another kind, an unknown column, a
    /// value of the wrong type, NaN, a vector of another dimension, or of a length that its metric does not accept (see
    /// [`Metric`](crate::Metric));
    /// [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) for a value over 8 MiB, a document
    /// over 64 MiB, or a string that is a whole token and longer than the column's
    /// [`max_token_length`](super::TextOptions::max_token_length).
    pub fn check(&self, document: Document) -> Result<Document> {
        let (id, values) = document.into_parts();
        id.check(self.id())?;
        let mut checked = Document::new(id);
        let mut size = 0;
        for (name, value) in values {
            let column = self.column(&name).ok_or_else(|| {
                let known = self.list_columns();
                Error::invalid(format!(
                    "unknown column: the schema has {known}. column=`{name}` id=`{}`",
                    checked.id()
                ))
            })?;
            let value = check_value(column, value)
                .map_err(|error| error.in_cell(format_args!("column=`{name}` id=`{}`", checked.id())))?;
            // Counted after the conversion, since that is what is stored: i8 vectors take a quarter of their floats.
            size += value.size();
            checked.set(name, value);
        }
        if size > DOCUMENT_BYTES_MAX {
            let id = checked.id();
            return Err(Error::limit(format!(
                "document of {size} bytes: at most {DOCUMENT_BYTES_MAX} are allowed. id=`{id}`"
            )));
        }
        Ok(checked)
    }
}

/// Why a value does not fit its column, without the names of column and id.
enum ValueError {
    Invalid(String),
    Limit(String),
}

impl ValueError {
    fn in_cell(self, cell: impl fmt::Display) -> Error {
        match self {
            Self::Invalid(why) => Error::invalid(format!("{why}. {cell}")),
            Self::Limit(why) => Error::limit(format!("{why}. {cell}")),
        }
    }
}

fn check_value(column: &Column, value: Value) -> Result<Value, ValueError> {
    let size = value.size();
    if size > VALUE_BYTES_MAX {
        return Err(ValueError::Limit(format!(
            "value of {size} bytes: at most {VALUE_BYTES_MAX} are allowed"
        )));
    }
    if let Some(options) = &column.text
        && let Some(longest) = iter_strings(&value).map(str::len).max()
    {
        options.check_whole_token(longest).map_err(ValueError::Limit)?;
    }
    match (column.kind, value) {
        (_, Value::Null) => Ok(Value::Null),
        (ColumnKind::Attribute(kind), value) => coerce_value(kind, value),
        (ColumnKind::Vector(shape), Value::Vector(vector)) => coerce_vector(shape, vector).map(Value::Vector),
        // JSON and serde know no vectors: an array of numbers is one in a vector column.
        (ColumnKind::Vector(shape), Value::Array(values)) => {
            let vector = values.iter().map(to_component).collect::<Option<Vec<f32>>>();
            let vector = vector.ok_or_else(|| "a vector holds only numbers".to_owned());
            vector.and_then(|vector| coerce_vector(shape, Vector::F32(vector))).map(Value::Vector)
        }
        (ColumnKind::Vector(_), other) => Err(type_mismatch("a vector", other.kind_name())),
    }
    .map_err(ValueError::Invalid)
}

/// The strings of a value: itself, or the elements of an array.
fn iter_strings(value: &Value) -> impl Iterator<Item = &str> {
    let values = match value {
        Value::Array(values) => values.as_slice(),
        scalar => std::slice::from_ref(scalar),
    };
    values.iter().filter_map(|value| match value {
        Value::String(text) => Some(text.as_str()),
        _ => None,
    })
}

/// The message of every error about a value, column or operand of the wrong type.
pub(crate) fn type_mismatch(expected: impl fmt::Display, found: impl fmt::Display) -> String {
    format!("type mismatch: expected {expected}, found {found}")
}

/// Converts a value into an attribute's type without loss, or returns why that is not possible.
pub(crate) fn coerce_value(kind: AttributeType, value: Value) -> Result<Value, String> {
    let mismatch = |found: &str| type_mismatch(kind, found);
    if let Some(element) = kind.element() {
        let Value::Array(values) = value else { return Err(mismatch(value.kind_name())) };
        let checked = values.into_iter().map(|value| match value {
            // The layout has no nulls inside lists, so that an element's filter needs no third case.
            Value::Null => Err("null inside an array".into()),
            value => coerce_value(element, value),
        });
        return checked.collect::<Result<_, _>>().map(Value::Array);
    }
    match (kind, value) {
        (_, Value::Null) => Ok(Value::Null),
        (AttributeType::String, v @ Value::String(_))
        | (AttributeType::Int, v @ Value::Int(_))
        | (AttributeType::Uint, v @ Value::Uint(_))
        | (AttributeType::Bool, v @ Value::Bool(_))
        | (AttributeType::Uuid, v @ Value::Uuid(_))
        | (AttributeType::Bytes, v @ Value::Bytes(_))
        | (AttributeType::Datetime, v @ Value::Datetime(_)) => Ok(v),
        // NaN has no place in an order: every comparison and every statistic would need a rule for it.
        (AttributeType::Float, Value::Float(x)) if x.is_nan() => Err("NaN is not a value".into()),
        // One zero: an order by bits would place minus zero before zero, though they are equal.
        (AttributeType::Float, Value::Float(x)) => Ok(Value::Float(if x == 0.0 { 0.0 } else { x })),
        (AttributeType::Float, Value::Int(x)) => coerce_float(i128::from(x)),
        (AttributeType::Float, Value::Uint(x)) => coerce_float(i128::from(x)),
        (AttributeType::Int, Value::Uint(x)) => {
            i64::try_from(x).map(Value::Int).map_err(|_| "the number does not fit an int".into())
        }
        (AttributeType::Uuid, Value::String(text)) => {
            Uuid::try_parse(&text).map(Value::Uuid).map_err(|_| "not a uuid".into())
        }
        (AttributeType::Datetime, Value::String(text)) => {
            parse_datetime(&text).map(Value::Datetime).map_err(Into::into)
        }
        (AttributeType::Uint, Value::Int(x)) => {
            u64::try_from(x).map(Value::Uint).map_err(|_| "the number does not fit a uint".into())
        }
        // A number does not say whether it counts seconds or milliseconds.
        (AttributeType::Datetime, number @ (Value::Int(_) | Value::Uint(_) | Value::Float(_))) => {
            let ways = "`Value::Datetime(milliseconds)`, `Value::datetime(\"2024-01-31\")` or a `SystemTime`";
            Err(format!("{}: write {ways}", mismatch(number.kind_name())))
        }
        (_, other) => Err(mismatch(other.kind_name())),
    }
}

fn coerce_float(x: i128) -> Result<Value, String> {
    exact_float(x).map(Value::Float).ok_or_else(|| "the number does not fit a float exactly".into())
}

/// Converts a vector into a column's element type and checks it, or returns why it does not fit. Queries use it too, so
/// that a query vector passes the same checks as the stored vectors.
pub(crate) fn coerce_vector(shape: VectorColumn, vector: Vector) -> Result<Vector, String> {
    if vector.dimension() != shape.dimension {
        return Err(wrong_dimension(shape.dimension, vector.dimension()));
    }
    // Only f32 converts into other element types. From f16 or i8 there is no use for it, and a caller who mixes them
    // up has more likely chosen the wrong column.
    let vector = match (shape.element, vector) {
        (VectorType::F32, Vector::F16(_) | Vector::I8(_)) | (VectorType::F16, Vector::I8(_)) => {
            return Err(type_mismatch("a vector of floats", "a vector of i8 or f16"));
        }
        (VectorType::F16, Vector::F32(v)) => Vector::F16(to_f16(shape.metric, &v).collect()),
        (VectorType::I8, Vector::F32(v)) => {
            let whole = v.into_iter().map(exact_i8).collect::<Option<_>>();
            Vector::I8(whole.ok_or(NOT_WHOLE)?)
        }
        (VectorType::I8, Vector::F16(_)) => {
            return Err(type_mismatch("a vector of i8", "a vector of f16"));
        }
        (_, vector) => vector,
    };
    match &vector {
        Vector::F32(v) => check_f32(shape.metric, v),
        Vector::F16(v) => check_f16(shape.metric, v),
        Vector::I8(v) => check_i8(shape.metric, v),
    }?;
    Ok(vector)
}

/// The message for a component that an i8 column does not take.
pub(super) const NOT_WHOLE: &str = "i8 takes whole numbers from -128 to 127";

/// The message for a vector of another dimension than its column.
pub(super) fn wrong_dimension(expected: usize, found: usize) -> String {
    format!("wrong dimension: expected {expected}, found {found}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::types::{IdKind, Metric};

    fn schema() -> Schema {
        Schema::builder(IdKind::U64)
            .attribute("f", AttributeType::Float)
            .attribute("u", AttributeType::Uint)
            .attribute("tags", AttributeType::StringArray)
            .attribute("text", AttributeType::String)
            .vector("v", VectorType::F16, 2, Metric::Cosine)
            .vector("w", VectorType::I8, 2, Metric::Dot)
            .vector("h", VectorType::F16, 2, Metric::Dot)
            .vector("l", VectorType::F32, 2, Metric::L2Squared)
            .attribute("at", AttributeType::Datetime)
            .attribute("key", AttributeType::Uuid)
            .build()
            .unwrap()
    }

    fn refused(document: Document, words: &str) {
        let error = schema().check(document).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }

    #[test]
    fn bad_values_are_refused_by_name() {
        refused(Document::new("7"), "wrong kind of id");
        refused(Document::new(7).with("x", 1), "unknown column");
        refused(Document::new(7).with("f", f64::NAN), "NaN");
        refused(Document::new(7).with("f", "text"), "expected float");
        refused(Document::new(7).with("u", -1), "does not fit");
        refused(Document::new(7).with("tags", "one"), "expected []string");
        refused(Document::new(7).with("tags", vec![Value::Null]), "null inside");
        refused(Document::new(7).with("v", Vector::from([1.0])), "wrong dimension");
        refused(Document::new(7).with("v", Vector::from([1.0, f32::NAN])), "NaN");
        refused(Document::new(7).with("h", Vector::from([1.0, 1e9])), "too large");
        refused(Document::new(7).with("l", Vector::from([1.0, 1e16])), "1e15 at most");
        refused(Document::new(7).with("l", vec![1e15f64, 1e15]), "1e15 at most");
        refused(Document::new(7).with("f", "2024-01-01T00:00:00Z"), "expected float");
        refused(Document::new(7).with("at", "yesterday"), "RFC 3339");
        refused(Document::new(7).with("at", 1_700_000_000_000i64), "expected datetime");
        refused(Document::new(7).with("key", "0-1"), "not a uuid");
        refused(Document::new(7).with("v", Vector::from([0.0, 0.0])), "length zero");
        refused(Document::new(7).with("w", Vector::from([0.5, 0.0])), "whole numbers");
        let long = Document::new(7).with("text", "x".repeat(VALUE_BYTES_MAX + 1));
        assert_eq!(schema().check(long).unwrap_err().kind(), ErrorKind::LimitExceeded);
    }

    #[test]
    fn values_come_into_the_types_of_their_columns() {
        let document = Document::new(7).with("f", -0.0).with("u", 5i64).with("v", vec![1.0f64, 0.5]);
        let document = document
            .with("at", "1969-12-31T23:59:59.9999+00:00")
            .with("key", "00000000-0000-0000-0000-000000000007");
        let checked = schema().check(document).unwrap();
        assert_eq!(checked.get("at"), Some(&Value::Datetime(-1)));
        assert_eq!(checked.get("key"), Some(&Value::Uuid(Uuid::from_u128(7))));
        assert_eq!(checked.get("u"), Some(&Value::Uint(5)));
        assert!(matches!(checked.get("f"), Some(Value::Float(x)) if x.is_sign_positive()));
        assert!(matches!(checked.get("v"), Some(Value::Vector(Vector::F16(_)))));
    }
}
