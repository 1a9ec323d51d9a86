//! The vector index as a user meets it: the recall that was asked for, after every way that rows come to lie in
//! segments, with filters, and in few round trips.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test panics")]
#![expect(clippy::disallowed_methods, reason = "round trips are counted by tokio's paused clock")]

use std::collections::BTreeMap;
use std::sync::Arc;

use elacsym::schema::AttributeType;
use elacsym::storage::{CountingBackend, DelayedBackend, MemoryBackend, StorageBackend};
use elacsym::{
    Consistency, Document, Filter, IdKind, Metric, Namespace, Query, Result, Schema, Select, Vector,
    VectorType, WriteBatch,
};

use crate::common::fixtures::small_index_database;
use crate::common::rng::Rng;

const DIMENSION: usize = 40;
const LIMIT: usize = 10;

/// About normal, of deviation 1.
fn normal(rng: &mut Rng) -> f32 {
    (0..12).map(|_| f32::from(u16::try_from(rng.bits() >> 48).unwrap()) / 65_536.0).sum::<f32>() - 6.0
}

/// A point around one of some centres that lie near each other.
fn point(rng: &mut Rng) -> Vec<f32> {
    let mut centre = Rng::from_state(rng.bits() % 60 + 1_000);
    (0..DIMENSION).map(|_| normal(&mut centre) + 0.8 * normal(rng) + 0.5).collect()
}

/// What is in the namespace.
#[derive(Default)]
struct Model {
    rows: BTreeMap<u64, Vec<f32>>,
}

impl Model {
    fn nearest(&self, metric: Metric, query: &[f32], matches: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut all: Vec<(f64, u64)> = self
            .rows
            .iter()
            .filter(|(id, _)| matches(**id))
            .map(|(id, row)| (distance(metric, query, row), *id))
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        all.truncate(LIMIT);
        all.into_iter().map(|(_, id)| id).collect()
    }
}

fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let sum = |term: fn(f64, f64) -> f64, a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| term(f64::from(*a), f64::from(*b))).sum()
    };
    match metric {
        Metric::L2Squared => sum(|a, b| (a - b) * (a - b), a, b),
        Metric::Dot => -sum(|a, b| a * b, a, b),
        Metric::Cosine => {
            let dot = |a: &[f32], b: &[f32]| sum(|a, b| a * b, a, b);
            1.0 - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        }
        other => panic!("no distance by {other:?} here"),
    }
}

fn schema(metric: Metric, element: VectorType) -> Result<Schema> {
    Schema::builder(IdKind::U64)
        .attribute("n", AttributeType::Int)
        .vector("v", element, DIMENSION, metric)
        .vector("w", VectorType::F16, DIMENSION, metric)
        .build()
}

fn document(id: u64, row: &[f32]) -> Document {
    let number = i64::try_from(id).unwrap();
    Document::new(id)
        .with("n", number)
        .with("v", Vector::F32(row.to_vec()))
        .with("w", Vector::F32(row.to_vec()))
}

async fn upsert(
    docs: &Namespace,
    model: &mut Model,
    rng: &mut Rng,
    ids: impl Iterator<Item = u64>,
) -> Result<()> {
    let mut batch = WriteBatch::new();
    for id in ids {
        let row = point(rng);
        batch = batch.upsert(document(id, &row));
        model.rows.insert(id, row);
    }
    docs.write(batch).await.map(drop)
}

/// Queries with their true answers.
struct Truth(Vec<(Vec<f32>, Vec<u64>)>);

impl Truth {
    fn of(model: &Model, metric: Metric, matches: impl Fn(u64) -> bool) -> Self {
        let mut rng = Rng::from_state(77);
        let query = |_| {
            let vector = point(&mut rng);
            let truth = model.nearest(metric, &vector, &matches);
            (vector, truth)
        };
        Self((0..60).map(query).collect())
    }

    /// The mean share of the true nearest that queries find; each must find as many hits as there can be.
    async fn recall(&self, docs: &Namespace, column: &str, ask: impl Fn(Query) -> Query) -> Result<f64> {
        let (mut found, mut wanted) = (0, 0);
        let snapshot = docs.snapshot(Consistency::Strong).await?;
        for (vector, truth) in &self.0 {
            let query = Query::nearest(column, vector.as_slice()).limit(LIMIT);
            let hits = snapshot.query(ask(query).select(Select::Only(Vec::new()))).await?.hits()?;
            assert_eq!(hits.len(), truth.len(), "as many hits as match");
            assert!(hits.windows(2).all(|pair| pair[0].distance() <= pair[1].distance()));
            let ids: Vec<_> = hits.iter().map(|hit| hit.document.id().clone()).collect();
            found += truth.iter().filter(|id| ids.contains(&(**id).into())).count();
            wanted += truth.len();
        }
        Ok(f64::from(u32::try_from(found).unwrap()) / f64::from(u32::try_from(wanted).unwrap()))
    }
}

