//! The constructors of predicates.

use super::{Filter, Fuzzy, Operand, TextInput, TokenFilter};
use crate::types::Value;

/// Predicates. The table of [`Filter`] lists the column types each of them supports.
impl Filter {
    /// The column is null or was never set.
    pub fn is_null(column: impl Into<String>) -> Self {
        Self::IsNull(column.into())
    }

    /// The column has a value.
    pub fn is_not_null(column: impl Into<String>) -> Self {
        Self::not(Self::is_null(column))
    }

    /// The column equals the operand. Equality with null tests for null.
    pub fn eq(column: impl Into<String>, operand: impl Into<Operand>) -> Self {
        Self::Eq(column.into(), operand.into())
    }

    /// The column does not equal the operand: also true of a null, unless the operand is null.
    #[doc(alias = "ne")]
    pub fn not_eq(column: impl Into<String>, operand: impl Into<Operand>) -> Self {
        Self::not(Self::eq(column, operand))
    }

    /// The column is less than the operand.
    pub fn lt(column: impl Into<String>, operand: impl Into<Operand>) -> Self {
        Self::Lt(column.into(), operand.into())
    }

    /// The column is less than the operand or equal to it.
    #[doc(alias = "le")]
    pub fn lte(column: impl Into<String>, operand: impl Into<Operand>) -> Self {
        Self::Lte(column.into(), operand.into())
    }

    /// The column is greater than the operand.
    pub fn gt(column: impl Into<String>, operand: impl Into<Operand>) -> Self {
        Self::Gt(column.into(), operand.into())
    }

    /// The column is greater than the operand or equal to it.
    #[doc(alias = "ge")]
    pub fn gte(column: impl Into<String>, operand: impl Into<Operand>) -> Self {
        Self::Gte(column.into(), operand.into())
    }

    /// The column is from `low` to `high`, both included: `gte` and `lte`.
    ///
    /// ```
    /// use elacsym::{Filter, Value};
    ///
    /// let nineties = Filter::between("year", 1990, 1999);
    /// assert_eq!(nineties, Filter::gte("year", 1990) & Filter::lte("year", 1999));
    /// let since = Filter::gte("published", Value::datetime("2024-01-31")?);
    /// # let _ = since;
    /// # Ok::<(), elacsym::Error>(())
    /// ```
    #[doc(alias = "range")]
    pub fn between(column: impl Into<String>, low: impl Into<Operand>, high: impl Into<Operand>) -> Self {
        let column = column.into();
        Self::gte(column.clone(), low) & Self::lte(column, high)
    }

    /// The column equals one of the values. An empty list matches no document.
    #[doc(alias = "one_of")]
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
    /// | `*` | any number of any characters, including `/` |
    /// | `?` | any one character |
    /// | `[ab]`, `[a-z]` | one of these |
    /// | `[!ab]`, `[^ab]` | one character other than these |
    /// | `{a,b}` | any of these patterns, which may be empty and may nest |
    /// | `\*` | `*` itself; a backslash makes any character literal |
    ///
    /// Within brackets, a leading `]`, a leading or trailing `-`, and all other characters are literal. `**` is the
    /// same as `*`.
    ///
    /// ```
    /// use elacsym::Filter;
    ///
    /// let images = Filter::glob("path", "img/*.{png,jpg}");
    /// # let _ = images;
    /// ```
    #[doc(alias("like", "wildcard"))]
    pub fn glob(column: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self::Glob(column.into(), pattern.into())
    }

    /// The string does not match the pattern: also true of a null.
    pub fn not_glob(column: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self::not(Self::glob(column, pattern))
    }

    /// As [`glob`](Self::glob), ignoring case by Unicode's simple case folding.
    #[doc(alias = "ilike")]
    pub fn iglob(column: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self::IGlob(column.into(), pattern.into())
    }

    /// The string does not match the pattern, ignoring case: also true of a null.
    pub fn not_iglob(column: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self::not(Self::iglob(column, pattern))
    }

    /// The string has a match of a regular expression anywhere; anchor it with `^` and `$` to match the whole string.
    /// The syntax is that of the `regex` crate, without look-around and back-references. Matching takes linear time.
    pub fn regex(column: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self::Regex(column.into(), pattern.into())
    }

    /// The string has no match of the regular expression: also true of a null.
    pub fn not_regex(column: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self::not(Self::regex(column, pattern))
    }

    /// Some part of the string is within an edit distance of the query. An edit inserts, deletes or replaces a
    /// character. By default, a query of 3 to 5 characters must match exactly, of 6 to 8 with at most one edit, and a
    /// longer one with at most two; a shorter query matches nothing. [`Fuzzy`] has the details and options.
    ///
    /// ```
    /// use elacsym::Fuzzy;
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

    /// No part of the string is close enough to the query: also true of a null.
    pub fn not_fuzzy(column: impl Into<String>, query: impl Into<Fuzzy>) -> Self {
        Self::not(Self::fuzzy(column, query))
    }

    /// The text contains at least one token of the input, which the column's tokenizer splits. See [`TokenFilter`].
    pub fn contains_any_token(column: impl Into<String>, input: impl Into<TextInput>) -> Self {
        TokenFilter::any(column, input).into()
    }

    /// The text contains all tokens of the input.
    pub fn contains_all_tokens(column: impl Into<String>, input: impl Into<TextInput>) -> Self {
        TokenFilter::all(column, input).into()
    }

    /// The text contains the tokens of the input at consecutive positions.
    pub fn contains_token_sequence(column: impl Into<String>, input: impl Into<TextInput>) -> Self {
        TokenFilter::sequence(column, input).into()
    }
}
