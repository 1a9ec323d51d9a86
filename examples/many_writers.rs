//! Many writers on one folder, each with its own `Database`, as if in separate processes or on separate machines.
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

    // There is no leader and no lock: writers compete only for the next number of the log.
    let writers = (0..WRITERS).map(|writer| write_batches(location, writer));
    let written = futures::future::try_join_all(writers).await?;
    let last = written.into_iter().max().unwrap_or_default();

    // A strong read sees all acknowledged writes, from any writer.
    let db = Database::open(location).await?;
    let events = db.open_namespace("events").await?;
    let snapshot = events.snapshot(Consistency::Strong).await?;
    println!("{} documents, the last write was entry {last}", snapshot.count().await?);
    assert_eq!(snapshot.count().await?, WRITERS * BATCHES);
    assert_eq!(snapshot.sequence(), last);
    for writer in 0..WRITERS {
        let page = snapshot.scan(Scan::new().filter(Filter::eq("writer", writer))).await?;
        println!("writer {writer}: {} documents", page.rows.len());
    }

    // Any process may flush at any time.
    println!("{}", events.flush().await?);
    Ok(())
}

/// One writer. Returns the last log entry it wrote.
async fn write_batches(location: &str, writer: u64) -> elacsym::Result<Sequence> {
    let schema = Schema::builder(IdKind::U64)
        .attribute("writer", AttributeType::Uint)
        .attribute("number", AttributeType::Uint)
        .build()?;
    let db = Database::open(location).await?;
    let events = db.open_or_create_namespace("events", schema).await?;
    let mut last = Sequence::ZERO;
    for number in 0..BATCHES {
        let document = Document::new(writer * BATCHES + number).with("writer", writer).with("number", number);
        last = events.write(WriteBatch::new().upsert(document)).await?.sequence;
    }
    events.close().await;
    Ok(last)
}
