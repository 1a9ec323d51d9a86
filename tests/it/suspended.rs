//! Processes that are suspended for hours between a list and a read, while others go on, old objects are collected, and
//! a process that slept as long puts an object at a number that was collected.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use elacsym::env::Env;
use elacsym::schema::AttributeType;
use elacsym::storage::{MemoryBackend, ObjectKey, ObjectPrefix, PutMode, StorageBackend, Verb};
use elacsym::{
    Consistency, Database, Document, IdKind, Namespace, Result, Scan, Schema, Settings, WriteBatch,
};
use tokio::time::advance;

use crate::common::paused::Paused;
use crate::liveness::gate::Gate;

const LONG: Duration = Duration::from_hours(2);

async fn database(seed: u64, backend: Arc<dyn StorageBackend>) -> Result<Database> {
    let mut settings = Settings::default();
    settings.grace = Some(Duration::from_hours(1));
    (settings.auto_flush, settings.auto_compact) = (false, false);
    let env = Env::new(Paused::new(seed));
    Database::builder().env(env).settings(settings).open_backend(backend).await
}

async fn open(seed: u64, memory: &MemoryBackend) -> Result<Namespace> {
    let schema = Schema::builder(IdKind::U64).attribute("n", AttributeType::Uint).build()?;
    database(seed, Arc::new(memory.clone())).await?.open_or_create_namespace("docs", schema).await
}

fn row(id: u64) -> WriteBatch {
    WriteBatch::new().upsert(Document::new(id).with("n", id))
}

async fn ids(docs: &Namespace, consistency: Consistency) -> Result<Vec<String>> {
    let page = docs.snapshot(consistency).await?.scan(Scan::new()).await?;
    Ok(page.rows.documents()?.iter().map(|document| document.id().to_string()).collect())
}

async fn names(memory: &MemoryBackend) -> Result<Vec<ObjectKey>> {
    let listed = memory.list(&ObjectPrefix::root(), None).await?;
    Ok(listed.into_iter().map(|info| info.key).collect())
}

/// Everything as it is now, for a process that will sleep.
async fn copy(memory: &MemoryBackend) -> Result<MemoryBackend> {
    let copy = MemoryBackend::new();
    for key in names(memory).await? {
        copy.put(&key, memory.get(&key).await?.into(), PutMode::Create).await?;
    }
    Ok(copy)
}

/// Collects some objects of a folder.
async fn collect(memory: &MemoryBackend, folder: &str, below: u64) -> Result<()> {
    for key in names(memory).await? {
        let number = key.as_str().rsplit('/').next().and_then(|name| name.parse::<u64>().ok());
        if key.as_str().contains(folder) && number.is_some_and(|number| number < below) {
            memory.delete(&key).await?;
        }
    }
    Ok(())
}

/// What the sleeper put reaches the store at last, where there is nothing.
async fn land(memory: &MemoryBackend, sleeper: &MemoryBackend, folders: &[&str]) -> Result<()> {
    let there = names(memory).await?;
    for key in names(sleeper).await? {
        if !there.contains(&key) && folders.iter().any(|folder| key.as_str().contains(folder)) {
            memory.put(&key, sleeper.get(&key).await?.into(), PutMode::Create).await?;
        }
    }
    Ok(())
}

/// A namespace with a document that is flushed and one behind it, and a copy from before the second.
async fn begin() -> Result<(MemoryBackend, Namespace, MemoryBackend)> {
    let memory = MemoryBackend::new();
    let docs = open(1, &memory).await?;
    docs.write(row(1)).await?;
    docs.flush().await?;
    let sleeper = copy(&memory).await?;
    docs.write(row(2)).await?;
    Ok((memory, docs, sleeper))
}

#[tokio::test(start_paused = true)]
async fn opening_takes_nothing_that_was_put_at_a_collected_number() -> Result<()> {
    let (memory, docs, sleeper) = begin().await?;
    let gate = Gate::new(Arc::new(memory.clone()));
    let process = database(2, Arc::new(gate.clone())).await?;
    gate.hold(Verb::Get, "/wal/");
    let mut opening = pin!(process.open_namespace("docs"));
    gate.poll_until_held(&mut opening).await;

    docs.write(row(3)).await?;
    docs.flush().await?;
    collect(&memory, "/wal/", 3).await?;
    collect(&memory, "/manifest/", 2).await?;
    open(3, &sleeper).await?.write(row(99)).await?;
    land(&memory, &sleeper, &["/wal/"]).await?;
    advance(LONG).await;

    gate.release();
    let opened = opening.await?;
    assert_eq!(ids(&opened, Consistency::Eventual).await?, ["1", "2", "3"]);
    assert_eq!(ids(&opened, Consistency::Strong).await?, ["1", "2", "3"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn no_manifest_is_taken_that_was_put_at_a_collected_number() -> Result<()> {
    let (memory, docs, sleeper) = begin().await?;
    let gate = Gate::new(Arc::new(memory.clone()));
    let other = database(2, Arc::new(gate.clone())).await?.open_namespace("docs").await?;
    assert_eq!(ids(&other, Consistency::Strong).await?, ["1", "2"]);
    docs.flush().await?;
    gate.hold(Verb::Get, "/manifest/");
    let mut flush = pin!(other.flush());
    gate.poll_until_held(&mut flush).await;

    docs.write(row(3)).await?;
    docs.flush().await?;
    collect(&memory, "/wal/", 3).await?;
    collect(&memory, "/manifest/", 3).await?;
    let asleep = open(3, &sleeper).await?;
    asleep.write(row(99)).await?;
    asleep.flush().await?;
    land(&memory, &sleeper, &["/manifest/", "/segment/"]).await?;
    // A flush runs in a task of its own, which wakes up with the answer, two hours later.
    gate.release();
    advance(LONG).await;
    flush.await?;
    assert_eq!(ids(&other, Consistency::Strong).await?, ["1", "2", "3"]);
    Ok(())
}
