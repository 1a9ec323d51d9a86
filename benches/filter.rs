//! **Measures** the time to count the matches of a filter among 1,000,000 documents, warm and on one thread, against
//! Arrow compute over the same columns in memory in the same run; facets against a hash map of the values; and what
//! trigrams save, as bytes of a first query and times of the next.
//!
//! elacsym is queried through its public API: [`Snapshot::count_matching`] of an eventual snapshot of one segment. Arrow
//! compares whole columns and counts bits. For lists of values, for which it has no kernel, a hash set is looked up for
//! every value. The collection is generated from a seed.
//!
//! **Leaves out** reading from a store, several segments, the tail, and fetching the documents that match.
//!
//! `cargo bench --bench filter`, or `cargo bench --bench filter -- glob facets` for the cases with these words in
//! their names.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::indexing_slicing, reason = "a benchmark")]

mod common;

use std::collections::{HashMap, HashSet};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use common::{Draw, median};
use elacsym::arrow::array::{
    ArrayRef, AsArray, BooleanArray, Datum, Int64Array, RecordBatch, StringArray, UInt64Array,
};
use elacsym::arrow::compute::kernels::cmp::{eq, gt_eq, lt};
use elacsym::arrow::compute::{and, concat_batches, like};
use elacsym::arrow::datatypes::{Int64Type, UInt64Type};
use elacsym::schema::AttributeType;
use elacsym::storage::{CountingBackend, MemoryBackend};
use elacsym::{
    Aggregation, Consistency, Database, Filter, Fuzzy, IdKind, Schema, Settings, Snapshot, WriteBatch,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const DOCUMENTS: u64 = 1_000_000;
const BATCH: u64 = 50_000;
/// Distinct paths.
const PATHS: u64 = 100_000;
const ROUNDS: usize = 15;

/// `n` hardly repeats, `percent` has 100 values, `path` 100,000, `kind` ten, of which one has half of the rows.
fn generate_rows(draw: &mut Draw, first: u64) -> Outcome<RecordBatch> {
    let of = |f: &mut dyn FnMut() -> u64| (0..BATCH).map(|_| f()).collect::<Vec<_>>();
    let n: UInt64Array = of(&mut || draw.below(DOCUMENTS)).into();
    let percent: Int64Array = of(&mut || draw.below(100)).into_iter().map(u64::cast_signed).collect();
    let path = of(&mut || draw.below(PATHS)).into_iter().map(|p| format!("dir{:02}/file{p:05}", p % 97));
    let path = StringArray::from_iter_values(path);
    let kind = of(&mut || draw.below(18)).into_iter().map(|k| format!("kind{}", k.saturating_sub(8)));
    let kind = StringArray::from_iter_values(kind);
    let ids: UInt64Array = (first..first + BATCH).collect();
    let columns: [(&str, ArrayRef); 5] = [
        ("id", Arc::new(ids)),
        ("n", Arc::new(n)),
        ("percent", Arc::new(percent)),
        ("path", Arc::new(path)),
        ("kind", Arc::new(kind)),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}

async fn collection() -> Outcome<(Snapshot, RecordBatch)> {
    let schema = Schema::builder(IdKind::U64)
        .attribute("n", AttributeType::Uint)
        .attribute("percent", AttributeType::Int)
        .attribute("path", AttributeType::String)
        .attribute("kind", AttributeType::String)
        .build()?;
    let mut settings = Settings::default();
    settings.cache_bytes = 1 << 30;
    let db = Database::builder().settings(settings).open("memory://").await?;
    let docs = db.create_namespace("docs", schema).await?;
    let (mut draw, mut batches) = (Draw(7), Vec::new());
    for first in (0..DOCUMENTS).step_by(usize::try_from(BATCH)?) {
        let batch = generate_rows(&mut draw, first)?;
        docs.write(WriteBatch::new().upsert_batch(batch.clone())).await?;
        batches.push(batch);
    }
    docs.flush().await?;
    docs.compact().await?;
    let whole = concat_batches(&batches[0].schema(), &batches)?;
    Ok((docs.snapshot(Consistency::Eventual).await?, whole))
}

/// The baseline: what Arrow does for a filter.
type Reference = Box<dyn Fn(&RecordBatch) -> Outcome<BooleanArray>>;

fn column<'a>(rows: &'a RecordBatch, name: &str) -> Outcome<&'a ArrayRef> {
    Ok(rows.column_by_name(name).ok_or("a column is missing")?)
}

fn within(
    name: &'static str,
    low: &dyn Fn() -> Box<dyn Datum>,
    high: &dyn Fn() -> Box<dyn Datum>,
) -> Reference {
    let (low, high) = (low(), high());
    Box::new(move |rows| {
        let column = column(rows, name)?;
        Ok(and(&gt_eq(column, low.as_ref())?, &lt(column, high.as_ref())?)?)
    })
}

fn uint(value: u64) -> Box<dyn Datum> {
    Box::new(UInt64Array::new_scalar(value))
}

