//! Many writers, and writers that give up: nothing acknowledged is lost or doubled.

#[path = "../storm/mod.rs"]
mod storm;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use elacsym::env::Env;
use elacsym::schema::AttributeType;
use elacsym::storage::{
    CountingBackend, ListPage, LocalBackend, MemoryBackend, ObjectInfo, ObjectKey, ObjectPrefix, Payload,
    PutMode, StorageBackend, Verb,
};
use elacsym::{
    Clocks, Consistency, Database, Document, ErrorKind, IdKind, Namespace, Result, Schema, Settings, Value,
    WriteBatch,
};
use futures::future::BoxFuture;
use futures::future::{join_all, try_join_all};

use crate::common::paused::Paused;
use storm::Storm;

fn schema() -> Result<Schema> {
    Schema::builder(IdKind::U64).attribute("n", AttributeType::Uint).build()
}

async fn docs(backend: &Arc<dyn StorageBackend>) -> Result<Namespace> {
    let db = Database::builder().open_backend(Arc::clone(backend)).await?;
    db.open_or_create_namespace("docs", schema()?).await
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
        let found = docs.get(pair).await?;
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
        async move { docs.write(WriteBatch::new().upsert(Document::new(1).with("n", n)).token(7)).await }
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
    assert_eq!(old.get([1]).await.unwrap_err().kind(), ErrorKind::Deleted);
    assert_eq!(db.open_namespace("docs").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(db.list_namespaces().await?.is_empty());
    let new = db.create_namespace("docs", schema()?).await?;
    assert_eq!(new.get([1]).await?, [None]);
    assert_eq!(db.list_namespaces().await?.len(), 1);
    // A process that held the old incarnation is handed the new one.
    assert_eq!(docs(&backend).await?.write(row(9)).await?.upserted, 1);
    Ok(())
}

/// A store whose list of a log is read while others write: once, it lacks the second entry and has the third.
struct Overtaken {
    inner: Arc<dyn StorageBackend>,
    meanwhile: Mutex<Option<BoxFuture<'static, Result<()>>>>,
}

impl fmt::Debug for Overtaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.inner, f)
    }
}

impl fmt::Display for Overtaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl StorageBackend for Overtaken {
    async fn put(&self, key: &ObjectKey, body: Payload, mode: PutMode) -> Result<()> {
        self.inner.put(key, body, mode).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.inner.get_range(key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        self.inner.head(key).await
    }

    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
        let mut meanwhile = None;
        if prefix.to_string().contains("/wal/") {
            meanwhile = self.meanwhile.lock().expect("no panic held it").take();
        }
        let lacks = meanwhile.is_some();
        if let Some(meanwhile) = meanwhile {
            meanwhile.await?;
        }
        let mut page = self.inner.list_page(prefix, after).await?;
        if lacks && page.objects.len() > 2 {
            page.objects.remove(1);
        }
        Ok(page)
    }

    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        self.inner.list_folders(prefix).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.inner.delete(key).await
    }
}

/// A writer that looked at the log long ago makes sure that its entry counts by a list, which may be taken while others
/// write. A gap in it is no proof: the entry is there, and is not written again over what came after it.
#[tokio::test(start_paused = true)]
async fn an_entry_is_not_doubted_for_a_list_that_was_overtaken() -> Result<()> {
    for clocks in [Clocks::Trusted, Clocks::Untrusted] {
        let memory: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
        let other = docs_of(&memory, 1, Settings::default()).await?;
        other.write(row(7)).await?;
        let backend = Arc::new(Overtaken { inner: Arc::clone(&memory), meanwhile: Mutex::default() });
        let mut settings = Settings::default();
        settings.clocks = clocks;
        let shared: Arc<dyn StorageBackend> = Arc::clone(&backend) as Arc<dyn StorageBackend>;
        let docs = docs_of(&shared, 2, settings).await?;
        docs.snapshot(Consistency::Strong).await?;
        #[expect(clippy::disallowed_methods, reason = "the clock is paused")]
        tokio::time::sleep(Duration::from_hours(3)).await;
        // The other is never long behind.
        other.snapshot(Consistency::Strong).await?;
        let writer = other.clone();
        let meanwhile = async move {
            writer.write(WriteBatch::new().upsert(Document::new(1_u64).with("n", 200_u64))).await?;
            writer.write(row(3)).await.map(drop)
        };
        *backend.meanwhile.lock().unwrap() = Some(Box::pin(meanwhile));
        let receipt = docs.write(row(1)).await?;
        assert_eq!((receipt.sequence.0, receipt.upserted), (2, 1), "{clocks:?}");
        assert!(backend.meanwhile.lock().unwrap().is_none(), "a list was read");
        let found = docs.get([1_u64]).await?;
        let n = found[0].as_ref().and_then(|document| document.get("n").cloned());
        assert_eq!(n, Some(Value::Uint(200)), "what came later stands");
        assert_eq!(docs.snapshot(Consistency::Strong).await?.sequence().0, 4, "no entry but these");
    }
    Ok(())
}

/// The namespace in a process of its own, on the paused clock.
async fn docs_of(backend: &Arc<dyn StorageBackend>, seed: u64, settings: Settings) -> Result<Namespace> {
    let db = Database::builder().env(Env::new(Paused::new(seed))).settings(settings);
    db.open_backend(Arc::clone(backend)).await?.open_or_create_namespace("docs", schema()?).await
}
