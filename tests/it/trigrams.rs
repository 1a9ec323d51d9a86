//! Trigrams change what patterns and fuzzy filters read, and no answer.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::sync::Arc;

use elacsym::arrow::array::{
    Array, ArrayRef, AsArray, ListBuilder, RecordBatch, StringArray, StringBuilder, UInt64Array,
};
use elacsym::arrow::datatypes::UInt64Type;
use elacsym::schema::AttributeType;
use elacsym::storage::{CountingBackend, MemoryBackend};
use elacsym::{
    Consistency, Database, Filter, Fuzzy, IdKind, Namespace, Result, Scan, Schema, Select, WriteBatch,
};

use crate::common::rng::Rng;

const ROWS: u64 = 60_000;

/// What names and patterns are drawn from.
#[derive(Clone)]
struct Draw(Rng);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.below(end as u64)).unwrap()
    }

    fn pick<'a>(&mut self, names: &[&'a str]) -> &'a str {
        names[self.below(names.len())]
    }

    /// A name that hardly repeats. Some have letters that are the same as an ASCII letter but for case, some are
    /// longer than a key of the index.
    fn name(&mut self) -> String {
        const PARTS: [&str; 16] = [
            "harbour",
            "Kessel",
            "\u{212A}essel",
            "straſſe",
            "STRASSE",
            "naïve",
            "NAÏVE",
            "über",
            "mill",
            "Bridge",
            "quay",
            "x",
            "日本",
            "-",
            "Æther",
            "lantern",
        ];
        let mut name = format!("{} {} {:05}", self.pick(&PARTS), self.pick(&PARTS), self.below(100_000));
        if self.below(50) == 0 {
            name.push_str(&"tail ".repeat(30));
            name.push_str(self.pick(&PARTS));
        }
        name
    }

    /// Some of a text, from 3 characters on.
    fn some(&mut self, text: &str) -> String {
        let chars: Vec<char> = text.chars().collect();
        let length = 3 + self.below(10).min(chars.len() - 3);
        let start = self.below(chars.len() - length + 1);
        chars[start..start + length].iter().collect()
    }

    fn filter(&mut self, column: &str, part: &str) -> Filter {
        let glob = part.replace(['*', '?', '['], "?");
        match self.below(10) {
            0 => Filter::glob(column, format!("*{glob}*")),
            1 => Filter::glob(column, format!("{{*,zzz*}}{glob}*[0-9a-z]")),
            2 => Filter::glob(column, format!("{glob}*")),
            3 => Filter::not_glob(column, format!("*{glob}")),
            4 => Filter::iglob(column, format!("*{}*", glob.to_uppercase())),
            5 => Filter::regex(column, format!("{part}.*[3-7]$")),
            6 => Filter::regex(column, format!("(?i){}", part.to_lowercase())),
            7 => Filter::regex(column, format!("^({part}|lantern)")),
            8 => Filter::fuzzy(column, Fuzzy::new(part).distance(3, 0).distance(6, 1)),
            _ => Filter::fuzzy(
                column,
                Fuzzy::new(part.to_uppercase()).distance(3, 0).distance(9, 2).any_case(),
            ),
        }
    }
}

fn rows(draw: &mut Draw) -> RecordBatch {
    let names: Vec<String> = (0..ROWS).map(|_| draw.name()).collect();
    let mut tags = ListBuilder::new(StringBuilder::new());
    for at in 0..names.len() {
        let some = names[at..].iter().take(at % 3);
        tags.append_value(some.map(|name| Some(name.as_str())));
    }
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(&names));
    let tags: ArrayRef = Arc::new(tags.finish());
    RecordBatch::try_from_iter([
        ("id", Arc::new((0..ROWS).collect::<UInt64Array>()) as ArrayRef),
        ("plain", Arc::clone(&names)),
        ("sieved", names),
        ("plain_tags", Arc::clone(&tags)),
        ("sieved_tags", tags),
    ])
    .unwrap()
}

async fn filled(store: &CountingBackend) -> Result<(Namespace, RecordBatch)> {
    let schema = Schema::builder(IdKind::U64)
        .attribute("plain", AttributeType::String)
        .attribute("sieved", AttributeType::String)
        .attribute("plain_tags", AttributeType::StringArray)
        .attribute("sieved_tags", AttributeType::StringArray)
        .trigrams("sieved", true)
        .trigrams("sieved_tags", true)
        .build()?;
    let db = Database::builder().open_backend(Arc::new(store.clone())).await?;
    let docs = db.create_namespace("docs", schema).await?;
    let rows = rows(&mut Draw(Rng::new(3)));
    docs.write(WriteBatch::new().upsert_batch(rows.clone())).await?;
    docs.flush().await?;
    docs.compact().await?;
    Ok((docs, rows))
}

async fn ids(docs: &Namespace, filter: Filter) -> Result<Vec<u64>> {
    let snapshot = docs.snapshot(Consistency::Eventual).await?;
    let scan = Scan::new().filter(filter).select(Select::only(["id"; 0])).limit(10_000);
    let page = snapshot.scan(scan).await?;
    Ok(page.rows.batch().column(0).as_primitive::<UInt64Type>().values().to_vec())
}

#[tokio::test]
async fn a_column_with_trigrams_answers_as_one_without() -> Result<()> {
    let store = CountingBackend::new(Arc::new(MemoryBackend::new()));
    let (docs, rows) = filled(&store).await?;
    let names = rows.column(1).as_any().downcast_ref::<StringArray>().unwrap();
    let (mut draw, mut matched) = (Draw(Rng::new(11)), 0);
    for round in 0..150 {
        let at = draw.below(names.len());
        let part = draw.some(names.value(at));
        let of = if round % 3 == 0 { "_tags" } else { "" };
        let (same, column) = (draw.clone(), format!("plain{of}"));
        let plain = draw.filter(&column, &part);
        draw = same;
        let sieved = draw.filter(&format!("sieved{of}"), &part);
        let expected = ids(&docs, plain.clone()).await?;
        assert_eq!(ids(&docs, sieved).await?, expected, "{plain:?}");
        matched += usize::from(!expected.is_empty() && expected.len() < 10_000);
    }
    assert!(matched > 90, "{matched}");
    Ok(())
}

#[tokio::test]
async fn a_rare_pattern_reads_a_small_share_of_the_values() -> Result<()> {
    let store = CountingBackend::new(Arc::new(MemoryBackend::new()));
    let (_, rows) = filled(&store).await?;
    let names = rows.column(1).as_any().downcast_ref::<StringArray>().unwrap();
    let rare = names.iter().flatten().find(|name| name.starts_with("lantern quay")).unwrap();
    let number = rare.get(13..18).unwrap();
    let filters = |column: &str| {
        [
            Filter::glob(column, format!("*n quay {number}*")),
            Filter::iglob(column, format!("*N QUAY {number}*")),
            Filter::regex(column, format!("[m-o] quay {number}")),
            Filter::fuzzy(column, Fuzzy::new(format!("n quay {number}")).distance(6, 1)),
        ]
    };
    for (plain, sieved) in filters("plain").into_iter().zip(filters("sieved")) {
        let mut read = Vec::new();
        for filter in [plain, sieved.clone()] {
            let db = Database::builder().open_backend(Arc::new(store.clone())).await?;
            let snapshot = db.open_namespace("docs").await?.snapshot(Consistency::Eventual).await?;
            store.reset();
            assert!(snapshot.count_matching(&filter).await? > 0, "{filter:?}");
            read.push(store.bytes_read());
        }
        assert!(read[1] * 2 < read[0], "{sieved:?}: {read:?}");
    }
    Ok(())
}
