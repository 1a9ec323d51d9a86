//! Highlighting: where in a stored text what a query looks for is said.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray};

use super::TextQuery;
use crate::error::{Error, Result};
use crate::filter::text_column;
use crate::index::text::{Analyzer, LevenshteinAutomaton, TermSpec, TextNode};
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
    /// not marked. A fragment without a match is not given. It takes time in proportion to the texts, on the thread that
    /// it is called on: [`Compute::highlight`](crate::Compute::highlight) takes long ones to the blocking pool.
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
        let highlighter = Highlighter::new(self.schema(), column, query, options)?;
        let array = self.batch().column_by_name(column);
        let array = array.ok_or_else(|| {
            Error::invalid(format!("a column that was not selected cannot be highlighted. column=`{column}`"))
        })?;
        Ok((0..array.len()).map(|row| highlighter.fragments(array, row)).collect())
    }
}

/// Marks the texts of a column, in time in proportion to them.
#[derive(Clone, Debug)]
pub(in crate::query) struct Highlighter {
    analyzer: Analyzer,
    sought: Sought,
    options: Highlight,
}

/// A token that matches: where, and the number of what is sought.
type Mark = (Range<usize>, usize);

/// A piece of a text with marks.
struct Candidate {
    element: usize,
    range: Range<usize>,
    /// How many different things are marked in it, and how many marks it has.
    words: usize,
    count: usize,
    /// The marks of the text that begin in it. Those of n-grams may end behind it, and are not its own.
    marks: Range<usize>,
}

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
        let (at, column): (usize, &TextOptions) = text_column(schema, column)?;
        let (plan, _) = super::bind::plan_query(query, schema)?;
        let mut leaves = BTreeSet::new();
        wanted(&plan.root, &mut leaves);
        let leaves = leaves.into_iter().filter_map(|leaf| plan.terms.get(leaf));
        let sought = Sought::new(leaves.filter(|leaf| leaf.field == at).map(|leaf| &leaf.spec));
        Ok(Self { sought, analyzer: Analyzer::new(column)?, options })
    }

    /// The fragments of a row of a string or string-array column. CPU work.
    pub(in crate::query) fn fragments(&self, array: &ArrayRef, row: usize) -> Vec<Fragment> {
        if array.is_null(row) {
            return Vec::new();
        }
        if let Some(strings) = array.as_string_opt::<i32>() {
            return self.of_texts(&[strings.value(row)]);
        }
        let list = array.as_list_opt::<i32>().map(|lists| lists.value(row));
        let strings = list.as_ref().and_then(|list| list.as_string_opt::<i32>());
        let texts = strings.map(|strings| strings.iter().map(Option::unwrap_or_default).collect::<Vec<_>>());
        self.of_texts(&texts.unwrap_or_default())
    }

    /// The fragments of the strings of a document.
    fn of_texts(&self, texts: &[&str]) -> Vec<Fragment> {
        let mut marks: Vec<Vec<Mark>> = Vec::new();
        let mut found: Vec<Candidate> = Vec::new();
        for (element, text) in texts.iter().enumerate() {
            if !self.options.ranked && found.len() >= self.options.limit {
                break;
            }
            let of_text = self.marks(text);
            candidates(element, pieces(text, self.options.by, &of_text), &of_text, &mut found);
            marks.push(of_text);
        }
        if self.options.ranked {
            found.sort_by_key(|one| Reverse((one.words, one.count)));
        }
        found.truncate(self.options.limit);
        // Places are counted once through each text, whatever order the fragments are in.
        let mut order: Vec<(usize, &Candidate)> = found.iter().enumerate().collect();
        order.sort_by_key(|(_, one)| (one.element, one.range.start));
        let mut fragments: Vec<(usize, Fragment)> = Vec::with_capacity(order.len());
        let mut counter = Counter::new(usize::MAX, "", self.options.offsets);
        for (rank, one) in order {
            let (Some(text), Some(marks)) = (texts.get(one.element), marks.get(one.element)) else {
                continue;
            };
            if counter.element != one.element {
                counter = Counter::new(one.element, text, self.options.offsets);
            }
            let marks = marks.get(one.marks.clone()).unwrap_or_default();
            fragments.push((rank, fragment(one, text, marks, &mut counter)));
        }
        fragments.sort_by_key(|(rank, _)| *rank);
        fragments.into_iter().map(|(_, fragment)| fragment).collect()
    }

    /// The tokens that match, in order.
    fn marks(&self, text: &str) -> Vec<Mark> {
        let mut marks: Vec<Mark> = Vec::new();
        let mut known = HashMap::new();
        self.analyzer.clone().for_each_token(text, |token, _, (start, end)| {
            if let Some(number) = self.sought.find(token, &mut known) {
                marks.push((start..end, number));
            }
        });
        marks.sort_by_key(|mark| (mark.0.start, mark.0.end));
        marks
    }
}

