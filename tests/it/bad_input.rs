//! Bad requests: each is an error that says what is wrong and where, and leaves nothing behind.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test panics")]

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use elacsym::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use elacsym::query::{Highlight, QueryCursor};
use elacsym::schema::AttributeType;
use elacsym::schema::TextOptions;
use elacsym::storage::{
    ListPage, MemoryBackend, ObjectInfo, ObjectKey, ObjectPrefix, Payload, PutMode, StorageBackend,
};
use elacsym::{
    Aggregate, Aggregation, Combine, Compute, Condition, Consistency, Database, Document, DocumentId, Error,
    ErrorKind, Filter, Fuzzy, Hit, IdKind, Leg, Metric, Namespace, Operand, Order, Outcome, Query, Rank,
    RecallCheck, Reranker, Rescore, Result, Scan, Schema, Select, Sequence, Settings, TextQuery,
    VALUE_BYTES_MAX, Value, Vector, VectorType, WriteBatch,
};

use crate::common::fixtures::empty_namespace;

/// A namespace with one document on a store that can be looked into.
struct Fixture {
    memory: MemoryBackend,
    db: Database,
    docs: Namespace,
}

impl Fixture {
    async fn new(id: IdKind, settings: Settings) -> Result<Self> {
        let memory = MemoryBackend::new();
        let builder = Database::builder().settings(settings);
        let db = builder.open_backend(Arc::new(memory.clone())).await?;
        let docs = db.create_namespace("docs", schema(id)?).await?;
        let first: DocumentId = if id == IdKind::U64 { 1.into() } else { "one".into() };
        docs.write(WriteBatch::new().upsert(Document::new(first).with("n", 1))).await?;
        Ok(Self { memory, db, docs })
    }

    /// Every object with its bytes.
    async fn objects(&self) -> Result<BTreeMap<String, Bytes>> {
        let mut objects = BTreeMap::new();
        for info in self.memory.list(&ObjectPrefix::root(), None).await? {
            objects.insert(info.key.to_string(), self.memory.get(&info.key).await?);
        }
        Ok(objects)
    }

    /// A batch is refused in these words, nothing is written, and the next good one is.
    async fn refuses(&self, batch: WriteBatch, kind: ErrorKind, words: &[&str]) -> Result<()> {
        let before = self.objects().await?;
        let sequence = self.docs.snapshot(Consistency::Strong).await?.sequence();
        let error = self.docs.write(batch).await.expect_err(words[0]);
        says(&error, kind, words);
        assert_eq!(error.outcome(), Outcome::NotApplied, "{error}");
        assert!(self.objects().await? == before, "{error}: something was left behind");
        assert_eq!(self.docs.snapshot(Consistency::Strong).await?.sequence(), sequence);
        Ok(())
    }

    async fn still_writes(&self) -> Result<()> {
        let id: DocumentId = match self.docs.schema().id() {
            IdKind::U64 => 99.into(),
            _ => "ninety-nine".into(),
        };
        self.docs.write(WriteBatch::new().upsert(Document::new(id.clone()).with("n", 99))).await?;
        let found = self.docs.get(&[id]).await?;
        assert_eq!(found[0].as_ref().and_then(|found| found.get("n")), Some(&Value::Int(99)));
        Ok(())
    }
}

fn schema(id: IdKind) -> Result<Schema> {
    let schema = Schema::builder(id)
        .attribute("n", AttributeType::Int)
        .attribute("u", AttributeType::Uint)
        .attribute("f", AttributeType::Float)
        .attribute("text", AttributeType::String)
        .attribute("tags", AttributeType::StringArray)
        .vector("v", VectorType::F32, 2, Metric::Cosine);
    (0..9).fold(schema, |schema, at| schema.attribute(format!("long{at}"), AttributeType::String)).build()
}

fn says(error: &Error, kind: ErrorKind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is not in {:?}", error.to_string());
    }
}

fn upsert(document: Document) -> WriteBatch {
    WriteBatch::new().upsert(document)
}

fn rows(columns: Vec<(&str, ArrayRef)>) -> WriteBatch {
    WriteBatch::new().upsert_batch(RecordBatch::try_from_iter(columns).unwrap())
}

