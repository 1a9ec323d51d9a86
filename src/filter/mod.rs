//! `Filter`: which documents, as an expression over their columns.
//!
//! A filter goes through two steps: `bind` checks it against the schema and makes it typed, `exec` evaluates
//! it on record batches. Two more spare reading: `prune` leaves segments out by their statistics, `plan` asks
//! indexes.
//!
//! **Invariant:** logic is two-valued. Every predicate is true or false on every document, null or not, and a
//! negation is true just where what it negates is false.

mod bind;
mod exec;
mod fuzzy;
mod input;
mod literal;
mod operand;
#[cfg(test)]
mod oracle;
mod pattern;
mod place;
mod plan;
#[cfg(test)]
mod property;
mod prune;
mod tokens;
mod tree;

pub(crate) use bind::BoundFilter;
pub use fuzzy::Fuzzy;
pub use input::TextInput;
pub(crate) use input::{InputTokens, check_places, text_column};
pub use operand::Operand;
pub(crate) use plan::{IndexPlan, SegmentIndexes};
pub(crate) use prune::ZoneMapFilter;
pub use tokens::TokenFilter;
pub(crate) use tree::FilterWeight;

use std::mem;
use std::ops::{BitAnd, BitOr};

use crate::types::Value;

/// Which documents: predicates on columns, joined by and, or and not.
///
/// ```
/// use elacsym::Filter;
///
/// let filter = Filter::and([Filter::eq("kind", "noun"), Filter::gt("length", 3)]);
/// assert_eq!(filter, Filter::eq("kind", "noun") & Filter::gt("length", 3));
///
/// let spared = Filter::is_in("lang", ["de", "fr"]) | !Filter::contains("tags", "draft");
/// # let _ = spared;
/// ```
///
/// # Nulls
/// Logic is two-valued, as in a programming language and unlike SQL:
/// - A predicate on a column that is null is false. The exceptions are those that ask for null:
///   [`is_null`](Self::is_null), [`eq`](Self::eq) with a null, which is the same, and
///   [`is_in`](Self::is_in) with a null among its values.
/// - Every negated operator is exactly the [`not`](Self::not) of its positive one, so it is true for nulls:
///   `not_eq("kind", "noun")` matches documents without a kind. Add `& is_not_null("kind")` to leave them out.
/// - [`lt`](Self::lt), [`lte`](Self::lte), [`gt`](Self::gt), [`gte`](Self::gte) and the predicates on
///   elements refuse a null; an [`Operand::New`] that turns out null makes them false.
///
/// So a double negation changes nothing, and De Morgan's laws hold.
///
/// # Columns and types
/// A predicate works on attributes and on the id (as `id`). Vector columns can only be asked whether they are
/// null.
///
/// | predicates | columns |
/// |---|---|
/// | `is_null` | all |
/// | `eq`, `is_in` | all but vectors; an array equals an array of the same elements in the same order |
/// | `lt`, `lte`, `gt`, `gte` | string, int, uint, float, datetime, uuid |
/// | `contains`, `contains_any` | arrays |
/// | `any_lt`, `any_lte`, `any_gt`, `any_gte` | arrays of string, int, uint, float, datetime, uuid |
/// | `glob`, `iglob`, `regex`, `fuzzy` | string; arrays of strings, where any element may match |
/// | `contains_any_token`, `contains_all_tokens`, `contains_token_sequence` | those with full text |
///
/// A value must be of the column's type, with these exceptions:
/// - Numbers of any type compare with int, uint and float columns by what they are, and nothing is rounded: no int
///   equals 5.5 or [`u64::MAX`] but all are less than the latter, every uint is greater than -1, and a float that is
///   2^53 does not equal the integer 2^53 + 1.
/// - A datetime may be a string in RFC 3339, of which what is finer than a millisecond is cut off, towards the past, as
///   it is of datetimes that are stored.
/// - A UUID may be a string that spells one.
///
/// Strings order by their UTF-8 bytes, UUIDs by their bytes; truth values and bytes have no order.
///
/// # Limits
/// [`Settings`](crate::Settings) bounds how deep a filter nests, how many nodes it has (each predicate, and,
/// or and not is one; a negated operator is two) and how many values a list holds; deeper than 256 levels no
/// setting allows. A pattern is at most 1 KiB and takes at most 1 MiB when compiled, a fuzzy query has at most
/// 256 characters, and a filter has at most 64 patterns and fuzzy queries. What all filters of a query may take
/// together stands in the table of [`Query`](crate::Query).
/// A filter of any depth is cloned, compared and dropped safely; what is printed of one ends below 64 levels.
#[non_exhaustive]
pub enum Filter {
    /// All of these; of none, true.
    And(Vec<Filter>),
    /// Any of these; of none, false.
    Or(Vec<Filter>),
    /// Not this.
    Not(Box<Filter>),
    /// The column is null.
    IsNull(String),
    /// The column equals the operand.
    Eq(String, Operand),
    /// The column is less than the operand.
    Lt(String, Operand),
    /// The column is less than the operand or equal to it.
    Lte(String, Operand),
    /// The column is greater than the operand.
    Gt(String, Operand),
    /// The column is greater than the operand or equal to it.
    Gte(String, Operand),
    /// The column equals one of the values.
    In(String, Vec<Value>),
    /// The array has an element that equals the operand.
    Contains(String, Operand),
    /// The array has an element that equals one of the values.
    ContainsAny(String, Vec<Value>),
    /// The array has an element less than the operand.
    AnyLt(String, Operand),
    /// The array has an element less than the operand or equal to it.
    AnyLte(String, Operand),
    /// The array has an element greater than the operand.
    AnyGt(String, Operand),
    /// The array has an element greater than the operand or equal to it.
    AnyGte(String, Operand),
    /// The whole string matches the pattern.
    Glob(String, String),
    /// The whole string matches the pattern but for case.
    IGlob(String, String),
    /// The string has a match of the regular expression.
    Regex(String, String),
    /// The string holds the query but for some edits.
    Fuzzy(String, Fuzzy),
    /// The text holds tokens.
    Tokens(TokenFilter),
}

