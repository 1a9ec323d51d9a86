//! A bulk load from Parquet: batch by batch in bounded memory, then one flush.
//!
//! `cargo run --example bulk_load`
#![expect(clippy::print_stdout, reason = "an example prints")]

mod common;

use std::error::Error;
use std::fs::File;

use common::DIMENSION;
use elacsym::schema::{AttributeType, TextOptions};
use elacsym::{Consistency, Database, IdKind, Metric, Query, Scan, Schema, Settings, TextQuery, VectorType};
use futures::TryStreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let schema = Schema::builder(IdKind::U64)
        .attribute("title", AttributeType::String)
        .text("text", TextOptions::default())
        .attribute("words", AttributeType::Int)
        .attribute("sentences", AttributeType::Int)
        .attribute("structured", AttributeType::Bool)
        .vector("embedding", VectorType::F16, DIMENSION, Metric::Cosine)
        .build()?;
    // A load writes faster than a flush indexes. The one flush at its end does it all at once.
    let settings = Settings::default().auto_flush(false);
    let db = Database::builder().settings(settings).open("memory://").await?;
    let papers = db.create_namespace("papers", schema).await?;

    // The columns of the file are those of the schema, and `id`. Each batch is one atomic write.
    let mut loaded = 0;
    let file = File::open(common::file("documents.parquet"))?;
    for batch in ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(500).build()? {
        loaded += papers.write(batch?).await?.upserted;
        println!("{loaded} abstracts");
    }
    println!("{}", papers.flush().await?);

    let hits = papers.query(Query::text(TextQuery::any("text", "stem cells")).limit(3)).await?.hits()?;
    for hit in hits {
        println!("  {:.2}  {}", hit.score, hit.document.str("title").unwrap_or("(no title)"));
    }

    // The way back: all documents as Arrow, page by page.
    let snapshot = papers.snapshot(Consistency::Strong).await?;
    let pages = snapshot.stream(Scan::new().select(["title", "words"]).limit(500));
    let pages: Vec<usize> = pages.map_ok(|rows| rows.batch().num_rows()).try_collect().await?;
    println!("read back in pages of {pages:?}");
    Ok(())
}
