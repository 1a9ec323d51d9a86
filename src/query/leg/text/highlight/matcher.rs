//! Which tokens of a text match a query.

use std::collections::{BTreeSet, HashMap};

use crate::index::text::{LevenshteinAutomaton, TermSpec, TextNode};

/// The terms of a query, indexed so that a token is looked up instead of compared with each of them.
#[derive(Clone, Debug, Default)]
pub(super) struct TokenMatcher {
    /// Numbers of terms, by their text.
    terms: HashMap<Box<str>, usize>,
    prefixes: HashMap<Box<str>, usize>,
    /// The lengths of the prefixes: a token is looked up once for each of them.
    lengths: BTreeSet<usize>,
    fuzzy: Vec<(LevenshteinAutomaton, usize)>,
}

/// Tokens of a text whose comparison with fuzzy terms is remembered.
// An automaton steps through every character of a token, and most tokens of a text are repeated. The limit is for texts
// that consist of distinct tokens.
const KNOWN_MAX: usize = 1 << 16;

impl TokenMatcher {
    pub(super) fn new<'a>(specs: impl Iterator<Item = &'a TermSpec>) -> Self {
        let mut matcher = Self::default();
        for (number, spec) in specs.enumerate() {
            match spec {
                // The first number stays: a token counts once, however often the query repeats its term.
                TermSpec::Term(text) => {
                    matcher.terms.entry(text.clone()).or_insert(number);
                }
                TermSpec::Prefix(text) | TermSpec::CompletePrefix(text) => {
                    matcher.prefixes.entry(text.clone()).or_insert(number);
                    matcher.lengths.insert(text.len());
                }
                TermSpec::Fuzzy(text, edits) => {
                    matcher.fuzzy.push((LevenshteinAutomaton::new(text, *edits), number));
                }
            }
        }
        matcher
    }

    /// The smallest number of a term that a token matches.
    pub(super) fn find_term(
        &self,
        token: &str,
        known: &mut HashMap<Box<str>, Option<usize>>,
    ) -> Option<usize> {
        let term = self.terms.get(token).copied();
        let prefixes = self.lengths.range(..=token.len()).filter_map(|length| token.get(..*length));
        let prefix = prefixes.filter_map(|prefix| self.prefixes.get(prefix)).min().copied();
        let fuzzy = if self.fuzzy.is_empty() { None } else { self.find_fuzzy(token, known) };
        [term, prefix, fuzzy].into_iter().flatten().min()
    }

    fn find_fuzzy(&self, token: &str, known: &mut HashMap<Box<str>, Option<usize>>) -> Option<usize> {
        if let Some(found) = known.get(token) {
            return *found;
        }
        let mut matching = self.fuzzy.iter().filter(|(word, _)| word.edits_to(token.as_bytes()).is_some());
        let found = matching.next().map(|(_, number)| *number);
        if known.len() < KNOWN_MAX {
            known.insert(token.into(), found);
        }
        found
    }
}

/// Adds the terms that can make a document match.
pub(super) fn collect_positive_terms(node: &TextNode, terms: &mut BTreeSet<usize>) {
    match node {
        TextNode::Every => {}
        TextNode::Term(term, _) => {
            terms.insert(*term);
        }
        TextNode::Phrase { terms: words, .. } => terms.extend(words.iter().map(|(term, _)| *term)),
        TextNode::Any(nodes) | TextNode::All(nodes) | TextNode::Best(nodes) | TextNode::Product(nodes) => {
            for node in nodes {
                collect_positive_terms(node, terms);
            }
        }
        // What follows a `without` never makes a document match, so its terms are not marked.
        TextNode::Without(node, _) | TextNode::Boost(node, _) | TextNode::Rank(node, _, _) => {
            collect_positive_terms(node, terms);
        }
    }
}
