//! Describes how two schemas differ, for the error of opening a namespace with another schema than it was created with.

use std::collections::BTreeSet;
use std::fmt::Display;

use serde::Serialize;
use serde_json::Value as Json;

use super::{Column, ColumnKind, Schema};

/// The most differences that are listed; the number of further ones follows. A schema has up to 1,024 columns, and an
/// error is one line of a log.
const LISTED_MAX: usize = 8;
/// The most column names that are listed for each of two orders.
const NAMES_MAX: usize = 16;

impl Schema {
    /// How the stored schema and a requested one differ, column by column; `None` if they are equal.
    pub(crate) fn describe_difference(stored: &Self, requested: &Self) -> Option<String> {
        let mut differences = Differences::default();
        if stored.id != requested.id {
            differences.add("ids", stored.id, requested.id);
        }
        for column in &stored.columns {
            match requested.column(&column.name) {
                Some(other) => differences.compare_columns(column, other),
                None => differences.0.push(format!("column `{}`: stored, not asked for", column.name)),
            }
        }
        for column in requested.columns.iter().filter(|column| stored.column(&column.name).is_none()) {
            differences.0.push(format!("column `{}`: asked for, not stored", column.name));
        }
        // The order counts: columns of a batch and of Parquet files follow it.
        let same_order = stored.columns.iter().map(|c| &c.name).eq(requested.columns.iter().map(|c| &c.name));
        if differences.0.is_empty() && !same_order {
            differences.add("order of columns", list_names(stored), list_names(requested));
        }
        differences.finish()
    }
}

/// Differences found so far, each in words.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn add(&mut self, what: impl Display, stored: impl Display, requested: impl Display) {
        self.0.push(format!("{what}: stored {stored}, asked for {requested}"));
    }

    fn finish(self) -> Option<String> {
        let mut listed = self.0;
        let more = listed.len().saturating_sub(LISTED_MAX);
        listed.truncate(LISTED_MAX);
        if more > 0 {
            listed.push(format!("{more} more"));
        }
        (!listed.is_empty()).then(|| listed.join("; "))
    }

    fn compare_columns(&mut self, stored: &Column, requested: &Column) {
        let name = &stored.name;
        match (stored.kind, requested.kind) {
            (ColumnKind::Vector(old), ColumnKind::Vector(new)) => self.compare_options(name, "", &old, &new),
            (old, new) if old != new => {
                self.add(format_args!("column `{name}`"), kind_name(old), kind_name(new));
                // With another type, the options differ too: no need to list them.
                return;
            }
            _ => {}
        }
        let flags = [
            ("filterable", stored.filterable, requested.filterable),
            ("trigrams", stored.trigrams, requested.trigrams),
        ];
        for (option, old, new) in flags {
            if old != new {
                self.add(format_args!("column `{name}` {option}"), old, new);
            }
        }
        match (&stored.text, &requested.text) {
            (Some(old), Some(new)) => self.compare_options(name, "full text ", old, new),
            (None, None) => {}
            (old, new) => {
                let word = |is_set: bool| if is_set { "with" } else { "without" };
                self.add(format_args!("column `{name}` full text"), word(old.is_some()), word(new.is_some()));
            }
        }
    }

    /// Compares options field by field in their stored form, so that an option added later is covered as well.
    fn compare_options(
        &mut self,
        name: &str,
        prefix: &str,
        stored: &impl Serialize,
        requested: &impl Serialize,
    ) {
        let (stored, requested) = (to_fields(stored), to_fields(requested));
        let keys: BTreeSet<&String> = stored.keys().chain(requested.keys()).collect();
        for key in keys {
            let (old, new) = (stored.get(key), requested.get(key));
            if old != new {
                self.add(
                    format_args!("column `{name}` {prefix}{key}"),
                    format_option(old),
                    format_option(new),
                );
            }
        }
    }
}

fn list_names(schema: &Schema) -> String {
    let names: Vec<_> = schema.columns.iter().map(|c| format!("`{}`", c.name)).take(NAMES_MAX).collect();
    names.join(" ")
}

fn kind_name(kind: ColumnKind) -> String {
    match kind {
        ColumnKind::Attribute(kind) => kind.to_string(),
        ColumnKind::Vector(_) => "a vector".to_owned(),
    }
}

fn to_fields(options: &impl Serialize) -> serde_json::Map<String, Json> {
    match serde_json::to_value(options) {
        Ok(Json::Object(fields)) => fields,
        // invariant: both kinds of options are structs of plain fields, which serialize to objects.
        Ok(_) | Err(_) => serde_json::Map::new(),
    }
}

fn format_option(value: Option<&Json>) -> String {
    match value {
        // An option that is not set is left out of the stored form, or null.
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
    fn a_difference_names_both_sides() {
        let stored = builder().build().unwrap();
        let difference = |asked: SchemaBuilder| Schema::describe_difference(&stored, &asked.build().unwrap());
        assert_eq!(difference(builder()), None);
        let base = || Schema::builder(IdKind::U64);
        let vector = |b: SchemaBuilder| b.vector("v", VectorType::F32, 4, Metric::Cosine);
        let body = |b: SchemaBuilder| b.text("body", TextOptions::default());
        let options = TextOptions::default()
            .language(Language::French)
            .tokenizer(Tokenizer::Ngram { min: 2, max: 3 })
            .b(0.5);
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
            assert_eq!(difference(asked).as_deref(), Some(words));
        }
        let other_ids = Schema::builder(IdKind::Uuid).build().unwrap();
        let own = Schema::builder(IdKind::U64).build().unwrap();
        assert_eq!(
            Schema::describe_difference(&own, &other_ids).as_deref(),
            Some("ids: stored u64, asked for uuid")
        );
        let many = (0..20)
            .fold(Schema::builder(IdKind::U64), |b, n| b.attribute(format!("c{n}"), AttributeType::Int));
        let many = Schema::describe_difference(&own, &many.build().unwrap()).unwrap();
        assert!(many.ends_with("column `c7`: asked for, not stored; 12 more"), "{many}");
    }
}
