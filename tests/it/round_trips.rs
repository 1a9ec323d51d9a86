//! What operations cost: requests, and how many of them wait for one another.
//!
//! Every request takes a fixed time on a clock that stands still otherwise, so the time that passed counts the
//! dependent round trips.
#![expect(clippy::disallowed_methods, reason = "the paused clock is what is read")]
#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use elacsym::env::Env;
use elacsym::schema::{AttributeType, TextOptions};
use elacsym::storage::{CountingBackend, DelayedBackend, MemoryBackend, ObjectPrefix, StorageBackend, Verb};
use elacsym::{
    Aggregate, Aggregation, Compute, Condition, Consistency, Database, Document, DocumentId, Filter, IdKind,
    Metric, Namespace, Operand, Order, Query, Rank, Result, Scan, Schema, Settings, Value, Vector,
    VectorType, WriteBatch,
};
use tokio::time::Instant;

use crate::common::fixtures::small_index_settings;

/// A store whose requests cost time and are counted.
struct Store {
    memory: MemoryBackend,
    delayed: DelayedBackend,
    counting: CountingBackend,
}

/// What an operation cost.
#[derive(Debug)]
struct Cost {
    trips: u64,
    requests: usize,
    counts: BTreeMap<Verb, usize>,
}

impl Store {
    fn new() -> Result<Self> {
        let memory = MemoryBackend::new();
        let delay = Duration::from_millis(50);
        let delayed = DelayedBackend::new(Arc::new(memory.clone()), &Env::current()?, delay);
        let counting = CountingBackend::new(Arc::new(delayed.clone()));
        Ok(Self { memory, delayed, counting })
    }

    async fn open(&self) -> Result<Database> {
        Database::builder().open_backend(Arc::new(self.counting.clone())).await
    }

    async fn cost<T>(&self, work: impl Future<Output = Result<T>>) -> Result<(T, Cost)> {
        self.counting.reset();
        let start = Instant::now();
        let done = work.await?;
        let trips = self.delayed.round_trips(start.elapsed());
        let cost = Cost { trips, requests: self.counting.requests(), counts: self.counting.counts() };
        Ok((done, cost))
    }

    async fn delete_hint(&self) -> Result<()> {
        let listed = self.memory.list(&ObjectPrefix::root(), None).await?;
        let hints = listed.iter().filter(|info| info.key.as_str().ends_with("/HINT"));
        for hint in hints {
            self.memory.delete(&hint.key).await?;
        }
        Ok(())
    }
}

fn schema() -> Result<Schema> {
    Schema::builder(IdKind::U64)
        .attribute("n", AttributeType::Int)
        .vector("v", VectorType::F32, 4, Metric::L2Squared)
        .build()
}

fn document(id: u64) -> Document {
    let x = f32::from(u16::try_from(id).unwrap());
    Document::new(id).with("n", i64::try_from(id).unwrap()).with("v", Vector::from([x, 0.0, 0.0, 1.0]))
}

fn documents(ids: std::ops::Range<u64>) -> WriteBatch {
    WriteBatch::new().upsert_all(ids.map(document))
}

fn one_put() -> BTreeMap<Verb, usize> {
    BTreeMap::from([(Verb::Create, 1)])
}

#[tokio::test(start_paused = true)]
async fn a_filter_reads_its_blocks_in_one_round_trip() -> Result<()> {
    let store = Store::new()?;
    let docs = store.open().await?.create_namespace("docs", schema()?).await?;
    docs.write(documents(0..20_000)).await?;
    docs.flush().await?;
    let docs = store.open().await?.open_namespace("docs").await?;
    let snapshot = docs.snapshot(Consistency::Strong).await?;
    // A filter that no row of the segment can match is answered by the head.
    let none = Filter::gt("n", 30_000) | Filter::is_null("n");
    let (page, cost) = store.cost(snapshot.scan(Scan::new().filter(none))).await?;
    assert_eq!((page.rows.len(), cost.trips), (0, 0), "{cost:?}");
    // Blocks, then the rows.
    let few = (Filter::eq("n", 7) | Filter::eq("n", 19_000)) & Filter::lt("n", 19_500);
    let (page, cost) = store.cost(snapshot.scan(Scan::new().filter(few))).await?;
    assert_eq!(page.rows.len(), 2);
    assert!(cost.trips <= 3, "{cost:?}");
    Ok(())
}

/// What was done to a namespace before it is opened anew.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    Tail,
    Segment,
    SegmentAndTail,
    /// Two segments, dead rows in one of them, and a tail.
    Everything,
    /// The same without a tail.
    DeadRows,
}

impl Before {
    const ALL: [Self; 5] =
        [Self::Tail, Self::Segment, Self::SegmentAndTail, Self::Everything, Self::DeadRows];

