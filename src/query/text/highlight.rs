//! Highlighting: where in a stored text what a query looks for is said.

use std::collections::BTreeSet;
use std::ops::Range;

use arrow::array::{Array, AsArray};

use super::TextQuery;
use crate::error::{Error, Result};
use crate::index::text::{Analyzer, Node, Spec};
use crate::query::Rows;
use crate::schema::{Schema, TextOptions};

/// The most fragments of a text.
const FRAGMENTS_MAX: usize = 1_024;

/// How texts are cut into fragments, and which of them are given.
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
    /// Whether fragments with more of the query come first. Default: they are in the order of the text.
    pub ranked: bool,
    /// What places are counted in. Default [`Offsets::Bytes`].
    pub offsets: Offsets,
}

/// What a fragment of a text is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FragmentBy {
    /// The text as it is.
    Whole,
    /// A line, or more between empty ones.
    Paragraph,
    /// A sentence: up to a full stop, a question or an exclamation mark before a space, those of Chinese and
    /// Japanese anywhere, or the end of a line. It may be long.
    #[default]
    Sentence,
    /// Each word that matches.
    Word,
}

/// What places in a text are counted in.
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

/// A piece of a text with what matches in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fragment {
    /// The piece.
    pub text: String,
    /// Which string of an array it is of; 0 for a string.
    pub element: usize,
    /// Where in the string it lies.
    pub range: Range<usize>,
    /// What matches, as places in [`Fragment::text`], in order and apart from each other.
    pub matches: Vec<Range<usize>>,
}

impl Default for Highlight {
    fn default() -> Self {
        Self { by: FragmentBy::default(), limit: 3, ranked: false, offsets: Offsets::default() }
    }
}

impl Highlight {
    /// What a fragment is.
    pub fn by(self, by: FragmentBy) -> Self {
        Self { by, ..self }
    }

    /// The most fragments of a text.
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// Fragments with more different words of the query first, then with more matches.
    pub fn ranked(self) -> Self {
        Self { ranked: true, ..self }
    }

    /// What places are counted in.
    pub fn offsets(self, offsets: Offsets) -> Self {
        Self { offsets, ..self }
    }
}

impl Rows {
    /// Of each document, in order, the fragments of `column` that hold what `query` looks for there. The column
    /// must be one of those that were selected.
    ///
    /// The original words are marked, also where a stem, a folded letter, the rest of a prefix or a near spelling
    /// made them match; the words of a phrase each for itself, wherever they stand. What the query does without is
    /// not marked. A fragment without a match is not given.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
    /// # use elacsym::schema::{Language, TextOptions};
    /// # use elacsym::query::Highlight;
    /// # use elacsym::*;
    /// # let options = TextOptions::default().with_language(Language::English);
    /// # let schema = Schema::builder(IdKind::U64).text("body", options).build()?;
    /// # let ns = Database::open("memory://").await?.create_namespace("docs", schema).await?;
    /// ns.write(WriteBatch::new().upsert(Document::new(1).with("body", "Tea. Stored leaves!"))).await?;
    /// let query = TextQuery::any("body", "leaf store");
    /// let answer = ns.query(Query::text(query.clone())).await?;
    /// let fragments = answer.rows.highlight("body", &query, Highlight::default())?;
    /// assert_eq!(fragments[0][0].text, "Stored leaves!");
    /// assert_eq!(fragments[0][0].matches[0], 0..6);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a column that has no full text or was not selected,
    /// and for a query that does not fit the schema; [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded)
    /// for a bad limit.
    pub fn highlight(
        &self,
        column: &str,
        query: &TextQuery,
        options: Highlight,
    ) -> Result<Vec<Vec<Fragment>>> {
        let marker = Marker::new(self.schema(), column, query, options)?;
        let array = self.batch().column_by_name(column);
        let array = array.ok_or_else(|| {
            Error::invalid(format!("a column that was not selected cannot be highlighted. column=`{column}`"))
        })?;
        let texts = |row: usize| -> Vec<String> {
            if array.is_null(row) {
                return Vec::new();
            }
            if let Some(strings) = array.as_string_opt::<i32>() {
                return vec![strings.value(row).to_owned()];
            }
            let list = array.as_list_opt::<i32>().map(|lists| lists.value(row));
            let strings = list.as_ref().and_then(|list| list.as_string_opt::<i32>());
            strings.map(|s| s.iter().map(|s| s.unwrap_or_default().to_owned()).collect()).unwrap_or_default()
        };
        Ok((0..array.len()).map(|row| marker.fragments(&texts(row))).collect())
    }
}

