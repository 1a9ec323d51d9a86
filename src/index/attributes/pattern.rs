//! What is asked of strings one by one.

use std::sync::Arc;

use regex::Regex;

use super::fuzzy::Approximate;

/// A test of a string.
#[derive(Clone, Debug)]
pub(crate) enum Pattern {
    /// It has a match of a regular expression.
    Regex(Regex),
    /// It holds a query but for some edits.
    Fuzzy(Arc<Approximate>),
}

impl Pattern {
    pub(crate) fn is_match(&self, text: &str) -> bool {
        match self {
            Self::Regex(regex) => regex.is_match(text),
            Self::Fuzzy(query) => query.is_match(text),
        }
    }
}
