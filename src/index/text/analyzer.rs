//! From text to tokens, as the options of a column say.

use std::fmt;

use arrow::array::ArrayRef;
use tantivy::tokenizer::{
    AsciiFoldingFilter, Language as Tongue, LowerCaser, NgramTokenizer, RawTokenizer, RemoveLongFilter,
    Stemmer, StopWordFilter, TextAnalyzer, TextAnalyzerBuilder, WhitespaceTokenizer,
};

use super::cut::CutLong;
use super::strings;
use super::words::Words;
use crate::error::{Error, Result};
use crate::schema::{Language, TextOptions, Tokenizer};

/// Positions left free between two strings of an array: no phrase reaches across one, for it spans fewer with its slop.
pub(crate) const GAP: u32 = 1_024;

/// Makes tokens of the text of one column.
#[derive(Clone)]
pub(crate) struct Analyzer {
    inner: TextAnalyzer,
    /// Whether each string is a token, so that those of an array stand one behind the other.
    given: bool,
}

/// A token of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    /// The number of the token in its text. Tokens that were dropped are counted.
    pub(crate) position: u32,
}

impl Analyzer {
    pub(crate) fn new(options: &TextOptions) -> Result<Self> {
        let given = options.tokenizer == Tokenizer::Pretokenized;
        Ok(Self { inner: filters(options, tokenizer(options)?)?.build(), given })
    }

    /// What tantivy indexes by.
    pub(super) fn into_inner(self) -> TextAnalyzer {
        self.inner
    }

    /// Calls `each` with every token of a text, its position and where in the text it lies, in bytes.
    pub(crate) fn each(&mut self, text: &str, mut each: impl FnMut(&str, u32, (usize, usize))) {
        let mut stream = self.inner.token_stream(text);
        while stream.advance() {
            let token = stream.token();
            let position = u32::try_from(token.position).unwrap_or(u32::MAX);
            each(&token.text, position, (token.offset_from, token.offset_to));
        }
    }

    /// Calls `each` with every token of a row of a string or string-array column and its position in the row: a string
    /// of an array begins [`GAP`] behind the one before it, a given token right behind it.
    pub(crate) fn each_of_row(&mut self, array: &ArrayRef, row: usize, mut each: impl FnMut(&str, u32)) {
        let given = self.given;
        let mut base = 0_u32;
        strings(array, row, |text| {
            let mut end = base;
            self.each(text, |token, position, _| {
                let position = base.saturating_add(position);
                end = end.max(position.saturating_add(1));
                each(token, position);
            });
            if given {
                base = base.saturating_add(1);
            } else if end > base {
                base = end.saturating_add(GAP);
            }
        });
    }

    /// The tokens of a text.
    pub(crate) fn words(&mut self, text: &str) -> Vec<Word> {
        let mut words = Vec::new();
        self.each(text, |text, position, _| words.push(Word { text: text.to_owned(), position }));
        words
    }
}

impl fmt::Debug for Analyzer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Analyzer")
    }
}

fn tokenizer(options: &TextOptions) -> Result<TextAnalyzerBuilder> {
    Ok(match options.tokenizer {
        Tokenizer::Words => TextAnalyzer::builder(Words::default()).dynamic(),
        Tokenizer::Whitespace => TextAnalyzer::builder(WhitespaceTokenizer::default()).dynamic(),
        Tokenizer::Raw | Tokenizer::Pretokenized => TextAnalyzer::builder(RawTokenizer::default()).dynamic(),
        Tokenizer::Ngram { min, max } => {
            let ngrams = NgramTokenizer::new(min, max, false);
            let ngrams = ngrams.map_err(|e| Error::internal(format!("n-grams: {e}")))?;
            TextAnalyzer::builder(ngrams).dynamic()
        }
    })
}

