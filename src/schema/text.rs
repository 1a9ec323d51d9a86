//! Full-text options of a column: tokenization and BM25 parameters.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The largest [`TextOptions::max_token_length`], in bytes. The dictionary keeps terms in blocks that are read whole, so
/// that a single huge term would cost every lookup next to it.
const TOKEN_LENGTH_MAX: usize = 32_768;
/// The longest n-gram, in characters. Every character of a text begins one n-gram of each length, so the index grows
/// with the width of the range.
const NGRAM_MAX: usize = 16;

/// How the text of a column is tokenized and scored.
///
/// The steps, in order: the [`Tokenizer`] splits the text into tokens; words longer than `max_token_length` are split into
/// pieces of that length; letters become lower case unless `case_sensitive`; stop words of the language are removed if
/// `remove_stop_words`; words are stemmed if `stemming`; accents are removed if `ascii_folding`. Query text passes through
/// the same steps.
///
/// ```
/// use elacsym::schema::{Language, TextOptions};
///
/// let options = TextOptions::default().language(Language::English).b(0.4);
/// assert!(options.stemming);
/// assert_eq!(TextOptions::from(Language::English), TextOptions::default().language(Language::English));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "independent options")]
pub struct TextOptions {
    /// How text is split into tokens. Default [`Tokenizer::Words`].
    // Unknown options are refused on reading (`deny_unknown_fields`): an older version that ignored one would tokenize
    // queries differently from the documents.
    #[serde(default)]
    pub tokenizer: Tokenizer,
    /// The language, for stemming and stop words. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// Whether words are stemmed, by the Snowball algorithm of the language. Default: if a language is set.
    #[serde(default)]
    pub stemming: bool,
    /// Whether stop words of the language are removed. Default: no. Not every language has a list:
    /// [`Language::has_stop_words`].
    #[serde(default)]
    pub remove_stop_words: bool,
    /// Whether upper and lower case are distinct. Default: no.
    #[serde(default)]
    pub case_sensitive: bool,
    /// Whether accents are removed: `é` becomes `e`. Default: no.
    #[serde(default)]
    pub ascii_folding: bool,
    /// The longest token, in bytes: 1 to 32,768. Default 255. A longer word is split into pieces, in documents and queries
    /// alike, so that it can be found; each piece is a token with its own position. With [`Tokenizer::Raw`] or
    /// [`Tokenizer::Pretokenized`] a longer string is refused when it is written. A longer n-gram is dropped.
    #[serde(default = "max_token_length_default")]
    pub max_token_length: usize,
    /// BM25's k1: how slowly a token's weight saturates with its frequency. Default 1.2.
    #[serde(default = "k1_default")]
    pub k1: f32,
    /// BM25's b: how much the length of a text normalizes its score, from 0 to 1. Default 0.75.
    #[serde(default = "b_default")]
    pub b: f32,
}

/// How text is split into tokens.
///
/// ```
/// use elacsym::schema::{TextOptions, Tokenizer};
///
/// // Finds `47-B` in the part number `A-1147-B2`.
/// let parts = TextOptions::default().tokenizer(Tokenizer::Ngram { min: 3, max: 3 });
/// assert_eq!(TextOptions::default().tokenizer, Tokenizer::Words);
/// # let _ = parts;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Tokenizer {
    /// Words: runs of letters, digits and combining marks. Each Han, Hiragana or Thai character is a token, since
    /// those scripts do not separate words by spaces. Everything else separates words, including apostrophes.
    #[default]
    Words,
    /// Runs of characters without white space.
    Whitespace,
    /// Each string is one token.
    Raw,
    /// All n-grams of `min` to `max` characters, 1 to 16, over the whole text.
    Ngram {
        /// The length of the shortest n-gram, in characters.
        min: usize,
        /// The length of the longest n-gram, in characters.
        max: usize,
    },
    /// Each string of an array is one token, unchanged: no other step applies.
    Pretokenized,
}

/// A language with a Snowball stemmer.
///
/// ```
/// use elacsym::schema::{Language, TextOptions};
///
/// let german = TextOptions::default().language(Language::German).remove_stop_words(true);
/// assert!(german.stemming && Language::German.has_stop_words());
/// assert_eq!(Language::German.to_string(), "german");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
#[non_exhaustive]
pub enum Language {
    Arabic,
    Danish,
    Dutch,
    English,
    Finnish,
    French,
    German,
    Greek,
    Hungarian,
    Italian,
    Norwegian,
    Portuguese,
    Romanian,
    Russian,
    Spanish,
    Swedish,
    Tamil,
    Turkish,
}

impl Language {
    /// Every language.
    pub const ALL: [Self; 18] = [
        Self::Arabic,
        Self::Danish,
        Self::Dutch,
        Self::English,
        Self::Finnish,
        Self::French,
        Self::German,
        Self::Greek,
        Self::Hungarian,
        Self::Italian,
        Self::Norwegian,
        Self::Portuguese,
        Self::Romanian,
        Self::Russian,
        Self::Spanish,
        Self::Swedish,
        Self::Tamil,
        Self::Turkish,
    ];

