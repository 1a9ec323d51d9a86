//! Groups on an engine of their own: failures of one batch, and batches that take an entry of their own.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::*;
use crate::cache::BlockCache;
use crate::context::{Context, MergeTurns};
use crate::engine::create_incarnation;
use crate::env::Env;
use crate::filter::Filter;
use crate::safeguard::Safeguards;
use crate::schema::{AttributeType, Schema};
use crate::settings::Settings;
use crate::storage::{
    ListPage, MemoryBackend, ObjectInfo, ObjectKey, ObjectPrefix, Payload, PutMode, StorageBackend,
};
use crate::types::{Document, IdKind, NamespaceName};
use crate::write::{CheckedBatch, WriteBatch};

fn schema(attribute: AttributeType) -> Schema {
    Schema::builder(IdKind::U64).attribute("a", attribute).build().unwrap()
}

/// Memory that refuses the next entry when it is told to.
#[derive(Clone, Debug, Default)]
struct Refusing {
    memory: MemoryBackend,
    refuses: Arc<AtomicBool>,
}

#[async_trait]
impl StorageBackend for Refusing {
    async fn put(&self, key: &ObjectKey, body: Payload, mode: PutMode) -> Result<()> {
        if key.as_str().contains("/wal/") && self.refuses.swap(false, Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::PermissionDenied, "refused"));
        }
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
        self.memory.list_page(prefix, after).await
    }

    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        self.memory.list_folders(prefix).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.memory.delete(key).await
    }
}

impl fmt::Display for Refusing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refusing")
    }
}

async fn create_engine(settings: Settings) -> Arc<Engine> {
    create_engine_on(Arc::new(MemoryBackend::new()), settings).await
}

async fn create_engine_on(backend: Arc<dyn StorageBackend>, settings: Settings) -> Arc<Engine> {
    let context = Context {
        env: Env::current().unwrap(),
        backend,
        cache: BlockCache::off(),
        settings: Arc::new(settings),
        safeguards: Safeguards::default(),
        write_refusal: None,
        merge_turns: MergeTurns::default(),
    };
    let name = NamespaceName::new("n").unwrap();
    let incarnation = create_incarnation(&context, &name, 1, schema(AttributeType::Int)).await.unwrap();
    Engine::open_created(&context, &name, incarnation).await.unwrap()
}

type Answer = oneshot::Receiver<Result<WriteReceipt>>;

async fn prepare(engine: &Engine, schema: &Schema, batch: WriteBatch) -> (PendingBatch, Answer) {
    let batch = CheckedBatch::new(schema, &engine.context.settings, batch).unwrap();
    let (answer, answered) = oneshot::channel();
    (PendingBatch::prepare(engine, batch, answer, None).await.unwrap(), answered)
}

async fn commit(engine: &Arc<Engine>, batches: Vec<PendingBatch>) {
    commit_group(engine, batches, &CommitPacer::default()).await;
}

#[tokio::test]
async fn an_internal_error_of_a_batch_answers_that_batch_alone() {
    let engine = create_engine(Settings::default()).await;
    let (mut batches, mut answers) = (Vec::new(), Vec::new());
    for (id, attribute) in [(1, AttributeType::Int), (2, AttributeType::String), (3, AttributeType::Int)] {
        // The second was checked against another schema, as only a bug could: its rows cannot join the entry.
        let batch = WriteBatch::new().upsert(Document::new(id));
        let (pending, answer) = prepare(&engine, &schema(attribute), batch).await;
        batches.push(pending);
        answers.push(answer);
    }
    commit(&engine, batches).await;
    let mut outcomes = Vec::new();
    for answer in answers {
        let outcome = answer.await.unwrap();
        outcomes.push(outcome.map(|receipt| (receipt.sequence, receipt.upserted)).map_err(|e| e.kind()));
    }
    let written = Ok((Sequence(1), 1));
    assert_eq!(outcomes, [written, Err(ErrorKind::Internal), written]);
    let ids = [1.into(), 2.into(), 3.into()];
    let found = engine.view().unwrap().locate_documents(&ids).await.unwrap();
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
}

#[tokio::test]
async fn a_batch_that_grows_beside_others_has_an_entry_of_its_own() {
    let settings = Settings { reference_bytes_min: 1 << 10, ..Settings::default() };
    let engine = create_engine(settings).await;
    let schema = schema(AttributeType::Int);
    let small = || WriteBatch::new().upsert(Document::new(1_000));
    let patch = WriteBatch::new().patch_by_filter(Filter::eq("a", 1), [("a", 2)]);
    // Nothing matches when the patch is resolved first, and a thousand documents when its turn comes.
    let (first, first_answer) = prepare(&engine, &schema, small()).await;
    let (patch, patch_answer) = prepare(&engine, &schema, patch).await;
    let (last, last_answer) = prepare(&engine, &schema, small()).await;
    let many = (0..1_000u64).map(|id| Document::new(id).with("a", 1));
    let (many, many_answer) = prepare(&engine, &schema, WriteBatch::new().upsert_all(many)).await;
    commit(&engine, vec![many]).await;
    many_answer.await.unwrap().unwrap();
    commit(&engine, vec![first, patch, last]).await;
    let mut sequences = Vec::new();
    for answer in [first_answer, patch_answer, last_answer] {
        sequences.push(answer.await.unwrap().unwrap().sequence.0);
    }
    assert_eq!(sequences, [2, 3, 4]);
    let bound = engine.view().unwrap().bind(Some(&Filter::eq("a", 2))).unwrap();
    let patched = engine.view().unwrap();
    let patched = patched.find_matching_rows(bound.as_ref()).await.unwrap();
    assert_eq!(patched.iter().map(|(_, rows)| rows.len()).sum::<u64>(), 1_000);
}

#[tokio::test]
async fn a_deferred_batch_does_not_build_on_one_that_was_not_written() {
    let store = Refusing::default();
    let settings = Settings { reference_bytes_min: 1 << 10, ..Settings::default() };
    let engine = create_engine_on(Arc::new(store.clone()), settings).await;
    let schema = schema(AttributeType::Int);
    let patch = WriteBatch::new().patch_by_filter(Filter::eq("a", 1), [("a", 2)]);
    // The first writes one more document that the patch matches.
    let first = WriteBatch::new().upsert(Document::new(5_000).with("a", 1));
    let last = WriteBatch::new().insert(Document::new(5_000).with("a", 7));
    let (first, first_answer) = prepare(&engine, &schema, first).await;
    let (patch, patch_answer) = prepare(&engine, &schema, patch).await;
    let (last, last_answer) = prepare(&engine, &schema, last).await;
    let many = (0..1_000u64).map(|id| Document::new(id).with("a", 1));
    let (many, many_answer) = prepare(&engine, &schema, WriteBatch::new().upsert_all(many)).await;
    commit(&engine, vec![many]).await;
    many_answer.await.unwrap().unwrap();
    store.refuses.store(true, Ordering::SeqCst);
    commit(&engine, vec![first, patch, last]).await;
    assert_eq!(first_answer.await.unwrap().unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(patch_answer.await.unwrap().unwrap().patched, 1_000);
    // The insert finds no document in its way: the one of the first batch was never written.
    let inserted = last_answer.await.unwrap().unwrap();
    assert_eq!((inserted.upserted, inserted.skipped), (1, 0));
    let view = engine.view().unwrap();
    let bound = view.bind(Some(&Filter::eq("a", 7))).unwrap();
    let found = view.find_matching_rows(bound.as_ref()).await.unwrap();
    assert_eq!(found.iter().map(|(_, rows)| rows.len()).sum::<u64>(), 1);
}