fn filters(options: &TextOptions, builder: TextAnalyzerBuilder) -> Result<TextAnalyzerBuilder> {
    let mut builder = match options.tokenizer {
        Tokenizer::Words | Tokenizer::Whitespace => {
            builder.filter_dynamic(CutLong { most: options.max_token_length })
        }
        // tantivy's limit is the first length that is too long.
        Tokenizer::Ngram { .. } => {
            builder.filter_dynamic(RemoveLongFilter::limit(options.max_token_length + 1))
        }
        // Documents with longer ones are refused: a query for one finds nothing.
        Tokenizer::Raw => builder,
        Tokenizer::Pretokenized => return Ok(builder),
    };
    if !options.case_sensitive {
        builder = builder.filter_dynamic(LowerCaser);
    }
    if let Some(language) = options.language {
        if options.remove_stop_words {
            let missing = || Error::internal(format!("no stop words for {language}"));
            builder = builder.filter_dynamic(StopWordFilter::new(tongue(language)).ok_or_else(missing)?);
        }
        if options.stemming {
            builder = builder.filter_dynamic(Stemmer::new(tongue(language)));
        }
    }
    if options.ascii_folding {
        builder = builder.filter_dynamic(AsciiFoldingFilter);
    }
    Ok(builder)
}

fn tongue(language: Language) -> Tongue {
    match language {
        Language::Arabic => Tongue::Arabic,
        Language::Danish => Tongue::Danish,
        Language::Dutch => Tongue::Dutch,
        Language::English => Tongue::English,
        Language::Finnish => Tongue::Finnish,
        Language::French => Tongue::French,
        Language::German => Tongue::German,
        Language::Greek => Tongue::Greek,
        Language::Hungarian => Tongue::Hungarian,
        Language::Italian => Tongue::Italian,
        Language::Norwegian => Tongue::Norwegian,
        Language::Portuguese => Tongue::Portuguese,
        Language::Romanian => Tongue::Romanian,
        Language::Russian => Tongue::Russian,
        Language::Spanish => Tongue::Spanish,
        Language::Swedish => Tongue::Swedish,
        Language::Tamil => Tongue::Tamil,
        Language::Turkish => Tongue::Turkish,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(options: &TextOptions, text: &str) -> Vec<String> {
        Analyzer::new(options).unwrap().words(text).into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn the_steps_go_in_their_order() {
        let plain = TextOptions::default();
        assert_eq!(words(&plain, "The DOGS ran"), ["the", "dogs", "ran"]);
        let english = plain.clone().with_language(Language::English);
        assert_eq!(words(&english, "The DOGS running"), ["the", "dog", "run"]);
        assert_eq!(words(&english.with_stop_words_removed(true), "The DOGS running"), ["dog", "run"]);
        let french = plain.clone().with_language(Language::French).with_ascii_folding(true);
        assert_eq!(words(&french.with_stemming(false), "Été à"), ["ete", "a"]);
        assert_eq!(words(&plain.clone().with_case_sensitive(true), "Été"), ["Été"]);
        assert_eq!(words(&plain.clone().with_max_token_length(3), "abc abcd"), ["abc", "abc", "d"]);
        assert_eq!(words(&plain.clone().with_tokenizer(Tokenizer::Raw), "A b"), ["a b"]);
        assert_eq!(words(&plain.clone().with_tokenizer(Tokenizer::Pretokenized), "A b"), ["A b"]);
        assert_eq!(words(&plain.clone().with_tokenizer(Tokenizer::Whitespace), "a-b c."), ["a-b", "c."]);
        assert_eq!(words(&plain.with_tokenizer(Tokenizer::Ngram { min: 2, max: 2 }), "Abc"), ["ab", "bc"]);
    }

    #[test]
    fn every_language_takes_every_text_at_every_option() {
        let texts = [
            "",
            "Hello, wörld! naïve Straße",
            "ΑΒΓ άλφα",
            "Привет мир",
            "مرحبا بالعالم",
            "வணக்கம் உலகம்",
            "𝔘𝔫𝔦 👩‍👩‍👧\u{0}",
        ];
        for language in Language::ALL {
            assert_eq!(StopWordFilter::new(tongue(language)).is_some(), language.has_stop_words());
            for bits in 0..16 {
                let options = TextOptions::default()
                    .with_language(language)
                    .with_stemming(bits & 1 > 0)
                    .with_stop_words_removed(bits & 2 > 0 && language.has_stop_words())
                    .with_case_sensitive(bits & 4 > 0)
                    .with_ascii_folding(bits & 8 > 0);
                let mut analyzer = Analyzer::new(&options).unwrap();
                for text in texts {
                    analyzer.words(text);
                }
            }
        }
    }
}
