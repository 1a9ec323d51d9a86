//! Why a column of a caller's batch cannot be imported.

use arrow::datatypes::DataType;

use super::COLUMN_BYTES_MAX;
use crate::error::Error;
use crate::schema::{AttributeType, Ids, type_mismatch};

/// Why a column cannot be imported: as a whole, or because of a row. The converters do not know the names of columns
/// and ids; [`Self::with_id`] adds them once.
pub(super) struct ImportError {
    row: Option<usize>,
    why: String,
    is_limit: bool,
}

impl ImportError {
    pub(super) fn in_column(why: impl Into<String>) -> Self {
        Self { row: None, why: why.into(), is_limit: false }
    }

    pub(super) fn in_row(row: usize, why: impl Into<String>) -> Self {
        Self { row: Some(row), why: why.into(), is_limit: false }
    }

    pub(super) fn over_limit(row: usize, why: String) -> Self {
        Self { row: Some(row), why, is_limit: true }
    }

    pub(super) fn wrong_type(expected: AttributeType, found: &DataType) -> Self {
        Self::in_column(type_mismatch(expected, found))
    }

    pub(super) fn too_large() -> Self {
        let why = format!("a column of a batch takes more than {COLUMN_BYTES_MAX} bytes: send fewer rows");
        Self { row: None, why, is_limit: true }
    }

    /// Turns the number of a list's element into the number of its row.
    pub(super) fn map_row(self, row_of: impl Fn(usize) -> usize) -> Self {
        Self { row: self.row.map(row_of), ..self }
    }

    pub(super) fn row(&self) -> Option<usize> {
        self.row
    }

    /// The public error, with the id of the row.
    pub(super) fn with_id(self, column: &str, ids: &Ids) -> Error {
        let id = self.row.filter(|row| *row < ids.len()).map(|row| format!(" id=`{}`", ids.get(row)));
        // invariant: an error of a whole column has no row to name.
        let suffix = id.unwrap_or_default();
        self.with_suffix(column, &suffix)
    }

    /// The public error, with `suffix` behind the name of the column.
    pub(super) fn with_suffix(self, column: &str, suffix: &str) -> Error {
        let message = format!("{}. column=`{column}`{suffix}", self.why);
        if self.is_limit { Error::limit(message) } else { Error::invalid(message) }
    }
}
