//! Binding an `Aggregation` to a schema.

use std::collections::BTreeSet;

use super::{Aggregate, Aggregation, GroupBy};
use crate::error::{Error, Result};
use crate::query::limits::check_name;
use crate::schema::{AttributeType, ColumnKind, Schema, type_mismatch};

/// The most attributes to group by.
// With many unrelated attributes there are as many groups as rows, which is a scan and not an aggregation.
const KEYS_MAX: usize = 8;
/// The most aggregates.
// Each has an accumulator in every group.
const AGGREGATES_MAX: usize = 64;
/// The most groups of a response.
const GROUPS_MAX: usize = 10_000;

/// An aggregation, checked against a schema.
#[derive(Debug)]
pub(super) struct AggregatePlan {
    pub(super) keys: Vec<GroupKey>,
    pub(super) aggregates: Vec<BoundAggregate>,
    /// The indexes in the schema of all columns to read, ascending and distinct.
    pub(super) columns: Vec<usize>,
    pub(super) groups_max: usize,
}

/// An attribute to group by.
#[derive(Debug)]
pub(super) struct GroupKey {
    /// The index in [`AggregatePlan::columns`].
    pub(super) column: usize,
    /// The type of the values, or of the elements of an array.
    pub(super) kind: AttributeType,
    pub(super) elements: bool,
}

/// An aggregate with its column.
#[derive(Debug)]
pub(super) struct BoundAggregate {
    pub(super) name: String,
    pub(super) function: AggregateFunction,
    /// The index in [`AggregatePlan::columns`].
    pub(super) column: usize,
    pub(super) kind: AttributeType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AggregateFunction {
    Sum,
    Avg,
    Min,
    Max,
    Distinct,
}

impl AggregatePlan {
    pub(super) fn new(aggregation: &Aggregation, schema: &Schema) -> Result<Self> {
        check_limits(aggregation)?;
        let keys = aggregation.keys.iter().map(|key| bind_key(key, schema));
        let mut keys: Vec<GroupKey> = keys.collect::<Result<_>>()?;
        let aggregates = aggregation.aggregates.iter();
        let aggregates = aggregates.map(|(name, aggregate)| bind_aggregate(name, aggregate, schema));
        let mut aggregates: Vec<BoundAggregate> = aggregates.collect::<Result<_>>()?;
        let columns = keys.iter().map(|key| key.column).chain(aggregates.iter().map(|bound| bound.column));
        let columns: Vec<usize> = columns.collect::<BTreeSet<_>>().into_iter().collect();
        // So far columns are indexes in the schema. A batch has only those that are read, in the same order.
        let index_in_batch = |column: usize| {
            columns
                .binary_search(&column)
                .map_err(|_| Error::internal("a column of an aggregation is not read"))
        };
        for key in &mut keys {
            key.column = index_in_batch(key.column)?;
        }
        for bound in &mut aggregates {
            bound.column = index_in_batch(bound.column)?;
        }
        Ok(Self { keys, aggregates, columns, groups_max: aggregation.groups })
    }
}

fn check_limits(aggregation: &Aggregation) -> Result<()> {
    let too_many = |what: &str, max: usize, found: usize| {
        Err(Error::limit(format!(
            "too many {what} in an aggregation: at most {max} are allowed. found=`{found}`"
        )))
    };
    if aggregation.keys.len() > KEYS_MAX {
        return too_many("group keys", KEYS_MAX, aggregation.keys.len());
    }
    if aggregation.aggregates.len() > AGGREGATES_MAX {
        return too_many("aggregates", AGGREGATES_MAX, aggregation.aggregates.len());
    }
    if !(1..=GROUPS_MAX).contains(&aggregation.groups) {
        let groups = aggregation.groups;
        return Err(Error::limit(format!(
            "bad number of groups: 1 to {GROUPS_MAX} are allowed. groups=`{groups}`"
        )));
    }
    if aggregation.keys.iter().filter(|key| key.elements).count() > 1 {
        return Err(Error::invalid("bad aggregation: only one array can be grouped by its elements"));
    }
    aggregation.aggregates.iter().try_for_each(|(name, _)| check_name("aggregate", name))?;
    let mut names = BTreeSet::new();
    match aggregation.aggregates.iter().find(|(name, _)| !names.insert(name)) {
        Some((name, _)) => {
            Err(Error::invalid(format!("bad aggregation: a name is given twice. name=`{name}`")))
        }
        None => Ok(()),
    }
}

fn find_attribute(name: &str, schema: &Schema) -> Result<(usize, AttributeType)> {
    match schema.find_column(name).map(|(at, column)| (at, column.kind)) {
        Some((at, ColumnKind::Attribute(kind))) => Ok((at, kind)),
        _ => Err(Error::invalid(format!("no such attribute to aggregate. column=`{name}`"))),
    }
}

fn bind_key(key: &GroupBy, schema: &Schema) -> Result<GroupKey> {
    let name = &key.column;
    let (column, kind) = find_attribute(name, schema)?;
    let (elements, kind) = match (kind.element(), key.elements) {
        (Some(element), true) => (true, element),
        (None, false) => (false, kind),
        (Some(_), false) => {
            let why = "an array can only be grouped by its elements";
            return Err(Error::invalid(format!("type mismatch: {why}. column=`{name}`")));
        }
        (None, true) => {
            let why = type_mismatch("an array", kind);
            return Err(Error::invalid(format!("{why}. column=`{name}`")));
        }
    };
    Ok(GroupKey { column, kind, elements })
}

fn bind_aggregate(name: &str, aggregate: &Aggregate, schema: &Schema) -> Result<BoundAggregate> {
    use AttributeType::{Bool, Bytes, Datetime, Float, Int, String, Uint, Uuid};
    let (function, attribute) = match aggregate {
        Aggregate::Sum(attribute) => (AggregateFunction::Sum, attribute),
        Aggregate::Avg(attribute) => (AggregateFunction::Avg, attribute),
        Aggregate::Min(attribute) => (AggregateFunction::Min, attribute),
        Aggregate::Max(attribute) => (AggregateFunction::Max, attribute),
        Aggregate::Distinct(attribute) => (AggregateFunction::Distinct, attribute),
    };
    let (column, kind) = find_attribute(attribute, schema)?;
    let is_defined = match function {
        AggregateFunction::Sum | AggregateFunction::Avg => matches!(kind, Int | Uint | Float),
        AggregateFunction::Min | AggregateFunction::Max => {
            matches!(kind, String | Int | Uint | Float | Datetime | Uuid)
        }
        AggregateFunction::Distinct => {
            matches!(kind, String | Int | Uint | Float | Datetime | Uuid | Bool | Bytes)
        }
    };
    if !is_defined {
        let why = format!("{function:?} is not defined of {kind}");
        return Err(Error::invalid(format!("type mismatch: {why}. column=`{attribute}` name=`{name}`")));
    }
    Ok(BoundAggregate { name: name.to_owned(), function, column, kind })
}
