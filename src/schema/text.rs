//! Full-text options of a column: how its text becomes tokens, and how they are weighed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The longest token that [`TextOptions::max_token_length`] may allow, in bytes.
const TOKEN_LENGTH_MAX: usize = 32_768;
/// The longest n-gram, in characters.
const NGRAM_MAX: usize = 16;

/// How the text of a column becomes tokens, and how they are weighed.
///
/// The steps, in order: the text is cut into tokens by the [`Tokenizer`]; words longer than
/// `max_token_length` are cut into pieces of that length; letters become lower case unless `case_sensitive`;
/// stop words of the language are dropped if `remove_stop_words`; words become stems if `stemming`; accents are dropped if
/// `ascii_folding`. The text of a query goes the same way.
///
/// ```
/// use elacsym::schema::{Language, TextOptions};
///
/// let options = TextOptions::default().with_language(Language::English).with_b(0.4);
/// assert!(options.stemming);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub struct TextOptions {
    /// What cuts text into tokens. Default [`Tokenizer::Words`].
    #[serde(default)]
    pub tokenizer: Tokenizer,
    /// The language, for stemming and stop words. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// Whether words become stems, by the Snowball rules of the language. Default: if a language is set.
    #[serde(default)]
    pub stemming: bool,
    /// Whether stop words of the language are dropped. Default: no. Not every language has a list:
    /// [`Language::has_stop_words`].
    #[serde(default)]
    pub remove_stop_words: bool,
    /// Whether upper and lower case differ. Default: no.
    #[serde(default)]
    pub case_sensitive: bool,
    /// Whether accents are dropped: `é` is `e`. Default: no.
    #[serde(default)]
    pub ascii_folding: bool,
    /// The longest token, in bytes: 1 to 32,768. Default 255. A longer word is cut into pieces, in documents and in queries
    /// alike, so that it is found; each piece is a token with a place of its own. A longer string of a column of
    /// [`Tokenizer::Raw`] or [`Tokenizer::Pretokenized`] is refused when it is written, and a longer n-gram is dropped.
    #[serde(default = "max_token_length_default")]
    pub max_token_length: usize,
    /// How slowly the weight of a token grows with how often it occurs: BM25's k1. Default 1.2.
    #[serde(default = "k1_default")]
    pub k1: f32,
    /// How much long text counts less, from 0 to 1: BM25's b. Default 0.75.
    #[serde(default = "b_default")]
    pub b: f32,
}

/// What cuts text into tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Tokenizer {
    /// Words: runs of letters, digits and the marks upon them. Han, Hiragana and Thai characters are a token
    /// each, since their words are not parted by spaces. Everything else parts words, apostrophes too.
    #[default]
    Words,
    /// What spaces part.
    Whitespace,
    /// Each string is one token.
    Raw,
    /// Every run of `min` to `max` characters, 1 to 16, over the whole text.
    Ngram {
        /// The fewest characters.
        min: usize,
        /// The most characters.
        max: usize,
    },
    /// Each string of an array is one token, taken as it is: no other step applies.
    Pretokenized,
}

/// A language that words can be stemmed in.
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

    /// Whether there is a list of stop words.
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

fn max_token_length_default() -> usize {
    255
}

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

impl TextOptions {
    /// What cuts text into tokens.
    #[must_use]
    pub fn with_tokenizer(self, tokenizer: Tokenizer) -> Self {
        Self { tokenizer, ..self }
    }

    /// The language, and with it stemming.
    #[must_use]
    pub fn with_language(self, language: Language) -> Self {
        Self { language: Some(language), stemming: true, ..self }
    }

    /// Whether words become stems.
    #[must_use]
    pub fn with_stemming(self, stemming: bool) -> Self {
        Self { stemming, ..self }
    }

    /// Whether stop words are dropped.
    #[must_use]
    pub fn with_stop_words_removed(self, remove_stop_words: bool) -> Self {
        Self { remove_stop_words, ..self }
    }

    /// Whether upper and lower case differ.
    #[must_use]
    pub fn with_case_sensitive(self, case_sensitive: bool) -> Self {
        Self { case_sensitive, ..self }
    }

    /// Whether accents are dropped.
    #[must_use]
    pub fn with_ascii_folding(self, ascii_folding: bool) -> Self {
        Self { ascii_folding, ..self }
    }

    /// The longest token, in bytes.
    #[must_use]
    pub fn with_max_token_length(self, max_token_length: usize) -> Self {
        Self { max_token_length, ..self }
    }

    /// BM25's k1.
    #[must_use]
    pub fn with_k1(self, k1: f32) -> Self {
        Self { k1, ..self }
    }

    /// BM25's b.
    #[must_use]
    pub fn with_b(self, b: f32) -> Self {
        Self { b, ..self }
    }

    /// Why a string of so many bytes cannot be stored, if it would be a token as it is and too long for one.
    pub(super) fn refuse(&self, bytes: usize) -> Option<String> {
        let whole = matches!(self.tokenizer, Tokenizer::Raw | Tokenizer::Pretokenized);
        let most = self.max_token_length;
        (whole && bytes > most).then(|| {
            format!("string of {bytes} bytes in a column of whole tokens: at most {most} are allowed")
        })
    }

    /// Whether text becomes the same tokens by both.
    pub(crate) fn cuts_like(&self, other: &Self) -> bool {
        *self == Self { k1: self.k1, b: self.b, ..other.clone() }
    }

    /// Says what contradicts itself. `array`: whether the column holds arrays of strings.
    pub(super) fn check(&self, column: &str, array: bool) -> Result<()> {
        let bad = |why: String| Err(Error::invalid(format!("bad text options: {why}. column=`{column}`")));
        match self.tokenizer {
            Tokenizer::Ngram { min, max } if min == 0 || min > max || max > NGRAM_MAX => {
                return bad(format!("n-grams of 1 to {NGRAM_MAX} characters are allowed"));
            }
            Tokenizer::Pretokenized if !array => {
                return bad("tokens that are given need an array of strings".to_owned());
            }
            _ => {}
        }
        if self.language.is_none() && (self.stemming || self.remove_stop_words) {
            return bad("stemming and stop words need a language".to_owned());
        }
        if let Some(language) = self.language.filter(|l| self.remove_stop_words && !l.has_stop_words()) {
            return bad(format!("there is no list of stop words for {language}"));
        }
        if !(1..=TOKEN_LENGTH_MAX).contains(&self.max_token_length) {
            return bad(format!("a longest token of 1 to {TOKEN_LENGTH_MAX} bytes is allowed"));
        }
        if !(self.k1.is_finite() && (0.0..=1_000.0).contains(&self.k1)) {
            return bad("k1 from 0 to 1,000 is allowed".to_owned());
        }
        if !(0.0..=1.0).contains(&self.b) {
            return bad("b from 0 to 1 is allowed".to_owned());
        }
        Ok(())
    }
}
