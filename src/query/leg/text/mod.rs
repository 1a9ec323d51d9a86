//! Text legs: queries, their binding to a schema, and their search.

mod bind;
mod bound_rank;
#[cfg(test)]
mod fuzz;
mod highlight;
mod json;
mod parse;
mod rank;
mod search;
mod tree;

pub(in crate::query) use bound_rank::BoundRank;
pub(in crate::query) use highlight::Highlighter;
pub use highlight::{Fragment, FragmentBy, Highlight, Offsets};
pub use parse::SearchBox;
pub use rank::{Combine, Rank};
pub(in crate::query::leg) use search::TextSearch;

use crate::filter::TextInput;

/// A text query: which documents match, and how their scores are combined.
///
/// Text is analysed as its column specifies, and never parsed: no character of it is an operator.
///
/// ```
/// use elacsym::{TextMatch, TextPhrase, TextQuery};
///
/// let simple = TextQuery::any("body", "cold object storage");
/// let fields = TextMatch::all("object storage").column("title", 2.0).column("body", 1.0).prefix();
/// let both = TextQuery::best([fields.into(), TextPhrase::new("body", "object storage").slop(2).into()]);
/// # let _ = (simple, both);
/// ```
///
/// # Scores
/// A token scores by BM25 with the k1 and b of its column. The number of documents, their average length and the document
/// frequency of a token are exact and cover all live documents: a score is the same before and after a flush or a
/// compaction. Lengths are stored in one byte each, to about 5 % (as in Lucene). A phrase scores as one token whose idf is
/// the sum of those of its words. Scores are never negative.
///
/// # Queries without tokens
/// A text without tokens, such as one of stop words or punctuation alone, is left out of the query that it is part of. A
/// query without any tokens finds nothing.
///
/// # Limits
/// A query has at most 8,192 characters of text, 1,024 tokens, 1,024 nodes and 32 levels.
///
/// A prefix expands to every token of the column that begins with it, and a misspelt token to the 256 nearest ones, by
/// edits and then by document frequency; the token itself is always among them. All expansions of a query share 65,536
/// tokens of a segment equally, but at least 256 each.
/// [`QueryStats::expansions_cut`](crate::query::QueryStats::expansions_cut) counts those that were cut. If the dictionary
/// of a column is not cached, a prefix reads the blocks of its range, and a misspelt token the blocks that may hold similar
/// tokens, in one round trip.
///
/// # Threads
/// A search that is estimated to take less than about 100 microseconds in a segment runs on the calling task; a longer one
/// runs on the blocking pool.
///
/// A query of any depth can be cloned, compared and dropped safely; `Debug` prints at most 64 levels.
#[non_exhaustive]
pub enum TextQuery {
    /// Every document, with a score of 0.
    Everything,
    /// Tokens of a text in some columns.
    Match(TextMatch),
    /// Words in a row.
    Phrase(TextPhrase),
    /// Documents that match any of these; scores add up.
    AnyOf(Vec<TextQuery>),
    /// Documents that match all of these; scores add up.
    AllOf(Vec<TextQuery>),
    /// Documents that match any of these; the greatest score counts.
    Best(Vec<TextQuery>),
    /// Documents that match all of these; scores are multiplied.
    Product(Vec<TextQuery>),
    /// Documents that match the first and not the second, with the score of the first.
    Without(Box<TextQuery>, Box<TextQuery>),
    /// The score of another times a factor, which is not negative.
    Boost(Box<TextQuery>, f32),
    /// The score of another, combined with a rank of the document.
    Ranked(Box<TextQuery>, Rank, Combine),
}

