//! Running it: upkeep, what a query will cost and has cost, limits of time and bytes, errors, and the cache.
//!
//! `cargo run --example operating`
#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "an example prints, and ids are small")]

use std::time::Duration;

use elacsym::schema::{AttributeType, TextOptions};
use elacsym::{
    Consistency, Database, Document, ErrorKind, Filter, IdKind, Leg, Metric, Namespace, Outcome, Query,
    Result, Schema, Settings, TextQuery, Vector, VectorType, WriteBatch,
};

#[tokio::main]
async fn main() -> Result<()> {
    let settings = Settings::default().cache_bytes(64 << 20).request_timeout(Duration::from_secs(10));
    let db = Database::builder().settings(settings).open("memory://").await?;
    let schema = Schema::builder(IdKind::U64)
        .text("body", TextOptions::default())
        .attribute("year", AttributeType::Int)
        .vector("embedding", VectorType::F32, 2, Metric::Cosine)
        .build()?;
    let notes = db.create_namespace("notes", schema).await?;
    upkeep(&notes).await?;
    costs(&notes).await?;
    limits(&notes).await?;
    errors(&notes).await?;
    let cache = db.cache_stats();
    println!(
        "\ncache: {} hits in memory, {} misses, {} bytes",
        cache.memory_hits, cache.misses, cache.memory_bytes
    );
    db.close().await;
    Ok(())
}

fn note(id: u64) -> Document {
    let angle = id as f32 / 100.0;
    Document::new(id)
        .with("body", format!("note {} on cold storage", id % 10))
        .with("year", 2000 + id % 25)
        .with("embedding", Vector::from([angle.cos(), angle.sin()]))
}

/// Each load ends with a flush. Some loads later, many segments become one.
async fn upkeep(notes: &Namespace) -> Result<()> {
    for load in 0..3 {
        notes.write((load * 500..(load + 1) * 500).map(note).collect::<WriteBatch>()).await?;
        println!("{}", notes.flush().await?);
    }
    println!("{}", notes.compact().await?);
    Ok(())
}

fn cold() -> Query {
    Query::hybrid([Leg::nearest("embedding", [0.0, 1.0]), Leg::text(TextQuery::any("body", "cold"))])
        .filter(Filter::gte("year", 2010))
        .limit(5)
}

/// What a query will do, without reading anything, and what it did.
async fn costs(notes: &Namespace) -> Result<()> {
    let snapshot = notes.snapshot(Consistency::Strong).await?;
    println!("\n{}", snapshot.explain(cold())?);
    for _ in 0..2 {
        println!("{}", snapshot.query(cold()).await?.stats);
    }
    Ok(())
}

/// A query that may not take long, and answers with the legs that are done.
async fn limits(notes: &Namespace) -> Result<()> {
    let answer = notes.query(cold().timeout(Duration::from_secs(1)).partial()).await?;
    println!("\n{} hits, legs that did not finish: {:?}", answer.rows.len(), answer.unfinished);
    Ok(())
}

/// What to do about an error is in its kind.
async fn errors(notes: &Namespace) -> Result<()> {
    let outcomes = [
        notes.write(Document::new(1).with("colour", "red")).await.map(drop),
        notes.write(Document::new("one")).await.map(drop),
        notes.query(Query::nearest("embedding", [1.0, 2.0, 3.0])).await.map(drop),
    ];
    println!();
    for error in outcomes.into_iter().filter_map(Result::err) {
        let advice = match error.kind() {
            ErrorKind::Invalid | ErrorKind::LimitExceeded => "change the call",
            _ if error.is_retryable() => "try again later",
            _ if error.outcome() == Outcome::Unknown => "send the batch again with its token",
            _ => "look into it",
        };
        println!("{advice}: {error}");
    }
    Ok(())
}
