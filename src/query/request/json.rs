//! The JSON form of a query.

use std::time::Duration;

use serde_json::Value as Json;

use super::Query;
use crate::json::{Fields, JsonForm, Object, Path, impl_serde};
use crate::query::Aggregation;
use crate::query::rank::Diversity;

const LEGS: &str = "legs";
const FUSE: &str = "fuse";
const FILTER: &str = "filter";
const LIMIT: &str = "limit";
const OFFSET: &str = "offset";
const AFTER: &str = "after";
const LIMIT_PER: &str = "limit_per";
const GROUP_BY: &str = "group_by";
const RESCORE: &str = "rescore";
const SELECT: &str = "select";
const COMPUTE: &str = "compute";
const FACETS: &str = "facets";
const TIMEOUT_MS: &str = "timeout_ms";
const BYTES_MAX: &str = "bytes_max";
const PARTIAL: &str = "partial";
const FIELDS: [&str; 15] = [
    LEGS, FUSE, FILTER, LIMIT, OFFSET, AFTER, LIMIT_PER, GROUP_BY, RESCORE, SELECT, COMPUTE, FACETS,
    TIMEOUT_MS, BYTES_MAX, PARTIAL,
];

const COLUMNS: &str = "columns";
const HITS: &str = "hits";
const NAME: &str = "name";
const AGGREGATION: &str = "aggregation";

impl_serde!(Query: "query");

impl JsonForm for Query {
    fn to_json(&self) -> Result<Json, String> {
        self.check_effort().map_err(|error| error.to_string())?;
        let default = Self::hybrid::<super::Leg>([]);
        let mut fields = Fields::new().put(LEGS, &self.legs)?;
        // The default of a fusion is that of a query: functions cannot be compared, so their forms are.
        let fusion = self.fusion.to_json()?;
        if fusion != default.fusion.to_json()? {
            fields = fields.put(FUSE, &self.fusion)?;
        }
        fields = fields
            .put_some(FILTER, self.filter.as_ref())?
            .put_unless(&default.limit, LIMIT, &self.limit)?
            .put_unless(&default.offset, OFFSET, &self.offset)?
            .put_some(AFTER, self.after.as_ref())?;
        if let Some(diversity) = &self.diversity {
            fields = put_diversity(fields, diversity)?;
        }
        if !self.rescores.is_empty() {
            fields = fields.put(RESCORE, &self.rescores)?;
        }
        // A number of milliseconds is what a front end measures in. Rust's own form of a duration is two numbers.
        let timeout = self.timeout.map(milliseconds).transpose()?;
        fields
            .put_unless(&default.select, SELECT, &self.select)?
            .put_unless(&default.computes, COMPUTE, &self.computes)?
            .put_unless(&default.facets, FACETS, &self.facets)?
            .put_some(TIMEOUT_MS, timeout.as_ref())?
            .put_some(BYTES_MAX, self.bytes_max.as_ref())?
            .put_unless(&default.partial, PARTIAL, &self.partial)
            .map(Fields::end)
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        let object = Object::new(json, path, &FIELDS)?;
        let default = Self::hybrid::<super::Leg>([]);
        Ok(Self {
            legs: object.need(LEGS)?,
            fusion: object.get_or_else(FUSE, || default.fusion)?,
            filter: object.get(FILTER)?,
            limit: object.get_or_else(LIMIT, || default.limit)?,
            offset: object.get_or_else(OFFSET, || default.offset)?,
            after: object.get(AFTER)?,
            diversity: read_diversity(&object)?,
            rescores: object.get_or_else(RESCORE, Vec::new)?,
            select: object.get_or_else(SELECT, || default.select)?,
            computes: object.get_or_else(COMPUTE, Vec::new)?,
            facets: object.get_or_else(FACETS, Vec::new)?,
            timeout: object.get(TIMEOUT_MS)?.map(Duration::from_millis),
            bytes_max: object.get(BYTES_MAX)?,
            partial: object.get_or_else(PARTIAL, || default.partial)?,
            // In JSON an effort is a field of a vector leg, and cannot be without one.
            effort_without_leg: false,
        })
    }
}

/// A timeout in whole milliseconds, rounded up: one of less is not one of nothing.
fn milliseconds(timeout: Duration) -> Result<u64, String> {
    // Rounding down would make a timeout of less than a millisecond one of zero, which ends every query.
    let whole = timeout.as_nanos().div_ceil(1_000_000);
    u64::try_from(whole).map_err(|_| format!("JSON has no number for a timeout of {timeout:?}"))
}

fn put_diversity(fields: Fields, diversity: &Diversity) -> Result<Fields, String> {
    let of = Fields::new().put(COLUMNS, &diversity.columns)?;
    Ok(if diversity.groups {
        fields.put_object(GROUP_BY, of.put(HITS, &diversity.limit)?)
    } else {
        fields.put_object(LIMIT_PER, of.put(LIMIT, &diversity.limit)?)
    })
}

fn read_diversity(query: &Object<'_>) -> Result<Option<Diversity>, String> {
    let (field, count) = match (query.has(LIMIT_PER), query.has(GROUP_BY)) {
        (false, false) => return Ok(None),
        (true, false) => (LIMIT_PER, LIMIT),
        (false, true) => (GROUP_BY, HITS),
        // The last call of the builder wins. Two fields of an object are a mistake.
        (true, true) => {
            return Err(query.error(format!("it may have one of `{LIMIT_PER}`, `{GROUP_BY}` alone")));
        }
    };
    let of = query.object(field, &[COLUMNS, count])?;
    let (columns, limit) = (of.need(COLUMNS)?, of.need(count)?);
    Ok(Some(Diversity { columns, limit, groups: field == GROUP_BY }))
}

/// A facet with its name.
impl JsonForm for (String, Aggregation) {
    fn to_json(&self) -> Result<Json, String> {
        Ok(Fields::new().put(NAME, &self.0)?.put(AGGREGATION, &self.1)?.end())
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        let object = Object::new(json, path, &[NAME, AGGREGATION])?;
        Ok((object.need(NAME)?, object.need(AGGREGATION)?))
    }
}
