//! What is asked: queries and scans.

use super::probe::Effort;
use super::{Cursor, Filter, TextQuery};
use crate::error::{Error, Result};
use crate::schema::{ColumnKind, ID_COLUMN, Schema};
use crate::settings::Settings;
use crate::types::Vector;

/// The recall of a query that does not say.
const RECALL: f64 = 0.95;

/// Which columns an answer carries. The id is always there.
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

/// A search for the nearest documents.
///
/// ```
/// use elacsym::{Filter, Query, Vector};
///
/// let query = Query::nearest("embedding", Vector::from([0.1, 0.9])).filter(Filter::eq("kind", "noun")).limit(5);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Query {
    pub(crate) column: String,
    pub(crate) vector: Vector,
    pub(crate) filter: Option<Filter>,
    pub(crate) limit: usize,
    pub(crate) select: Select,
    pub(crate) effort: Effort,
    /// Instead of vectors.
    pub(crate) text: Option<TextQuery>,
}

impl Query {
    /// The documents whose vector in `column` is nearest to `vector` by the metric of the column. Documents
    /// without a vector there are left out. Equal distances are in order of ids.
    pub fn nearest(column: impl Into<String>, vector: impl Into<Vector>) -> Self {
        let (column, vector) = (column.into(), vector.into());
        Self {
            column,
            vector,
            filter: None,
            limit: 10,
            select: Select::default(),
            effort: Effort::Recall(RECALL),
            text: None,
        }
    }

    /// The documents whose text matches, best first by BM25. Equal scores are in order of ids.
    ///
    /// ```
    /// use elacsym::Query;
    /// use elacsym::query::TextQuery;
    ///
    /// let query = Query::text(TextQuery::any("body", "cold object storage")).limit(5);
    /// ```
    pub fn text(query: impl Into<TextQuery>) -> Self {
        Self { text: Some(query.into()), ..Self::nearest("", Vec::<f32>::new()) }
    }

    /// Only documents that match. Default: all.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// The share of the true nearest documents that should be found, on average over queries like those that are
    /// stored: above 0, and at most 1, which is [`Query::exact`]. Default 0.95. Columns without an index are
    /// searched exactly, whatever is asked.
    pub fn recall(mut self, recall: f64) -> Self {
        self.effort = Effort::of(recall);
        self
    }

    /// Probes this many leaves of the index, at least 1, whatever recall that gives.
    pub fn probes(mut self, probes: usize) -> Self {
        self.effort = Effort::Probes(probes);
        self
    }

    /// Compares every vector that the filter lets through.
    pub fn exact(mut self) -> Self {
        self.effort = Effort::Exact;
        self
    }

    /// The most hits. Default 10, at most [`Settings::limit_max`](crate::Settings::limit_max).
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The columns of the hits. Default [`Select::Attributes`].
    pub fn select(mut self, select: Select) -> Self {
        self.select = select;
        self
    }
}

/// A walk over documents in order of their ids.
///
/// ```
/// use elacsym::{Filter, Scan, Select};
///
/// let scan = Scan::new().filter(Filter::gt("year", 1999)).select(Select::only(["title"])).limit(100);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Scan {
    pub(crate) filter: Option<Filter>,
    pub(crate) limit: usize,
    pub(crate) after: Option<Cursor>,
    pub(crate) select: Select,
}

impl Default for Scan {
    fn default() -> Self {
        Self { filter: None, limit: 1_000, after: None, select: Select::All }
    }
}

impl Scan {
    /// All documents, whole, a page of 1,000 at a time.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only documents that match. Default: all.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// The most documents of a page. Default 1,000, at most
    /// [`Settings::limit_max`](crate::Settings::limit_max).
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Goes on where another page ended. Default: from the first id.
    pub fn after(mut self, cursor: impl Into<Option<Cursor>>) -> Self {
        self.after = cursor.into();
        self
    }

    /// The columns of the documents. Default [`Select::All`].
    pub fn select(mut self, select: Select) -> Self {
        self.select = select;
        self
    }
}

pub(super) fn check_effort(effort: Effort) -> Result<()> {
    match effort {
        Effort::Recall(recall) if !(recall > 0.0 && recall <= 1.0) => {
            Err(Error::invalid(format!("bad recall: above 0 and at most 1 is allowed. recall=`{recall}`")))
        }
        Effort::Probes(0) => Err(Error::invalid("bad number of probes: at least 1 is allowed. probes=`0`")),
        Effort::Recall(_) | Effort::Probes(_) | Effort::Exact => Ok(()),
    }
}

pub(super) fn check_limit(limit: usize, settings: &Settings) -> Result<()> {
    if (1..=settings.limit_max).contains(&limit) {
        return Ok(());
    }
    Err(Error::limit(format!("bad limit: 1 to {} are allowed. limit=`{limit}`", settings.limit_max)))
}
