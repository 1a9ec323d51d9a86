//! Computed columns: values that are derived from the hits of a query.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, ListBuilder, RecordBatch, StringBuilder};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::leg::text::{BoundRank, Highlighter};
use super::leg::vector::{Effort, VectorSearch};
use super::limits::check_name;
use super::row_distances::row_distances;
use super::{Fragment, Highlight, Rank, TextQuery};
use crate::env::{Cost, Env};
use crate::error::{Error, Result};
use crate::schema::Schema;
use crate::types::Vector;
use crate::view::{RowAddr, View};

/// The most computed columns of a query.
// Each may read columns of its own for the hits, and is a column of the response.
const COMPUTED_MAX: usize = 64;
/// Columns that are computed concurrently.
// They read only the attributes of the hits, so they wait for the store more than they hold.
const PARALLEL: usize = 16;

/// A column to compute for every hit: see [`Query::compute`](crate::Query::compute).
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
pub struct Compute(ComputeKind);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum ComputeKind {
    Distance(String, Vector),
    Rank(Rank),
    Highlight(String, Box<TextQuery>, Highlight),
}

/// The value of a computed column for one hit.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::{Database, Document, IdKind, Metric, Schema, Vector, VectorType};
/// use elacsym::{Compute, Order, Query};
/// # let schema = Schema::builder(IdKind::U64).vector("v", VectorType::F32, 2, Metric::L2Squared).build()?;
/// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
/// docs.write(Document::new(1).with("v", Vector::from([0.0, 1.0]))).await?;
/// let newest = Query::order_by([Order::desc("id")]).compute("away", Compute::distance("v", [0.0, 3.0]));
/// let hits = docs.query(newest).await?.hits()?;
/// assert_eq!(hits[0].computed["away"].number(), Some(4.0));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Computed {
    /// A distance or a rank; `None` where a document has no vector.
    Number(Option<f64>),
    /// Fragments of a text.
    Fragments(Vec<Fragment>),
}

impl Compute {
    /// The exact distance of the vector in `column` from `vector`, by the metric of the column.
    pub fn distance(column: impl Into<String>, vector: impl Into<Vector>) -> Self {
        Self(ComputeKind::Distance(column.into(), vector.into()))
    }

    /// A rank: a number made of attributes and filters.
    pub fn rank(rank: Rank) -> Self {
        Self(ComputeKind::Rank(rank))
    }

    /// The matching fragments of a text, as [`Rows::highlight`](super::Rows::highlight) returns them. The column need not
    /// be selected.
    pub fn highlight(column: impl Into<String>, query: impl Into<TextQuery>, options: Highlight) -> Self {
        Self(ComputeKind::Highlight(column.into(), Box::new(query.into()), options))
    }
}

impl Compute {
    pub(super) fn kind(&self) -> &ComputeKind {
        &self.0
    }

    /// The rank that is computed.
    pub(super) fn as_rank(&self) -> Option<&Rank> {
        if let ComputeKind::Rank(rank) = &self.0 { Some(rank) } else { None }
    }

    /// The query whose matches are highlighted.
    pub(super) fn as_text(&self) -> Option<&TextQuery> {
        if let ComputeKind::Highlight(_, query, _) = &self.0 { Some(query) } else { None }
    }
}

impl Computed {
    /// The number, if it is one.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        if let Self::Number(number) = self { *number } else { None }
    }

    /// The fragments; empty for a number.
    #[must_use]
    pub fn fragments(&self) -> &[Fragment] {
        if let Self::Fragments(fragments) = self { fragments } else { &[] }
    }
}

/// Computed columns, checked against the schema.
pub(super) struct PreparedComputes {
    /// By name, in the order of the query.
    computes: Vec<(String, PreparedCompute)>,
    /// The stored columns that they need.
    columns: BTreeSet<usize>,
}

enum PreparedCompute {
    Distance(Box<VectorSearch>),
    Rank(Box<BoundRank>),
    Highlight(String, Arc<Highlighter>),
}

/// The values of all hits, by the name of the column.
pub(super) type ComputedColumns = BTreeMap<String, Vec<Computed>>;