#[tokio::test]
async fn a_bad_document_is_refused_with_its_column_and_id() -> Result<()> {
    use ErrorKind::{Invalid, LimitExceeded};
    let fixture = Fixture::new(IdKind::U64, Settings::default()).await?;
    let seven = || Document::new(7);
    let long = "x".repeat(VALUE_BYTES_MAX);
    let huge = (0..9).fold(seven(), |document, at| document.with(format!("long{at}"), long.clone()));
    let (column, id) = (|name: &str| format!("column=`{name}`"), "id=`7`");
    let cases: Vec<(Document, ErrorKind, &str, String)> = vec![
        (seven().with("v", Vector::from([1.0])), Invalid, "wrong dimension: expected 2", column("v")),
        (seven().with("v", Vector::from([1.0, f32::NAN])), Invalid, "NaN", column("v")),
        (seven().with("v", Vector::from([f32::INFINITY, 0.0])), Invalid, "infinite", column("v")),
        (seven().with("v", Vector::from([0.0, 0.0])), Invalid, "length zero", column("v")),
        (seven().with("v", "text"), Invalid, "expected a vector", column("v")),
        (seven().with("f", f64::NAN), Invalid, "NaN", column("f")),
        (seven().with("absent", 1), Invalid, "unknown column", column("absent")),
        (seven().with("id", 8), Invalid, "unknown column", column("id")),
        (seven().with("n", "text"), Invalid, "expected int, found string", column("n")),
        (seven().with("u", -1), Invalid, "does not fit a uint", column("u")),
        (seven().with("tags", "one"), Invalid, "expected []string", column("tags")),
        (seven().with("tags", vec![Value::Null]), Invalid, "null inside an array", column("tags")),
        (seven().with("text", format!("{long}x")), LimitExceeded, "at most 8388608", column("text")),
        (huge, LimitExceeded, "at most 67108864", "document of 75497472 bytes".to_owned()),
    ];
    for (document, kind, what, place) in cases {
        fixture.refuses(upsert(document.clone()), kind, &[what, &place, id]).await?;
        // As good as the rest of a batch may be.
        let batch = upsert(Document::new(8).with("n", 8)).delete(1).patch(document);
        fixture.refuses(batch, kind, &[what, &place, id]).await?;
    }
    assert_eq!(fixture.docs.get([7, 8]).await?, [None, None]);
    fixture.still_writes().await
}

#[tokio::test]
async fn a_bad_record_batch_is_refused_with_its_column_and_row() -> Result<()> {
    let fixture = Fixture::new(IdKind::U64, Settings::default()).await?;
    let ids = |ids: &[u64]| -> ArrayRef { Arc::new(UInt64Array::from(ids.to_vec())) };
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0, f64::NAN]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let negative: ArrayRef = Arc::new(Int64Array::from(vec![1, -1]));
    let cases: Vec<(WriteBatch, &[&str])> = vec![
        (rows(vec![("id", ids(&[5, 5]))]), &["the same id twice", "id=`5`"]),
        (rows(vec![("id", ids(&[5, 7]))]).delete(7), &["the same id twice", "id=`7`"]),
        (rows(vec![("n", ids(&[5]))]), &["no id column"]),
        (rows(vec![("id", ids(&[5])), ("absent", ids(&[1]))]), &["unknown column", "column=`absent`"]),
        (rows(vec![("id", ids(&[5, 7])), ("f", floats)]), &["NaN", "column=`f`", "id=`7`"]),
        (rows(vec![("id", ids(&[5, 7])), ("n", texts)]), &["expected int", "column=`n`"]),
        (rows(vec![("id", negative)]), &["column=`id`", "row=`1`"]),
        (rows(vec![("id", ids(&[5])), ("v", ids(&[5]))]), &["column=`v`"]),
    ];
    for (batch, words) in cases {
        fixture.refuses(batch, ErrorKind::Invalid, words).await?;
    }
    fixture.still_writes().await
}

