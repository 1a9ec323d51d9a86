//! The JSON form of a sort key: `{"desc": "year"}`.

use serde_json::Value as Json;

use super::Order;
use crate::json::{Fields, JsonForm, Object, Path};

// The direction names the field, so that no key can be written without one: engines differ in which is the default.
const ASC: &str = "asc";
const DESC: &str = "desc";
const NULLS_FIRST: &str = "nulls_first";

impl JsonForm for Order {
    fn to_json(&self) -> Result<Json, String> {
        let fields = Fields::new().put(if self.descending { DESC } else { ASC }, &self.column)?;
        Ok(fields.put_unless(&false, NULLS_FIRST, &self.nulls_first)?.end())
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        let options = &[NULLS_FIRST][..];
        let (direction, object) = Object::tagged(json, path, &[(ASC, options), (DESC, options)])?;
        Ok(Self {
            column: object.need(direction)?,
            descending: direction == DESC,
            nulls_first: object.get_or_else(NULLS_FIRST, || false)?,
        })
    }
}