/// Marks the texts of a column.
struct Marker {
    analyzer: Analyzer,
    specs: Vec<Spec>,
    options: Highlight,
}

/// A token that matches: where, and which of the specs.
type Mark = (Range<usize>, usize);

impl Marker {
    fn new(schema: &Schema, column: &str, query: &TextQuery, options: Highlight) -> Result<Self> {
        if !(1..=FRAGMENTS_MAX).contains(&options.limit) {
            let limit = options.limit;
            return Err(Error::limit(format!(
                "bad limit: 1 to {FRAGMENTS_MAX} are allowed. limit=`{limit}`"
            )));
        }
        let (at, column): (usize, &TextOptions) = super::bind::column(schema, column)?;
        let (plan, _) = super::bind::plan(query, schema)?;
        let mut leaves = BTreeSet::new();
        wanted(&plan.root, &mut leaves);
        let specs = leaves.into_iter().filter_map(|leaf| plan.leaves.get(leaf));
        let specs = specs.filter(|leaf| leaf.field == at).map(|leaf| leaf.spec.clone());
        Ok(Self { specs: specs.collect(), analyzer: Analyzer::new(column)?, options })
    }

    /// The fragments of the strings of a document.
    fn fragments(&self, texts: &[String]) -> Vec<Fragment> {
        let mut found: Vec<(usize, usize, Fragment)> = Vec::new();
        for (element, text) in texts.iter().enumerate() {
            let marks = self.marks(text);
            for range in pieces(text, self.options.by, &marks) {
                let within = |mark: &&Mark| range.start <= mark.0.start && mark.0.end <= range.end;
                let first = marks.partition_point(|mark| mark.0.start < range.start);
                let marks = marks.iter().skip(first).take_while(|mark| mark.0.start < range.end);
                let marks: Vec<&Mark> = marks.filter(within).collect();
                if marks.is_empty() {
                    continue;
                }
                let words: BTreeSet<usize> = marks.iter().map(|mark| mark.1).collect();
                let fragment = self.fragment(text, element, &range, &marks);
                found.push((words.len(), marks.len(), fragment));
            }
        }
        if self.options.ranked {
            found.sort_by_key(|(words, marks, _)| std::cmp::Reverse((*words, *marks)));
        }
        found.into_iter().take(self.options.limit).map(|(_, _, fragment)| fragment).collect()
    }

    /// The tokens that match, in order.
    fn marks(&self, text: &str) -> Vec<Mark> {
        let mut marks = Vec::new();
        self.analyzer.clone().each(text, |token, _, (start, end)| {
            let is = |spec: &Spec| token.starts_with(spec.stem()) && spec.edits(token.as_bytes()).is_some();
            if let Some(spec) = self.specs.iter().position(is) {
                marks.push((start..end, spec));
            }
        });
        marks.sort_by_key(|mark: &Mark| (mark.0.start, mark.0.end));
        marks
    }

