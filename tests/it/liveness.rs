//! Nothing waits for what nobody polls: futures that were started and then left alone, work that is held inside a
//! request, others that are quicker, requests that are never answered.
#![expect(
    clippy::disallowed_methods,
    reason = "the paused clock is what is read, and a test that hangs must end"
)]
#![expect(clippy::unwrap_used, reason = "a test panics")]
#![expect(clippy::future_not_send, reason = "each test has one thread")]
#![expect(unreachable_pub, reason = "a test crate has no API")]

pub mod gate;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use elacsym::env::Env;
use elacsym::schema::AttributeType;
use elacsym::storage::{CountingBackend, DelayedBackend, LocalBackend, MemoryBackend, StorageBackend, Verb};
use elacsym::{
    Backpressure, Consistency, Database, Document, Error, ErrorKind, Filter, IdKind, Metric, Namespace,
    Query, Result, Scan, Schema, Settings, Vector, VectorType, WriteBatch,
};
use futures::future::FusedFuture;
use futures::{FutureExt, StreamExt, poll, stream};
use tokio::time::{Instant, sleep, timeout};

use gate::Gate;

use crate::common::paused::Paused;

const LATENCY: Duration = Duration::from_millis(30);

fn schema() -> Result<Schema> {
    Schema::builder(IdKind::U64)
        .attribute("n", AttributeType::Uint)
        .vector("v", VectorType::F32, 2, Metric::L2Squared)
        .build()
}

fn document(id: u64) -> Document {
    Document::new(id).with("n", id).with("v", Vector::from([f32::from(u16::try_from(id).unwrap()), 1.0]))
}

fn row(id: u64) -> WriteBatch {
    WriteBatch::new().upsert(document(id))
}

fn rows(ids: std::ops::Range<u64>) -> WriteBatch {
    WriteBatch::new().upsert_all(ids.map(document))
}

fn nearest(id: u16) -> Query {
    Query::nearest("v", [f32::from(id), 1.0]).limit(1)
}

/// Changes nothing: the condition never holds.
fn in_vain(id: u64) -> WriteBatch {
    WriteBatch::new().patch_if(Document::new(id).with("n", 0_u64), Filter::eq("n", 12_345_u64))
}

/// A process of its own.
async fn database(backend: Arc<dyn StorageBackend>, settings: Settings) -> Result<Database> {
    static PROCESSES: AtomicU64 = AtomicU64::new(1_000);
    process(PROCESSES.fetch_add(1, Ordering::SeqCst), backend, settings).await
}

/// A process whose chance is known.
async fn process(seed: u64, backend: Arc<dyn StorageBackend>, settings: Settings) -> Result<Database> {
    let env = Env::new(Paused::new(seed));
    Database::builder().env(env).settings(settings).open_backend(backend).await
}

async fn open(backend: Arc<dyn StorageBackend>, settings: Settings) -> Result<Namespace> {
    database(backend, settings).await?.open_or_create_namespace("docs", schema()?).await
}

/// Memory behind a request time, and a gate before it.
struct Slow {
    memory: MemoryBackend,
    gate: Gate,
}

impl Slow {
    fn new(latency: Duration) -> Result<Self> {
        let memory = MemoryBackend::new();
        let delayed = DelayedBackend::new(Arc::new(memory.clone()), &Env::current()?, latency);
        Ok(Self { memory, gate: Gate::new(Arc::new(delayed)) })
    }

    async fn open(&self, settings: Settings) -> Result<Namespace> {
        open(Arc::new(self.gate.clone()), settings).await
    }

    /// The namespace, with documents, in a process that knows how long a look at the log takes.
    async fn usual(&self) -> Result<Namespace> {
        let docs = self.open(Settings::default()).await?;
        fill(&docs).await?;
        for _ in 0..4 {
            docs.snapshot(Consistency::Strong).await?;
        }
        Ok(docs)
    }

    async fn names(&self, part: &str) -> Result<Vec<String>> {
        let root = elacsym::storage::ObjectPrefix::root();
        let listed = self.memory.list(&root, None).await?;
        Ok(listed.iter().map(|info| info.key.to_string()).filter(|name| name.contains(part)).collect())
    }

