//! Hybrid search over a thousand scientific abstracts: store them in a folder, then find those about a claim by meaning
//! and by words.
//!
//! `cargo run --example quickstart`
#![expect(clippy::print_stdout, reason = "an example prints")]

mod common;

use std::error::Error;
use std::path::Path;

use common::{Collection, DIMENSION};
use elacsym::schema::{AttributeType, Language, TextOptions};
use elacsym::{Database, Filter, Hit, IdKind, Leg, Metric, Query, Schema, TextQuery, VectorType, WriteBatch};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Abstracts and claims with embeddings, and the abstracts that experts judged relevant to each claim.
    let Collection { documents, queries } = Collection::load()?;
    let claim = queries.iter().find(|claim| claim.relevant.len() > 2).ok_or("no such claim")?;

    // A folder here; `s3://bucket/prefix` works the same way.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/quickstart");
    let _ = std::fs::remove_dir_all(&folder);
    let papers = Database::open(&folder).await?.create_namespace("papers", schema()?).await?;

    // A batch is atomic, and durable when `write` returns.
    let receipt = papers.write(WriteBatch::new().upsert_batch(documents)).await?;
    println!("Stored {} abstracts in {}\n\nClaim: {}", receipt.upserted, folder.display(), claim.text);

    // Nearest vectors and BM25, fused by rank, among the abstracts that match the filter.
    let legs = [
        Leg::nearest("embedding", claim.embedding.clone()),
        Leg::text(TextQuery::any("text", claim.text.as_str())),
    ];
    let query = Query::hybrid(legs).filter(Filter::gte("words", 100)).select(["title"]).limit(5);
    let hits = papers.query(query.clone()).await?.hits()?;
    print_hits(&hits);
    assert_eq!(hits.len(), 5);
    assert!(hits.iter().any(|hit| claim.relevant.iter().any(|id| hit.document.id() == id)));

    // All data is in the folder: after a flush, a newly opened database returns the same answer.
    papers.flush().await?;
    let reopened = Database::open(&folder).await?.open_namespace("papers").await?;
    assert_eq!(reopened.query(query).await?.hits()?, hits);
    Ok(())
}

fn schema() -> elacsym::Result<Schema> {
    let english = || TextOptions::default().language(Language::English);
    Schema::builder(IdKind::U64)
        .text("title", english())
        .text("text", english())
        .attribute("words", AttributeType::Int)
        .attribute("sentences", AttributeType::Int)
        .attribute("structured", AttributeType::Bool)
        .vector("embedding", VectorType::F16, DIMENSION, Metric::Cosine)
        .build()
}

/// Prints the title of each hit and its rank in both legs.
fn print_hits(hits: &[Hit]) {
    println!("vector  text  title");
    for hit in hits {
        let rank = |leg| hit.rank(leg).map_or("–".to_owned(), |rank| rank.to_string());
        println!("{:>6}  {:>4}  {}", rank(0), rank(1), hit.document.str("title").unwrap_or("(no title)"));
    }
}
