//! Parsing the input of a search box into a text query.

use super::{TextMatch, TextPhrase, TextQuery};
use crate::filter::TextInput;

/// The most characters that are read, summed over the columns.
// Parsing never fails, so whatever is typed must stay within the limits of a text query, which are a little larger: 1,024
// tokens and 1,024 nodes. A token has at least one character, and each column has tokens of its own.
const CHARACTERS_MAX: usize = 1_000;
const CLAUSES_MAX: usize = 64;
/// The most nodes that clauses may take together, for the same reason.
const NODES_MAX: usize = 1_000;

/// Parses what people type into a search box. It is opt-in: nothing else in the crate gives characters a meaning.
///
/// | typed | meaning |
/// |---|---|
/// | `cold storage` | these words |
/// | `"cold storage"` | these words in a row |
/// | `"cold stor` | an unclosed quote extends to the end, and its last word is a prefix unless a space follows it |
/// | `-tea`, `-"green tea"` | without these; alone, every document without these, with a score of 0 |
/// | `title:cold`, `title:"cold storage"` | in this column, if it is one that [`SearchBox::field`] names |
///
/// Everything else is text. Parsing never fails. Of long input, the first 1,000 characters, shared among the columns, and
/// 64 clauses are read. A word or quote without tokens, such as a stop word or punctuation, is ignored; if nothing else
/// is left, nothing is found.
///
/// ```
/// use elacsym::{Query, SearchBox};
///
/// let search = SearchBox::new().column("title", 2.0).column("body", 1.0).field("author").every().prefix();
/// let query = Query::text(search.parse("\"object storage\" -tea author:smi"));
/// # let _ = query;
/// ```
///
/// Columns must have full text with word positions: n-gram columns do not support phrases.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct SearchBox {
    columns: Vec<(String, f32)>,
    fields: Vec<String>,
    every: bool,
    prefix: bool,
}

/// A word or quote of the input, with what precedes it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Clause {
    without: bool,
    field: Option<String>,
    quoted: bool,
    /// Whether it is a quote without an end.
    unclosed: bool,
    text: String,
}

impl SearchBox {
    /// A search box without columns.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a column to search, with the factor of its scores. The input may also name it.
    pub fn column(mut self, column: impl Into<String>, factor: f32) -> Self {
        self.columns.push((column.into(), factor));
        self
    }

    /// Adds a column that is searched only where the input names it: `author:` before a word.
    pub fn field(mut self, column: impl Into<String>) -> Self {
        self.fields.push(column.into());
        self
    }

    /// Requires every word and phrase. Default: one is enough.
    pub fn every(self) -> Self {
        Self { every: true, ..self }
    }

    /// Treats the last word as a prefix, unless a space follows it: for search as you type.
    pub fn prefix(self) -> Self {
        Self { prefix: true, ..self }
    }

    /// Parses an input.
    #[must_use]
    pub fn parse(&self, text: &str) -> TextQuery {
        let characters_max = CHARACTERS_MAX / self.columns.len().max(1);
        let text = match text.char_indices().nth(characters_max) {
            Some((end, _)) => text.split_at(end).0,
            None => text,
        };
        let clauses = self.split_clauses(text);
        // A space after the last word says that it is complete; a closed quote says so itself.
        let is_last_complete = text.ends_with(char::is_whitespace);
        let is_typing = !is_last_complete
            && clauses
                .last()
                .is_some_and(|last| !last.without && if last.quoted { last.unclosed } else { self.prefix });
        let last = clauses.len().saturating_sub(1);
        let (mut words, mut is_words_prefix) = (Vec::new(), false);
        let (mut wanted, mut without) = (Vec::new(), Vec::new());
        for (number, clause) in clauses.into_iter().enumerate() {
            let is_prefix = is_typing && number == last;
            match clause {
                Clause { without: true, .. } => without.push(self.clause_query(&clause, false)),
                // Words without a field are one match, wherever they stand: their tokens may be spread over the columns.
                Clause { field: None, quoted: false, text, .. } => {
                    words.push(text);
                    is_words_prefix = is_prefix;
                }
                clause => wanted.push(self.clause_query(&clause, is_prefix)),
            }
        }
        if !words.is_empty() {
            wanted.insert(0, self.match_words(&self.columns, words.join(" "), is_words_prefix));
        }
        let query = match (wanted.pop(), wanted.is_empty()) {
            (Some(only), true) => only,
            (None, _) if !without.is_empty() => TextQuery::Everything,
            (last, _) => {
                wanted.extend(last);
                if self.every && !wanted.is_empty() {
                    TextQuery::AllOf(wanted)
                } else {
                    TextQuery::AnyOf(wanted)
                }
            }
        };
        if without.is_empty() { query } else { query.without(TextQuery::AnyOf(without)) }
    }