/// Joining filters.
impl Filter {
    /// All of these. Of none: every document.
    pub fn and(filters: impl IntoIterator<Item = Self>) -> Self {
        Self::And(filters.into_iter().collect())
    }

    /// Any of these. Of none: no document.
    pub fn or(filters: impl IntoIterator<Item = Self>) -> Self {
        Self::Or(filters.into_iter().collect())
    }

    /// Every document that `filter` does not match. `!filter` is the same.
    #[must_use]
    #[expect(
        clippy::should_implement_trait,
        reason = "the operator is there too; this reads well beside `and`"
    )]
    pub fn not(mut filter: Self) -> Self {
        if let Self::Not(inner) = &mut filter {
            return inner.take();
        }
        Self::Not(Box::new(filter))
    }

    /// Leaves behind a filter without children.
    fn take(&mut self) -> Self {
        mem::replace(self, Self::And(Vec::new()))
    }
}

/// Predicates. Each is described with the type it takes in the table of [`Filter`].
impl Filter {
    /// The column is null, or was never set.
    pub fn is_null(column: impl Into<String>) -> Self {
        Self::IsNull(column.into())
    }

    /// The column has a value.
    pub fn is_not_null(column: impl Into<String>) -> Self {
        Self::not(Self::is_null(column))
    }

    /// The column equals the operand. Equal to null means null.
    pub fn eq(column: impl Into<String>, operand: impl Into<Operand>) -> Self {
        Self::Eq(column.into(), operand.into())
    }

    /// The column does not equal the operand: also true of a null, unless the operand is null.
    pub fn not_eq(column: impl Into<String>, operand: impl Into<Operand>) -> Self {
        Self::not(Self::eq(column, operand))
    }

    /// The column is less than the operand.
    pub fn lt(column: impl Into<String>, operand: impl Into<Operand>) -> Self {
        Self::Lt(column.into(), operand.into())
    }

    /// The column is less than the operand or equal to it.
    pub fn lte(column: impl Into<String>, operand: impl Into<Operand>) -> Self {
        Self::Lte(column.into(), operand.into())
    }

