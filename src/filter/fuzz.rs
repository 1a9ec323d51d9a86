//! Hostile filters: patterns, and trees of any shape and depth.

use super::pattern::{compile_glob, compile_regex};
use super::*;
use crate::error::{ErrorKind, Result};
use crate::fuzzing::FuzzTarget;
use crate::index::attributes::Pattern;
use crate::schema::{AttributeType, Schema, TextOptions};
use crate::settings::Settings;
use crate::types::{Document, IdKind, Value};

/// Values that patterns are tried on.
const TEXTS: [&str; 6] = ["", "a", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "Straße ΑΒΓ\n", "a.b/c", "\u{10ffff}\0"];

/// Whether a pattern matches is its own business; that it answers is not.
fn try_on_texts(pattern: &Pattern) {
    for text in TEXTS {
        std::hint::black_box(pattern.is_match(text));
    }
}

fn text_of(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

#[test]
fn fuzz_glob() {
    let seeds = ["dir/*.rs", "a?[!b-d]{x,y*}\\*", "*a*b*c*", "", "é[]-]"];
    let words =
        &["*", "?", "[", "]", "{", "}", ",", "\\", "!", "-", "^", "a", "é", "\u{10ffff}", "[a-z]", "{a,b}"];
    FuzzTarget::new("glob", seeds).words(words).inputs(1_000).run(|input| -> Result<()> {
        let text = text_of(input);
        for any_case in [false, true] {
            let pattern = compile_glob(&text, any_case)?;
            try_on_texts(&pattern);
        }
        Ok(())
    });
}

#[test]
fn fuzz_regex() {
    let seeds = ["^a+(b|c)*$", "(?i)stra\u{df}e", "[^a-z\\d]{2,5}?", "\\p{L}+\\b", "(?x) a # b", "a{1000}"];
    let words = &[
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "*",
        "+",
        "?",
        "|",
        "^",
        "$",
        ".",
        "\\d",
        "\\w",
        "\\pL",
        "\\p{Greek}",
        "(?i)",
        "(?:",
        "(?P<n>",
        "(?x)",
        "(?s-u)",
        "{2,}",
        "{9,99}",
        "{1000}",
        "[[:alpha:]&&[^a]]",
        "\\x{10FFFF}",
        "\\b",
        "a",
        "\u{130}",
    ];
    FuzzTarget::new("regex", seeds).words(words).inputs(400).run(|input| -> Result<()> {
        let pattern = compile_regex(&text_of(input))?;
        try_on_texts(&pattern);
        Ok(())
    });
}

#[test]
fn fuzz_fuzzy() {
    let seeds: [&[u8]; 3] = [b"\x06\x01elacsym", b"\x09\x02a longer query", b"\x03\x00abc"];
    FuzzTarget::new("fuzzy", seeds).words(&["a", "ſ", "K", "é", "\u{10ffff}"]).inputs(400).run(
        |input| -> Result<()> {
            let (numbers, text) = input.split_at(input.len().min(2));
            let text = text_of(text);
            let mut fuzzy = Fuzzy::new(&*text);
            if let [min, edits] = numbers {
                fuzzy = fuzzy.distance((*min).into(), *edits);
            }
            for fuzzy in [fuzzy.clone(), fuzzy.any_case()] {
                let Some(pattern) = fuzzy.compile()? else { continue };
                try_on_texts(&pattern);
                assert!(pattern.is_match(&text), "a text matches itself: {text:?}");
            }
            Ok(())
        },
    );
}

fn schema() -> Schema {
    Schema::builder(IdKind::U64)
        .attribute("n", AttributeType::Int)
        .attribute("s", AttributeType::String)
        .attribute("tags", AttributeType::StringArray)
        .attribute("u", AttributeType::Uuid)
        .attribute("d", AttributeType::Datetime)
        .text("t", TextOptions::default())
        .build()
        .unwrap()
}

/// Builds a tree by instructions of a byte each, on a stack: as deep as the input is long.
fn tree_of(input: &[u8]) -> Filter {
    let mut stack = vec![Filter::and([])];
    let mut bytes = input.iter().copied();
    while let Some(byte) = bytes.next() {
        let mut text = || -> String {
            let length = bytes.next().unwrap_or_default() % 16;
            String::from_utf8_lossy(&bytes.by_ref().take(length.into()).collect::<Vec<_>>()).into_owned()
        };
        let column = ["n", "s", "tags", "u", "d", "t", "id", "absent"][usize::from(byte >> 5)];
        let node = match byte % 20 {
            0 => Filter::Not(Box::new(stack.pop().unwrap_or_else(|| Filter::and([])))),
            1 => Filter::And(stack.split_off(stack.len().saturating_sub(3))),
            2 => Filter::Or(stack.split_off(stack.len().saturating_sub(2))),
            3 => Filter::or([]),
            4 => Filter::is_null(column),
            5 => Filter::eq(column, text()),
            6 => Filter::lt(column, f64::from_bits(u64::from(byte) << 56)),
            7 => Filter::gte(column, u64::MAX - u64::from(byte)),
            8 => Filter::eq(column, Operand::new_value(text())),
            9 => Filter::is_in(column, [Value::Null, text().into(), Value::Float(f64::NAN)]),
            10 => Filter::contains(column, text()),
            11 => Filter::contains_any(column, [Value::from(text()), Value::Int(byte.into())]),
            12 => Filter::any_lt(column, text()),
            13 => Filter::glob(column, text()),
            14 => Filter::iglob(column, text()),
            15 => Filter::regex(column, text()),
            16 => Filter::fuzzy(column, text()),
            17 => TokenFilter::sequence(column, text()).prefix().into(),
            18 => TokenFilter::any(column, vec![text(), text()]).into(),
            _ => Filter::eq(column, Value::Array(vec![Value::Bool(true), Value::Array(Vec::new())])),
        };
        stack.push(node);
    }
    Filter::Or(stack)
}

#[test]
fn fuzz_filter() {
    let mut settings = Settings::default();
    (settings.filter_depth_max, settings.filter_nodes_max) = (256, 4_096);
    let schema = schema();
    let document =
        Document::new(1).with("n", 1).with("s", "a").with("tags", vec!["x"]).with("t", "some text");
    let rows = schema.to_batch(&[document, Document::new(2)]).unwrap();
    // Columns and operations by their numbers in `tree_of`.
    let node = |column: u8, operation: u8, text: &str| {
        let byte = (column * 32..=column * 32 + 31).find(|byte| byte % 20 == operation).unwrap();
        let length = u8::try_from(text.len()).unwrap();
        if text.is_empty() { vec![byte] } else { [&[byte, length][..], text.as_bytes()].concat() }
    };
    let (not, and) = (node(0, 0, ""), node(0, 1, ""));
    let seeds = [
        [node(0, 4, ""), node(1, 5, "a"), not.clone(), node(0, 7, ""), and.clone()].concat(),
        [node(1, 13, "a*"), node(2, 15, "^x"), node(1, 16, "abcdef"), node(0, 2, "")].concat(),
        [node(5, 17, "some te"), node(2, 10, "x"), node(0, 6, ""), and.clone()].concat(),
        [node(0, 4, ""), [not, and].concat().repeat(60)].concat(),
    ];
    FuzzTarget::new("filter", seeds).memory(200, 32 << 20).inputs(2_000).run(|input| -> Result<()> {
        let filter = tree_of(input);
        let copy = filter.clone();
        // Not by `==`: a value that is NaN is not equal to itself.
        let shown = format!("{filter:?}");
        assert!(shown == format!("{copy:?}") && shown.len() < 1 << 22);
        FilterWeight::default().add(&filter)?;
        let bound = BoundFilter::new(&filter, &schema, &settings, true)?;
        let evaluated = bound.evaluate(&rows, Some(&rows)).map(drop);
        // What was bound raises no error that the caller could have caused.
        assert!(
            evaluated.as_ref().map_or_else(|e| e.kind() != ErrorKind::Internal, |()| true),
            "{evaluated:?}"
        );
        evaluated
    });
}
