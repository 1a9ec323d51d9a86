//! Highlighting: the fragments of a text that match a query, with the matches marked.
//!
//! tantivy's `SnippetGenerator` marks whole tokens of one text, in bytes: arrays, prefixes, misspelt words, phrases and
//! offsets in characters or UTF-16 are not its business.
//!
//! A text is analysed again, as it was when it was indexed, and its tokens are compared with those of the query. The index
//! stores no offsets: all texts would pay for them, and only those of a page are highlighted.

mod fragments;
mod matcher;
mod offsets;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray};
use serde::Serialize;

use self::fragments::{Candidate, collect_candidates, make_fragment, split_text};
use self::matcher::{TokenMatcher, collect_positive_terms};
use self::offsets::OffsetCounter;
use super::TextQuery;
use crate::error::{Error, Result};
use crate::filter::text_column;
use crate::index::text::Analyzer;
use crate::schema::{Schema, TextOptions};

/// The most fragments of a text.
// A text split into more is no preview of it; `FragmentBy::Whole` marks a text without splitting it.
const FRAGMENTS_MAX: usize = 1_024;

/// How texts are split into fragments, and which of these are returned.
///
/// ```
/// use elacsym::query::{FragmentBy, Highlight, Offsets};
///
/// let options = Highlight::default().by(FragmentBy::Sentence).limit(2).ranked().offsets(Offsets::Utf16);
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Highlight {
    /// What a fragment is. Default [`FragmentBy::Sentence`].
    pub by: FragmentBy,
    /// The most fragments of a text: 1 to 1,024. Default 3.
    pub limit: usize,
    /// Whether fragments that match more of the query come first. Default: the order of the text.
    pub ranked: bool,
    /// The unit of offsets. Default [`Offsets::Bytes`].
    pub offsets: Offsets,
}

/// What a fragment of a text is.
///
/// ```
/// use elacsym::query::{FragmentBy, Highlight};
///
/// let title = Highlight::default().by(FragmentBy::Whole);
/// let preview = Highlight::default().by(FragmentBy::Paragraph).limit(1).ranked();
/// assert_eq!(Highlight::default().by, FragmentBy::Sentence);
/// # let _ = (title, preview);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FragmentBy {
    /// The whole text.
    Whole,
    /// A paragraph: one or several lines between empty lines.
    Paragraph,
    /// A sentence: it ends with a full stop, question mark or exclamation mark before white space, with such a mark of
    /// Chinese or Japanese anywhere, or with the line. It may be long.
    #[default]
    Sentence,
    /// Each word that matches.
    Word,
}

/// The unit in which offsets in a text are counted.
///
/// ```
/// use elacsym::query::{Highlight, Offsets};
///
/// // A browser cuts strings by units of UTF-16.
/// let options = Highlight::default().offsets(Offsets::Utf16);
/// assert_eq!((options.offsets, Highlight::default().offsets), (Offsets::Utf16, Offsets::Bytes));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Offsets {
    /// Bytes of UTF-8, as Rust slices strings.
    #[default]
    Bytes,
    /// Characters (Unicode code points), as Python counts them.
    Characters,
    /// Units of UTF-16, as JavaScript and Java count them.
    Utf16,
}

/// A piece of a text with its matches.
///
/// ```
/// use elacsym::query::Highlight;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::{schema::TextOptions, *};
/// # let schema = Schema::builder(IdKind::U64).text("body", TextOptions::default()).build()?;
/// # let notes = Database::open("memory://").await?.create_namespace("notes", schema).await?;
/// notes.write(Document::new(1).with("body", "Tea. Cold leaves!")).await?;
/// let words = TextQuery::any("body", "cold");
/// let preview = Compute::highlight("body", words.clone(), Highlight::default());
/// let hits = notes.query(Query::text(words).compute("preview", preview)).await?.hits()?;
/// let fragment = &hits[0].fragments("preview")[0];
/// assert_eq!(fragment.marked("<b>", "</b>"), "<b>Cold</b> leaves!");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Fragment {
    /// The text of the piece.
    pub text: String,
    /// The index of the string in an array; 0 for a string.
    pub element: usize,
    /// Its range in the string.
    pub range: Range<usize>,
    /// The ranges that match in [`Fragment::text`], ascending and disjoint.
    pub matches: Vec<Range<usize>>,
}

impl Fragment {
    /// The text with each match between two marks. The offsets must be of bytes, as [`Highlight`] has them by default.
    ///
    /// The text is that of the document, with whatever characters it has: escape it for HTML, or mark with characters
    /// that it does not have, escape, and replace them.
    #[must_use]
    pub fn marked(&self, open: &str, close: &str) -> String {
        let mut marked =
            String::with_capacity(self.text.len() + self.matches.len() * (open.len() + close.len()));
        let mut from = 0;
        for found in &self.matches {
            let (Some(before), Some(text)) = (self.text.get(from..found.start), self.text.get(found.clone()))
            else {
                return self.text.clone();
            };
            marked.extend([before, open, text, close]);
            from = found.end;
        }
        // invariant: `from` is 0 or the end of a match, which the text has.
        marked.push_str(self.text.get(from..).unwrap_or_default());
        marked
    }
}

impl Default for Highlight {
    fn default() -> Self {
        Self { by: FragmentBy::default(), limit: 3, ranked: false, offsets: Offsets::default() }
    }
}

impl Highlight {
    /// Sets what a fragment is.
    pub fn by(self, by: FragmentBy) -> Self {
        Self { by, ..self }
    }