    fn fragment(&self, text: &str, element: usize, range: &Range<usize>, marks: &[&Mark]) -> Fragment {
        let mut matches: Vec<Range<usize>> = Vec::new();
        for (mark, _) in marks {
            let mark = mark.start - range.start..mark.end - range.start;
            match matches.last_mut() {
                // n-grams overlap.
                Some(last) if mark.start < last.end => last.end = last.end.max(mark.end),
                _ => matches.push(mark),
            }
        }
        let piece = text.get(range.clone()).unwrap_or_default();
        let count = |text: Option<&str>| match (text.unwrap_or_default(), self.options.offsets) {
            (text, Offsets::Bytes) => text.len(),
            (text, Offsets::Characters) => text.chars().count(),
            (text, Offsets::Utf16) => text.encode_utf16().count(),
        };
        let start = count(text.get(..range.start));
        let (mut at, mut counted) = (0, 0);
        let mut place = |to: usize| {
            counted += count(piece.get(at..to));
            at = to;
            counted
        };
        let matches = matches.into_iter().map(|range| place(range.start)..place(range.end)).collect();
        Fragment { text: piece.to_owned(), element, range: start..start + count(Some(piece)), matches }
    }
}

/// The leaves that a document is found by.
fn wanted(node: &Node, leaves: &mut BTreeSet<usize>) {
    match node {
        Node::Leaf(leaf, _) => {
            leaves.insert(*leaf);
        }
        Node::Phrase { leaves: words, .. } => leaves.extend(words.iter().map(|(leaf, _)| *leaf)),
        Node::Any(nodes) | Node::All(nodes) | Node::Best(nodes) | Node::Product(nodes) => {
            for node in nodes {
                wanted(node, leaves);
            }
        }
        Node::Without(node, _) | Node::Boost(node, _) | Node::Rank(node, _, _) => wanted(node, leaves),
    }
}

/// Where the pieces of a text lie, without white space around them.
fn pieces(text: &str, by: FragmentBy, marks: &[Mark]) -> Vec<Range<usize>> {
    let mut pieces: Vec<Range<usize>> = Vec::new();
    match by {
        FragmentBy::Whole => {
            pieces.push(0..text.len());
            return pieces;
        }
        FragmentBy::Word => {
            for (mark, _) in marks {
                match pieces.last_mut() {
                    Some(last) if mark.start < last.end => last.end = last.end.max(mark.end),
                    _ => pieces.push(mark.clone()),
                }
            }
            return pieces;
        }
        FragmentBy::Paragraph | FragmentBy::Sentence => {}
    }
    let (mut start, mut before) = (0, ' ');
    for (at, c) in text.char_indices() {
        let ends = match by {
            FragmentBy::Paragraph => c == '\n' && before == '\n',
            _ => {
                matches!(before, '\n' | '。' | '！' | '？')
                    || (matches!(before, '.' | '!' | '?' | '…') && c.is_whitespace())
            }
        };
        if ends {
            pieces.push(start..at);
            start = at;
        }
        // A line with nothing but spaces is empty.
        let blank = by == FragmentBy::Paragraph && before == '\n' && c != '\n' && c.is_whitespace();
        before = if blank { before } else { c };
    }
    pieces.push(start..text.len());
    for piece in &mut pieces {
        let within = text.get(piece.clone()).unwrap_or_default();
        let spaces = within.len() - within.trim_start().len();
        *piece = (piece.start + spaces)..(piece.start + spaces + within.trim().len());
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, by: FragmentBy) -> Vec<&str> {
        pieces(text, by, &[])
            .into_iter()
            .map(|piece| &text[piece])
            .filter(|piece| !piece.is_empty())
            .collect()
    }

    #[test]
    fn texts_are_cut_where_sentences_and_paragraphs_end() {
        let text = "It is 3.5 m. Really?! Yes…  so\nline\n\n  东京。京都！ok ";
        let sentences = ["It is 3.5 m.", "Really?!", "Yes…", "so", "line", "东京。", "京都！", "ok"];
        assert_eq!(cut(text, FragmentBy::Sentence), sentences);
        let paragraphs = ["It is 3.5 m. Really?! Yes…  so\nline", "东京。京都！ok"];
        assert_eq!(cut(text, FragmentBy::Paragraph), paragraphs);
        assert_eq!(cut("a\n \nb", FragmentBy::Paragraph), ["a", "b"]);
    }
}
