//! Many writers on one folder, each with a database of its own, as if in processes or machines of their own.
//!
//! `cargo run --example many_writers`
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;

use elacsym::schema::AttributeType;
use elacsym::{Consistency, Database, Document, Filter, IdKind, Scan, Schema, Sequence, WriteBatch};

const WRITERS: u64 = 4;
const BATCHES: u64 = 10;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let location = folder.path().to_str().ok_or("the path is not UTF-8")?;

    // Nobody is the leader and nobody holds a lock: they meet at the next number of the log alone.
    let writers = (0..WRITERS).map(|writer| write(location, writer));
    let written = futures::future::try_join_all(writers).await?;
    let last = written.into_iter().max().unwrap_or_default();

    // A strong read sees all of it, whoever wrote it.
    let db = Database::open(location).await?;
    let events = db.namespace("events").await?;
    let snapshot = events.snapshot(Consistency::Strong).await?;
    println!("{} documents, the last write was entry {last}", snapshot.count().await?);
    assert_eq!(snapshot.count().await?, WRITERS * BATCHES);
    assert_eq!(snapshot.sequence(), last);
    for writer in 0..WRITERS {
        let page = snapshot.scan(Scan::new().filter(Filter::eq("writer", writer))).await?;
        println!("writer {writer}: {} documents", page.rows.len());
    }

    // Anybody may flush at any time, too.
    println!("{:?}", events.flush().await?);
    Ok(())
}

/// One writer: returns the last entry that is its own.
async fn write(location: &str, writer: u64) -> elacsym::Result<Sequence> {
    let schema = Schema::builder(IdKind::U64)
        .attribute("writer", AttributeType::Uint)
        .attribute("number", AttributeType::Uint)
        .build()?;
    let db = Database::open(location).await?;
    let events = db.open_or_create("events", schema).await?;
    let mut last = Sequence::ZERO;
    for number in 0..BATCHES {
        let document = Document::new(writer * BATCHES + number).with("writer", writer).with("number", number);
        last = events.write(WriteBatch::new().upsert(document)).await?.sequence;
    }
    events.close().await;
    Ok(last)
}