impl PreparedComputes {
    /// Checks the computed columns of a query against the schema.
    pub(super) fn new(view: &View, computes: &[(String, Compute)]) -> Result<Self> {
        if computes.len() > COMPUTED_MAX {
            let count = computes.len();
            return Err(Error::limit(format!(
                "too many computed columns: at most {COMPUTED_MAX} are allowed. columns=`{count}`"
            )));
        }
        let mut prepared = Self { computes: Vec::new(), columns: BTreeSet::new() };
        for (name, compute) in computes {
            let is_repeated = prepared.computes.iter().any(|(other, _)| other == name);
            check_name("computed column", name)?;
            // `$score` and its like are columns of `QueryResponse::to_batch`.
            if is_repeated || name.is_empty() || name.starts_with('$') || view.schema.column(name).is_some() {
                return Err(Error::invalid(format!(
                    "bad name of a computed column: it must be unique, not empty, not that of a stored column, and not begin \
                     with `$`. column=`{name}`"
                )));
            }
            let prepared_compute = match &compute.0 {
                ComputeKind::Distance(column, vector) => {
                    let search = VectorSearch::plan(&view.schema, column, vector, Effort::Exact)?;
                    prepared.columns.insert(search.column);
                    PreparedCompute::Distance(Box::new(search))
                }
                ComputeKind::Rank(rank) => {
                    PreparedCompute::Rank(Box::new(BoundRank::new(rank, &view.schema, &view.settings)?))
                }
                ComputeKind::Highlight(column, query, options) => {
                    let highlighter = Highlighter::new(&view.schema, column, query, *options)?;
                    let index = view.schema.columns().iter().position(|described| described.name == *column);
                    let index =
                        index.ok_or_else(|| Error::internal("a column with full text is in no schema"))?;
                    prepared.columns.insert(index);
                    PreparedCompute::Highlight(column.clone(), Arc::new(highlighter))
                }
            };
            prepared.computes.push((name.clone(), prepared_compute));
        }
        Ok(prepared)
    }

    /// Computes all columns for the hits at `addrs`, whose stored columns are in `batch`.
    pub(super) async fn compute_columns(
        &self,
        view: &View,
        addrs: &[RowAddr],
        batch: &RecordBatch,
    ) -> Result<ComputedColumns> {
        let columns = self.computes.iter().map(|(name, what)| async move {
            let column = match what {
                PreparedCompute::Distance(search) => compute_distances(&view.schema, search, batch)?,
                PreparedCompute::Rank(rank) => {
                    let values = rank.read_values_at(view, addrs).await?;
                    values.into_iter().map(|value| Computed::Number(Some(value.into()))).collect()
                }
                PreparedCompute::Highlight(column, highlighter) => {
                    compute_fragments(&view.env, column, highlighter, batch).await?
                }
            };
            Ok::<_, Error>((name.clone(), column))
        });
        let columns: Vec<_> = columns.collect();
        let columns: Vec<_> = stream::iter(columns).buffered(PARALLEL).try_collect().await?;
        Ok(columns.into_iter().collect())
    }

    /// The columns to fetch for a selection: those of the selection, and those that are computed from.
    pub(super) fn columns_to_fetch(&self, selected: &[usize]) -> Vec<usize> {
        let columns: BTreeSet<usize> = selected.iter().chain(&self.columns).copied().collect();
        columns.into_iter().collect()
    }
}

/// The fragments of a column for each row.
async fn compute_fragments(
    env: &Env,
    column: &str,
    highlighter: &Arc<Highlighter>,
    batch: &RecordBatch,
) -> Result<Vec<Computed>> {
    let array = batch.column_by_name(column);
    let array = array.ok_or_else(|| Error::internal("a column to highlight was not fetched"))?;
    let mut computed = Vec::with_capacity(array.len());
    let cost = Cost::analyzed_bytes(array.get_array_memory_size());
    // One piece of work for each text: blocking work cannot be cancelled, so a query that is dropped wastes one text.
    for row in 0..array.len() {
        let (highlighter, array) = (Arc::clone(highlighter), Arc::clone(array));
        let fragments = env.compute(cost, move || highlighter.find_fragments(&array, row)).await??;
        computed.push(Computed::Fragments(fragments));
    }
    Ok(computed)
}

fn compute_distances(schema: &Schema, search: &VectorSearch, batch: &RecordBatch) -> Result<Vec<Computed>> {
    let column = schema.columns().get(search.column);
    let array = column.and_then(|column| batch.column_by_name(&column.name));
    let array = array.ok_or_else(|| Error::internal("a column of vectors was not fetched"))?;
    let distances = row_distances(search, array)?.into_iter();
    Ok(distances.map(|distance| Computed::Number(distance.map(f64::from))).collect())
}

/// A computed column as Arrow: numbers, or the texts of fragments.
pub(super) fn to_arrow(column: &[Computed]) -> ArrayRef {
    // All values of a column are of one kind; a column without hits is given as numbers.
    if column.iter().any(|value| matches!(value, Computed::Fragments(_))) {
        let mut lists = ListBuilder::new(StringBuilder::new());
        for value in column {
            value.fragments().iter().for_each(|fragment| lists.values().append_value(&fragment.text));
            lists.append(true);
        }
        return Arc::new(lists.finish());
    }
    Arc::new(column.iter().map(Computed::number).collect::<Float64Array>())
}
