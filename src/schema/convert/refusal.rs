//! Why a column of a user's making is refused.

use arrow::datatypes::DataType;

use super::COLUMN_BYTES_MAX;
use crate::error::Error;
use crate::schema::{AttributeType, Ids};

/// Why a column is refused: as a whole, or for a row.
pub(super) struct Refusal {
    row: Option<usize>,
    why: String,
    limit: bool,
}

impl Refusal {
    pub(super) fn whole(why: String) -> Self {
        Self { row: None, why, limit: false }
    }

    pub(super) fn at(row: usize, why: &str) -> Self {
        Self { row: Some(row), why: why.to_owned(), limit: false }
    }

    pub(super) fn limit(row: usize, why: String) -> Self {
        Self { row: Some(row), why, limit: true }
    }

    pub(super) fn kind(expected: AttributeType, found: &DataType) -> Self {
        Self::whole(format!("wrong type: {expected} is expected, this is {found}"))
    }

    pub(super) fn too_large() -> Self {
        let why = format!("a column of a batch takes more than {COLUMN_BYTES_MAX} bytes: send fewer rows");
        Self { row: None, why, limit: true }
    }

    /// What is said of an element, said of its row.
    pub(super) fn lift(self, row_of: impl Fn(usize) -> usize) -> Self {
        Self { row: self.row.map(row_of), ..self }
    }

    pub(super) fn row(&self) -> Option<usize> {
        self.row
    }

    /// The error, with the id of the row.
    pub(super) fn name(self, column: &str, ids: &Ids) -> Error {
        let id = self.row.filter(|row| *row < ids.len()).map(|row| format!(" id=`{}`", ids.get(row)));
        self.error(column, &id.unwrap_or_default())
    }

    /// The error, with these words about the row.
    pub(super) fn error(self, column: &str, row: &str) -> Error {
        let message = format!("{}. column=`{column}`{row}", self.why);
        if self.limit { Error::limit(message) } else { Error::invalid(message) }
    }
}
