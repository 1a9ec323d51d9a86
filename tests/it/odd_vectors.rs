//! Recall as it is measured from outside, against sums in f64, on collections that are not tidy: whatever the data,
//! it is at least what was asked for, in every state that rows come to lie in.
#![expect(clippy::indexing_slicing, reason = "a test panics")]
#![expect(clippy::cast_precision_loss, reason = "counts are small")]

use crate::common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::fixtures::recall_allowance;
use common::odd::{ALL, Odd, distance, named, normals, plus, scaled, uniform};
use common::paused::Paused;
use common::rng::Rng;
use elacsym::env::Env;
use elacsym::storage::MemoryBackend;
use elacsym::{
    Consistency, Database, Document, DocumentId, IdKind, Metric, Namespace, Query, RecallCheck, Result,
    Schema, Select, Settings, Vector, VectorType, WriteBatch,
};

const ROWS: usize = 2_000;
/// Rows that come later, in place of others.
const LATER: usize = 200;
const QUERIES: usize = 30;
/// What is asked for, and of how many.
const ASKED: [(f64, usize); 5] = [(0.9, 10), (0.95, 1), (0.95, 100), (0.99, 10), (0.95, 10)];

fn ids(count: usize) -> u64 {
    count as u64
}

/// The seed decides where clusters come to lie and how codes are rotated.
async fn open(odd: &Odd, seed: u64) -> Result<Namespace> {
    let mut settings = Settings::default();
    (settings.auto_flush, settings.auto_compact) = (false, false);
    // A small collection is indexed too.
    settings.index_rows_min = 1_100;
    let builder = Database::builder().settings(settings).env(Env::new(Paused::new(seed)));
    let db = builder.open_backend(Arc::new(MemoryBackend::new())).await?;
    let schema = Schema::builder(IdKind::U64)
        .vector("v", odd.element, odd.dimension(), odd.metric)
        .code_bits("v", odd.bits)
        .build()?;
    db.create_namespace("docs", schema).await
}

/// A namespace, and what is in it.
struct Held<'a> {
    odd: &'a Odd,
    docs: Namespace,
    rows: BTreeMap<u64, Vec<f32>>,
    /// How much more was found than was asked for, each time.
    more: Vec<f64>,
}

impl<'a> Held<'a> {
    async fn new(odd: &'a Odd) -> Result<Self> {
        Self::with_seed(odd, 1).await
    }

    async fn with_seed(odd: &'a Odd, seed: u64) -> Result<Self> {
        Ok(Self { odd, docs: open(odd, seed).await?, rows: BTreeMap::new(), more: Vec::new() })
    }

    async fn upsert<'r>(&mut self, rows: impl IntoIterator<Item = (u64, &'r Vec<f32>)>) -> Result<()> {
        let mut batch = WriteBatch::new();
        for (id, row) in rows {
            batch = batch.upsert(Document::new(id).with("v", self.odd.vector(row)));
            self.rows.insert(id, row.clone());
        }
        self.docs.write(batch).await.map(drop)
    }

    async fn delete(&mut self, ids: impl IntoIterator<Item = u64>) -> Result<()> {
        let mut batch = WriteBatch::new();
        for id in ids {
            batch = batch.delete(id);
            self.rows.remove(&id);
        }
        self.docs.write(batch).await.map(drop)
    }

    /// The distances of all rows from each query, least first.
    fn truth(&self, queries: &[Vec<f32>]) -> Vec<Vec<f64>> {
        let of = |query: &Vec<f32>| {
            let mut all: Vec<f64> = self.rows.values().map(|row| self.odd.distance(query, row)).collect();
            all.sort_unstable_by(f64::total_cmp);
            all
        };
        queries.iter().map(of).collect()
    }

    /// The share of the true nearest that is found: of rows that are as near as each other any will do.
    async fn recall(
        &self,
        queries: &[Vec<f32>],
        truth: &[Vec<f64>],
        limit: usize,
        ask: impl Fn(Query) -> Query,
    ) -> Result<f64> {
        let snapshot = self.docs.snapshot(Consistency::Strong).await?;
        let mut found = 0;
        for (query, truth) in queries.iter().zip(truth) {
            let ask = ask(Query::nearest("v", self.odd.vector(query)).limit(limit));
            let response = snapshot.query(ask.select(Select::Only(Vec::new()))).await?;
            let hits = response.hits()?;
            assert_eq!(hits.len(), limit, "as many hits as there can be");
            let near = |id: &DocumentId| match id {
                // Sums in f64 of equal distances may differ in their last digits.
                DocumentId::U64(id) => {
                    let (distance, last) = (self.odd.distance(query, &self.rows[id]), truth[limit - 1]);
                    distance <= last + last.abs() * 1e-12 + self.odd.noise()
                }
                _ => false,
            };
            found += hits.iter().filter(|hit| near(hit.document.id())).count();
        }
        Ok(found as f64 / (queries.len() * limit) as f64)
    }

    /// What is wrong in this state.
    async fn check(
        &mut self,
        state: &str,
        queries: &[Vec<f32>],
        asked: &[(f64, usize)],
    ) -> Result<Vec<String>> {
        let truth = self.truth(queries);
        let mut wrong = Vec::new();
        let name = self.odd.name;
        let mut say = |what: String| wrong.push(format!("{name}, {state}: {what}"));
        let exact = self.recall(queries, &truth, 10, Query::exact).await?;
        if exact < 1.0 {
            say(format!("exact search finds {exact} of 10"));
        }
        for (recall, limit) in asked {
            let found = self.recall(queries, &truth, *limit, |query| query.recall(*recall)).await?;
            self.more.push(found - recall);
            if found < recall - recall_allowance(*recall, *limit, queries.len()) {
                say(format!("{found} of {limit} where {recall} was asked for"));
            }
        }
        if state == "updated" {
            return Ok(wrong);
        }
        let report = self.docs.measure_recall(RecallCheck::of("v").sample(30)).await?;
        if report.recall < 0.95 - recall_allowance(0.95, 10, 30) || report.expected < 0.95 {
            say(format!("it measures {} where it expects {}", report.recall, report.expected));
        }
        Ok(wrong)
    }
}

