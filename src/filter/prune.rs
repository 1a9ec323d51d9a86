//! What the statistics of a segment say of a filter, before anything of the segment is read.
//!
//! **Invariant:** the answer holds for every row, null or not, whatever values lie between the bounds: a bound that
//! was cut stands for all that begin with it, and each element of an array is tested for itself.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};

use super::bind::{Against, BoundFilter, Comparison, Leaf, Node, Test};
use crate::index::attributes::{KeyList, each_key};
use crate::segment::{BOUND_BYTES_MAX, ColumnStatistics, SegmentMeta, key_prefix};

/// A filter, made ready to be asked of many segments.
#[derive(Debug)]
pub(crate) struct ZoneMapFilter<'a>(Rule<'a>);

#[derive(Debug)]
enum Rule<'a> {
    Const(bool),
    All(Vec<Rule<'a>>),
    Any(Vec<Rule<'a>>),
    Not(Box<Rule<'a>>),
    Leaf { column: &'a str, elements: bool, asks: Asks },
}

/// What is asked of the values of a column.
#[derive(Debug)]
enum Asks {
    Null,
    Compare(Comparison, Box<[u8]>),
    /// One of these keys.
    In(Arc<KeyList>),
    /// A key that begins with this.
    Begins(Box<[u8]>),
    /// An array with all of these.
    Every(Vec<Box<[u8]>>),
    /// An array, whatever is in it.
    Array,
    /// Something of which statistics tell no more than that it takes a value, or an element.
    Value,
    /// Something that even nulls may pass.
    Anything,
}

impl<'a> ZoneMapFilter<'a> {
    pub(crate) fn new(bound: &'a BoundFilter) -> Self {
        Self(Rule::new(bound, &bound.root))
    }

    /// Whether no row of a segment matches.
    pub(crate) fn rule_out(&self, meta: &SegmentMeta) -> bool {
        self.answer(meta.rows, &|column| meta.column_statistics(column)) == Some(false)
    }

    /// The answer, if it is the same for all of so many rows.
    pub(super) fn answer<'s>(
        &self,
        rows: u32,
        known: &dyn Fn(&str) -> Option<Cow<'s, ColumnStatistics>>,
    ) -> Option<bool> {
        self.0.ask(rows, known)
    }
}

impl<'a> Rule<'a> {
    fn new(bound: &'a BoundFilter, node: &'a Node) -> Self {
        let each = |nodes: &'a [Node]| nodes.iter().map(|node| Self::new(bound, node)).collect();
        match node {
            Node::Const(answer) => Self::Const(*answer),
            Node::All(nodes) => Self::All(each(nodes)),
            Node::Any(nodes) => Self::Any(each(nodes)),
            Node::Not(inner) => Self::Not(Box::new(Self::new(bound, inner))),
            Node::Leaf(leaf) => Self::Leaf {
                column: bound.columns.get(leaf.column).map_or("", |source| source.name.as_str()),
                elements: leaf.elements,
                asks: Asks::new(leaf),
            },
        }
    }

    fn ask<'s>(&self, rows: u32, known: &dyn Fn(&str) -> Option<Cow<'s, ColumnStatistics>>) -> Option<bool> {
        match self {
            Self::Const(answer) => Some(*answer),
            Self::All(rules) => join(false, rules.iter().map(|rule| rule.ask(rows, known))),
            Self::Any(rules) => join(true, rules.iter().map(|rule| rule.ask(rows, known))),
            Self::Not(inner) => inner.ask(rows, known).map(|answer| !answer),
            Self::Leaf { column, elements, asks } => asks.of(&*known(column)?, rows, *elements),
        }
    }
}

/// Joins answers; `any` is the one of which one suffices.
fn join(any: bool, answers: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut joined = Some(!any);
    for answer in answers {
        match answer {
            Some(answer) if answer == any => return Some(any),
            Some(_) => {}
            None => joined = None,
        }
    }
    joined
}

impl Asks {
    fn new(leaf: &Leaf) -> Self {
        match &leaf.test {
            Test::Null => Self::Null,
            Test::Tokens(_) => Self::Value,
            Test::Pattern(pattern) => Self::Begins(pattern.prefix().as_bytes().into()),
            Test::Compare(_, Against::New(_)) => Self::Anything,
            Test::Member(set) => set.keys().map_or(Self::Array, Self::In),
            Test::Compare(comparison, Against::Literal(literal)) => {
                if let Some(list) = literal.as_list_opt::<i32>() {
                    return keys(list.values()).map_or(Self::Array, Self::Every);
                }
                let key = keys(literal).and_then(|mut keys| keys.pop());
                key.map_or(Self::Anything, |key| Self::Compare(*comparison, key))
            }
        }
    }

    /// The answer, if it is the same for all of so many rows of which this is known.
    fn of(&self, known: &ColumnStatistics, rows: u32, elements: bool) -> Option<bool> {
        let all_null = known.nulls >= rows;
        let bounds = known.bounds.as_ref().map(|(min, max)| Bounds { min: min.bytes(), max: max.bytes() });
        let passes = match self {
            Self::Anything => return None,
            Self::Null if known.nulls == 0 => return Some(false),
            Self::Null => return all_null.then_some(true),
            // No predicate on nothing is true.
            _ if all_null => return Some(false),
            Self::Array => return None,
            // An empty array has all elements of none.
            Self::Every(keys) => {
                let may = |bounds: Bounds<'_>| keys.iter().all(|key| bounds.may_hold(key));
                if bounds.map_or(keys.is_empty(), may) { None } else { Some(false) }
            }
            Self::Value => bounds.map_or(Some(false), |_| None),
            Self::Compare(comparison, key) => {
                bounds.map_or(Some(false), |bounds| bounds.compare(*comparison, key))
            }
            Self::In(keys) => bounds.map_or(Some(false), |bounds| bounds.are_in(keys)),
            Self::Begins(prefix) => {
                let none = |bounds: Bounds<'_>| {
                    bounds.are_below(prefix) || (bounds.are_above(prefix) && !bounds.min.starts_with(prefix))
                };
                if bounds.is_none_or(none) { Some(false) } else { None }
            }
        };
        // A row without a value, or an array without elements, passes nothing.
        passes.filter(|passes| !passes || (known.nulls == 0 && !elements))
    }
}

