//! What a query looks for in the dictionary of a column: a token, all that begin alike, or all that are nearly it.
//!
//! At most [`EXPANSIONS_MAX`] tokens stand in for one: the nearest, then the first in order of their bytes.

/// The most tokens that a prefix or a misspelt token stands for.
pub(crate) const EXPANSIONS_MAX: usize = 256;
/// The most tokens that a prefix in a filter stands for, before the index leaves it to a scan.
pub(super) const EVERY_MAX: usize = 4_096;
/// How many dictionary entries are looked at for them, in each part.
pub(super) const SCANNED_MAX: usize = 100_000;

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Spec {
    /// This token.
    Term(Box<str>),
    /// Tokens that begin so.
    Prefix(Box<str>),
    /// Tokens that begin so: all of them, and one more than [`EVERY_MAX`] if they are too many.
    Every(Box<str>),
    /// Tokens that become this one by at most so many insertions, deletions, replacements and swaps of
    /// neighbours. They begin with the same character.
    Fuzzy(Box<str>, u8),
}

impl Spec {
    /// The tokens that may match: all that begin so.
    pub(crate) fn stem(&self) -> &str {
        match self {
            Self::Term(text) | Self::Prefix(text) | Self::Every(text) => text,
            Self::Fuzzy(text, _) => {
                let first = text.chars().next().map_or(0, char::len_utf8);
                text.get(..first).unwrap_or_default()
            }
        }
    }

    /// The edits from the token that is looked for to one of the dictionary, which begins with the stem.
    pub(crate) fn edits(&self, term: &[u8]) -> Option<u8> {
        match self {
            Self::Term(text) => (text.as_bytes() == term).then_some(0),
            Self::Prefix(text) | Self::Every(text) => term.starts_with(text.as_bytes()).then_some(0),
            Self::Fuzzy(text, most) => edits(text, std::str::from_utf8(term).ok()?, *most),
        }
    }

    /// The most tokens of a dictionary that stand for it.
    pub(super) fn most(&self) -> usize {
        match self {
            Self::Every(_) => EVERY_MAX + 1,
            Self::Term(_) | Self::Prefix(_) | Self::Fuzzy(..) => EXPANSIONS_MAX,
        }
    }

    /// How much a token so many edits away counts.
    pub(super) fn share(edits: u8) -> f32 {
        1.0 / (1.0 + f32::from(edits))
    }
}

/// The optimal string alignment distance, if it is at most `most`.
fn edits(from: &str, to: &str, most: u8) -> Option<u8> {
    let most_usize = usize::from(most);
    if from.len().abs_diff(to.len()) > most_usize * 4 {
        return None;
    }
    let to: Vec<char> = to.chars().collect();
    let from: Vec<char> = from.chars().collect();
    if from.len().abs_diff(to.len()) > most_usize {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, a) in from.iter().enumerate() {
        let mut line = Vec::with_capacity(to.len() + 1);
        line.push(row + 1);
        for (column, b) in to.iter().enumerate() {
            let at = |line: &[usize], place: usize| line.get(place).copied().unwrap_or(usize::MAX / 2);
            let mut fewest = (at(&last, column + 1) + 1)
                .min(at(&line, column) + 1)
                .min(at(&last, column) + usize::from(a != b));
            if row > 0 && column > 0 && from.get(row - 1) == Some(b) && to.get(column - 1) == Some(a) {
                fewest = fewest.min(at(&before, column - 1) + 1);
            }
            line.push(fewest);
        }
        if line.iter().min().is_some_and(|least| *least > most_usize) {
            return None;
        }
        before = std::mem::replace(&mut last, line);
    }
    last.last().copied().filter(|edits| *edits <= most_usize).and_then(|edits| u8::try_from(edits).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted_up_to_a_limit() {
        assert_eq!(edits("house", "house", 2), Some(0));
        assert_eq!(edits("house", "huose", 1), Some(1));
        assert_eq!(edits("house", "hose", 1), Some(1));
        assert_eq!(edits("house", "houses", 1), Some(1));
        assert_eq!(edits("house", "mouth", 1), None);
        assert_eq!(edits("straße", "strase", 1), Some(1));
        assert_eq!(Spec::Fuzzy("äb".into(), 1).stem(), "ä");
    }
}
