//! What one schema has otherwise than another, in words.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value as Json;

use super::{Column, ColumnKind, Schema};

/// The most differences that are told; of the rest, how many there are.
const TOLD_MAX: usize = 8;
/// The most names that are told of each of two orders.
const NAMES_MAX: usize = 16;

impl Schema {
    /// How the stored schema and one that was asked for differ, column by column; `None` if they do not.
    pub(crate) fn difference(stored: &Self, asked: &Self) -> Option<String> {
        let mut told = Vec::new();
        if stored.id != asked.id {
            told.push(pair("ids", stored.id, asked.id));
        }
        for column in &stored.columns {
            match asked.column(&column.name) {
                Some(other) => compare(column, other, &mut told),
                None => told.push(format!("column `{}`: stored, not asked for", column.name)),
            }
        }
        for column in asked.columns.iter().filter(|column| stored.column(&column.name).is_none()) {
            told.push(format!("column `{}`: asked for, not stored", column.name));
        }
        if told.is_empty() && stored != asked {
            told.push(pair("order of columns", names(stored), names(asked)));
        }
        let more = told.len().saturating_sub(TOLD_MAX);
        told.truncate(TOLD_MAX);
        let more = (more > 0).then(|| format!("{more} more"));
        (!told.is_empty()).then(|| told.into_iter().chain(more).collect::<Vec<_>>().join("; "))
    }
}

fn pair(
    what: impl std::fmt::Display,
    stored: impl std::fmt::Display,
    asked: impl std::fmt::Display,
) -> String {
    format!("{what}: stored {stored}, asked for {asked}")
}

fn names(schema: &Schema) -> String {
    let names: Vec<_> = schema.columns.iter().map(|c| format!("`{}`", c.name)).take(NAMES_MAX).collect();
    names.join(" ")
}

fn compare(stored: &Column, asked: &Column, told: &mut Vec<String>) {
    let name = &stored.name;
    match (stored.kind, asked.kind) {
        (ColumnKind::Vector(one), ColumnKind::Vector(other)) => options(name, "", &one, &other, told),
        (one, other) if one != other => {
            told.push(pair(format_args!("column `{name}`"), kind(one), kind(other)));
            // The rest follows from it.
            return;
        }
        _ => {}
    }
    for (option, one, other) in
        [("filterable", stored.filterable, asked.filterable), ("trigrams", stored.trigrams, asked.trigrams)]
    {
        if one != other {
            told.push(pair(format_args!("column `{name}` {option}"), one, other));
        }
    }
    match (&stored.text, &asked.text) {
        (Some(one), Some(other)) => options(name, "full text ", one, other, told),
        (None, None) => {}
        (one, _) => {
            let has = |has: bool| if has { "with" } else { "without" };
            told.push(pair(
                format_args!("column `{name}` full text"),
                has(one.is_some()),
                has(one.is_none()),
            ));
        }
    }
}

fn kind(kind: ColumnKind) -> String {
    match kind {
        ColumnKind::Attribute(kind) => kind.to_string(),
        ColumnKind::Vector(_) => "a vector".to_owned(),
    }
}

/// Field by field, as they are stored: an option that is added is told without more ado.
fn options(name: &str, of: &str, stored: &impl Serialize, asked: &impl Serialize, told: &mut Vec<String>) {
    let (stored, asked) = (fields(stored), fields(asked));
    let keys: BTreeSet<&String> = stored.keys().chain(asked.keys()).collect();
    for key in keys {
        let (one, other) = (stored.get(key), asked.get(key));
        if one != other {
            told.push(pair(format_args!("column `{name}` {of}{key}"), shown(one), shown(other)));
        }
    }
}

fn fields(of: &impl Serialize) -> serde_json::Map<String, Json> {
    match serde_json::to_value(of) {
        Ok(Json::Object(fields)) => fields,
        Ok(_) | Err(_) => serde_json::Map::new(),
    }
}

fn shown(value: Option<&Json>) -> String {
    match value {
        None | Some(Json::Null) => "none".to_owned(),
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{AttributeType, Language, SchemaBuilder, TextOptions, Tokenizer};
    use crate::types::{IdKind, Metric, VectorType};

    fn builder() -> SchemaBuilder {
        Schema::builder(IdKind::U64)
            .attribute("n", AttributeType::Int)
            .text("body", TextOptions::default())
            .vector("v", VectorType::F32, 4, Metric::Cosine)
    }

    #[test]
    fn what_differs_is_told_with_both_sides() {
        let stored = builder().build().unwrap();
        let told = |asked: SchemaBuilder| Schema::difference(&stored, &asked.build().unwrap());
        assert_eq!(told(builder()), None);
        let base = || Schema::builder(IdKind::U64);
        let vector = |b: SchemaBuilder| b.vector("v", VectorType::F32, 4, Metric::Cosine);
        let body = |b: SchemaBuilder| b.text("body", TextOptions::default());
        let options = TextOptions::default()
            .with_language(Language::French)
            .with_tokenizer(Tokenizer::Ngram { min: 2, max: 3 })
            .with_b(0.5);
        let cases = [
            (builder().attribute("x", AttributeType::Bool), "column `x`: asked for, not stored"),
            (vector(body(base())), "column `n`: stored, not asked for"),
            (
                vector(body(base().attribute("n", AttributeType::FloatArray))),
                "column `n`: stored int, asked for []float",
            ),
            (
                vector(body(base().vector("n", VectorType::I8, 1, Metric::Dot))),
                "column `n`: stored int, asked for a vector",
            ),
            (builder().filterable("n", false), "column `n` filterable: stored true, asked for false"),
            (
                builder().filterable("body", true).trigrams("body", true),
                "column `body` filterable: stored false, asked for true; \
                 column `body` trigrams: stored false, asked for true",
            ),
            (
                builder().full_text("body", options),
                "column `body` full text b: stored 0.75, asked for 0.5; \
                 column `body` full text language: stored none, asked for french; \
                 column `body` full text stemming: stored false, asked for true; \
                 column `body` full text tokenizer: stored words, asked for {\"ngram\":{\"max\":3,\"min\":2}}",
            ),
            (
                vector(base().attribute("n", AttributeType::Int).attribute("body", AttributeType::String))
                    .filterable("body", false),
                "column `body` full text: stored with, asked for without",
            ),
            (
                body(base().attribute("n", AttributeType::Int)).vector("v", VectorType::F16, 8, Metric::Dot),
                "column `v` dimension: stored 4, asked for 8; column `v` element: stored f32, asked for f16; \
                 column `v` metric: stored cosine, asked for dot",
            ),
            (builder().code_bits("v", 3), "column `v` code_bits: stored 5, asked for 3"),
            (
                vector(body(base()).attribute("n", AttributeType::Int)),
                "order of columns: stored `n` `body` `v`, asked for `body` `n` `v`",
            ),
        ];
        for (asked, words) in cases {
            assert_eq!(told(asked).as_deref(), Some(words));
        }
        let other_ids = Schema::builder(IdKind::Uuid).build().unwrap();
        let own = Schema::builder(IdKind::U64).build().unwrap();
        assert_eq!(Schema::difference(&own, &other_ids).as_deref(), Some("ids: stored u64, asked for uuid"));
        let many = (0..20)
            .fold(Schema::builder(IdKind::U64), |b, n| b.attribute(format!("c{n}"), AttributeType::Int));
        let many = Schema::difference(&own, &many.build().unwrap()).unwrap();
        assert!(many.ends_with("column `c7`: asked for, not stored; 12 more"), "{many}");
    }
}
