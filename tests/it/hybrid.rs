//! Queries of several legs as a user meets them: fusion is what it is defined to be, wherever documents lie.
#![expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a test")]
#![expect(clippy::disallowed_methods, reason = "round trips are counted by tokio's paused clock")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use elacsym::schema::{AttributeType, TextOptions};
use elacsym::storage::{CountingBackend, DelayedBackend, MemoryBackend, StorageBackend};
use elacsym::*;
use elacsym::{TextMatch, TextQuery, VectorQuery};

use crate::common::fixtures::{empty_namespace, id_number};
use crate::common::rng;
use rng::Rng;

const WORDS: [&str; 8] = ["cold", "store", "object", "query", "tea", "search", "index", "log"];
const AUTHORS: [Option<&str>; 4] = [Some("ann"), Some("bob"), Some("cyd"), None];

#[derive(Clone, Debug)]
struct Row {
    near: [f32; 2],
    far: Option<[f32; 3]>,
    body: String,
    author: Option<&'static str>,
    year: i64,
}

type Model = BTreeMap<u64, Row>;

fn row(rng: &mut Rng) -> Row {
    // Few different numbers, so that there are ties.
    let near = [rng.around(3) as f32, rng.around(3) as f32];
    let far = rng.chance(0.8).then(|| [rng.around(2) as f32, rng.around(2) as f32, 1.0]);
    let words = rng.below(8);
    let body: Vec<&str> = (0..words).map(|_| *rng.pick(&WORDS)).collect();
    Row {
        near,
        far,
        body: body.join(" "),
        author: *rng.pick(&AUTHORS),
        year: rng.between(2000, 2009).cast_signed(),
    }
}

fn document(id: u64, row: &Row) -> Document {
    let document = Document::new(id)
        .with("near", Vector::from(row.near))
        .with("body", row.body.as_str())
        .with("year", row.year);
    let document = match row.author {
        Some(author) => document.with("author", author),
        None => document,
    };
    match row.far {
        Some(far) => document.with("far", Vector::from(far)),
        None => document,
    }
}

async fn namespace() -> Result<Namespace> {
    let schema = Schema::builder(IdKind::U64)
        .vector("near", VectorType::F32, 2, Metric::L2Squared)
        .vector("far", VectorType::F32, 3, Metric::Dot)
        .text("body", TextOptions::default())
        .attribute("author", AttributeType::String)
        .attribute("year", AttributeType::Int)
        .build()?;
    empty_namespace(schema).await
}

/// Documents in several segments and the tail, some of them written again or deleted.
async fn filled(rng: &mut Rng) -> Result<(Namespace, Model)> {
    let (ns, mut model) = (namespace().await?, Model::new());
    for _ in 0..rng.between(1, 4) {
        let mut batch = WriteBatch::new();
        let ids: BTreeSet<u64> = (0..rng.between(1, 60)).map(|_| rng.below(120)).collect();
        for id in ids {
            if rng.chance(0.2) {
                model.remove(&id);
                batch = batch.delete(id);
            } else {
                let row = row(rng);
                batch = batch.upsert(document(id, &row));
                model.insert(id, row);
            }
        }
        ns.write(batch).await?;
        if rng.chance(0.6) {
            ns.flush().await?;
        }
    }
    if rng.chance(0.3) {
        ns.compact().await?;
    }
    Ok((ns, model))
}

/// A leg, and what it is in the model.
#[derive(Clone, Debug)]
struct Asked {
    kind: Kind,
    weight: f32,
    depth: usize,
    since: Option<i64>,
}

#[derive(Clone, Debug)]
enum Kind {
    Near([f32; 2]),
    Far([f32; 3]),
    Text(String),
}

