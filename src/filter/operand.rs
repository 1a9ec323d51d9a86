//! `Operand`: the right side of a comparison.

use crate::types::Value;

/// The right side of a comparison: a value or, in the condition of a write, a column of the incoming row.
///
/// Everything that converts into a [`Value`] converts into an operand.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Operand {
    /// A value.
    Value(Value),
    /// The value of this column after the write: null if the write does not set it or deletes the row. It is available
    /// only in the condition of a write; anywhere else it is an error.
    New(String),
}

impl Operand {
    /// The value of `column` after the write.
    ///
    /// ```
    /// use elacsym::{Filter, Operand};
    ///
    /// // Only newer versions replace the stored one.
    /// let newer = Filter::lt("updated_at", Operand::new_value("updated_at"));
    /// ```
    pub fn new_value(column: impl Into<String>) -> Self {
        Self::New(column.into())
    }
}

impl<T: Into<Value>> From<T> for Operand {
    fn from(value: T) -> Self {
        Self::Value(value.into())
    }
}
