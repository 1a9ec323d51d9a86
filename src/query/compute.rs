//! Computed columns: what is worked out of the hits, besides what is stored of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, ListBuilder, StringBuilder};
use futures::{StreamExt, TryStreamExt, stream};

use super::leg::text::{BoundRank, Highlighter};
use super::leg::vector::{Effort, VectorSearch, round_to_f32};
use super::request::check_name;
use super::{Fragment, Highlight, Query, Rank, Rows, TextQuery};
use crate::env::{Cost, Env};
use crate::error::{Error, Result};
use crate::schema::Schema;
use crate::types::Vector;
use crate::view::{RowAddr, View};

/// The most computed columns of a query.
const COMPUTED_MAX: usize = 64;
/// Columns that are worked out at a time.
const PARALLEL: usize = 16;

/// Something to work out of every hit: see [`Query::compute`](crate::Query::compute).
///
/// ```
/// use elacsym::query::Highlight;
/// use elacsym::{Compute, Query, TextQuery};
///
/// let words = TextQuery::any("body", "cold storage");
/// let query = Query::text(words.clone())
///     .compute("from_me", Compute::distance("embedding", [0.1, 0.9]))
///     .compute("marked", Compute::highlight("body", words, Highlight::default()));
/// # let _ = query;
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Compute(What);

#[derive(Clone, Debug, PartialEq)]
enum What {
    Distance(String, Vector),
    Rank(Rank),
    Highlight(String, Box<TextQuery>, Highlight),
}

/// What was worked out of one hit.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Computed {
    /// A distance or a value; none where there is no vector.
    Number(Option<f64>),
    /// Fragments of a text.
    Fragments(Vec<Fragment>),
}

impl Compute {
    /// The exact distance of the vector in `column` from `vector`, by the metric of the column.
    pub fn distance(column: impl Into<String>, vector: impl Into<Vector>) -> Self {
        Self(What::Distance(column.into(), vector.into()))
    }

    /// A value made of attributes and filters.
    pub fn rank(rank: Rank) -> Self {
        Self(What::Rank(rank))
    }

    /// The fragments of a text that match, as [`Rows::highlight`] gives them; the column need not be selected.
    pub fn highlight(column: impl Into<String>, query: impl Into<TextQuery>, options: Highlight) -> Self {
        Self(What::Highlight(column.into(), Box::new(query.into()), options))
    }
}

impl Compute {
    /// The value that it works out.
    pub(super) fn as_rank(&self) -> Option<&Rank> {
        if let What::Rank(rank) = &self.0 { Some(rank) } else { None }
    }

    /// The text that it highlights.
    pub(super) fn as_text(&self) -> Option<&TextQuery> {
        if let What::Highlight(_, query, _) = &self.0 { Some(query) } else { None }
    }
}

impl Computed {
    /// The number, if it is one.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        if let Self::Number(number) = self { *number } else { None }
    }

    /// The fragments; of a number there are none.
    #[must_use]
    pub fn fragments(&self) -> &[Fragment] {
        if let Self::Fragments(fragments) = self { fragments } else { &[] }
    }
}

/// Computed columns, checked against the schema.
pub(super) struct PreparedComputes {
    of: Vec<(String, Prepared)>,
    /// Columns that they need of the documents.
    columns: BTreeSet<usize>,
}

enum Prepared {
    Distance(Box<VectorSearch>),
    Rank(Box<BoundRank>),
    Highlight(String, Arc<Highlighter>),
}

/// What was worked out of all hits, by name.
pub(super) type ComputedColumns = BTreeMap<String, Vec<Computed>>;