impl Asked {
    fn draw(rng: &mut Rng) -> Self {
        let kind = match rng.below(3) {
            0 => Kind::Near([rng.around(3) as f32, rng.around(3) as f32]),
            1 => Kind::Far([rng.around(2) as f32, rng.around(2) as f32, 1.0]),
            _ => Kind::Text(format!("{} {}", rng.pick(&WORDS), rng.pick(&WORDS))),
        };
        let since = rng.chance(0.3).then(|| rng.between(2000, 2009).cast_signed());
        let weight = *rng.pick(&[0.0, 0.5, 1.0, 3.0]);
        Self { kind, weight, depth: rng.between(1, 40) as usize, since }
    }

    fn leg(&self) -> Leg {
        let leg = match &self.kind {
            Kind::Near(vector) => Leg::nearest("near", Vector::from(*vector)),
            Kind::Far(vector) => Leg::nearest("far", Vector::from(*vector)),
            Kind::Text(text) => Leg::text(TextQuery::any("body", text.as_str())),
        };
        let leg = leg.weight(self.weight).depth(self.depth);
        match self.since {
            Some(year) => leg.filter(Filter::gte("year", year)),
            None => leg,
        }
    }

    /// Every document of the model that this leg finds, with its score.
    async fn scores(&self, ns: &Namespace, model: &Model, before: i64) -> Result<BTreeMap<u64, f32>> {
        let score = |row: &Row| match &self.kind {
            Kind::Near([x, y]) => Some(-((row.near[0] - x).powi(2) + (row.near[1] - y).powi(2))),
            Kind::Far(v) => row.far.map(|far| far.iter().zip(v).map(|(a, b)| a * b).sum()),
            Kind::Text(_) => None,
        };
        let mut scores: BTreeMap<u64, f32> =
            model.iter().filter_map(|(id, row)| Some((*id, score(row)?))).collect();
        if let Kind::Text(text) = &self.kind {
            // What BM25 gives is another test's.
            let all = Query::text(TextQuery::any("body", text.as_str())).limit(10_000);
            scores = ns.query(all).await?.hits()?.iter().map(|hit| (id(hit), hit.score)).collect();
        }
        let matches = |row: &Row| row.year < before && self.since.is_none_or(|since| row.year >= since);
        scores.retain(|id, _| matches(&model[id]));
        Ok(scores)
    }
}

fn id(hit: &Hit) -> u64 {
    id_number(hit.document.id())
}

/// The documents that a leg found, each with its rank and score.
type Found = BTreeMap<u64, (usize, f64)>;

/// What goes into fusion of a leg.
fn ranked(scores: &BTreeMap<u64, f32>, depth: usize) -> Found {
    let mut order: Vec<f32> = scores.values().copied().collect();
    order.sort_by(|a, b| b.total_cmp(a));
    let last = order.get(depth - 1).copied().unwrap_or(f32::MIN);
    let rank = |score: f32| 1 + order.iter().filter(|other| **other > score).count();
    let deep = scores.iter().filter(|(_, score)| **score >= last);
    deep.map(|(id, score)| (*id, (rank(*score), f64::from(*score)))).collect()
}

#[derive(Clone, Copy, Debug)]
enum Rule {
    Ranks(f32),
    MinMax,
    ZScore,
}

impl Rule {
    fn fusion(self) -> Fusion {
        match self {
            Self::Ranks(constant) => Fusion::reciprocal_rank(constant),
            Self::MinMax => Fusion::min_max(),
            Self::ZScore => Fusion::z_score(),
        }
    }

    /// What a leg with these documents gives to one.
    fn term(self, leg: &Found, id: u64) -> f64 {
        let scores: Vec<f64> = leg.values().map(|(_, score)| *score).collect();
        let least = scores.iter().copied().fold(f64::INFINITY, f64::min);
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let found = leg.get(&id);
        match self {
            Self::Ranks(constant) => {
                found.map_or(0.0, |(rank, _)| 1.0 / (f64::from(constant) + *rank as f64))
            }
            Self::MinMax if most > least => found.map_or(0.0, |(_, score)| (score - least) / (most - least)),
            Self::MinMax => f64::from(u8::from(found.is_some())),
            Self::ZScore if most > least => {
                let mean = scores.iter().sum::<f64>() / scores.len() as f64;
                let variance = scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / scores.len() as f64;
                (found.map_or(least, |(_, score)| *score) - mean) / variance.sqrt()
            }
            Self::ZScore => 0.0,
        }
    }
}

