//! The JSON form of filters, and what is refused.

use super::read::read_filter;
use crate::filter::size::DEPTH_MAX;
use crate::filter::{Filter, Fuzzy, Operand, TokenFilter};
use crate::json::Path;
use crate::types::Value;

fn read(json: &str) -> Result<Filter, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

#[test]
fn every_form_is_read_and_written() {
    let forms: [(&str, Filter); 15] = [
        (r#"["And",[]]"#, Filter::and([])),
        (r#"["Or",[["a","Eq",1],["Not",["Or",[]]]]]"#, Filter::eq("a", 1) | !Filter::or([])),
        (r#"["And","IsNull"]"#, Filter::is_null("And")),
        (r#"["a","IsNotNull"]"#, Filter::is_not_null("a")),
        (r#"["a","Gt",{"$new":"b"}]"#, Filter::gt("a", Operand::new_value("b"))),
        (
            r#"["a","In",[null,-1,18446744073709551615,0.5,"x"]]"#,
            Filter::In(
                "a".into(),
                vec![Value::Null, Value::Int(-1), Value::Uint(u64::MAX), Value::Float(0.5), "x".into()],
            ),
        ),
        (r#"["a","Eq",["x","y"]]"#, Filter::eq("a", ["x", "y"])),
        (r#"["a","Eq",{"$bytes":"AQI="}]"#, Filter::eq("a", bytes::Bytes::from_static(&[1, 2]))),
        (
            r#"["a","Gt",{"$datetime":-99999999999999999}]"#,
            Filter::gt("a", Value::Datetime(-99_999_999_999_999_999)),
        ),
        (r#"["a","IGlob","*x*"]"#, Filter::iglob("a", "*x*")),
        (
            r#"["a","Fuzzy",{"any_case":true,"query":"tea","thresholds":[[6,1]]}]"#,
            Filter::fuzzy("a", Fuzzy::new("tea").distance(6, 1).any_case()),
        ),
        (r#"["a","Fuzzy",{"any_case":false,"query":"tea"}]"#, Filter::fuzzy("a", "tea")),
        (r#"["a","ContainsAllTokens","cold tea"]"#, Filter::contains_all_tokens("a", "cold tea")),
        (
            r#"["a","ContainsTokenSequence",["cold","tea"],{"prefix":true}]"#,
            TokenFilter::sequence("a", vec!["cold", "tea"]).prefix().into(),
        ),
        (r#"["Not",["a","Contains",true]]"#, Filter::not_contains("a", true)),
    ];
    for (json, filter) in forms {
        assert_eq!(read(json).as_ref(), Ok(&filter), "{json}");
        assert_eq!(serde_json::to_string(&filter).unwrap(), json);
    }
    assert_eq!(read(r#"["a","NotIn",[1]]"#), Ok(Filter::not_in("a", [1])));
    assert_eq!(read(r#"["a","Fuzzy","tea"]"#), Ok(Filter::fuzzy("a", "tea")));
}

#[test]
fn what_is_malformed_says_where() {
    for (json, place, why) in [
        ("7", "$", "no array"),
        ("[]", "$", "neither"),
        (r#"["And",["a","Eq",1]]"#, "$[1][0]", "no array"),
        (r#"["Or",[["a","Eq",1],["b","Gte"]]]"#, "$[1][1]", "takes one value"),
        (r#"["Not",["a","Equals",1]]"#, "$[1][1]", "no such operator. operator=`Equals`"),
        (r#"["a","NotNotEq",1]"#, "$[1]", "no such operator"),
        (r#"["a","NotIsNull",1]"#, "$", "takes no value"),
        (r#"["a","Eq",{"value":1}]"#, "$[2]", "no value"),
        (r#"["a","Eq",{"$bytes":"?"}]"#, "$[2]", "no base64"),
        (r#"["a","In",1]"#, "$[2]", "no list"),
        (r#"["a","In",[1,{"$new":"b"}]]"#, "$[2][1]", "no value"),
        (r#"["a","Eq",[1,[2]]]"#, "$[2][1]", "no arrays"),
        (r#"["a","Glob",1]"#, "$[2]", "no string"),
        (r#"["a","Fuzzy",{"query":"x","case":1}]"#, "$[2]", "field=`case`"),
        (r#"["a","Fuzzy",["tea"]]"#, "$[2]", "neither a string nor an object"),
        (r#"["a","ContainsAnyToken","x",[true]]"#, "$[3]", "no object"),
        (r#"["a","ContainsAnyToken",[1]]"#, "$[2][0]", "no string"),
        (r#"["a","ContainsAnyToken",1]"#, "$[2]", "neither a text nor an array"),
        (r#"["a","ContainsAnyToken","x",{"prefixes":true}]"#, "$[3]", "field=`prefixes`"),
        (r#"["a","Fuzzy",{"query":"x","thresholds":[[6,300]]}]"#, "$[2].thresholds[0][1]", "no integer"),
    ] {
        let error = read(json).unwrap_err();
        assert!(
            error.starts_with(&format!("bad filter at {place}: ")) && error.contains(why),
            "{json}: {error}"
        );
    }
}

#[test]
fn depth_is_an_error_both_ways() {
    let mut deep = Filter::eq("a", 1);
    for _ in 0..200_000 {
        deep = Filter::and([deep]);
    }
    assert!(serde_json::to_string(&deep).unwrap_err().to_string().contains("deeper"));
    let nested = "[\"Not\",".repeat(100_000) + "[]" + &"]".repeat(100_000);
    assert!(read(&nested).is_err());
    // A reader without a limit of its own.
    let mut json = serde_json::json!(["a", "Eq", 1]);
    for _ in 0..DEPTH_MAX {
        json = serde_json::json!(["Not", json]);
    }
    let error = read_filter(&json, 1, &Path::Root("filter")).unwrap_err();
    assert!(error.contains("deeper"), "{error}");
}
