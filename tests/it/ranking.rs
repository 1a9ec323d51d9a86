//! What follows fusion, as a user meets it: rescoring, groups, pages, computed columns, limits of time and bytes.
#![expect(
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a test"
)]
#![expect(clippy::disallowed_methods, reason = "round trips are counted by tokio's paused clock")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use elacsym::arrow::array::{Array, AsArray};
use elacsym::arrow::datatypes::{Float32Type, Float64Type, UInt64Type};
use elacsym::env::Env;
use elacsym::query::{FilterPlan, Fragment, FragmentBy, Highlight, QueryCursor, SearchPlan};
use elacsym::schema::{AttributeType, TextOptions};
use elacsym::storage::{CountingBackend, DelayedBackend, MemoryBackend, StorageBackend};
use elacsym::*;

use crate::common::fixtures::{empty_namespace, hit_numbers, id_number};
use crate::common::paused::Paused;
use crate::common::rng;
use rng::Rng;

const WORDS: [&str; 6] = ["cold", "store", "object", "query", "tea", "search"];
const AUTHORS: [Option<&str>; 4] = [Some("ann"), Some("bob"), Some("cyd"), None];

fn schema() -> Result<Schema> {
    Schema::builder(IdKind::U64)
        .vector("near", VectorType::F32, 2, Metric::L2Squared)
        .vector("far", VectorType::F32, 2, Metric::L2Squared)
        .text("body", TextOptions::default())
        .attribute("author", AttributeType::String)
        .attribute("likes", AttributeType::Int)
        .build()
}

fn document(id: u64, rng: &mut Rng) -> Document {
    let mut point = || Vector::from([rng.around(4) as f32, rng.around(4) as f32]);
    let (near, far) = (point(), point());
    let body: Vec<&str> = (0..rng.below(8)).map(|_| *rng.pick(&WORDS)).collect();
    let mut document = Document::new(id).with("near", near).with("body", body.join(" "));
    if rng.chance(0.8) {
        document = document.with("far", far);
    }
    if let Some(author) = *rng.pick(&AUTHORS) {
        document = document.with("author", author);
    }
    if rng.chance(0.8) {
        document = document.with("likes", rng.around(20));
    }
    document
}

/// Documents in segments and in the tail.
async fn filled(rng: &mut Rng) -> Result<Namespace> {
    let ns = empty_namespace(schema()?).await?;
    for _ in 0..3 {
        let ids: BTreeSet<u64> = (0..50).map(|_| rng.below(120)).collect();
        let batch = ids.into_iter().fold(WriteBatch::new(), |batch, id| batch.upsert(document(id, rng)));
        ns.write(batch).await?;
        if rng.chance(0.6) {
            ns.flush().await?;
        }
    }
    Ok(ns)
}

fn legs(rng: &mut Rng) -> Vec<Leg> {
    let near = Leg::nearest("near", [rng.around(3) as f32, 0.0]);
    let words = Leg::text(TextQuery::any("body", format!("{} {}", rng.pick(&WORDS), rng.pick(&WORDS))));
    match rng.below(3) {
        0 => vec![near],
        1 => vec![words],
        _ => vec![near.depth(500), words.depth(500).weight(2.0)],
    }
}

fn id(hit: &Hit) -> u64 {
    id_number(hit.document.id())
}

fn number(document: &Document, column: &str) -> Option<f64> {
    match document.get(column) {
        Some(Value::Int(number)) => Some(*number as f64),
        _ => None,
    }
}

fn distance(document: &Document, from: [f32; 2]) -> Option<f32> {
    match document.get("far") {
        Some(Value::Vector(vector)) => {
            let v = vector.to_f32();
            Some((v[0] - from[0]).powi(2) + (v[1] - from[1]).powi(2))
        }
        _ => None,
    }
}

/// Prefers long ids, as no index could.
#[derive(Debug)]
struct Longest;

#[async_trait]
impl Reranker for Longest {
    async fn rerank(&self, candidates: &[Hit]) -> Result<Vec<f32>> {
        assert!(candidates.is_sorted_by(|a, b| a.score >= b.score));
        Ok(candidates.iter().map(|hit| (id(hit) % 7) as f32).collect())
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Far([f32; 2]),
    Likes(Combine),
    Model,
}

impl Step {
    fn rescore(self) -> Rescore {
        match self {
            Self::Far(from) => Rescore::nearest("far", from),
            Self::Likes(combine) => Rescore::rank(combine, Rank::attribute("likes").saturate(5.0, 1.0)),
            Self::Model => Rescore::with(Arc::new(Longest)).select(Select::only(["likes"])),
        }
    }