#[tokio::test]
async fn a_bad_id_or_one_that_comes_twice_is_refused() -> Result<()> {
    let fixture = Fixture::new(IdKind::U64, Settings::default()).await?;
    let twice = "the same id twice in a batch. id=`7`";
    let seven = || Document::new(7).with("n", 7);
    for batch in [
        upsert(seven()).upsert(seven()),
        upsert(seven()).delete(7),
        upsert(seven()).patch(seven()),
        upsert(seven()).insert(seven()),
        WriteBatch::new().delete(7).delete_if(7, Filter::eq("n", 1)),
    ] {
        fixture.refuses(batch, ErrorKind::Invalid, &[twice]).await?;
    }
    let kind: &[&str] = &["wrong kind of id", "uses u64", "this is string", "id=`seven`"];
    fixture.refuses(upsert(Document::new("seven")), ErrorKind::Invalid, kind).await?;
    fixture.refuses(WriteBatch::new().delete("seven"), ErrorKind::Invalid, kind).await?;
    says(&fixture.docs.get(["seven"]).await.unwrap_err(), ErrorKind::Invalid, kind);
    fixture.still_writes().await?;

    let fixture = Fixture::new(IdKind::String, Settings::default()).await?;
    let long = &["string id of 65 bytes: at most 64"];
    let id = "x".repeat(65);
    fixture.refuses(upsert(Document::new(id.clone())), ErrorKind::Invalid, long).await?;
    fixture.refuses(WriteBatch::new().delete(id.clone()), ErrorKind::Invalid, long).await?;
    let array: ArrayRef = Arc::new(StringArray::from(vec![id.clone()]));
    fixture.refuses(rows(vec![("id", array)]), ErrorKind::Invalid, &["row 0", long[0]]).await?;
    fixture.refuses(upsert(Document::new("")), ErrorKind::Invalid, &["empty string id"]).await?;
    says(&fixture.docs.get([id]).await.unwrap_err(), ErrorKind::Invalid, long);
    fixture.still_writes().await
}

#[tokio::test]
async fn a_batch_over_a_limit_is_refused() -> Result<()> {
    let mut settings = Settings::default();
    settings.batch_bytes_max = 4_096;
    settings.batch_operations_max = 8;
    let fixture = Fixture::new(IdKind::U64, settings).await?;
    let long = upsert(Document::new(7).with("text", "x".repeat(5_000)));
    fixture.refuses(long, ErrorKind::LimitExceeded, &["batch of", "4096"]).await?;
    let many = WriteBatch::new().upsert_all((10..20).map(Document::new));
    fixture.refuses(many, ErrorKind::LimitExceeded, &["more than 8 operations"]).await?;
    let patch = WriteBatch::new().patch_by_filter(Filter::eq("n", 1), [("text", "x".repeat(5_000))]);
    fixture.refuses(patch, ErrorKind::LimitExceeded, &["batch of", "4096"]).await?;
    fixture.still_writes().await
}

fn deep(levels: usize) -> Filter {
    (0..levels).fold(Filter::eq("n", 1), |filter, _| Filter::and([filter]))
}

#[tokio::test]
async fn a_bad_filter_is_refused_wherever_it_is_given() -> Result<()> {
    use ErrorKind::{Invalid, LimitExceeded};
    let fixture = Fixture::new(IdKind::U64, Settings::default()).await?;
    let cases: Vec<(Filter, ErrorKind, &[&str])> = vec![
        (Filter::eq("absent", 1), Invalid, &["unknown column", "column=`absent`"]),
        (Filter::eq("n", "text"), Invalid, &["expected int", "column=`n`"]),
        (Filter::lt("tags", "a"), Invalid, &["column=`tags`"]),
        (Filter::contains("n", 1), Invalid, &["expected an array", "column=`n`"]),
        (Filter::eq("v", 1), Invalid, &["whether it is null", "column=`v`"]),
        (Filter::regex("text", "(a"), Invalid, &["bad pattern"]),
        (Filter::regex("text", "x".repeat(2_000)), LimitExceeded, &["1024"]),
        (Filter::glob("n", "a*"), Invalid, &["column=`n`"]),
        (Filter::fuzzy("n", "query"), Invalid, &["column=`n`"]),
        (Filter::fuzzy("text", Fuzzy::new("query").distance(3, 1)), Invalid, &["at least 6"]),
        (Filter::fuzzy("text", "x".repeat(2_000)), LimitExceeded, &["at most 256"]),
        (Filter::eq("n", Operand::new_value("n")), Invalid, &["column=`n`"]),
        (deep(40), LimitExceeded, &["at most 32"]),
        (deep(100_000), LimitExceeded, &["at most 32"]),
        (Filter::or((0..5_000).map(|n| Filter::eq("n", n))), LimitExceeded, &["at most 4096"]),
        (Filter::is_in("n", 0..100_001), LimitExceeded, &["at most 100000"]),
    ];
    let near = || Query::nearest("v", Vector::from([1.0, 0.0]));
    for (filter, kind, words) in cases {
        says(&fixture.docs.query(near().filter(filter.clone())).await.unwrap_err(), kind, words);
        says(&fixture.docs.scan(Scan::new().filter(filter.clone())).await.unwrap_err(), kind, words);
        let patch = WriteBatch::new().patch_by_filter(filter.clone(), [("n", 2)]);
        fixture.refuses(patch, kind, words).await?;
        fixture.refuses(WriteBatch::new().delete_by_filter(filter), kind, words).await?;
    }
    // A condition may name new values, and no others.
    let condition = Filter::eq("n", Operand::new_value("absent"));
    let batch = WriteBatch::new().upsert_if(Document::new(1).with("n", 2), condition);
    fixture.refuses(batch, Invalid, &["unknown column", "column=`absent`"]).await?;
    let patch = WriteBatch::new().patch_by_filter(Filter::eq("n", 1), [("id", 2)]);
    fixture.refuses(patch, Invalid, &["cannot change the id"]).await?;
    fixture.still_writes().await
}

