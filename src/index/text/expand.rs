//! What a query looks for in the dictionary of a column: a token, all that begin alike, or all that are nearly it.
//!
//! A prefix stands for all tokens that begin so, and a misspelt token for the [`EXPANSIONS_MAX`] that are nearest and, of
//! those, in most documents. Of either a part gives no more than the plan allows: what is in most of its rows. Whatever
//! is left out is told.

use std::cmp::Reverse;

use super::levenshtein::Levenshtein;

/// The most tokens that a misspelt token stands for.
pub(crate) const EXPANSIONS_MAX: usize = 256;
/// The most tokens of a part that all prefixes and misspelt tokens of a query stand for together, and what each may in
/// any case.
pub(super) const TOGETHER_MAX: usize = 1 << 16;
/// The most tokens that a prefix in a filter stands for, before the index leaves it to a scan.
pub(super) const EVERY_MAX: usize = 4_096;

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Spec {
    /// This token.
    Term(Box<str>),
    /// Tokens that begin so.
    Prefix(Box<str>),
    /// Tokens that begin so: all of them, or none.
    Every(Box<str>),
    /// Tokens that become this one by at most so many insertions, deletions, replacements and swaps of
    /// neighbours.
    Fuzzy(Box<str>, u8),
}

impl Spec {
    /// The edits from the token that is looked for to another.
    pub(crate) fn edits(&self, term: &[u8]) -> Option<u8> {
        match self {
            Self::Term(text) => (text.as_bytes() == term).then_some(0),
            Self::Prefix(text) | Self::Every(text) => term.starts_with(text.as_bytes()).then_some(0),
            Self::Fuzzy(text, most) => Levenshtein::new(text, *most).edits(term),
        }
    }

    /// What is asked for.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Term(text) | Self::Prefix(text) | Self::Every(text) | Self::Fuzzy(text, _) => text,
        }
    }

    /// How much a token so many edits away counts.
    pub(super) fn share(edits: u8) -> f32 {
        1.0 / (1.0 + f32::from(edits))
    }
}

/// A token of a dictionary.
pub(super) trait Candidate {
    fn edits(&self) -> u8;
    fn term(&self) -> &[u8];
    /// The rows that hold it.
    fn rows(&self) -> u64;
}

/// Gathers the tokens that stand for one: the nearest, the token itself before others, then what most rows hold.
#[derive(Debug)]
pub(super) struct Gathered<'a, T> {
    spec: &'a Spec,
    most: usize,
    found: Vec<T>,
    cut: bool,
}

impl<'a, T: Candidate> Gathered<'a, T> {
    pub(super) fn new(spec: &'a Spec, most: usize) -> Self {
        Self { spec, most, found: Vec::new(), cut: false }
    }

    /// Whether there is more to gather: not where all are wanted and are too many.
    pub(super) fn push(&mut self, one: T) -> bool {
        self.found.push(one);
        if self.found.len() >= self.most.saturating_mul(2) {
            self.cut();
        }
        let all = matches!(self.spec, Spec::Every(_)) && self.found.len() > self.most;
        self.cut |= all;
        !all
    }

    fn cut(&mut self) {
        let own = self.spec.text().as_bytes();
        let order = |a: &T, b: &T| {
            let key = |one: &T| (one.edits(), one.term() != own, Reverse(one.rows()));
            key(a).cmp(&key(b)).then_with(|| a.term().cmp(b.term()))
        };
        if self.found.len() > self.most {
            self.found.select_nth_unstable_by(self.most, order);
            self.found.truncate(self.most);
            self.cut = true;
        }
    }

    /// The tokens, nearest first, then by their bytes; and whether there are more.
    pub(super) fn finish(mut self) -> (Vec<T>, bool) {
        self.cut();
        // Sums of floats depend on the order, so it is the same everywhere.
        self.found.sort_unstable_by(|a, b| (a.edits(), a.term()).cmp(&(b.edits(), b.term())));
        (self.found, self.cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Token(u8, &'static str, u64);

    impl Candidate for Token {
        fn edits(&self) -> u8 {
            self.0
        }

        fn term(&self) -> &[u8] {
            self.1.as_bytes()
        }

        fn rows(&self) -> u64 {
            self.2
        }
    }

    #[test]
    fn the_nearest_and_then_the_most_frequent_stay() {
        let tokens = || {
            [Token(1, "b", 9), Token(0, "x", 1), Token(1, "a", 3), Token(1, "c", 9), Token(1, "d", 5)]
                .into_iter()
        };
        let gather = |spec: &Spec, most| {
            let mut gathered = Gathered::new(spec, most);
            let all = tokens().all(|token| gathered.push(token));
            let (found, cut) = gathered.finish();
            (found.iter().map(|token| token.1).collect::<Vec<_>>(), cut, all)
        };
        let fuzzy = Spec::Fuzzy("x".into(), 1);
        assert_eq!(gather(&fuzzy, 1), (vec!["x"], true, true));
        assert_eq!(gather(&fuzzy, 3), (vec!["x", "b", "c"], true, true));
        assert_eq!(gather(&fuzzy, 5), (vec!["x", "a", "b", "c", "d"], false, true));
        assert!(gather(&Spec::Every("".into()), 4).1);
        assert!(!gather(&Spec::Every("".into()), 5).1);
    }

    #[test]
    fn a_prefix_keeps_its_own_word() {
        let spec = Spec::Prefix("a".into());
        let mut gathered = Gathered::new(&spec, 2);
        for token in [Token(0, "ab", 9), Token(0, "ac", 8), Token(0, "a", 1)] {
            gathered.push(token);
        }
        let (found, cut) = gathered.finish();
        assert_eq!((found.iter().map(|token| token.1).collect::<Vec<_>>(), cut), (vec!["a", "ab"], true));
    }
}