    /// The column is greater than the operand.
    pub fn gt(column: impl Into<String>, operand: impl Into<Operand>) -> Self {
        Self::Gt(column.into(), operand.into())
    }

    /// The column is greater than the operand or equal to it.
    pub fn gte(column: impl Into<String>, operand: impl Into<Operand>) -> Self {
        Self::Gte(column.into(), operand.into())
    }

    /// The column equals one of the values. Of no values: no document.
    pub fn is_in<V: Into<Value>>(column: impl Into<String>, values: impl IntoIterator<Item = V>) -> Self {
        Self::In(column.into(), values.into_iter().map(Into::into).collect())
    }

    /// The column equals none of the values: also true of a null, unless null is one of them.
    pub fn not_in<V: Into<Value>>(column: impl Into<String>, values: impl IntoIterator<Item = V>) -> Self {
        Self::not(Self::is_in(column, values))
    }

    /// The array has an element that equals the operand.
    pub fn contains(column: impl Into<String>, operand: impl Into<Operand>) -> Self {
        Self::Contains(column.into(), operand.into())
    }

    /// The array has no such element: also true of a null.
    pub fn not_contains(column: impl Into<String>, operand: impl Into<Operand>) -> Self {
        Self::not(Self::contains(column, operand))
    }

    /// The array has an element that equals one of the values.
    pub fn contains_any<V: Into<Value>>(
        column: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        Self::ContainsAny(column.into(), values.into_iter().map(Into::into).collect())
    }

    /// The array has no such element: also true of a null.
    pub fn not_contains_any<V: Into<Value>>(
        column: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        Self::not(Self::contains_any(column, values))
    }

    /// The array has an element less than the operand.
    pub fn any_lt(column: impl Into<String>, operand: impl Into<Operand>) -> Self {
        Self::AnyLt(column.into(), operand.into())
    }

    /// The array has an element less than the operand or equal to it.
    pub fn any_lte(column: impl Into<String>, operand: impl Into<Operand>) -> Self {
        Self::AnyLte(column.into(), operand.into())
    }

    /// The array has an element greater than the operand.
    pub fn any_gt(column: impl Into<String>, operand: impl Into<Operand>) -> Self {
        Self::AnyGt(column.into(), operand.into())
    }

    /// The array has an element greater than the operand or equal to it.
    pub fn any_gte(column: impl Into<String>, operand: impl Into<Operand>) -> Self {
        Self::AnyGte(column.into(), operand.into())
    }

    /// The whole string matches a pattern:
    ///
    /// | pattern | matches |
    /// |---|---|
    /// | `*` | any number of any characters, `/` too |
    /// | `?` | any one character |
    /// | `[ab]`, `[a-z]` | one of these |
    /// | `[!ab]`, `[^ab]` | one character but these |
    /// | `{a,b}` | any of these patterns, which may be empty or nest |
    /// | `\*` | `*` itself, and so for every character |
    ///
    /// Within brackets a `]` that comes first and a `-` that comes first or last stand for themselves, and so
    /// does everything else. `**` means the same as `*`.
    ///
    /// ```
    /// use elacsym::Filter;
    ///
    /// let images = Filter::glob("path", "img/*.{png,jpg}");
    /// # let _ = images;
    /// ```
    pub fn glob(column: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self::Glob(column.into(), pattern.into())
    }

    /// The string does not match the pattern: also true of a null.
    pub fn not_glob(column: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self::not(Self::glob(column, pattern))
    }

    /// As [`glob`](Self::glob), but upper and lower case are the same (by Unicode's simple case folding).
    pub fn iglob(column: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self::IGlob(column.into(), pattern.into())
    }

    /// The string does not match the pattern, whatever the case: also true of a null.
    pub fn not_iglob(column: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self::not(Self::iglob(column, pattern))
    }

    /// The string has a match of a regular expression, anywhere: use `^` and `$` to match it whole. The syntax
    /// is that of the `regex` crate; there are no look-around and no back-references, and matching takes
    /// linear time.
    pub fn regex(column: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self::Regex(column.into(), pattern.into())
    }