    /// Whether the language has a list of stop words.
    #[must_use]
    pub fn has_stop_words(self) -> bool {
        !matches!(self, Self::Arabic | Self::Greek | Self::Romanian | Self::Tamil | Self::Turkish)
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

// Lucene's default too: long enough for identifiers and most URLs.
fn max_token_length_default() -> usize {
    255
}

// Lucene's defaults for k1 and b, and those of most BM25 implementations.
fn k1_default() -> f32 {
    1.2
}

fn b_default() -> f32 {
    0.75
}

impl Default for TextOptions {
    fn default() -> Self {
        Self {
            tokenizer: Tokenizer::Words,
            language: None,
            stemming: false,
            remove_stop_words: false,
            case_sensitive: false,
            ascii_folding: false,
            max_token_length: max_token_length_default(),
            k1: k1_default(),
            b: b_default(),
        }
    }
}

/// The default options with a language: [`TextOptions::language`].
impl From<Language> for TextOptions {
    fn from(language: Language) -> Self {
        Self::default().language(language)
    }
}

impl TextOptions {
    /// Sets how text is split into tokens.
    #[must_use]
    pub fn tokenizer(self, tokenizer: Tokenizer) -> Self {
        Self { tokenizer, ..self }
    }

    /// Sets the language and turns on stemming.
    #[must_use]
    pub fn language(self, language: Language) -> Self {
        // A language without stemming would change nothing but stop words, which are off by default.
        Self { language: Some(language), stemming: true, ..self }
    }

    /// Sets whether words are stemmed.
    #[must_use]
    pub fn stemming(self, stemming: bool) -> Self {
        Self { stemming, ..self }
    }

    /// Sets whether stop words are removed.
    #[must_use]
    pub fn remove_stop_words(self, remove_stop_words: bool) -> Self {
        Self { remove_stop_words, ..self }
    }

    /// Sets whether upper and lower case are distinct.
    #[must_use]
    pub fn case_sensitive(self, case_sensitive: bool) -> Self {
        Self { case_sensitive, ..self }
    }

    /// Sets whether accents are removed.
    #[must_use]
    pub fn ascii_folding(self, ascii_folding: bool) -> Self {
        Self { ascii_folding, ..self }
    }

    /// Sets the longest token, in bytes.
    #[must_use]
    pub fn max_token_length(self, max_token_length: usize) -> Self {
        Self { max_token_length, ..self }
    }

    /// Sets BM25's k1.
    #[must_use]
    pub fn k1(self, k1: f32) -> Self {
        Self { k1, ..self }
    }

    /// Sets BM25's b.
    #[must_use]
    pub fn b(self, b: f32) -> Self {
        Self { b, ..self }
    }

    /// Checks the length of a string in a column whose strings are whole tokens; other columns take any length.
    pub(super) fn check_whole_token(&self, bytes: usize) -> Result<(), String> {
        // A word can be split and still be found by its pieces. A keyword cannot: it would match its own prefix.
        let is_whole = matches!(self.tokenizer, Tokenizer::Raw | Tokenizer::Pretokenized);
        let limit = self.max_token_length;
        if is_whole && bytes > limit {
            return Err(format!(
                "string of {bytes} bytes in a column of whole tokens: at most {limit} are allowed"
            ));
        }
        Ok(())
    }

    /// Whether both tokenize text alike. k1 and b act on scores only.
    pub(crate) fn tokenizes_like(&self, other: &Self) -> bool {
        // Struct update compares every other field, those added later included.
        *self == Self { k1: self.k1, b: self.b, ..other.clone() }
    }

    /// Checks that the options do not contradict each other. `is_array`: whether the column holds arrays of strings.
    pub(super) fn check(&self, column: &str, is_array: bool) -> Result<()> {
        let bad = |why: String| Err(Error::invalid(format!("bad text options: {why}. column=`{column}`")));
        match self.tokenizer {
            Tokenizer::Ngram { min, max } if min == 0 || min > max || max > NGRAM_MAX => {
                return bad(format!("n-grams have 1 to {NGRAM_MAX} characters"));
            }
            Tokenizer::Pretokenized if !is_array => {
                return bad("pretokenized text needs an array of strings".to_owned());
            }
            _ => {}
        }
        if self.language.is_none() && (self.stemming || self.remove_stop_words) {
            return bad("stemming and stop words need a language".to_owned());
        }
        if let Some(language) = self.language.filter(|l| self.remove_stop_words && !l.has_stop_words()) {
            return bad(format!("{language} has no list of stop words"));
        }
        if !(1..=TOKEN_LENGTH_MAX).contains(&self.max_token_length) {
            return bad(format!("max_token_length must be 1 to {TOKEN_LENGTH_MAX} bytes"));
        }
        // NaN fails both range checks. BM25 is defined for any k1 from 0 on; a thousand is as good as no saturation.
        if !(self.k1.is_finite() && (0.0..=1_000.0).contains(&self.k1)) {
            return bad("k1 must be from 0 to 1,000".to_owned());
        }
        if !(0.0..=1.0).contains(&self.b) {
            return bad("b must be from 0 to 1".to_owned());
        }
        Ok(())
    }
}
