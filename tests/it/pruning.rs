//! Segments that a filter rules out by the statistics in the manifest: nothing of them is read, and no answer changes.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use elacsym::query::{FilterPlan, SearchPlan};
use elacsym::schema::{AttributeType, TextOptions};
use elacsym::storage::{CountingBackend, MemoryBackend, Request};
use elacsym::*;

use crate::common::fixtures::id_number;

const SEGMENTS: u64 = 10;
const EACH: u64 = 300;
/// From here on documents are asked for: the last three segments.
const SINCE: u64 = 7 * EACH;

/// A document as it is written: its time is its id.
fn document(id: u64) -> Document {
    let near = f32::from(u16::try_from(id * 7_919 % 3_001).unwrap());
    Document::new(id)
        .with("at", Value::Datetime(id.cast_signed()))
        .with("kind", format!("kind{}", id % 3))
        .with("body", format!("cold {}", if id.is_multiple_of(5) { "store" } else { "reads" }))
        .with("v", Vector::from([near, 1.0]))
}

/// Ten segments, each of its own time, and a tail that writes a document of each again, and one anew.
async fn filled(store: &CountingBackend) -> Result<()> {
    let schema = Schema::builder(IdKind::U64)
        .attribute("at", AttributeType::Datetime)
        .attribute("kind", AttributeType::String)
        .text("body", TextOptions::default())
        .vector("v", VectorType::F32, 2, Metric::L2Squared)
        .build()?;
    let docs = open(store).await?.create_namespace("docs", schema).await?;
    for segment in 0..SEGMENTS {
        docs.write(WriteBatch::new().upsert_all((segment * EACH..(segment + 1) * EACH).map(document)))
            .await?;
        docs.flush().await?;
    }
    let again = (0..SEGMENTS).map(|segment| document(segment * EACH + 5));
    docs.write(WriteBatch::new().upsert_all(again).upsert(document(SEGMENTS * EACH))).await?;
    docs.close().await;
    Ok(())
}

async fn open(store: &CountingBackend) -> Result<Database> {
    // A merge would join the segments that are told apart here.
    let settings = Settings::default().auto_compact(false);
    Database::builder().settings(settings).open_backend(Arc::new(store.clone())).await
}

/// A state of which heads were read, in a process that knows nothing else.
async fn cold(store: &CountingBackend) -> Result<Snapshot> {
    let snapshot = open(store).await?.open_namespace("docs").await?.snapshot(Consistency::Strong).await?;
    store.reset();
    Ok(snapshot)
}

fn since() -> Filter {
    Filter::gte("at", Value::Datetime(SINCE.cast_signed()))
}

fn ids(documents: &[Document]) -> BTreeSet<u64> {
    documents.iter().map(|document| id_number(document.id())).collect()
}

fn nearest() -> Query {
    Query::nearest("v", Vector::from([1_500.0, 1.0])).limit(2_000)
}

/// The segments that the plan of a query leaves out.
async fn pruned(store: &CountingBackend) -> Result<Vec<String>> {
    let plan = cold(store).await?.explain(nearest().filter(since()))?;
    let parts = plan.legs[0].parts.iter().filter(|part| part.filter == FilterPlan::Pruned);
    assert!(parts.clone().all(|part| part.search == SearchPlan::Nothing), "{plan}");
    assert!(plan.to_string().contains("pruned by statistics"), "{plan}");
    Ok(parts.map(|part| part.part.strip_prefix("segment ").unwrap().to_owned()).collect())
}

#[tokio::test]
async fn only_segments_of_the_time_that_is_asked_for_are_read() -> Result<()> {
    let store = CountingBackend::new(Arc::new(MemoryBackend::new()));
    filled(&store).await?;
    let pruned = pruned(&store).await?;
    assert_eq!(pruned.len(), 7);
    let of_pruned = || -> Vec<Request> {
        let is_pruned = |request: &Request| pruned.iter().any(|segment| request.name.contains(segment));
        store.log().into_iter().filter(is_pruned).collect()
    };
    let expected: BTreeSet<u64> = (SINCE..=SEGMENTS * EACH).collect();
    let count = expected.len();

    let page = cold(&store).await?.scan(Scan::new().filter(since()).limit(2_000)).await?;
    assert_eq!(ids(&page.rows.documents()?), expected);
    assert!(store.requests() > 0, "the others are read");
    assert_eq!(of_pruned(), []);

    assert_eq!(cold(&store).await?.count_matching(since()).await?, count as u64);
    assert_eq!(of_pruned(), []);

    let kinds = Aggregation::new().filter(since()).group_by("kind").aggregate("last", Aggregate::max("at"));
    let kinds = cold(&store).await?.aggregate(&kinds).await?;
    assert_eq!(
        (kinds.groups.len(), kinds.groups.iter().map(|group| group.count).sum::<u64>()),
        (3, count as u64)
    );
    assert_eq!(of_pruned(), []);

    let orders = [Order::asc("kind"), Order::desc("at")];
    for query in [nearest(), nearest().recall(1.0), Query::order_by(orders).limit(2_000)] {
        let answer = cold(&store).await?.query(query.filter(since()).select(Select::All)).await?;
        assert_eq!(ids(&answer.rows.documents()?), expected);
        assert_eq!((answer.stats.segments_pruned, answer.stats.parts), (7, 11));
        assert_eq!(of_pruned(), []);
    }

    // Two legs of which one sees everything.
    let both = Query::hybrid([
        Leg::nearest("v", Vector::from([1_500.0, 1.0])).filter(since()),
        Leg::order_by([Order::asc("at")]),
    ]);
    let answer = cold(&store).await?.query(both.limit(10)).await?;
    assert_eq!((answer.rows.len(), answer.stats.segments_pruned), (10, 7));
    assert_ne!(of_pruned(), []);

    // Writes by filter: only what matches is read, and written again.
    let docs = open(&store).await?.open_namespace("docs").await?;
    store.reset();
    let patch = WriteBatch::new().patch_by_filter(since(), [("kind".to_owned(), Value::from("new"))]);
    assert_eq!(docs.write(patch).await?.patched, count as u64);
    assert_eq!(of_pruned(), []);
    let gone = WriteBatch::new().delete_by_filter(since() & Filter::eq("kind", "new"));
    assert_eq!(docs.write(gone).await?.deleted, count as u64);
    assert_eq!(of_pruned(), []);
    assert_eq!(docs.snapshot(Consistency::Strong).await?.count().await?, SINCE);
    Ok(())
}

