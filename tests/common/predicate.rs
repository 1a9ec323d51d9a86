//! Filters evaluated the naive way: one document at a time, straight from the rule.
//!
//! The rule: logic has two values. A predicate on a column that is null is false; equality with null asks
//! whether the column is null; a negated operator is the exact complement of the plain one.

use std::cmp::Ordering;

use elacsym::{Document, DocumentId, Value};

/// A filter as the tests see it; `api` turns it into the library's.
#[derive(Clone, Debug, PartialEq)]
pub enum Predicate {
    Eq(&'static str, Value),
    NotEq(&'static str, Value),
    Lt(&'static str, Value),
    Lte(&'static str, Value),
    Gt(&'static str, Value),
    Gte(&'static str, Value),
    In(&'static str, Vec<Value>),
    NotIn(&'static str, Vec<Value>),
    Contains(&'static str, Value),
    NotContains(&'static str, Value),
    ContainsAny(&'static str, Vec<Value>),
    NotContainsAny(&'static str, Vec<Value>),
    AnyLt(&'static str, Value),
    AnyGte(&'static str, Value),
    And(Vec<Predicate>),
    Or(Vec<Predicate>),
    Not(Box<Predicate>),
}

impl Predicate {
    pub fn matches(&self, document: &Document) -> bool {
        let value = |column: &str| value_of(document, column);
        match self {
            Self::Eq(column, Value::Null) => value(column).is_none(),
            Self::Eq(column, wanted) => value(column).is_some_and(|v| v == *wanted),
            Self::NotEq(column, wanted) => !Self::Eq(column, wanted.clone()).matches(document),
            Self::Lt(column, bound) => ordered(value(column), bound, Ordering::is_lt),
            Self::Lte(column, bound) => ordered(value(column), bound, Ordering::is_le),
            Self::Gt(column, bound) => ordered(value(column), bound, Ordering::is_gt),
            Self::Gte(column, bound) => ordered(value(column), bound, Ordering::is_ge),
            Self::In(column, wanted) => value(column).is_some_and(|v| wanted.contains(&v)),
            Self::NotIn(column, wanted) => !Self::In(column, wanted.clone()).matches(document),
            Self::Contains(column, wanted) => elements(value(column)).contains(wanted),
            Self::NotContains(column, wanted) => !Self::Contains(column, wanted.clone()).matches(document),
            Self::ContainsAny(column, wanted) => elements(value(column)).iter().any(|v| wanted.contains(v)),
            Self::NotContainsAny(column, wanted) => {
                !Self::ContainsAny(column, wanted.clone()).matches(document)
            }
            Self::AnyLt(column, bound) => {
                elements(value(column)).into_iter().any(|v| ordered(Some(v), bound, Ordering::is_lt))
            }
            Self::AnyGte(column, bound) => {
                elements(value(column)).into_iter().any(|v| ordered(Some(v), bound, Ordering::is_ge))
            }
            Self::And(parts) => parts.iter().all(|p| p.matches(document)),
            Self::Or(parts) => parts.iter().any(|p| p.matches(document)),
            Self::Not(part) => !part.matches(document),
        }
    }
}

/// The value of a column, the id being one; `None` for null.
fn value_of(document: &Document, column: &str) -> Option<Value> {
    if column == "id" {
        return Some(match document.id() {
            DocumentId::U64(id) => Value::Uint(*id),
            DocumentId::Uuid(id) => Value::Uuid(*id),
            DocumentId::String(id) => Value::String(id.to_string()),
            other => panic!("no document has the id {other}"),
        });
    }
    document.get(column).cloned()
}

fn elements(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(values)) => values,
        _ => Vec::new(),
    }
}

fn ordered(value: Option<Value>, bound: &Value, holds: fn(Ordering) -> bool) -> bool {
    value.and_then(|v| order(&v, bound)).is_some_and(holds)
}

/// How two values of one type compare; `None` for types that have no order or that differ.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Value::Int(a), Value::Int(b)) | (Value::Datetime(a), Value::Datetime(b)) => Some(a.cmp(b)),
        (Value::Uint(a), Value::Uint(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Uuid(a), Value::Uuid(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_matches_nothing_but_null_and_negations_are_complements() {
        let document = Document::new(1).with("a", 3i64).with("n", Value::Null).with("tags", ["x", "y"]);
        let cases = [
            (Predicate::Eq("a", 3i64.into()), true),
            (Predicate::Eq("n", Value::Null), true),
            (Predicate::Eq("gone", Value::Null), true),
            (Predicate::Eq("n", 3i64.into()), false),
            (Predicate::NotEq("n", 3i64.into()), true),
            (Predicate::Lt("n", 3i64.into()), false),
            (Predicate::Not(Box::new(Predicate::Lt("n", 3i64.into()))), true),
            (Predicate::Gte("a", 3i64.into()), true),
            (Predicate::In("a", vec![]), false),
            (Predicate::NotIn("n", vec![1i64.into()]), true),
            (Predicate::Contains("tags", "y".into()), true),
            (Predicate::NotContains("n", "y".into()), true),
            (Predicate::ContainsAny("tags", vec!["q".into(), "x".into()]), true),
            (Predicate::NotContainsAny("tags", vec!["q".into()]), true),
            (Predicate::AnyLt("tags", "y".into()), true),
            (Predicate::AnyGte("tags", "z".into()), false),
            (Predicate::AnyGte("n", "a".into()), false),
            (Predicate::Lte("id", 1u64.into()), true),
            (Predicate::And(vec![]), true),
            (Predicate::Or(vec![]), false),
        ];
        for (predicate, expected) in cases {
            assert_eq!(predicate.matches(&document), expected, "{predicate:?}");
        }
    }
}
