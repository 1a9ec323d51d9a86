//! Which columns an answer carries.

use crate::error::{Error, Result};
use crate::schema::{COLUMNS_MAX, ColumnKind, ID_COLUMN, Schema};

/// The most names of a selection: those of all columns that there can be, and the id.
const NAMES_MAX: usize = COLUMNS_MAX + 1;

/// Which columns an answer carries. The id is always there. At most 1,025 names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Select {
    /// All attributes and vectors.
    All,
    /// All attributes, no vectors.
    #[default]
    Attributes,
    /// These columns alone.
    Only(Vec<String>),
    /// All attributes and vectors but these.
    Except(Vec<String>),
}

impl Select {
    /// These columns alone; none gives ids.
    pub fn only<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Self {
        Self::Only(columns.into_iter().map(Into::into).collect())
    }

    /// All columns but these.
    pub fn except<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Self {
        Self::Except(columns.into_iter().map(Into::into).collect())
    }

    /// The places of the selected columns in the schema, ascending.
    pub(crate) fn places(&self, schema: &Schema) -> Result<Vec<usize>> {
        if let Self::Only(names) | Self::Except(names) = self {
            if names.len() > NAMES_MAX {
                let count = names.len();
                return Err(Error::limit(format!(
                    "too many columns in the selection: at most {NAMES_MAX} are allowed. columns=`{count}`"
                )));
            }
            let unknown = |name: &&String| schema.column(name).is_none() && name.as_str() != ID_COLUMN;
            if let Some(name) = names.iter().find(unknown) {
                return Err(Error::invalid(format!("unknown column in the selection. column=`{name}`")));
            }
        }
        let selected = |at: &usize| {
            schema.columns().get(*at).is_some_and(|column| match self {
                Self::All => true,
                Self::Attributes => matches!(column.kind, ColumnKind::Attribute(_)),
                Self::Only(names) => names.contains(&column.name),
                Self::Except(names) => !names.contains(&column.name),
            })
        };
        Ok((0..schema.columns().len()).filter(selected).collect())
    }
}
