//! Lines that a Rust user types without looking anything up.
#![expect(clippy::needless_borrows_for_generic_args, reason = "that is what is typed")]

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use elacsym::query::LegHit;
use elacsym::schema::AttributeType;
use elacsym::{
    Database, Document, DocumentId, ErrorKind, Filter, Hit, IdKind, Metric, Namespace, Query, Result, Scan,
    Schema, Select, Settings, Value, Vector, VectorType, WriteBatch,
};
use futures::{StreamExt, TryStreamExt};
use uuid::Uuid;

async fn papers(kind: IdKind) -> Result<Namespace> {
    let schema = Schema::builder(kind)
        .attribute("title", AttributeType::String)
        .attribute("year", AttributeType::Int)
        .attribute("published", AttributeType::Datetime)
        .text("body", elacsym::schema::TextOptions::default())
        .vector("v", VectorType::F32, 2, Metric::Cosine)
        .build()?;
    Database::open("memory://").await?.create_namespace("papers", schema).await
}

#[tokio::test]
async fn a_query_takes_a_borrowed_embedding() -> Result<()> {
    let papers = papers(IdKind::U64).await?;
    papers.write(Document::new(1).with("v", Vector::from([0.0, 1.0]))).await?;
    let embedding: Vec<f32> = vec![0.0, 1.0];
    for query in [Query::nearest("v", &embedding), Query::nearest("v", &[0.0, 1.0])] {
        assert_eq!(*papers.query(query).await?.hits()?[0].document.id(), 1);
    }
    Ok(())
}

#[tokio::test]
async fn ids_are_numbers_of_any_type_and_none_is_negative() -> Result<()> {
    let papers = papers(IdKind::U64).await?;
    let titles = ["one", "two", "three"];
    let documents = titles.iter().enumerate().map(|(n, title)| Document::new(n).with("title", *title));
    papers.write(documents.collect::<WriteBatch>()).await?;
    let (a, b): (i32, i64) = (10, 11);
    papers.write(vec![Document::new(a), Document::new(b), Document::new(12_u32)]).await?;
    assert_eq!(papers.get([0, 1, 2, 10, 11, 12]).await?.iter().flatten().count(), 6);
    let error = papers.write(Document::new(-1)).await.expect_err("no id");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("below zero"), "{error}");
    for outcome in
        [papers.get_one(-1).await.map(drop), papers.write(WriteBatch::new().delete(-7_i64)).await.map(drop)]
    {
        assert_eq!(outcome.expect_err("no id").kind(), ErrorKind::Invalid);
    }
    // A filter compares numbers, of which minus one is one.
    let snapshot = papers.snapshot(elacsym::Consistency::Strong).await?;
    assert_eq!(snapshot.count_matching(&Filter::eq("id", -1)).await?, 0);
    assert_eq!(snapshot.count_matching(&Filter::gt("id", -1)).await?, 6);
    Ok(())
}

#[tokio::test]
async fn documents_are_got_one_by_one_or_by_any_list() -> Result<()> {
    let papers = papers(IdKind::String).await?;
    papers.write(vec![Document::new("a").with("year", 1), Document::new("b")]).await?;
    let year = papers.get_one("a").await?.and_then(|found| found.i64("year")).unwrap_or(0);
    assert_eq!((year, papers.get_one("c").await?), (1, None));
    let owned = vec!["a".to_owned(), "b".to_owned()];
    let ids: Vec<DocumentId> = vec!["a".into(), "b".into()];
    for found in [
        papers.get(["a", "b"]).await?,
        papers.get(&["a", "b"]).await?,
        papers.get(&owned).await?,
        papers.get(&ids).await?,
    ] {
        assert_eq!(found.iter().flatten().count(), 2);
    }
    let snapshot = papers.snapshot(elacsym::Consistency::Strong).await?;
    assert!(snapshot.get_one("b").await?.is_some());
    assert_eq!(snapshot.get_columns(["a"], ["year"]).await?[0].as_ref().and_then(|d| d.i64("year")), Some(1));
    Ok(())
}

