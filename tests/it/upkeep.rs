//! A namespace that nobody looks after: its segments stay few, its dead rows go, and what was loaded in large batches is
//! indexed when it is flushed.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test panics")]
#![expect(clippy::disallowed_methods, reason = "it waits for tasks of their own")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use elacsym::query::QueryStats;
use elacsym::schema::TextOptions;
use elacsym::storage::{MemoryBackend, ObjectPrefix, StorageBackend};
use elacsym::{
    Database, Document, IdKind, Metric, Namespace, Query, RecallCheck, Result, Schema, Settings, TextQuery,
    Value, VectorType, WriteBatch,
};

use futures::poll;

use crate::common::rng::Rng;

const DIMENSION: usize = 16;

fn schema() -> Result<Schema> {
    Schema::builder(IdKind::U64)
        .text("body", TextOptions::default())
        .vector("v", VectorType::F32, DIMENSION, Metric::L2Squared)
        .build()
}

async fn open(store: &MemoryBackend, settings: Settings) -> Result<Namespace> {
    let db = Database::builder().settings(settings).open_backend(Arc::new(store.clone())).await?;
    db.open_or_create_namespace("docs", schema()?).await
}

fn document(rng: &mut Rng, id: u64, body: &str) -> Document {
    let component = |_| f32::from(u16::try_from(rng.bits() >> 48).unwrap()) / 65_536.0;
    let vector: Vec<f32> = (0..DIMENSION).map(component).collect();
    Document::new(id).with("v", vector).with("body", body)
}

async fn stats(docs: &Namespace) -> Result<QueryStats> {
    Ok(docs.query(Query::nearest("v", vec![0.5; DIMENSION])).await?.stats)
}

