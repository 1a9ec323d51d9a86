//! What a predicate compares a column with.

use crate::types::Value;

/// What a predicate compares a column with: a value, or in the condition of a write what a column of the row
/// is about to become.
///
/// Everything that converts into a [`Value`] converts into an operand.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Operand {
    /// This value.
    Value(Value),
    /// The value this column of the row has after the write: null where the write sets none and where it
    /// deletes the row. Only conditions of writes know it; anywhere else it is an error.
    New(String),
}

impl Operand {
    /// The value that `column` of the row has after the write.
    ///
    /// ```
    /// use elacsym::{Filter, Operand};
    ///
    /// // Only newer versions replace what is there.
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
