//! Text analysis: from the text of a column to the tokens that are indexed and looked up.
//!
//! Documents and queries pass through the same [`Analyzer`], built from the options of their column. A token that is
//! cut, folded or stemmed on one side only would never be found.

mod analyzer;
mod long_tokens;
mod words;

pub(crate) use analyzer::{Analyzer, POSITION_INCREMENT_GAP};
