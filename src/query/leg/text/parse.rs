//! What is typed into a search box, as a text query.

use super::{TextMatch, TextPhrase, TextQuery};
use crate::filter::TextInput;

/// Characters that are read, over all columns: so that every text stays within the limits of a query.
const CHARACTERS_MAX: usize = 1_000;
const CLAUSES_MAX: usize = 64;
/// Nodes that the clauses may take together, for the same reason.
const NODES: usize = 1_000;

/// Reads what people type into a search box. It is opt-in: nothing else in the crate gives characters a meaning.
///
/// | typed | meaning |
/// |---|---|
/// | `cold storage` | these words |
/// | `"cold storage"` | these words in a row |
/// | `"cold stor` | a quote that is not closed goes to the end, and its last word may go on, unless a space follows it |
/// | `-tea`, `-"green tea"` | without these; alone, every document without these, with a score of 0 |
/// | `title:cold`, `title:"cold storage"` | in this column, if it is one that [`SearchBox::field`] names |
///
/// Everything else is text, and every text has a meaning: reading never fails. Of long text the first 1,000
/// characters are read, shared among the columns, and 64 clauses. A word or a quote of which a column's analysis leaves
/// nothing, as of stop words or signs alone, is passed over; where nothing else is asked for, nothing is found.
///
/// ```
/// use elacsym::query::SearchBox;
/// use elacsym::Query;
///
/// let search = SearchBox::new().column("title", 2.0).column("body", 1.0).field("author").every().prefix();
/// let query = Query::text(search.parse("\"object storage\" -tea author:smi"));
/// # let _ = query;
/// ```
///
/// Columns must have full text and words in places: of n-grams there are no phrases.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct SearchBox {
    columns: Vec<(String, f32)>,
    fields: Vec<String>,
    every: bool,
    prefix: bool,
}

/// A piece of what was typed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Clause {
    without: bool,
    field: Option<String>,
    quoted: bool,
    /// Whether it is a quote that is not closed.
    unclosed: bool,
    text: String,
}

impl SearchBox {
    /// Without a column to look in.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more column that words are looked for in, and the factor of its scores. It can be named.
    pub fn column(mut self, column: impl Into<String>, factor: f32) -> Self {
        self.columns.push((column.into(), factor));
        self
    }

    /// One more column that can be named: `author:` before a word.
    pub fn field(mut self, column: impl Into<String>) -> Self {
        self.fields.push(column.into());
        self
    }

    /// Every word and phrase must be there. Default: one is enough.
    pub fn every(self) -> Self {
        Self { every: true, ..self }
    }

    /// The last word may go on, unless a space follows it: for search while typing.
    pub fn prefix(self) -> Self {
        Self { prefix: true, ..self }
    }

    /// The query that a text means.
    #[must_use]
    pub fn parse(&self, text: &str) -> TextQuery {
        let most = CHARACTERS_MAX / self.columns.len().max(1);
        let end = text.char_indices().nth(most).map_or(text.len(), |(at, _)| at);
        let text = text.get(..end).unwrap_or_default();
        let clauses = self.clauses(text);
        let whole = text.ends_with(char::is_whitespace);
        let typing = !whole
            && clauses
                .last()
                .is_some_and(|last| !last.without && if last.quoted { last.unclosed } else { self.prefix });
        let last = clauses.len().saturating_sub(1);
        let (mut words, mut words_go_on) = (Vec::new(), false);
        let (mut wanted, mut without) = (Vec::new(), Vec::new());
        for (number, clause) in clauses.into_iter().enumerate() {
            let goes_on = typing && number == last;
            match clause {
                Clause { without: true, .. } => without.push(self.query(&clause, false)),
                Clause { field: None, quoted: false, text, .. } => {
                    words.push(text);
                    words_go_on = goes_on;
                }
                clause => wanted.push(self.query(&clause, goes_on)),
            }
        }
        if !words.is_empty() {
            wanted.insert(0, self.words(&self.columns, words.join(" "), words_go_on));
        }
        let query = match (wanted.pop(), wanted.is_empty()) {
            (Some(only), true) => only,
            (None, _) if !without.is_empty() => TextQuery::Everything,
            (last, _) => {
                wanted.extend(last);
                if self.every && !wanted.is_empty() { TextQuery::All(wanted) } else { TextQuery::Any(wanted) }
            }
        };
        if without.is_empty() { query } else { query.without(TextQuery::Any(without)) }
    }

