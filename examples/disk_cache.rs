//! The cache on a local disk: a process that starts anew reads from it what the one before has read from the store.
//!
//! `cargo run --example disk_cache`; in an application, enable the feature `disk-cache`.
#![expect(clippy::print_stdout, reason = "an example prints")]

use elacsym::schema::TextOptions;
use elacsym::{
    Consistency, Database, DiskCache, Document, IdKind, Query, Result, Schema, Settings, TextQuery,
    WriteBatch,
};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("elacsym-disk-cache-{}", std::process::id()));
    let outcome = run(&folder).await;
    drop(std::fs::remove_dir_all(&folder));
    outcome
}

async fn run(folder: &std::path::Path) -> Result<()> {
    let store = folder.join("store").display().to_string();
    let schema = Schema::builder(IdKind::U64).text("body", TextOptions::default()).build()?;
    let notes = Database::open(&store).await?.create_namespace("notes", schema).await?;
    let note = |id: u64| Document::new(id).with("body", format!("note {id} on topic {}", id % 97));
    notes.write((0..20_000).map(note).collect::<WriteBatch>()).await?;
    notes.flush().await?;

    for process in ["the first process", "the second, with the same folder"] {
        // One process uses a folder at a time; another that is given the same runs without it. The space is reserved when
        // the database is opened.
        let disk = DiskCache { dir: folder.join("cache"), bytes: 256 << 20 };
        let settings = Settings::default().disk_cache(disk);
        let db = Database::builder().settings(settings).open(&store).await?;
        let snapshot = db.open_namespace("notes").await?.snapshot(Consistency::Strong).await?;
        let answer = snapshot.query(Query::text(TextQuery::all("body", "topic 42")).limit(3)).await?;
        println!("{process}: {} hits", answer.rows.len());
        let cache = db.cache_stats();
        println!("  {} blocks from the disk, {} from the store", cache.disk_hits, cache.misses);
        // What is on its way to the disk gets there.
        db.close().await;
    }
    Ok(())
}
