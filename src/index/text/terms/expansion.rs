//! Collects the terms that a word stands for, and decides which of them stay when they are too many.
//!
//! A part returns no more terms than the plan allows: the nearest, then those that most of its rows hold. What is left
//! out is reported, see [`Expansion::truncated`].

use std::cmp::Reverse;

use super::spec::TermSpec;

/// What a dictionary stores with a term.
pub(crate) trait RowCount {
    /// The rows that hold the term, dead rows included.
    fn row_count(&self) -> u64;
}

/// A term that a word stands for, with what the dictionary stores of it.
#[derive(Clone, Debug)]
pub(crate) struct ExpandedTerm<P> {
    /// The edits from the word to the term.
    pub(in crate::index::text) edits: u8,
    pub(in crate::index::text) term: Box<[u8]>,
    pub(in crate::index::text) postings: P,
}

/// The terms that a word stands for in one dictionary.
#[derive(Debug)]
pub(crate) struct Expansion<P> {
    /// The nearest first, then by their bytes.
    pub(in crate::index::text) terms: Vec<ExpandedTerm<P>>,
    /// Whether the dictionary has more terms than were allowed.
    pub(in crate::index::text) truncated: bool,
}

/// Collects the terms that a word stands for: the nearest, the word itself before others, then the most frequent.
#[derive(Debug)]
pub(in crate::index::text) struct ExpansionCollector<'a, P> {
    spec: &'a TermSpec,
    terms_max: usize,
    terms: Vec<ExpandedTerm<P>>,
    truncated: bool,
}

impl<P> ExpandedTerm<P> {
    pub(in crate::index::text) fn new(edits: u8, term: &[u8], postings: P) -> Self {
        Self { edits, term: term.into(), postings }
    }
}

impl<P> Expansion<P> {
    /// The same terms with other postings.
    pub(in crate::index::text) fn map_postings<Q>(&self, map: impl Fn(&P) -> Q) -> Expansion<Q> {
        let terms = self.terms.iter();
        let terms = terms.map(|term| ExpandedTerm::new(term.edits, &term.term, map(&term.postings)));
        Expansion { terms: terms.collect(), truncated: self.truncated }
    }

    /// The expansion of a word that stands for itself.
    pub(in crate::index::text) fn of_term(term: Option<ExpandedTerm<P>>) -> Self {
        Self { terms: term.into_iter().collect(), truncated: false }
    }
}

impl<'a, P: RowCount> ExpansionCollector<'a, P> {
    pub(in crate::index::text) fn new(spec: &'a TermSpec, terms_max: usize) -> Self {
        Self { spec, terms_max, terms: Vec::new(), truncated: false }
    }

    /// Adds a term. Returns whether more terms can change the outcome: a complete prefix with too many terms has no
    /// answer, so its caller stops there.
    pub(in crate::index::text) fn push(&mut self, term: ExpandedTerm<P>) -> bool {
        self.terms.push(term);
        // Selecting among twice the limit costs linear time per `terms_max` pushes: constant time for each push, and
        // memory for twice the limit, however many terms the dictionary has.
        if self.terms.len() >= self.terms_max.saturating_mul(2) {
            self.truncate_terms();
        }
        let is_beyond_answer =
            matches!(self.spec, TermSpec::CompletePrefix(_)) && self.terms.len() > self.terms_max;
        self.truncated |= is_beyond_answer;
        !is_beyond_answer
    }

    fn truncate_terms(&mut self) {
        if self.terms.len() <= self.terms_max {
            return;
        }
        let word = self.spec.text().as_bytes();
        let rank =
            |term: &ExpandedTerm<P>| (term.edits, *term.term != *word, Reverse(term.postings.row_count()));
        self.terms.select_nth_unstable_by(self.terms_max, |a, b| {
            rank(a).cmp(&rank(b)).then_with(|| a.term.cmp(&b.term))
        });
        self.terms.truncate(self.terms_max);
        self.truncated = true;
    }

    pub(in crate::index::text) fn finish(mut self) -> Expansion<P> {
        self.truncate_terms();
        // Scores are sums of floats, which depend on the order of their terms: every part uses this order, so that a
        // document scores alike wherever it lies.
        self.terms.sort_unstable_by(|a, b| (a.edits, &a.term).cmp(&(b.edits, &b.term)));
        Expansion { terms: self.terms, truncated: self.truncated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl RowCount for u64 {
        fn row_count(&self) -> u64 {
            *self
        }
    }

    fn token(edits: u8, term: &'static str, rows: u64) -> ExpandedTerm<u64> {
        ExpandedTerm::new(edits, term.as_bytes(), rows)
    }

    fn texts(expansion: &Expansion<u64>) -> Vec<&str> {
        expansion.terms.iter().map(|term| std::str::from_utf8(&term.term).unwrap()).collect()
    }

    #[test]
    fn the_nearest_and_then_the_most_frequent_stay() {
        let tokens = || {
            [token(1, "b", 9), token(0, "x", 1), token(1, "a", 3), token(1, "c", 9), token(1, "d", 5)]
                .into_iter()
        };
        let gather = |spec: &TermSpec, most| {
            let mut collector = ExpansionCollector::new(spec, most);
            let all = tokens().all(|token| collector.push(token));
            (collector.finish(), all)
        };
        let fuzzy = TermSpec::Fuzzy("x".into(), 1);
        for (most, expected, truncated) in
            [(1, vec!["x"], true), (3, vec!["x", "b", "c"], true), (5, vec!["x", "a", "b", "c", "d"], false)]
        {
            let (expansion, all) = gather(&fuzzy, most);
            assert_eq!((texts(&expansion), expansion.truncated, all), (expected, truncated, true));
        }
        assert!(gather(&TermSpec::CompletePrefix("".into()), 4).0.truncated);
        assert!(!gather(&TermSpec::CompletePrefix("".into()), 5).0.truncated);
    }

    #[test]
    fn a_prefix_keeps_its_own_word() {
        let spec = TermSpec::Prefix("a".into());
        let mut collector = ExpansionCollector::new(&spec, 2);
        for token in [token(0, "ab", 9), token(0, "ac", 8), token(0, "a", 1)] {
            collector.push(token);
        }
        let expansion = collector.finish();
        assert_eq!((texts(&expansion), expansion.truncated), (vec!["a", "ab"], true));
    }
}