    /// The query of one clause.
    fn clause_query(&self, clause: &Clause, prefix: bool) -> TextQuery {
        let named: Option<Vec<(String, f32)>> = clause.field.clone().map(|field| vec![(field, 1.0)]);
        let columns = named.as_ref().unwrap_or(&self.columns);
        if !clause.quoted {
            return self.match_words(columns, clause.text.clone(), prefix);
        }
        let phrase = |(column, factor): &(String, f32)| {
            let phrase = TextPhrase::new(column.as_str(), clause.text.as_str());
            TextQuery::from(if prefix { phrase.prefix() } else { phrase }).boost(*factor)
        };
        TextQuery::AnyOf(columns.iter().map(phrase).collect())
    }

    fn match_words(&self, columns: &[(String, f32)], text: String, prefix: bool) -> TextQuery {
        if columns.is_empty() {
            return TextQuery::AnyOf(Vec::new());
        }
        let (input, columns) = (TextInput::Text(text), columns.to_vec());
        TextMatch { input, columns, every: self.every, prefix, fuzzy: false }.into()
    }

    fn split_clauses(&self, text: &str) -> Vec<Clause> {
        let mut rest = text.trim_start();
        let mut clauses = Vec::new();
        // A phrase takes two nodes of a query for each column.
        let clauses_max = (NODES_MAX / (2 * self.columns.len() + 1)).clamp(1, CLAUSES_MAX);
        while !rest.is_empty() && clauses.len() < clauses_max {
            let mut clause = Clause::default();
            // A minus excludes only if something follows it directly: ` - ` is a dash.
            if let Some(after) = rest.strip_prefix('-').filter(|after| begins_word(after)) {
                (clause.without, rest) = (true, after);
            }
            let columns = self.columns.iter().map(|(name, _)| name).chain(&self.fields);
            let named = columns.filter_map(|name| Some((name, rest.strip_prefix(name.as_str())?)));
            let named = named.filter_map(|(name, after)| Some((name, after.strip_prefix(':')?)));
            if let Some((name, after)) =
                named.filter(|(_, after)| begins_word(after)).max_by_key(|(n, _)| n.len())
            {
                (clause.field, rest) = (Some(name.clone()), after);
            }
            if let Some(after) = rest.strip_prefix(QUOTES) {
                clause.quoted = true;
                clause.unclosed = !after.contains(QUOTES);
                let (within, after) = after.split_once(QUOTES).unwrap_or((after, ""));
                (clause.text, rest) = (within.to_owned(), after);
            } else {
                let end = rest.find(|c: char| c.is_whitespace() || QUOTES.contains(&c)).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                (clause.text, rest) = (word.to_owned(), after);
            }
            rest = rest.trim_start();
            // Empty quotes are what is there while a quote is being typed.
            if !(clause.quoted && clause.text.trim().is_empty()) {
                clauses.push(clause);
            }
        }
        clauses
    }
}

/// Quotation marks, as keyboards and word processors write them.
const QUOTES: [char; 4] = ['"', '\u{201C}', '\u{201D}', '\u{201E}'];

fn begins_word(text: &str) -> bool {
    text.starts_with(|c: char| !c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_has_its_meaning() {
        let search = SearchBox::new().column("body", 1.0).field("author");
        let words = |text: &str| TextQuery::any("body", text);
        let phrase =
            |column: &str, text: &str| TextQuery::AnyOf(vec![TextQuery::phrase(column, text).boost(1.0)]);
        assert_eq!(search.parse("cold  tea"), words("cold tea"));
        assert_eq!(
            search.parse("cold -tea - x"),
            words("cold - x").without(TextQuery::AnyOf(vec![words("tea")]))
        );
        let open = TextQuery::from(TextPhrase::new("body", "cold tea").prefix()).boost(1.0);
        assert_eq!(search.parse("\"cold tea"), TextQuery::AnyOf(vec![open]));
        assert_eq!(search.parse("\"cold tea "), phrase("body", "cold tea "));
        assert_eq!(search.parse("\"cold tea\""), phrase("body", "cold tea"));
        assert_eq!(search.parse("-tea"), TextQuery::Everything.without(TextQuery::AnyOf(vec![words("tea")])));
        assert_eq!(
            search.parse("x -\"tea c"),
            words("x").without(TextQuery::AnyOf(vec![phrase("body", "tea c")]))
        );
        assert_eq!(search.parse("author:\"a b\""), phrase("author", "a b"));
        assert_eq!(search.parse("author:ann"), TextQuery::any("author", "ann"));
        assert_eq!(search.parse("title:ann author: x"), words("title:ann author: x"));
        assert_eq!(search.parse("a\"b c\"d"), TextQuery::AnyOf(vec![words("a d"), phrase("body", "b c")]));
        assert_eq!(search.parse(""), TextQuery::AnyOf(Vec::new()));
        let typing = search.clone().every().prefix();
        let all = TextMatch::all("co st").column("body", 1.0);
        assert_eq!(typing.parse("co st"), all.clone().prefix().into());
        assert_eq!(typing.parse("co st "), all.into());
    }
}
