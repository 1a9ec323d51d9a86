//! Recall on collections that are not tidy: rows that are one another's copies, regions where neighbours are harder to
//! find than elsewhere, filters that follow the space, columns with few vectors. What a caller measures from outside,
//! against distances in double precision, is at least what was asked for, and what the crate measures itself agrees.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test panics")]
#![expect(clippy::cast_precision_loss, reason = "counts of tests are small")]

use crate::common;
use crate::common::fixtures::{recall_allowance, small_index_database, small_index_settings};

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use common::rng::Rng;
use elacsym::schema::AttributeType;
use elacsym::storage::{
    ListPage, MemoryBackend, ObjectInfo, ObjectKey, ObjectPrefix, Payload, PutMode, StorageBackend,
};
use elacsym::{
    Consistency, Database, Document, Filter, IdKind, Metric, Namespace, Query, RecallCheck, Result, Schema,
    Select, Vector, VectorType, WriteBatch,
};

/// A row that a test wrote.
#[derive(Clone, Debug)]
struct Row {
    v: Option<Vec<f32>>,
    group: i64,
}

/// A namespace, and what it holds.
struct World {
    docs: Namespace,
    metric: Metric,
    rows: BTreeMap<u64, Row>,
    /// How much more was found than was asked for, each time.
    more: Vec<f64>,
}

/// Near enough to normal: the sum of twelve.
fn noise(rng: &mut Rng, dimension: usize, scale: f64) -> Vec<f32> {
    #[expect(clippy::cast_possible_truncation, reason = "components are single")]
    let component = |rng: &mut Rng| (((0..12).map(|_| rng.unit()).sum::<f64>() - 6.0) * scale) as f32;
    (0..dimension).map(|_| component(rng)).collect()
}

fn plus(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let sum = |term: fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(b).map(|(a, b)| term(f64::from(*a), f64::from(*b))).sum()
    };
    match metric {
        Metric::L2Squared => sum(|a, b| (a - b) * (a - b)),
        Metric::Dot => -sum(|a, b| a * b),
        Metric::Cosine => 1.0 - sum(|a, b| a * b) / (sum(|a, _| a * a) * sum(|_, b| b * b)).sqrt(),
        other => panic!("no distance by {other:?} here"),
    }
}

impl World {
    /// Vectors in `v`, which the order of the rows follows, and the same in `w`, which it does not.
    async fn new(metric: Metric, dimension: usize) -> Result<Self> {
        let schema = Schema::builder(IdKind::U64)
            .attribute("group", AttributeType::Int)
            .attribute("n", AttributeType::Int)
            .vector("v", VectorType::F32, dimension, metric)
            .vector("w", VectorType::F32, dimension, metric)
            .build()?;
        let db = small_index_database(1).open_backend(Arc::new(MemoryBackend::new()));
        let docs = db.await?.create_namespace("docs", schema).await?;
        Ok(Self { docs, metric, rows: BTreeMap::new(), more: Vec::new() })
    }

    async fn write(&mut self, rows: impl IntoIterator<Item = (u64, Row)>) -> Result<()> {
        let mut batch = WriteBatch::new();
        for (id, row) in rows {
            let number = i64::try_from(id * 7_919 % 10_007).unwrap();
            let mut document = Document::new(id).with("group", row.group).with("n", number);
            if let Some(v) = &row.v {
                document =
                    document.with("v", Vector::from(v.as_slice())).with("w", Vector::from(v.as_slice()));
            }
            batch = batch.upsert(document);
            self.rows.insert(id, row);
        }
        self.docs.write(batch).await.map(drop)
    }

    async fn delete(&mut self, ids: Range<u64>) -> Result<()> {
        self.docs.write(ids.clone().fold(WriteBatch::new(), WriteBatch::delete)).await?;
        self.rows.retain(|id, _| !ids.contains(id));
        Ok(())
    }

    /// The distances of the nearest, ascending.
    fn truth(&self, query: &[f32], limit: usize, matches: impl Fn(u64, &Row) -> bool) -> Vec<f64> {
        let rows = self.rows.iter().filter(|(id, row)| matches(**id, row));
        let mut all: Vec<f64> =
            rows.filter_map(|(_, row)| Some(distance(self.metric, query, row.v.as_ref()?))).collect();
        all.sort_by(f64::total_cmp);
        all.truncate(limit);
        all
    }

