//! Predicates on the keys of a column: which blocks they need, and the candidates that the blocks give.

mod evaluation;
mod fold;
mod fuzzy;
mod pattern;
mod probe;

pub(crate) use fuzzy::{FuzzyMatcher, QUERY_CHARS_MAX};
pub(crate) use pattern::Pattern;
pub(crate) use probe::AttributeProbe;
