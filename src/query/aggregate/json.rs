//! The JSON form of an aggregation.

use serde_json::Value as Json;

use super::{Aggregate, Aggregation, GroupBy};
use crate::json::{Fields, JsonForm, Object, Path, impl_serde};

const FILTER: &str = "filter";
const GROUP_BY: &str = "group_by";
const ELEMENTS: &str = "elements";
const AGGREGATES: &str = "aggregates";
const GROUPS: &str = "groups";

const NAME: &str = "name";
const SUM: &str = "sum";
const AVG: &str = "avg";
const MIN: &str = "min";
const MAX: &str = "max";
const DISTINCT: &str = "distinct";

impl_serde!(Aggregation: "aggregation");

impl JsonForm for Aggregation {
    fn to_json(&self) -> Result<Json, String> {
        let fields = Fields::new().put_some(FILTER, self.filter.as_ref())?;
        let fields = fields.put_unless(&Vec::new(), GROUP_BY, &self.keys)?;
        let fields = fields.put_unless(&Vec::new(), AGGREGATES, &self.aggregates)?;
        Ok(fields.put_unless(&Self::default().groups, GROUPS, &self.groups)?.end())
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        let object = Object::new(json, path, &[FILTER, GROUP_BY, AGGREGATES, GROUPS])?;
        Ok(Self {
            filter: object.get(FILTER)?,
            keys: object.get_or_else(GROUP_BY, Vec::new)?,
            aggregates: object.get_or_else(AGGREGATES, Vec::new)?,
            groups: object.get_or_else(GROUPS, || Self::default().groups)?,
        })
    }
}

impl JsonForm for GroupBy {
    fn to_json(&self) -> Result<Json, String> {
        // Keys of both kinds are in one list, since their order is the order of the keys of a group.
        if self.elements { Fields::of(ELEMENTS, &self.column) } else { self.column.to_json() }
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        let (column, elements) = match json {
            Json::String(column) => (column.clone(), false),
            Json::Object(_) => (Object::new(json, path, &[ELEMENTS])?.need(ELEMENTS)?, true),
            _ => return Err(path.error(format!("it is neither a column nor {{\"{ELEMENTS}\": column}}"))),
        };
        Ok(Self { column, elements })
    }
}

/// An aggregate with its name.
// In a list, not in an object by name: that would lose the second of two equal names silently, where the aggregation
// reports it.
impl JsonForm for (String, Aggregate) {
    fn to_json(&self) -> Result<Json, String> {
        let (function, column) = match &self.1 {
            Aggregate::Sum(column) => (SUM, column),
            Aggregate::Avg(column) => (AVG, column),
            Aggregate::Min(column) => (MIN, column),
            Aggregate::Max(column) => (MAX, column),
            Aggregate::Distinct(column) => (DISTINCT, column),
        };
        Ok(Fields::new().put(NAME, &self.0)?.put(function, column)?.end())
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        let functions = [SUM, AVG, MIN, MAX, DISTINCT].map(|function| (function, &[NAME][..]));
        let (function, object) = Object::tagged(json, path, &functions)?;
        let column = object.need(function)?;
        let aggregate = match function {
            SUM => Aggregate::Sum(column),
            AVG => Aggregate::Avg(column),
            MIN => Aggregate::Min(column),
            MAX => Aggregate::Max(column),
            _ => Aggregate::Distinct(column),
        };
        Ok((object.need(NAME)?, aggregate))
    }
}