#[test]
fn values_are_made_of_what_programs_hold() {
    let string = String::from("text");
    let document = Document::new(1)
        .with("len", string.len())
        .with("offset", -3_isize)
        .with("t", &string)
        .with("cow", Cow::Borrowed("text"))
        .with("shared", Arc::<str>::from("text"))
        .with("tags", &["a", "b"][..])
        .with("at", UNIX_EPOCH + Duration::from_micros(1_500));
    assert_eq!((document.u64("len"), document.i64("offset")), (Some(4), Some(-3)));
    for column in ["t", "cow", "shared"] {
        assert_eq!(document.str(column), Some("text"));
    }
    assert_eq!(document.get("tags").and_then(Value::as_slice).map(<[_]>::len), Some(2));
    assert_eq!(document.get("at").and_then(Value::as_datetime), Some(1));
    assert_eq!(Value::from(UNIX_EPOCH - Duration::from_micros(1)), Value::Datetime(-1));
    #[expect(clippy::disallowed_methods, reason = "a user has no other clock")]
    let recent = Filter::gte("published", SystemTime::now());
    assert_eq!(recent.clone(), recent);
    assert_eq!(Value::datetime("1970-01-01T00:00:01Z").ok(), Some(Value::Datetime(1_000)));
    let error = Value::datetime("yesterday").expect_err("no datetime");
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("yesterday"), "{error}");
}

#[test]
fn accessors_convert_numbers_that_fit_and_nothing_else() {
    assert_eq!((Value::Int(-1).as_u64(), Value::Int(7).as_u64()), (None, Some(7)));
    assert_eq!((Value::Uint(u64::MAX).as_i64(), Value::Uint(7).as_i64()), (None, Some(7)));
    assert_eq!(
        (Value::Int(1 << 53).as_f64(), Value::Int((1 << 53) + 1).as_f64()),
        (Some(2_f64.powi(53)), None)
    );
    assert_eq!((Value::Uint(u64::MAX).as_f64(), Value::Int(i64::MAX).as_f64()), (None, None));
    assert_eq!((Value::Float(1.0).as_i64(), Value::from("1").as_i64()), (None, None));
    assert_eq!((Value::Bool(true).as_bool(), Value::Null.as_bool()), (Some(true), None));
    assert_eq!(Value::from(Uuid::nil()).as_uuid(), Some(Uuid::nil()));
    assert!(Value::from(Vector::from([1.0])).as_vector().is_some());
}

#[test]
fn settings_are_one_expression() {
    let settings = Settings::default().cache_bytes(1 << 30).grace(Duration::from_hours(2)).auto_flush(false);
    assert_eq!((settings.cache_bytes, settings.auto_flush), (1 << 30, false));
}

#[tokio::test]
async fn answers_go_out_as_json() -> Result<()> {
    let papers = papers(IdKind::U64).await?;
    let paper = Document::new(7)
        .with("title", "Cold reads")
        .with("published", Value::datetime("2024-02-29T12:00:00Z")?);
    papers.write(paper.with("v", Vector::from([0.0, 1.0]))).await?;
    let query = Query::nearest("v", [0.0, 1.0]).select(["title", "published"]);
    let answer = papers.query(query).await?;
    let hit = &answer.hits()?[0];
    let json = serde_json::to_value(hit).expect("a hit is JSON");
    assert_eq!(json["document"]["id"], 7);
    assert_eq!(json["document"]["published"], "2024-02-29T12:00:00.000Z");
    assert_eq!(json["legs"][0]["rank"], 1);
    assert_eq!(json["document"].as_object().map(serde_json::Map::len), Some(3), "{json}");
    let stats = serde_json::to_value(answer.stats).expect("statistics are JSON");
    assert_eq!(stats["rows"], 1);
    // What goes out comes in again.
    let back = Document::from_serialize(papers.schema(), &json["document"]).expect("a document");
    assert_eq!((back.id(), back.str("title")), (hit.document.id(), Some("Cold reads")));
    Ok(())
}

#[tokio::test]
async fn names_that_are_listed_are_opened() -> Result<()> {
    let db = Database::open("memory://").await?;
    db.create_namespace("papers", Schema::builder(IdKind::U64).build()?).await?;
    for name in db.list_namespaces().await? {
        assert_eq!(*db.open_namespace(&name).await?.name(), name);
        assert_eq!(serde_json::to_string(&name).ok().as_deref(), Some("\"papers\""));
    }
    Ok(())
}

