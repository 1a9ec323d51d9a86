//! From text to tokens, as the options of a column say.

use std::fmt;

use arrow::array::{Array, ArrayRef, AsArray};
use tantivy::tokenizer::{
    AsciiFoldingFilter, Language as StemmerLanguage, LowerCaser, NgramTokenizer, RawTokenizer,
    RemoveLongFilter, Stemmer, StopWordFilter, TextAnalyzer, TextAnalyzerBuilder, WhitespaceTokenizer,
};

use super::long_tokens::LongTokenSplitter;
use super::words::WordTokenizer;
use crate::error::{Error, Result};
use crate::schema::{Language, TextOptions, Tokenizer};

/// Positions left free between two strings of an array, as Elasticsearch's `position_increment_gap`.
///
/// A phrase on an array must span fewer positions, its slop included, so that none matches across two strings.
/// Binding a query checks this. 1,024 is far above the length of any sensible phrase.
pub(crate) const POSITION_INCREMENT_GAP: u32 = 1_024;

/// Turns the text of one column into tokens.
#[derive(Clone)]
pub(crate) struct Analyzer {
    inner: TextAnalyzer,
    /// Whether each string is one token, so that the strings of an array are adjacent words.
    is_pretokenized: bool,
}

/// A token of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AnalyzedToken {
    pub(crate) text: String,
    /// The number of the token in its text. Tokens that a filter dropped are counted.
    pub(crate) position: u32,
}

impl Analyzer {
    pub(crate) fn new(options: &TextOptions) -> Result<Self> {
        let is_pretokenized = options.tokenizer == Tokenizer::Pretokenized;
        let inner = add_filters(options, create_tokenizer(options)?)?.build();
        Ok(Self { inner, is_pretokenized })
    }

    /// The analyzer that tantivy indexes with.
    pub(in crate::index::text) fn into_tantivy(self) -> TextAnalyzer {
        self.inner
    }

    /// Calls `visit` with every token of a text, its position, and its byte range in the text.
    pub(crate) fn for_each_token(&mut self, text: &str, mut visit: impl FnMut(&str, u32, (usize, usize))) {
        let mut stream = self.inner.token_stream(text);
        while stream.advance() {
            let token = stream.token();
            // invariant: a text has fewer tokens than bytes, and Arrow's strings are shorter than 2 GiB.
            let position = u32::try_from(token.position).unwrap_or(u32::MAX);
            visit(&token.text, position, (token.offset_from, token.offset_to));
        }
    }

    /// Calls `visit` with every token of a row of a string or string-array column and its position in the row. Each
    /// string of an array starts [`POSITION_INCREMENT_GAP`] behind the end of the string before it, a pretokenized
    /// string right behind it.
    pub(crate) fn for_each_row_token(
        &mut self,
        array: &ArrayRef,
        row: usize,
        mut visit: impl FnMut(&str, u32),
    ) {
        let is_pretokenized = self.is_pretokenized;
        let mut base = 0_u32;
        for_each_string(array, row, |text| {
            let mut end = base;
            self.for_each_token(text, |token, position, _| {
                let position = base.saturating_add(position);
                end = end.max(position.saturating_add(1));
                visit(token, position);
            });
            if is_pretokenized {
                base = base.saturating_add(1);
            } else if end > base {
                // A string without tokens takes no gap: an empty string between two others changes nothing.
                base = end.saturating_add(POSITION_INCREMENT_GAP);
            }
        });
    }

    /// The tokens of a text.
    pub(crate) fn tokenize(&mut self, text: &str) -> Vec<AnalyzedToken> {
        let mut tokens = Vec::new();
        self.for_each_token(text, |text, position, _| {
            tokens.push(AnalyzedToken { text: text.to_owned(), position });
        });
        tokens
    }
}

impl fmt::Debug for Analyzer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Analyzer")
    }
}

/// Calls `visit` with every string of a row of a string or string-array column.
fn for_each_string(array: &ArrayRef, row: usize, mut visit: impl FnMut(&str)) {
    if array.is_null(row) {
        return;
    }
    if let Some(strings) = array.as_string_opt::<i32>() {
        visit(strings.value(row));
    } else if let Some(lists) = array.as_list_opt::<i32>() {
        let list = lists.value(row);
        if let Some(strings) = list.as_string_opt::<i32>() {
            strings.iter().flatten().for_each(visit);
        }
    }
}

fn create_tokenizer(options: &TextOptions) -> Result<TextAnalyzerBuilder> {
    Ok(match options.tokenizer {
        Tokenizer::Words => TextAnalyzer::builder(WordTokenizer::default()).dynamic(),
        Tokenizer::Whitespace => TextAnalyzer::builder(WhitespaceTokenizer::default()).dynamic(),
        Tokenizer::Raw | Tokenizer::Pretokenized => TextAnalyzer::builder(RawTokenizer::default()).dynamic(),
        Tokenizer::Ngram { min, max } => {
            let ngrams = NgramTokenizer::new(min, max, false);
            let ngrams = ngrams.map_err(|e| Error::internal(format!("n-grams: {e}")))?;
            TextAnalyzer::builder(ngrams).dynamic()
        }
    })
}