/// The definition, word for word.
fn fused(legs: &[(f32, Found)], rule: Rule, model: &Model, per: Option<usize>) -> Vec<(u64, f64)> {
    let found: BTreeSet<u64> = legs.iter().flat_map(|(_, leg)| leg.keys().copied()).collect();
    let score = |id: u64| match legs {
        [(_, leg)] => leg[&id].1,
        _ => legs.iter().map(|(weight, leg)| f64::from(*weight) * rule.term(leg, id)).sum(),
    };
    let mut hits: Vec<(u64, f64)> =
        found.into_iter().map(|id| (id, f64::from(score(id) as f32 + 0.0))).collect();
    hits.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut taken: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    hits.retain(|(id, _)| {
        let count = taken.entry(model[id].author).or_default();
        *count += 1;
        per.is_none_or(|most| *count <= most)
    });
    hits
}

#[tokio::test]
async fn filters_that_are_given_one_by_one_hold_together() -> Result<()> {
    let ns = namespace().await?;
    let mut batch = WriteBatch::new();
    for id in 0..40_u64 {
        let author = AUTHORS[usize::try_from(id % 2).unwrap_or(0)];
        let row = Row {
            near: [1.0, 2.0],
            far: None,
            body: "tea".to_owned(),
            author,
            year: 2000 + (id / 10).cast_signed(),
        };
        batch = batch.upsert(document(id, &row));
    }
    ns.write(batch).await?;
    let (ann, late) = (|| Filter::eq("author", "ann"), || Filter::gte("year", 2002));
    let both = |id: &DocumentId| matches!(id, DocumentId::U64(id) if id % 2 == 0 && *id >= 20);
    let near = || Leg::nearest("near", [0.0, 0.0]);
    let order = || Leg::order_by([Order::asc("year")]);
    let text = || Leg::text(TextQuery::any("body", "tea"));
    let either = || late() | Filter::eq("year", 1);
    let mut queries: Vec<Query> = Vec::new();
    for leg in [near(), order(), text()] {
        queries.push(Query::from(leg.clone()).filter(ann()).filter(late()));
        queries.push(Query::from(leg.clone()).filter(either()).filter(ann() & Filter::gt("year", 0)));
        queries.push(Query::from(leg.clone().filter(late()).filter(ann())));
        queries.push(Query::from(leg.filter(late())).filter(ann()));
    }
    queries.push(Query::hybrid([near(), text()]).filter(ann()).filter(late()));
    for query in queries {
        let hits = ns.query(query.clone().limit(40)).await?.hits()?;
        assert_eq!(hits.len(), 10, "{query:?}");
        assert!(hits.iter().all(|hit| both(hit.document.id())), "{query:?}");
    }
    let page = ns.scan(Scan::new().filter(ann()).filter(late())).await?;
    let documents = page.rows.documents()?;
    assert!(documents.len() == 10 && documents.iter().all(|document| both(document.id())));
    let count = Aggregation::new().filter(ann()).filter(late());
    assert_eq!(ns.aggregate(&count).await?.groups[0].count, 10);
    let facet =
        Query::from(near()).filter(ann()).facet("late", Aggregation::new().filter(late()).filter(either()));
    assert_eq!(ns.query(facet).await?.facets["late"].groups[0].count, 10);
    let check = RecallCheck::of("near").filter(ann()).filter(late());
    assert_eq!(ns.measure_recall(&check).await?.rows, 10);
    Ok(())
}