impl PreparedComputes {
    /// Checks the computed columns of a query against the schema.
    pub(super) fn new(view: &View, query: &Query) -> Result<Self> {
        if query.computes.len() > COMPUTED_MAX {
            let count = query.computes.len();
            return Err(Error::limit(format!(
                "too many computed columns: at most {COMPUTED_MAX} are allowed. columns=`{count}`"
            )));
        }
        let mut prepared = Self { of: Vec::new(), columns: BTreeSet::new() };
        for (name, compute) in &query.computes {
            let twice = prepared.of.iter().any(|(other, _)| other == name);
            check_name("computed column", name)?;
            if twice || name.is_empty() || name.starts_with('$') || view.schema.column(name).is_some() {
                return Err(Error::invalid(format!(
                    "bad name of a computed column: not that of a column, not twice, not with `$`. column=`{name}`"
                )));
            }
            let what = match &compute.0 {
                What::Distance(column, vector) => {
                    let search = VectorSearch::plan(&view.schema, column, vector, Effort::Exact)?;
                    prepared.columns.insert(search.column);
                    Prepared::Distance(Box::new(search))
                }
                What::Rank(rank) => {
                    Prepared::Rank(Box::new(BoundRank::new(rank, &view.schema, &view.settings)?))
                }
                What::Highlight(column, query, options) => {
                    // Wrong ones are refused before anything is read.
                    let highlighter = Highlighter::new(&view.schema, column, query, *options)?;
                    prepared.columns.extend(view.schema.columns().iter().position(|c| c.name == *column));
                    Prepared::Highlight(column.clone(), Arc::new(highlighter))
                }
            };
            prepared.of.push((name.clone(), what));
        }
        Ok(prepared)
    }

    /// The computed columns of the hits in `rows`, which were fetched from `places`.
    pub(super) async fn evaluate(
        &self,
        view: &View,
        places: &[RowAddr],
        rows: &Rows,
    ) -> Result<ComputedColumns> {
        let columns = self.of.iter().map(|(name, what)| async move {
            let column = match what {
                Prepared::Distance(search) => computed_distances(&view.schema, search, rows)?,
                Prepared::Rank(rank) => {
                    let values = rank.read_values_at(view, places.iter().copied()).await?;
                    let value = |place| Computed::Number(values.get(place).copied().map(f64::from));
                    places.iter().map(value).collect()
                }
                Prepared::Highlight(column, highlighter) => {
                    computed_fragments(&view.env, column, highlighter, rows).await?
                }
            };
            Ok::<_, Error>((name.clone(), column))
        });
        // Several together: what they read of attributes is of the hits alone.
        let columns: Vec<_> = columns.collect();
        let columns: Vec<_> = stream::iter(columns).buffered(PARALLEL).try_collect().await?;
        Ok(columns.into_iter().collect())
    }

    /// The columns to fetch, where these are selected.
    pub(super) fn columns(&self, selected: &[usize]) -> Vec<usize> {
        let all: BTreeSet<usize> = selected.iter().chain(&self.columns).copied().collect();
        all.into_iter().collect()
    }
}

/// The fragments of a column. Long texts are marked in the blocking pool, each for itself: a query that ends early
/// leaves the rest.
async fn computed_fragments(
    env: &Env,
    column: &str,
    highlighter: &Arc<Highlighter>,
    rows: &Rows,
) -> Result<Vec<Computed>> {
    let array = rows.batch().column_by_name(column);
    let array = array.ok_or_else(|| Error::internal("a column to highlight was not fetched"))?;
    let mut computed = Vec::with_capacity(array.len());
    let cost = Cost::analyzed_bytes(array.get_array_memory_size());
    for row in 0..array.len() {
        let (highlighter, array) = (Arc::clone(highlighter), Arc::clone(array));
        let fragments = env.compute(cost, move || highlighter.fragments(&array, row)).await?;
        computed.push(Computed::Fragments(fragments));
    }
    Ok(computed)
}

fn computed_distances(schema: &Schema, search: &VectorSearch, rows: &Rows) -> Result<Vec<Computed>> {
    let mut distances = vec![Computed::Number(None); rows.len()];
    let name = schema.columns().get(search.column).map(|column| column.name.as_str());
    let array = name.and_then(|name| rows.batch().column_by_name(name)).filter(|_| !rows.is_empty());
    if let Some(array) = array {
        search.exact.for_each_distance(array, None, |at, distance| {
            if let Some(slot) = distances.get_mut(at) {
                *slot = Computed::Number(Some(round_to_f32(distance).into()));
            }
        })?;
    }
    Ok(distances)
}

/// A computed column as Arrow: numbers, or the texts of fragments.
pub(super) fn to_arrow(column: &[Computed]) -> ArrayRef {
    if column.iter().any(|one| matches!(one, Computed::Fragments(_))) {
        let mut lists = ListBuilder::new(StringBuilder::new());
        for one in column {
            one.fragments().iter().for_each(|fragment| lists.values().append_value(&fragment.text));
            lists.append(true);
        }
        return Arc::new(lists.finish());
    }
    Arc::new(column.iter().map(Computed::number).collect::<Float64Array>())
}
