//! `Fuzzy`: the query of a fuzzy filter, and how many edits it allows.

use serde_json::Value as Json;

use crate::error::{Error, Result};
use crate::index::attributes::{FuzzyMatcher, Pattern, QUERY_CHARS_MAX};
use crate::json::{Fields, JsonForm, Object, Path, impl_serde};

/// The most edits. More of them match nearly everything: with three, a query of 12 characters loses a quarter of them.
const DISTANCE_MAX: u8 = 2;
/// The most thresholds, which are compared pairwise.
const THRESHOLDS_MAX: usize = 16;
/// The thresholds unless others are set: at least three characters for each edit and three more, so that an edited
/// query still has enough in common with what it finds.
const DEFAULT_THRESHOLDS: [(usize, u8); 3] = [(3, 0), (6, 1), (9, 2)];

/// The query of [`Filter::fuzzy`](super::Filter::fuzzy), and how many edits it allows.
///
/// A string matches if some part of it, anywhere, is within that many edits of the query (Levenshtein distance). An
/// edit inserts, deletes or replaces one character (a Unicode scalar value); a transposition counts as two edits. The
/// string is neither split into words nor normalised: a composed and a decomposed `é` differ. For misspelt words in a
/// column with full text, use [`TextMatch::fuzzy`](crate::TextMatch::fuzzy).
///
/// The number of edits depends on the length of the query, by thresholds: the largest threshold that the query's
/// number of characters reaches applies, and a query below all of them matches nothing. The defaults are
///
/// | characters of the query | edits |
/// |---|---|
/// | fewer than 3 | matches nothing |
/// | 3 to 5 | 0: the string contains the query |
/// | 6 to 8 | 1 |
/// | 9 and more | 2 |
///
/// ```
/// use elacsym::{Filter, Fuzzy};
///
/// // One edit, since the query has seven characters: "elacsim" and "the elacsyms", but not "Elacsim" or "elacysm".
/// let default = Filter::fuzzy("name", "elacsym");
/// // "Elacsim" too.
/// let mine = Filter::fuzzy("name", Fuzzy::new("elacsym").distance(6, 1).any_case());
/// # let _ = (default, mine);
/// ```
///
/// # Errors
/// A filter with it returns these when it is used:
/// - [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a threshold is below 3 characters for each edit plus
///   3 (6 for one edit, 9 for two), or is given twice.
/// - [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) if there are more than 2 edits, 256
///   characters in the query, or 16 thresholds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Fuzzy {
    pub(super) query: String,
    /// Empty for the defaults.
    thresholds: Vec<(usize, u8)>,
    pub(super) any_case: bool,
}

impl Fuzzy {
    /// Searches for `query` with the default thresholds, case-sensitively.
    pub fn new(query: impl Into<String>) -> Self {
        Self { query: query.into(), thresholds: Vec::new(), any_case: false }
    }

    /// Allows `distance` edits for queries of at least `min_query_chars` characters. The first call replaces all
    /// default thresholds.
    pub fn distance(mut self, min_query_chars: usize, distance: u8) -> Self {
        self.thresholds.push((min_query_chars, distance));
        self
    }

    /// Ignores case, by Unicode's simple case folding, as [`iglob`](super::Filter::iglob) does.
    pub fn any_case(self) -> Self {
        Self { any_case: true, ..self }
    }

    /// The number of edits that are allowed; `None` if nothing matches.
    pub(super) fn allowed_edits(&self) -> Option<u8> {
        let thresholds = if self.thresholds.is_empty() { &DEFAULT_THRESHOLDS[..] } else { &self.thresholds };
        // `check` rejects longer queries; counting one of a gigabyte would be wasted.
        let chars = self.query.chars().take(QUERY_CHARS_MAX + 1).count();
        // In any order: callers may add thresholds as they like.
        let reached = thresholds.iter().filter(|(min, _)| *min <= chars);
        reached.max_by_key(|(min, _)| *min).map(|(_, distance)| *distance)
    }

    /// The compiled query; `None` if nothing matches.
    pub(super) fn compile(&self) -> Result<Option<Pattern>> {
        self.check_limits()?;
        let compiled = |edits| Pattern::fuzzy(FuzzyMatcher::new(&self.query, edits, self.any_case));
        Ok(self.allowed_edits().map(compiled))
    }

    fn check_limits(&self) -> Result<()> {
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
            let chars_min = 3 * (usize::from(*distance) + 1);
            if *distance > DISTANCE_MAX {
                return Err(Error::limit(format!(
                    "fuzzy query with {distance} edits: at most {DISTANCE_MAX} are allowed"
                )));
            }
            if *min < chars_min {
                return Err(Error::invalid(format!(
                    "a fuzzy distance of {distance} needs queries of at least {chars_min} characters. \
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

const QUERY: &str = "query";
const THRESHOLDS: &str = "thresholds";
const ANY_CASE: &str = "any_case";

impl_serde!(Fuzzy: "fuzzy query");

impl JsonForm for Fuzzy {
    fn to_json(&self) -> std::result::Result<Json, String> {
        let fields = Fields::new().put(QUERY, &self.query)?;
        let fields = fields.put_unless(&Vec::new(), THRESHOLDS, &self.thresholds)?;
        // Always said: whether case counts is what a reader of a filter wants to know first.
        Ok(fields.put(ANY_CASE, &self.any_case)?.end())
    }

    fn from_json(json: &Json, path: &Path<'_>) -> std::result::Result<Self, String> {
        let object = Object::new(json, path, &[QUERY, THRESHOLDS, ANY_CASE])?;
        let any_case = object.get_or_else(ANY_CASE, || false)?;
        let thresholds = object.get_or_else(THRESHOLDS, Vec::new)?;
        Ok(Self { query: object.need(QUERY)?, thresholds, any_case })
    }
}

/// A threshold: the characters of a query, and its edits.
impl JsonForm for (usize, u8) {
    fn to_json(&self) -> std::result::Result<Json, String> {
        Ok(Json::from([self.0.to_json()?, self.1.to_json()?]))
    }

    fn from_json(json: &Json, path: &Path<'_>) -> std::result::Result<Self, String> {
        match json.as_array().map(Vec::as_slice) {
            Some([characters, edits]) => Ok((
                usize::from_json(characters, &Path::Item(path, 0))?,
                u8::from_json(edits, &Path::Item(path, 1))?,
            )),
            _ => Err(path.error("it is no pair of a number of characters and a number of edits")),
        }
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
    fn the_largest_threshold_reached_applies() {
        let edits = |chars: usize, thresholds: &[(usize, u8)]| {
            // Characters count, not bytes.
            let query = Fuzzy::new("é".repeat(chars));
            thresholds
                .iter()
                .fold(query, |query, (min, distance)| query.distance(*min, *distance))
                .allowed_edits()
        };
        let default =
            [(0, None), (2, None), (3, Some(0)), (5, Some(0)), (6, Some(1)), (8, Some(1)), (9, Some(2))];
        for (chars, expected) in default {
            assert_eq!(edits(chars, &[]), expected, "{chars}");
        }
        // In any order. The first replaces the defaults.
        let own = [(20, 0), (9, 2), (12, 1)];
        for (chars, expected) in
            [(8, None), (9, Some(2)), (11, Some(2)), (12, Some(1)), (19, Some(1)), (20, Some(0))]
        {
            assert_eq!(edits(chars, &own), expected, "{chars}");
        }
    }

    #[test]
    fn errors_state_the_reason() {
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