async fn check(docs: &Namespace, model: &Model, metric: Metric, stage: &str) -> Result<()> {
    let truth = Truth::of(model, metric, |_| true);
    for target in [0.8, 0.9, 0.95, 0.99] {
        let share = truth.recall(docs, "v", |query| query.recall(target)).await?;
        assert!(share >= target - 0.02, "{stage}, {metric:?}: recall {share} of {target}");
    }
    let share = truth.recall(docs, "w", |query| query).await?;
    assert!(share >= 0.93, "{stage}, {metric:?}, second column: recall {share}");
    let share = truth.recall(docs, "v", Query::exact).await?;
    assert!(share >= 0.999, "{stage}, {metric:?}: exact search found {share}");
    Ok(())
}

/// Whether recall holds after flushes, updates, deletes, compaction and reopening.
async fn holds(metric: Metric) -> Result<()> {
    let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    let open = || small_index_database(1).open_backend(Arc::clone(&backend));
    let docs = open().await?.create_namespace("docs", schema(metric, VectorType::F32)?).await?;
    let (mut model, mut rng) = (Model::default(), Rng::from_state(5));
    upsert(&docs, &mut model, &mut rng, 0..4_000).await?;
    check(&docs, &model, metric, "in the tail").await?;
    docs.flush().await?;
    let probed = docs.query(Query::nearest("v", point(&mut rng))).await?.stats;
    assert!(probed.clusters_probed > 0 && probed.rows_scanned < 4_000, "{probed:?}");
    check(&docs, &model, metric, "after a flush").await?;
    for round in 0..10 {
        let fresh = 4_000 + round * 400;
        upsert(&docs, &mut model, &mut rng, (fresh..fresh + 400).chain(round * 100..round * 100 + 60))
            .await?;
        let gone: Vec<u64> = (0..50).map(|n| 1_500 + round * 50 + n).collect();
        docs.write(gone.iter().fold(WriteBatch::new(), |batch, id| batch.delete(*id))).await?;
        model.rows.retain(|id, _| !gone.contains(id));
        docs.flush().await?;
    }
    check(&docs, &model, metric, "after ten flushes").await?;
    docs.compact().await?;
    check(&docs, &model, metric, "after compaction").await?;
    let docs = open().await?.open_namespace("docs").await?;
    check(&docs, &model, metric, "after reopening").await?;
    let all = docs.scan(elacsym::Scan::new().limit(10_000)).await?.rows.len();
    assert_eq!(all, model.rows.len());
    Ok(())
}

#[tokio::test]
async fn recall_by_distance_holds_in_every_state() -> Result<()> {
    holds(Metric::L2Squared).await
}

#[tokio::test]
async fn recall_by_angle_holds_in_every_state() -> Result<()> {
    holds(Metric::Cosine).await
}

#[tokio::test]
async fn recall_by_product_holds_in_every_state() -> Result<()> {
    holds(Metric::Dot).await
}

#[tokio::test]
async fn filters_of_any_width_keep_the_recall_and_always_find_what_there_is() -> Result<()> {
    let metric = Metric::Cosine;
    let docs = small_index_database(1).open_backend(Arc::new(MemoryBackend::new())).await?;
    let docs = docs.create_namespace("docs", schema(metric, VectorType::F32)?).await?;
    let (mut model, mut rng) = (Model::default(), Rng::from_state(9));
    upsert(&docs, &mut model, &mut rng, 0..8_000).await?;
    docs.flush().await?;
    for (name, most) in [("half", 4_000), ("a fifth", 1_600), ("a hundredth", 80), ("ten", 10), ("three", 3)]
    {
        let filter = Filter::lt("n", most);
        let matches = |id| id < u64::try_from(most).unwrap();
        let truth = Truth::of(&model, metric, matches);
        let share = truth.recall(&docs, "v", |query| query.filter(filter.clone())).await?;
        assert!(share >= 0.93, "{name}: recall {share}");
    }
    Ok(())
}

