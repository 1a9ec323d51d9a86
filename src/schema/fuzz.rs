//! Hostile schemas and datetimes.

use super::{AttributeType, Language, Schema, TextOptions};
use crate::fuzzing::FuzzTarget;
use crate::types::datetime::{format_datetime, parse_datetime};
use crate::types::{IdKind, Metric, VectorType};

#[test]
fn fuzz_schema() {
    let schema = Schema::builder(IdKind::String)
        .attribute("n", AttributeType::Int)
        .attribute("tags", AttributeType::StringArray)
        .trigrams("tags", true)
        .text("body", TextOptions::default().language(Language::German).b(0.4))
        .vector("v", VectorType::F16, 384, Metric::L2Squared);
    let seed = serde_json::to_vec(&schema.build().unwrap()).unwrap();
    let words = &[
        "1e308",
        "\"attribute\":\"int\"",
        "\"name\"",
        "\"text\":{}",
        "\"tokenizer\":{\"ngram\":{\"min\":1,\"max\":99}}",
        "\"dimension\":18446744073709551615",
        "\\u0000",
        "\"code_bits\":0",
        "\"max_token_length\":0",
        "\"id\"",
    ];
    FuzzTarget::new("schema", [seed]).json_words(words).memory(32, 64 << 10).run(|json| {
        let schema: Schema = serde_json::from_slice(json)?;
        // What was accepted has an Arrow layout, and reads back.
        assert_eq!(schema.arrow().fields().len(), schema.columns().len() + 1);
        let json = serde_json::to_vec(&schema)?;
        assert_eq!(serde_json::from_slice::<Schema>(&json)?, schema);
        Ok::<_, serde_json::Error>(())
    });
}

#[test]
fn fuzz_datetime() {
    let seeds =
        ["2024-02-29T23:59:59.999Z", "1970-01-01", "9999-12-31 23:59:59+14:00", "0000-01-01T00:00:00-00:01"];
    let words = &["T", "Z", "+", "-", ":", ".", "24:00:00", "99", "-0001", "é", "\u{2212}"];
    FuzzTarget::new("datetime", seeds).words(words).memory(8, 4 << 10).run(|input| {
        let milliseconds = parse_datetime(&String::from_utf8_lossy(input))?;
        if let Some(text) = format_datetime(milliseconds) {
            assert_eq!(parse_datetime(&text), Ok(milliseconds));
        }
        Ok::<_, &'static str>(())
    });
}
