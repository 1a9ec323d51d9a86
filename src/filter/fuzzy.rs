//! `Fuzzy`: what a fuzzy filter looks for, and how many edits it forgives.

use crate::error::{Error, Result};
use crate::index::attributes::{FuzzyMatcher, Pattern, QUERY_CHARS_MAX};

/// The most edits.
const DISTANCE_MAX: u8 = 2;
/// The most thresholds.
const THRESHOLDS_MAX: usize = 16;
/// The thresholds unless others are given.
const DEFAULT: [(usize, u8); 3] = [(3, 0), (6, 1), (9, 2)];

/// What [`Filter::fuzzy`](super::Filter::fuzzy) looks for: a query, and how many edits it forgives.
///
/// A string matches if some part of it, anywhere, can be made the query with so many edits. An edit inserts,
/// deletes or replaces one character (a Unicode scalar value; two that change places are two edits). Nothing
/// is cut into words and nothing is normalised: an `é` of one character and one of two differ. For misspelt words
/// in a column with full text there is [`TextMatch::fuzzy`](crate::query::TextMatch::fuzzy).
///
/// How many edits are allowed depends on the length of the query, by thresholds: the greatest that the query's
/// number of characters reaches decides, and a query below all of them matches nothing. By default these are
///
/// | characters of the query | edits |
/// |---|---|
/// | fewer than 3 | matches nothing |
/// | 3 to 5 | 0: the string holds the query |
/// | 6 to 8 | 1 |
/// | 9 and more | 2 |
///
/// ```
/// use elacsym::query::Fuzzy;
/// use elacsym::Filter;
///
/// // One edit, as the query has seven characters: "elacsim" and "the elacsyms", but not "Elacsim" or "elacysm".
/// let default = Filter::fuzzy("name", "elacsym");
/// // These, and "Elacsim".
/// let mine = Filter::fuzzy("name", Fuzzy::new("elacsym").distance(6, 1).any_case());
/// # let _ = (default, mine);
/// ```
///
/// # Errors
/// What a filter with it returns when it is used:
/// - [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a threshold is below 3 characters for each edit and
///   3 more (6 for one edit, 9 for two), or given twice.
/// - [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) if there are more than 2 edits, 256
///   characters in the query, or 16 thresholds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Fuzzy {
    pub(super) query: String,
    /// None: the default ones.
    thresholds: Vec<(usize, u8)>,
    pub(super) any_case: bool,
}

impl Fuzzy {
    /// Looks for `query` with the default thresholds, upper and lower case being different.
    pub fn new(query: impl Into<String>) -> Self {
        Self { query: query.into(), thresholds: Vec::new(), any_case: false }
    }

    /// Queries of so many characters or more may be so many edits away. The first threshold takes the place of all
    /// default ones.
    pub fn distance(mut self, min_query_chars: usize, distance: u8) -> Self {
        self.thresholds.push((min_query_chars, distance));
        self
    }

    /// Upper and lower case are the same, by Unicode's simple case folding, as with
    /// [`iglob`](super::Filter::iglob).
    pub fn any_case(self) -> Self {
        Self { any_case: true, ..self }
    }

    /// The edits that are allowed; `None` if nothing matches.
    pub(super) fn edits(&self) -> Option<u8> {
        let thresholds = if self.thresholds.is_empty() { &DEFAULT[..] } else { &self.thresholds };
        // No more are counted than are allowed.
        let chars = self.query.chars().take(QUERY_CHARS_MAX + 1).count();
        let reached = thresholds.iter().filter(|(min, _)| *min <= chars);
        reached.max_by_key(|(min, _)| *min).map(|(_, distance)| *distance)
    }

    /// The query, ready to be looked for; `None` if nothing matches.
    pub(super) fn compile(&self) -> Result<Option<Pattern>> {
        self.check()?;
        let compiled = |edits| Pattern::fuzzy(FuzzyMatcher::new(&self.query, edits, self.any_case));
        Ok(self.edits().map(compiled))
    }

    fn check(&self) -> Result<()> {
        if self.query.chars().nth(QUERY_CHARS_MAX).is_some() {
            let chars = self.query.chars().count();
            return Err(Error::limit(format!(
                "fuzzy query of {chars} characters: at most {QUERY_CHARS_MAX} are allowed"
            )));
        }
        if self.thresholds.len() > THRESHOLDS_MAX {
            let count = self.thresholds.len();
            return Err(Error::limit(format!(
                "{count} thresholds of a fuzzy query: at most {THRESHOLDS_MAX} are allowed"
            )));
        }
        for (number, (min, distance)) in self.thresholds.iter().enumerate() {
            let least = 3 * (usize::from(*distance) + 1);
            if *distance > DISTANCE_MAX {
                return Err(Error::limit(format!(
                    "fuzzy query with {distance} edits: at most {DISTANCE_MAX} are allowed"
                )));
            }
            if *min < least {
                return Err(Error::invalid(format!(
                    "a fuzzy distance of {distance} needs queries of at least {least} characters. \
                     min_query_chars=`{min}`"
                )));
            }
            if self.thresholds.iter().take(number).any(|(other, _)| other == min) {
                return Err(Error::invalid(format!(
                    "a threshold of a fuzzy query is given twice. min_query_chars=`{min}`"
                )));
            }
        }
        Ok(())
    }
}

impl From<&str> for Fuzzy {
    fn from(query: &str) -> Self {
        Self::new(query)
    }
}

impl From<String> for Fuzzy {
    fn from(query: String) -> Self {
        Self::new(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn the_greatest_threshold_that_is_reached_decides() {
        let edits = |chars: usize, thresholds: &[(usize, u8)]| {
            // Characters count, not bytes.
            let query = Fuzzy::new("é".repeat(chars));
            thresholds.iter().fold(query, |query, (min, distance)| query.distance(*min, *distance)).edits()
        };
        let default =
            [(0, None), (2, None), (3, Some(0)), (5, Some(0)), (6, Some(1)), (8, Some(1)), (9, Some(2))];
        for (chars, expected) in default {
            assert_eq!(edits(chars, &[]), expected, "{chars}");
        }
        // In any order; and one of its own replaces them all.
        let own = [(20, 0), (9, 2), (12, 1)];
        for (chars, expected) in
            [(8, None), (9, Some(2)), (11, Some(2)), (12, Some(1)), (19, Some(1)), (20, Some(0))]
        {
            assert_eq!(edits(chars, &own), expected, "{chars}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        use ErrorKind::{Invalid, LimitExceeded};
        let query = || Fuzzy::new("elacsym");
        let many = (10..27).fold(query(), |query, min| query.distance(min, 0));
        let refused = [
            (query().distance(5, 1), Invalid, "distance of 1 needs queries of at least 6"),
            (query().distance(8, 2), Invalid, "distance of 2 needs queries of at least 9"),
            (query().distance(2, 0), Invalid, "distance of 0 needs queries of at least 3"),
            (query().distance(6, 1).distance(6, 0), Invalid, "given twice"),
            (query().distance(100, 3), LimitExceeded, "at most 2 are allowed"),
            (query().distance(usize::MAX, u8::MAX), LimitExceeded, "at most 2 are allowed"),
            (many, LimitExceeded, "17 thresholds"),
            (Fuzzy::new("é".repeat(257)), LimitExceeded, "257 characters: at most 256"),
        ];
        for (query, kind, why) in refused {
            let error = query.compile().unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(why), "{error}");
        }
        assert!(Fuzzy::new("é".repeat(256)).compile().unwrap().is_some());
        assert!(Fuzzy::new("ab").compile().unwrap().is_none());
    }
}
