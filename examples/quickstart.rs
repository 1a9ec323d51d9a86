//! A first tour: store a thousand scientific abstracts in a folder, find those that speak to a claim by their
//! meaning and by their words, change some, and see that nothing depends on the process.
//!
//! `cargo run --example quickstart`
#![expect(clippy::print_stdout, reason = "an example prints")]

mod common;

use std::error::Error;
use std::path::Path;

use common::Collection;
use elacsym::query::{Hit, QueryResponse, TextMatch};
use elacsym::schema::{AttributeType, Language, TextOptions};
use elacsym::{
    Database, Document, DocumentId, Filter, IdKind, Leg, Metric, Operand, Query, Scan, Schema, Select, Value,
    VectorType, WriteBatch,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Abstracts with their embeddings, and claims with the abstracts that experts judged relevant.
    let collection = Collection::load()?;
    let claim = collection.queries.iter().find(|claim| claim.relevant.len() > 2).ok_or("no such claim")?;

    // A database is a place on an object store. `s3://bucket/prefix` would do as well as this folder.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/quickstart");
    let folder = folder.to_str().ok_or("the path is not UTF-8")?;
    let _ = std::fs::remove_dir_all(folder);
    let db = Database::open(folder).await?;
    println!("A new database in {folder}");

    // A namespace is one searchable collection. Its schema says which columns documents have; all may be null.
    let schema = Schema::builder(IdKind::U64)
        .text("title", TextOptions::default().with_language(Language::English))
        .text("text", TextOptions::default().with_language(Language::English))
        .attribute("words", AttributeType::Int)
        .attribute("sentences", AttributeType::Int)
        .attribute("structured", AttributeType::Bool)
        .attribute("stars", AttributeType::Int)
        .attribute("version", AttributeType::Int)
        .vector("embedding", VectorType::F16, claim.embedding.len(), Metric::Cosine)
        .build()?;
    let papers = db.create_namespace("papers", schema.clone()).await?;

    // A batch is atomic, and durable when `write` returns. Arrow is the quickest way in.
    let receipt = papers.write(WriteBatch::new().upsert_batch(collection.documents)).await?;
    println!("Wrote {} documents as entry {} of the log", receipt.upserted, receipt.sequence);

    // The best five by meaning and by words, fused by their ranks, among those that the filter lets through.
    let words = TextMatch::any(claim.text.as_str()).column("title", 2.0).column("text", 1.0);
    let query = Query::hybrid([Leg::nearest("embedding", claim.embedding.clone()), Leg::text(words)])
        .filter(Filter::gte("words", 100))
        .select(Select::only(["title", "stars"]))
        .limit(5);
    println!("\nClaim: {}", claim.text);
    let answer = papers.query(query.clone()).await?;
    let hits = show(&answer, &claim.relevant)?;
    let best = hits.first().ok_or("no hits")?.document.id().clone();

    // One batch may hold many kinds of changes: here some columns of one document, and whatever is too short.
    let batch = WriteBatch::new()
        .patch(Document::new(best.clone()).with("stars", 5))
        .delete_by_filter(Filter::lt("words", 100));
    let receipt = papers.write(batch).await?;
    println!("\nPatched {}, deleted {}, in one entry", receipt.patched, receipt.deleted);

    // Conditions are checked and written as one step, whichever processes write at the same time. Here the
    // higher version wins in whatever order they come; the note has no embedding, so searches pass it by.
    for version in [2, 1] {
        let note = Document::new(0).with("title", "A note").with("version", version);
        let newer = Filter::lt("version", Operand::new_value("version"));
        let receipt = papers.write(WriteBatch::new().upsert_if(note, newer)).await?;
        println!("Version {version} of the note: {} written, {} skipped", receipt.upserted, receipt.skipped);
    }

    // Nothing is kept in the process: whoever opens the folder sees every write, here and on other machines.
    drop((papers, db));
    let db = Database::open(folder).await?;
    let papers = db.open_or_create("papers", schema).await?;
    let found = papers.get(&[best, 0.into()]).await?;
    println!("\nOpened again, from nothing but the folder:");
    for document in found.iter().flatten() {
        println!(
            "  {} stars={:?} version={:?}",
            title(document),
            document.get("stars"),
            document.get("version")
        );
    }

    // The log is turned into segments, whose rows are plain Parquet. The answer stays the same.
    let before = papers.query(query.clone()).await?;
    let report = papers.flush().await?;
    let after = papers.query(query).await?;
    println!(
        "\nFlushed {} rows through entry {}; the same question again:",
        report.rows, report.flushed_through
    );
    show(&after, &claim.relevant)?;
    assert_eq!(before.hits()?, after.hits()?);

    // Everything can be walked in order of ids, a page at a time.
    let page = papers.scan(Scan::new().filter(Filter::is_not_null("stars")).limit(100)).await?;
    println!("\nDocuments with stars: {}", page.rows.len());
    println!("Look into it: find {folder}");
    Ok(())
}

/// Prints hits, their ranks by meaning and by words and the verdict of the experts, and hands them on.
fn show(answer: &QueryResponse, relevant: &[u64]) -> elacsym::Result<Vec<Hit>> {
    println!("  meaning  words");
    let hits = answer.hits()?;
    for hit in &hits {
        let judged = relevant.iter().any(|id| *hit.document.id() == DocumentId::U64(*id));
        let mark = if judged { "relevant" } else { "" };
        let rank = |leg: usize| {
            hit.legs.get(leg).copied().flatten().map_or("–".into(), |leg| leg.rank.to_string())
        };
        println!("  {:>7}  {:>5}  {mark:<8}  {}", rank(0), rank(1), title(&hit.document));
    }
    Ok(hits)
}

fn title(document: &Document) -> &str {
    match document.get("title") {
        Some(Value::String(title)) => title,
        _ => "(no title)",
    }
}