    /// Sets the most fragments of a text.
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// Puts fragments with more distinct words of the query first, then those with more matches.
    pub fn ranked(self) -> Self {
        Self { ranked: true, ..self }
    }

    /// Sets the unit of offsets.
    pub fn offsets(self, offsets: Offsets) -> Self {
        Self { offsets, ..self }
    }
}

/// Highlights the texts of a column. The work is proportional to their length.
#[derive(Clone, Debug)]
pub(in crate::query) struct Highlighter {
    analyzer: Analyzer,
    matcher: TokenMatcher,
    options: Highlight,
}

/// A matching token: its range in the text, and the number of the query term that it matches.
type Mark = (Range<usize>, usize);

impl Highlighter {
    pub(in crate::query) fn new(
        schema: &Schema,
        column: &str,
        query: &TextQuery,
        options: Highlight,
    ) -> Result<Self> {
        if !(1..=FRAGMENTS_MAX).contains(&options.limit) {
            let limit = options.limit;
            return Err(Error::limit(format!(
                "bad limit: 1 to {FRAGMENTS_MAX} are allowed. limit=`{limit}`"
            )));
        }
        let (field, text_options): (usize, &TextOptions) = text_column(schema, column)?;
        let (plan, _) = super::bind::plan_query(query, schema)?;
        let mut numbers = BTreeSet::new();
        collect_positive_terms(&plan.root, &mut numbers);
        let mut specs = Vec::with_capacity(numbers.len());
        for number in numbers {
            let term =
                plan.terms.get(number).ok_or_else(|| Error::internal("a text plan has no such term"))?;
            if term.field == field {
                specs.push(&term.spec);
            }
        }
        let matcher = TokenMatcher::new(specs.into_iter());
        Ok(Self { matcher, analyzer: Analyzer::new(text_options)?, options })
    }

    /// The fragments of a row of a string or string-array column. CPU work.
    pub(in crate::query) fn find_fragments(&self, array: &ArrayRef, row: usize) -> Result<Vec<Fragment>> {
        if array.is_null(row) {
            return Ok(Vec::new());
        }
        if let Some(strings) = array.as_string_opt::<i32>() {
            return self.highlight_texts(&[strings.value(row)]);
        }
        let not_text = || Error::internal("a column with full text holds no strings");
        let list = array.as_list_opt::<i32>().ok_or_else(not_text)?.value(row);
        let strings = list.as_string_opt::<i32>().ok_or_else(not_text)?;
        // invariant: elements are never null; an empty text in the place of one keeps the indexes of the others.
        let texts: Vec<&str> = strings.iter().map(Option::unwrap_or_default).collect();
        self.highlight_texts(&texts)
    }

    /// The fragments of the strings of a document.
    fn highlight_texts(&self, texts: &[&str]) -> Result<Vec<Fragment>> {
        let mut marks: Vec<Vec<Mark>> = Vec::new();
        let mut candidates: Vec<Candidate> = Vec::new();
        for (element, text) in texts.iter().enumerate() {
            // In the order of the text the first fragments are the answer: later strings need no analysis.
            if !self.options.ranked && candidates.len() >= self.options.limit {
                break;
            }
            let text_marks = self.find_marks(text);
            let pieces = split_text(text, self.options.by, &text_marks)?;
            collect_candidates(element, pieces, &text_marks, &mut candidates)?;
            marks.push(text_marks);
        }
        if self.options.ranked {
            // A stable sort: fragments of equal rank stay in the order of the text.
            candidates.sort_by_key(|candidate| Reverse((candidate.words, candidate.count)));
        }
        candidates.truncate(self.options.limit);
        // Offsets are counted from the start of a text. In the order of the text one pass is enough for all fragments,
        // however they are ranked.
        let mut order: Vec<(usize, &Candidate)> = candidates.iter().enumerate().collect();
        order.sort_by_key(|(_, candidate)| (candidate.element, candidate.range.start));
        let mut fragments: Vec<(usize, Fragment)> = Vec::with_capacity(order.len());
        for of_text in order.chunk_by(|(_, a), (_, b)| a.element == b.element) {
            let mut counter: Option<OffsetCounter<'_>> = None;
            for (rank, candidate) in of_text {
                let missing = || Error::internal("a fragment of no text");
                let text = texts.get(candidate.element).ok_or_else(missing)?;
                let text_marks = marks.get(candidate.element).ok_or_else(missing)?;
                let marks = text_marks.get(candidate.marks.clone()).ok_or_else(missing)?;
                let counter = counter.get_or_insert_with(|| OffsetCounter::new(text, self.options.offsets));
                fragments.push((*rank, make_fragment(candidate, text, marks, counter)?));
            }
        }
        fragments.sort_by_key(|(rank, _)| *rank);
        Ok(fragments.into_iter().map(|(_, fragment)| fragment).collect())
    }

    /// The tokens that match, in the order of the text.
    fn find_marks(&self, text: &str) -> Vec<Mark> {
        let mut marks: Vec<Mark> = Vec::new();
        let mut known = HashMap::new();
        // A clone, since an analyzer works in buffers of its own, and rows are highlighted on several threads.
        self.analyzer.clone().for_each_token(text, |token, _, (start, end)| {
            if let Some(number) = self.matcher.find_term(token, &mut known) {
                marks.push((start..end, number));
            }
        });
        marks.sort_by_key(|mark| (mark.0.start, mark.0.end));
        marks
    }
}
