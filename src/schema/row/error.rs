//! The error of rows, on its way to the public one.

use std::fmt;

use serde::de::{Expected, Unexpected};

use crate::error::{Error, ErrorKind};

/// Why a row cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct RowError {
    kind: ErrorKind,
    message: String,
    named: bool,
}

impl RowError {
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Invalid, message: message.into(), named: false }
    }

    pub(super) fn limit(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::LimitExceeded, message: message.into(), named: false }
    }

    /// Names the field, unless one is named already.
    pub(super) fn at(self, field: &str) -> Self {
        if self.named {
            return self;
        }
        let message = format!("{}. column=`{field}`", self.message);
        Self { message, named: true, ..self }
    }
}

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

/// serde's own words show the value that was found: these do not.
impl serde::de::Error for RowError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::invalid(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid(format!("wrong type: {expected} is expected, this is {}", name(&found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid(format!("wrong value: {expected} is expected, this is another {}", name(&found)))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::invalid(format!("unknown variant: one of {} is expected", expected.join(", ")))
    }
}

fn name(found: &Unexpected<'_>) -> &'static str {
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