    async fn lose(&self, part: &str) -> Result<()> {
        for name in self.names(part).await? {
            self.memory.delete(&elacsym::storage::ObjectKey::new(name)?).await?;
        }
        Ok(())
    }
}

/// Each program on a local folder, where reads of the log go through the blocking pool, and on a store that takes
/// its time.
async fn everywhere<F: Future<Output = Result<()>>>(
    settings: Settings,
    program: impl Fn(Namespace) -> F,
) -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let local = Arc::new(LocalBackend::new(folder.path(), &Env::current()?)?);
    ends("a local folder", program(open(local, settings.clone()).await?)).await?;
    let memory = Arc::new(MemoryBackend::new());
    let delayed = Arc::new(DelayedBackend::new(memory, &Env::current()?, LATENCY));
    ends("a store with latency", program(open(delayed, settings).await?)).await
}

async fn ends<T>(what: &str, program: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(Duration::from_mins(2), program).await.unwrap_or_else(|_| panic!("it hangs: {what}"))
}

/// Some rows in a segment and some in the tail.
async fn fill(docs: &Namespace) -> Result<()> {
    docs.write(rows(0..64)).await?;
    docs.flush().await?;
    docs.write(rows(64..70)).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_queries_with_a_get_in_its_loop_ends() -> Result<()> {
    everywhere(Settings::default(), async |docs: Namespace| {
        fill(&docs).await?;
        let queries = (0..64).map(|id| docs.query(nearest(id)));
        let mut answers = stream::iter(queries).buffer_unordered(8);
        let mut seen = 0;
        while let Some(answer) = answers.next().await {
            let found = answer?.hits()?[0].document.id().clone();
            assert!(docs.get(&[found]).await?[0].is_some());
            seen += 1;
        }
        assert_eq!(seen, 64);
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_query_beside_gets_in_another_arm_of_select_ends() -> Result<()> {
    everywhere(Settings::default(), async |docs: Namespace| {
        fill(&docs).await?;
        for id in 0..8 {
            let mut query = pin!(docs.query(nearest(id)));
            let mut gets = 0;
            loop {
                tokio::select! {
                    biased;
                    // While the body of this arm runs, the query is not polled.
                    () = std::future::ready(()), if gets < 4 => {
                        if let Poll::Ready(answer) = poll!(query.as_mut()) {
                            break assert_eq!(answer?.rows.len(), 1);
                        }
                        assert!(docs.get([7]).await?[0].is_some());
                        gets += 1;
                    }
                    answer = &mut query => break assert_eq!(answer?.rows.len(), 1),
                }
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_write_that_changes_nothing_ends_beside_a_parked_query() -> Result<()> {
    everywhere(Settings::default(), async |docs: Namespace| {
        fill(&docs).await?;
        for id in 0..8 {
            let mut query = pin!(docs.query(nearest(id)).fuse());
            let _ = poll!(query.as_mut());
            assert_eq!(docs.write(in_vain(3)).await?.skipped, 1);
            assert_eq!(docs.write(row(200 + u64::from(id))).await?.upserted, 1);
            if !query.is_terminated() {
                assert_eq!(query.await?.rows.len(), 1);
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn parked_maintenance_stops_no_write_and_no_other_maintenance() -> Result<()> {
    let mut settings = Settings::default();
    (settings.tail_entries_flush, settings.tail_entries_max) = (4, 8);
    everywhere(settings, async |docs: Namespace| {
        fill(&docs).await?;
        docs.flush().await?;
        docs.write(rows(70..80)).await?;
        let (mut flush, mut compact) = (pin!(docs.flush()), pin!(docs.compact()));
        // Their first step is to start a task.
        assert!(poll!(flush.as_mut()).is_pending() && poll!(compact.as_mut()).is_pending());
        for id in 1_000..1_040 {
            docs.write(row(id)).await?;
        }
        docs.flush().await?;
        docs.compact().await?;
        assert_eq!(docs.snapshot(Consistency::Strong).await?.count().await?, 120);
        flush.await?;
        compact.await?;
        assert_eq!(docs.snapshot(Consistency::Strong).await?.count().await?, 120);
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_parked_read_that_is_never_polled_again_holds_up_nobody() -> Result<()> {
    let slow = Slow::new(LATENCY)?;
    let docs = slow.open(Settings::default()).await?;
    fill(&docs).await?;
    // The first of each pair has its request under way, the second waits for its turn.
    let mut parked: Vec<_> = (0..6).map(|id| Box::pin(docs.query(nearest(id)))).collect();
    for query in &mut parked {
        assert!(poll!(query.as_mut()).is_pending());
        sleep(LATENCY / 4).await;
    }
    ends("a strong read", docs.snapshot(Consistency::Strong)).await?;
    ends("a write in vain", docs.write(in_vain(1))).await?;
    ends("a flush", docs.flush()).await?;
    drop(parked);
    ends("a strong read after they were dropped", docs.snapshot(Consistency::Strong)).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn writes_and_flushes_go_on_while_a_compaction_is_held_in_its_upload() -> Result<()> {
    let slow = Slow::new(LATENCY)?;
    let mut settings = Settings::default();
    (settings.tail_entries_flush, settings.tail_entries_max) = (4, 8);
    settings.auto_compact = false;
    let docs = slow.open(settings).await?;
    for part in 0..3 {
        docs.write(rows(part * 10..part * 10 + 10)).await?;
        docs.flush().await?;
    }
    // How long a flush takes here.
    docs.write(row(500)).await?;
    let start = Instant::now();
    docs.flush().await?;
    let flush = start.elapsed();

    slow.gate.hold(Verb::Overwrite, "/segment/");
    let mut compact = pin!(docs.compact());
    while slow.gate.held() == 0 {
        assert!(poll!(compact.as_mut()).is_pending());
        sleep(LATENCY).await;
    }
    slow.gate.let_later_ones_pass();
    for id in 1_000..1_080 {
        let start = Instant::now();
        ends("a write beside a compaction", docs.write(row(id))).await?;
        let took = start.elapsed();
        assert!(took <= flush + LATENCY * 2, "a write took {took:?}, a flush {flush:?}");
        assert!(tokio::runtime::Handle::current().metrics().num_alive_tasks() < 12, "tasks pile up");
    }
    let flushed = ends("a flush beside a compaction", docs.flush()).await?;
    assert_eq!(flushed.flushed_through, docs.snapshot(Consistency::Strong).await?.sequence());
    assert!(slow.gate.held() > 0 && poll!(compact.as_mut()).is_pending());

    slow.gate.release();
    let report = ends("the compaction", compact).await?;
    assert_eq!((report.merged, report.written, report.rows), (4, 1, 31));
    let ids: Vec<u64> = (0..30).chain([500]).chain(1_000..1_080).collect();
    let found = docs.get(&ids).await?;
    assert!(found.into_iter().eq(ids.into_iter().map(|id| Some(document(id)))));
    assert_eq!(docs.snapshot(Consistency::Strong).await?.count().await?, 111);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_compaction_keeps_what_it_has_when_another_process_merges_some_of_its_inputs() -> Result<()> {
    let store = MemoryBackend::new();
    let gate = Gate::new(Arc::new(store.clone()));
    let settings = Settings::default().auto_compact(false);
    let db = database(Arc::new(gate.clone()), settings).await?;
    let docs = db.create_namespace("docs", schema()?).await?;
    // Most rows are in a segment that is too large to be merged with the small ones.
    docs.write(rows(0..30_000)).await?;
    docs.flush().await?;
    for part in 0..3 {
        docs.write(rows(30_000 + part * 10..30_000 + part * 10 + 10)).await?;
        docs.flush().await?;
    }
    gate.hold(Verb::Overwrite, "/segment/");
    let mut compact = pin!(docs.compact());
    while gate.held() == 0 {
        assert!(poll!(compact.as_mut()).is_pending());
        sleep(LATENCY).await;
    }

    let other = database(Arc::new(store.clone()), Settings::default()).await?.open_namespace("docs").await?;
    other.write(rows(29_990..30_005)).await?;
    other.flush().await?;
    let parts = async || Ok::<_, Error>(other.query(nearest(1)).await?.stats.parts);
    while ends("a merge by itself", parts()).await? != 2 {
        sleep(LATENCY).await;
    }

    gate.release();
    let report = ends("the compaction", compact).await?;
    assert_eq!((report.merged, report.written, report.rows), (1, 1, 30_030), "the others were gone");
    // The large segment was written anew, and in it those rows are dead that the other process has.
    let stats = docs.query(nearest(1)).await?.stats;
    assert_eq!((stats.parts, stats.rows), (2, 30_030 + 40), "{stats}");
    for docs in [&docs, &other] {
        assert_eq!(docs.count().await?, 30_030);
        let found = docs.get(29_980..30_030_u64).await?;
        assert!(found.into_iter().eq((29_980..30_030).map(|id| Some(document(id)))));
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn maintenance_ends_when_the_last_that_waits_is_dropped() -> Result<()> {
    let slow = Slow::new(LATENCY)?;
    let docs = slow.open(Settings::default()).await?;
    docs.write(rows(0..10)).await?;
    slow.gate.hold(Verb::Overwrite, "/segment/");
    let (mut first, mut second) = (Box::pin(docs.flush()), Box::pin(docs.flush()));
    assert!(poll!(first.as_mut()).is_pending() && poll!(second.as_mut()).is_pending());
    sleep(LATENCY * 10).await;
    assert!(slow.gate.held() > 0);
    drop(first);
    sleep(LATENCY).await;
    assert!(slow.gate.held() > 0, "another waits for it");
    drop(second);
    sleep(LATENCY).await;
    assert_eq!(slow.gate.held(), 0);
    slow.gate.release();
    assert_eq!(docs.flush().await?.rows, 10);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_query_ends_in_its_time_whatever_the_store_takes() -> Result<()> {
    let slow = Slow::new(Duration::from_millis(300))?;
    let docs = slow.open(Settings::default()).await?;
    fill(&docs).await?;
    for limit in [50, 200, 400].map(Duration::from_millis) {
        let query = || nearest(1).filter(Filter::lt("n", 50_u64)).timeout(limit);
        for (what, query) in [("whole", query()), ("partial", query().partial())] {
            let start = Instant::now();
            let outcome = docs.query_all(&[query, nearest(2)]).await;
            if limit < Duration::from_millis(300) {
                let error = outcome.expect_err("nothing can be known so soon");
                assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{what}");
                assert_eq!(start.elapsed().as_millis(), limit.as_millis(), "{what}");
            } else {
                assert!(start.elapsed() >= Duration::from_millis(300));
                assert!(outcome.is_ok() || start.elapsed().as_millis() == limit.as_millis(), "{what}");
            }
        }
    }
    // The store is away.
    slow.gate.hold(Verb::Get, "/wal/");
    let start = Instant::now();
    let error = docs.query(nearest(1).timeout(Duration::from_millis(200))).await.unwrap_err();
    assert_eq!((error.kind(), start.elapsed().as_millis()), (ErrorKind::DeadlineExceeded, 200));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_look_at_the_log_that_is_not_answered_is_sent_again() -> Result<()> {
    let slow = Slow::new(LATENCY)?;
    let docs = slow.usual().await?;
    slow.gate.hold(Verb::Get, "/wal/");
    let mut lost = pin!(docs.snapshot(Consistency::Strong));
    assert!(poll!(lost.as_mut()).is_pending());
    sleep(LATENCY).await;
    assert_eq!(slow.gate.held(), 1);
    slow.gate.let_later_ones_pass();
    // Neither the read whose request is lost nor one that came later waits for the request's time limit.
    let start = Instant::now();
    let (lost, later) = futures::join!(lost, docs.snapshot(Consistency::Strong));
    assert_eq!(lost?.sequence(), later?.sequence());
    assert!(start.elapsed() < LATENCY * 12, "{:?}", start.elapsed());
    Ok(())
}

/// An entry may be large, and its way to here long: those who wait for it do not ask for it again and again.
#[tokio::test(start_paused = true)]
async fn readers_who_wait_for_a_long_answer_do_not_send_ever_more_requests() -> Result<()> {
    let slow = Slow::new(LATENCY)?;
    let docs = slow.usual().await?;
    slow.gate.hold(Verb::Get, "/wal/");
    let mut reads = stream::FuturesUnordered::new();
    for _ in 0..100 {
        reads.push(docs.snapshot(Consistency::Strong));
        // All of them are polled.
        let _ = timeout(Duration::from_millis(100), reads.next()).await;
    }
    assert!((1..=20).contains(&slow.gate.held()), "{} requests", slow.gate.held());
    slow.gate.release();
    while let Some(read) = reads.next().await {
        read?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_strong_read_is_not_led_on_by_writers_that_are_quicker() -> Result<()> {
    let slow = Slow::new(LATENCY)?;
    let docs = slow.open(Settings::default()).await?;
    fill(&docs).await?;
    let other = open(Arc::new(slow.memory.clone()), Settings::default()).await?;
    // What is known to be written takes two round trips: the entry, and the end behind it.
    other.write(row(300)).await?;
    let start = Instant::now();
    assert_eq!(docs.snapshot(Consistency::Strong).await?.count().await?, 71);
    assert_eq!(start.elapsed().as_millis(), 2 * LATENCY.as_millis());
    let writes = async {
        for id in 1_000.. {
            other.write(row(id)).await?;
            sleep(LATENCY / 30).await;
        }
        Ok::<_, Error>(())
    };
    let reads = async {
        for _ in 0..5 {
            let before = other.snapshot(Consistency::Eventual).await?.sequence();
            let start = Instant::now();
            assert!(docs.snapshot(Consistency::Strong).await?.sequence() >= before);
            assert!(start.elapsed() <= LATENCY * 20, "{:?}", start.elapsed());
        }
        Ok::<_, Error>(())
    };
    let reads = ends("strong reads beside a quick writer", reads);
    tokio::select! {
        outcome = writes => outcome,
        outcome = reads => outcome,
    }
}

#[tokio::test(start_paused = true)]
async fn a_flush_that_fails_is_not_tried_again_at_once() -> Result<()> {
    let slow = Slow::new(LATENCY)?;
    let mut settings = Settings::default();
    (settings.tail_entries_flush, settings.tail_entries_max) = (2, 40);
    let docs = slow.open(settings).await?;
    slow.gate.refuse(Verb::Create, "/manifest/");
    let start = Instant::now();
    for id in 0..40 {
        docs.write(row(id)).await?;
    }
    sleep(LATENCY * 40).await;
    let uploads = slow.names("rows.parquet").await?.len();
    let most = 2 + start.elapsed().as_secs().ilog2() as usize;
    assert!((1..=most).contains(&uploads), "{uploads} uploads in {:?}", start.elapsed());
    // With the tail full, a write says why.
    let error = loop {
        match docs.write(row(1)).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    slow.gate.release();
    sleep(Duration::from_mins(2)).await;
    docs.write(row(1)).await?;
    assert_eq!(docs.snapshot(Consistency::Strong).await?.count().await?, 40);
    assert!(!slow.names("/manifest/").await?.is_empty());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn of_several_writers_few_flush_the_same() -> Result<()> {
    let slow = Slow::new(LATENCY)?;
    let mut settings = Settings::default();
    settings.tail_entries_flush = 20;
    let mut writers = Vec::new();
    for seed in 1..=4 {
        let db = process(seed, Arc::new(slow.gate.clone()), settings.clone()).await?;
        writers.push((seed, db.open_or_create_namespace("docs", schema()?).await?));
    }
    let work = writers.iter().map(|(seed, docs)| async move {
        // One after the other, so that all come to know at about the same time that a flush is due.
        sleep(LATENCY * 2 * u32::try_from(*seed).unwrap()).await;
        for n in 0..60 {
            docs.write(row(seed * 1_000 + n)).await?;
            sleep(LATENCY * 6).await;
        }
        Ok::<_, Error>(())
    });
    ends("the writers", futures::future::try_join_all(work)).await?;
    sleep(Duration::from_mins(1)).await;
    let (flushed, built) = (slow.names("/manifest/").await?.len(), slow.names("rows.parquet").await?.len());
    // Every 20 entries one is due. If all flushed at once, most would be built in vain and the rest be small.
    assert!(flushed > 4 && built <= 36, "{built} segments were built for {flushed} flushes of 240 entries");
    assert_eq!(writers[0].1.snapshot(Consistency::Strong).await?.count().await?, 240);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn new_documents_leave_no_dead_rows_behind_automatic_flushes() -> Result<()> {
    let slow = Slow::new(LATENCY)?;
    let mut settings = Settings::default();
    (settings.tail_entries_flush, settings.tail_entries_max) = (8, 64);
    let docs = slow.open(settings).await?;
    for id in 0..200 {
        docs.write(row(id)).await?;
    }
    docs.flush().await?;
    assert!(slow.names("rows.parquet").await?.len() > 4, "it is flushed while it is written");
    assert_eq!(slow.names("deletes.").await?, [""; 0]);
    assert_eq!(docs.snapshot(Consistency::Strong).await?.count().await?, 200);
    Ok(())
}

fn uncached() -> Settings {
    let mut settings = Settings::default();
    settings.cache_bytes = 0;
    settings
}

/// Rows in two segments, which a second process then merged; the files of the two are gone.
async fn collected(slow: &Slow) -> Result<Namespace> {
    let docs = slow.open(uncached()).await?;
    for part in [0..40, 40..80] {
        docs.write(rows(part)).await?;
        docs.flush().await?;
    }
    let old = slow.names("/segment/").await?;
    let other = open(Arc::new(slow.memory.clone()), uncached()).await?;
    assert_eq!(other.compact().await?.merged, 2);
    for name in old {
        slow.lose(&name).await?;
    }
    Ok(docs)
}

#[tokio::test(start_paused = true)]
async fn files_that_a_newer_manifest_replaced_are_no_error() -> Result<()> {
    let ids: Vec<u64> = (0..80).collect();
    let count = |docs: &Namespace| {
        let docs = docs.clone();
        async move { docs.snapshot(Consistency::Strong).await?.count().await }
    };
    for read in ["query", "get", "scan", "aggregate", "recall", "write", "flush", "compact"] {
        let slow = Slow::new(LATENCY)?;
        let docs = collected(&slow).await?;
        match read {
            "query" => assert_eq!(docs.query(nearest(33)).await?.rows.len(), 1),
            "get" => assert!(docs.get(&ids).await?.iter().all(Option::is_some)),
            "scan" => assert_eq!(docs.scan(Scan::new()).await?.rows.len(), 80),
            "aggregate" => {
                let sum = elacsym::Aggregation::new().aggregate("sum", elacsym::Aggregate::sum("n"));
                assert!(docs.aggregate(&sum).await.is_ok());
            }
            "recall" => {
                let report = docs.measure_recall(elacsym::RecallCheck::of("v").sample(3)).await?;
                assert_eq!(report.queries, 3);
            }
            "write" => {
                let batch = WriteBatch::new().patch_by_filter(Filter::lt("n", 50_u64), [("n", 7_u64)]);
                assert_eq!(docs.write(batch).await?.patched, 50);
            }
            "flush" => {
                docs.write(WriteBatch::new().delete(1)).await?;
                docs.flush().await?;
                assert_eq!(count(&docs).await?, 79);
            }
            _ => {
                docs.compact().await?;
                assert_eq!(count(&docs).await?, 80);
            }
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_whose_files_were_replaced_says_so_and_a_lost_file_is_damage() -> Result<()> {
    let slow = Slow::new(LATENCY)?;
    let docs = collected(&slow).await?;
    let old = docs.snapshot(Consistency::Strong).await?;
    for error in [
        old.query(nearest(3)).await.unwrap_err(),
        old.get([3]).await.unwrap_err(),
        old.scan(Scan::new()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::SnapshotExpired, "{error}");
        assert!(!error.is_retryable() && error.to_string().contains("new one"), "{error}");
    }
    let new = docs.snapshot(Consistency::Eventual).await?;
    assert_eq!(new.scan(Scan::new()).await?.rows.len(), 80);
    slow.lose("rows.parquet").await?;
    let lost = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        assert!(error.to_string().contains("rows.parquet"), "{error}");
    };
    lost(new.scan(Scan::new()).await.unwrap_err());
    lost(docs.scan(Scan::new()).await.unwrap_err());
    lost(docs.get([3]).await.unwrap_err());
    lost(docs.query(nearest(3).select(elacsym::Select::All)).await.unwrap_err());
    lost(docs.write(WriteBatch::new().patch(Document::new(3).with("n", 9_u64))).await.unwrap_err());
    docs.write(row(500)).await?;
    docs.flush().await?;
    lost(docs.compact().await.unwrap_err());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_reader_comes_to_know_of_a_compaction_now_and_then() -> Result<()> {
    let memory = Arc::new(MemoryBackend::new());
    let writer = open(memory.clone(), uncached()).await?;
    for part in [0..40, 40..80] {
        writer.write(rows(part)).await?;
        writer.flush().await?;
    }
    let counting = Arc::new(CountingBackend::new(memory));
    let reader = open(counting.clone(), uncached()).await?;
    reader.get([1]).await?;
    writer.compact().await?;
    let mut looks = Vec::new();
    for _ in 0..25 {
        sleep(Duration::from_mins(1)).await;
        counting.reset();
        reader.get([1]).await?;
        tokio::task::yield_now().await;
        looks.push(counting.count(Verb::List));
    }
    assert!(looks[..8].iter().all(|looks| *looks == 0), "{looks:?}");
    assert!((1..=3).contains(&looks.iter().sum::<usize>()), "{looks:?}");
    counting.reset();
    sleep(Duration::from_hours(3)).await;
    assert_eq!(counting.requests(), 0, "an idle namespace asks nothing");
    Ok(())
}

/// Two vector columns, the second of which most documents lack.
async fn two_columns(backend: &MemoryBackend, index_rows_min: usize) -> Result<Namespace> {
    let mut settings = Settings::default();
    settings.index_rows_min = index_rows_min;
    let db = database(Arc::new(backend.clone()), settings).await?;
    let schema = Schema::builder(IdKind::U64)
        .vector("a", VectorType::F32, 2, Metric::L2Squared)
        .vector("b", VectorType::F32, 2, Metric::L2Squared)
        .build()?;
    db.open_or_create_namespace("pairs", schema).await
}

#[tokio::test(start_paused = true)]
async fn what_is_compact_is_left_alone_and_every_column_gets_its_index() -> Result<()> {
    let backend = MemoryBackend::new();
    let docs = two_columns(&backend, 250).await?;
    let vector = |id: u16| Vector::from([f32::from(id), f32::from(id % 17)]);
    let document = |id: u16| {
        let document = Document::new(u64::from(id));
        // 200 have only the one, 100 both.
        if id < 100 {
            document.with("b", vector(id)).with("a", vector(id))
        } else {
            document.with("a", vector(id))
        }
    };
    docs.write(WriteBatch::new().upsert_all((0..300).map(document))).await?;
    docs.flush().await?;
    assert_eq!(docs.compact().await?.merged, 0, "`b` has too few vectors for an index");
    // By a lower limit it has enough.
    let docs = two_columns(&backend, 80).await?;
    assert_eq!(docs.compact().await?.merged, 1);
    assert_eq!(docs.compact().await?.merged, 0);
    let listed = backend.list(&elacsym::storage::ObjectPrefix::root(), None).await?;
    let sets = listed.iter().filter_map(|info| info.key.as_str().split_once("/centroids/"));
    let births: Vec<&str> = sets.map(|(_, name)| &name[..21]).collect();
    // A set for each column and none of them twice: one born with the flush, the other with the compaction.
    assert_eq!(births, ["00000000000000000000-", "00000000000000000001-"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn writes_that_are_refused_flush_once_the_store_lets_them() -> Result<()> {
    let slow = Slow::new(LATENCY)?;
    let mut settings = Settings::default();
    (settings.tail_entries_flush, settings.tail_entries_max) = (2, 4);
    settings.backpressure = Backpressure::Refuse;
    let docs = slow.open(settings).await?;
    slow.gate.refuse(Verb::Create, "/manifest/");
    let mut written = 0;
    let refused = loop {
        match docs.write(row(written)).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "nothing can be flushed, and everything is accepted");
    };
    assert_eq!(refused.kind(), ErrorKind::Backpressure);
    sleep(Duration::from_mins(10)).await;
    assert_eq!(docs.write(row(written)).await.unwrap_err().kind(), ErrorKind::Backpressure);

    slow.gate.release();
    for _ in 0..10 {
        if docs.write(row(written)).await.is_ok() {
            return Ok(());
        }
        sleep(Duration::from_mins(2)).await;
    }
    panic!("nobody calls flush, and no write gets through");
}
