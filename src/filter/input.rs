//! Text input of filters and text queries: its tokens, and the columns it applies to.

use crate::error::{Error, Result};
use crate::index::text::{Analyzer, POSITION_INCREMENT_GAP};
use crate::schema::{AttributeType, ColumnKind, Schema, TextOptions, Tokenizer};

/// The most characters of text in one query or one token filter: analysis is linear in them, and what a user types
/// or pastes into a search box is far shorter.
const CHARACTERS_MAX: usize = 8_192;

/// The input of a text search: a text, or a list of tokens.
///
/// ```
/// use elacsym::{Filter, TextInput, TextQuery};
///
/// // What a person typed, for the tokenizer to split; and tokens that need no splitting.
/// let typed = TextQuery::any("body", "cold storage");
/// let given = Filter::contains_any_token("codes", vec!["A-17", "B/4"]);
/// assert_eq!(TextInput::from(vec!["A-17", "B/4"]), TextInput::Tokens(vec!["A-17".into(), "B/4".into()]));
/// # let _ = (typed, given);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TextInput {
    /// A text, split by the column's tokenizer.
    Text(String),
    /// Texts that are tokenized separately. In a column with the `Pretokenized` tokenizer, each is a token.
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

/// The number of a column among those with full text, and its options.
type TextColumn<'a> = (usize, &'a TextOptions);

/// Finds a column with full text.
pub(crate) fn text_column<'a>(schema: &'a Schema, name: &str) -> Result<TextColumn<'a>> {
    let found = schema.texts().enumerate().find(|(_, (column, _))| *column == name);
    let (number, (_, options)) = found.ok_or_else(|| no_text_error(schema, name))?;
    Ok((number, options))
}

fn no_text_error(schema: &Schema, name: &str) -> Error {
    // Of a column that exists it must not be said that there is none: the caller would look for a misspelt name.
    let why = if schema.column(name).is_some() {
        "the column has no full text: declare it with `SchemaBuilder::text` or `SchemaBuilder::full_text`"
            .to_owned()
    } else {
        format!("no such full-text column: the schema has {}", schema.list_columns())
    };
    Error::invalid(format!("{why}. column=`{name}`"))
}

/// Checks that a column stores positions, and that a phrase with `slop` fits in one string of an array.
pub(crate) fn check_phrase_positions(
    name: &str,
    schema: &Schema,
    words: &[(Box<str>, u32)],
    slop: u32,
) -> Result<()> {
    let (_, options) = text_column(schema, name)?;
    if matches!(options.tokenizer, Tokenizer::Ngram { .. }) {
        let why = "phrases need token positions, which n-gram columns do not store";
        return Err(Error::invalid(format!("{why}. column=`{name}`")));
    }
    let kind = schema.column(name).map(|column| &column.kind);
    let array = matches!(kind, Some(ColumnKind::Attribute(AttributeType::StringArray)));
    // A wider phrase could reach across the gap between two strings of an array and match a sequence that is in none.
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

/// Tokenizes the inputs of one query, within a common limit on their characters.
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
            // Beyond four bytes a character the text is too long for certain. A shorter one is cheap to count.
            let characters = if text.len() > CHARACTERS_MAX * 4 { text.len() } else { text.chars().count() };
            self.characters = self.characters.saturating_add(characters);
            if self.characters > CHARACTERS_MAX {
                return Err(Error::limit(format!(
                    "more than {CHARACTERS_MAX} characters of text in a query"
                )));
            }
            // Each text starts where the last one ended, as if they were one text.
            let mut end = base;
            for word in analyzer.tokenize(text) {
                // The analyzer gives all n-grams of a text one position, but a filter compares each as a word.
                let is_ngram = matches!(options.tokenizer, Tokenizer::Ngram { .. });
                let position = if is_ngram { end } else { base.saturating_add(word.position) };
                end = position.saturating_add(1);
                words.push((word.text.into(), position));
            }
            base = end;
        }
        Ok(words)
    }
}