#[tokio::test]
async fn any_legs_with_any_fusion_give_what_is_defined() -> Result<()> {
    for seed in 0..150 {
        let mut rng = Rng::new(seed);
        let (ns, model) = filled(&mut rng).await?;
        for _ in 0..4 {
            let legs: Vec<Asked> = (0..rng.between(1, 4)).map(|_| Asked::draw(&mut rng)).collect();
            let rule = *rng.pick(&[Rule::Ranks(60.0), Rule::Ranks(1.0), Rule::MinMax, Rule::ZScore]);
            let before = rng.between(2003, 2012).cast_signed();
            let (limit, offset) = (rng.between(1, 20) as usize, rng.below(5) as usize);
            let per = rng.chance(0.4).then(|| rng.between(1, 3) as usize);
            let query = Query::hybrid(legs.iter().map(Asked::leg))
                .fuse(rule.fusion())
                .filter(Filter::lt("year", before))
                .limit(limit)
                .offset(offset)
                .select(Select::only(["year"]));
            let query = match per {
                Some(most) => query.limit_per(["author"], most),
                None => query,
            };
            let hits = ns.query(query.clone()).await?.hits()?;
            let mut rankings = Vec::new();
            for leg in &legs {
                let scores = leg.scores(&ns, &model, before).await?;
                // One leg goes as deep as is needed.
                let depth = if legs.len() == 1 { scores.len().max(1) } else { leg.depth };
                rankings.push((leg.weight, ranked(&scores, depth)));
            }
            let expected = fused(&rankings, rule, &model, per);
            // With a limit per author a leg goes deeper when there are too few: that is another test's.
            if per.is_some() && legs.len() > 1 && expected.len() < offset + limit {
                continue;
            }
            let expected: Vec<(u64, f64)> = expected.into_iter().skip(offset).take(limit).collect();
            let found: Vec<u64> = hits.iter().map(id).collect();
            let ids: Vec<u64> = expected.iter().map(|(id, _)| *id).collect();
            assert_eq!(found, ids, "seed {seed}: {query:?}\n{expected:?}\n{hits:?}");
            for (hit, (id, score)) in hits.iter().zip(&expected) {
                assert!(
                    (f64::from(hit.score) - score).abs() <= 1e-5 * score.abs().max(1.0),
                    "seed {seed}: {hit:?}"
                );
                assert_eq!(hit.document.get("year"), Some(&Value::Int(model[id].year)));
                for (leg, (_, ranking)) in hit.legs.iter().zip(&rankings) {
                    assert_eq!(
                        leg.map(|leg| leg.rank),
                        ranking.get(id).map(|(rank, _)| *rank),
                        "seed {seed}"
                    );
                }
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_limit_per_value_goes_as_deep_as_it_must() -> Result<()> {
    let ns = namespace().await?;
    // The nearest 500 are of one author.
    let batch = (0..600_u64).fold(WriteBatch::new(), |batch, id| {
        let author = if id < 500 { "ann" } else { ["bob", "cyd"][(id % 2) as usize] };
        let document = Document::new(id).with("near", Vector::from([id as f32, 0.0])).with("author", author);
        batch.upsert(document.with("body", if id % 3 == 0 { "cold store" } else { "tea" }))
    });
    ns.write(batch).await?;
    for flushed in [false, true] {
        if flushed {
            ns.flush().await?;
        }
        let near = || Query::nearest("near", [0.0, 0.0]).limit(4).limit_per(["author"], 2);
        let ids: Vec<u64> = ns.query(near()).await?.hits()?.iter().map(id).collect();
        assert_eq!(ids, [0, 1, 500, 501]);
        let next: Vec<u64> = ns.query(near().offset(4)).await?.hits()?.iter().map(id).collect();
        assert_eq!(next, [502, 503]);
        let legs =
            [Leg::nearest("near", [0.0, 0.0]), Leg::text(TextMatch::all("cold store").column("body", 1.0))];
        let both = Query::hybrid(legs).limit(3).limit_per(["author"], 1);
        let hits = ns.query(both).await?.hits()?;
        assert_eq!((hits.len(), id(&hits[0])), (3, 0));
    }
    Ok(())
}

#[tokio::test]
async fn queries_of_one_call_see_one_state_and_wrong_ones_read_nothing() -> Result<()> {
    let (ns, model) = filled(&mut Rng::new(7)).await?;
    let queries = [Query::nearest("near", [0.0, 0.0]), Query::text(TextQuery::any("body", "cold tea"))];
    let answers = ns.query_all(&queries).await?;
    assert_eq!(answers.len(), 2);
    for (query, answer) in queries.iter().zip(&answers) {
        assert_eq!(answer.hits()?, ns.query(query.clone()).await?.hits()?);
    }
    assert_eq!(answers[0].rows.len(), model.len().min(10));
    assert!(ns.query_all(&[]).await?.is_empty());
    let wrong: Vec<(Query, &str)> = vec![
        (Query::hybrid(Vec::<Leg>::new()), "bad number of legs"),
        (Query::hybrid((0..17).map(|_| Leg::nearest("near", [0.0, 0.0]))), "bad number of legs"),
        (Leg::nearest("near", [0.0, 0.0]).weight(-1.0).into(), "bad weight"),
        (Leg::nearest("near", [0.0, 0.0]).weight(f32::NAN).into(), "bad weight"),
        (Leg::nearest("near", [0.0, 0.0]).depth(0).into(), "bad depth"),
        (Leg::nearest("nowhere", [0.0, 0.0]).into(), "no such vector column"),
        (Query::nearest("near", [0.0, 0.0]).offset(9_995).limit(6), "bad offset and limit"),
        (Query::nearest("near", [0.0, 0.0]).limit_per(["author"], 0), "bad limit per value"),
        (Query::nearest("near", [0.0, 0.0]).limit_per(["near"], 1), "no such attribute"),
        (Query::nearest("near", [0.0, 0.0]).limit_per(Vec::<String>::new(), 1), "bad number of attributes"),
        (Query::nearest("near", [0.0, 0.0]).fuse(Fusion::reciprocal_rank(-1.0)), "bad constant"),
    ];
    for (query, words) in wrong {
        let error = ns.query_all(&[Query::nearest("near", [0.0, 0.0]), query]).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::LimitExceeded));
    }
    Ok(())
}

/// A namespace of one segment with every index, and what a fresh process asks of its store for some queries: the
/// round trips, and the backend that counted.
struct Cold {
    memory: Arc<dyn StorageBackend>,
    settings: Settings,
}

impl Cold {
    async fn new() -> Result<Self> {
        let memory: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
        let mut settings = Settings::default();
        settings.index_rows_min = 1_000;
        let db = Database::builder().settings(settings.clone()).open_backend(Arc::clone(&memory)).await?;
        let schema = Schema::builder(IdKind::U64)
            .vector("one", VectorType::F32, 24, Metric::L2Squared)
            .vector("two", VectorType::F32, 16, Metric::Cosine)
            .text("body", TextOptions::default())
            .attribute("year", AttributeType::Int)
            .build()?;
        let docs = db.create_namespace("docs", schema).await?;
        let mut rng = Rng::new(5);
        let mut batch = WriteBatch::new();
        for id in 0..4_000_u64 {
            let words: Vec<String> = (0..12).map(|_| format!("w{}", rng.below(40) * rng.below(40))).collect();
            let document = Document::new(id)
                .with("one", Vector::from(point(&mut rng, 24)))
                .with("two", Vector::from(point(&mut rng, 16)))
                .with("body", words.join(" "))
                .with("year", rng.between(1900, 2000).cast_signed());
            batch = batch.upsert(document);
        }
        docs.write(batch).await?;
        docs.flush().await?;
        Ok(Self { memory, settings })
    }

    async fn ask(&self, queries: &[Query]) -> Result<(u64, CountingBackend, Vec<QueryResponse>)> {
        let counting = CountingBackend::new(Arc::clone(&self.memory));
        let second = Duration::from_secs(1);
        let slow = DelayedBackend::new(Arc::new(counting.clone()), &env::Env::current()?, second);
        let db = Database::builder().settings(self.settings.clone()).open_backend(Arc::new(slow)).await?;
        let docs = db.open_namespace("docs").await?;
        let snapshot = docs.snapshot(Consistency::Eventual).await?;
        counting.reset();
        let start = tokio::time::Instant::now();
        let answers = snapshot.query_all(queries).await?;
        Ok((start.elapsed().as_secs(), counting, answers))
    }
}

fn point(rng: &mut Rng, dimension: usize) -> Vec<f32> {
    let mut centre = Rng::new(rng.below(30));
    (0..dimension).map(|_| (centre.unit() + 0.3 * rng.unit()) as f32).collect()
}

#[tokio::test(start_paused = true)]
async fn a_cold_query_takes_the_round_trips_of_its_deepest_leg() -> Result<()> {
    let cold = Cold::new().await?;
    let mut rng = Rng::new(8);
    let legs = [
        Leg::nearest("one", point(&mut rng, 24)),
        Leg::nearest("two", point(&mut rng, 16)),
        Leg::text(TextQuery::any("body", "w100 w77 w3")),
    ];
    for filter in [None, Some(Filter::gte("year", 1950))] {
        let with = |query: Query| match &filter {
            Some(filter) => query.filter(filter.clone()),
            None => query,
        };
        let mut deepest = 0;
        for leg in &legs {
            let (trips, _, answers) = cold.ask(&[with(leg.clone().depth(100).into()).limit(100)]).await?;
            assert!(trips <= 4 && answers[0].rows.len() == 100, "{trips} round trips: {leg:?}");
            deepest = deepest.max(trips);
        }
        let (trips, counting, answers) = cold.ask(&[with(Query::hybrid(legs.clone()))]).await?;
        assert_eq!(trips, deepest, "{:?}", counting.log());
        assert!(answers[0].stats.clusters_probed > 0 && counting.requests() <= 60, "{}", counting.requests());
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn legs_that_share_columns_read_no_block_twice() -> Result<()> {
    let cold = Cold::new().await?;
    let mut rng = Rng::new(9);
    let (one, two) = (point(&mut rng, 24), point(&mut rng, 16));
    let whole = [
        VectorQuery::new("one", one.clone()).probes(12).into(),
        VectorQuery::new("two", two.clone()).probes(12).into(),
        Leg::text(TextQuery::any("body", "w100 w77 w3")),
        Leg::text(TextQuery::all("body", "w0 w12")),
    ];
    // What these read is part of what those read.
    let part = [
        Leg::from(VectorQuery::new("one", one).probes(5)).weight(2.0),
        Leg::from(VectorQuery::new("two", two).probes(12)).depth(20),
        Leg::text(TextQuery::any("body", "w77")),
        Leg::text(TextQuery::phrase("body", "w12")).depth(7),
    ];
    let hybrid = |legs: &[Leg]| Query::hybrid(legs.to_vec()).filter(Filter::gte("year", 1950));
    let asked = |counting: &CountingBackend| -> Vec<_> {
        counting.log().into_iter().map(|r| (r.name, r.range.map(|r| (r.start, r.end)))).collect()
    };
    let (_, alone, _) = cold.ask(&[hybrid(&whole)]).await?;
    let (_, shared, answers) = cold.ask(&[hybrid(&[whole, part.clone()].concat()), hybrid(&part)]).await?;
    assert!(answers.iter().all(|answer| answer.rows.len() == 10));
    let requests = asked(&shared);
    assert!(requests.len() > 4, "{requests:?}");
    assert_eq!(requests.iter().collect::<BTreeSet<_>>().len(), requests.len(), "{requests:?}");
    // Their hits differ, so a row or a vector may be asked for more, which lay between what was read before.
    let bytes = alone.bytes_read();
    let more = shared.bytes_read().saturating_sub(bytes);
    assert!(more * 10 < bytes, "{more} bytes more than {bytes}\n{requests:?}\n{:?}", asked(&alone));
    Ok(())
}
