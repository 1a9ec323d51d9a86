//! The JSON form of a leg. What each kind ranks by has its form in the folder of the kind.

use serde_json::Value as Json;

use super::Leg;
use super::builder::RankBy;
use crate::json::{Fields, JsonForm, Object, Path, impl_serde};

const NEAREST: &str = "nearest";
const TEXT: &str = "text";
const ORDER_BY: &str = "order_by";
const DEPTH: &str = "depth";
const WEIGHT: &str = "weight";
const FILTER: &str = "filter";

impl_serde!(Leg: "leg");

impl JsonForm for Leg {
    fn to_json(&self) -> Result<Json, String> {
        let fields = match &self.ranking {
            RankBy::Vector(query) => Fields::new().put(NEAREST, query)?,
            RankBy::Text(query) => Fields::new().put(TEXT, query)?,
            RankBy::Order(orders) => Fields::new().put(ORDER_BY, orders)?,
        };
        let fields = fields.put_some(DEPTH, self.depth.as_ref())?.put_unless(&1.0, WEIGHT, &self.weight)?;
        Ok(fields.put_some(FILTER, self.filter.as_ref())?.end())
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        // One list for all kinds: fusion weighs and cuts every ranking in the same way.
        let options = &[DEPTH, WEIGHT, FILTER][..];
        let (kind, object) =
            Object::tagged(json, path, &[(NEAREST, options), (TEXT, options), (ORDER_BY, options)])?;
        let ranking = match kind {
            NEAREST => RankBy::Vector(object.need(NEAREST)?),
            TEXT => RankBy::Text(object.need(TEXT)?),
            _ => RankBy::Order(object.need(ORDER_BY)?),
        };
        let weight = object.get_or_else(WEIGHT, || 1.0)?;
        Ok(Self { ranking, depth: object.get(DEPTH)?, weight, filter: object.get(FILTER)? })
    }
}
