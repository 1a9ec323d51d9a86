//! Tests of pruning.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::*;
use crate::filter::Filter;
use crate::schema::{AttributeType, Schema};
use crate::settings::Settings;
use crate::types::{IdKind, Value};

const ROWS: u32 = 10;

/// The answer for ten rows of a segment with these statistics.
fn prune(filter: &Filter, known: &Json) -> Option<bool> {
    let schema = Schema::builder(IdKind::U64)
        .attribute("s", AttributeType::String)
        .attribute("n", AttributeType::Int)
        .attribute("f", AttributeType::Float)
        .attribute("tags", AttributeType::StringArray)
        .build()
        .unwrap();
    let known: BTreeMap<String, ColumnStatistics> = serde_json::from_value(known.clone()).unwrap();
    let bound = BoundFilter::new(filter, &schema, &Settings::default(), false).unwrap();
    let statistics = |id| {
        let column = schema.columns().iter().find(|column| column.id == id);
        // The id of documents is no column.
        known.get(column.map_or("id", |column| column.name.as_str())).map(Cow::Borrowed)
    };
    ZoneMapFilter::new(&bound).find_answer(ROWS, &statistics)
}

fn check(known: &Json, cases: impl IntoIterator<Item = (Filter, Option<bool>)>) {
    for (filter, expected) in cases {
        assert_eq!(prune(&filter, known), expected, "{filter:?} of {known}");
        let opposite = expected.map(|answer| !answer);
        assert_eq!(prune(&!filter.clone(), known), opposite, "not {filter:?} of {known}");
    }
}

#[test]
fn values_outside_of_the_bounds_are_pruned() {
    let (yes, no) = (Some(true), Some(false));
    let cases = |nulls: bool| {
        // With a null among the values, nothing is true of all rows.
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
fn null_counts_decide_null_tests() {
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
fn a_truncated_bound_covers_all_keys_with_its_prefix() {
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
fn elements_of_an_array_are_tested_separately() {
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
fn numbers_have_a_total_order_and_lists_are_searched_by_the_bounds() {
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