    /// The definition.
    fn score(self, hit: &Hit) -> Option<f32> {
        match self {
            Self::Far(from) => distance(&hit.document, from).map(|distance| -distance),
            Self::Likes(combine) => {
                let likes = number(&hit.document, "likes").map(|likes| likes.max(0.0));
                let value = likes.map_or(0.0, |likes| likes / (likes + 5.0)) as f32;
                Some(match combine {
                    Combine::Product => hit.score * value,
                    _ => hit.score + value,
                })
            }
            Self::Model => Some((id(hit) % 7) as f32),
        }
    }
}

fn sort(hits: &mut [Hit]) {
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(id(a).cmp(&id(b))));
}

#[tokio::test]
async fn rescoring_ranks_the_best_anew() -> Result<()> {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let ns = filled(&mut rng).await?;
        for _ in 0..4 {
            let legs = legs(&mut rng);
            let steps: Vec<Step> = (0..rng.between(1, 3))
                .map(|_| match rng.below(4) {
                    0 => Step::Far([rng.around(3) as f32, 1.0]),
                    1 => Step::Likes(Combine::Sum),
                    2 => Step::Likes(Combine::Product),
                    _ => Step::Model,
                })
                .collect();
            let (depth, limit) = (rng.between(10, 60) as usize, rng.between(1, 10) as usize);
            let all = Query::hybrid(legs.clone()).select(Select::All);
            let mut expected = ns.query(all.clone().limit(depth)).await?.hits()?;
            let mut query = all.limit(limit);
            for step in &steps {
                query = query.rescore(step.rescore().depth(depth));
                expected.retain_mut(|hit| {
                    step.score(hit).is_some_and(|score| {
                        hit.score = score + 0.0;
                        true
                    })
                });
                sort(&mut expected);
            }
            expected.truncate(limit);
            let hits = ns.query(query).await?.hits()?;
            assert_eq!(
                hit_numbers(&hits),
                hit_numbers(&expected),
                "seed {seed}: {legs:?} {steps:?}\n{hits:?}\n{expected:?}"
            );
            for (hit, expected) in hits.iter().zip(&expected) {
                assert!(
                    (hit.score - expected.score).abs() <= 1e-5 * expected.score.abs().max(1.0),
                    "{hit:?}"
                );
                assert_eq!(hit.legs, expected.legs);
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn groups_hold_the_best_hits_of_the_best_values() -> Result<()> {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let ns = filled(&mut rng).await?;
        let legs = legs(&mut rng);
        let (limit, offset, each) =
            (rng.between(1, 4) as usize, rng.below(2) as usize, rng.between(1, 4) as usize);
        let all = ns.query(Query::hybrid(legs.clone()).limit(1_000)).await?.hits()?;
        let query = Query::hybrid(legs).limit(limit).offset(offset).group_by(["author"], each);
        let answer = ns.query(query).await?;
        let hits = answer.hits()?;
        let mut order: Vec<Option<Value>> = Vec::new();
        for hit in &all {
            let author = hit.document.get("author").cloned();
            if !order.contains(&author) {
                order.push(author);
            }
        }
        let order: Vec<_> = order.into_iter().skip(offset).take(limit).collect();
        let values: Vec<Option<Value>> = answer
            .groups
            .iter()
            .map(|group| Some(group.values[0].clone()).filter(|v| !v.is_null()))
            .collect();
        assert_eq!(values, order, "seed {seed}");
        let ends: usize = answer.groups.iter().map(|group| group.hits.len()).sum();
        assert_eq!(ends, hits.len());
        for (group, author) in answer.groups.iter().zip(&order) {
            let of = all.iter().filter(|hit| hit.document.get("author") == author.as_ref());
            let of: Vec<u64> = of.take(each).map(id).collect();
            let found = hit_numbers(&hits[group.hits.clone()]);
            // A single leg goes no deeper than it takes to find all groups.
            assert!(!found.is_empty() && of.starts_with(&found), "seed {seed}: {found:?} of {of:?}");
        }
        assert!(answer.cursor.is_none());
    }
    Ok(())
}

/// All pages of a query.
async fn pages(ns: &Namespace, query: &Query) -> Result<Vec<u64>> {
    let (mut shown, mut cursor) = (Vec::new(), None::<QueryCursor>);
    loop {
        let answer = ns.query(query.clone().after(cursor)).await?;
        shown.extend(hit_numbers(&answer.hits()?));
        match answer.cursor {
            // By way of text, as through a browser.
            Some(next) => cursor = Some(next.to_string().parse()?),
            None => return Ok(shown),
        }
    }
}

#[tokio::test]
async fn pages_are_one_long_page_when_nothing_is_written() -> Result<()> {
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let ns = filled(&mut rng).await?;
        let query = Query::hybrid(legs(&mut rng));
        let query = if rng.chance(0.3) { query.limit_per(["author"], 5) } else { query };
        let long = hit_numbers(&ns.query(query.clone().limit(1_000)).await?.hits()?);
        assert_eq!(pages(&ns, &query.limit(rng.between(1, 30) as usize)).await?, long, "seed {seed}");
    }
    Ok(())
}

#[tokio::test]
async fn no_document_is_shown_twice_while_others_write() -> Result<()> {
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let ns = filled(&mut rng).await?;
        let query = Query::hybrid(legs(&mut rng)).limit(7);
        let kept = hit_numbers(&ns.query(query.clone().limit(1_000)).await?.hits()?);
        let (mut shown, mut cursor, mut touched) = (Vec::new(), None::<QueryCursor>, BTreeSet::new());
        for _ in 0..100 {
            let answer = ns.query(query.clone().after(cursor)).await?;
            shown.extend(hit_numbers(&answer.hits()?));
            cursor = answer.cursor;
            if cursor.is_none() {
                break;
            }
            let id = rng.below(150);
            touched.insert(id);
            let delete = rng.chance(0.3);
            let batch = WriteBatch::new();
            ns.write(if delete { batch.delete(id) } else { batch.upsert(document(id, &mut rng)) }).await?;
            if rng.chance(0.3) {
                ns.flush().await?;
            }
        }
        let unique: BTreeSet<u64> = shown.iter().copied().collect();
        assert_eq!(unique.len(), shown.len(), "seed {seed}: {shown:?}");
        // What nobody touched was shown.
        let missing: Vec<&u64> =
            kept.iter().filter(|id| !touched.contains(id) && !unique.contains(id)).collect();
        assert!(missing.is_empty(), "seed {seed}: {missing:?}");
    }
    Ok(())
}