/// What all keys of a column lie between.
#[derive(Clone, Copy)]
struct Bounds<'a> {
    min: &'a [u8],
    max: &'a [u8],
}

impl Bounds<'_> {
    /// Whether all are less than a key. A greatest one that was cut is less than the key only if no key that begins
    /// with it can be.
    fn are_below(&self, key: &[u8]) -> bool {
        self.max < key_prefix(key)
    }

    fn are_above(&self, key: &[u8]) -> bool {
        self.min > key
    }

    fn are_at_most(&self, key: &[u8]) -> bool {
        self.are_below(key) || (self.max == key && self.max.len() < BOUND_BYTES_MAX)
    }

    fn are_at_least(&self, key: &[u8]) -> bool {
        self.min >= key
    }

    fn may_hold(&self, key: &[u8]) -> bool {
        !self.are_below(key) && !self.are_above(key)
    }

    fn compare(&self, comparison: Comparison, key: &[u8]) -> Option<bool> {
        let (yes, no) = match comparison {
            Comparison::Lt => (self.are_below(key), self.are_at_least(key)),
            Comparison::Lte => (self.are_at_most(key), self.are_above(key)),
            Comparison::Gt => (self.are_above(key), self.are_at_most(key)),
            Comparison::Gte => (self.are_at_least(key), self.are_below(key)),
            Comparison::Eq => (self.are_at_most(key) && self.are_at_least(key), !self.may_hold(key)),
        };
        if no { Some(false) } else { yes.then_some(true) }
    }

    /// Of keys in order: the first that is not below all is the only one that may be the only one.
    fn are_in(&self, keys: &KeyList) -> Option<bool> {
        let first = keys.get(keys.seek_key(0, self.min)).map(|key| self.compare(Comparison::Eq, key));
        first.unwrap_or(Some(false))
    }
}