    /// The mean share of the nearest that is found. A hit counts if it is no farther than the last of the truth, and
    /// there are as many hits as there can be.
    async fn recall(
        &self,
        queries: &[Vec<f32>],
        limit: usize,
        ask: impl Fn(&[f32]) -> Query,
        matches: impl Fn(u64, &Row) -> bool,
    ) -> Result<f64> {
        let (mut found, mut wanted) = (0, 0);
        let snapshot = self.docs.snapshot(Consistency::Strong).await?;
        for query in queries {
            let truth = self.truth(query, limit, &matches);
            let Some(last) = truth.last() else { continue };
            let ask = ask(query).limit(limit).select(Select::Only(Vec::new()));
            let hits = snapshot.query(ask).await?.hits()?;
            assert_eq!(hits.len(), truth.len(), "as many hits as there can be");
            wanted += truth.len();
            for hit in hits {
                let id = hit.document.id().to_string().parse::<u64>().unwrap();
                let row = &self.rows[&id];
                assert!(matches(id, row), "{id} does not match");
                let at = distance(self.metric, query, row.v.as_ref().unwrap());
                found += usize::from(at <= last + last.abs().max(1e-9) * 1e-6);
            }
        }
        Ok(found as f64 / f64::from(u32::try_from(wanted).unwrap()).max(1.0))
    }

    /// All of it in both columns, for several numbers of hits and recalls.
    async fn check(&mut self, queries: &[Vec<f32>], stage: &str) -> Result<()> {
        for (limit, target) in [(1, 0.95), (10, 0.9), (10, 0.95), (10, 0.99), (100, 0.95)] {
            for column in ["v", "w"] {
                let ask = |query: &[f32]| Query::nearest(column, query).recall(target);
                let share = self.recall(queries, limit, ask, |_, _| true).await?;
                let least = target - recall_allowance(target, limit, queries.len());
                assert!(share >= least, "{stage}, {column}: {share} of {target} at {limit}");
                self.more.push(share - target);
            }
        }
        // Chance evens out over so many.
        let more = self.more.iter().sum::<f64>() / self.more.len() as f64;
        assert!(more >= 0.0, "{stage}: {more} than was asked for");
        Ok(())
    }
}

/// Centres of groups, far from each other.
fn centres(rng: &mut Rng, count: usize, dimension: usize, scale: f64) -> Vec<Vec<f32>> {
    (0..count).map(|_| noise(rng, dimension, scale)).collect()
}

/// Most rows have one and the same vector, as where an image or a text is missing. The others are found as if those
/// were not there, and what the crate measures and expects is what is found.
#[tokio::test]
async fn rows_with_one_vector_do_not_hide_the_others() -> Result<()> {
    let (mut measured, mut expected, mut cases) = (0.0, 0.0, 0.0);
    for (metric, share) in
        [(Metric::Dot, 0.8), (Metric::Dot, 0.95), (Metric::Dot, 0.99), (Metric::L2Squared, 0.9)]
    {
        let mut rng = Rng::new(31);
        let centres = centres(&mut rng, 30, 32, 1.0);
        let placeholder = noise(&mut rng, 32, 1.0);
        let point =
            |rng: &mut Rng| plus(&centres[usize::try_from(rng.below(30)).unwrap()], &noise(rng, 32, 0.5));
        let mut world = World::new(metric, 32).await?;
        let rows: Vec<_> = (0..12_000)
            .map(|id| {
                let v = if rng.chance(share) { placeholder.clone() } else { point(&mut rng) };
                (id, Row { v: Some(v), group: 0 })
            })
            .collect();
        world.write(rows).await?;
        world.docs.flush().await?;
        let queries: Vec<_> = (0..60).map(|_| point(&mut rng)).collect();
        world.check(&queries, &format!("{share} copies, {metric:?}")).await?;

        let report = world.docs.measure_recall(RecallCheck::of("v").sample(60)).await?;
        assert!(report.queries > 30, "different vectors are asked for: {report:?}");
        assert!(report.recall >= 0.94, "{report:?}");
        let outside = world.recall(&queries, 10, |q| Query::nearest("v", q), |_, _| true).await?;
        // Of 60 queries each is known to about 0.02.
        assert!((report.recall - outside).abs() < 0.06, "{report:?}, outside {outside}");
        assert!(report.expected - outside < 0.05, "{report:?}, outside {outside}");
        measured += report.recall - outside;
        expected += report.expected - outside;
        cases += 1.0;

        // The nearest to the placeholder are its copies, in order of ids, and few of them are looked at.
        let response = world.docs.query(Query::nearest("v", placeholder.clone()).limit(10)).await?;
        if metric == Metric::L2Squared {
            let copies = world.rows.iter().filter(|(_, row)| row.v.as_ref() == Some(&placeholder));
            let expected: Vec<String> = copies.take(10).map(|(id, _)| id.to_string()).collect();
            let ids: Vec<String> = response.hits()?.iter().map(|hit| hit.document.id().to_string()).collect();
            assert_eq!(ids, expected);
        }
        assert!(response.stats.rows_reranked < 1_000, "{:?}", response.stats);
    }
    let (measured, expected): (f64, f64) = (measured / cases, expected / cases);
    assert!(
        measured.abs() < 0.03 && expected < 0.03,
        "on average {measured} and {expected} above the outside"
    );
    Ok(())
}

