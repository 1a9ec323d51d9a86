//! Logs of hundreds of thousands of entries, on a store that takes its time for every page of a listing.
#![expect(clippy::disallowed_methods, reason = "a clock of its own")]
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test panics")]

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use elacsym::env::Env;
use elacsym::schema::AttributeType;
use elacsym::storage::{
    CountingBackend, DelayedBackend, ListPage, MemoryBackend, ObjectInfo, ObjectKey, ObjectPrefix, Payload,
    PutMode, StorageBackend, Verb,
};
use elacsym::{Database, Document, IdKind, Result, Schema, WriteBatch};
use tokio::time::Instant;
use twox_hash::XxHash3_64;

use crate::common::paused::Paused;

const ENTRIES: u64 = 300_000;
/// Entries behind the newest manifest.
const TAIL: u64 = 10;
/// One flush every 256 entries, as by default.
const MANIFESTS: u64 = ENTRIES / 256;
const INCARNATION: &str = "ns/n-docs/00000001";
const PAGE: usize = 1_000;

/// A store that lists a long log of which it holds the ends alone: nobody has a reason to read the rest.
#[derive(Clone, Debug)]
struct LongLog {
    memory: MemoryBackend,
    entries: Arc<AtomicU64>,
    manifests: Arc<AtomicU64>,
}

fn numbered(folder: &str, number: u64) -> ObjectKey {
    ObjectKey::new(format!("{INCARNATION}/{folder}/{number:020}")).unwrap()
}

impl LongLog {
    fn new() -> Self {
        Self { memory: MemoryBackend::new(), entries: Arc::default(), manifests: Arc::default() }
    }

    /// The page of a folder of `count` numbered objects.
    fn page(folder: &str, count: u64, after: Option<&ObjectKey>) -> ListPage {
        let after = after.and_then(|key| key.as_str().rsplit('/').next()?.parse().ok()).unwrap_or(0_u64);
        let numbers = (after + 1..=count).take(PAGE);
        let info = |number| ObjectInfo { key: numbered(folder, number), size: 500, modified_ms: 0 };
        ListPage { objects: numbers.map(info).collect(), more: after + (PAGE as u64) < count }
    }

    async fn rewrite(
        &self,
        from: &ObjectKey,
        to: &ObjectKey,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> Result<()> {
        let mut bytes = self.memory.get(from).await?.to_vec();
        change(&mut bytes);
        self.memory.put(to, bytes.into(), PutMode::Overwrite).await
    }

    /// What others did meanwhile: `ENTRIES` in all, flushed but for the last few.
    async fn grow(&self) -> Result<()> {
        let flushed = ENTRIES - TAIL;
        let batch = |sequence: u64| u128::from(sequence).to_be_bytes();
        for sequence in flushed..=ENTRIES {
            let forge = |bytes: &mut Vec<u8>| {
                bytes[32..40].copy_from_slice(&sequence.to_le_bytes());
                bytes[40..56].copy_from_slice(&batch(sequence));
                bytes[56..72].copy_from_slice(&batch(sequence - 1));
                bytes.truncate(bytes.len() - 8);
                let checksum = XxHash3_64::oneshot(bytes);
                bytes.extend(checksum.to_le_bytes());
            };
            self.rewrite(&numbered("wal", 2), &numbered("wal", sequence), forge).await?;
        }
        let forge = |bytes: &mut Vec<u8>| {
            let head = bytes.iter().position(|byte| *byte == b'\n').unwrap();
            let mut json: serde_json::Value = serde_json::from_slice(&bytes[head + 1..]).unwrap();
            json["number"] = MANIFESTS.into();
            json["flushed_through"] = flushed.into();
            json["flushed_batch"] = uuid::Uuid::from_u128(flushed.into()).to_string().into();
            let json = serde_json::to_vec(&json).unwrap();
            let checksum = XxHash3_64::oneshot(&json);
            *bytes = format!("elacsym manifest 1 {} {checksum:016x}\n", json.len()).into_bytes();
            bytes.extend(json);
        };
        self.rewrite(&numbered("manifest", 1), &numbered("manifest", MANIFESTS), forge).await?;
        self.entries.store(ENTRIES, Ordering::SeqCst);
        self.manifests.store(MANIFESTS, Ordering::SeqCst);
        Ok(())
    }
}

#[async_trait]
impl StorageBackend for LongLog {
    async fn put(&self, key: &ObjectKey, body: Payload, mode: PutMode) -> Result<()> {
        self.memory.put(key, body, mode).await
    }
    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.memory.get(key).await
    }
    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.memory.get_range(key, range).await
    }
    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        self.memory.head(key).await
    }
    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
        let counts = [("wal", &self.entries), ("manifest", &self.manifests)];
        let long = counts.into_iter().find(|(folder, count)| {
            prefix.as_str() == format!("{INCARNATION}/{folder}/") && count.load(Ordering::SeqCst) > 0
        });
        match long {
            Some((folder, count)) => Ok(Self::page(folder, count.load(Ordering::SeqCst), after)),
            None => self.memory.list_page(prefix, after).await,
        }
    }
    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        self.memory.list_folders(prefix).await
    }
    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.memory.delete(key).await
    }
}

