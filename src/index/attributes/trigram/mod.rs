//! Trigrams: which keys of a column hold which three bytes.
//!
//! They are a column of their own, whose keys are the trigrams and whose rows are the numbers of keys. A pattern with a
//! literal in it is then answered by the few blocks of keys that can match, at the cost of one more round trip. As in
//! R. Cox, "Regular expression matching with a trigram index", 2012; but where Cox derives a boolean query from the
//! expression, a pattern here requires all trigrams of one of several alternatives.
//!
//! Case is folded among ASCII letters, and characters that fold to them: one index serves patterns with and without
//! case, at the price of some more candidates for those with.
//!
//! **Invariant:** every key that can match a pattern is among its candidates.

mod builder;
mod index;
mod required;

pub(super) use builder::TrigramIndexBuilder;
pub(super) use index::TrigramIndex;
pub(crate) use index::TrigramLookup;
pub(super) use required::RequiredTrigrams;