fn int(value: i64) -> Box<dyn Datum> {
    Box::new(Int64Array::new_scalar(value))
}

fn text(value: &str) -> Box<dyn Datum> {
    Box::new(StringArray::new_scalar(value))
}

fn equal(name: &'static str, value: Box<dyn Datum>) -> Reference {
    Box::new(move |rows| Ok(eq(column(rows, name)?, value.as_ref())?))
}

fn pattern(value: &'static str) -> Reference {
    let value = text(value);
    Box::new(move |rows| Ok(like(column(rows, "path")?, value.as_ref())?))
}

fn questions() -> Vec<(String, Filter, Reference)> {
    let mut all: Vec<(String, Filter, Reference)> = vec![
        ("equality, one row".into(), Filter::eq("n", 4_711), equal("n", uint(4_711))),
        ("equality, 1 %".into(), Filter::eq("percent", 42), equal("percent", int(42))),
        ("equality of strings, 50 %".into(), Filter::eq("kind", "kind0"), equal("kind", text("kind0"))),
    ];
    for (share, width) in [("0.01", 100), ("1", 10_000), ("10", 100_000), ("50", 500_000), ("99", 990_000)] {
        let low = 5_000;
        let filter = Filter::gte("n", low) & Filter::lt("n", low + width);
        all.push((format!("range, {share} %"), filter, within("n", &|| uint(low), &|| uint(low + width))));
    }
    let filter = Filter::gte("percent", 42) & Filter::lt("percent", 43);
    all.push(("range of few values, 1 %".into(), filter, within("percent", &|| int(42), &|| int(43))));
    let filter = Filter::gte("percent", 20) & Filter::lt("percent", 70);
    all.push(("range of few values, 50 %".into(), filter, within("percent", &|| int(20), &|| int(70))));
    for count in [10, 1_000, 100_000] {
        let mut draw = Draw(count);
        let values: Vec<u64> = (0..count).map(|_| draw.below(DOCUMENTS)).collect();
        let set: HashSet<u64> = values.iter().copied().collect();
        let reference: Reference = Box::new(move |rows| {
            let column = column(rows, "n")?.as_primitive::<UInt64Type>();
            Ok(column.values().iter().map(|n| Some(set.contains(n))).collect())
        });
        all.push((format!("in {count}"), Filter::is_in("n", values), reference));
    }
    let three = Filter::eq("percent", 42) & Filter::eq("kind", "kind0") & Filter::lt("n", 500_000);
    let reference: Reference = Box::new(|rows| {
        let percent = column(rows, "percent")?.as_primitive::<Int64Type>();
        let one = eq(percent, &Int64Array::new_scalar(42))?;
        let two = eq(column(rows, "kind")?, &StringArray::new_scalar("kind0"))?;
        let three = lt(column(rows, "n")?, &UInt64Array::new_scalar(500_000))?;
        Ok(and(&and(&one, &two)?, &three)?)
    });
    all.push(("and of three".into(), three, reference));
    all.push(("glob, start".into(), Filter::glob("path", "dir42/*"), pattern("dir42/%")));
    all.push(("glob, end".into(), Filter::glob("path", "*42"), pattern("%42")));
    all.push(("glob, middle".into(), Filter::glob("path", "*42/file*7"), pattern("%42/file%7")));
    all
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let start = Instant::now();
    let (snapshot, rows) = collection().await?;
    println!("{DOCUMENTS} documents in {:.1} s\n", start.elapsed().as_secs_f64());
    println!("| filter | matches | elacsym, µs | arrow, µs | times as fast |\n|---|---|---|---|---|");
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let asked = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    for (name, filter, reference) in questions().into_iter().filter(|(name, ..)| asked(name)) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let mut matches = 0;
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let counted = black_box(snapshot.count_matching(&filter).await?);
            ours.push(start.elapsed().as_secs_f64());
            let start = Instant::now();
            matches = black_box(reference(&rows)?.true_count()) as u64;
            theirs.push(start.elapsed().as_secs_f64());
            assert_eq!(counted, matches, "{name}");
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!("| {name} | {matches} | {:.0} | {:.0} | {:.1} |", ours * 1e6, theirs * 1e6, theirs / ours);
    }
    println!("\n| facets | groups | elacsym, µs | arrow, µs | times as fast |\n|---|---|---|---|---|");
    for name in ["kind", "path"] {
        for filter in [None, Some(Filter::eq("percent", 42)), Some(Filter::lt("percent", 50))] {
            if asked("facets") {
                facets(&snapshot, &rows, name, filter).await?;
            }
        }
    }
    if asked("trigrams") {
        trigrams().await?;
    }
    Ok(())
}

