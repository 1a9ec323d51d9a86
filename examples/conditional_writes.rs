//! Writes that depend on the stored document: insert if absent, last writer wins, a counter, exactly once, by filter.
//!
//! `cargo run --example conditional_writes`
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;

use elacsym::schema::AttributeType;
use elacsym::{
    Condition, Database, Document, Filter, IdKind, IfMissing, Namespace, Operand, Schema, WriteBatch,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let schema = Schema::builder(IdKind::String)
        .attribute("owner", AttributeType::String)
        .attribute("version", AttributeType::Int)
        .attribute("count", AttributeType::Int)
        .build()?;
    let db = Database::open("memory://").await?;
    let items = db.create_namespace("items", schema).await?;
    insert_if_absent(&items).await?;
    last_writer_wins(&items).await?;
    count(&items).await?;
    exactly_once(&items).await?;
    by_filter(&items).await?;
    Ok(())
}

/// Exactly one writer gets the id, whichever process it runs in.
async fn insert_if_absent(items: &Namespace) -> elacsym::Result<()> {
    for owner in ["ann", "ben"] {
        let claim = Document::new("seat-1").with("owner", owner);
        let receipt = items.write(WriteBatch::new().insert(claim)).await?;
        println!("{owner} {} the seat", if receipt.upserted == 1 { "gets" } else { "does not get" });
    }
    Ok(())
}

/// Messages may arrive late or twice: the highest version stays.
async fn last_writer_wins(items: &Namespace) -> elacsym::Result<()> {
    for version in [1, 3, 2, 3] {
        let document = Document::new("profile").with("version", version);
        let newer = Filter::lt("version", Operand::new_value("version"));
        let receipt = items.write(WriteBatch::new().upsert_if(document, newer)).await?;
        println!("version {version}: {}", if receipt.upserted == 1 { "written" } else { "too old" });
    }
    // The same, but without recreating a deleted document.
    let known =
        Condition::new(Filter::lt("version", Operand::new_value("version"))).if_missing(IfMissing::Skip);
    let late = Document::new("deleted").with("version", 9);
    let receipt = items.write(WriteBatch::new().upsert_if(late, known)).await?;
    println!("version 9 of a missing document: {} skipped", receipt.skipped);
    Ok(())
}

/// Read, add one, write if the value is unchanged, or else start over: no increment is lost.
async fn count(items: &Namespace) -> elacsym::Result<()> {
    items.write(WriteBatch::new().insert(Document::new("counter").with("count", 0))).await?;
    let increments = (0..10).map(|_| async {
        loop {
            let found = items.get_one("counter").await?;
            let count = found.and_then(|document| document.i64("count")).unwrap_or(0);
            let next = Document::new("counter").with("count", count + 1);
            if items.write(WriteBatch::new().patch_if(next, Filter::eq("count", count))).await?.patched == 1 {
                return Ok::<(), elacsym::Error>(());
            }
        }
    });
    futures::future::try_join_all(increments).await?;
    if let Some(counter) = items.get_one("counter").await? {
        println!("after ten concurrent increments, {counter}");
    }
    Ok(())
}

/// A request that is repeated after a timeout or a crash counts once if it carries a token.
async fn exactly_once(items: &Namespace) -> elacsym::Result<()> {
    let request = 0x0b5e_55ed_u128; // a random number, stored with the request
    for _ in 0..2 {
        let order = WriteBatch::new().upsert(Document::new("order").with("count", 1)).token(request);
        let receipt = items.write(order).await?;
        println!("entry {}, replayed: {}", receipt.sequence, receipt.replayed);
    }
    Ok(())
}

/// What matches a filter is deleted or patched, without a list of ids.
async fn by_filter(items: &Namespace) -> elacsym::Result<()> {
    let batch = WriteBatch::new()
        .delete_by_filter(Filter::gte("version", 3))
        .patch_by_filter(Filter::eq("owner", "ann"), [("owner", "eve")]);
    let receipt = items.write(batch).await?;
    println!("{} deleted and {} patched by filter", receipt.deleted, receipt.patched);
    println!(
        "{} of {} belong to eve",
        items.count_matching(Filter::eq("owner", "eve")).await?,
        items.count().await?
    );
    Ok(())
}