/// A tenth of the rows lie in a blur where neighbours are spread over many clusters, the others in clear groups: who asks
/// in the blur alone gets what was asked for.
#[tokio::test]
async fn a_region_that_is_harder_than_the_others_is_searched_longer() -> Result<()> {
    for metric in [Metric::L2Squared, Metric::Cosine] {
        let mut rng = Rng::new(5);
        let centres = centres(&mut rng, 40, 24, 6.0);
        let blur = |rng: &mut Rng| plus(&[9.0; 24], &noise(rng, 24, 3.0));
        let mut world = World::new(metric, 24).await?;
        // In the order of their groups, as exports are.
        let rows: Vec<_> = (0..10_000)
            .map(|id| {
                let group = id / 225;
                let centre = centres.get(usize::try_from(group).unwrap());
                let v = match centre {
                    Some(centre) => plus(centre, &noise(&mut rng, 24, 0.3)),
                    None => blur(&mut rng),
                };
                (id, Row { v: Some(v), group: i64::try_from(group).unwrap() })
            })
            .collect();
        world.write(rows).await?;
        world.docs.flush().await?;
        let queries: Vec<_> = (0..60).map(|_| blur(&mut rng)).collect();
        world.check(&queries, &format!("{metric:?}, in the blur")).await?;
        let queries: Vec<_> = (0..60).map(|at| plus(&centres[at % 40], &noise(&mut rng, 24, 0.3))).collect();
        world.check(&queries, &format!("{metric:?}, in groups")).await?;
    }
    Ok(())
}

/// The same collection in every state that rows come to lie in.
#[tokio::test]
async fn recall_holds_in_every_state() -> Result<()> {
    let mut rng = Rng::new(17);
    let centres = centres(&mut rng, 50, 24, 1.0);
    let placeholder = noise(&mut rng, 24, 0.5);
    let point = |rng: &mut Rng| plus(&centres[usize::try_from(rng.below(50)).unwrap()], &noise(rng, 24, 0.6));
    let some = |rng: &mut Rng, ids: Range<u64>| -> Vec<(u64, Row)> {
        ids.map(|id| {
            let v = if rng.chance(0.5) { placeholder.clone() } else { point(rng) };
            (id, Row { v: Some(v), group: 0 })
        })
        .collect()
    };
    let mut world = World::new(Metric::Dot, 24).await?;
    world.write(some(&mut rng, 0..6_000)).await?;
    world.docs.flush().await?;
    let queries: Vec<_> = (0..60).map(|_| point(&mut rng)).collect();
    world.check(&queries, "after a flush").await?;
    for round in 0..3 {
        let fresh = 6_000 + round * 1_500;
        world.write(some(&mut rng, fresh..fresh + 1_500)).await?;
        world.write(some(&mut rng, round * 400..round * 400 + 200)).await?;
        world.delete(3_000 + round * 300..3_200 + round * 300).await?;
        world.docs.flush().await?;
    }
    world.check(&queries, "with four segments, updates and deletes").await?;
    world.docs.compact().await?;
    world.check(&queries, "after compaction").await?;
    Ok(())
}

