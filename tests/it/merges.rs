//! What merges make of segments whose rows are in clusters: each cluster in one of them, whatever came in which order, and
//! as many clusters as there are rows for.
#![expect(clippy::unwrap_used, reason = "a test panics")]
#![expect(clippy::disallowed_methods, reason = "the paused clock is what is read")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use elacsym::env::Env;
use elacsym::storage::{CountingBackend, DelayedBackend, MemoryBackend};
use elacsym::{
    Database, Document, IdKind, Metric, Namespace, Query, RecallCheck, Result, Schema, Settings, Vector,
    VectorType, WriteBatch,
};
use tokio::time::Instant;

use crate::common::rng::Rng;

const DIMENSION: usize = 96;
const CENTERS: u64 = 40;
/// Every document has a vector but one in this many.
const WITHOUT_VECTOR: u64 = 50;

fn settings() -> Settings {
    // Segments of up to 6.4 MiB: 17,000 of these rows.
    Settings::default().merge_memory(16 << 20).index_rows_min(400).auto_compact(false)
}

async fn create(store: &MemoryBackend) -> Result<Namespace> {
    let schema = Schema::builder(IdKind::U64)
        .vector("v", VectorType::F32, DIMENSION, Metric::L2Squared)
        .vector("w", VectorType::F32, 4, Metric::Cosine)
        .build()?;
    let db = Database::builder().settings(settings()).open_backend(Arc::new(store.clone())).await?;
    db.open_or_create_namespace("docs", schema).await
}

fn component(bits: u64) -> f32 {
    f32::from(u16::try_from(bits & 0xffff).unwrap()) / 65_536.0 - 0.5
}

/// A vector near one of some centers.
fn vector(seed: u64) -> Vec<f32> {
    let (mut center, mut noise) = (Rng::from_state(seed % CENTERS + 1), Rng::from_state(seed + 1_000));
    (0..DIMENSION).map(|_| 4.0 * component(center.bits() >> 20) + component(noise.bits() >> 20)).collect()
}

fn document(id: u64, seed: u64) -> Document {
    // The second column goes with the first, as embeddings of the parts of a document do.
    let vector = vector(seed);
    let document = Document::new(id).with("w", Vector::F32(vector.iter().copied().take(4).collect()));
    if id.is_multiple_of(WITHOUT_VECTOR) { document } else { document.with("v", Vector::F32(vector)) }
}

async fn write(docs: &Namespace, ids: impl Iterator<Item = u64>, seed: impl Fn(u64) -> u64) -> Result<()> {
    let ids: Vec<u64> = ids.collect();
    for ids in ids.chunks(2_000) {
        docs.write(ids.iter().map(|id| document(*id, seed(*id))).collect::<WriteBatch>()).await?;
    }
    docs.flush().await.map(drop)
}

async fn parts(docs: &Namespace) -> Result<usize> {
    Ok(docs.query(Query::nearest("v", vector(1))).await?.stats.parts)
}