/// Runs on a thread with as much stack as threads have by default.
fn on_a_common_thread<F: Future<Output = Result<()>>>(work: impl FnOnce() -> F + Send + 'static) {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work());
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap();
    thread.join().unwrap().unwrap();
}

const LEVELS: usize = 200_000;

#[test]
fn a_filter_deeper_than_the_stack_is_refused_wherever_it_is_given() {
    on_a_common_thread(|| async {
        let fixture = Fixture::new(IdKind::U64, Settings::default()).await?;
        let docs = &fixture.docs;
        let snapshot = docs.snapshot(Consistency::Strong).await?;
        let near = || Leg::nearest("v", [1.0, 0.0]);
        let query = || Query::from(near());
        let facet = |filter| Aggregation::new().filter(filter);
        // Every kind of node, one within another.
        let filter = (0..LEVELS).fold(Filter::eq("n", 1), |filter, level| match level % 3 {
            0 => Filter::And(vec![filter, Filter::is_null("u")]),
            1 => Filter::Or(vec![Filter::is_null("u"), filter]),
            _ => Filter::Not(Box::new(filter)),
        });
        let f = || filter.clone();
        let value = || Rank::sum([Rank::Constant(1.0), Rank::Filter(f())]);
        let queries = [
            query().filter(f()),
            query().filter(Filter::eq("n", 1)).filter(f()),
            Query::hybrid([near(), near().filter(f())]),
            query().facet("all", facet(f())),
            query().filter(f()).facet("all", facet(f())),
            query().rescore(Rescore::rank(Combine::Sum, value())),
            query().compute("value", Compute::rank(value())),
        ];
        for query in &queries {
            assert!(!format!("{:?}", query.clone()).is_empty());
            let refused = [
                snapshot.explain(query).unwrap_err(),
                docs.query(query.clone()).await.unwrap_err(),
                docs.query_all(std::slice::from_ref(query)).await.unwrap_err(),
            ];
            for error in &refused {
                says(error, ErrorKind::LimitExceeded, &["at most 32"]);
            }
        }
        let refused = [
            docs.scan(Scan::new().filter(f())).await.unwrap_err(),
            docs.aggregate(facet(f())).await.unwrap_err(),
            docs.measure_recall(RecallCheck::of("v").filter(f())).await.unwrap_err(),
            snapshot.count_matching(&filter).await.unwrap_err(),
        ];
        for error in &refused {
            says(error, ErrorKind::LimitExceeded, &["at most 32"]);
        }
        let condition = || Condition::new(f());
        for batch in [
            WriteBatch::new().delete_by_filter(f()),
            WriteBatch::new().patch_by_filter(f(), [("n", 2)]),
            WriteBatch::new().upsert_if(Document::new(1).with("n", 2), condition()),
            WriteBatch::new().patch_if(Document::new(1).with("n", 2), condition()),
            WriteBatch::new().delete_if(1, condition()),
        ] {
            assert!(!format!("{batch:?}").is_empty());
            fixture.refuses(batch.clone(), ErrorKind::LimitExceeded, &["at most 32"]).await?;
        }
        fixture.still_writes().await
    });
}

