//! A naive evaluation of filters, one document at a time, as a reference for the real one.
//!
//! It shares no code with it: no schemas, no Arrow, no pattern translation, public types only.

use std::cmp::Ordering;

use super::{Filter, Fuzzy, Operand};
use crate::types::{Document, DocumentId, Value};

/// Whether a filter matches a document. A filter that does not fit the schema has no meaning here.
pub(super) fn matches(filter: &Filter, document: &Document, new: Option<&Document>) -> bool {
    let column = |name: &String| value(document, name);
    let operand = |operand: &Operand| match operand {
        Operand::Value(value) => value.clone(),
        Operand::New(name) => new.map_or(Value::Null, |new| value(new, name)),
    };
    let compare = |name: &String, with: &Operand| order(&column(name), &operand(with));
    let any = |name: &String, test: &dyn Fn(&Value) -> bool| match column(name) {
        Value::Array(elements) => elements.iter().any(test),
        _ => false,
    };
    let any_order = |name: &String, with: &Operand, test: fn(Ordering) -> bool| {
        let with = operand(with);
        any(name, &|element| order(element, &with).is_some_and(test))
    };
    let any_text = |name: &String, test: &dyn Fn(&str) -> bool| match column(name) {
        Value::String(text) => test(&text),
        Value::Array(elements) => elements.iter().any(|e| matches!(e, Value::String(text) if test(text))),
        _ => false,
    };
    match filter {
        Filter::And(filters) => filters.iter().all(|f| matches(f, document, new)),
        Filter::Or(filters) => filters.iter().any(|f| matches(f, document, new)),
        Filter::Not(inner) => !matches(inner, document, new),
        Filter::IsNull(name) => column(name).is_null(),
        Filter::Eq(name, with) => equal(&column(name), &operand(with)),
        Filter::In(name, values) => values.iter().any(|v| equal(&column(name), v)),
        Filter::Lt(name, with) => compare(name, with).is_some_and(Ordering::is_lt),
        Filter::Lte(name, with) => compare(name, with).is_some_and(Ordering::is_le),
        Filter::Gt(name, with) => compare(name, with).is_some_and(Ordering::is_gt),
        Filter::Gte(name, with) => compare(name, with).is_some_and(Ordering::is_ge),
        Filter::Contains(name, with) => any_order(name, with, Ordering::is_eq),
        Filter::ContainsAny(name, values) => any(name, &|element| values.iter().any(|v| equal(element, v))),
        Filter::AnyLt(name, with) => any_order(name, with, Ordering::is_lt),
        Filter::AnyLte(name, with) => any_order(name, with, Ordering::is_le),
        Filter::AnyGt(name, with) => any_order(name, with, Ordering::is_gt),
        Filter::AnyGte(name, with) => any_order(name, with, Ordering::is_ge),
        Filter::Glob(name, pattern) => any_text(name, &|text| glob(pattern, text)),
        Filter::IGlob(name, pattern) => {
            any_text(name, &|text| glob(&pattern.to_lowercase(), &text.to_lowercase()))
        }
        Filter::Regex(name, pattern) => {
            any_text(name, &|text| regex::Regex::new(pattern).unwrap().is_match(text))
        }
        Filter::Fuzzy(name, fuzzy) => any_text(name, &|text| similar(fuzzy, text)),
        Filter::Tokens(_) => unreachable!("tests/it/token_filters.rs has an evaluator of its own"),
    }
}

fn value(document: &Document, name: &str) -> Value {
    if name == "id" {
        return match document.id() {
            DocumentId::U64(id) => Value::Uint(*id),
            DocumentId::Negative(id) => Value::Int(*id),
            DocumentId::Uuid(id) => Value::Uuid(*id),
            DocumentId::String(id) => Value::String(id.to_string()),
        };
    }
    document.get(name).cloned().unwrap_or(Value::Null)
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (a, b) => order(a, b) == Some(Ordering::Equal),
    }
}

