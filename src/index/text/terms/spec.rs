//! What a query looks up in the dictionary of a column, and how many terms that may expand to.

use super::levenshtein::LevenshteinAutomaton;

/// The most terms that a misspelt word stands for, over all parts.
///
/// Lucene's fuzzy queries keep 50. Terms within two edits of a word can be many and nearly all of them are other words,
/// so a bound is needed; ours is larger since terms with few rows cost little here.
pub(in crate::index::text) const EXPANSIONS_MAX: usize = 256;
/// The most terms of a part that all prefixes and misspelt words of a query expand to together. Bounds the memory of a
/// lookup: a term takes some 100 bytes until the query is done.
pub(in crate::index::text) const PLAN_EXPANSIONS_MAX: usize = 1 << 16;
/// The most terms that a prefix in a filter expands to, before the index leaves the filter to a scan. A filter must be
/// exact, so there is no cut that keeps the most frequent terms.
pub(in crate::index::text) const COMPLETE_PREFIX_TERMS_MAX: usize = 4_096;

/// What is looked up in a dictionary.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TermSpec {
    /// This term.
    Term(Box<str>),
    /// Terms with this prefix. If they are too many, those with the most rows.
    Prefix(Box<str>),
    /// Terms with this prefix: all of them, or no answer.
    CompletePrefix(Box<str>),
    /// Terms at most this many insertions, deletions, replacements and swaps of neighbours away from this one.
    Fuzzy(Box<str>, u8),
}

impl TermSpec {
    /// The edits between what is looked up and a term; `None` if the term does not match.
    pub(crate) fn edits_to(&self, term: &[u8]) -> Option<u8> {
        match self {
            Self::Term(text) => (text.as_bytes() == term).then_some(0),
            Self::Prefix(text) | Self::CompletePrefix(text) => term.starts_with(text.as_bytes()).then_some(0),
            Self::Fuzzy(text, edits_max) => LevenshteinAutomaton::new(text, *edits_max).edits_to(term),
        }
    }

    /// The word itself, without what it expands to.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Term(text) | Self::Prefix(text) | Self::CompletePrefix(text) | Self::Fuzzy(text, _) => text,
        }
    }

    /// How much an occurrence of a term counts that is `edits` away: a misspelling may find a document, and should not
    /// outrank the word itself.
    pub(in crate::index::text) fn frequency_factor(edits: u8) -> f32 {
        1.0 / (1.0 + f32::from(edits))
    }
}

/// The smallest byte string above all strings that begin with `prefix`; `None` if there is none.
pub(in crate::index::text) fn prefix_successor(prefix: &[u8]) -> Option<Vec<u8>> {
    // Trailing 0xff bytes cannot be incremented: the successor is that of the bytes before them.
    let kept = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut successor = prefix.get(..=kept)?.to_vec();
    *successor.last_mut()? += 1;
    Some(successor)
}
