//! Checks an `Aggregation` against a schema.

use std::collections::BTreeSet;

use super::{Aggregate, Aggregation, Key};
use crate::error::{Error, Result};
use crate::query::request::check_name;
use crate::schema::{AttributeType, ColumnKind, Schema, type_mismatch};

/// The most attributes that groups are made by.
const KEYS_MAX: usize = 8;
/// The most aggregates.
const AGGREGATES_MAX: usize = 64;
/// The most groups that are given.
const GROUPS_MAX: usize = 10_000;

/// An aggregation, checked against the schema.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) keys: Vec<Grouping>,
    pub(super) tallies: Vec<Tally>,
    /// The places of all columns, ascending.
    pub(super) columns: Vec<usize>,
    pub(super) groups: usize,
}

/// An attribute that groups are made by.
#[derive(Debug)]
pub(super) struct Grouping {
    /// The place in [`Plan::columns`].
    pub(super) column: usize,
    /// The type of the values, or of the elements.
    pub(super) kind: AttributeType,
    pub(super) elements: bool,
}

/// A figure to work out.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) name: String,
    pub(super) what: What,
    /// The place in [`Plan::columns`].
    pub(super) column: usize,
    pub(super) kind: AttributeType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Sum,
    Avg,
    Min,
    Max,
    Distinct,
}

impl Plan {
    pub(super) fn new(asked: &Aggregation, schema: &Schema) -> Result<Self> {
        check(asked)?;
        let mut columns = BTreeSet::new();
        let keys: Vec<_> = asked.keys.iter().map(|key| grouping(key, schema)).collect::<Result<_>>()?;
        let tallies = asked.aggregates.iter().map(|(name, aggregate)| tally(name, aggregate, schema));
        let tallies: Vec<_> = tallies.collect::<Result<_>>()?;
        columns.extend(keys.iter().map(|key| key.column));
        columns.extend(tallies.iter().map(|tally| tally.column));
        let columns: Vec<usize> = columns.into_iter().collect();
        let place = |column: usize| columns.binary_search(&column).unwrap_or_default();
        let keys = keys.into_iter().map(|key| Grouping { column: place(key.column), ..key }).collect();
        let tallies =
            tallies.into_iter().map(|tally| Tally { column: place(tally.column), ..tally }).collect();
        Ok(Self { keys, tallies, columns, groups: asked.groups })
    }
}

fn check(asked: &Aggregation) -> Result<()> {
    let over = |what: &str, max: usize, found: usize| {
        Err(Error::limit(format!("{what} of an aggregation: at most {max} are allowed. found=`{found}`")))
    };
    if asked.keys.len() > KEYS_MAX {
        return over("too many attributes in groups", KEYS_MAX, asked.keys.len());
    }
    if asked.aggregates.len() > AGGREGATES_MAX {
        return over("too many figures", AGGREGATES_MAX, asked.aggregates.len());
    }
    if !(1..=GROUPS_MAX).contains(&asked.groups) {
        let groups = asked.groups;
        return Err(Error::limit(format!(
            "bad number of groups: 1 to {GROUPS_MAX} are allowed. groups=`{groups}`"
        )));
    }
    if asked.keys.iter().filter(|key| key.elements).count() > 1 {
        return Err(Error::invalid("bad aggregation: groups are made by the elements of one array at most"));
    }
    asked.aggregates.iter().try_for_each(|(name, _)| check_name("figure", name))?;
    let mut names = BTreeSet::new();
    match asked.aggregates.iter().find(|(name, _)| !names.insert(name)) {
        Some((name, _)) => Err(Error::invalid(format!("bad aggregation: a name twice. name=`{name}`"))),
        None => Ok(()),
    }
}

fn attribute(name: &str, schema: &Schema) -> Result<(usize, AttributeType)> {
    let found = schema.columns().iter().enumerate().find(|(_, column)| column.name == name);
    match found.map(|(at, column)| (at, column.kind)) {
        Some((at, ColumnKind::Attribute(kind))) => Ok((at, kind)),
        _ => Err(Error::invalid(format!("no such attribute to aggregate. column=`{name}`"))),
    }
}

fn grouping(key: &Key, schema: &Schema) -> Result<Grouping> {
    let name = &key.column;
    let (column, kind) = attribute(name, schema)?;
    let (elements, kind) = match (kind.element(), key.elements) {
        (Some(element), true) => (true, element),
        (None, false) => (false, kind),
        (Some(_), false) => {
            let why = "an array makes groups by its elements alone";
            return Err(Error::invalid(format!("type mismatch: {why}. column=`{name}`")));
        }
        (None, true) => {
            let why = type_mismatch("an array", kind);
            return Err(Error::invalid(format!("{why}. column=`{name}`")));
        }
    };
    Ok(Grouping { column, kind, elements })
}

fn tally(name: &str, aggregate: &Aggregate, schema: &Schema) -> Result<Tally> {
    use AttributeType::{Bool, Bytes, Datetime, Float, Int, String, Uint, Uuid};
    let (what, of) = match aggregate {
        Aggregate::Sum(of) => (What::Sum, of),
        Aggregate::Avg(of) => (What::Avg, of),
        Aggregate::Min(of) => (What::Min, of),
        Aggregate::Max(of) => (What::Max, of),
        Aggregate::Distinct(of) => (What::Distinct, of),
    };
    let (column, kind) = attribute(of, schema)?;
    let fits = match what {
        What::Sum | What::Avg => matches!(kind, Int | Uint | Float),
        What::Min | What::Max => matches!(kind, String | Int | Uint | Float | Datetime | Uuid),
        What::Distinct => matches!(kind, String | Int | Uint | Float | Datetime | Uuid | Bool | Bytes),
    };
    if !fits {
        let why = format!("{what:?} is not defined of {kind}");
        return Err(Error::invalid(format!("type mismatch: {why}. column=`{of}` name=`{name}`")));
    }
    Ok(Tally { name: name.to_owned(), what, column, kind })
}