/// Adds the pieces of a text that have marks.
fn candidates(element: usize, pieces: Vec<Range<usize>>, marks: &[Mark], found: &mut Vec<Candidate>) {
    let mut from = 0;
    for range in pieces {
        let ahead = marks.get(from..).unwrap_or_default();
        from += ahead.iter().take_while(|(mark, _)| mark.start < range.start).count();
        let ahead = marks.get(from..).unwrap_or_default();
        let end = from + ahead.iter().take_while(|(mark, _)| mark.start < range.end).count();
        let within = marks.get(from..end).unwrap_or_default();
        let mut words = HashSet::new();
        let within = within.iter().filter(|(mark, _)| mark.end <= range.end);
        let count = within.map(|(_, number)| words.insert(*number)).count();
        if count > 0 {
            found.push(Candidate { element, range, words: words.len(), count, marks: from..end });
        }
        from = end;
    }
}

fn fragment(of: &Candidate, text: &str, marks: &[Mark], counter: &mut Counter<'_>) -> Fragment {
    let mut joined: Vec<Range<usize>> = Vec::new();
    for (mark, _) in marks.iter().filter(|(mark, _)| mark.end <= of.range.end) {
        match joined.last_mut() {
            // n-grams overlap.
            Some(last) if mark.start < last.end => last.end = last.end.max(mark.end),
            _ => joined.push(mark.clone()),
        }
    }
    let start = counter.count(of.range.start);
    let place = |range: Range<usize>| counter.count(range.start) - start..counter.count(range.end) - start;
    let matches = joined.into_iter().map(place).collect();
    let piece = text.get(of.range.clone()).unwrap_or_default().to_owned();
    Fragment { text: piece, element: of.element, range: start..counter.count(of.range.end), matches }
}

/// Counts places in a text, from each on to the next.
struct Counter<'a> {
    element: usize,
    text: &'a str,
    by: Offsets,
    at: usize,
    counted: usize,
}

impl<'a> Counter<'a> {
    fn new(element: usize, text: &'a str, by: Offsets) -> Self {
        Self { element, text, by, at: 0, counted: 0 }
    }

    /// What a place is that is not before the one asked for last.
    fn count(&mut self, to: usize) -> usize {
        let passed = self.text.get(self.at..to).unwrap_or_default();
        self.counted += match self.by {
            Offsets::Bytes => passed.len(),
            Offsets::Characters => passed.chars().count(),
            Offsets::Utf16 => passed.chars().map(char::len_utf16).sum(),
        };
        self.at = self.at.max(to);
        self.counted
    }
}

/// What is sought, by number, so that a token is looked up and not compared with each.
#[derive(Clone, Debug, Default)]
struct Sought {
    terms: HashMap<Box<str>, usize>,
    prefixes: HashMap<Box<str>, usize>,
    /// Lengths of the prefixes.
    lengths: BTreeSet<usize>,
    fuzzy: Vec<(LevenshteinAutomaton, usize)>,
}

/// Tokens whose comparison with misspelt words is remembered, in a text.
const KNOWN_MAX: usize = 1 << 16;

impl Sought {
    fn new<'a>(specs: impl Iterator<Item = &'a TermSpec>) -> Self {
        let mut sought = Self::default();
        for (number, spec) in specs.enumerate() {
            match spec {
                TermSpec::Term(text) => {
                    sought.terms.entry(text.clone()).or_insert(number);
                }
                TermSpec::Prefix(text) | TermSpec::CompletePrefix(text) => {
                    sought.prefixes.entry(text.clone()).or_insert(number);
                    sought.lengths.insert(text.len());
                }
                TermSpec::Fuzzy(text, edits) => {
                    sought.fuzzy.push((LevenshteinAutomaton::new(text, *edits), number));
                }
            }
        }
        sought
    }

    /// The first of what is sought that a token is.
    fn find(&self, token: &str, known: &mut HashMap<Box<str>, Option<usize>>) -> Option<usize> {
        let term = self.terms.get(token).copied();
        let prefixes = self.lengths.range(..=token.len()).filter_map(|length| token.get(..*length));
        let prefix = prefixes.filter_map(|prefix| self.prefixes.get(prefix)).min().copied();
        let fuzzy = if self.fuzzy.is_empty() { None } else { self.near(token, known) };
        [term, prefix, fuzzy].into_iter().flatten().min()
    }

    fn near(&self, token: &str, known: &mut HashMap<Box<str>, Option<usize>>) -> Option<usize> {
        if let Some(found) = known.get(token) {
            return *found;
        }
        let mut near = self.fuzzy.iter().filter(|(word, _)| word.edits_to(token.as_bytes()).is_some());
        let found = near.next().map(|(_, number)| *number);
        if known.len() < KNOWN_MAX {
            known.insert(token.into(), found);
        }
        found
    }
}

/// The leaves that a document is found by.
fn wanted(node: &TextNode, leaves: &mut BTreeSet<usize>) {
    match node {
        TextNode::Every => {}
        TextNode::Term(leaf, _) => {
            leaves.insert(*leaf);
        }
        TextNode::Phrase { terms: words, .. } => leaves.extend(words.iter().map(|(leaf, _)| *leaf)),
        TextNode::Any(nodes) | TextNode::All(nodes) | TextNode::Best(nodes) | TextNode::Product(nodes) => {
            for node in nodes {
                wanted(node, leaves);
            }
        }
        TextNode::Without(node, _) | TextNode::Boost(node, _) | TextNode::Rank(node, _, _) => {
            wanted(node, leaves);
        }
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