/// Rows come in pairs, as versions of a text do, or parts of one that overlap. The nearest of a stored row is its sibling in
/// the same cluster, and a query has none.
#[tokio::test]
async fn siblings_promise_nothing_to_queries_without_one() -> Result<()> {
    let mut rng = Rng::new(19);
    let centres = centres(&mut rng, 40, 24, 1.0);
    let point = |rng: &mut Rng| plus(&centres[usize::try_from(rng.below(40)).unwrap()], &noise(rng, 24, 0.7));
    let mut world = World::new(Metric::L2Squared, 24).await?;
    let queries: Vec<_> = (0..60).map(|_| point(&mut rng)).collect();
    for segment in 0..4_u64 {
        for id in (segment * 2_000..segment * 2_000 + 2_000).step_by(2) {
            let one = point(&mut rng);
            let other = plus(&one, &noise(&mut rng, 24, 0.05));
            let row = |v| Row { v: Some(v), group: 0 };
            world.rows.extend([(id, row(one)), (id + 1, row(other))]);
        }
        let rows: Vec<_> = world.rows.range(segment * 2_000..).map(|(id, row)| (*id, row.clone())).collect();
        world.write(rows).await?;
        world.docs.flush().await?;
        for limit in [1, 2, 3, 5, 10] {
            let ask = |query: &[f32]| Query::nearest("v", query).recall(0.95);
            let share = world.recall(&queries, limit, ask, |_, _| true).await?;
            let least = 0.95 - recall_allowance(0.95, limit, queries.len());
            assert!(share >= least, "{segment}: {share} at {limit}");
        }
    }
    Ok(())
}

/// Filters that let half, a tenth and a hundredth of the rows through: by chance, and by where they lie, which may be
/// far from what is asked for. In the column that the order of the rows follows and in another.
#[tokio::test]
async fn filters_that_follow_the_space_keep_the_recall() -> Result<()> {
    let mut rng = Rng::new(23);
    let centres = centres(&mut rng, 100, 24, 1.0);
    let mut world = World::new(Metric::L2Squared, 24).await?;
    let rows: Vec<_> = (0..12_000_u64)
        .map(|id| {
            let group = usize::try_from(rng.below(100)).unwrap();
            let v = plus(&centres[group], &noise(&mut rng, 24, 0.5));
            (id, Row { v: Some(v), group: i64::try_from(group).unwrap() })
        })
        .collect();
    world.write(rows).await?;
    world.docs.flush().await?;
    let queries: Vec<_> = (0..50).map(|at| plus(&centres[2 * at], &noise(&mut rng, 24, 0.5))).collect();
    for column in ["v", "w"] {
        for groups in [80, 50, 10, 1] {
            let ask = |query: &[f32]| Query::nearest(column, query).filter(Filter::lt("group", groups));
            let share = world.recall(&queries, 10, ask, |_, row| row.group < groups).await?;
            assert!(share >= 0.94, "{column}, the first {groups} groups of 100: {share}");
        }
        for most in [8_000, 5_000, 1_000, 100] {
            let ask = |query: &[f32]| Query::nearest(column, query).filter(Filter::lt("n", most));
            let matches = |id, _: &Row| i64::try_from(id * 7_919 % 10_007).unwrap() < most;
            let share = world.recall(&queries, 10, ask, matches).await?;
            assert!(share >= 0.94, "{column}, {most} of 10,007: {share}");
        }
    }
    Ok(())
}

/// Clear groups, and what matches lies in others than where it is asked: the cluster that is nearest holds none of it, or
/// little, and the first that does need not hold the best.
#[tokio::test]
async fn what_matches_elsewhere_is_found_where_it_is() -> Result<()> {
    let mut rng = Rng::new(43);
    let centres = centres(&mut rng, 60, 24, 6.0);
    let mut world = World::new(Metric::L2Squared, 24).await?;
    let rows: Vec<_> = (0..12_000_u64)
        .map(|id| {
            let group = usize::try_from(id % 60).unwrap();
            let v = plus(&centres[group], &noise(&mut rng, 24, 0.3));
            (id, Row { v: Some(v), group: i64::try_from(group).unwrap() })
        })
        .collect();
    world.write(rows).await?;
    world.docs.flush().await?;
    for (name, most) in [("a tenth", 6), ("a quarter", 15), ("half", 30)] {
        // From where nothing matches.
        let queries: Vec<_> =
            (0..54).map(|at| plus(&centres[6 + at], &noise(&mut rng, 24, 0.3))).skip(most - 6).collect();
        let most = i64::try_from(most).unwrap();
        let ask = |query: &[f32]| Query::nearest("v", query).filter(Filter::lt("group", most));
        let share = world.recall(&queries, 10, ask, |_, row| row.group < most).await?;
        assert!(share >= 0.94, "{name}: {share}");
    }
    // Like this one, but of other groups.
    let (mut found, mut count) = (0.0, 0.0);
    for (own, centre) in (0..).zip(&centres) {
        let queries = [plus(centre, &noise(&mut rng, 24, 0.3))];
        let ask = |query: &[f32]| Query::nearest("v", query).filter(Filter::not_eq("group", own));
        found += world.recall(&queries, 10, ask, |_, row| row.group != own).await?;
        count += 1.0;
    }
    assert!(found / count >= 0.94, "all groups but one: {}", found / count);
    Ok(())
}

