//! Fields of JSON objects that this version does not know.

use std::collections::BTreeMap;

/// Fields that another version has added to an object. Whoever writes the object again keeps them as they are; what must
/// not be kept is declared as a feature. As a field with `serde(flatten)`, which buffers nothing but these.
pub(crate) type UnknownFields = BTreeMap<String, serde_json::Value>;
