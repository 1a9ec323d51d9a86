//! Batches that are large: log entries link segments of their rows. Beside others, on a slow store, and at limits.
//! Time is tokio's, paused: it passes when nobody has anything to do.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use async_trait::async_trait;
use bytes::Bytes;
use elacsym::env::Env;
use elacsym::schema::AttributeType;
use elacsym::storage::{
    CountingBackend, DelayedBackend, ListPage, MemoryBackend, ObjectInfo, ObjectKey, ObjectPrefix, Payload,
    PutMode, StorageBackend, Verb,
};
use elacsym::{
    Consistency, Database, Document, ErrorKind, Filter, IdKind, Namespace, Outcome, Result, Schema, Sequence,
    Settings, Value, WriteBatch,
};

const NAME: &str = "docs";

/// A store that answers what is about the log at once, and all else late.
#[derive(Clone)]
struct Lagging {
    inner: CountingBackend,
    lag: Duration,
    /// Somebody else writes before each entry of ours.
    rival: Arc<Mutex<Option<(Namespace, WriteBatch)>>>,
}

impl Lagging {
    fn new(store: &MemoryBackend, lag: Duration) -> Self {
        Self { inner: CountingBackend::new(Arc::new(store.clone())), lag, rival: Arc::default() }
    }

    async fn lag(&self, name: &str) {
        let near = ["/wal/", "/manifest/", "HINT"].iter().any(|part| name.contains(part));
        sleep(if near { Duration::from_millis(30) } else { self.lag }).await;
    }

    /// How many segments were uploaded.
    fn uploads(&self) -> usize {
        let log = self.inner.log();
        let puts = log.iter().filter(|r| matches!(r.verb, Verb::Create | Verb::Overwrite));
        puts.filter(|r| r.name.ends_with("rows.parquet")).count()
    }
}

impl fmt::Debug for Lagging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lagging")
    }
}

impl fmt::Display for Lagging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lagging")
    }
}

#[async_trait]
impl StorageBackend for Lagging {
    async fn put(&self, key: &ObjectKey, body: Payload, mode: PutMode) -> Result<()> {
        self.lag(key.as_str()).await;
        let rival = self.rival.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((space, batch)) = rival.filter(|_| key.as_str().contains("/wal/")) {
            space.write(batch).await?;
        }
        self.inner.put(key, body, mode).await
    }
    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.lag(key.as_str()).await;
        self.inner.get(key).await
    }
    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.lag(key.as_str()).await;
        self.inner.get_range(key, range).await
    }
    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        self.inner.head(key).await
    }
    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
        self.inner.list_page(prefix, after).await
    }
    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        self.inner.list_folders(prefix).await
    }
    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.inner.delete(key).await
    }
}

#[expect(clippy::disallowed_methods, reason = "paused time")]
async fn sleep(time: Duration) {
    tokio::time::sleep(time).await;
}

/// The output of a future, or nothing if it takes more than an hour of paused time.
#[expect(clippy::disallowed_methods, reason = "paused time")]
async fn within_an_hour<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_hours(1), future).await.ok()
}

fn schema() -> Schema {
    let built = Schema::builder(IdKind::U64)
        .attribute("n", AttributeType::Uint)
        .attribute("by", AttributeType::Uint)
        .attribute("text", AttributeType::String)
        .build();
    built.expect("the schema is sound")
}

/// Settings with which a batch of a few hundred documents is linked.
fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.cache_bytes = 0;
    (settings.auto_flush, settings.auto_compact) = (false, false);
    settings.reference_bytes_min = 20_000;
    settings
}

async fn open(backend: impl StorageBackend, settings: Settings) -> Result<Namespace> {
    let db = Database::builder().settings(settings).open_backend(Arc::new(backend)).await?;
    db.open_or_create_namespace(NAME, schema()).await
}

fn document(id: u64, n: u64) -> Document {
    Document::new(id).with("n", n).with("by", 0u64).with("text", "x".repeat(200))
}

async fn by(space: &Namespace, ids: Range<u64>) -> Result<Vec<Option<u64>>> {
    let value = |document: Option<Document>| match document?.get("by") {
        Some(Value::Uint(by)) => Some(*by),
        _ => None,
    };
    Ok(space.get(ids).await?.into_iter().map(value).collect())
}