impl fmt::Display for LongLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("long log")
    }
}

fn document(id: u64) -> Document {
    Document::new(id).with("n", i64::try_from(id).unwrap())
}

struct Setup {
    log: LongLog,
    counting: CountingBackend,
    env: Env,
}

impl Setup {
    /// A namespace with a manifest and one entry behind it.
    async fn new() -> Result<Self> {
        let (log, env) = (LongLog::new(), Env::new(Paused::new(1)));
        let delayed = DelayedBackend::new(Arc::new(log.clone()), &env, Duration::from_millis(100));
        let setup = Self { log, counting: CountingBackend::new(Arc::new(delayed)), env };
        let schema = Schema::builder(IdKind::U64).attribute("n", AttributeType::Int).build()?;
        let docs = setup.open().await?.create_namespace("docs", schema).await?;
        docs.write(WriteBatch::new().upsert(document(1))).await?;
        docs.flush().await?;
        Ok(setup)
    }

    async fn open(&self) -> Result<Database> {
        let backend = Arc::new(self.counting.clone());
        Database::builder().env(self.env.clone()).open_backend(backend).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_was_idle_for_hours_finds_the_end_of_a_long_log() -> Result<()> {
    let setup = Setup::new().await?;
    let writer = setup.open().await?.open_namespace("docs").await?;
    let reader = setup.open().await?.open_namespace("docs").await?;
    assert_eq!(reader.get([1]).await?, [Some(document(1))]);
    writer.write(WriteBatch::new().upsert(document(2))).await?;
    setup.log.grow().await?;
    tokio::time::sleep(Duration::from_hours(2)).await;

    setup.counting.reset();
    let start = Instant::now();
    let found = reader.get([1, 2, 3]).await?;
    println!("{:?}, {:?}", start.elapsed(), setup.counting.counts());
    assert_eq!(found, [Some(document(1)), Some(document(2)), None]);
    // The entry that shows it, two pages of manifests, the newest of them, a page of the log at its begin and one
    // at its end, the tail; and the segment.
    assert!(setup.counting.count(Verb::List) <= 6, "{:?}", setup.counting.counts());
    assert!(setup.counting.requests() <= 32, "{:?}", setup.counting.counts());
    assert!(start.elapsed() < Duration::from_secs(3));

    setup.counting.reset();
    reader.get([2]).await?;
    // Beside it a newer manifest may be looked for, as the last look was hours ago.
    assert_eq!(setup.counting.count(Verb::Get), 1, "from then on it knows the end");
    assert!(setup.counting.requests() <= 2, "{:?}", setup.counting.counts());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_long_log_is_opened_without_a_hint() -> Result<()> {
    let setup = Setup::new().await?;
    let writer = setup.open().await?.open_namespace("docs").await?;
    writer.write(WriteBatch::new().upsert(document(2))).await?;
    setup.log.grow().await?;
    let hint = ObjectKey::new("ns/n-docs/HINT")?;
    for hinted in [true, false] {
        if !hinted {
            setup.log.memory.delete(&hint).await?;
        }
        let db = setup.open().await?;
        setup.counting.reset();
        let start = Instant::now();
        let found = db.open_namespace("docs").await?.get([1, 2, 3]).await?;
        println!("hint={hinted}: {:?}, {:?}", start.elapsed(), setup.counting.counts());
        assert_eq!(found, [Some(document(1)), Some(document(2)), None]);
        assert!(setup.counting.count(Verb::List) <= 6, "{:?}", setup.counting.counts());
        assert!(setup.counting.requests() <= 40, "{:?}", setup.counting.counts());
        assert!(start.elapsed() < Duration::from_secs(3));
    }
    Ok(())
}
