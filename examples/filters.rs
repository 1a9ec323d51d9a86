//! Every filter operator on real documents, with the number of matches.
//!
//! `cargo run --example filters`

mod common;

use std::error::Error;
use std::time::{Duration, UNIX_EPOCH};

use common::{Collection, DIMENSION};
use elacsym::schema::AttributeType;
use elacsym::{
    Consistency, Database, Document, Filter, Fuzzy, IdKind, Metric, Namespace, Scan, Schema, Value,
    VectorType, WriteBatch,
};

/// Prints each filter and how many documents match.
macro_rules! count {
    ($papers:expr; $($filter:expr;)*) => {$(
        println!("{:>5}  {}", $papers.count_matching(&$filter).await?, stringify!($filter));
    )*};
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let papers = load().await?.snapshot(Consistency::Strong).await?;

    // Scalars. Numbers compare by value; strings order by their bytes.
    count! { papers;
        Filter::eq("structured", true);
        Filter::not_eq("structured", true);
        Filter::lt("words", 100);
        Filter::lte("words", 100);
        Filter::gt("title", "T");
        Filter::gte("id", 10_000_000);
        Filter::between("words", 100, 199);
        Filter::is_in("sentences", [3, 4]);
        Filter::not_in("sentences", [3, 4]);
    }
    // Datetimes: RFC 3339, where a date alone is its midnight in UTC, or a time of the system.
    count! { papers;
        Filter::gte("added", Value::datetime("2024-07-01")?);
        Filter::between("added", Value::datetime("2024-02-01")?, Value::datetime("2024-02-29T23:59:59Z")?);
        Filter::lt("added", UNIX_EPOCH + Duration::from_secs(1_720_000_000));
    }
    // Arrays.
    count! { papers;
        Filter::contains("terms", "cancer");
        Filter::not_contains("terms", "cancer");
        Filter::contains_any("terms", ["cancer", "mouse"]);
        Filter::not_contains_any("terms", ["cancer", "mouse"]);
        Filter::any_lt("lengths", 2);
        Filter::any_lte("lengths", 2);
        Filter::any_gt("lengths", 20);
        Filter::any_gte("lengths", 20);
    }
    // Strings: globs match the whole string, regular expressions any part of it, fuzzy filters allow up to two edits.
    count! { papers;
        Filter::glob("title", "The *");
        Filter::not_glob("title", "The *");
        Filter::iglob("title", "*{dna,rna}*");
        Filter::not_iglob("title", "*{dna,rna}*");
        Filter::regex("title", "[0-9]+");
        Filter::not_regex("title", "^[A-M]");
        Filter::fuzzy("title", Fuzzy::new("methyllation").any_case());
        Filter::not_fuzzy("title", Fuzzy::new("methyllation").any_case());
    }
    // Nulls: a predicate on a null is false, and a negation is true exactly when its operand is false. So the first two
    // add up to all documents, and the third excludes documents without terms.
    count! { papers;
        Filter::is_null("terms");
        Filter::is_not_null("terms");
        !Filter::contains("terms", "cancer") & Filter::is_not_null("terms");
    }
    // Combinations: operators, or `and`, `or` and `not` over any number of filters.
    count! { papers;
        Filter::gt("words", 300) & Filter::eq("structured", true) | Filter::contains("terms", "cancer");
        Filter::and([Filter::gt("words", 300), Filter::not(Filter::contains("terms", "cancer"))]);
    }
    Ok(())
}

/// Loads the collection, with two arrays made from each title, its long words and the lengths of all its words, and with an
/// invented day of 2024.
async fn load() -> Result<Namespace, Box<dyn Error>> {
    let schema = Schema::builder(IdKind::U64)
        .attribute("title", AttributeType::String)
        .attribute("text", AttributeType::String)
        .attribute("words", AttributeType::Int)
        .attribute("sentences", AttributeType::Int)
        .attribute("structured", AttributeType::Bool)
        .attribute("terms", AttributeType::StringArray)
        .attribute("lengths", AttributeType::IntArray)
        .attribute("added", AttributeType::Datetime)
        .vector("embedding", VectorType::F16, DIMENSION, Metric::Cosine)
        .build()?;
    let documents = Collection::load()?.documents;
    let papers = Database::open("memory://").await?.create_namespace("papers", schema).await?;
    papers.write(WriteBatch::new().upsert_batch(documents)).await?;

    let page = papers.scan(Scan::new().select(["title"]).limit(2_000)).await?;
    let mut batch = WriteBatch::new();
    let first_day = UNIX_EPOCH + Duration::from_hours(24 * 19_723);
    for (number, document) in (0..).zip(page.rows.documents()?) {
        let Some(title) = document.str("title") else { continue };
        let words: Vec<String> = title.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase).collect();
        let lengths: Vec<u64> = words.iter().map(|word| word.len() as u64).collect();
        let terms: Vec<String> = words.into_iter().filter(|word| word.len() > 4).collect();
        let terms = (!terms.is_empty()).then_some(terms);
        let added = first_day + Duration::from_hours(24 * (number % 366));
        let patch = Document::new(document.id().clone()).with("terms", terms).with("lengths", lengths);
        batch = batch.patch(patch.with("added", added));
    }
    papers.write(batch).await?;
    Ok(papers)
}