    fn has_tail(self) -> bool {
        matches!(self, Self::Tail | Self::SegmentAndTail | Self::Everything)
    }

    async fn make(self, docs: &Namespace) -> Result<()> {
        docs.write(documents(0..100)).await?;
        if self == Self::Tail {
            return Ok(());
        }
        docs.flush().await?;
        if matches!(self, Self::Everything | Self::DeadRows) {
            docs.write(documents(100..200).delete(50)).await?;
            docs.flush().await?;
        }
        if self.has_tail() {
            docs.write(documents(200..203)).await?;
            docs.write(documents(203..205)).await?;
        }
        Ok(())
    }

    /// Of every place where rows are.
    fn ids(self) -> Vec<DocumentId> {
        let last = if self.has_tail() && self != Self::Tail { 204 } else { 99 };
        vec![7.into(), last.into()]
    }
}

#[tokio::test(start_paused = true)]
async fn a_cold_namespace_answers_its_first_get_within_four_round_trips() -> Result<()> {
    for before in Before::ALL {
        for hint in [true, false] {
            let store = Store::new()?;
            before.make(&store.open().await?.create_namespace("docs", schema()?).await?).await?;
            if !hint {
                store.delete_hint().await?;
            }
            let (db, open) = store.cost(store.open()).await?;
            assert_eq!((open.trips, open.requests), (1, 1), "opening a store that is there");
            let (found, cost) =
                store.cost(async { db.open_namespace("docs").await?.get(before.ids()).await }).await?;
            println!("{before:?} hint={hint}: {} trips, {} requests", cost.trips, cost.requests);
            let expected: Vec<_> = match before.ids()[1] {
                DocumentId::U64(last) => vec![Some(document(7)), Some(document(last))],
                _ => Vec::new(),
            };
            assert_eq!(found, expected, "{before:?}");
            assert!(cost.trips <= 4, "{before:?} hint={hint}: {cost:?}");
            let all = open.trips + cost.trips;
            let quick = hint && !before.has_tail();
            assert!(all <= if quick { 4 } else { 5 }, "{before:?} hint={hint}: {all} round trips in all");
            assert!(cost.requests <= 24, "{before:?} hint={hint}: {cost:?}");
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_long_tail_is_read_at_once() -> Result<()> {
    for linked in [false, true] {
        let store = Store::new()?;
        let mut settings = Settings::default();
        (settings.auto_flush, settings.auto_compact) = (false, false);
        settings.reference_bytes_min = if linked { 1 } else { usize::MAX };
        let db = Database::builder().settings(settings).open_backend(Arc::new(store.memory.clone())).await?;
        let docs = db.create_namespace("docs", schema()?).await?;
        let entries = if linked { 20 } else { 255 };
        for id in 0..entries {
            docs.write(documents(id..id + 1)).await?;
        }
        let db = store.open().await?;
        let (docs, cost) = store.cost(db.open_namespace("docs")).await?;
        println!("linked={linked}: {} trips, {} requests", cost.trips, cost.requests);
        // Names; lists; entries; and the segments that they link.
        assert!(cost.trips <= if linked { 4 } else { 3 }, "{cost:?}");
        let ids: Vec<DocumentId> = vec![0.into(), (entries - 1).into()];
        assert_eq!(docs.get(&ids).await?, [Some(document(0)), Some(document(entries - 1))]);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_name_used_again_opens_with_its_hint_as_quickly() -> Result<()> {
    let store = Store::new()?;
    let db = store.open().await?;
    db.create_namespace("docs", schema()?).await?.write(documents(0..3)).await?;
    db.delete_namespace("docs").await?;
    Before::SegmentAndTail.make(&db.create_namespace("docs", schema()?).await?).await?;
    let db = store.open().await?;
    let (found, cost) = store.cost(async { db.open_namespace("docs").await?.get([204]).await }).await?;
    assert_eq!(found, [Some(document(204))]);
    assert!(cost.trips <= 4, "{cost:?}");
    // Without the hint it takes one more: its manifests are listed only when its incarnation is known.
    store.delete_hint().await?;
    let db = store.open().await?;
    let (found, cost) = store.cost(async { db.open_namespace("docs").await?.get([7]).await }).await?;
    assert_eq!(found, [Some(document(7))]);
    assert!(cost.trips <= 5, "{cost:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_warm_strong_get_is_one_round_trip() -> Result<()> {
    let store = Store::new()?;
    Before::Everything.make(&store.open().await?.create_namespace("docs", schema()?).await?).await?;
    let docs = store.open().await?.open_namespace("docs").await?;
    let (found, cost) = store.cost(docs.get([201])).await?;
    assert_eq!(found, [Some(document(201))]);
    assert_eq!((cost.trips, cost.requests), (1, 1), "a row of the tail: {cost:?}");
    let (found, cost) = store.cost(docs.get([8])).await?;
    assert_eq!(found, [Some(document(8))]);
    assert_eq!(cost.trips, 1, "a row of a segment: {cost:?}");
    assert!((2..=4).contains(&cost.requests), "the look for newer writes, and the row: {cost:?}");
    let (found, cost) = store.cost(docs.get([50, 9_999])).await?;
    assert_eq!((found, cost.trips), (vec![None, None], 1), "documents that are not there: {cost:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn snapshots_cost_what_their_consistency_says() -> Result<()> {
    let store = Store::new()?;
    let docs = store.open().await?.create_namespace("docs", schema()?).await?;
    let receipt = docs.write(documents(0..3)).await?;
    let (_, strong) = store.cost(docs.snapshot(Consistency::Strong)).await?;
    assert_eq!((strong.trips, strong.requests), (1, 1), "{strong:?}");
    for free in [Consistency::Eventual, Consistency::AtLeast(receipt.sequence)] {
        let (found, cost) = store.cost(async { docs.snapshot(free).await?.get([1]).await }).await?;
        assert_eq!((found, cost.requests), (vec![Some(document(1))], 0), "{free:?}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_write_is_one_put() -> Result<()> {
    let store = Store::new()?;
    let docs = store.open().await?.create_namespace("docs", schema()?).await?;
    for id in 0..3 {
        let (_, cost) = store.cost(docs.write(WriteBatch::new().upsert(document(id)))).await?;
        assert_eq!((cost.trips, cost.counts), (1, one_put()), "blind write {id}");
    }
    let newer = Condition::new(Filter::lt("n", Operand::new_value("n")));
    let update = WriteBatch::new().upsert_if(document(1).with("n", 70), newer.clone());
    let (receipt, cost) = store.cost(docs.write(update)).await?;
    assert_eq!((receipt.upserted, cost.trips, cost.counts), (1, 1, one_put()), "a condition on the tail");
    // The first write of another process, which opens first.
    let docs = store.open().await?.open_namespace("docs").await?;
    let (_, cost) = store.cost(docs.write(WriteBatch::new().upsert(document(5)).delete(0))).await?;
    assert_eq!((cost.trips, cost.counts), (1, one_put()), "the first write after opening");
    // Nothing is put where the condition is false; that takes one look, for the answer to be the newest.
    let (receipt, cost) =
        store.cost(docs.write(WriteBatch::new().upsert_if(document(1).with("n", 70), newer))).await?;
    assert_eq!((receipt.skipped, cost.requests), (1, 1), "{cost:?}");
    assert_eq!(cost.counts, BTreeMap::from([(Verb::Get, 1)]));
    assert_eq!(docs.get([1]).await?[0].as_ref().unwrap().get("n"), Some(&Value::Int(70)));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn writes_that_wait_together_share_a_put() -> Result<()> {
    let store = Store::new()?;
    let docs = store.open().await?.create_namespace("docs", schema()?).await?;
    let writes = (0..50).map(|id| docs.write(WriteBatch::new().upsert(document(id))));
    let (_, cost) = store.cost(futures::future::try_join_all(writes)).await?;
    assert!(cost.requests <= 2 && cost.trips <= 2, "{cost:?}");
    assert_eq!(docs.snapshot(Consistency::Strong).await?.count().await?, 50);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_idle_namespace_asks_nothing() -> Result<()> {
    let store = Store::new()?;
    let db = store.open().await?;
    let docs = db.create_namespace("docs", schema()?).await?;
    Before::Everything.make(&docs).await?;
    // After a flush, somebody may have to collect: one look.
    tokio::time::sleep(Duration::from_mins(1)).await;
    store.counting.reset();
    tokio::time::sleep(Duration::from_hours(24)).await;
    assert_eq!(store.counting.log(), []);
    assert_eq!(docs.get([7]).await?, [Some(document(7))]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_cold_search_takes_few_round_trips() -> Result<()> {
    let store = Store::new()?;
    Before::Everything.make(&store.open().await?.create_namespace("docs", schema()?).await?).await?;
    let query = || Query::nearest("v", Vector::from([8.2, 0.0, 0.0, 1.0])).limit(3);
    for (query, words, trips) in
        [(query(), "plain", 6), (query().filter(Filter::lt("n", 150)), "filtered", 7)]
    {
        let db = store.open().await?;
        let (answer, cost) =
            store.cost(async { db.open_namespace("docs").await?.query(query).await }).await?;
        println!("{words}: {} trips, {} requests", cost.trips, cost.requests);
        let ids: Vec<_> = answer.hits()?.iter().map(|hit| hit.document.id().clone()).collect();
        assert_eq!(ids, [8, 9, 7], "{words}");
        assert!(cost.trips <= trips && cost.requests <= 26, "{words}: {cost:?}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn figures_and_ranks_take_as_many_round_trips_however_many_segments_there_are() -> Result<()> {
    let mut costs = Vec::new();
    for segments in [1_u64, 2, 12] {
        let store = Store::new()?;
        let docs = store.open().await?.create_namespace("docs", schema()?).await?;
        for segment in 0..segments {
            docs.write(documents(segment * 300..(segment + 1) * 300)).await?;
            docs.flush().await?;
        }
        let snapshot =
            store.open().await?.open_namespace("docs").await?.snapshot(Consistency::Strong).await?;
        // By the index, by windows of two columns, and by the values of hits.
        let one = Aggregation::new().group_by("n");
        let (found, by_index) = store.cost(snapshot.aggregate(&one)).await?;
        assert_eq!(found.groups_total as u64, segments * 300);
        let snapshot =
            store.open().await?.open_namespace("docs").await?.snapshot(Consistency::Strong).await?;
        let two = Aggregation::new().group_by("n").aggregate("most", Aggregate::max("n"));
        let (found, by_windows) = store.cost(snapshot.aggregate(&two)).await?;
        assert_eq!(found.groups_total as u64, segments * 300);
        let snapshot =
            store.open().await?.open_namespace("docs").await?.snapshot(Consistency::Strong).await?;
        let value = || Compute::rank(Rank::attribute("n").saturate(5.0, 1.0));
        let query = Query::order_by([Order::asc("id")]).limit(usize::try_from(segments).unwrap() * 300);
        let query = (0..5).fold(query, |query, at| query.compute(format!("value{at}"), value()));
        let (answer, by_values) = store.cost(snapshot.query(query)).await?;
        assert_eq!(answer.rows.len() as u64, segments * 300);
        costs.push((by_index.trips, by_windows.trips, by_values.trips));
    }
    println!("figures: {costs:?}");
    assert_eq!(costs[1], costs[0]);
    assert_eq!(costs[2], costs[0]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_flush_costs_the_same_however_long_the_log() -> Result<()> {
    let mut requests = Vec::new();
    for entries in [1, 40] {
        let store = Store::new()?;
        let docs = store.open().await?.create_namespace("docs", schema()?).await?;
        for id in 0..entries {
            docs.write(WriteBatch::new().upsert(document(id))).await?;
        }
        let (report, cost) = store.cost(docs.flush()).await?;
        println!("flush of {entries}: {} trips, {:?}", cost.trips, cost.counts);
        assert_eq!(report.rows, entries);
        assert!(cost.requests <= 16 && cost.trips <= 10, "{cost:?}");
        requests.push(cost.requests);
        let (report, cost) = store.cost(docs.flush()).await?;
        assert_eq!(report.rows, 0);
        assert!(cost.requests <= 3, "nothing to flush: {cost:?}");
    }
    assert_eq!(requests[0], requests[1]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn opening_a_segment_is_one_request() -> Result<()> {
    let store = Store::new()?;
    let schema = Schema::builder(IdKind::U64)
        .text("body", TextOptions::default())
        .attribute("n", AttributeType::Int)
        .vector("v", VectorType::F32, 4, Metric::L2Squared)
        .vector("w", VectorType::F16, 2, Metric::Dot)
        .build()?;
    let settings = small_index_settings();
    let database = Database::builder().settings(settings.clone());
    let database = database.open_backend(Arc::new(store.memory.clone())).await?;
    let docs = database.create_namespace("docs", schema).await?;
    for segment in 0..3 {
        let ids = segment * 400..(segment + 1) * 400;
        let documents = ids.map(|id| {
            let w = Vector::from([1.0, f32::from(u16::try_from(id).unwrap())]);
            document(id).with("body", format!("word{id}")).with("w", w)
        });
        docs.write(WriteBatch::new().upsert_all(documents)).await?;
        docs.flush().await?;
    }
    let opener =
        Database::builder().settings(settings).open_backend(Arc::new(store.counting.clone())).await?;
    let (docs, cost) = store.cost(opener.open_namespace("docs")).await?;
    let requests = store.counting.log().into_iter().map(|request| request.name);
    let files: Vec<String> = requests.filter(|name| name.contains("/segment/")).collect();
    assert!(files.len() == 3 && files.iter().all(|name| name.ends_with("/index")), "{files:?}");
    assert!(cost.trips <= 3, "{cost:?}");
    assert_eq!(docs.snapshot(Consistency::Eventual).await?.count().await?, 1_200);
    Ok(())
}