/// Documents 0 to 1,000 with `n` = 1 in a segment.
async fn flushed(store: &MemoryBackend) -> Result<Namespace> {
    let space = open(store.clone(), settings()).await?;
    space.write(WriteBatch::new().upsert_all((0..1_000).map(|id| document(id, 1)))).await?;
    space.flush().await?;
    Ok(space)
}

#[tokio::test(start_paused = true)]
async fn a_large_patch_ends_beside_a_writer_that_never_stops() -> Result<()> {
    let store = MemoryBackend::new();
    let other = flushed(&store).await?;
    let lagging = Lagging::new(&store, Duration::from_millis(700));
    let space = open(lagging.clone(), settings()).await?;
    let ended = AtomicBool::new(false);
    // Every 300 ms: a document the patch matches comes anew, one it matched stops to match, one is deleted, and one
    // is written that it is to match as it is then.
    let write = async {
        let mut receipts = Vec::new();
        let mut round = 0;
        while !ended.load(Ordering::SeqCst) {
            let at = 4 * round;
            let batch = WriteBatch::new()
                .upsert(document(2_000 + round, 1))
                .upsert(document(at, 7))
                .delete(at + 1)
                .upsert(document(at + 2, 1).with("text", format!("round {round}")));
            receipts.push(other.write(batch).await?.sequence);
            round += 1;
            sleep(Duration::from_millis(300)).await;
        }
        Ok::<_, elacsym::Error>(receipts)
    };
    let patch = async {
        let patch = WriteBatch::new().patch_by_filter(Filter::eq("n", 1u64), [("by", 5u64)]);
        let receipt = within_an_hour(space.write(patch)).await.expect("it never ends");
        ended.store(true, Ordering::SeqCst);
        receipt
    };
    let (receipts, receipt) = futures::join!(write, patch);
    let (receipts, receipt) = (receipts?, receipt?);
    assert!(receipts.len() > 3, "the patch was too quick for a test: {receipts:?}");
    assert_eq!(lagging.uploads(), 1);
    // It saw just the entries before its own.
    let before = receipts.iter().filter(|sequence| **sequence < receipt.sequence).count() as u64;
    assert!(before > 0 && receipts.iter().all(|sequence| *sequence != receipt.sequence));
    let rounds = receipts.len() as u64;
    for reader in [&space, &open(store.clone(), settings()).await?] {
        for pass in 0..2 {
            let (old, new) = (by(reader, 0..1_000).await?, by(reader, 2_000..2_000 + rounds).await?);
            for (id, old) in (0..1_000u64).zip(old) {
                let expected = match (id / 4, id % 4) {
                    (round, 1) if round < rounds => None,
                    (round, 0) if round < rounds => Some(0),
                    (round, 2) if round < rounds && round >= before => Some(0),
                    _ => Some(5),
                };
                assert_eq!(old, expected, "document {id}, pass {pass}, {before} of {rounds}");
            }
            let expected: Vec<_> =
                (0..rounds).map(|round| Some(if round < before { 5 } else { 0 })).collect();
            assert_eq!(new, expected, "pass {pass}");
            reader.flush().await?;
        }
    }
    // Of each round before it, one new document, two that are gone.
    assert_eq!(receipt.patched, 1_000 - before);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn other_writes_of_a_process_do_not_wait_for_a_slow_one() -> Result<()> {
    let store = MemoryBackend::new();
    flushed(&store).await?;
    let space = open(Lagging::new(&store, Duration::from_secs(5)), settings()).await?;
    let slow = WriteBatch::new().patch_by_filter(Filter::eq("n", 1u64), [("by", 5u64)]);
    let mut slow = Box::pin(space.write(slow));
    assert!(futures::poll!(slow.as_mut()).is_pending());
    let quick = space.write(WriteBatch::new().upsert(document(3, 1)).upsert(document(4, 2))).await?;
    assert!(futures::poll!(slow.as_mut()).is_pending(), "nothing was shown: the slow one was first");
    let slow = slow.await?;
    assert!(slow.sequence > quick.sequence);
    assert_eq!((slow.patched, by(&space, 3..5).await?), (999, vec![Some(5), Some(0)]));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn who_is_always_overtaken_is_told_that_nothing_was_written() -> Result<()> {
    let store = MemoryBackend::new();
    let other = flushed(&store).await?;
    // The rival touches one of the documents each time, or all of them.
    let all = (0..1_000).map(|id| document(id, 1));
    for (rival, uploads) in
        [(WriteBatch::new().upsert(document(7, 1)), 1), (WriteBatch::new().upsert_all(all), 4)]
    {
        let lagging = Lagging::new(&store, Duration::from_millis(100));
        let mut settings = settings();
        settings.write_timeout = Duration::from_secs(5);
        let space = open(lagging.clone(), settings).await?;
        *lagging.rival.lock().unwrap_or_else(PoisonError::into_inner) = Some((other.clone(), rival));
        let patch = WriteBatch::new().patch_by_filter(Filter::eq("n", 1u64), [("by", 5u64)]);
        let error = within_an_hour(space.write(patch)).await.expect("it never ends").unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::NotApplied), "{error}");
        assert!(error.is_retryable() && error.to_string().contains("nothing was written"), "{error}");
        assert_eq!(lagging.uploads(), uploads);
        assert!(by(&other, 0..1_000).await?.iter().all(|by| *by == Some(0)));
        // Left alone, it goes through.
        *lagging.rival.lock().unwrap_or_else(PoisonError::into_inner) = None;
        assert_eq!(space.write(WriteBatch::new().upsert(document(1, 1))).await?.upserted, 1);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_a_batch_that_is_still_uploading() -> Result<()> {
    let store = MemoryBackend::new();
    let space = open(Lagging::new(&store, Duration::from_secs(3)), settings()).await?;
    // So few that they are let in at the first poll.
    let batch = WriteBatch::new().upsert_all((0..200).map(|id| document(id, 1)));
    let mut write = Box::pin(space.write(batch));
    assert!(futures::poll!(write.as_mut()).is_pending());
    within_an_hour(space.close()).await.expect("close never ends");
    let answer = futures::poll!(write.as_mut());
    assert!(matches!(&answer, std::task::Poll::Ready(Ok(receipt)) if receipt.upserted == 200), "{answer:?}");
    assert_eq!(space.write(WriteBatch::new().delete(1)).await.unwrap_err().kind(), ErrorKind::Closed);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_manifest_says_from_which_entry_a_linked_segment_came() -> Result<()> {
    let store = MemoryBackend::new();
    let other = open(store.clone(), settings()).await?;
    let space = open(Lagging::new(&store, Duration::from_secs(1)), settings()).await?;
    let write = space.write(WriteBatch::new().upsert_all((0..500).map(|id| document(id, 1))));
    let race = async {
        for id in 0..3 {
            other.write(WriteBatch::new().upsert(document(1_000 + id, 1))).await?;
            sleep(Duration::from_millis(100)).await;
        }
        Ok::<_, elacsym::Error>(())
    };
    let (written, raced) = futures::join!(write, race);
    raced?;
    let sequence = written?.sequence;
    assert_eq!(sequence, Sequence(4));
    space.flush().await?;
    let manifests = store.list(&ObjectPrefix::root(), None).await?;
    let newest = manifests.iter().rfind(|info| info.key.as_str().contains("/manifest/")).expect("a manifest");
    let bytes = store.get(&newest.key).await?;
    let start = bytes.iter().position(|b| *b == b'\n').expect("a head") + 1;
    let json: serde_json::Value = serde_json::from_slice(&bytes[start..]).expect("JSON");
    let sequences: Vec<_> =
        json["segments"].as_array().expect("segments").iter().map(|s| &s["sequences"]).collect();
    assert!(sequences.contains(&&serde_json::json!([4, 4])), "{sequences:?}");
    Ok(())
}

fn numbers(ids: impl Iterator<Item = u64>) -> WriteBatch {
    let ids: ArrayRef = Arc::new(UInt64Array::from_iter_values(ids));
    WriteBatch::new().upsert_batch(RecordBatch::try_from_iter([("id", ids)]).expect("a batch"))
}

#[tokio::test(start_paused = true)]
async fn a_linked_batch_is_held_against_older_rows_in_few_rounds_and_only_where_ids_meet() -> Result<()> {
    let store = Arc::new(MemoryBackend::new());
    let counting = Arc::new(CountingBackend::new(store));
    let env = Env::current()?;
    let delayed = DelayedBackend::new(counting.clone(), &env, Duration::from_millis(30));
    let db = Database::builder().settings(settings()).open_backend(Arc::new(delayed.clone())).await?;
    let space = db.create_namespace(NAME, Schema::builder(IdKind::U64).build()?).await?;
    // So many that their ids are not kept in memory: a million entries of 12 bytes would be 360 blocks of an index.
    let rows = 200_000;
    for part in 0..3 {
        space.write(numbers(part * rows..(part + 1) * rows)).await?;
    }
    counting.reset();
    assert_eq!(space.snapshot(Consistency::Eventual).await?.count().await?, 3 * rows);
    assert_eq!(counting.requests(), 0, "ids that ascend need no look at others: {:?}", counting.counts());
    // Every third id of the last batch, and as many that are new.
    let ids = (2 * rows..3 * rows).step_by(3).chain(3 * rows..4 * rows);
    space.write(numbers(ids)).await?;
    counting.reset();
    let begun = elapsed();
    assert_eq!(space.snapshot(Consistency::Eventual).await?.count().await?, 4 * rows);
    let rounds = delayed.round_trips(elapsed().checked_sub(begun).unwrap());
    assert!((1..=4).contains(&rounds), "{rounds} rounds");
    Ok(())
}

/// Paused time since some beginning.
#[expect(clippy::disallowed_methods, reason = "paused time")]
fn elapsed() -> Duration {
    static START: std::sync::OnceLock<tokio::time::Instant> = std::sync::OnceLock::new();
    let now = tokio::time::Instant::now();
    now.saturating_duration_since(*START.get_or_init(|| now))
}

#[tokio::test]
async fn patches_are_limited_by_bytes_and_go_on_in_parts() -> Result<()> {
    let mut settings = settings();
    settings.batch_bytes_max = 100_000;
    let space = open(MemoryBackend::new(), settings).await?;
    for part in 0..5 {
        let rows = (part * 100..(part + 1) * 100).map(|id| document(id, 1));
        space.write(WriteBatch::new().upsert_all(rows)).await?;
    }
    space.flush().await?;
    let patch = || WriteBatch::new().patch_by_filter(Filter::eq("by", 0u64), [("by", 5u64)]);
    let error = space.write(patch()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
    assert!(error.to_string().contains("100000"), "{error}");
    assert!(by(&space, 0..500).await?.iter().all(|by| *by == Some(0)), "half of it was written");
    let mut patched = 0;
    loop {
        let receipt = space.write(patch().allow_partial()).await?;
        assert!(receipt.patched > 0 && receipt.patched < 500, "{receipt:?}");
        patched += receipt.patched;
        if !receipt.rows_remaining {
            break;
        }
    }
    assert_eq!(patched, 500);
    assert!(by(&space, 0..500).await?.iter().all(|by| *by == Some(5)));
    // By id there is no part: 500 documents of more than 200 bytes.
    let by_id = (0..500).fold(WriteBatch::new(), |batch, id| batch.patch(Document::new(id).with("by", 6u64)));
    assert_eq!(space.write(by_id.allow_partial()).await.unwrap_err().kind(), ErrorKind::LimitExceeded);
    Ok(())
}

#[tokio::test]
async fn deletes_are_limited_by_what_a_reader_gets_at_once() -> Result<()> {
    let mut settings = settings();
    settings.batch_operations_max = 2_000_000;
    let db = Database::builder().settings(settings).open_backend(Arc::new(MemoryBackend::new())).await?;
    let space = db.create_namespace(NAME, Schema::builder(IdKind::String).build()?).await?;
    // 1,250,000 ids of 68 bytes are 81 MiB.
    let id = |n: u32| format!("{n:064}");
    let batch = (0..1_250_000).fold(WriteBatch::new(), |batch, n| batch.delete(id(n)));
    let error = space.write(batch).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
    assert_eq!(space.write(WriteBatch::new().delete(id(1))).await?.deleted, 1);
    Ok(())
}