/// The keys of all values of an array.
fn keys(array: &ArrayRef) -> Option<Vec<Box<[u8]>>> {
    let mut keys = Vec::new();
    each_key(array, |_, key| keys.push(key.into())).ok()?;
    Some(keys)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value as Json, json};

    use super::*;
    use crate::filter::Filter;
    use crate::schema::{AttributeType, Schema};
    use crate::settings::Settings;
    use crate::types::{IdKind, Value};

    const ROWS: u32 = 10;

    /// The answer for ten rows of a segment of which this is known.
    fn ask(filter: &Filter, known: &Json) -> Option<bool> {
        let schema = Schema::builder(IdKind::U64)
            .attribute("s", AttributeType::String)
            .attribute("n", AttributeType::Int)
            .attribute("f", AttributeType::Float)
            .attribute("tags", AttributeType::StringArray)
            .build()
            .unwrap();
        let known: BTreeMap<String, ColumnStatistics> = serde_json::from_value(known.clone()).unwrap();
        let bound = BoundFilter::new(filter, &schema, &Settings::default(), false).unwrap();
        ZoneMapFilter::new(&bound).answer(ROWS, &|column| known.get(column).map(Cow::Borrowed))
    }

    fn check(known: &Json, cases: impl IntoIterator<Item = (Filter, Option<bool>)>) {
        for (filter, expected) in cases {
            assert_eq!(ask(&filter, known), expected, "{filter:?} of {known}");
            let opposite = expected.map(|answer| !answer);
            assert_eq!(ask(&!filter.clone(), known), opposite, "not {filter:?} of {known}");
        }
    }

    #[test]
    fn what_lies_outside_of_the_bounds_is_ruled_out() {
        let (yes, no) = (Some(true), Some(false));
        let cases = |nulls: bool| {
            // With a null among them nothing is true of all.
            let all = if nulls { None } else { yes };
            [
                (Filter::lt("s", "b"), no),
                (Filter::lt("s", "c"), None),
                (Filter::lt("s", "e"), all),
                (Filter::lte("s", "a"), no),
                (Filter::lte("s", "b"), None),
                (Filter::lte("s", "d"), all),
                (Filter::gt("s", "d"), no),
                (Filter::gt("s", "b"), None),
                (Filter::gt("s", "a"), all),
                (Filter::gte("s", "d\0"), no),
                (Filter::gte("s", "d"), None),
                (Filter::gte("s", "b"), all),
                (Filter::eq("s", "a"), no),
                (Filter::eq("s", "c"), None),
                (Filter::is_in("s", ["", "a", "e"]), no),
                (Filter::is_in("s", ["a", "d", "e"]), None),
                (Filter::glob("s", "x*"), no),
                (Filter::glob("s", "a*b"), no),
                (Filter::glob("s", "c?*"), None),
                (Filter::glob("s", "*x"), None),
                (Filter::regex("s", "^x"), no),
                (Filter::regex("s", "x"), None),
                (Filter::eq("n", 7), None),
                (Filter::lt("s", "b") & Filter::eq("n", 7), no),
                (Filter::gte("s", "b") | Filter::eq("n", 7), all),
                (Filter::gte("s", "c") & Filter::lt("s", "b"), no),
            ]
        };
        check(&json!({"s": {"bounds": ["62", "64"]}}), cases(false));
        check(&json!({"s": {"bounds": ["62", "64"], "nulls": 1}}), cases(true));
        check(
            &json!({"s": {"bounds": ["62", "62"]}}),
            [
                (Filter::eq("s", "b"), yes),
                (Filter::is_in("s", ["a", "b", "c"]), yes),
                (Filter::is_in("s", ["a", "c"]), no),
            ],
        );
    }

    #[test]
    fn nulls_are_told_by_their_number() {
        let (yes, no) = (Some(true), Some(false));
        for (nulls, answer) in [(0, no), (3, None)] {
            let known = json!({"n": {"nulls": nulls, "bounds": ["8000000000000005", "8000000000000005"]}});
            check(&known, [(Filter::is_null("n"), answer), (Filter::eq("n", Value::Null), answer)]);
        }
        check(
            &json!({"s": {"nulls": ROWS}, "n": {"nulls": ROWS}, "tags": {"nulls": ROWS}}),
            [
                (Filter::is_null("n"), yes),
                (Filter::lt("n", 5), no),
                (Filter::eq("n", 5), no),
                (Filter::is_in("n", [Value::Null, Value::Int(5)]), yes),
                (Filter::regex("s", ""), no),
                (Filter::eq("tags", Vec::<Value>::new()), no),
                (Filter::contains_any("tags", ["a", "b"]), no),
            ],
        );
    }

    #[test]
    fn a_bound_that_was_cut_stands_for_all_that_begin_with_it() {
        let (yes, no) = (Some(true), Some(false));
        let z = |count: usize| "z".repeat(count);
        let end = z(31) + "{";
        check(
            &json!({"s": {"bounds": ["62", "7a".repeat(32)]}}),
            [
                (Filter::eq("s", z(40)), None),
                (Filter::gt("s", z(40)), None),
                (Filter::lte("s", z(32)), None),
                (Filter::lt("s", z(33)), None),
                (Filter::is_in("s", [z(40), z(41)]), None),
                (Filter::lt("s", end.as_str()), yes),
                (Filter::gte("s", end), no),
                (Filter::lt("s", z(31)), None),
            ],
        );
        check(
            &json!({"s": {"bounds": ["7a".repeat(32), "7a".repeat(32)]}}),
            [
                (Filter::eq("s", z(32)), None),
                (Filter::eq("s", z(31)), no),
                (Filter::gt("s", z(31)), yes),
                (Filter::gte("s", z(32)), yes),
                (Filter::lt("s", z(32)), no),
                (Filter::lt("s", z(33)), None),
                (Filter::gte("s", z(33)), None),
            ],
        );
    }

    #[test]
    fn each_element_of_an_array_is_tested_for_itself() {
        let (yes, no) = (Some(true), Some(false));
        let empty = Vec::<Value>::new;
        let within = Filter::any_gte("tags", "c") & Filter::any_lt("tags", "c");
        check(
            &json!({"tags": {"bounds": ["62", "64"]}}),
            [
                (Filter::contains("tags", "c"), None),
                (Filter::contains("tags", "e"), no),
                (Filter::contains_any("tags", ["a", "e"]), no),
                // There may be empty arrays.
                (Filter::any_lt("tags", "e"), None),
                (Filter::any_gt("tags", "d"), no),
                (within, None),
                (Filter::eq("tags", vec!["b", "x"]), no),
                (Filter::eq("tags", vec!["b", "d"]), None),
                (Filter::eq("tags", empty()), None),
                (Filter::is_in("tags", [Value::from(vec!["x"]), vec!["y"].into()]), None),
            ],
        );
        check(
            &json!({"tags": {}}),
            [
                (Filter::contains("tags", "c"), no),
                (Filter::any_gt("tags", "a"), no),
                (Filter::glob("tags", "*"), no),
                (Filter::eq("tags", empty()), None),
                (Filter::eq("tags", vec!["b"]), no),
                (Filter::is_in("tags", [Value::Array(empty()), vec!["y"].into()]), None),
                (Filter::is_null("tags"), no),
                (Filter::is_not_null("tags"), yes),
            ],
        );
    }

    #[test]
    fn numbers_are_in_their_total_order_and_long_lists_are_looked_at_by_their_ends() {
        let (yes, no) = (Some(true), Some(false));
        check(
            &json!({"f": {"bounds": ["400fffffffffffff", "8000000000000000"]}}),
            [
                (Filter::lt("f", f64::from_bits(1)), yes),
                (Filter::gt("f", 0.0), no),
                (Filter::gte("f", f64::NEG_INFINITY), yes),
                (Filter::eq("f", -2.0), no),
                (Filter::eq("f", -0.5), None),
            ],
        );
        check(
            &json!({"n": {"bounds": ["7fffffffffffffff", "8000000000000005"]}}),
            [
                (Filter::is_in("n", 6..3_000_i64), no),
                (Filter::is_in("n", -3_000..-1_i64), no),
                (Filter::is_in("n", -3_000..0_i64), None),
                (Filter::is_in("n", 5..3_000_i64), None),
            ],
        );
    }
}