#[tokio::test]
async fn columns_are_computed_and_the_answer_is_arrow_too() -> Result<()> {
    let mut rng = Rng::new(3);
    let ns = filled(&mut rng).await?;
    let words = TextQuery::any("body", "cold tea");
    let by_word = Highlight::default().by(FragmentBy::Word);
    let query = Query::hybrid([Leg::nearest("near", [0.0, 1.0]).depth(30), Leg::text(words.clone())])
        .select(Select::only(["author"]))
        .compute("apart", Compute::distance("far", [1.0, 1.0]))
        .compute("fame", Compute::rank(Rank::attribute("likes")))
        .compute("said", Compute::highlight("body", words, by_word))
        .limit(25);
    let answer = ns.query(query).await?;
    let whole: BTreeMap<u64, Document> =
        ns.scan(Scan::new()).await?.rows.documents()?.into_iter().map(|d| (as_u64(&d), d)).collect();
    let hits = answer.hits()?;
    assert_eq!(hits.len(), 25);
    for hit in &hits {
        let document = &whole[&id(hit)];
        let apart = distance(document, [1.0, 1.0]).map(f64::from);
        assert_eq!(hit.computed["apart"].number(), apart);
        let likes = number(document, "likes").unwrap_or_default().max(0.0);
        assert_eq!(hit.computed["fame"].number(), Some(likes));
        let Some(Value::String(body)) = document.get("body") else { panic!("{document:?}") };
        let said: Vec<&str> = body.split(' ').filter(|word| ["cold", "tea"].contains(word)).take(3).collect();
        let found: Vec<&str> =
            hit.computed["said"].fragments().iter().map(|f: &Fragment| f.text.as_str()).collect();
        assert_eq!(found, said);
        assert!(hit.document.get("far").is_none() && hit.document.get("body").is_none());
    }
    let batch = answer.to_batch()?;
    let names: Vec<&str> = batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    let expected =
        ["id", "author", "$score", "$rank_0", "$score_0", "$rank_1", "$score_1", "apart", "fame", "said"];
    assert_eq!(names, expected);
    let column = |name: &str| batch.column_by_name(name).cloned().expect("a column");
    for (at, hit) in hits.iter().enumerate() {
        assert!((column("$score").as_primitive::<Float32Type>().value(at) - hit.score).abs() < f32::EPSILON);
        let ranks = column("$rank_1");
        let rank = ranks.is_valid(at).then(|| ranks.as_primitive::<UInt64Type>().value(at));
        assert_eq!(rank, hit.legs[1].map(|leg| leg.rank as u64));
        let apart = column("apart");
        let apart = apart.is_valid(at).then(|| apart.as_primitive::<Float64Type>().value(at));
        assert_eq!(apart, hit.computed["apart"].number());
        assert_eq!(column("said").as_list::<i32>().value(at).len(), hit.computed["said"].fragments().len());
    }
    assert_eq!(answer.computed("fame").map(<[_]>::len), Some(25));
    Ok(())
}

