//! Patterns of strings: what stands fast in them is looked for before the rest is tried.

use std::sync::Arc;

use memchr::memmem::Finder;
use regex::Regex;

use super::fuzzy::FuzzyMatcher;
use super::trigrams::RequiredTrigrams;

/// A shorter literal is in so many strings that looking for it is in vain.
const NEEDLE_MIN: usize = 3;

/// A pattern that strings are tested by.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    /// What matches begins and ends with these, apart from one another.
    prefix: String,
    suffix: String,
    /// And has these between them, in this order.
    inner: Vec<Finder<'static>>,
    rest: Rest,
    /// The longest of the inner ones.
    needle: Option<Finder<'static>>,
    /// The trigrams it cannot do without.
    needs: Option<RequiredTrigrams>,
}

/// What is asked besides.
#[derive(Debug)]
enum Rest {
    /// Nothing: whatever lies between literals is welcome.
    Free,
    /// That nothing lies behind the prefix.
    Empty,
    Regex(Regex),
    Fuzzy(Box<FuzzyMatcher>),
}

impl Pattern {
    /// All strings that have these literals in this order, of which they begin with the first and end with the
    /// last. One alone is the whole string.
    pub(crate) fn literals(literals: &[String]) -> Self {
        let rest = if literals.len() < 2 { Rest::Empty } else { Rest::Free };
        Self::new(literals, rest)
    }

    /// What a regular expression matches, which has these literals apart from one another and in this order. The
    /// first and the last, which may be empty, are those a match begins and ends with.
    pub(crate) fn regex(regex: Regex, literals: &[String]) -> Self {
        Self::new(literals, Rest::Regex(regex))
    }

    /// What a regular expression matches that minds no case, which has these literals but for case.
    pub(crate) fn any_case(regex: Regex, literals: &[String]) -> Self {
        let needs = RequiredTrigrams::new([literals.iter().map(String::as_str)], true);
        Self::with_needs(&[], Rest::Regex(regex), needs)
    }

    /// All strings that hold a query but for some edits.
    pub(crate) fn fuzzy(query: FuzzyMatcher) -> Self {
        let needs = RequiredTrigrams::new(query.pieces().map(|piece| [piece]), query.minds_no_case());
        Self::with_needs(&[], Rest::Fuzzy(Box::new(query)), needs)
    }

    fn new(literals: &[String], rest: Rest) -> Self {
        let needs = RequiredTrigrams::new([literals.iter().map(String::as_str)], false);
        Self::with_needs(literals, rest, needs)
    }

    fn with_needs(literals: &[String], rest: Rest, needs: Option<RequiredTrigrams>) -> Self {
        let (prefix, others) =
            literals.split_first().map_or((String::new(), &[][..]), |(a, b)| (a.clone(), b));
        let (suffix, inner) = others.split_last().map_or((String::new(), &[][..]), |(a, b)| (a.clone(), b));
        let finder = |literal: &String| Finder::new(literal).into_owned();
        let longest = inner.iter().filter(|literal| literal.len() >= NEEDLE_MIN).max_by_key(|l| l.len());
        let needle = longest.map(finder);
        let inner = inner.iter().filter(|literal| !literal.is_empty()).map(finder).collect();
        Self(Arc::new(Parts { prefix, suffix, inner, rest, needle, needs }))
    }

    /// Whether a string matches.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        let Parts { prefix, suffix, inner, rest, .. } = &*self.0;
        let between = text.strip_prefix(prefix.as_str()).and_then(|text| text.strip_suffix(suffix.as_str()));
        let Some(between) = between else { return false };
        match rest {
            Rest::Empty => between.is_empty(),
            Rest::Regex(regex) => regex.is_match(text),
            Rest::Fuzzy(query) => query.is_match(text),
            Rest::Free => {
                let mut between = between.as_bytes();
                inner.iter().all(|literal| {
                    let found = literal.find(between);
                    between =
                        found.and_then(|at| between.get(at + literal.needle().len()..)).unwrap_or_default();
                    found.is_some()
                })
            }
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

    /// Whether whatever begins with the prefix matches.
    pub(crate) fn is_prefix(&self) -> bool {
        let Parts { suffix, inner, rest, .. } = &*self.0;
        suffix.is_empty() && inner.is_empty() && matches!(rest, Rest::Free)
    }

    /// The trigrams that every match has, if any are known.
    pub(super) fn needs(&self) -> Option<&RequiredTrigrams> {
        self.0.needs.as_ref()
    }

    /// What every match has somewhere between its ends.
    pub(super) fn needle(&self) -> Option<&Finder<'static>> {
        self.0.needle.as_ref()
    }
}