#[test]
fn a_text_query_or_rank_deeper_than_the_stack_is_refused_wherever_it_is_given() {
    on_a_common_thread(|| async {
        let schema = Schema::builder(IdKind::U64)
            .vector("v", VectorType::F32, 2, Metric::Cosine)
            .text("body", TextOptions::default())
            .attribute("n", AttributeType::Int);
        let docs = empty_namespace(schema.build()?).await?;
        let document = Document::new(1).with("v", Vector::from([1.0, 0.0])).with("body", "tea").with("n", 1);
        docs.write(WriteBatch::new().upsert(document)).await?;
        let snapshot = docs.snapshot(Consistency::Strong).await?;
        let words = || TextQuery::any("body", "tea");
        let query = || Query::nearest("v", [1.0, 0.0]);
        let answer = docs.query(query()).await?;
        let text = (0..LEVELS).fold(words(), |query, level| match level % 5 {
            0 => TextQuery::all_of([query]),
            1 => TextQuery::best([TextQuery::phrase("body", "a b"), query]),
            2 => query.boost(1.0),
            3 => words().without(query),
            _ => query.ranked(Combine::Sum, Rank::Constant(1.0)),
        });
        let rank = (0..LEVELS).fold(Rank::attribute("n"), |rank, level| match level % 3 {
            0 => rank.saturate(1.0, 1.0),
            1 => rank.decay(1.0, 1.0),
            _ => rank.times(2.0),
        });
        let error = answer.rows.highlight("body", &text, Highlight::default()).unwrap_err();
        says(&error, ErrorKind::LimitExceeded, &["32 levels"]);
        let queries = [
            Query::text(text.clone()),
            Query::hybrid([Leg::nearest("v", [1.0, 0.0]), Leg::text(text.clone())]),
            query().compute("marked", Compute::highlight("body", text, Highlight::default())),
            Query::text(words().ranked(Combine::Product, rank.clone())),
            query().rescore(Rescore::rank(Combine::Max, rank.clone())),
            query().compute("value", Compute::rank(rank)),
        ];
        for query in queries {
            assert!(!format!("{:?}", query.clone()).is_empty());
            says(&snapshot.explain(&query).unwrap_err(), ErrorKind::LimitExceeded, &["32 levels"]);
            says(&docs.query(query).await.unwrap_err(), ErrorKind::LimitExceeded, &["32 levels"]);
        }
        Ok(())
    });
}

#[derive(Debug)]
struct Model;

#[async_trait]
impl Reranker for Model {
    async fn rerank(&self, candidates: &[Hit]) -> Result<Vec<f32>> {
        Ok(vec![0.0; candidates.len()])
    }
}