/// Distinct texts: three of 20,000 words of random letters, and a number.
fn titles() -> Outcome<RecordBatch> {
    let mut draw = Draw(5);
    let mut word = || {
        let length = 3 + draw.below(7);
        (0..length)
            .map(|_| {
                char::from(
                    b"eeeettaaooiinnsshhrrddlcumwfgypbvk"[usize::try_from(draw.below(34)).unwrap_or(0)],
                )
            })
            .collect()
    };
    let words: Vec<String> = (0..20_000).map(|_| word()).collect();
    let mut title = |id: u64| {
        // The rarer a word, the higher its number.
        let mut word = || {
            let end = draw.below(20_000) + 1;
            words[usize::try_from(draw.below(end)).unwrap_or(0)].as_str()
        };
        format!("{} {} {} {id:07}", word(), word(), word())
    };
    let titles = StringArray::from_iter_values((0..DOCUMENTS).map(&mut title));
    let ids: UInt64Array = (0..DOCUMENTS).collect();
    Ok(RecordBatch::try_from_iter([("id", Arc::new(ids) as ArrayRef), ("title", Arc::new(titles))])?)
}

/// What trigrams cost and save, on a column of 1,000,000 distinct texts with and without them.
async fn trigrams() -> Outcome<()> {
    let rows = titles()?;
    let mut stores = Vec::new();
    for trigrams in [false, true] {
        let store = CountingBackend::new(Arc::new(MemoryBackend::new()));
        let schema = Schema::builder(IdKind::U64).attribute("title", AttributeType::String);
        let db = Database::builder().open_backend(Arc::new(store.clone())).await?;
        let docs = db.create_namespace("docs", schema.trigrams("title", trigrams).build()?).await?;
        for at in (0..rows.num_rows()).step_by(usize::try_from(BATCH)?) {
            let batch = rows.slice(at, usize::try_from(BATCH)?);
            docs.write(WriteBatch::new().upsert_batch(batch)).await?;
        }
        store.reset();
        let start = Instant::now();
        docs.flush().await?;
        println!(
            "\n{} trigrams: a flush wrote {} MB in {:.1} s",
            if trigrams { "with" } else { "without" },
            store.bytes_written() / 1_000_000,
            start.elapsed().as_secs_f64()
        );
        stores.push(store);
    }
    println!("\n| pattern, of 1,000,000 texts | matches | KB without | KB with | ms without | ms with |");
    println!("|---|---|---|---|---|---|");
    let title = rows.column(1).as_string::<i32>().value(777_777).to_owned();
    let (middle, typo) = (&title[6..16], title[2..18].replacen(' ', "", 1));
    for filter in [
        Filter::glob("title", format!("*{middle}*")),
        Filter::iglob("title", format!("*{}*", middle.to_uppercase())),
        Filter::regex("title", format!("[a-z]{middle}.*7{{3}}")),
        Filter::regex("title", "(12){2,3}[78]$"),
        Filter::fuzzy("title", Fuzzy::new(typo).distance(6, 1)),
    ] {
        let (mut matches, mut bytes, mut times) = (0, Vec::new(), Vec::new());
        for store in &stores {
            let db = Database::builder().open_backend(Arc::new(store.clone())).await?;
            let snapshot = db.open_namespace("docs").await?.snapshot(Consistency::Eventual).await?;
            store.reset();
            matches = snapshot.count_matching(&filter).await?;
            bytes.push(store.bytes_read() / 1000);
            let mut warm = Vec::new();
            for _ in 0..5 {
                let start = Instant::now();
                black_box(snapshot.count_matching(&filter).await?);
                warm.push(start.elapsed().as_secs_f64());
            }
            times.push(median(warm) * 1e3);
        }
        println!(
            "| {filter:?} | {matches} | {} | {} | {:.2} | {:.2} |",
            bytes[0], bytes[1], times[0], times[1]
        );
    }
    Ok(())
}

async fn facets(snapshot: &Snapshot, rows: &RecordBatch, name: &str, filter: Option<Filter>) -> Outcome<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut groups = 0;
    let end = match &filter {
        Some(Filter::Lt(..)) => Some((0, 50)),
        Some(_) => Some((42, 43)),
        None => None,
    };
    let said = end.map_or_else(|| "all".to_owned(), |(low, high)| format!("{} %", high - low));
    let ask = filter.into_iter().fold(Aggregation::new(), Aggregation::filter).group_by(name);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        groups = black_box(snapshot.aggregate(&ask).await?).groups_total;
        ours.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let percent = column(rows, "percent")?.as_primitive::<Int64Type>().values().iter();
        let mut counts: HashMap<&str, u64> = HashMap::new();
        for (value, percent) in column(rows, name)?.as_string::<i32>().iter().zip(percent) {
            if end.is_none_or(|(low, high)| (low..high).contains(percent)) {
                *counts.entry(value.unwrap_or_default()).or_default() += 1;
            }
        }
        theirs.push(start.elapsed().as_secs_f64());
        assert_eq!(groups, black_box(counts).len(), "{name}");
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "| {name}, of {said} | {groups} | {:.0} | {:.0} | {:.1} |",
        ours * 1e6,
        theirs * 1e6,
        theirs / ours
    );
    Ok(())
}