    /// What one clause means.
    fn query(&self, clause: &Clause, prefix: bool) -> TextQuery {
        let named: Option<Vec<(String, f32)>> = clause.field.clone().map(|field| vec![(field, 1.0)]);
        let columns = named.as_ref().unwrap_or(&self.columns);
        if !clause.quoted {
            return self.words(columns, clause.text.clone(), prefix);
        }
        let phrase = |(column, factor): &(String, f32)| {
            let phrase = TextPhrase::new(column.as_str(), clause.text.as_str());
            TextQuery::from(if prefix { phrase.prefix() } else { phrase }).boost(*factor)
        };
        TextQuery::Any(columns.iter().map(phrase).collect())
    }

    fn words(&self, columns: &[(String, f32)], text: String, prefix: bool) -> TextQuery {
        if columns.is_empty() {
            return TextQuery::Any(Vec::new());
        }
        let (input, columns) = (TextInput::Text(text), columns.to_vec());
        TextMatch { input, columns, every: self.every, prefix, fuzzy: false }.into()
    }

    fn clauses(&self, text: &str) -> Vec<Clause> {
        let mut rest = text.trim_start();
        let mut clauses = Vec::new();
        // A phrase takes two nodes of a query for each column.
        let most = (NODES / (2 * self.columns.len() + 1)).clamp(1, CLAUSES_MAX);
        while !rest.is_empty() && clauses.len() < most {
            let mut clause = Clause::default();
            // A minus is one only before what it may do without.
            if let Some(after) = rest.strip_prefix('-').filter(|after| begins(after)) {
                (clause.without, rest) = (true, after);
            }
            let columns = self.columns.iter().map(|(name, _)| name).chain(&self.fields);
            let named = columns.filter_map(|name| Some((name, rest.strip_prefix(name.as_str())?)));
            let named = named.filter_map(|(name, after)| Some((name, after.strip_prefix(':')?)));
            if let Some((name, after)) = named.filter(|(_, after)| begins(after)).max_by_key(|(n, _)| n.len())
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
                let (word, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
                (clause.text, rest) = (word.to_owned(), after);
            }
            rest = rest.trim_start();
            // Quotes of nothing say nothing.
            if !(clause.quoted && clause.text.trim().is_empty()) {
                clauses.push(clause);
            }
        }
        clauses
    }
}

/// As keyboards and word processors write them.
const QUOTES: [char; 4] = ['"', '\u{201C}', '\u{201D}', '\u{201E}'];

fn begins(text: &str) -> bool {
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
            |column: &str, text: &str| TextQuery::Any(vec![TextQuery::phrase(column, text).boost(1.0)]);
        assert_eq!(search.parse("cold  tea"), words("cold tea"));
        assert_eq!(
            search.parse("cold -tea - x"),
            words("cold - x").without(TextQuery::Any(vec![words("tea")]))
        );
        let open = TextQuery::from(TextPhrase::new("body", "cold tea").prefix()).boost(1.0);
        assert_eq!(search.parse("\"cold tea"), TextQuery::Any(vec![open]));
        assert_eq!(search.parse("\"cold tea "), phrase("body", "cold tea "));
        assert_eq!(search.parse("\"cold tea\""), phrase("body", "cold tea"));
        assert_eq!(search.parse("-tea"), TextQuery::Everything.without(TextQuery::Any(vec![words("tea")])));
        assert_eq!(
            search.parse("x -\"tea c"),
            words("x").without(TextQuery::Any(vec![phrase("body", "tea c")]))
        );
        assert_eq!(search.parse("author:\"a b\""), phrase("author", "a b"));
        assert_eq!(search.parse("author:ann"), TextQuery::any("author", "ann"));
        assert_eq!(search.parse("title:ann author: x"), words("title:ann author: x"));
        assert_eq!(search.parse("a\"b c\"d"), TextQuery::Any(vec![words("a d"), phrase("body", "b c")]));
        assert_eq!(search.parse(""), TextQuery::Any(Vec::new()));
        let typing = search.clone().every().prefix();
        let all = TextMatch::all("co st").column("body", 1.0);
        assert_eq!(typing.parse("co st"), all.clone().prefix().into());
        assert_eq!(typing.parse("co st "), all.into());
    }
}