/// A filter that lets most rows through, but of those with a vector a few, far from what is asked for.
#[tokio::test]
async fn rows_without_a_vector_do_not_count_as_matches() -> Result<()> {
    let mut rng = Rng::new(29);
    let centres = centres(&mut rng, 60, 24, 1.0);
    let mut world = World::new(Metric::L2Squared, 24).await?;
    let rows: Vec<_> = (0..20_000_u64)
        .map(|id| {
            let group = rng.below(60);
            let v = plus(&centres[usize::try_from(group).unwrap()], &noise(&mut rng, 24, 0.5));
            // Rows of group 1,000 have none.
            let has = id % 10 < 3;
            let group = if has { i64::try_from(group).unwrap() } else { 1_000 };
            (id, Row { v: has.then_some(v), group })
        })
        .collect();
    world.write(rows).await?;
    world.docs.flush().await?;
    let queries: Vec<_> = (0..50).map(|at| plus(&centres[at % 60], &noise(&mut rng, 24, 0.5))).collect();
    for from in [40, 50, 57] {
        for column in ["v", "w"] {
            let ask = |query: &[f32]| Query::nearest(column, query).filter(Filter::gte("group", from));
            let share = world.recall(&queries, 10, ask, |_, row| row.group >= from).await?;
            assert!(share >= 0.94, "{column}, groups from {from}: {share}");
        }
    }
    Ok(())
}

/// Documents that are as near as each other come in order of their ids, however many, by an index and without, before
/// and after compaction, and page after page.
#[tokio::test]
async fn equals_come_in_order_of_ids() -> Result<()> {
    for count in [9_000_u64, 20_000] {
        for equal_first in [false, true] {
            let mut schema = Schema::builder(IdKind::U64);
            let columns = if equal_first { ["same", "other"] } else { ["other", "same"] };
            for column in columns {
                schema = schema.vector(column, VectorType::F32, 8, Metric::L2Squared);
            }
            let db = small_index_database(1);
            let db = db.open_backend(Arc::new(MemoryBackend::new())).await?;
            let docs = db.create_namespace("docs", schema.build()?).await?;
            let mut rng = Rng::new(3);
            for half in [0..count / 2, count / 2..count] {
                let mut batch = WriteBatch::new();
                for id in half {
                    let other = noise(&mut rng, 8, 1.0);
                    let document = Document::new(id).with("same", Vector::from([1.0; 8]));
                    batch = batch.upsert(document.with("other", Vector::from(other)));
                }
                docs.write(batch).await?;
                docs.flush().await?;
            }
            for stage in ["in two segments", "compacted"] {
                let snapshot = docs.snapshot(Consistency::Strong).await?;
                let ids = async |query: Query| -> Result<Vec<String>> {
                    let hits = snapshot.query(query.select(Select::Only(Vec::new()))).await?.hits()?;
                    Ok(hits.iter().map(|hit| hit.document.id().to_string()).collect())
                };
                let first: Vec<String> = (0..10).map(|id: u64| id.to_string()).collect();
                let query = || Query::nearest("same", [1.1; 8]);
                assert_eq!(ids(query()).await?, first, "{count}, {stage}");
                assert_eq!(ids(query().exact()).await?, first, "{count}, {stage}, exact");
                let page = 1_500;
                let mut seen = Vec::new();
                for offset in (0..9_000).step_by(page) {
                    seen.extend(ids(query().offset(offset).limit(page)).await?);
                }
                let all: Vec<String> = (0..9_000).map(|id: u64| id.to_string()).collect();
                assert!(seen == all, "{count}, {stage}: pages");
                docs.compact().await?;
            }
        }
    }
    Ok(())
}

