//! Aggregates: counts, sums, minima, maxima, averages and distinct values, of all documents or by group.
//!
//! An [`Aggregation`] is the request. `bind` checks it against the schema, `exec` reads each part from its attribute
//! index where possible and else from its columns, `table` keeps the groups, and `accumulator` their figures.

mod accumulator;
mod bind;
mod exec;
mod json;
mod table;

pub(super) use exec::PreparedFacet;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::filter::Filter;
use crate::types::{Sequence, Value};

/// Counts and aggregates of the documents that match, over all of them or by group. A facet is a group of which only the
/// count is wanted.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::schema::AttributeType;
/// # use elacsym::*;
/// # let schema = Schema::builder(IdKind::U64).attribute("kind", AttributeType::String)
/// #     .attribute("tags", AttributeType::StringArray).attribute("price", AttributeType::Int).build()?;
/// # let shop = Database::open("memory://").await?.create_namespace("shop", schema).await?;
/// # let row = |id: u64, kind: &str, price: i64| Document::new(id).with("kind", kind).with("price", price);
/// shop.write(WriteBatch::new()
///     .upsert(row(1, "tea", 4).with("tags", ["green", "loose"]))
///     .upsert(row(2, "tea", 6).with("tags", ["loose"]))
///     .upsert(row(3, "pot", 30))).await?;
///
/// let kinds = Aggregation::new().group_by("kind").aggregate("mean", Aggregate::avg("price"));
/// let kinds = shop.aggregate(&kinds).await?;
/// assert_eq!(kinds.groups[0].keys, ["tea".into()]);
/// assert_eq!(kinds.groups[0].count, 2);
/// assert_eq!(kinds.groups[0].values["mean"], 5.0.into());
///
/// let tags = shop.aggregate(&Aggregation::new().group_by_elements("tags")).await?;
/// assert_eq!((&tags.groups[0].keys[0], tags.groups[0].count), (&"loose".into(), 2));
/// # Ok(()) }
/// ```
///
/// # Groups
/// Without [`Aggregation::group_by`] there is one group of all matching documents, even if none match. Groups are in
/// order of their counts, the largest first, and equal ones in order of their keys. All are exact:
/// [`Aggregated::groups_total`] counts those beyond [`Aggregation::groups`] too.
///
/// # Limits
/// | what | at most | default |
/// |---|---|---|
/// | [`Aggregation::group_by`] and [`Aggregation::group_by_elements`] | 8, of which one by elements | none |
/// | [`Aggregation::aggregate`] | 64 | none |
/// | [`Aggregation::groups`] | 10,000 | 1,000 |
/// | all groups, and the values of [`Aggregate::distinct`] | 128 MiB of memory | |
///
/// Exceeding the memory is [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded), never a wrong figure.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Aggregation {
    filter: Option<Filter>,
    keys: Vec<GroupBy>,
    aggregates: Vec<(String, Aggregate)>,
    groups: usize,
}

/// An attribute to group by.
#[derive(Clone, Debug, PartialEq, Eq)]
struct GroupBy {
    column: String,
    elements: bool,
}

/// A function of an attribute over the documents of a group. Nulls are ignored.
///
/// | aggregate | attributes | result | without values |
/// |---|---|---|---|
/// | `sum` | int, uint, float | the type of the attribute | 0 |
/// | `avg` | int, uint, float | float | null |
/// | `min`, `max` | string, int, uint, float, datetime, uuid | the type of the attribute | null |
/// | `distinct` | all but arrays | uint | 0 |
///
/// Sums of ints and uints are exact: a sum that overflows its type is
/// [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded). Averages are rounded once. Floats are added in no
/// promised order, so that the last digits may change when segments do; a sum beyond the largest float is infinite.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::{schema::AttributeType, *};
/// # let schema = Schema::builder(IdKind::U64).attribute("kind", AttributeType::String)
/// #     .attribute("price", AttributeType::Int).build()?;
/// # let shop = Database::open("memory://").await?.create_namespace("shop", schema).await?;
/// # let row = |id: u64, kind: &str, price: i64| Document::new(id).with("kind", kind).with("price", price);
/// # shop.write([row(1, "tea", 4), row(2, "tea", 6), row(3, "pot", 30)]).await?;
/// let figures = Aggregation::new()
///     .aggregate("mean", Aggregate::avg("price"))
///     .aggregate("dearest", Aggregate::max("price"))
///     .aggregate("kinds", Aggregate::distinct("kind"));
/// let answer = shop.aggregate(figures.filter(Filter::lt("price", 10))).await?;
/// let all = &answer.groups[0].values;
/// assert_eq!((&all["mean"], &all["dearest"]), (&5.0.into(), &6.into()));
/// assert_eq!(all["kinds"].as_u64(), Some(1));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Aggregate {
    /// The sum of the values.
    Sum(String),
    /// The average of the values.
    Avg(String),
    /// The smallest value.
    Min(String),
    /// The largest value.
    Max(String),
    /// The number of distinct values.
    Distinct(String),
}

