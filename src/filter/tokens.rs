//! Tokens as a filter: which documents hold them, whatever the score.

use super::{Filter, InputTokens, TextInput, check_places, text_column};
use crate::error::{Error, Result};
use crate::index::text::{Analyzer, TermSpec, TokenMatch, TokenPredicate};
use crate::schema::Schema;

/// Tokens that a document must hold in a column with full text, as a [`Filter`].
///
/// The input is cut as the column says, with its stemming and folding, and never parsed. Where that leaves no
/// token, no document matches. Positions are exact; the strings of an array are cut each for itself, and no
/// sequence reaches from one into the next: there it spans at most 1,023 words. Tokens of a column of given ones
/// are one text.
///
/// ```
/// use elacsym::query::TokenFilter;
/// use elacsym::{Filter, Query, Vector};
///
/// let typed = Filter::from(TokenFilter::all("body", "object sto").prefix());
/// let near = Query::nearest("embedding", Vector::from([0.1, 0.9])).filter(typed & Filter::gt("year", 1999));
/// # let _ = near;
/// ```
///
/// # Errors
/// A column without full text is [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), and so is a sequence of
/// n-grams; more than 8,192 characters are [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded). A
/// prefix stands for every token that begins so, however many.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct TokenFilter {
    pub(crate) column: String,
    input: TextInput,
    enough: TokenMatch,
    prefix: bool,
}

impl TokenFilter {
    /// Documents with at least one of the tokens.
    pub fn any(column: impl Into<String>, input: impl Into<TextInput>) -> Self {
        Self { column: column.into(), input: input.into(), enough: TokenMatch::Any, prefix: false }
    }

    /// Documents with all of the tokens, wherever they stand.
    pub fn all(column: impl Into<String>, input: impl Into<TextInput>) -> Self {
        Self { enough: TokenMatch::All, ..Self::any(column, input) }
    }

    /// Documents with the tokens one behind the other.
    pub fn sequence(column: impl Into<String>, input: impl Into<TextInput>) -> Self {
        Self { enough: TokenMatch::Phrase, ..Self::any(column, input) }
    }

    /// What the input takes.
    pub(crate) fn bytes(&self) -> usize {
        match &self.input {
            TextInput::Text(text) => text.len(),
            TextInput::Tokens(tokens) => tokens.iter().map(String::len).fold(0, usize::saturating_add),
        }
    }

    /// The last token may go on. In a column with stemming its stem may.
    pub fn prefix(self) -> Self {
        Self { prefix: true, ..self }
    }
}

impl From<TokenFilter> for Filter {
    fn from(tokens: TokenFilter) -> Self {
        Self::Tokens(tokens)
    }
}

/// What is asked of a column; `None` if no document can match.
pub(crate) fn bind(tokens: &TokenFilter, schema: &Schema) -> Result<Option<TokenPredicate>> {
    let column = text_column(schema, &tokens.column)?;
    let words = InputTokens::default().tokenize(column.1, &tokens.input)?;
    if tokens.enough == TokenMatch::Phrase {
        check_places(&tokens.column, schema, &words, 0)?;
    }
    if words.len() > WORDS_MAX {
        return Err(Error::limit(format!("more than {WORDS_MAX} tokens in a filter")));
    }
    let (first, last) = (words.first().map_or(0, |(_, position)| *position), words.len());
    let words = words.into_iter().enumerate().map(|(number, (text, position))| {
        let goes_on = tokens.prefix && number + 1 == last;
        (if goes_on { TermSpec::CompletePrefix(text) } else { TermSpec::Term(text) }, position - first)
    });
    let words: Vec<(TermSpec, u32)> = words.collect();
    if words.is_empty() {
        return Ok(None);
    }
    let analyzer = Analyzer::new(column.1)?;
    Ok(Some(TokenPredicate { field: column.0, matching: tokens.enough, words, analyzer }))
}

/// The most tokens of a predicate.
const WORDS_MAX: usize = 1_024;