/// The order of two values of one type; numbers compare across types, as what they are.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    let whole = |value: &Value| match *value {
        Value::Int(x) => Some(i128::from(x)),
        Value::Uint(x) => Some(i128::from(x)),
        _ => None,
    };
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Uuid(a), Value::Uuid(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Value::Datetime(a), Value::Datetime(b)) => Some(a.cmp(b)),
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
        (a, b) => match (whole(a), whole(b)) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            (Some(a), None) => with_float(a, b),
            (None, Some(b)) => with_float(b, a).map(Ordering::reverse),
            (None, None) => match (a, b) {
                (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
                _ => None,
            },
        },
    }
}

/// A whole number of 64 bits against a float, which has a floor and something above it.
#[expect(clippy::cast_possible_truncation, reason = "one that is larger than 64 bits was looked at before")]
fn with_float(a: i128, b: &Value) -> Option<Ordering> {
    let Value::Float(b) = b else { return None };
    if b.abs() > 1e30 {
        return 0.0.partial_cmp(b);
    }
    let floor = b.floor();
    Some(a.cmp(&(floor as i128)).then(if *b > floor { Ordering::Less } else { Ordering::Equal }))
}

/// The whole table: in row and column the fewest edits from the first characters of the query to some end of the
/// first characters of the text.
fn similar(fuzzy: &Fuzzy, text: &str) -> bool {
    let Some(edits) = fuzzy.allowed_edits() else { return false };
    let cased = |text: &str| if fuzzy.any_case { text.to_lowercase() } else { text.to_owned() };
    let text: Vec<char> = cased(text).chars().collect();
    let mut row = vec![0; text.len() + 1];
    for (above, c) in (1..).zip(cased(&fuzzy.query).chars()) {
        let mut next = vec![above];
        for (at, t) in text.iter().enumerate() {
            next.push((row[at] + usize::from(c != *t)).min(row[at + 1] + 1).min(next[at] + 1));
        }
        row = next;
    }
    row.iter().any(|distance| *distance <= usize::from(edits))
}

/// Backtracking over a glob whose braces, none of them within brackets, are first written out.
fn glob(pattern: &str, text: &str) -> bool {
    if let Some((before, choices, after)) = braces(pattern) {
        return choices.iter().any(|choice| glob(&format!("{before}{choice}{after}"), text));
    }
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    backtrack(&pattern, &text)
}

/// The first outermost group: what stands before it, its choices, what stands after it.
fn braces(pattern: &str) -> Option<(&str, Vec<&str>, &str)> {
    let (mut depth, mut open, mut cuts, mut escaped) = (0, 0, Vec::new(), false);
    for (at, c) in pattern.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => {
                depth += 1;
                if depth == 1 {
                    open = at;
                    cuts.push(at);
                }
            }
            ',' if depth == 1 => cuts.push(at),
            '}' => {
                depth -= 1;
                if depth == 0 {
                    cuts.push(at);
                    let choices = cuts.windows(2).map(|cut| &pattern[cut[0] + 1..cut[1]]).collect();
                    return Some((&pattern[..open], choices, &pattern[at + 1..]));
                }
            }
            _ => {}
        }
    }
    None
}

fn backtrack(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', rest @ ..] => (0..=text.len()).any(|skip| backtrack(rest, &text[skip..])),
        ['\\', c, rest @ ..] => text.first() == Some(c) && backtrack(rest, &text[1..]),
        ['[', rest @ ..] => {
            let close = 1 + rest[1..].iter().position(|c| *c == ']').unwrap();
            let (set, rest) = (&rest[..close], &rest[close + 1..]);
            let (negated, set) = if set[0] == '!' { (true, &set[1..]) } else { (false, set) };
            let within = |c: &char| match set {
                [low, '-', high] => (low..=high).contains(&c),
                set => set.contains(c),
            };
            text.first().is_some_and(|c| within(c) != negated) && backtrack(rest, &text[1..])
        }
        [c, rest @ ..] => text.first().is_some_and(|t| *c == '?' || c == t) && backtrack(rest, &text[1..]),
    }
}
