//! Many writers, and writers that give up: nothing acknowledged is lost or doubled.

#[path = "../storm/mod.rs"]
mod storm;

use std::sync::Arc;

use elacsym::env::Env;
use elacsym::schema::AttributeType;
use elacsym::storage::{CountingBackend, LocalBackend, MemoryBackend, StorageBackend, Verb};
use elacsym::{Database, Document, ErrorKind, IdKind, Namespace, Result, Schema, WriteBatch};
use futures::future::{join_all, try_join_all};

use storm::Storm;

fn schema() -> Result<Schema> {
    Schema::builder(IdKind::U64).attribute("n", AttributeType::Uint).build()
}

async fn docs(backend: &Arc<dyn StorageBackend>) -> Result<Namespace> {
    let db = Database::builder().open_backend(Arc::clone(backend)).await?;
    db.open_or_create("docs", schema()?).await
}

fn row(id: u64) -> WriteBatch {
    WriteBatch::new().upsert(Document::new(id).with("n", id))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_writers_in_memory_lose_and_double_nothing() -> Result<()> {
    Storm { writers: 64, batches: 4, rows: 5 }.blow(Arc::new(MemoryBackend::new())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_writers_on_a_local_disk_lose_and_double_nothing() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = Arc::new(LocalBackend::new(folder.path(), &Env::current()?)?);
    Storm { writers: 64, batches: 2, rows: 5 }.blow(backend).await
}

#[tokio::test]
async fn writes_at_the_same_time_share_a_put() -> Result<()> {
    let counting = Arc::new(CountingBackend::new(Arc::new(MemoryBackend::new())));
    let backend: Arc<dyn StorageBackend> = counting.clone();
    let docs = docs(&backend).await?;
    counting.reset();
    let receipts = try_join_all((0..100).map(|id| docs.write(row(id)))).await?;
    assert_eq!(receipts.iter().map(|r| r.upserted).sum::<u64>(), 100);
    assert!(counting.count(Verb::Create) <= 3, "{:?}", counting.counts());
    Ok(())
}

#[tokio::test]
async fn a_dropped_write_is_whole_or_not_at_all() -> Result<()> {
    let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    let docs = docs(&backend).await?;
    for polls in 0..6u64 {
        let pair = [polls * 2, polls * 2 + 1];
        let batch = WriteBatch::new().upsert_all(pair.map(|id| Document::new(id).with("n", id)));
        let mut write = Box::pin(docs.write(batch));
        for _ in 0..polls {
            if futures::poll!(write.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(write);
        docs.write(row(1_000)).await?;
        let found = docs.get(&pair.map(Into::into)).await?;
        assert_eq!(found[0].is_some(), found[1].is_some(), "half a batch after {polls} polls");
        assert!(polls == 0 || found[0].is_some(), "a batch under way was stopped after {polls} polls");
    }
    Ok(())
}

#[tokio::test]
async fn close_waits_for_writes_under_way_and_refuses_later_ones() -> Result<()> {
    let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    let docs = docs(&backend).await?;
    let mut write = Box::pin(docs.write(row(1)));
    assert!(futures::poll!(write.as_mut()).is_pending());
    docs.close().await;
    assert_eq!(write.await?.upserted, 1);
    assert_eq!(docs.write(row(2)).await.unwrap_err().kind(), ErrorKind::Closed);
    Ok(())
}

#[tokio::test]
async fn a_token_is_applied_once_whoever_sends_it() -> Result<()> {
    let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    let (one, two) = (docs(&backend).await?, docs(&backend).await?);
    let send = |docs: &Namespace, n: u64| {
        let docs = docs.clone();
        async move { docs.write(WriteBatch::new().upsert(Document::new(1).with("n", n)).with_token(7)).await }
    };
    let receipts = join_all([send(&one, 1), send(&one, 2), send(&two, 3)]).await;
    let receipts: Vec<_> = receipts.into_iter().collect::<Result<_>>()?;
    assert_eq!(receipts.iter().filter(|r| !r.replayed).count(), 1, "{receipts:?}");
    assert!(receipts.iter().all(|r| r.sequence == receipts[0].sequence && r.upserted == 1));
    one.flush().await?;
    let later = send(&docs(&backend).await?, 4).await?;
    assert!(later.replayed && later.sequence == receipts[0].sequence, "forgotten by the flush: {later:?}");
    Ok(())
}

#[tokio::test]
async fn of_many_who_create_a_namespace_one_does() -> Result<()> {
    let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    let create = (0..8).map(|_| async {
        let db = Database::builder().open_backend(Arc::clone(&backend)).await?;
        db.create_namespace("docs", schema()?).await
    });
    let outcomes = join_all(create).await;
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1);
    assert!(outcomes.iter().filter_map(|o| o.as_ref().err()).all(|e| e.kind() == ErrorKind::AlreadyExists));
    Ok(())
}

#[tokio::test]
async fn a_deleted_namespace_takes_no_writes_and_its_name_is_free() -> Result<()> {
    let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    let old = docs(&backend).await?;
    old.write(row(1)).await?;
    let db = Database::builder().open_backend(Arc::clone(&backend)).await?;
    let (deleted, written) = futures::join!(db.delete_namespace("docs"), old.write(row(2)));
    deleted?;
    assert!(
        written.is_ok() || written.as_ref().is_err_and(|e| e.kind() == ErrorKind::Deleted),
        "{written:?}"
    );
    assert_eq!(old.write(row(3)).await.unwrap_err().kind(), ErrorKind::Deleted);
    assert_eq!(old.get(&[1.into()]).await.unwrap_err().kind(), ErrorKind::Deleted);
    assert_eq!(db.namespace("docs").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(db.list_namespaces().await?.is_empty());
    let new = db.create_namespace("docs", schema()?).await?;
    assert_eq!(new.get(&[1.into()]).await?, [None]);
    assert_eq!(db.list_namespaces().await?.len(), 1);
    // A process that held the old life is handed the new one.
    assert_eq!(docs(&backend).await?.write(row(9)).await?.upserted, 1);
    Ok(())
}
