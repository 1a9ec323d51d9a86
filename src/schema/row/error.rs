//! The error of rows, on its way to the public one.

use std::fmt;

use serde::de::{Expected, Unexpected};

use crate::error::{Error, ErrorKind};
use crate::schema::type_mismatch;

/// Why a row cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct RowError {
    kind: ErrorKind,
    message: String,
    /// Whether the message names a field. serde passes an error up through every level; the innermost name stays.
    has_field: bool,
    /// The field that has no value, if that is the error.
    missing: Option<&'static str>,
}

impl RowError {
    fn new(kind: ErrorKind, message: String) -> Self {
        Self { kind, message, has_field: false, missing: None }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message.into())
    }

    pub(super) fn limit(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::LimitExceeded, message.into())
    }

    /// Adds the name of the field, unless the message has one already.
    pub(super) fn with_field(self, field: &str) -> Self {
        if self.has_field {
            return self;
        }
        let message = format!("{}. column=`{field}`", self.message);
        Self { message, has_field: true, ..self }
    }

    /// Says of a missing field that its column was not selected, if that is so.
    pub(super) fn explain_missing(self, is_unselected: impl Fn(&str) -> bool) -> Self {
        match self.missing {
            Some(field) if is_unselected(field) => Self::invalid(
                "missing field: its column was not selected. by default a query selects no vectors: \
                 `Query::select(Select::All)` selects every column",
            )
            .with_field(field),
            _ => self,
        }
    }
}

// The public `Error` stays free of serde's traits: their `custom` would let anyone make an error of this crate from any
// text, without a kind.
impl From<RowError> for Error {
    fn from(error: RowError) -> Self {
        Self::new(error.kind, error.message)
    }
}

impl serde::ser::Error for RowError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::invalid(message.to_string())
    }
}

// serde's default messages quote the value that was found. Errors end up in logs, so the methods below replace those
// messages by messages with the type alone.
impl serde::de::Error for RowError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::invalid(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid(type_mismatch(expected, type_name(&found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid(format!("invalid value: expected {expected}, found another {}", type_name(&found)))
    }

    fn missing_field(field: &'static str) -> Self {
        let why = "missing field: the document has no value for it. an `Option` or a default allows for that";
        Self { missing: Some(field), ..Self::invalid(why).with_field(field) }
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::invalid(format!("unknown variant: expected one of {}", expected.join(", ")))
    }
}

fn type_name(found: &Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "bool",
        Unexpected::Unsigned(_) => "uint",
        Unexpected::Signed(_) => "int",
        Unexpected::Float(_) => "float",
        Unexpected::Char(_) | Unexpected::Str(_) => "string",
        Unexpected::Bytes(_) => "bytes",
        Unexpected::Unit | Unexpected::Option => "null",
        Unexpected::Seq => "sequence",
        Unexpected::Map => "map",
        _ => "kind of value",
    }
}
