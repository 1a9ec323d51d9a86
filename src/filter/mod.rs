//! `Filter`: an expression over columns that selects documents.
//!
//! A filter passes through these stages:
//!
//! | stage | file | does |
//! |---|---|---|
//! | bind | `bind` | checks names, types and limits against the schema, and folds constants: [`BoundFilter`] |
//! | prune | `prune` | skips whole segments by the statistics of their columns (zone maps): [`ZoneMapFilter`] |
//! | plan | `plan` | turns predicates into probes of a segment's indexes: [`IndexPlan`] |
//! | probe | `plan::probe` | combines the answers into definite and possible rows |
//! | evaluate | `evaluate` | compares values, a column at a time, for the rows still in doubt and for the tail |
//!
//! Pruning and planning only save reads. A stage that does not support a predicate answers "possible" for all rows.
//!
//! **Invariant:** logic is two-valued. Every predicate is true or false on every document, null or not, and a
//! negation is true exactly where its operand is false.

mod bind;
mod bound;
mod coercion;
mod evaluate;
#[cfg(test)]
mod fuzz;
mod fuzzy;
mod input;
mod json;
mod literal;
mod operand;
#[cfg(test)]
mod oracle;
mod pattern;
mod plan;
mod predicates;
#[cfg(test)]
mod property;
mod prune;
mod size;
mod tokens;
mod tree;

pub(crate) use bound::BoundFilter;
pub use fuzzy::Fuzzy;
pub use input::TextInput;
pub(crate) use input::{InputTokens, check_phrase_positions, text_column};
pub use operand::Operand;
pub(crate) use plan::{IndexPlan, SegmentIndexes};
pub(crate) use prune::ZoneMapFilter;
pub(crate) use size::FilterWeight;
pub use tokens::TokenFilter;

use std::mem;
use std::ops::{BitAnd, BitOr};

use crate::types::Value;

/// An expression that selects documents: predicates on columns, combined by and, or and not.
///
/// ```
/// use elacsym::Filter;
///
/// let filter = Filter::and([Filter::eq("kind", "noun"), Filter::gt("length", 3)]);
/// assert_eq!(filter, Filter::eq("kind", "noun") & Filter::gt("length", 3));
///
/// let either = Filter::is_in("lang", ["de", "fr"]) | !Filter::contains("tags", "draft");
/// # let _ = either;
/// ```
///
/// # Nulls
/// Logic is two-valued, as in a programming language and unlike SQL:
/// - A predicate on a null is false. The exceptions are those that test for null: [`is_null`](Self::is_null),
///   [`eq`](Self::eq) with a null, which is the same, and [`is_in`](Self::is_in) with a null in its list.
/// - Every negated operator is exactly the [`not`](Self::not) of its positive one, so it is true for nulls:
///   `not_eq("kind", "noun")` matches documents without a kind. Add `& is_not_null("kind")` to leave them out.
/// - [`lt`](Self::lt), [`lte`](Self::lte), [`gt`](Self::gt), [`gte`](Self::gte) and the predicates on
///   elements reject a null operand; they are false if an [`Operand::New`] is null.
///
/// Double negation is the identity, and De Morgan's laws hold.
///
/// # Columns and types
/// Predicates apply to attributes and to the id (as `id`). Vector columns only support `is_null`.
///
/// | predicates | columns |
/// |---|---|
/// | `is_null` | all |
/// | `eq`, `is_in` | all but vectors; an array equals an array of the same elements in the same order |
/// | `lt`, `lte`, `gt`, `gte`, `between` | string, int, uint, float, datetime, uuid |
/// | `contains`, `contains_any` | arrays |
/// | `any_lt`, `any_lte`, `any_gt`, `any_gte` | arrays of string, int, uint, float, datetime, uuid |
/// | `glob`, `iglob`, `regex`, `fuzzy` | string; arrays of strings, where any element may match |
/// | `contains_any_token`, `contains_all_tokens`, `contains_token_sequence` | those with full text |
///
/// A value must be of the column's type, with these exceptions:
/// - Numbers of any type compare with int, uint and float columns by their mathematical value, without rounding: no
///   int equals 5.5 or [`u64::MAX`], but every int is less than [`u64::MAX`]; every uint is greater than -1; the float
///   2^53 does not equal the integer 2^53 + 1.
/// - A datetime may be a string in RFC 3339, of which [`Value::datetime`] says more. It is not a number, which would not
///   say whether it counts seconds or milliseconds.
/// - A UUID may be its string form.
///
/// Strings order by their UTF-8 bytes, UUIDs by their bytes. Booleans and bytes have no order.
///
/// # JSON
/// With serde, a filter is an array: `[column, operator, value]`, `["And", [filters]]`, `["Or", [filters]]` or
/// `["Not", filter]`.
///
/// ```
/// use elacsym::Filter;
///
/// let json = r#"["And", [["year", "Gte", 2000], ["tags", "ContainsAny", ["s3", "search"]]]]"#;
/// let filter: Filter = serde_json::from_str(json).unwrap();
/// assert_eq!(filter, Filter::gte("year", 2000) & Filter::contains_any("tags", ["s3", "search"]));
///
/// let error = serde_json::from_str::<Filter>(r#"["Or", [["year", "Since", 2000]]]"#).unwrap_err();
/// assert!(error.to_string().starts_with("bad filter at $[1][0][1]: no such operator"));
/// ```
///
/// | operators | value |
/// |---|---|
/// | `IsNull` | none |
/// | `Eq`, `Lt`, `Lte`, `Gt`, `Gte`, `Contains`, `AnyLt`, `AnyLte`, `AnyGt`, `AnyGte` | a value, or `{"$new": column}` for [`Operand::New`] |
/// | `In`, `ContainsAny` | an array of values |
/// | `Glob`, `IGlob`, `Regex` | a string |
/// | `Fuzzy` | a string, or `{"query": string, "thresholds": [[characters, edits]], "any_case": bool}` |
/// | `ContainsAnyToken`, `ContainsAllTokens`, `ContainsTokenSequence` | a string or an array of tokens, and then perhaps `{"prefix": true}` |
///
/// `Not` in front of an operator negates it (`NotIn`); of `IsNull` the negation is `IsNotNull`. Values are those of JSON:
/// datetimes in RFC 3339 and UUIDs are strings, bytes are `{"$bytes": base64}`, and datetimes outside the years 0 to 9999
/// `{"$datetime": milliseconds}`. Unknown operators and fields are errors. A parser may have a limit of its own:
/// `serde_json` reads 128 nested arrays, of which `And` and `Or` are two each.
///
/// What was read selects what was written, though values may be of other types: a UUID or a datetime is a string, a
/// small `Uint` an `Int`, and an integer beyond 64 bits a float, as JSON has it.
///
/// # Limits
/// [`Settings`](crate::Settings) limits the depth of a filter, its nodes (each predicate, and, or and not is one; a
/// negated operator is two) and the values of a list. The depth never exceeds 256 levels, whatever the settings. A
/// pattern is at most 1 KiB long and 1 MiB when compiled, a fuzzy query has at most 256 characters, and a filter has
/// at most 64 patterns and fuzzy queries. The limits for all filters of a query together are in the table of
/// [`Query`](crate::Query).
///
/// A filter of any depth can be cloned, compared and dropped safely. Its debug output ends at 64 levels.
#[non_exhaustive]
pub enum Filter {
    /// True if all are true; an empty list is true.
    And(Vec<Filter>),
    /// True if any is true; an empty list is false.
    Or(Vec<Filter>),
    /// True if the filter is false.
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
    /// The whole string matches the pattern, ignoring case.
    IGlob(String, String),
    /// The string has a match of the regular expression.
    Regex(String, String),
    /// Part of the string is within an edit distance of the query.
    Fuzzy(String, Fuzzy),
    /// The text contains tokens.
    Tokens(TokenFilter),
}