#[tokio::test]
async fn facets_are_of_all_that_the_filter_lets_through() -> Result<()> {
    let ns = filled(&mut Rng::new(4)).await?;
    let filter = Filter::gt("likes", 0);
    let authors = || Aggregation::new().group_by("author").aggregate("likes", Aggregate::sum("likes"));
    let liked = Aggregation::new().filter(Filter::gt("likes", 10));
    let query = Query::nearest("near", [0.0, 0.0])
        .filter(filter.clone())
        .limit(1)
        .facet("authors", authors())
        .facet("liked", liked.clone());
    let answer = ns.query(query.clone()).await?;
    assert_eq!((answer.rows.len(), answer.facets.len()), (1, 2));
    assert_eq!(answer.facets["authors"], ns.aggregate(authors().filter(filter)).await?);
    assert!(answer.facets["authors"].groups.len() > 2);
    assert_eq!(answer.facets["liked"], ns.aggregate(&liked).await?);
    for (query, words) in [
        (query.clone().facet("liked", liked), "two facets have the same name"),
        (query.facet("x", Aggregation::new().group_by("near")), "near"),
    ] {
        let error = ns.query(query).await.expect_err(words);
        assert!(error.to_string().contains(words), "{error}");
    }
    Ok(())
}

fn as_u64(document: &Document) -> u64 {
    match document.id() {
        DocumentId::U64(id) => *id,
        _ => unreachable!(),
    }
}

/// A segment with indexes on a store whose every request takes a second, seen by a fresh process.
async fn cold() -> Result<(CountingBackend, Snapshot)> {
    let memory: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    let mut settings = Settings::default();
    settings.index_rows_min = 1_000;
    // Limits of time are held to the clock that requests are delayed by, however long the machine takes.
    let env = Env::new(Paused::new(1));
    let open =
        |backend| Database::builder().env(env.clone()).settings(settings.clone()).open_backend(backend);
    let ns = open(Arc::clone(&memory)).await?.create_namespace("docs", schema()?).await?;
    let mut rng = Rng::new(5);
    let batch = (0..3_000).fold(WriteBatch::new(), |batch, id| batch.upsert(document(id, &mut rng)));
    ns.write(batch).await?;
    ns.flush().await?;
    ns.write(WriteBatch::new().upsert(document(9_000, &mut rng))).await?;
    let counting = CountingBackend::new(memory);
    let slow = DelayedBackend::new(Arc::new(counting.clone()), &env, Duration::from_secs(1));
    let snapshot =
        open(Arc::new(slow)).await?.open_namespace("docs").await?.snapshot(Consistency::Eventual).await?;
    counting.reset();
    Ok((counting, snapshot))
}

fn both() -> Query {
    Query::hybrid([Leg::nearest("near", [0.0, 1.0]), Leg::text(TextQuery::any("body", "cold tea"))])
        .filter(Filter::gt("likes", -15))
}