/// Checks that the documents are those that were written, and that searches find them.
async fn check(
    docs: &Namespace,
    count: u64,
    seed: impl Fn(u64) -> u64,
    is_gone: impl Fn(u64) -> bool,
) -> Result<()> {
    let alive = (0..count).filter(|id| !is_gone(*id)).count();
    assert_eq!(docs.count().await?, alive as u64);
    for id in (0..count).step_by(397) {
        let found = docs.get([id]).await?.pop().flatten();
        assert_eq!(found, (!is_gone(id)).then(|| document(id, seed(id))), "{id}");
    }
    let measured = docs.measure_recall(RecallCheck::of("v").sample(60).recall(0.95)).await?;
    assert!(measured.recall >= 0.92, "{measured:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compaction_leaves_each_cluster_to_one_segment_and_then_nothing_to_do() -> Result<()> {
    const COUNT: u64 = 40_000;
    let store = MemoryBackend::new();
    let docs = create(&store).await?;
    // The first flush has a tenth of the rows, and the clusters are made for these.
    write(&docs, 0..COUNT / 10, |id| id).await?;
    write(&docs, COUNT / 10..COUNT, |id| id).await?;
    let seed = |id: u64| if id.is_multiple_of(7) { id + COUNT } else { id };
    write(&docs, (0..COUNT).filter(|id| id.is_multiple_of(7)), seed).await?;
    let is_gone = |id: u64| id.is_multiple_of(11);
    docs.write((0..COUNT).filter(|id| is_gone(*id)).fold(WriteBatch::new(), WriteBatch::delete)).await?;
    docs.flush().await?;

    let report = docs.compact().await?;
    assert!((3..=4).contains(&report.written), "{report}");
    assert_eq!(docs.compact().await?.merged, 0, "clusters are apart, and as many as there are rows for");
    check(&docs, COUNT, seed, is_gone).await?;

    // Another round: what was merged is merged again with what came later, by the clusters that are known.
    write(&docs, 0..2_000, |id| id + 3 * COUNT).await?;
    let seed = |id: u64| if id < 2_000 { id + 3 * COUNT } else { seed(id) };
    let is_gone = |id: u64| id >= 2_000 && is_gone(id);
    assert!(parts(&docs).await? > report.written);
    docs.compact().await?;
    assert_eq!(docs.compact().await?.merged, 0);
    check(&docs, COUNT, seed, is_gone).await?;
    check(&create(&store).await?, COUNT, seed, is_gone).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_in_the_order_of_their_clusters_are_merged_like_any() -> Result<()> {
    const COUNT: u64 = 30_000;
    let docs = create(&MemoryBackend::new()).await?;
    // Each flush has the rows of some centers only.
    let sorted = |id: u64| id / (COUNT / CENTERS) + CENTERS * id;
    for part in 0..5 {
        write(&docs, part * COUNT / 5..(part + 1) * COUNT / 5, sorted).await?;
    }
    docs.compact().await?;
    assert_eq!(docs.compact().await?.merged, 0);
    check(&docs, COUNT, sorted, |_| false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn most_rows_may_have_one_vector() -> Result<()> {
    const COUNT: u64 = 40_000;
    let docs = create(&MemoryBackend::new()).await?;
    let hub = |id: u64| if id.is_multiple_of(4) { id } else { 3 };
    write(&docs, 0..COUNT, hub).await?;
    let report = docs.compact().await?;
    assert_eq!(docs.compact().await?.merged, 0, "{report}");
    assert_eq!(docs.count().await?, COUNT);
    let equal = docs.query(Query::nearest("v", vector(3)).limit(100)).await?.hits()?;
    let equal: BTreeSet<String> = equal.iter().map(|hit| hit.document.id().to_string()).collect();
    assert_eq!(equal.len(), 100);
    check(&docs, COUNT, hub, |_| false).await
}

/// What a query costs in a process that knows the namespace and has nothing cached.
async fn cost(store: &MemoryBackend) -> Result<(usize, u64, usize)> {
    let delay = Duration::from_millis(50);
    let delayed = DelayedBackend::new(Arc::new(store.clone()), &Env::current()?, delay);
    let counting = CountingBackend::new(Arc::new(delayed.clone()));
    let db = Database::builder().settings(settings()).open_backend(Arc::new(counting.clone())).await?;
    let docs = db.open_namespace("docs").await?;
    counting.reset();
    let start = Instant::now();
    let stats = docs.query(Query::nearest("v", vector(11)).recall(0.95)).await?.stats;
    Ok((stats.parts, delayed.round_trips(start.elapsed()), counting.requests()))
}

#[tokio::test(start_paused = true)]
async fn round_trips_do_not_grow_with_segments() -> Result<()> {
    const COUNT: u64 = 24_000;
    let one = MemoryBackend::new();
    write(&create(&one).await?, 1..COUNT / 3, |id| id).await?;
    let many = MemoryBackend::new();
    let docs = create(&many).await?;
    for part in 0..6 {
        write(&docs, (1..COUNT).filter(|id| id % 6 == part), |id| id).await?;
    }
    let ((parts, trips, _), (more_parts, more_trips, more_requests)) =
        (cost(&one).await?, cost(&many).await?);
    assert_eq!((parts, more_parts), (1, 6));
    assert_eq!(more_trips, trips, "of six segments and of one");
    // Merged into segments with clusters of their own, as many rows take fewer requests.
    docs.compact().await?;
    let (merged_parts, merged_trips, requests) = cost(&many).await?;
    assert_eq!((merged_parts, merged_trips), (2, trips));
    assert!(requests < more_requests / 2, "{requests} instead of {more_requests}");
    Ok(())
}
