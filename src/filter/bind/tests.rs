//! Tests of binding.

use super::*;
use crate::error::ErrorKind;
use crate::filter::Fuzzy;
use crate::filter::size::DEPTH_MAX;
use crate::types::{IdKind, Metric, VectorType};

fn schema() -> Schema {
    Schema::builder(IdKind::U64)
        .attribute("s", AttributeType::String)
        .attribute("u", AttributeType::Uint)
        .attribute("f", AttributeType::Float)
        .attribute("b", AttributeType::Bool)
        .attribute("raw", AttributeType::Bytes)
        .attribute("tags", AttributeType::StringArray)
        .attribute("flags", AttributeType::BoolArray)
        .vector("v", VectorType::F32, 2, Metric::Dot)
        .build()
        .unwrap()
}

fn bind(filter: &Filter, new_values: bool) -> Result<BoundFilter> {
    BoundFilter::new(filter, &schema(), &Settings::default(), new_values)
}

#[test]
fn filters_that_do_not_fit_the_schema_are_rejected_by_name() {
    let new = || Operand::new_value("u");
    let refused = [
        (Filter::is_null("x"), "unknown column"),
        (Filter::eq("u", "text"), "expected uint"),
        (Filter::eq("id", "text"), "expected uint"),
        (Filter::eq("f", f64::NAN), "NaN"),
        (Filter::eq("u", f64::NAN), "NaN"),
        (Filter::is_in("u", [Value::Float(0.5), "x".into()]), "expected uint"),
        (Filter::eq("u", Value::Datetime(1)), "expected uint"),
        (Filter::eq("tags", "one"), "expected []string"),
        (Filter::is_in("u", [Value::Int(1), "x".into()]), "expected uint"),
        (Filter::gt("s", Value::Null), "null cannot be compared"),
        (Filter::contains("tags", Value::Null), "null cannot be compared"),
        (Filter::contains_any("tags", [Value::Null]), "no null elements"),
        (Filter::lt("b", true), "has no order"),
        (Filter::lt("raw", bytes::Bytes::new()), "has no order"),
        (Filter::lt("tags", vec!["a"]), "has no order"),
        (Filter::any_lt("flags", true), "has no order"),
        (Filter::any_lt("u", 1), "expected an array"),
        (Filter::contains("s", "a"), "expected an array"),
        (Filter::eq("v", vec![1.0, 2.0]), "whether it is null"),
        (Filter::is_in("v", [Value::Null]), "whether it is null"),
        (Filter::glob("u", "*"), "expected a column of strings"),
        (Filter::regex("s", "("), "column `s`: bad pattern"),
        (Filter::fuzzy("u", "query"), "expected a column of strings"),
        (Filter::fuzzy("v", "query"), "whether it is null"),
        (Filter::fuzzy("s", Fuzzy::new("x").distance(8, 2)), "column `s`: a fuzzy distance of 2"),
        (Filter::eq("s", new()), "expected string"),
        (Filter::contains("flags", new()), "expected bool"),
        (Filter::eq("u", Operand::new_value("x")), "unknown column"),
        (Filter::eq("u", Operand::new_value("v")), "found a vector"),
    ];
    for (filter, why) in refused {
        // A predicate that a constant makes irrelevant is checked all the same.
        for filter in [filter.clone(), Filter::and([Filter::or([]), filter])] {
            let error = bind(&filter, true).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{filter:?}");
            assert!(error.to_string().contains(why), "{error}");
        }
    }
    let error = bind(&Filter::eq("u", new()), false).unwrap_err();
    assert!(error.to_string().contains("condition of a write"), "{error}");
}

#[test]
fn each_column_is_read_once() {
    let filter = Filter::gt("u", 1)
        & Filter::lt("u", Operand::new_value("id"))
        & Filter::eq("id", Operand::new_value("u"))
        & Filter::is_not_null("v");
    let bound = bind(&filter, true).unwrap();
    assert_eq!(bound.columns().collect::<Vec<_>>(), ["u", "id", "v"]);
    assert_eq!(bound.new_columns().collect::<Vec<_>>(), ["id", "u"]);
}

#[test]
fn constants_fold() {
    let constant = |filter: Filter| bind(&filter, false).unwrap().constant();
    let open = || Filter::eq("u", 1);
    assert_eq!(constant(Filter::and([])), Some(true));
    assert_eq!(constant(Filter::or([])), Some(false));
    assert_eq!(constant(Filter::is_in("u", Vec::<Value>::new())), Some(false));
    assert_eq!(constant(Filter::is_null("id")), Some(false));
    assert_eq!(constant(Filter::is_in("id", [Value::Null])), Some(false));
    assert_eq!(constant(open() & Filter::eq("id", Value::Null)), Some(false));
    assert_eq!(constant(open() | !Filter::is_null("id")), Some(true));
    assert_eq!(constant(open() | Filter::or([])), None);
    // No value of the column's type equals the operand.
    assert_eq!(constant(Filter::eq("u", -1)), Some(false));
    assert_eq!(constant(Filter::not_eq("u", 0.5)), Some(true));
    assert_eq!(constant(Filter::lt("u", -1)), Some(false));
    assert_eq!(constant(Filter::gt("u", 1e20)), Some(false));
    assert_eq!(constant(Filter::is_in("id", [Value::Int(-1), Value::Float(0.5)])), Some(false));
    assert_eq!(constant(Filter::gt("u", -1)), None, "false of a null");
    assert_eq!(constant(Filter::fuzzy("s", "ab")), Some(false));
    assert_eq!(constant(Filter::not_fuzzy("s", "ab")), Some(true));
    assert_eq!(constant(Filter::fuzzy("s", "abc")), None);
}

#[test]
fn limits_hold() {
    let kind = |filter: &Filter, settings: &Settings| {
        BoundFilter::new(filter, &schema(), settings, false).map(|_| ()).map_err(|e| e.kind())
    };
    let mut settings = Settings::default();
    let over = Err(ErrorKind::LimitExceeded);
    let nested = |levels| (1..levels).fold(Filter::is_null("u"), |f, _| Filter::Not(Box::new(f)));
    assert_eq!(kind(&nested(32), &settings), Ok(()));
    assert_eq!(kind(&nested(33), &settings), over);
    assert_eq!(kind(&nested(1_000_000), &settings), over);
    let wide = |nodes: usize| Filter::or(std::iter::repeat_n(Filter::is_null("u"), nodes - 1));
    assert_eq!(kind(&wide(4096), &settings), Ok(()));
    assert_eq!(kind(&wide(4097), &settings), over);
    let list = |values: u64| Filter::is_in("u", 0..values);
    assert_eq!(kind(&list(100_000), &settings), Ok(()));
    assert_eq!(kind(&list(100_001), &settings), over);
    let patterns = |count| Filter::and(std::iter::repeat_n(Filter::glob("s", "a*"), count));
    assert_eq!(kind(&patterns(PATTERNS_MAX), &settings), Ok(()));
    assert_eq!(kind(&patterns(PATTERNS_MAX + 1), &settings), over);
    assert_eq!(kind(&(patterns(PATTERNS_MAX - 1) & Filter::fuzzy("s", "abc")), &settings), Ok(()));
    assert_eq!(kind(&(patterns(PATTERNS_MAX) & Filter::fuzzy("s", "abc")), &settings), over);
    // No setting makes a filter deeper than the stack.
    (settings.filter_depth_max, settings.filter_nodes_max) = (usize::MAX, usize::MAX);
    assert_eq!(kind(&nested(DEPTH_MAX), &settings), Ok(()));
    assert_eq!(kind(&nested(1_000_000), &settings), over);
}
