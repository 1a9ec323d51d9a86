//! A custom backend: any store with a conditional put can hold a database. This one wraps another and counts requests.
//!
//! `cargo run --example custom_backend`
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use elacsym::env::Env;
use elacsym::schema::AttributeType;
use elacsym::storage::{
    IncompleteDelete, ListPage, MemoryBackend, ObjectInfo, ObjectKey, ObjectPrefix, Payload, PutMode,
    StorageBackend, conformance,
};
use elacsym::{Database, Document, IdKind, Result, Schema, WriteBatch};

/// Counts the requests to the store behind it.
#[derive(Debug)]
struct Metered {
    store: MemoryBackend,
    puts: AtomicU64,
    others: AtomicU64,
}

impl fmt::Display for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "metered {}", self.store)
    }
}

#[async_trait::async_trait]
impl StorageBackend for Metered {
    async fn put(&self, key: &ObjectKey, body: Payload, mode: PutMode) -> Result<()> {
        self.puts.fetch_add(1, Ordering::Relaxed);
        self.store.put(key, body, mode).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.others.fetch_add(1, Ordering::Relaxed);
        self.store.get(key).await
    }

    // The provided method would read the object before it checks the size; this store knows the size in advance.
    async fn get_bounded(&self, key: &ObjectKey, bytes_max: u64) -> Result<Bytes> {
        self.others.fetch_add(1, Ordering::Relaxed);
        self.store.get_bounded(key, bytes_max).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.others.fetch_add(1, Ordering::Relaxed);
        self.store.get_range(key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        self.others.fetch_add(1, Ordering::Relaxed);
        self.store.head(key).await
    }

    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
        self.others.fetch_add(1, Ordering::Relaxed);
        self.store.list_page(prefix, after).await
    }

    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        self.others.fetch_add(1, Ordering::Relaxed);
        self.store.list_folders(prefix).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.others.fetch_add(1, Ordering::Relaxed);
        self.store.delete(key).await
    }

    // The provided method would delete the objects one by one.
    async fn delete_many(&self, keys: &[ObjectKey]) -> Result<(), IncompleteDelete> {
        self.others.fetch_add(1, Ordering::Relaxed);
        self.store.delete_many(keys).await
    }
}

impl Metered {
    fn new() -> Arc<Self> {
        Arc::new(Self { store: MemoryBackend::new(), puts: AtomicU64::new(0), others: AtomicU64::new(0) })
    }

    fn report(&self, what: &str) {
        let (puts, others) = (self.puts.swap(0, Ordering::Relaxed), self.others.swap(0, Ordering::Relaxed));
        println!("{what}: {puts} puts, {others} other requests");
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The conformance suite names every clause of the contract that a backend violates. Run it in your tests.
    match conformance::check(Metered::new(), &Env::current()?).await {
        Ok(()) => println!("the backend conforms to the contract"),
        Err(violations) => violations.iter().for_each(|violation| println!("violated: {violation}")),
    }

    // A conforming backend serves a database like any other.
    let backend = Metered::new();
    let db = Database::builder().open_backend(Arc::clone(&backend) as Arc<dyn StorageBackend>).await?;
    backend.report("the probe of a new store");
    let schema = Schema::builder(IdKind::U64).attribute("n", AttributeType::Int).build()?;
    let numbers = db.create_namespace("numbers", schema).await?;
    backend.report("creating a namespace");
    numbers.write(WriteBatch::new().upsert(Document::new(1).with("n", 1))).await?;
    backend.report("a write");
    numbers.get([1]).await?;
    backend.report("a strong read");
    numbers.flush().await?;
    backend.report("a flush");
    Ok(())
}
