//! Cursors over the rows that match a node of a plan, in ascending order, with their scores.

mod build;
mod expanded_term;
mod phrase;
mod term;
mod tree;
mod wand;

pub(super) use expanded_term::ExpandedTermScorer;
pub(super) use phrase::PhraseScorer;
pub(super) use term::TermScorer;
pub(super) use tree::Scorer;