#[tokio::test]
async fn scores_count_the_words_of_segments_that_are_left_out() -> Result<()> {
    let store = CountingBackend::new(Arc::new(MemoryBackend::new()));
    filled(&store).await?;
    let pruned = pruned(&store).await?;
    let text = || Query::text(TextQuery::any("body", "cold store")).limit(4_000);
    let scores = |answer: &QueryResponse| -> Result<BTreeMap<u64, f32>> {
        let hits = answer.hits()?;
        Ok(hits.iter().map(|hit| (id_number(hit.document.id()), hit.score)).collect())
    };
    let mut all = scores(&cold(&store).await?.query(text()).await?)?;
    all.retain(|id, _| *id >= SINCE);
    let answer = cold(&store).await?.query(text().filter(since())).await?;
    assert_eq!(scores(&answer)?, all);
    assert_eq!(answer.stats.segments_pruned, 7);
    let of_pruned = store.log().into_iter().filter(|request| {
        pruned.iter().any(|segment| request.name.contains(segment)) && request.name.ends_with("/rows.parquet")
    });
    assert_eq!(of_pruned.count(), 0, "only words are looked up");
    Ok(())
}

#[tokio::test]
async fn a_filter_on_ids_and_on_columns_without_an_index_prunes_as_well() -> Result<()> {
    let store = CountingBackend::new(Arc::new(MemoryBackend::new()));
    let schema = Schema::builder(IdKind::String)
        .attribute("n", AttributeType::Int)
        .filterable("n", false)
        .attribute("long", AttributeType::String)
        .attribute("tags", AttributeType::StringArray)
        .build()?;
    let docs = open(&store).await?.create_namespace("docs", schema).await?;
    for segment in 0..4_i64 {
        let rows = (0..50_i64).map(|row| {
            let name = format!("{}{segment}{row:02}", "x".repeat(40));
            let document = Document::new(name.as_str()).with("n", segment * 100 + row);
            let document = document.with("tags", vec![format!("t{segment}"), "all".to_owned()]);
            // Of one segment all are null; the names differ behind what statistics tell.
            if segment == 3 { document } else { document.with("long", name) }
        });
        docs.write(WriteBatch::new().upsert_all(rows)).await?;
        docs.flush().await?;
    }
    let id = |row: &str| format!("{}{row}", "x".repeat(40));
    for (filter, found, segments) in [
        (Filter::eq("n", 205), 1, 1),
        (Filter::gte("n", 149) & Filter::lt("n", 300), 51, 2),
        (Filter::is_in("n", [-1, 60, 400]), 0, 0),
        (!Filter::gte("n", 100), 50, 1),
        (Filter::eq("id", id("105").as_str()), 1, 4),
        (Filter::lt("id", "x"), 0, 0),
        (Filter::gte("long", id("1").as_str()), 100, 3),
        (Filter::is_null("long"), 50, 1),
        (!Filter::is_null("long"), 150, 3),
        (Filter::contains("tags", "t2"), 50, 2),
        (!Filter::contains("tags", "zz"), 200, 4),
        (Filter::contains("tags", "t3"), 50, 1),
        (Filter::contains_any("tags", ["t4", "u"]), 0, 0),
        (Filter::any_lt("tags", "all"), 0, 0),
    ] {
        let snapshot = cold(&store).await?;
        let query = Query::order_by([Order::asc("n")]).filter(filter.clone()).limit(1_000);
        let answer = snapshot.query(query).await?;
        assert_eq!((answer.rows.len(), 4 - answer.stats.segments_pruned), (found, segments), "{filter:?}");
        assert_eq!(cold(&store).await?.count_matching(&filter).await?, found as u64, "{filter:?}");
        assert!(segments > 0 || store.requests() == 0, "{filter:?}");
    }
    Ok(())
}