/// Tokens of a text in one or several columns.
///
/// ```
/// use elacsym::{Query, TextMatch};
///
/// // Search as you type: every word in the title or the body, and the last one may be unfinished.
/// let typed = TextMatch::all("object stor").column("title", 2.0).column("body", 1.0).prefix();
/// assert!(typed.every && typed.prefix && !typed.fuzzy);
/// let query = Query::text(typed).limit(5);
/// # let _ = query;
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[must_use]
pub struct TextMatch {
    /// The text or tokens to search for.
    pub input: TextInput,
    /// The columns, each with the factor of its scores.
    pub columns: Vec<(String, f32)>,
    /// Whether every token must be in one of the columns. Otherwise one is enough.
    ///
    /// Columns that tokenize alike (their [`TextOptions`](crate::schema::TextOptions) differ at most in k1 and b) form a
    /// group: each token must be in one of them. Columns that tokenize differently have different tokens, which cannot be
    /// matched with each other: a document is found if one group has all tokens of its own. A group without tokens is
    /// ignored.
    pub every: bool,
    /// Whether the last token is a prefix.
    pub prefix: bool,
    /// Whether tokens may be misspelt: those of 3 to 5 characters by one edit, longer ones by two. An edit inserts,
    /// deletes or replaces a character, the first one too, or swaps two neighbours: `kitcehn` is one edit from
    /// `kitchen`. The farther a token, the less it counts.
    pub fuzzy: bool,
}

/// Words in a row, or nearly.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::{schema::TextOptions, *};
/// # let schema = Schema::builder(IdKind::U64).text("body", TextOptions::default()).build()?;
/// # let notes = Database::open("memory://").await?.create_namespace("notes", schema).await?;
/// notes.write(Document::new(1).with("body", "cold object storage")).await?;
/// let phrase = TextPhrase::new("body", "cold storage");
/// assert!(notes.query(Query::text(phrase.clone())).await?.rows.is_empty());
/// assert_eq!(notes.query(Query::text(phrase.slop(1))).await?.rows.len(), 1);
/// # Ok(()) }
/// ```
///
/// # Slop
/// How many moves it may take in all to bring the words into a row, counted as in Lucene. The position of the first word
/// says where each of the others would be in an exact phrase. Each word is off that place by a number of positions,
/// negative if it comes before. The greatest of these numbers less the least is at most the slop. `cold object storage` holds `"cold storage"` with a slop of 1, and `storage cold` with one of 2. Every word has
/// a position of its own: one `tea` is not `"tea tea"`, whatever the slop. An occurrence that needs n moves counts as
/// 1 / (1 + n) of one that needs none; one that holds a narrower one within itself does not count.
///
/// # Arrays
/// No phrase reaches from one string of an array into the next: with its slop it spans at most 1,023 words there. The
/// tokens of a column of given ones ([`Tokenizer::Pretokenized`](crate::schema::Tokenizer::Pretokenized)) are one
/// text, one after another.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[must_use]
pub struct TextPhrase {
    /// The text or tokens to search for.
    pub input: TextInput,
    /// The column.
    pub column: String,
    /// How many moves may bring the words into a row.
    pub slop: u32,
    /// Whether the last word is a prefix.
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
        Self::AnyOf(queries.into_iter().collect())
    }

    /// Documents that match all; scores add up.
    pub fn all_of(queries: impl IntoIterator<Item = Self>) -> Self {
        Self::AllOf(queries.into_iter().collect())
    }

    /// Documents that match all; scores are multiplied.
    pub fn product(queries: impl IntoIterator<Item = Self>) -> Self {
        Self::Product(queries.into_iter().collect())
    }

    /// Documents that match this query and not another.
    #[must_use]
    pub fn without(self, not: impl Into<Self>) -> Self {
        Self::Without(Box::new(self), Box::new(not.into()))
    }

    /// The score times a factor.
    #[must_use]
    pub fn boost(self, factor: f32) -> Self {
        Self::Boost(Box::new(self), factor)
    }

    /// Combines the score with a rank: a number made of attributes and filters.
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

    /// Adds a column with the factor of its scores.
    pub fn column(mut self, column: impl Into<String>, factor: f32) -> Self {
        self.columns.push((column.into(), factor));
        self
    }

    /// Treats the last token as a prefix, for search as you type. In a column with stemming, its stem is the prefix.
    pub fn prefix(self) -> Self {
        Self { prefix: true, ..self }
    }

    /// Allows misspelt tokens.
    pub fn fuzzy(self) -> Self {
        Self { fuzzy: true, ..self }
    }
}

impl TextPhrase {
    /// The words of a text in a row.
    pub fn new(column: impl Into<String>, input: impl Into<TextInput>) -> Self {
        Self { input: input.into(), column: column.into(), slop: 0, prefix: false }
    }

    /// Sets the slop. Default 0.
    pub fn slop(self, slop: u32) -> Self {
        Self { slop, ..self }
    }

    /// Treats the last word as a prefix.
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