impl Aggregate {
    /// The sum of the values of an attribute.
    pub fn sum(column: impl Into<String>) -> Self {
        Self::Sum(column.into())
    }

    /// The average of the values of an attribute.
    pub fn avg(column: impl Into<String>) -> Self {
        Self::Avg(column.into())
    }

    /// The smallest value of an attribute.
    pub fn min(column: impl Into<String>) -> Self {
        Self::Min(column.into())
    }

    /// The largest value of an attribute.
    pub fn max(column: impl Into<String>) -> Self {
        Self::Max(column.into())
    }

    /// The exact number of distinct values of an attribute.
    pub fn distinct(column: impl Into<String>) -> Self {
        Self::Distinct(column.into())
    }
}

impl Default for Aggregation {
    fn default() -> Self {
        Self { filter: None, keys: Vec::new(), aggregates: Vec::new(), groups: 1_000 }
    }
}

/// A copy.
impl From<&Aggregation> for Aggregation {
    fn from(other: &Aggregation) -> Self {
        other.clone()
    }
}

impl Aggregation {
    /// Counts all documents.
    pub fn new() -> Self {
        Self::default()
    }

    /// Restricts the aggregation to documents that match. Several calls are combined with `and`. Default: all documents.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(Filter::narrowed(self.filter, filter));
        self
    }

    /// Makes a group for each value of an attribute; null is a value. Several calls make a group for each combination of
    /// values. Arrays are grouped by [`Aggregation::group_by_elements`].
    pub fn group_by(mut self, column: impl Into<String>) -> Self {
        self.keys.push(GroupBy { column: column.into(), elements: false });
        self
    }

    /// Makes a group for each distinct element of an array. A document belongs to the groups of all its elements; without
    /// elements it belongs to none. At most once, in addition to any [`Aggregation::group_by`].
    pub fn group_by_elements(mut self, column: impl Into<String>) -> Self {
        self.keys.push(GroupBy { column: column.into(), elements: true });
        self
    }

    /// Adds an aggregate to every group, under a name of its own. The count is always included.
    pub fn aggregate(mut self, name: impl Into<String>, aggregate: Aggregate) -> Self {
        self.aggregates.push((name.into(), aggregate));
        self
    }

    /// The most groups to return, the largest ones. Default 1,000, from 1 to 10,000.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }
}

/// The answer to an [`Aggregation`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::{schema::AttributeType, *};
/// # let schema = Schema::builder(IdKind::U64).attribute("kind", AttributeType::String)
/// #     .attribute("price", AttributeType::Int).build()?;
/// # let shop = Database::open("memory://").await?.create_namespace("shop", schema).await?;
/// # let row = |id: u64, kind: &str, price: i64| Document::new(id).with("kind", kind).with("price", price);
/// # shop.write([row(1, "tea", 4), row(2, "tea", 6), row(3, "pot", 30)]).await?;
/// let kinds = shop.aggregate(Aggregation::new().group_by("kind").groups(1)).await?;
/// println!("the largest of {} kinds: {}", kinds.groups_total, kinds.groups[0].keys[0]);
/// assert_eq!((kinds.groups.len(), kinds.groups_total), (1, 2));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Aggregated {
    /// The groups, the largest count first.
    pub groups: Vec<AggregateGroup>,
    /// The number of all groups, including those beyond [`Aggregation::groups`].
    pub groups_total: usize,
    /// The sequence that was queried.
    pub sequence: Sequence,
}

/// The documents with the same values.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::{schema::AttributeType, *};
/// # let schema = Schema::builder(IdKind::U64).attribute("kind", AttributeType::String)
/// #     .attribute("price", AttributeType::Int).build()?;
/// # let shop = Database::open("memory://").await?.create_namespace("shop", schema).await?;
/// # let row = |id: u64, kind: &str, price: i64| Document::new(id).with("kind", kind).with("price", price);
/// # shop.write([row(1, "tea", 4), row(2, "tea", 6), row(3, "pot", 30)]).await?;
/// let kinds = Aggregation::new().group_by("kind").aggregate("sum", Aggregate::sum("price"));
/// let kinds = shop.aggregate(kinds).await?;
/// for group in &kinds.groups {
///     println!("{}: {} documents for {}", group.keys[0], group.count, group.values["sum"]);
/// }
/// assert_eq!(kinds.groups[0].values["sum"], 10.into());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AggregateGroup {
    /// The values, in the order of the calls of [`Aggregation::group_by`] and
    /// [`Aggregation::group_by_elements`].
    pub keys: Vec<Value>,
    /// The number of documents.
    pub count: u64,
    /// The aggregates, by name.
    pub values: BTreeMap<String, Value>,
}