/// Waits until the namespace is as `is_right` says.
async fn settle(
    docs: &Namespace,
    is_right: impl Fn(&QueryStats) -> bool + Send + Sync,
) -> Result<QueryStats> {
    let settled = async {
        loop {
            let stats = stats(docs).await?;
            if is_right(&stats) {
                return Ok(stats);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let settled = tokio::time::timeout(Duration::from_mins(2), settled).await;
    settled.expect("it comes to rest")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushes_do_not_pile_up_and_nothing_is_lost_in_merges() -> Result<()> {
    let store = MemoryBackend::new();
    let docs = open(&store, Settings::default().index_rows_min(200)).await?;
    let (mut rng, mut model) = (Rng::from_state(7), BTreeMap::new());
    for round in 0..40_u64 {
        let first = rng.bits() % 840;
        let ids = first..first + 60;
        let body = format!("round{round}");
        let batch =
            ids.clone().fold(WriteBatch::new(), |batch, id| batch.upsert(document(&mut rng, id, &body)));
        let gone = (first + 100) % 900;
        docs.write(batch.delete(gone)).await?;
        model.extend(ids.map(|id| (id, body.clone())));
        model.remove(&gone);
        // Merges go on meanwhile.
        docs.flush().await?;
    }
    let settled = settle(&docs, |stats| stats.parts < 4).await?;
    assert!(settled.rows < 40 * 60, "merges drop dead rows: {settled}");

    // In this process, and in one that has seen nothing of all this.
    for docs in [docs, open(&store, Settings::default()).await?] {
        assert_eq!(docs.count().await?, model.len() as u64);
        let bodies = docs.get(0..900_u64).await?.into_iter().flatten().map(|document| {
            let Some(Value::String(body)) = document.get("body").cloned() else {
                panic!("a document without body")
            };
            (document.id().to_string().parse().unwrap(), body)
        });
        assert_eq!(bodies.collect::<BTreeMap<u64, String>>(), model);
        let last = docs.query(Query::text(TextQuery::any("body", "round39")).limit(100)).await?.hits()?;
        assert_eq!(last.len(), model.values().filter(|body| *body == "round39").count());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_loaded_in_large_batches_is_indexed_when_it_is_flushed() -> Result<()> {
    // Without automatic compaction: the flush itself does it.
    let settings = Settings::default().auto_compact(false).index_rows_min(200).reference_bytes_min(20_000);
    let docs = open(&MemoryBackend::new(), settings).await?;
    let mut rng = Rng::from_state(8);
    for batch in 0..5_u64 {
        // The last 100 documents of each batch come again in the next.
        let ids = batch * 900..batch * 900 + 1_000;
        docs.write(ids.map(|id| document(&mut rng, id, "some text")).collect::<WriteBatch>()).await?;
    }
    let before = stats(&docs).await?;
    assert_eq!((before.rows_unindexed, before.clusters_probed), (5_000, 0), "{before}");
    let report = docs.flush().await?;
    assert_eq!(report.rows, 4_600);
    let after = stats(&docs).await?;
    assert_eq!((after.parts, after.rows, after.rows_unindexed), (1, 4_600, 0), "{after}");
    assert!(after.clusters_probed > 0 && after.rows_scanned < 4_600, "{after}");
    // Nothing is left to do, for a flush or a compaction.
    assert_eq!(docs.flush().await?.rows, 0);
    assert_eq!(docs.compact().await?.merged, 0);
    assert_eq!(docs.count().await?, 4_600);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clusters_become_as_many_as_a_namespace_that_grows_calls_for() -> Result<()> {
    let store = MemoryBackend::new();
    let docs = open(&store, Settings::default().index_rows_min(200)).await?;
    let mut rng = Rng::from_state(12);
    let sets = async || -> Result<usize> {
        let objects = store.list(&ObjectPrefix::root(), None).await?;
        Ok(objects.iter().filter(|object| object.key.as_str().contains("/centroids/")).count())
    };
    // The first flush makes a set for 250 rows, and 1,000 are too many for it.
    for round in 0..8_u64 {
        let ids = round * 250..(round + 1) * 250;
        docs.write(ids.map(|id| document(&mut rng, id, "some text")).collect::<WriteBatch>()).await?;
        docs.flush().await?;
        if round == 0 {
            assert_eq!(sets().await?, 1);
        }
    }
    let renewed = async {
        while sets().await? < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok::<_, elacsym::Error>(())
    };
    tokio::time::timeout(Duration::from_mins(2), renewed).await.expect("another set is made")?;
    docs.compact().await?;
    assert_eq!(docs.compact().await?.merged, 0);
    let sets_in_the_end = sets().await?;
    assert!(
        sets_in_the_end <= 4,
        "{sets_in_the_end} sets for a namespace that has grown to eight times its size"
    );
    assert_eq!(docs.count().await?, 2_000);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_die_are_dropped_and_a_compaction_waits_for_merges_under_way() -> Result<()> {
    let docs = open(&MemoryBackend::new(), Settings::default()).await?;
    let mut rng = Rng::from_state(9);
    let body = "a text that is long enough for a megabyte of them ".repeat(12);
    docs.write((0..3_000).map(|id| document(&mut rng, id, &body)).collect::<WriteBatch>()).await?;
    docs.flush().await?;
    docs.write((0..1_000_u64).fold(WriteBatch::new(), WriteBatch::delete)).await?;
    docs.flush().await?;
    let settled = settle(&docs, |stats| stats.rows == 2_000).await?;
    assert_eq!(settled.parts, 1, "{settled}");

    // Whatever merges by itself, `compact` leaves one segment when it returns.
    for round in 0..6_u64 {
        docs.write(document(&mut rng, 10_000 + round, "more")).await?;
        docs.flush().await?;
    }
    docs.compact().await?;
    let compacted = stats(&docs).await?;
    assert_eq!((compacted.parts, compacted.rows), (1, 2_006), "{compacted}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_that_merge_the_same_lose_nothing() -> Result<()> {
    let store = MemoryBackend::new();
    let settings = || Settings::default().index_rows_min(100);
    let spaces = [open(&store, settings()).await?, open(&store, settings()).await?];
    let mut rng = Rng::from_state(10);
    for round in 0..30_u64 {
        let docs = &spaces[usize::from(round % 2 == 1)];
        let documents = (0..40).map(|n| document(&mut rng, round * 30 + n, "text"));
        docs.write(documents.collect::<WriteBatch>()).await?;
        docs.flush().await?;
    }
    for docs in &spaces {
        docs.compact().await?;
        assert_eq!(docs.count().await?, 29 * 30 + 40);
        let found =
            docs.query(Query::nearest("v", vec![0.5; DIMENSION]).exact().limit(2_000)).await?.hits()?;
        assert_eq!(found.len(), 29 * 30 + 40);
    }
    Ok(())
}

#[tokio::test]
async fn a_compaction_that_nobody_waits_for_any_more_is_not_made_up_for() -> Result<()> {
    let settings = Settings::default().auto_compact(false).index_rows_min(200).reference_bytes_min(20_000);
    let docs = open(&MemoryBackend::new(), settings).await?;
    let mut rng = Rng::from_state(11);
    for id in 0..3_u64 {
        docs.write(document(&mut rng, id, "text")).await?;
        docs.flush().await?;
    }
    let (mut one, mut other) = (docs.compact(), docs.compact());
    assert!(poll!(&mut one).is_pending() && poll!(&mut other).is_pending());
    drop((one, other));
    docs.write((10..1_010).map(|id| document(&mut rng, id, "text")).collect::<WriteBatch>()).await?;
    docs.flush().await?;
    let stats = stats(&docs).await?;
    assert_eq!(
        (stats.parts, stats.rows_unindexed),
        (4, 3),
        "the flush indexed the batch and nothing else: {stats}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rounds_that_replace_rows_leave_recall_and_size_as_they_were() -> Result<()> {
    const ROWS: u64 = 4_000;
    let docs = open(&MemoryBackend::new(), Settings::default().index_rows_min(400)).await?;
    let mut rng = Rng::from_state(12);
    docs.write((0..ROWS).map(|id| document(&mut rng, id, "text")).collect::<WriteBatch>()).await?;
    docs.flush().await?;
    for round in 0..20_u64 {
        // One row in twenty, from all over.
        let ids = (0..ROWS).filter(|id| id % 20 == round % 20);
        docs.write(ids.map(|id| document(&mut rng, id, "text")).collect::<WriteBatch>()).await?;
        docs.flush().await?;
    }
    let settled = settle(&docs, |stats| stats.parts < 4).await?;
    assert!(settled.rows < ROWS * 3 / 2, "{settled}");
    assert!(settled.rows_unindexed < ROWS / 4, "{settled}");
    let lived_in = docs.measure_recall(RecallCheck::of("v").limit(10).sample(200)).await?;
    assert!(lived_in.recall > 0.93, "{lived_in:?}");
    // A compaction leaves nothing to do for another.
    docs.compact().await?;
    assert_eq!(docs.compact().await?.merged, 0);
    let fresh = docs.measure_recall(RecallCheck::of("v").limit(10).sample(200)).await?;
    assert!(lived_in.recall > fresh.recall - 0.03, "{lived_in:?} {fresh:?}");
    Ok(())
}
