//! `TokenFilter`: full-text matching as a filter, without a score.

use super::{Filter, InputTokens, TextInput, check_phrase_positions, text_column};
use crate::error::{Error, Result};
use crate::index::text::{Analyzer, TermSpec, TokenMatch, TokenPredicate};
use crate::schema::Schema;

/// The most tokens of a predicate: each is a lookup in the term dictionary of every segment.
const TOKENS_MAX: usize = 1_024;

/// A [`Filter`] on the tokens of a column with full text.
///
/// The column's tokenizer splits the input, with its stemming and folding; there is no query syntax. An input without
/// tokens matches no document. Positions are exact. The strings of an array are tokenized separately, and no sequence
/// crosses from one into the next; there a sequence spans at most 1,023 words. The tokens of a `Pretokenized` column
/// are one text.
///
/// ```
/// use elacsym::{Filter, Query, TokenFilter, Vector};
///
/// let typed = Filter::from(TokenFilter::all("body", "object sto").prefix());
/// let near = Query::nearest("embedding", Vector::from([0.1, 0.9])).filter(typed & Filter::gt("year", 1999));
/// # let _ = near;
/// ```
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a column without full text and for a sequence of n-grams;
/// [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) for more than 8,192 characters. A prefix expands to
/// all tokens that start with it, without a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct TokenFilter {
    pub(super) column: String,
    pub(super) input: TextInput,
    pub(super) matching: TokenMatch,
    pub(super) prefix: bool,
}

impl TokenFilter {
    /// Documents with at least one of the tokens.
    pub fn any(column: impl Into<String>, input: impl Into<TextInput>) -> Self {
        Self { column: column.into(), input: input.into(), matching: TokenMatch::Any, prefix: false }
    }

    /// Documents with all of the tokens, at any positions.
    pub fn all(column: impl Into<String>, input: impl Into<TextInput>) -> Self {
        Self { matching: TokenMatch::All, ..Self::any(column, input) }
    }

    /// Documents with the tokens at consecutive positions.
    pub fn sequence(column: impl Into<String>, input: impl Into<TextInput>) -> Self {
        Self { matching: TokenMatch::Phrase, ..Self::any(column, input) }
    }

    /// The size of the input.
    pub(super) fn input_bytes(&self) -> usize {
        match &self.input {
            TextInput::Text(text) => text.len(),
            TextInput::Tokens(tokens) => tokens.iter().map(String::len).fold(0, usize::saturating_add),
        }
    }

    /// Also matches tokens that the last one is a prefix of. In a column with stemming, its stem is the prefix.
    pub fn prefix(self) -> Self {
        Self { prefix: true, ..self }
    }
}

impl From<TokenFilter> for Filter {
    fn from(tokens: TokenFilter) -> Self {
        Self::Tokens(tokens)
    }
}

/// The predicate on a column; `None` if no document can match.
pub(super) fn bind_tokens(tokens: &TokenFilter, schema: &Schema) -> Result<Option<TokenPredicate>> {
    let (field, options) = text_column(schema, &tokens.column)?;
    let words = InputTokens::default().tokenize(options, &tokens.input)?;
    if tokens.matching == TokenMatch::Phrase {
        check_phrase_positions(&tokens.column, schema, &words, 0)?;
    }
    // After tokenizing: a text within the limit of characters can still have too many n-grams.
    if words.len() > TOKENS_MAX {
        return Err(Error::limit(format!("more than {TOKENS_MAX} tokens in a filter")));
    }
    let Some((_, first_position)) = words.first() else { return Ok(None) };
    let (first_position, count) = (*first_position, words.len());
    let words = words.into_iter().enumerate().map(|(index, (text, position))| {
        let is_prefix = tokens.prefix && index + 1 == count;
        let term = if is_prefix { TermSpec::CompletePrefix(text) } else { TermSpec::Term(text) };
        // Positions ascend. A phrase matches wherever it starts.
        (term, position - first_position)
    });
    let words = words.collect();
    // Evaluation on batches tokenizes the documents in the same way.
    let analyzer = Analyzer::new(options)?;
    Ok(Some(TokenPredicate { field, matching: tokens.matching, words, analyzer }))
}