#[tokio::test(start_paused = true)]
async fn the_answer_says_what_it_took() -> Result<()> {
    let (counting, snapshot) = cold().await?;
    let start = tokio::time::Instant::now();
    let stats = snapshot.query(both()).await?.stats;
    assert_eq!(stats.round_trips, start.elapsed().as_secs());
    assert_eq!((stats.requests, stats.bytes), (counting.requests() as u64, counting.bytes_read()), "{stats}");
    assert_eq!((stats.parts, stats.rows, stats.tail_rows), (2, 3_001, 1));
    assert!(stats.requests > 3 && !stats.ranking.is_zero() && !stats.fetching.is_zero(), "{stats}");
    let warm = snapshot.query(both()).await?.stats;
    assert_eq!((warm.round_trips, warm.requests, warm.bytes), (0, 0, 0));
    assert!(warm.memory_hits > 0, "{warm}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn limits_of_time_and_bytes_hold_and_answers_may_be_partial() -> Result<()> {
    let (counting, snapshot) = cold().await?;
    let error = snapshot.query(both().bytes_max(1_000)).await.expect_err("a budget");
    assert_eq!(error.kind(), ErrorKind::BudgetExceeded);
    assert!(counting.bytes_read() <= 1_000, "{}", counting.bytes_read());
    let error = snapshot.query(both().timeout(Duration::from_millis(900))).await.expect_err("a deadline");
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);

    let (_, snapshot) = cold().await?;
    let short = |query: Query| query.timeout(Duration::from_millis(100)).partial();
    let nothing = snapshot.query(short(both())).await?;
    assert_eq!((nothing.unfinished.as_slice(), nothing.rows.len()), ([0, 1].as_slice(), 0));
    // Words are at hand now; vectors are not.
    let words = Query::text(TextQuery::any("body", "cold tea")).filter(Filter::gt("likes", -15)).limit(100);
    let words = snapshot.query(words).await?;
    for partial in
        [snapshot.query(short(both())).await?, snapshot.query(both().bytes_max(9).partial()).await?]
    {
        assert_eq!(partial.unfinished, [0]);
        assert_eq!(hit_numbers(&partial.hits()?), hit_numbers(&words.hits()?[..10]));
        assert!(partial.legs.iter().all(|legs| legs[0].is_none() && legs[1].is_some()));
    }
    // What is cached is within any budget.
    let whole = snapshot.query(both()).await?;
    let again = snapshot.query(both().bytes_max(0).timeout(Duration::from_millis(1))).await?;
    assert!(whole.unfinished.is_empty() && again.unfinished.is_empty());
    assert_eq!(again.hits()?, whole.hits()?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_plan_tells_what_a_query_will_do_and_reads_nothing() -> Result<()> {
    let (counting, snapshot) = cold().await?;
    let plan = snapshot.explain(both().limit_per(["author"], 2).rescore(Step::Model.rescore()))?;
    assert_eq!(counting.requests(), 0);
    let [near, words] = plan.legs.as_slice() else { panic!("{plan}") };
    let [segment, tail] = near.parts.as_slice() else { panic!("{plan}") };
    assert_eq!((segment.rows, tail.rows, tail.part.as_str()), (3_000, 1, "tail"));
    // Of vectors as short as these the codes take more than they do themselves.
    assert_eq!(segment.search, SearchPlan::Compare { bytes: 24_000 });
    let FilterPlan::Index(_, bytes) = segment.filter else { panic!("{plan}") };
    assert!(bytes > 0 && tail.filter == FilterPlan::Values);
    assert_eq!(words.parts[0].search, SearchPlan::Postings { words: 2 });
    assert!(plan.to_string().contains("rescore the best 100 by a model"), "{plan}");
    Ok(())
}

#[tokio::test]
async fn a_plan_keeps_its_word_where_no_filter_is_in_the_way() -> Result<()> {
    let schema = Schema::builder(IdKind::U64).vector("v", VectorType::F32, 64, Metric::L2Squared).build()?;
    let mut settings = Settings::default();
    settings.index_rows_min = 1_000;
    let db = Database::builder().settings(settings).open("memory://").await?;
    let ns = db.create_namespace("docs", schema).await?;
    let mut rng = Rng::new(5);
    let mut vector = || (0..64).map(|_| rng.unit() as f32).collect::<Vec<_>>();
    let row = |id: u64| Document::new(id).with("v", Vector::from(vector()));
    ns.write(WriteBatch::new().upsert_all((0..3_000).map(row).collect::<Vec<_>>())).await?;
    ns.flush().await?;
    let snapshot = ns.snapshot(Consistency::Eventual).await?;
    let query = Query::nearest("v", vec![0.5; 64]);
    let plan = snapshot.explain(&query)?;
    let SearchPlan::Probe { clusters, of, bytes } = plan.legs[0].parts[0].search else { panic!("{plan}") };
    assert!(0 < clusters && clusters <= of && bytes > 0, "{plan}");
    assert_eq!(snapshot.query(query).await?.stats.clusters_probed, clusters as u64);
    Ok(())
}

#[tokio::test]
async fn wrong_steps_are_refused_in_words() -> Result<()> {
    let ns = filled(&mut Rng::new(1)).await?;
    let query = || Query::nearest("near", [0.0, 0.0]);
    let rank = |rank| Rescore::rank(Combine::Sum, rank);
    let cursor = ns.query(query().limit(1)).await?.cursor.expect("more");
    let wrong: Vec<(Query, &str)> = vec![
        (query().rescore(Rescore::nearest("nowhere", [0.0, 0.0])), "no such vector column"),
        (query().rescore(rank(Rank::attribute("author"))), "no such attribute to rank by"),
        (query().rescore(rank(Rank::Constant(1.0)).depth(5)), "fewer than the query asks for"),
        (query().rescore(rank(Rank::Constant(1.0)).depth(10_001)), "bad depth of a rescoring"),
        ((0..5).fold(query(), |query, _| query.rescore(rank(Rank::Constant(1.0)))), "too many rescorings"),
        (query().rescore(Rescore::with(Arc::new(Broken(1)))), "one score for each"),
        (query().rescore(Rescore::with(Arc::new(Broken(10))).depth(10)), "a score is NaN"),
        (query().group_by(["near"], 1), "no such attribute"),
        (query().group_by(["author"], 0), "bad limit per value"),
        (query().limit(5_000).group_by(["author"], 3), "bad offset and limit"),
        (query().after(cursor.clone()).offset(1), "a cursor cannot be combined"),
        (query().after(cursor).group_by(["author"], 1), "a cursor cannot be combined"),
        (query().compute("author", Compute::rank(Rank::Constant(1.0))), "bad name of a computed column"),
        (query().compute("$x", Compute::rank(Rank::Constant(1.0))), "bad name of a computed column"),
        (query().compute("x", Compute::distance("author", [1.0, 2.0])), "no such vector column"),
        (query().compute("x", Compute::distance("far", [1.0])), "bad query vector"),
        (
            query().compute(
                "x",
                Compute::highlight("author", TextQuery::any("body", "x"), Highlight::default()),
            ),
            "author",
        ),
    ];
    for (query, words) in wrong {
        let error = ns.query(query).await.expect_err(words);
        assert!(error.to_string().contains(words), "{error}");
        assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::LimitExceeded), "{error}");
    }
    Ok(())
}