#[tokio::test]
async fn an_option_that_a_query_has_no_use_for_is_refused() -> Result<()> {
    let schema = Schema::builder(IdKind::U64)
        .vector("v", VectorType::F32, 2, Metric::Cosine)
        .text("body", TextOptions::default())
        .attribute("n", AttributeType::Int);
    let docs = empty_namespace(schema.build()?).await?;
    let near = || Leg::nearest("v", [1.0, 0.0]);
    let text = || Leg::text(TextQuery::any("body", "tea"));
    let order = || Leg::order_by([Order::asc("n")]);
    let efforts: [fn(Query) -> Query; 3] = [|query| query.recall(0.9), |query| query.probes(3), Query::exact];
    // What every leg and query takes.
    let common: [fn(Leg) -> Leg; 3] =
        [|leg| leg.depth(5), |leg| leg.weight(2.0), |leg| leg.filter(Filter::eq("n", 1))];
    for (leg, is_vector) in [(near(), true), (text(), false), (order(), false)] {
        for option in common {
            docs.query(option(leg.clone())).await?;
            docs.query(Query::hybrid([near(), option(leg.clone())])).await?;
        }
        for of_query in efforts {
            let asked: [(Query, bool); 2] = [
                (of_query(leg.clone().into()), is_vector),
                // It is of those that are of vectors.
                (of_query(Query::hybrid([leg.clone(), near()])), true),
            ];
            for (query, is_good) in asked {
                match docs.query(query.clone()).await {
                    Ok(_) => assert!(is_good, "{query:?}"),
                    Err(error) => {
                        assert!(!is_good, "{query:?}: {error}");
                        says(&error, ErrorKind::Invalid, &["of vector legs alone"]);
                    }
                }
            }
        }
        let only = || Select::only(["n"]);
        let rescores = [
            (Rescore::nearest("v", [1.0, 0.0]), false),
            (Rescore::rank(Combine::Sum, Rank::attribute("n")), false),
            (Rescore::with(Arc::new(Model)), true),
        ];
        for (rescore, takes_columns) in rescores {
            docs.query(Query::from(leg.clone()).rescore(rescore.clone())).await?;
            let asked = docs.query(Query::from(leg.clone()).rescore(rescore.select(only()))).await;
            assert_eq!(asked.is_ok(), takes_columns);
            if let Err(error) = asked {
                says(&error, ErrorKind::Invalid, &["a selection is for a reranker alone"]);
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_query_over_a_limit_is_refused() -> Result<()> {
    let Fixture { docs, .. } = Fixture::new(IdKind::U64, Settings::default()).await?;
    let near = || Query::nearest("v", [1.0, 0.0]);
    let long = "x".repeat(129);
    let names = |count: usize| (0..count).map(|_| "n".to_owned());
    let globs =
        |count: usize, of: &str| Filter::or((0..count).map(|at| Filter::glob("text", format!("{of}{at}*"))));
    let big = |count: usize| Filter::or((0..count).map(|_| Filter::eq("text", "x".repeat(1 << 20))));
    let leg = |filter| Leg::nearest("v", [1.0, 0.0]).filter(filter);
    let value = |filter| Rescore::rank(Combine::Sum, Rank::Filter(filter));
    let over: Vec<(Query, &str)> = vec![
        (near().select(Select::only(names(1_026))), "at most 1025"),
        (near().select(Select::except(names(1_026))), "at most 1025"),
        (near().facet(long.clone(), Aggregation::new()), "at most 128"),
        (near().facet("f", Aggregation::new().aggregate(long.clone(), Aggregate::sum("n"))), "at most 128"),
        (near().compute(long, Compute::distance("v", [1.0, 0.0])), "at most 128"),
        (Query::hybrid([leg(globs(50, "a")), leg(globs(50, "b")), leg(globs(50, "c"))]), "at most 128"),
        (
            near().filter(globs(60, "a")).rescore(value(globs(60, "b"))).rescore(value(globs(60, "c"))),
            "at most 128",
        ),
        (near().filter(big(40)).facet("all", Aggregation::new().filter(big(1))), "at most 67108864 bytes"),
    ];
    for (query, most) in over {
        says(&docs.query(query).await.unwrap_err(), ErrorKind::LimitExceeded, &[most]);
    }
    for query in [
        near().select(Select::only(names(1_025))),
        // What is given once counts once, however many use it.
        Query::hybrid((0..8).map(|_| leg(globs(50, "a"))))
            .facet("f", Aggregation::new().filter(globs(50, "a"))),
        near().filter(big(40)).facet("all", Aggregation::new()),
    ] {
        docs.query(query).await?;
    }
    // Of several queries of a call together.
    let queries = ["a", "b", "c"].map(|of| near().filter(globs(50, of)));
    says(&docs.query_all(&queries).await.unwrap_err(), ErrorKind::LimitExceeded, &["at most 128"]);
    docs.query_all(&queries[..2]).await?;
    let cursor = format!("q{}", ".n1".repeat(100_001)).parse::<QueryCursor>().unwrap_err();
    says(&cursor, ErrorKind::LimitExceeded, &["at most 100000 ids"]);
    Ok(())
}

#[tokio::test]
async fn documents_that_are_too_large_together_are_not_read() -> Result<()> {
    let mut settings = Settings::default();
    settings.answer_bytes_max = 1 << 20;
    let Fixture { docs, .. } = Fixture::new(IdKind::U64, settings).await?;
    let document = |id: u64| {
        Document::new(id).with("n", 7).with("text", "x".repeat(600_000)).with("v", Vector::from([1.0, 0.0]))
    };
    docs.write(WriteBatch::new().upsert_all((10..14).map(document))).await?;
    let near = |limit| Query::nearest("v", [1.0, 0.0]).limit(limit);
    let says_so = |error: Error| says(&error, ErrorKind::LimitExceeded, &["at most 1048576 bytes", "fewer"]);
    for _ in ["tail", "segment"] {
        assert_eq!(docs.query(near(1).select(Select::only(["n"]))).await?.rows.len(), 1);
        assert_eq!(docs.query(near(4).select(Select::only(["n"]))).await?.rows.len(), 4);
        says_so(docs.query(near(4)).await.unwrap_err());
        says_so(docs.query(near(4).select(Select::only(["n"])).limit_per(["text"], 9)).await.unwrap_err());
        says_so(
            docs.query(near(4).rescore(Rescore::with(Arc::new(Model))).select(Select::only(["n"])))
                .await
                .unwrap_err(),
        );
        assert_eq!(docs.scan(Scan::new().limit(2)).await?.rows.len(), 2);
        says_so(docs.scan(Scan::new()).await.unwrap_err());
        says_so(docs.get([10, 11]).await.unwrap_err());
        docs.flush().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_bad_query_is_refused() -> Result<()> {
    use ErrorKind::{Invalid, LimitExceeded};
    let Fixture { docs, .. } = Fixture::new(IdKind::U64, Settings::default()).await?;
    let near = |column: &str, vector: &[f32]| Query::nearest(column, vector.to_vec());
    let good = || near("v", &[1.0, 0.0]);
    let queries: Vec<(Query, ErrorKind, &[&str])> = vec![
        (near("absent", &[1.0, 0.0]), Invalid, &["no such vector column", "column=`absent`"]),
        (near("n", &[1.0, 0.0]), Invalid, &["no such vector column", "column=`n`"]),
        (near("v", &[1.0]), Invalid, &["wrong dimension: expected 2", "column=`v`"]),
        (near("v", &[1.0, f32::NAN]), Invalid, &["NaN", "column=`v`"]),
        (near("v", &[0.0, 0.0]), Invalid, &["length zero", "column=`v`"]),
        (good().limit(0), LimitExceeded, &["1 to 10000", "limit=`0`"]),
        (good().limit(10_001), LimitExceeded, &["1 to 10000", "limit=`10001`"]),
        (good().select(Select::only(["absent"])), Invalid, &["unknown column", "column=`absent`"]),
    ];
    for (query, kind, words) in queries {
        says(&docs.query(query).await.unwrap_err(), kind, words);
    }
    says(&docs.scan(Scan::new().limit(0)).await.unwrap_err(), LimitExceeded, &["limit=`0`"]);
    let absent = Scan::new().select(Select::except(["absent"]));
    says(&docs.scan(absent).await.unwrap_err(), Invalid, &["column=`absent`"]);
    let future = docs.snapshot(Consistency::AtLeast(Sequence(99))).await.unwrap_err();
    says(&future, Invalid, &["sequence=`99`"]);
    Ok(())
}

#[tokio::test]
async fn a_hostile_name_reaches_no_object() -> Result<()> {
    let fixture = Fixture::new(IdKind::U64, Settings::default()).await?;
    let before = fixture.objects().await?;
    let long = "x".repeat(300);
    for name in ["", ".", "..", "../x", "a/b", "/etc", "a\\b", "a\0b", "a\nb", "~", "a%2fb", "é", &long] {
        let db = &fixture.db;
        let schema = schema(IdKind::U64)?;
        for error in [
            db.create_namespace(name, schema.clone()).await.unwrap_err(),
            db.open_or_create_namespace(name, schema).await.unwrap_err(),
            db.open_namespace(name).await.unwrap_err(),
            db.delete_namespace(name).await.unwrap_err(),
        ] {
            says(&error, ErrorKind::Invalid, &["bad namespace name", "name=`"]);
            assert!(error.to_string().len() < 200 && !error.to_string().contains('\n'), "{error}");
        }
    }
    assert!(fixture.objects().await? == before);
    let missing = fixture.db.open_namespace("absent").await.unwrap_err();
    says(&missing, ErrorKind::NotFound, &["name=`absent`"]);
    let taken = fixture.db.create_namespace("docs", schema(IdKind::U64)?).await.unwrap_err();
    says(&taken, ErrorKind::AlreadyExists, &["name=`docs`"]);
    let other = Schema::builder(IdKind::Uuid).build()?;
    let other = fixture.db.open_or_create_namespace("docs", other).await.unwrap_err();
    says(
        &other,
        ErrorKind::Invalid,
        &["another schema: ids: stored u64, asked for uuid; column `n`: stored, not", "name=`docs`"],
    );
    assert!(fixture.objects().await? == before);
    fixture.still_writes().await
}

#[test]
fn a_bad_schema_is_refused_with_its_column() {
    let attribute = |name: &str| Schema::builder(IdKind::U64).attribute(name, AttributeType::Int).build();
    for (name, why) in [("", "empty"), ("id", "reserved"), ("$score", "reserved"), ("a\0", "control")] {
        says(&attribute(name).unwrap_err(), ErrorKind::Invalid, &["bad column name", why]);
    }
    says(&attribute(&"x".repeat(129)).unwrap_err(), ErrorKind::Invalid, &["longer than 128"]);
    for dimension in [0, 16_385] {
        let schema = Schema::builder(IdKind::U64).vector("v", VectorType::F32, dimension, Metric::Dot);
        says(&schema.build().unwrap_err(), ErrorKind::Invalid, &["bad dimension", "column=`v`"]);
    }
}

type Change = fn(&mut Settings);

#[tokio::test]
async fn bad_settings_are_refused_before_the_store_is_touched() -> Result<()> {
    let cases: [(Change, &str); 8] = [
        (|s| s.grace = Some(Duration::from_mins(1)), "grace is below one hour"),
        (|s| s.grace = Some(Duration::from_hours(100_000)), "grace is above ten years"),
        (|s| s.grace = Some(Duration::from_nanos(7_200_000_000_001)), "whole number of milliseconds"),
        (|s| s.request_timeout = Duration::ZERO, "a timeout is zero"),
        (|s| s.write_timeout = Duration::from_hours(24), "a timeout is above"),
        (|s| s.batch_bytes_max = 0, "a limit is zero"),
        (|s| s.limit_max = 0, "a limit is zero"),
        (|s| s.tail_bytes_flush = usize::MAX, "a tail flushes only above"),
    ];
    for (change, words) in cases {
        let mut settings = Settings::default();
        change(&mut settings);
        let memory = MemoryBackend::new();
        let open = Database::builder().settings(settings).open_backend(Arc::new(memory.clone()));
        says(&open.await.unwrap_err(), ErrorKind::Invalid, &["bad setting", words]);
        assert_eq!(memory.list(&ObjectPrefix::root(), None).await?, []);
    }
    Ok(())
}

#[tokio::test]
async fn a_bad_location_is_refused() {
    for location in [
        "",
        "s3://",
        "s3:///a",
        "ftp://host/a",
        "memory://x",
        "file://host/a",
        "file:///a%zz",
        "s3:/x",
        "S3:x",
        "s3//x",
        "http:/x",
        "memory:",
    ] {
        let error = Database::open(location).await.expect_err(location);
        says(&error, ErrorKind::Invalid, &["bad location"]);
    }
    let missing = [
        ("s3://bucket/a", "aws", cfg!(feature = "aws")),
        ("gs://bucket/a", "gcp", cfg!(feature = "gcp")),
        ("az://container/a", "azure", cfg!(feature = "azure")),
    ];
    for (location, feature, _) in missing.into_iter().filter(|(.., compiled)| !compiled) {
        let error = Database::open(location).await.expect_err(location);
        says(&error, ErrorKind::Invalid, &["needs the feature", &format!("`{feature}`")]);
    }
}

#[test]
fn without_a_runtime_opening_is_an_error_and_no_panic() {
    let mut open = Box::pin(Database::open("memory://"));
    let Poll::Ready(opened) = open.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it waits for a runtime that is not there");
    };
    says(&opened.unwrap_err(), ErrorKind::Invalid, &["no tokio runtime"]);
}

#[tokio::test]
async fn a_store_without_conditional_puts_is_refused_and_left_empty() -> Result<()> {
    let memory = MemoryBackend::new();
    let error = Database::builder().open_backend(Arc::new(Overwriting(memory.clone()))).await.unwrap_err();
    says(&error, ErrorKind::UnsupportedStore, &["If-None-Match", "check=`"]);
    assert_eq!(memory.list(&ObjectPrefix::root(), None).await?, []);
    Ok(())
}

/// Memory that takes every put, as a store does that does not know of conditions.
#[derive(Debug)]
struct Overwriting(MemoryBackend);

#[async_trait]
impl StorageBackend for Overwriting {
    async fn put(&self, key: &ObjectKey, body: Payload, _: PutMode) -> Result<()> {
        self.0.put(key, body, PutMode::Overwrite).await
    }
    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.0.get(key).await
    }
    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.0.get_range(key, range).await
    }
    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        self.0.head(key).await
    }
    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
        self.0.list_page(prefix, after).await
    }
    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        self.0.list_folders(prefix).await
    }
    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.0.delete(key).await
    }
}

impl fmt::Display for Overwriting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("overwriting")
    }
}

#[tokio::test]
async fn a_filter_deeper_than_the_stack_is_refused_in_every_write() -> Result<()> {
    let fixture = Fixture::new(IdKind::U64, Settings::default()).await?;
    let document = |id: u64| Document::new(id).with("n", 2);
    let deepest = || deep(200_000);
    let batches = [
        // Two of one kind: the second would be compared with the first.
        WriteBatch::new().upsert_if(document(1), deepest()).upsert_if(document(2), deepest()),
        WriteBatch::new().patch_if(document(1), deepest()).patch_if(document(2), deepest()),
        WriteBatch::new().delete_if(1, deepest()).delete_if(2, deepest()),
        WriteBatch::new().delete_by_filter(deepest()).delete_by_filter(deepest()),
        WriteBatch::new().patch_by_filter(deepest(), [("n", 2)]),
        // Refused for another reason, which comes first in the batch.
        WriteBatch::new()
            .patch_by_filter(Filter::eq("absent", 1), [("n", 2)])
            .upsert_if(document(1), deepest()),
    ];
    for batch in batches {
        fixture.refuses(batch, ErrorKind::LimitExceeded, &["at most 32"]).await?;
    }
    fixture.still_writes().await
}
