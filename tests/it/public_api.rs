//! What the types promise by their shape: handles cross threads, futures are sent, errors are small.

use std::fmt;
use std::sync::Arc;

use elacsym::storage::{LocalBackend, MemoryBackend, ObjectStoreBackend, StorageBackend};
use elacsym::{
    Consistency, Database, DatabaseBuilder, Document, DocumentId, Error, Filter, IdKind, Namespace, Query,
    Result, Scan, ScanCursor, Schema, Settings, Snapshot, Value, Vector, WriteBatch, WriteReceipt,
};

#[test]
fn handles_and_data_cross_threads_and_can_be_cloned_and_shown() {
    fn handle<T: Send + Sync + Clone + fmt::Debug + 'static>() {}
    handle::<Database>();
    handle::<DatabaseBuilder>();
    handle::<Namespace>();
    handle::<Snapshot>();
    handle::<Error>();
    handle::<Settings>();
    handle::<Schema>();
    handle::<WriteBatch>();
    handle::<WriteReceipt>();
    handle::<Document>();
    handle::<DocumentId>();
    handle::<Value>();
    handle::<Vector>();
    handle::<Filter>();
    handle::<Query>();
    handle::<Scan>();
    handle::<ScanCursor>();
    handle::<elacsym::Page>();
    handle::<elacsym::QueryResponse>();
    handle::<MemoryBackend>();
    handle::<elacsym::env::Env>();
}

#[test]
fn an_error_is_one_word_and_a_source_of_others() {
    fn error<T: std::error::Error + Send + Sync + 'static>() {}
    error::<Error>();
    assert_eq!(size_of::<Error>(), size_of::<usize>());
    assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
}

#[test]
fn a_backend_is_an_object() {
    fn backend<T: StorageBackend>() {}
    backend::<MemoryBackend>();
    backend::<LocalBackend>();
    backend::<ObjectStoreBackend>();
    let backends: Vec<Arc<dyn StorageBackend>> = vec![Arc::new(MemoryBackend::new())];
    assert_eq!(backends[0].to_string(), "memory");
}

/// Compiles if the futures of the calls can be sent to another thread, which is what `tokio::spawn` asks.
#[tokio::test]
async fn futures_can_be_spawned() -> Result<()> {
    fn sent<T: Send>(future: impl Future<Output = T> + Send) -> impl Future<Output = T> + Send {
        future
    }
    let db = sent(Database::open("memory://")).await?;
    let schema = Schema::builder(IdKind::U64).build()?;
    let docs = sent(db.create_namespace("docs", schema.clone())).await?;
    sent(db.open_namespace("docs")).await?;
    sent(db.open_or_create_namespace("docs", schema)).await?;
    sent(db.list_namespaces()).await?;
    sent(docs.write(WriteBatch::new().upsert(Document::new(1)))).await?;
    sent(docs.flush()).await?;
    sent(docs.compact()).await?;
    sent(docs.get([1])).await?;
    sent(docs.scan(Scan::new())).await?;
    let snapshot = sent(docs.snapshot(Consistency::Strong)).await?;
    sent(snapshot.get([1])).await?;
    sent(snapshot.scan(Scan::new())).await?;
    sent(snapshot.count()).await?;
    assert!(sent(snapshot.query(Query::nearest("v", Vector::from([1.0])))).await.is_err());
    assert!(sent(docs.query(Query::nearest("v", Vector::from([1.0])))).await.is_err());
    sent(db.delete_namespace("docs")).await?;
    sent(docs.close()).await;
    Ok(())
}