#[test]
fn hits_are_made_for_tests_of_what_uses_them() {
    let hit = Hit::new(Document::new(1), 0.5, vec![Some(LegHit::new(2, 7.5)), None]);
    assert_eq!((hit.rank(0), hit.rank(1), hit.rank(2)), (Some(2), None, None));
    assert_eq!(hit.leg(0).map(|leg| leg.score), Some(7.5));
    assert!(hit.fragments("said").is_empty());
    let near = Hit::new(Document::new(1), 0.5, vec![Some(LegHit::at_distance(1, 0.25))]);
    assert_eq!(near.distance(), Some(0.25));
}

#[tokio::test]
async fn columns_are_selected_by_their_names() -> Result<()> {
    let papers = papers(IdKind::U64).await?;
    papers.write(Document::new(1).with("title", "Cold reads").with("year", 2024)).await?;
    let page = papers.scan(Scan::new().select(["title", "year"])).await?;
    assert_eq!(page.rows.documents()?[0].iter().count(), 2);
    assert_eq!(Select::from(vec!["title"]), Select::only(["title"]));
    Ok(())
}

#[test]
fn ids_compare_with_what_they_are_made_of() {
    let ids: [DocumentId; 4] = [1.into(), "a".into(), Uuid::nil().into(), (-1).into()];
    let [number, text, uuid, negative] = &ids;
    assert!(*number == 1_u64 && *number != 2_u64 && *number == 1 && *number != "1");
    assert!(*text == "a" && *text != "b" && *uuid == Uuid::nil() && *uuid != 0);
    assert!(*negative == -1 && *negative != u64::MAX);
    assert_eq!((number.as_u64(), text.as_str(), negative.as_u64()), (Some(1), Some("a"), None));
}

#[test]
fn values_and_documents_read_well() {
    let values: [(Value, &str); 8] = [
        ("Cold reads".into(), "Cold reads"),
        (5.into(), "5"),
        (0.5.into(), "0.5"),
        (Value::Null, "null"),
        (Value::Datetime(0), "1970-01-01T00:00:00.000Z"),
        (vec!["a", "b"].into(), "[a, b]"),
        (Vector::from([0.5; 100]).into(), "[0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, … 100 in all]"),
        (Value::from(bytes::Bytes::from_static(b"abc")), "3 bytes"),
    ];
    for (value, shown) in values {
        assert_eq!(value.to_string(), shown);
    }
    assert_eq!(format!("{:<6}|", Value::from("a")), "a     |");
    let document = Document::new("x").with("year", 2024).with("title", "Tea").with("none", Value::Null);
    assert_eq!(document.to_string(), "x: title=Tea, year=2024");
}

#[tokio::test]
async fn a_scan_is_a_stream_of_pages() -> Result<()> {
    let papers = papers(IdKind::U64).await?;
    papers.write((0..25_u64).map(Document::new).collect::<WriteBatch>()).await?;
    let snapshot = papers.snapshot(elacsym::Consistency::Strong).await?;
    papers.write(Document::new(100)).await?;
    let pages = snapshot.stream(Scan::new().limit(10));
    drop(snapshot);
    let pages: Vec<usize> = pages.map_ok(|rows| rows.len()).try_collect().await?;
    assert_eq!((pages.as_slice(), papers.count().await?), ([10, 10, 5].as_slice(), 26));
    let wrong = papers.snapshot(elacsym::Consistency::Strong).await?.stream(Scan::new().limit(0));
    let outcomes: Vec<_> = wrong.collect().await;
    assert!(matches!(outcomes.as_slice(), [Err(error)] if error.kind() == ErrorKind::LimitExceeded));
    Ok(())
}

#[test]
fn an_error_of_a_backend_has_its_cause() {
    let cause = std::io::Error::other("the cable is out");
    let error = elacsym::Error::new(ErrorKind::Unavailable, "no answer").with_source(cause);
    let source = std::error::Error::source(&error).map(ToString::to_string);
    assert_eq!(source.as_deref(), Some("the cable is out"));
    assert!(error.is_retryable());
}