/// So many clusters and no more, even where they hold fewer hits than are asked for.
#[tokio::test]
async fn a_number_of_probes_is_kept() -> Result<()> {
    let mut rng = Rng::new(37);
    let mut world = World::new(Metric::L2Squared, 24).await?;
    let rows: Vec<_> =
        (0..8_000).map(|id| (id, Row { v: Some(noise(&mut rng, 24, 1.0)), group: 0 })).collect();
    world.write(rows).await?;
    world.docs.flush().await?;
    for column in ["v", "w"] {
        let query = || Query::nearest(column, vec![0.5; 24]).select(Select::Only(Vec::new()));
        let two = world.docs.query(query().probes(2).limit(5_000)).await?;
        assert_eq!(two.stats.clusters_probed, 2);
        assert!(two.rows.len() < 5_000, "two clusters do not hold as many");
        let rare = world.docs.query(query().filter(Filter::lt("n", 2_500)).probes(3).limit(5_000)).await?;
        assert_eq!(rare.stats.clusters_probed, 3);
        let all = world.docs.query(query().recall(0.9).limit(5_000)).await?;
        assert_eq!(all.rows.len(), 5_000);
    }
    Ok(())
}

/// Counts the bytes that were read and are not let go yet.
#[derive(Debug, Default)]
struct Held {
    now: AtomicU64,
    most: AtomicU64,
}

struct Piece(Bytes, Arc<Held>);

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.1.now.fetch_sub(self.0.len() as u64, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Holding {
    inner: Arc<dyn StorageBackend>,
    held: Arc<Held>,
}

impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl StorageBackend for Holding {
    async fn put(&self, key: &ObjectKey, body: Payload, mode: PutMode) -> Result<()> {
        self.inner.put(key, body, mode).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.inner.get_range(key, range).await?;
        // As from a network: what was asked for, of its own.
        let bytes = Bytes::from(bytes.to_vec());
        let now = self.held.now.fetch_add(bytes.len() as u64, Ordering::Relaxed) + bytes.len() as u64;
        self.held.most.fetch_max(now, Ordering::Relaxed);
        Ok(Bytes::from_owner(Piece(bytes, Arc::clone(&self.held))))
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

/// However many bytes a query compares, in however many segments, it holds few of them at a time.
#[tokio::test]
async fn a_query_holds_few_of_the_bytes_it_looks_at() -> Result<()> {
    let memory: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    let mut settings = small_index_settings();
    settings.index_rows_min = 1_000_000;
    // Every read goes to the store, and nothing of it is kept.
    settings.cache_bytes = 0;
    let database = |backend| Database::builder().settings(settings.clone()).open_backend(backend);
    let schema =
        Schema::builder(IdKind::U64).vector("v", VectorType::F32, 1_024, Metric::L2Squared).build()?;
    let docs = database(Arc::clone(&memory)).await?.create_namespace("docs", schema).await?;
    let mut rng = Rng::new(41);
    for segment in 0..4_u64 {
        let mut batch = WriteBatch::new();
        for id in segment * 6_000..(segment + 1) * 6_000 {
            #[expect(clippy::cast_possible_truncation, reason = "components are single")]
            let v: Vec<f32> = (0..1_024).map(|_| rng.unit() as f32).collect();
            batch = batch.upsert(Document::new(id).with("v", Vector::from(v)));
        }
        docs.write(batch).await?;
        docs.flush().await?;
    }
    let held = Arc::new(Held::default());
    let backend: Arc<dyn StorageBackend> = Arc::new(Holding { inner: memory, held: Arc::clone(&held) });
    let docs = database(backend).await?.open_namespace("docs").await?;
    let snapshot = docs.snapshot(Consistency::Eventual).await?;
    // Besides what the segments keep open.
    let open = held.now.load(Ordering::Relaxed);
    held.most.store(open, Ordering::Relaxed);
    let query = Query::nearest("v", vec![0.5; 1_024]).exact().select(Select::Only(Vec::new()));
    let response = snapshot.query(query).await?;
    assert_eq!((response.rows.len(), response.stats.rows_scanned), (10, 24_000));
    let most = held.most.load(Ordering::Relaxed) - open;
    assert!(most > 1 << 20, "it was read: {most} bytes");
    assert!(most <= 33 << 20, "{most} of 98 MB were held at a time");
    Ok(())
}