/// What is wrong with a collection, and how much more was found than was asked for.
async fn holds(name: &str) -> Result<(Vec<String>, Vec<f64>)> {
    let odd = named(name, ROWS + LATER, QUERIES);
    let mut held = Held::new(&odd).await?;
    held.upsert((0..).zip(&odd.rows[..ROWS])).await?;
    held.docs.flush().await?;
    let mut wrong = held.check("flushed", &odd.queries, &ASKED).await?;
    // Every fifth goes, every seventh becomes another.
    held.delete((0..ids(ROWS) / 2).step_by(5)).await?;
    held.upsert((3..).step_by(7).zip(&odd.rows[ROWS..])).await?;
    held.docs.flush().await?;
    wrong.extend(held.check("updated", &odd.queries, &ASKED[4..]).await?);
    held.docs.compact().await?;
    wrong.extend(held.check("compacted", &odd.queries, &ASKED[3..]).await?);
    Ok((wrong, held.more))
}

/// Every so many-th of all collections: tests run side by side.
async fn hold(part: usize) -> Result<()> {
    let (mut wrong, mut more) = (Vec::new(), Vec::new());
    for (name, _) in ALL.iter().skip(part).step_by(4) {
        let (here, found) = holds(name).await?;
        wrong.extend(here);
        more.extend(found);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Chance evens out over so many.
    let more = more.iter().sum::<f64>() / more.len() as f64;
    assert!(more > 0.0, "{more} than was asked for");
    Ok(())
}

#[tokio::test]
async fn recall_holds_on_the_first_of_the_odd() -> Result<()> {
    hold(0).await
}

#[tokio::test]
async fn recall_holds_on_the_second_of_the_odd() -> Result<()> {
    hold(1).await
}

#[tokio::test]
async fn recall_holds_on_the_third_of_the_odd() -> Result<()> {
    hold(2).await
}

#[tokio::test]
async fn recall_holds_on_the_fourth_of_the_odd() -> Result<()> {
    hold(3).await
}

/// Rows of ordinary length are all nearest to a long query, and nearly equal beside the long rows of their cluster: a
/// bound that fails for one of them fails for all.
#[tokio::test]
async fn rows_that_err_together_are_not_lost_together() -> Result<()> {
    let odd = named("half of the rows 10,000 times as long", ROWS + LATER, QUERIES);
    let is_long = |query: &&Vec<f32>| query.iter().any(|x| x.abs() > 1e3);
    let queries: Vec<_> = odd.queries.iter().filter(is_long).cloned().collect();
    let (mut found, mut runs) = (0.0, 0.0);
    for seed in 0..20 {
        let mut held = Held::with_seed(&odd, seed).await?;
        held.upsert((0..).zip(&odd.rows[..ROWS])).await?;
        held.docs.flush().await?;
        let truth = held.truth(&queries);
        // With every cluster probed, nothing but a bound can lose a row.
        found += held.recall(&queries, &truth, 10, |query| query.probes(ROWS)).await?;
        runs += 1.0;
    }
    // Of independent errors, 2.5 deviations allow .994 at the border alone.
    assert!(found / runs > 0.996, "{} of {} queries each", found / runs, queries.len());
    Ok(())
}

/// A healthy collection, and one row out of all scale that comes and goes.
#[tokio::test]
async fn one_odd_row_harms_no_state() -> Result<()> {
    let odd = named("one row a million times as long", ROWS, 0);
    let queries: Vec<_> = (0..QUERIES).map(|n| uniform(&mut Rng::new(n as u64 + 900), 32)).collect();
    let mut held = Held::new(&odd).await?;
    // Without the first, which is the long one.
    held.upsert((0..).zip(&odd.rows).skip(1)).await?;
    held.docs.flush().await?;
    let long = scaled(uniform(&mut Rng::new(3), 32), 1e8);
    held.upsert([(900_000, &long)]).await?;
    let asked = &ASKED[3..];
    let mut wrong = held.check("in the tail", &queries, asked).await?;
    held.docs.flush().await?;
    wrong.extend(held.check("flushed", &queries, asked).await?);
    held.docs.compact().await?;
    wrong.extend(held.check("compacted", &queries, asked).await?);
    held.delete([900_000]).await?;
    wrong.extend(held.check("deleted", &queries, asked).await?);
    held.docs.compact().await?;
    wrong.extend(held.check("compacted away", &queries, asked).await?);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// In few dimensions, under the inner product, where the longest row is the nearest to all that point its way.
#[tokio::test]
async fn the_longest_row_is_found_by_its_inner_product() -> Result<()> {
    for dimension in [2, 3] {
        let mut rng = Rng::new(5);
        let mut rows: Vec<_> = (0..ROWS)
            .map(|n| if n % 2 == 0 { vec![1.0; dimension] } else { normals(&mut rng, dimension) })
            .collect();
        for (place, row) in rows.iter_mut().skip(17).step_by(250).enumerate() {
            *row = scaled(uniform(&mut rng, dimension), 100.0 * (place as f32 + 1.0));
        }
        let queries: Vec<_> = (0..QUERIES).map(|_| normals(&mut rng, dimension)).collect();
        let plain = Odd {
            name: "odd ones far out",
            metric: Metric::Dot,
            element: VectorType::F32,
            bits: 5,
            rows,
            queries,
        };
        let mut held = Held::new(&plain).await?;
        held.upsert((0..).zip(&plain.rows)).await?;
        held.docs.flush().await?;
        let wrong = held.check("flushed", &plain.queries, &[(0.95, 1), (0.95, 10)]).await?;
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
    Ok(())
}

/// The order of exact search is that of sums in f64, where f32 overflows, underflows, or has no digits left.
#[tokio::test]
async fn exact_order_is_that_of_f64() -> Result<()> {
    let mut rng = Rng::new(11);
    #[expect(clippy::type_complexity, reason = "it is said once")]
    let draws: [(&str, fn(&mut Rng) -> Vec<f32>); 4] = [
        ("tiny", |rng| scaled(normals(rng, 24), 1e-30)),
        ("huge", |rng| scaled(normals(rng, 24), 1e14)),
        ("far from the origin", |rng| normals(rng, 24).iter().map(|x| x + 1e6).collect()),
        ("of all lengths", |rng| {
            let length = 10_f32.powi(i32::try_from(rng.below(40)).unwrap() - 28);
            scaled(normals(rng, 24), length)
        }),
    ];
    for ((name, draw), metric) in draws
        .into_iter()
        .flat_map(|draw| [Metric::L2Squared, Metric::Dot, Metric::Cosine].map(|metric| (draw, metric)))
    {
        let rows: Vec<_> = (0..300).map(|_| draw(&mut rng)).collect();
        let odd = Odd { name, metric, element: VectorType::F32, bits: 5, rows, queries: Vec::new() };
        let mut held = Held::new(&odd).await?;
        held.upsert((0..).zip(&odd.rows)).await?;
        for _ in 0..5 {
            let query = draw(&mut rng);
            let hits = held.docs.query(Query::nearest("v", query.as_slice()).limit(300).exact()).await?;
            let of = |id: &DocumentId| match id {
                DocumentId::U64(id) => distance(metric, &query, &held.rows[id]),
                _ => f64::NAN,
            };
            let found: Vec<f64> = hits.hits()?.iter().map(|hit| of(hit.document.id())).collect();
            // What sums in f64 themselves do not tell apart may come in any order.
            let size = |x: f64| x.abs() * 1e-14 + if metric == Metric::Dot { 0.0 } else { f64::MIN_POSITIVE };
            let scale = match metric {
                Metric::Cosine => 4e-15,
                Metric::L2Squared => 0.0,
                // The products cancel.
                _ => 1e-15 * found.iter().fold(0.0, |most: f64, x| most.max(x.abs())).min(1.0),
            };
            let ascends = found.windows(2).all(|pair| pair[0] <= pair[1] + size(pair[1]) + scale);
            assert!(found.len() == 300 && ascends, "{name}, {metric:?}: {found:?}");
        }
    }
    Ok(())
}

/// Rows that took the place of all others, far from them: clusters made of the old rows do not tell the new ones apart,
/// and serve no longer than until all is compacted.
#[tokio::test]
async fn clusters_follow_the_rows() -> Result<()> {
    const DIMENSION: usize = 768;
    let mut rng = Rng::new(31);
    let centres: Vec<_> = (0..24).map(|_| normals(&mut rng, DIMENSION)).collect();
    let near = |rng: &mut Rng, centre: &[f32]| plus(scaled(normals(rng, DIMENSION), 0.1), centre);
    let gone: Vec<_> = (0..ROWS).map(|_| near(&mut rng, &[50.0; DIMENSION])).collect();
    let rows: Vec<_> = (0..ROWS).map(|n| near(&mut rng, &centres[n % 24])).collect();
    let queries: Vec<_> = (0..QUERIES).map(|n| near(&mut rng, &centres[n % 24])).collect();
    let odd = Odd {
        name: "rows in place of others",
        metric: Metric::L2Squared,
        element: VectorType::F32,
        // Clusters of few rows.
        bits: 8,
        rows,
        queries,
    };
    let mut held = Held::new(&odd).await?;
    held.upsert((0..).zip(&gone)).await?;
    held.docs.flush().await?;
    held.upsert((0..).zip(&odd.rows)).await?;
    held.docs.flush().await?;
    let before = scanned(&held).await?;
    held.docs.compact().await?;
    let after = scanned(&held).await?;
    let wrong = held.check("compacted", &odd.queries, &[(0.95, 10)]).await?;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(before > 0.9, "{before} of the rows were scanned by clusters that do not fit");
    assert!(after < 0.5, "{after} of the rows are scanned by clusters made anew");
    // What comes later lies in these clusters too.
    let later: Vec<_> = (0..1_200).map(|n| near(&mut rng, &centres[n % 24])).collect();
    held.upsert((10_000..).zip(&later)).await?;
    held.docs.flush().await?;
    let later = scanned(&held).await?;
    assert!(later < 0.5, "{later} of the rows are scanned after a flush");
    Ok(())
}

/// The share of the rows that queries scan.
async fn scanned(held: &Held<'_>) -> Result<f64> {
    let mut scanned = 0;
    for query in &held.odd.queries {
        scanned += held.docs.query(Query::nearest("v", query.as_slice())).await?.stats.rows_scanned;
    }
    Ok(scanned as f64 / ids(held.rows.len() * held.odd.queries.len()) as f64)
}

/// Rows that are the same come in the order of their ids, in whatever parts they lie.
#[tokio::test]
async fn equal_vectors_are_equally_far_wherever_they_lie() -> Result<()> {
    for metric in [Metric::L2Squared, Metric::Dot, Metric::Cosine] {
        let mut rng = Rng::new(21);
        let originals: Vec<_> = (0..40).map(|_| normals(&mut rng, 24)).collect();
        let rows = (0..ROWS).map(|n| originals[n % 40].clone()).collect();
        let odd =
            Odd { name: "copies", metric, element: VectorType::F32, bits: 5, rows, queries: Vec::new() };
        let mut held = Held::new(&odd).await?;
        // Every third lies in the tail.
        held.upsert((0..).zip(&odd.rows).filter(|(id, _)| id % 3 != 0)).await?;
        held.docs.flush().await?;
        held.upsert((0..).zip(&odd.rows).filter(|(id, _)| id % 3 == 0)).await?;
        for original in &originals[..10] {
            let query = Query::nearest("v", Vector::F32(original.clone())).limit(45);
            for exact in [false, true] {
                let query = if exact { query.clone().exact() } else { query.clone() };
                let response = held.docs.query(query).await?;
                let first = response.distances()[0];
                assert!(response.distances().iter().all(|distance| *distance == first), "{metric:?}");
                let ids: Vec<_> = response.hits()?.iter().map(|hit| hit.document.id().clone()).collect();
                assert!(ids.is_sorted(), "{metric:?}, exact {exact}: {ids:?}");
            }
        }
    }
    Ok(())
}
