//! Patterns of strings: their fixed literals are looked for before the rest of the pattern is tested.

use std::sync::Arc;

use memchr::memmem::Finder;
use regex::Regex;

use super::super::trigram::RequiredTrigrams;
use super::fuzzy::FuzzyMatcher;

/// A shorter literal is in so many strings that a search for it excludes too few.
const NEEDLE_MIN: usize = 3;

/// A pattern that strings are tested by. Clones share it: a plan has it once for each segment.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Arc<CompiledPattern>);

#[derive(Debug)]
struct CompiledPattern {
    /// The literals that a match begins and ends with. They do not overlap.
    prefix: String,
    suffix: String,
    /// The literals that a match has between them, in this order.
    inner: Vec<Finder<'static>>,
    condition: MatchCondition,
    /// The longest of the inner literals.
    needle: Option<Finder<'static>>,
    required_trigrams: Option<RequiredTrigrams>,
}

/// What a match fulfils besides its literals.
#[derive(Debug)]
enum MatchCondition {
    /// Nothing: any text may be between the literals.
    Free,
    /// No text follows the prefix.
    Empty,
    Regex(Regex),
    Fuzzy(Box<FuzzyMatcher>),
}

impl Pattern {
    /// All strings that have these literals in this order, beginning with the first and ending with the last. A single
    /// literal is the whole string.
    pub(crate) fn literals(literals: &[String]) -> Self {
        let condition = if literals.len() < 2 { MatchCondition::Empty } else { MatchCondition::Free };
        Self::with_literals(literals, condition)
    }

    /// The matches of a regular expression, all of which have these literals, in this order and without overlap. The
    /// first and the last, which may be empty, are those that a match begins and ends with.
    pub(crate) fn regex(regex: Regex, literals: &[String]) -> Self {
        Self::with_literals(literals, MatchCondition::Regex(regex))
    }

    /// The matches of a regular expression in any case, all of which have these literals but for case.
    pub(crate) fn any_case(regex: Regex, literals: &[String]) -> Self {
        let required = RequiredTrigrams::new([literals.iter().map(String::as_str)], true);
        // Literals in any case serve as trigrams alone: keys are compared as bytes.
        Self::new(&[], MatchCondition::Regex(regex), required)
    }

    /// All strings that hold a query but for some edits.
    pub(crate) fn fuzzy(query: FuzzyMatcher) -> Self {
        // A match holds at least one piece as it is, so each piece is an alternative.
        let required = RequiredTrigrams::new(query.pieces().map(|piece| [piece]), query.ignores_case());
        Self::new(&[], MatchCondition::Fuzzy(Box::new(query)), required)
    }

    fn with_literals(literals: &[String], condition: MatchCondition) -> Self {
        let required = RequiredTrigrams::new([literals.iter().map(String::as_str)], false);
        Self::new(literals, condition, required)
    }

    fn new(
        literals: &[String],
        condition: MatchCondition,
        required_trigrams: Option<RequiredTrigrams>,
    ) -> Self {
        let (prefix, suffix, inner) = match literals {
            [] => (String::new(), String::new(), &[][..]),
            [prefix] => (prefix.clone(), String::new(), &[][..]),
            [prefix, inner @ .., suffix] => (prefix.clone(), suffix.clone(), inner),
        };
        let finder = |literal: &String| Finder::new(literal).into_owned();
        let longest = inner.iter().filter(|literal| literal.len() >= NEEDLE_MIN).max_by_key(|l| l.len());
        let needle = longest.map(finder);
        let inner = inner.iter().filter(|literal| !literal.is_empty()).map(finder).collect();
        Self(Arc::new(CompiledPattern { prefix, suffix, inner, condition, needle, required_trigrams }))
    }

    /// Whether a string matches.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        let CompiledPattern { prefix, suffix, inner, condition, .. } = &*self.0;
        // Ends first: they exclude most strings by one comparison, also for a regular expression.
        let between = text.strip_prefix(prefix.as_str()).and_then(|text| text.strip_suffix(suffix.as_str()));
        let Some(between) = between else { return false };
        match condition {
            MatchCondition::Empty => between.is_empty(),
            MatchCondition::Regex(regex) => regex.is_match(text),
            MatchCondition::Fuzzy(query) => query.is_match(text),
            MatchCondition::Free => contains_in_order(between.as_bytes(), inner),
        }
    }

    /// What every match begins with.
    pub(crate) fn prefix(&self) -> &str {
        &self.0.prefix
    }

    /// What every match ends with, behind its prefix.
    pub(super) fn suffix(&self) -> &str {
        &self.0.suffix
    }

    /// Whether every string that begins with the prefix matches.
    pub(crate) fn is_prefix(&self) -> bool {
        let CompiledPattern { suffix, inner, condition, .. } = &*self.0;
        suffix.is_empty() && inner.is_empty() && matches!(condition, MatchCondition::Free)
    }

    /// The trigrams that every match has, if any are known.
    pub(crate) fn required_trigrams(&self) -> Option<&RequiredTrigrams> {
        self.0.required_trigrams.as_ref()
    }

    /// A literal that every match has somewhere between its ends.
    pub(super) fn needle(&self) -> Option<&Finder<'static>> {
        self.0.needle.as_ref()
    }
}

/// Whether a text has these literals in this order. The first place of each is the best: it leaves the most text to
/// those behind it.
fn contains_in_order(mut text: &[u8], literals: &[Finder<'_>]) -> bool {
    literals.iter().all(|literal| {
        let behind = literal.find(text).and_then(|found| text.get(found + literal.needle().len()..));
        match behind {
            Some(behind) => {
                text = behind;
                true
            }
            None => false,
        }
    })
}
