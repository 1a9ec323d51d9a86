//! The JSON forms of text queries and ranks, each an object with one field that says what it is.

mod query;
mod rank;

use super::Combine;
use crate::json::json_names;

/// How many levels of a tree are written. A query may have fewer.
// Writing goes down by recursion, and trees may be deeper than the stack. Twice the levels that are ever searched.
const LEVELS_MAX: usize = 64;

json_names!(Combine { "sum": Sum, "max": Max, "product": Product });
