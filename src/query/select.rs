//! The columns that a response carries.

use crate::error::{Error, Result};
use crate::schema::{COLUMNS_MAX, Column, ColumnKind, ID_COLUMN, Schema};

/// The most names of a selection: every column that a schema may have, and the id.
// A list from outside is checked against the schema name by name, so it must not be longer than is of use.
const NAMES_MAX: usize = COLUMNS_MAX + 1;

/// The columns that a response carries. The id is always included. At most 1,025 names.
///
/// ```
/// use elacsym::{Query, Scan, Select};
///
/// let titles = Query::nearest("embedding", [0.1, 0.9]).select(["title", "year"]);
/// let no_vectors = Scan::new().select(Select::Attributes);
/// let no_text = Scan::new().select(Select::except(["body"]));
/// assert_eq!(Select::from(["title"]), Select::Only(vec!["title".into()]));
/// # let _ = (titles, no_vectors, no_text);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Select {
    /// All attributes and vectors.
    All,
    /// All attributes, no vectors.
    #[default]
    Attributes,
    /// Only these columns.
    Only(Vec<String>),
    /// All attributes and vectors except these.
    Except(Vec<String>),
}

/// Only these columns.
impl<S: Into<String>, const N: usize> From<[S; N]> for Select {
    fn from(columns: [S; N]) -> Self {
        Self::only(columns)
    }
}

/// Only these columns.
impl<S: Into<String>> From<Vec<S>> for Select {
    fn from(columns: Vec<S>) -> Self {
        Self::only(columns)
    }
}

/// Only these columns.
impl<S: Clone + Into<String>> From<&[S]> for Select {
    fn from(columns: &[S]) -> Self {
        Self::only(columns.iter().cloned())
    }
}

impl From<&Select> for Select {
    fn from(select: &Select) -> Self {
        select.clone()
    }
}

impl Select {
    /// Only these columns; without any, only ids.
    pub fn only<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Self {
        Self::Only(columns.into_iter().map(Into::into).collect())
    }

    /// All columns except these.
    pub fn except<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Self {
        Self::Except(columns.into_iter().map(Into::into).collect())
    }

    /// The indexes of the selected columns in the schema, ascending.
    pub(crate) fn column_indexes(&self, schema: &Schema) -> Result<Vec<usize>> {
        if let Self::Only(names) | Self::Except(names) = self {
            if names.len() > NAMES_MAX {
                let count = names.len();
                return Err(Error::limit(format!(
                    "too many columns in the selection: at most {NAMES_MAX} are allowed. columns=`{count}`"
                )));
            }
            // A misspelt name in `Except` would return a column that the caller meant to leave out, so both are checked.
            let unknown = |name: &&String| schema.column(name).is_none() && name.as_str() != ID_COLUMN;
            if let Some(name) = names.iter().find(unknown) {
                let known = schema.list_columns_and_id();
                return Err(Error::invalid(format!(
                    "unknown column in the selection: the schema has {known}. column=`{name}`"
                )));
            }
        }
        let is_selected = |column: &Column| match self {
            Self::All => true,
            Self::Attributes => matches!(column.kind, ColumnKind::Attribute(_)),
            Self::Only(names) => names.contains(&column.name),
            Self::Except(names) => !names.contains(&column.name),
        };
        let columns = schema.columns().iter().enumerate();
        Ok(columns.filter(|(_, column)| is_selected(column)).map(|(index, _)| index).collect())
    }
}
