//! Aggregates: counts, sums, least and greatest values, averages and distinct values, whole or in groups.
//!
//! An [`Aggregation`] is what is asked; `bind` checks it against the schema, `table` adds up, `exec` answers it
//! from the index of attributes where that can tell, and else from the columns.

mod bind;
mod exec;
mod table;

pub(super) use exec::PreparedFacet;

use std::collections::BTreeMap;

use crate::filter::Filter;
use crate::types::{Sequence, Value};

/// Figures of the documents that match: how many there are, and what is worked out of their attributes, in one or
/// in groups. Facets are groups of which only the count is asked.
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
/// Without [`Aggregation::group_by`] there is one group, of all documents that match, also if these are none. Groups
/// come in order of their counts, the greatest first, and equal ones in order of their keys. All are exact: what
/// [`Aggregation::groups`] leaves out is counted in [`Aggregated::groups_total`].
///
/// # Limits
/// | what | at most | default |
/// |---|---|---|
/// | [`Aggregation::group_by`] and [`Aggregation::group_by_elements`] | 8, of which one by elements | none |
/// | [`Aggregation::aggregate`] | 64 | none |
/// | [`Aggregation::groups`] | 10,000 | 1,000 |
/// | all groups, with the values that [`Aggregate::distinct`] tells apart | 128 MiB of memory | |
///
/// More than fits in memory is [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded), never a wrong figure.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Aggregation {
    filter: Option<Filter>,
    keys: Vec<Key>,
    aggregates: Vec<(String, Aggregate)>,
    groups: usize,
}

/// What groups are made by.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    column: String,
    elements: bool,
}

/// A figure that is worked out of an attribute of the documents of a group. Nulls are left out.
///
/// | aggregate | attributes | gives | of no values |
/// |---|---|---|---|
/// | `sum` | int, uint, float | the type of the attribute | 0 |
/// | `avg` | int, uint, float | float | null |
/// | `min`, `max` | string, int, uint, float, datetime, uuid | the type of the attribute | null |
/// | `distinct` | all but arrays | uint | 0 |
///
/// Sums of whole numbers are exact: one that does not fit its type is an error,
/// [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded), and the average of them is rounded once. Floats
/// are added in no promised order, so that their last digits may differ from one state of the segments to another;
/// what passes the greatest float is infinite.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Aggregate {
    /// The sum of the values.
    Sum(String),
    /// Their average.
    Avg(String),
    /// The least of them.
    Min(String),
    /// The greatest of them.
    Max(String),
    /// How many different ones there are.
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

    /// The least value of an attribute.
    pub fn min(column: impl Into<String>) -> Self {
        Self::Min(column.into())
    }

    /// The greatest value of an attribute.
    pub fn max(column: impl Into<String>) -> Self {
        Self::Max(column.into())
    }

    /// How many different values of an attribute there are, exactly.
    pub fn distinct(column: impl Into<String>) -> Self {
        Self::Distinct(column.into())
    }
}

impl Default for Aggregation {
    fn default() -> Self {
        Self { filter: None, keys: Vec::new(), aggregates: Vec::new(), groups: 1_000 }
    }
}

impl Aggregation {
    /// How many documents there are.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only documents that match. Several hold together. Default: all.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(Filter::narrowed(self.filter, filter));
        self
    }

    /// A group for each value of an attribute, of which null is one. Several times: for each combination. An
    /// attribute that is an array is grouped by [`Aggregation::group_by_elements`].
    pub fn group_by(mut self, column: impl Into<String>) -> Self {
        self.keys.push(Key { column: column.into(), elements: false });
        self
    }

    /// A group for each element of an array: a document is in the group of every different element that it has,
    /// and without one in none. Once, beside any [`Aggregation::group_by`].
    pub fn group_by_elements(mut self, column: impl Into<String>) -> Self {
        self.keys.push(Key { column: column.into(), elements: true });
        self
    }

    /// Works something out of every group, under a name of its own. The count is there without it.
    pub fn aggregate(mut self, name: impl Into<String>, aggregate: Aggregate) -> Self {
        self.aggregates.push((name.into(), aggregate));
        self
    }

    /// The most groups that are given, the greatest ones. Default 1,000, from 1 to 10,000.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }
}

/// The answer to an [`Aggregation`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Aggregated {
    /// The groups, the greatest count first.
    pub groups: Vec<AggregateGroup>,
    /// How many groups there are, with those that [`Aggregation::groups`] left out.
    pub groups_total: usize,
    /// The state that was asked.
    pub sequence: Sequence,
}

/// The documents with the same values.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AggregateGroup {
    /// The values, in the order in which the attributes were named.
    pub keys: Vec<Value>,
    /// How many documents there are.
    pub count: u64,
    /// What was worked out of them, by name.
    pub values: BTreeMap<String, Value>,
}