    /// The string holds the query anywhere but for some edits: characters that are inserted, deleted or replaced.
    /// By default a query of 3 characters or more may be found as it is, of 6 with one edit, of 9 with two;
    /// shorter ones match nothing. [`Fuzzy`] says more, and has the options.
    ///
    /// ```
    /// use elacsym::query::Fuzzy;
    /// use elacsym::*;
    /// # use elacsym::schema::AttributeType;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let schema = Schema::builder(IdKind::U64).attribute("title", AttributeType::String).build()?;
    /// # let books = Database::open("memory://").await?.create_namespace("books", schema).await?;
    /// let batch = WriteBatch::new()
    ///     .upsert(Document::new(1).with("title", "On Levenshtein's distance"))
    ///     .upsert(Document::new(2).with("title", "ON LEVENSTEIN"))
    ///     .upsert(Document::new(3).with("title", "On distance"));
    /// books.write(batch).await?;
    /// let count = async |filter| books.snapshot(Consistency::Strong).await?.count_matching(&filter).await;
    /// assert_eq!(count(Filter::fuzzy("title", "Levenstein")).await?, 1);
    /// assert_eq!(count(Filter::fuzzy("title", Fuzzy::new("levenstein").any_case())).await?, 2);
    /// # Ok(()) }
    /// ```
    pub fn fuzzy(column: impl Into<String>, query: impl Into<Fuzzy>) -> Self {
        Self::Fuzzy(column.into(), query.into())
    }

    /// The string does not hold the query, whatever is forgiven: also true of a null.
    pub fn not_fuzzy(column: impl Into<String>, query: impl Into<Fuzzy>) -> Self {
        Self::not(Self::fuzzy(column, query))
    }

    /// The text holds at least one token of the input, cut as the column says. [`TokenFilter`] says more.
    pub fn contains_any_token(column: impl Into<String>, input: impl Into<TextInput>) -> Self {
        TokenFilter::any(column, input).into()
    }

    /// The text holds all tokens of the input.
    pub fn contains_all_tokens(column: impl Into<String>, input: impl Into<TextInput>) -> Self {
        TokenFilter::all(column, input).into()
    }

    /// The text holds the tokens of the input one behind the other.
    pub fn contains_token_sequence(column: impl Into<String>, input: impl Into<TextInput>) -> Self {
        TokenFilter::sequence(column, input).into()
    }

    /// What a filter that may be there and one more let through.
    pub(crate) fn narrowed(one: Option<Self>, other: Self) -> Self {
        match one {
            Some(one) => one & other,
            None => other,
        }
    }

    /// Both of two filters that may be there.
    pub(crate) fn both(one: Option<&Self>, other: Option<&Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(one.clone() & other.clone()),
            (one, other) => one.or(other).cloned(),
        }
    }

    /// The string has no match of the regular expression: also true of a null.
    pub fn not_regex(column: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self::not(Self::regex(column, pattern))
    }
}

impl BitAnd for Filter {
    type Output = Self;

    /// Both. A chain of `&` is one [`Filter::And`].
    fn bitand(mut self, other: Self) -> Self {
        if let Self::And(filters) = &mut self {
            filters.push(other);
            return self;
        }
        Self::And(vec![self, other])
    }
}

impl BitOr for Filter {
    type Output = Self;

    /// Either. A chain of `|` is one [`Filter::Or`].
    fn bitor(mut self, other: Self) -> Self {
        if let Self::Or(filters) = &mut self {
            filters.push(other);
            return self;
        }
        Self::Or(vec![self, other])
    }
}

impl std::ops::Not for Filter {
    type Output = Self;

    fn not(self) -> Self {
        Self::not(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_and_constructors_say_the_same() {
        let (a, b, c) = (Filter::eq("a", 1), Filter::is_null("b"), Filter::glob("c", "x*"));
        assert_eq!(a.clone() & b.clone() & c.clone(), Filter::and([a.clone(), b.clone(), c.clone()]));
        assert_eq!(a.clone() | b.clone() | c.clone(), Filter::or([a.clone(), b.clone(), c.clone()]));
        assert_eq!(!a.clone(), Filter::not_eq("a", 1));
        assert_eq!(!!a.clone(), a);
        assert_eq!(!Filter::is_not_null("b"), b);
    }
}