/// Adds the filters of a column.
fn add_filters(options: &TextOptions, builder: TextAnalyzerBuilder) -> Result<TextAnalyzerBuilder> {
    let mut builder = match options.tokenizer {
        Tokenizer::Words | Tokenizer::Whitespace => {
            builder.filter_dynamic(LongTokenSplitter { max_bytes: options.max_token_length })
        }
        // An n-gram is at most a few characters; pieces of one would be shorter n-grams that nobody asked for. tantivy's
        // limit is exclusive.
        Tokenizer::Ngram { .. } => {
            builder.filter_dynamic(RemoveLongFilter::limit(options.max_token_length + 1))
        }
        // Writes refuse documents with longer tokens, so there is nothing to split.
        Tokenizer::Raw => builder,
        Tokenizer::Pretokenized => return Ok(builder),
    };
    // Stop words and stemmers know lower case only, so it comes before them. They also know accents, so folding,
    // which removes accents, comes last.
    if !options.case_sensitive {
        builder = builder.filter_dynamic(LowerCaser);
    }
    if let Some(language) = options.language {
        if options.remove_stop_words {
            let missing = || Error::internal(format!("no stop words for {language}"));
            builder =
                builder.filter_dynamic(StopWordFilter::new(stemmer_language(language)).ok_or_else(missing)?);
        }
        if options.stemming {
            builder = builder.filter_dynamic(Stemmer::new(stemmer_language(language)));
        }
    }
    if options.ascii_folding {
        builder = builder.filter_dynamic(AsciiFoldingFilter);
    }
    Ok(builder)
}

fn stemmer_language(language: Language) -> StemmerLanguage {
    match language {
        Language::Arabic => StemmerLanguage::Arabic,
        Language::Danish => StemmerLanguage::Danish,
        Language::Dutch => StemmerLanguage::Dutch,
        Language::English => StemmerLanguage::English,
        Language::Finnish => StemmerLanguage::Finnish,
        Language::French => StemmerLanguage::French,
        Language::German => StemmerLanguage::German,
        Language::Greek => StemmerLanguage::Greek,
        Language::Hungarian => StemmerLanguage::Hungarian,
        Language::Italian => StemmerLanguage::Italian,
        Language::Norwegian => StemmerLanguage::Norwegian,
        Language::Portuguese => StemmerLanguage::Portuguese,
        Language::Romanian => StemmerLanguage::Romanian,
        Language::Russian => StemmerLanguage::Russian,
        Language::Spanish => StemmerLanguage::Spanish,
        Language::Swedish => StemmerLanguage::Swedish,
        Language::Tamil => StemmerLanguage::Tamil,
        Language::Turkish => StemmerLanguage::Turkish,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(options: &TextOptions, text: &str) -> Vec<String> {
        Analyzer::new(options).unwrap().tokenize(text).into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn the_steps_go_in_their_order() {
        let plain = TextOptions::default();
        assert_eq!(words(&plain, "The DOGS ran"), ["the", "dogs", "ran"]);
        let english = plain.clone().language(Language::English);
        assert_eq!(words(&english, "The DOGS running"), ["the", "dog", "run"]);
        assert_eq!(words(&english.remove_stop_words(true), "The DOGS running"), ["dog", "run"]);
        let french = plain.clone().language(Language::French).ascii_folding(true);
        assert_eq!(words(&french.stemming(false), "Été à"), ["ete", "a"]);
        assert_eq!(words(&plain.clone().case_sensitive(true), "Été"), ["Été"]);
        assert_eq!(words(&plain.clone().max_token_length(3), "abc abcd"), ["abc", "abc", "d"]);
        assert_eq!(words(&plain.clone().tokenizer(Tokenizer::Raw), "A b"), ["a b"]);
        assert_eq!(words(&plain.clone().tokenizer(Tokenizer::Pretokenized), "A b"), ["A b"]);
        assert_eq!(words(&plain.clone().tokenizer(Tokenizer::Whitespace), "a-b c."), ["a-b", "c."]);
        assert_eq!(words(&plain.tokenizer(Tokenizer::Ngram { min: 2, max: 2 }), "Abc"), ["ab", "bc"]);
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
            assert_eq!(StopWordFilter::new(stemmer_language(language)).is_some(), language.has_stop_words());
            for bits in 0..16 {
                let options = TextOptions::default()
                    .language(language)
                    .stemming(bits & 1 > 0)
                    .remove_stop_words(bits & 2 > 0 && language.has_stop_words())
                    .case_sensitive(bits & 4 > 0)
                    .ascii_folding(bits & 8 > 0);
                let mut analyzer = Analyzer::new(&options).unwrap();
                for text in texts {
                    analyzer.tokenize(text);
                }
            }
        }
    }
}
