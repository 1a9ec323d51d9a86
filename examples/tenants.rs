//! Many tenants: a namespace for each in one database, listed and deleted by name, in bounded memory.
//!
//! `cargo run --example tenants`
#![expect(clippy::print_stdout, reason = "an example prints")]

use elacsym::schema::TextOptions;
use elacsym::{
    Database, Document, ErrorKind, IdKind, Namespace, Query, Result, Schema, Settings, TextQuery, WriteBatch,
};

#[tokio::main]
async fn main() -> Result<()> {
    // A namespace that nobody holds a handle of stays open within this budget, and is closed beyond it. Opening it again
    // takes a few requests.
    let settings = Settings::default().idle_bytes_max(64 << 20);
    let db = Database::builder().settings(settings).open("memory://").await?;

    for (tenant, messages) in [
        ("acme", vec!["the invoice is late", "the parcel has arrived"]),
        ("globex", vec!["where is the invoice", "no parcel yet", "the parcel was damaged"]),
        ("initech", vec!["the printer is on fire"]),
    ] {
        let batch: WriteBatch =
            (1_u64..).zip(messages).map(|(id, body)| Document::new(id).with("body", body)).collect();
        open_tenant(&db, tenant).await?.write(batch).await?;
    }

    for name in db.list_namespaces().await? {
        let tenant = db.open_namespace(name.as_str()).await?;
        println!("{name}: {} messages", tenant.count().await?);
    }

    // A query is of one tenant: no filter that could be forgotten stands between them.
    let globex = open_tenant(&db, "globex").await?;
    let answer = globex.query(Query::text(TextQuery::any("body", "parcel")).limit(5)).await?;
    println!("\nparcels of globex:");
    for hit in answer.hits()? {
        println!("  {:.2}  {}", hit.score, hit.document.str("body").unwrap_or_default());
    }

    db.delete_namespace("messages-initech").await?;
    match db.open_namespace("messages-initech").await {
        Err(error) if error.kind() == ErrorKind::NotFound => println!("\ninitech has left"),
        other => println!("\nunexpected: {other:?}"),
    }
    println!("open namespaces and the cache take {} bytes", db.cache_stats().resident_bytes);
    Ok(())
}

/// The namespace of a tenant, which the first message creates. Any process may be the first.
async fn open_tenant(db: &Database, tenant: &str) -> Result<Namespace> {
    let schema = Schema::builder(IdKind::U64).text("body", TextOptions::default()).build()?;
    db.open_or_create_namespace(&format!("messages-{tenant}"), schema).await
}
