//! Searching text: what is asked, as tokens and their composition.

mod bind;
mod exec;
mod highlight;
mod parse;
mod rank;
mod tokens;
mod tree;

pub(super) use bind::bind;
pub use highlight::{Fragment, FragmentBy, Highlight, Offsets};
pub use parse::SearchBox;
pub(super) use rank::BoundRank;
pub use rank::{Combine, Rank};
pub use tokens::TokenFilter;
pub(super) use tokens::bind as bind_tokens;

/// A search of text: which documents match, and how their scores join.
///
/// Text is analysed as its column says, and never parsed: no character of it has a meaning of its own.
///
/// ```
/// use elacsym::query::{TextMatch, TextPhrase, TextQuery};
///
/// let simple = TextQuery::any("body", "cold object storage");
/// let fields = TextMatch::all("object storage").column("title", 2.0).column("body", 1.0).prefix();
/// let both = TextQuery::best([fields.into(), TextPhrase::new("body", "object storage").slop(2).into()]);
/// # let _ = (simple, both);
/// ```
///
/// # Scores
/// A token scores by BM25 with the k1 and b of its column. The number of documents, their average length and how
/// many hold a token are those of the documents that exist, exactly, wherever they lie: a score is the same before
/// and after a flush or a compaction. Lengths are kept in one byte each, to about 5 % (as Lucene keeps them).
/// A phrase counts as one token as rare as its words together. Scores are never negative.
///
/// # Limits
/// A query has at most 8,192 characters of text, 1,024 tokens, 1,024 nodes and 32 levels. A prefix or a misspelt
/// token stands for at most 256 tokens of the column: the nearest, then the first in the order of their bytes. Tokens
/// that only deleted documents hold are among them until a compaction takes them away.
///
/// # Threads
/// A search stays on the thread it is on, for some hundreds of microseconds at most; one that may look at more than
/// 131,072 postings of a segment, or has thousands of deleted documents to leave out of its statistics, goes to the
/// blocking pool.
///
/// A query of any depth is cloned, compared and dropped safely; what is printed of one ends below 64 levels.
#[non_exhaustive]
pub enum TextQuery {
    /// Tokens of a text in some columns.
    Match(TextMatch),
    /// Words in a row.
    Phrase(TextPhrase),
    /// Documents that match any of these; scores add up.
    Any(Vec<TextQuery>),
    /// Documents that match all of these; scores add up.
    All(Vec<TextQuery>),
    /// Documents that match any of these; the greatest score counts.
    Best(Vec<TextQuery>),
    /// Documents that match all of these; scores are multiplied.
    Product(Vec<TextQuery>),
    /// Documents that match the first and not the second, with the score of the first.
    Without(Box<TextQuery>, Box<TextQuery>),
    /// The score of another times a factor, which is not negative.
    Boost(Box<TextQuery>, f32),
    /// The score of another, and a value of the document besides.
    Ranked(Box<TextQuery>, Rank, Combine),
}

/// What is looked for: a text, or tokens that are given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TextInput {
    /// A text, which the column's tokenizer cuts.
    Text(String),
    /// Texts that are cut each for itself; for a column of given tokens these are the tokens.
    Tokens(Vec<String>),
}

/// Tokens of a text in one or several columns.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[must_use]
pub struct TextMatch {
    /// What is looked for.
    pub input: TextInput,
    /// The columns, each with the factor of its scores.
    pub columns: Vec<(String, f32)>,
    /// Whether every token must be in one of the columns. Otherwise one is enough.
    pub every: bool,
    /// Whether the last token may go on.
    pub prefix: bool,
    /// Whether tokens may be misspelt: those of 3 to 5 characters by one edit, longer ones by two. The first
    /// character must be right.
    pub fuzzy: bool,
}

/// Words in a row.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[must_use]
pub struct TextPhrase {
    /// What is looked for.
    pub input: TextInput,
    /// The column.
    pub column: String,
    /// How far words may be from their places, all together; the farther, the less it counts.
    pub slop: u32,
    /// Whether the last word may go on.
    pub prefix: bool,
}

impl TextQuery {
    /// Documents with any token of a text.
    pub fn any(column: impl Into<String>, input: impl Into<TextInput>) -> Self {
        TextMatch::any(input).column(column, 1.0).into()
    }

    /// Documents with every token of a text.
    pub fn all(column: impl Into<String>, input: impl Into<TextInput>) -> Self {
        TextMatch::all(input).column(column, 1.0).into()
    }

    /// Documents with the words of a text in a row.
    pub fn phrase(column: impl Into<String>, input: impl Into<TextInput>) -> Self {
        TextPhrase::new(column, input).into()
    }

    /// Documents that match any; the greatest score counts.
    pub fn best(queries: impl IntoIterator<Item = Self>) -> Self {
        Self::Best(queries.into_iter().collect())
    }

    /// Documents that match any; scores add up.
    pub fn any_of(queries: impl IntoIterator<Item = Self>) -> Self {
        Self::Any(queries.into_iter().collect())
    }

    /// Documents that match all; scores add up.
    pub fn all_of(queries: impl IntoIterator<Item = Self>) -> Self {
        Self::All(queries.into_iter().collect())
    }

    /// Documents that match all; scores are multiplied.
    pub fn product(queries: impl IntoIterator<Item = Self>) -> Self {
        Self::Product(queries.into_iter().collect())
    }

    /// These but those.
    #[must_use]
    pub fn without(self, not: impl Into<Self>) -> Self {
        Self::Without(Box::new(self), Box::new(not.into()))
    }

    /// The score times a factor.
    #[must_use]
    pub fn boost(self, factor: f32) -> Self {
        Self::Boost(Box::new(self), factor)
    }

    /// The score joined with a value of the document: an attribute, or whether it matches a filter.
    #[must_use]
    pub fn ranked(self, combine: Combine, rank: Rank) -> Self {
        Self::Ranked(Box::new(self), rank, combine)
    }
}

impl TextMatch {
    /// Any token is enough.
    pub fn any(input: impl Into<TextInput>) -> Self {
        Self { input: input.into(), columns: Vec::new(), every: false, prefix: false, fuzzy: false }
    }

    /// Every token must be in one of the columns.
    pub fn all(input: impl Into<TextInput>) -> Self {
        Self { every: true, ..Self::any(input) }
    }

    /// One more column, and the factor of its scores.
    pub fn column(mut self, column: impl Into<String>, factor: f32) -> Self {
        self.columns.push((column.into(), factor));
        self
    }

    /// The last token may go on: for search while typing. In a column with stemming its stem may.
    pub fn prefix(self) -> Self {
        Self { prefix: true, ..self }
    }

    /// Tokens may be misspelt.
    pub fn fuzzy(self) -> Self {
        Self { fuzzy: true, ..self }
    }
}

impl TextPhrase {
    /// The words of a text in a row.
    pub fn new(column: impl Into<String>, input: impl Into<TextInput>) -> Self {
        Self { input: input.into(), column: column.into(), slop: 0, prefix: false }
    }

    /// Words may be so far from their places, all together.
    pub fn slop(self, slop: u32) -> Self {
        Self { slop, ..self }
    }

    /// The last word may go on.
    pub fn prefix(self) -> Self {
        Self { prefix: true, ..self }
    }
}

impl From<TextMatch> for TextQuery {
    fn from(query: TextMatch) -> Self {
        Self::Match(query)
    }
}

impl From<TextPhrase> for TextQuery {
    fn from(query: TextPhrase) -> Self {
        Self::Phrase(query)
    }
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