/// Gives this many scores, which are none.
#[derive(Debug)]
struct Broken(usize);

#[async_trait]
impl Reranker for Broken {
    async fn rerank(&self, _: &[Hit]) -> Result<Vec<f32>> {
        Ok(vec![f32::NAN; self.0])
    }
}

#[tokio::test]
async fn an_infinite_value_times_nothing_is_nothing() -> Result<()> {
    let schema = Schema::builder(IdKind::U64)
        .vector("v", VectorType::F32, 2, Metric::L2Squared)
        .attribute("likes", AttributeType::Float)
        .build()?;
    let ns = empty_namespace(schema).await?;
    let row = |id: u64, x: f32, likes: f64| {
        Document::new(id).with("v", Vector::from([x, 0.0])).with("likes", likes)
    };
    // The first two pass what a score holds.
    let batch =
        [row(1, 0.0, 1e300), row(2, 2.0, 1e300), row(3, 2.0, 0.0), row(4, 2.0, 2.0), row(5, 0.0, 0.0)];
    ns.write(WriteBatch::new().upsert_all(batch)).await?;
    for _ in 0..2 {
        let query = Query::nearest("v", [0.0, 0.0]);
        let product = Rescore::rank(Combine::Product, Rank::attribute("likes"));
        let hits = ns.query(query.clone().rescore(product)).await?.hits()?;
        assert_eq!(hit_numbers(&hits), [1, 3, 5, 4, 2]);
        let scores: Vec<f32> = hits.iter().map(|hit| hit.score).collect();
        assert_eq!(scores, [0.0, 0.0, 0.0, -8.0, f32::NEG_INFINITY]);
        let sum = Rescore::rank(Combine::Sum, Rank::attribute("likes"));
        assert_eq!(hit_numbers(&ns.query(query.rescore(sum)).await?.hits()?), [1, 2, 5, 4, 3]);
        ns.flush().await?;
    }
    Ok(())
}