/// Combining filters.
impl Filter {
    /// True if all filters are. An empty list matches every document. Of two filters, `one & other` is the same.
    #[doc(alias = "must")]
    pub fn and(filters: impl IntoIterator<Item = Self>) -> Self {
        Self::And(filters.into_iter().collect())
    }

    /// True if any filter is. An empty list matches no document. Of two filters, `one | other` is the same.
    #[doc(alias = "should")]
    pub fn or(filters: impl IntoIterator<Item = Self>) -> Self {
        Self::Or(filters.into_iter().collect())
    }

    /// Matches every document that `filter` does not match. `!filter` is the same.
    #[doc(alias = "must_not")]
    #[must_use]
    #[expect(
        clippy::should_implement_trait,
        reason = "the operator is implemented too; this one reads well next to `and`"
    )]
    pub fn not(mut filter: Self) -> Self {
        if let Self::Not(inner) = &mut filter {
            return inner.take_node();
        }
        Self::Not(Box::new(filter))
    }

    /// The conjunction of an optional filter and another.
    pub(crate) fn narrowed(one: Option<Self>, other: Self) -> Self {
        match one {
            Some(one) => one & other,
            None => other,
        }
    }

    /// The conjunction of two optional filters.
    pub(crate) fn both(one: Option<&Self>, other: Option<&Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(one.clone() & other.clone()),
            (one, other) => one.or(other).cloned(),
        }
    }

    /// Moves the node out and leaves one without children in its place.
    // Fields cannot be moved out of a type that implements `Drop`.
    fn take_node(&mut self) -> Self {
        mem::replace(self, Self::And(Vec::new()))
    }
}

impl BitAnd for Filter {
    type Output = Self;

    /// The conjunction. A chain of `&` makes one [`Filter::And`].
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

    /// The disjunction. A chain of `|` makes one [`Filter::Or`].
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
    fn operators_and_constructors_build_equal_filters() {
        let (a, b, c) = (Filter::eq("a", 1), Filter::is_null("b"), Filter::glob("c", "x*"));
        assert_eq!(a.clone() & b.clone() & c.clone(), Filter::and([a.clone(), b.clone(), c.clone()]));
        assert_eq!(a.clone() | b.clone() | c.clone(), Filter::or([a.clone(), b.clone(), c.clone()]));
        assert_eq!(!a.clone(), Filter::not_eq("a", 1));
        assert_eq!(!!a.clone(), a);
        assert_eq!(!Filter::is_not_null("b"), b);
    }
}
