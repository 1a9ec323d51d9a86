//! Nearest neighbours at a requested recall: what a query reads, and what it finds.
//!
//! `cargo run --example recall`
#![expect(clippy::print_stdout, reason = "an example prints")]

mod common;

use std::error::Error;

use common::{Collection, DIMENSION};
use elacsym::schema::AttributeType;
use elacsym::{
    Database, IdKind, Metric, Query, RecallCheck, Schema, Select, Settings, VectorType, WriteBatch,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let collection = Collection::load()?;
    let mut settings = Settings::default();
    // By default so few vectors get no index, since comparing them all is cheaper.
    settings.index_rows_min = 256;
    let db = Database::builder().settings(settings).open("memory://").await?;
    let schema = Schema::builder(IdKind::U64)
        .attribute("title", AttributeType::String)
        .vector("embedding", VectorType::F16, DIMENSION, Metric::Cosine)
        .build()?;
    let papers = db.create_namespace("papers", schema).await?;
    let columns = [0, 1, collection.documents.schema().index_of("embedding")?];
    papers.write(WriteBatch::new().upsert_batch(collection.documents.project(&columns)?)).await?;
    // A flush moves rows from the tail to a segment and builds the index.
    papers.flush().await?;

    let claim = collection.queries.first().ok_or("there are claims")?;
    println!("{}\n", claim.text);
    for recall in [0.8, 0.95, 1.0] {
        let query = Query::nearest("embedding", claim.embedding.clone()).recall(recall).limit(3);
        let answer = papers.query(query.select(Select::only(["title"]))).await?;
        let stats = answer.stats;
        println!(
            "recall {recall}: {} of {} rows scanned in {} clusters, {} compared exactly",
            stats.rows_scanned, stats.rows, stats.clusters_probed, stats.rows_reranked
        );
        for hit in answer.hits()? {
            let title = hit.document.str("title").unwrap_or("(no title)");
            println!("  {:.3} {title}", hit.distance().unwrap_or(f32::NAN));
        }
    }

    // Measured on live data: stored vectors are the queries, and an exact search gives the truth.
    for recall in [0.8, 0.9, 0.95, 0.99] {
        let report = papers.measure_recall(RecallCheck::of("embedding").recall(recall).sample(50)).await?;
        println!(
            "requested {recall}: found {:.3} of the ten nearest, {:.0} of {} rows scanned",
            report.recall, report.rows_scanned, report.rows
        );
    }
    Ok(())
}
