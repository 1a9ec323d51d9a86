//! Documents against the schema: every value in the type of its column, or an error that names it.

use uuid::Uuid;

use super::measure::{check_f16, check_f32, check_i8, to_f16};
use super::row::parse_datetime;
use super::{AttributeType, ColumnKind, Schema, VectorColumn};
use crate::error::{Error, Result};
use crate::types::{DOCUMENT_BYTES_MAX, Document, DocumentId, VALUE_BYTES_MAX, Value, Vector, VectorType};

impl Schema {
    /// Checks a document and brings its values into the types of their columns.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for an id of another kind, an unknown column, a
    /// value of the wrong type, NaN, a vector of another dimension, or of a length that its metric does not take (see
    /// [`Metric`](crate::Metric));
    /// [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) for a value over 8 MiB, a document
    /// over 64 MiB, or a string that is a token as it is and longer than the column's
    /// [`max_token_length`](super::TextOptions::max_token_length).
    pub fn check(&self, document: Document) -> Result<Document> {
        let (id, values) = document.into_parts();
        id.check(self.id())?;
        let mut checked = Document::new(id);
        let mut size = 0;
        for (column, value) in values {
            let value = self.check_value(checked.id(), &column, value)?;
            size += value.size();
            checked.set(column, value);
        }
        if size > DOCUMENT_BYTES_MAX {
            let id = checked.id();
            return Err(Error::limit(format!(
                "document of {size} bytes: at most {DOCUMENT_BYTES_MAX} are allowed. id=`{id}`"
            )));
        }
        Ok(checked)
    }

    fn check_value(&self, id: &DocumentId, column: &str, value: Value) -> Result<Value> {
        let of = self.column(column).ok_or_else(|| {
            let known: Vec<_> = self.columns().iter().map(|c| c.name.as_str()).take(16).collect();
            Error::invalid(format!(
                "unknown column: the schema has {}. column=`{column}` id=`{id}`",
                known.join(", ")
            ))
        })?;
        let at = |why: String| Error::invalid(format!("{why}. column=`{column}` id=`{id}`"));
        if value.size() > VALUE_BYTES_MAX {
            return Err(Error::limit(format!(
                "value of {} bytes: at most {VALUE_BYTES_MAX} are allowed. column=`{column}` id=`{id}`",
                value.size()
            )));
        }
        let token_bytes = strings(&value).map(str::len).max().unwrap_or_default();
        if let Some(why) = of.text.as_ref().and_then(|options| options.refuse(token_bytes)) {
            return Err(Error::limit(format!("{why}. column=`{column}` id=`{id}`")));
        }
        match (of.kind, value) {
            (_, Value::Null) => Ok(Value::Null),
            (ColumnKind::Attribute(kind), value) => coerce(kind, value).map_err(at),
            (ColumnKind::Vector(shape), Value::Vector(vector)) => {
                coerce_vector(shape, vector).map(Value::Vector).map_err(at)
            }
            (ColumnKind::Vector(shape), Value::Array(values)) => {
                let vector = values.iter().map(component).collect::<Option<Vec<f32>>>();
                let vector = vector.ok_or_else(|| at("a vector takes numbers alone".into()))?;
                coerce_vector(shape, Vector::F32(vector)).map(Value::Vector).map_err(at)
            }
            (ColumnKind::Vector(_), other) => {
                Err(at(format!("wrong type: a vector is expected, this is {}", other.kind_name())))
            }
        }
    }
}

