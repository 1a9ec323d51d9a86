//! Text input of filters and text queries: how it is tokenized, and for which columns.

use crate::error::{Error, Result};
use crate::index::text::{Analyzer, POSITION_INCREMENT_GAP};
use crate::schema::{AttributeType, ColumnKind, Schema, TextOptions, Tokenizer};

/// The most characters of text in one query or one token filter: analysis is linear in them, and what a user types
/// or pastes into a search box is far shorter.
const CHARACTERS_MAX: usize = 8_192;

/// What is looked for: a text, or tokens that are given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TextInput {
    /// A text, which the column's tokenizer cuts.
    Text(String),
    /// Texts that are cut each for itself; for a column of given tokens these are the tokens.
    Tokens(Vec<String>),
}

impl From<&str> for TextInput {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for TextInput {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<S: Into<String>> From<Vec<S>> for TextInput {
    fn from(tokens: Vec<S>) -> Self {
        Self::Tokens(tokens.into_iter().map(Into::into).collect())
    }
}

/// A column with full text: its number among the text columns, and its options.
type TextColumn<'a> = (usize, &'a TextOptions);

/// A column with full text.
pub(crate) fn text_column<'a>(schema: &'a Schema, name: &str) -> Result<TextColumn<'a>> {
    let texts = schema.texts().enumerate();
    let found = texts.map(|(at, (column, options))| (column, at, options)).find(|found| found.0 == name);
    let (_, at, options) =
        found.ok_or_else(|| Error::invalid(format!("no such column with full text. column=`{name}`")))?;
    Ok((at, options))
}

/// Whether the tokens of a column have places, and words with `slop` of them stay within one string of an array.
pub(crate) fn check_places(name: &str, schema: &Schema, words: &[(Box<str>, u32)], slop: u32) -> Result<()> {
    let (_, options) = text_column(schema, name)?;
    if matches!(options.tokenizer, Tokenizer::Ngram { .. }) {
        let why = "n-grams have no places: there are no phrases of them";
        return Err(Error::invalid(format!("{why}. column=`{name}`")));
    }
    let kind = schema.column(name).map(|column| &column.kind);
    let array = matches!(kind, Some(ColumnKind::Attribute(AttributeType::StringArray)));
    let span = match words {
        [(_, first), .., (_, last)] => (last - first).saturating_add(slop),
        _ => 0,
    };
    if array && options.tokenizer != Tokenizer::Pretokenized && span >= POSITION_INCREMENT_GAP {
        let most = POSITION_INCREMENT_GAP - 1;
        return Err(Error::limit(format!(
            "a phrase with its slop spans more than {most} words, too many in an array of strings. column=`{name}`, \
             words=`{span}`"
        )));
    }
    Ok(())
}

/// Tokenizes the inputs of one query, and counts their characters together.
#[derive(Debug, Default)]
pub(crate) struct InputTokens {
    characters: usize,
}

impl InputTokens {
    /// The tokens of an input with their positions, ascending.
    pub(crate) fn tokenize(
        &mut self,
        options: &TextOptions,
        input: &TextInput,
    ) -> Result<Vec<(Box<str>, u32)>> {
        let texts = match input {
            TextInput::Text(text) => std::slice::from_ref(text),
            TextInput::Tokens(tokens) => tokens.as_slice(),
        };
        let mut analyzer = Analyzer::new(options)?;
        let mut words: Vec<(Box<str>, u32)> = Vec::new();
        let mut base = 0_u32;
        for text in texts {
            // A text of so many bytes has too many characters, or few enough to count.
            let characters = if text.len() > CHARACTERS_MAX * 4 { text.len() } else { text.chars().count() };
            self.characters = self.characters.saturating_add(characters);
            if self.characters > CHARACTERS_MAX {
                return Err(Error::limit(format!(
                    "more than {CHARACTERS_MAX} characters of text in a query"
                )));
            }
            let mut end = base;
            for word in analyzer.tokenize(text) {
                // All n-grams of a text share a place.
                let apart = matches!(options.tokenizer, Tokenizer::Ngram { .. });
                let place = if apart { end } else { base.saturating_add(word.position) };
                end = place.saturating_add(1);
                words.push((word.text.into(), place));
            }
            base = end;
        }
        Ok(words)
    }
}
