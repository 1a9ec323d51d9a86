//! Which terms of a dictionary a word of a query stands for: itself, all terms with a prefix, or terms a few edits away.
//!
//! The dictionaries of segments and of the tail share this module, so a word expands alike wherever a document lies.

mod expansion;
mod levenshtein;
mod spec;

pub(in crate::index::text) use expansion::ExpansionCollector;
pub(crate) use expansion::{ExpandedTerm, Expansion, RowCount};
pub(crate) use levenshtein::LevenshteinAutomaton;
pub(crate) use spec::TermSpec;
pub(in crate::index::text) use spec::{
    COMPLETE_PREFIX_TERMS_MAX, EXPANSIONS_MAX, PLAN_EXPANSIONS_MAX, prefix_successor,
};