/// The strings of a value.
fn strings(value: &Value) -> impl Iterator<Item = &str> {
    let all = match value {
        Value::Array(values) => values.as_slice(),
        one => std::slice::from_ref(one),
    };
    all.iter().filter_map(|value| match value {
        Value::String(text) => Some(text.as_str()),
        _ => None,
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "vectors hold f32 at most")]
fn component(value: &Value) -> Option<f32> {
    match *value {
        Value::Float(x) => Some(x as f32),
        Value::Int(x) => Some(x as f32),
        Value::Uint(x) => Some(x as f32),
        _ => None,
    }
}

/// Brings a value into an attribute's type, or says why it does not fit.
pub(crate) fn coerce(kind: AttributeType, value: Value) -> Result<Value, String> {
    let wrong = |found: &str| format!("wrong type: {kind} is expected, this is {found}");
    if let Some(element) = kind.element() {
        let Value::Array(values) = value else { return Err(wrong(value.kind_name())) };
        let checked = values.into_iter().map(|v| match v {
            Value::Null => Err("null inside an array".into()),
            v => coerce(element, v),
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
        (AttributeType::Float, Value::Float(x)) if x.is_nan() => Err("NaN is not a value".into()),
        // One zero: an ordering by bits would tell minus zero from zero.
        (AttributeType::Float, Value::Float(x)) => Ok(Value::Float(if x == 0.0 { 0.0 } else { x })),
        (AttributeType::Float, Value::Int(x)) => exact_float(i128::from(x)),
        (AttributeType::Float, Value::Uint(x)) => exact_float(i128::from(x)),
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
        (_, other) => Err(wrong(other.kind_name())),
    }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "checked by the way back")]
fn exact_float(x: i128) -> Result<Value, String> {
    let float = x as f64;
    if float as i128 == x {
        Ok(Value::Float(float))
    } else {
        Err("the number does not fit a float exactly".into())
    }
}

/// Brings a vector into a column's shape, or says why it does not fit. Queries use it too.
pub(crate) fn coerce_vector(shape: VectorColumn, vector: Vector) -> Result<Vector, String> {
    if vector.dimension() != shape.dimension {
        return Err(format!(
            "wrong dimension: {} is expected, this is {}",
            shape.dimension,
            vector.dimension()
        ));
    }
    let vector = match (shape.element, vector) {
        (VectorType::F32, Vector::F16(_) | Vector::I8(_)) | (VectorType::F16, Vector::I8(_)) => {
            return Err("wrong type of vector: floats are expected, this is i8 or f16".into());
        }
        (VectorType::F16, Vector::F32(v)) => Vector::F16(to_f16(shape.metric, &v).collect()),
        (VectorType::I8, Vector::F32(v)) => Vector::I8(
            v.into_iter()
                .map(exact_i8)
                .collect::<Option<_>>()
                .ok_or("i8 takes whole numbers from -128 to 127")?,
        ),
        (VectorType::I8, Vector::F16(_)) => {
            return Err("wrong type of vector: i8 is expected, this is f16".into());
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

#[expect(clippy::cast_possible_truncation, reason = "checked first")]
fn exact_i8(x: f32) -> Option<i8> {
    (x.fract() == 0.0 && (-128.0..=127.0).contains(&x)).then_some(x as i8)
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
        refused(Document::new(7).with("f", "text"), "float is expected");
        refused(Document::new(7).with("u", -1), "does not fit");
        refused(Document::new(7).with("tags", "one"), "[]string is expected");
        refused(Document::new(7).with("tags", vec![Value::Null]), "null inside");
        refused(Document::new(7).with("v", Vector::from([1.0])), "wrong dimension");
        refused(Document::new(7).with("v", Vector::from([1.0, f32::NAN])), "NaN");
        refused(Document::new(7).with("h", Vector::from([1.0, 1e9])), "too large");
        refused(Document::new(7).with("l", Vector::from([1.0, 1e16])), "1e15 at most");
        refused(Document::new(7).with("l", vec![1e15f64, 1e15]), "1e15 at most");
        refused(Document::new(7).with("f", "2024-01-01T00:00:00Z"), "float is expected");
        refused(Document::new(7).with("at", "yesterday"), "RFC 3339");
        refused(Document::new(7).with("at", 1_700_000_000_000i64), "datetime is expected");
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