#[tokio::test]
async fn elements_of_every_type_are_indexed() -> Result<()> {
    for element in [VectorType::F16, VectorType::I8] {
        let metric = Metric::L2Squared;
        let docs = small_index_database(1).open_backend(Arc::new(MemoryBackend::new())).await?;
        let schema = Schema::builder(IdKind::U64).vector("v", element, DIMENSION, metric).build()?;
        let docs = docs.create_namespace("docs", schema).await?;
        let (mut model, mut rng) = (Model::default(), Rng::from_state(13));
        let mut batch = WriteBatch::new();
        for id in 0..3_000 {
            let row: Vec<f32> =
                point(&mut rng).iter().map(|x| (x * 12.0).round().clamp(-127.0, 127.0)).collect();
            let vector = match element {
                #[expect(clippy::cast_possible_truncation, reason = "it was clamped")]
                VectorType::I8 => Vector::I8(row.iter().map(|x| *x as i8).collect()),
                _ => Vector::F32(row.clone()),
            };
            model.rows.insert(id, row);
            // Some have none.
            let document = Document::new(id);
            batch = batch.upsert(if id % 10 == 3 { document } else { document.with("v", vector) });
        }
        model.rows.retain(|id, _| id % 10 != 3);
        docs.write(batch).await?;
        docs.flush().await?;
        let mut found = 0;
        for _ in 0..100 {
            let query: Vec<f32> =
                point(&mut rng).iter().map(|x| (x * 12.0).round().clamp(-127.0, 127.0)).collect();
            let truth = model.nearest(metric, &query, |_| true);
            #[expect(clippy::cast_possible_truncation, reason = "it was clamped")]
            let vector = match element {
                VectorType::I8 => Vector::I8(query.iter().map(|x| *x as i8).collect()),
                _ => Vector::F32(query),
            };
            let response = docs.query(Query::nearest("v", vector).limit(LIMIT)).await?;
            let ids: Vec<_> = response.hits()?.iter().map(|hit| hit.document.id().clone()).collect();
            found += truth.iter().filter(|id| ids.contains(&(**id).into())).count();
        }
        assert!(found >= 930, "{element:?}: {found} of 1000");
    }
    Ok(())
}

#[tokio::test]
async fn rows_that_cannot_be_told_apart_are_all_found() -> Result<()> {
    let docs = small_index_database(1).open_backend(Arc::new(MemoryBackend::new())).await?;
    let schema = Schema::builder(IdKind::U64).vector("v", VectorType::F32, 3, Metric::L2Squared).build()?;
    let docs = docs.create_namespace("docs", schema).await?;
    let same = |id: u64| Document::new(id).with("v", Vector::from([1.0, 2.0, 3.0]));
    docs.write((0..5_000).fold(WriteBatch::new(), |batch, id| batch.upsert(same(id)))).await?;
    docs.flush().await?;
    let response = docs.query(Query::nearest("v", [1.0, 2.0, 3.0]).limit(20)).await?;
    assert!(response.distances() == [Some(0.0); 20]);
    let far = docs.query(Query::nearest("v", [1e14, -1e14, 0.0]).limit(20)).await?;
    assert_eq!(far.rows.len(), 20);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_cold_query_takes_few_round_trips() -> Result<()> {
    let memory: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    let db = small_index_database(1).open_backend(Arc::clone(&memory)).await?;
    let docs = db.create_namespace("docs", schema(Metric::L2Squared, VectorType::F32)?).await?;
    let (mut model, mut rng) = (Model::default(), Rng::from_state(21));
    upsert(&docs, &mut model, &mut rng, 0..6_000).await?;
    docs.flush().await?;

    let second = std::time::Duration::from_secs(1);
    let counting = CountingBackend::new(memory);
    let slow: Arc<dyn StorageBackend> =
        Arc::new(DelayedBackend::new(Arc::new(counting.clone()), &elacsym::env::Env::current()?, second));
    let db = small_index_database(1).open_backend(slow).await?;
    let docs = db.open_namespace("docs").await?;
    let snapshot = docs.snapshot(Consistency::Eventual).await?;
    counting.reset();
    let start = tokio::time::Instant::now();
    let first = snapshot.query(Query::nearest("v", point(&mut rng))).await?;
    let trips = start.elapsed().as_secs();
    assert!(
        first.stats.clusters_probed > 0 && trips <= 3,
        "{trips} round trips: records, exact vectors, rows"
    );
    assert!(counting.requests() <= 40, "{} requests", counting.requests());
    Ok(())
}
