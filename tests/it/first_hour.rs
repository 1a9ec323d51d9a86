//! The first hour with the crate: calls by the names and with the arguments that one tries first, and errors that say what
//! to write instead.

use std::path::Path;

use elacsym::query::Highlight;
use elacsym::schema::{AttributeType, Language, TextOptions};
use elacsym::{
    Compute, Database, Document, Error, ErrorKind, Filter, IdKind, Leg, Metric, Namespace, Query, Result,
    Scan, Schema, Select, TextQuery, Value, Vector, VectorType,
};
use serde::Deserialize;

use crate::common::fixtures::empty_namespace;

/// What errors list, and what those that take the id for a column do.
const COLUMNS: &str = "the schema has title, year, published, body, embedding";
const ID_AND_COLUMNS: &str = "the schema has id, title, year, published, body, embedding";

/// Three papers, of which the last has no title and no date.
async fn papers() -> Result<Namespace> {
    let schema = Schema::builder(IdKind::U64)
        .attribute("title", AttributeType::String)
        .attribute("year", AttributeType::Int)
        .attribute("published", AttributeType::Datetime)
        .text("body", Language::English)
        .vector("embedding", VectorType::F32, 2, Metric::L2Squared)
        .build()?;
    let papers = empty_namespace(schema).await?;
    let paper = |id: u64, year: i64, body: &str, at: [f32; 2]| {
        Document::new(id).with("year", year).with("body", body).with("embedding", Vector::from(at))
    };
    let leaves = paper(1, 1998, "Stored leaves of tea", [0.0, 1.0]);
    let reads = paper(2, 2004, "Cold storage", [1.0, 0.0]);
    let batch = [
        leaves.with("title", "Tea leaves").with("published", "2024-02-29"),
        reads.with("title", "Cold reads").with("published", "2023-12-31T23:00:00Z"),
        paper(3, 2024, "A store of paper", [3.0, 4.0]),
    ];
    papers.write(batch).await?;
    Ok(papers)
}

fn says(error: &Error, words: &[&str]) {
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "`{word}` is missing: {error}");
    }
}

#[tokio::test]
async fn an_error_tells_a_column_that_was_not_selected_from_a_null() -> Result<()> {
    #[derive(Debug, Deserialize)]
    struct Paper {
        id: u64,
        title: String,
        embedding: Vec<f32>,
    }
    let papers = papers().await?;
    let near = Query::nearest("embedding", [0.0, 1.0]);
    let answer = papers.query(&near).await?;
    let words = ["its column was not selected", "`Query::select(Select::All)`", "column=`embedding`"];
    says(&answer.hits_as::<Paper>().expect_err("no vector"), &words);
    says(&answer.rows.deserialize::<Paper>().expect_err("no vector"), &words);
    let page = papers.scan(Scan::new().select(["embedding"])).await?;
    let words = ["document `1`", "its column was not selected", "column=`title`"];
    says(&page.rows.deserialize::<Paper>().expect_err("no title"), &words);

    let whole = near.select(Select::All);
    let error = papers.query(&whole).await?.hits_as::<Paper>().expect_err("the third has no title");
    says(&error, &["document `3`", "the document has no value for it", "column=`title`"]);
    assert!(!error.to_string().contains("not selected"), "{error}");
    let answer = papers.query(whole.filter(Filter::is_not_null("title"))).await?;
    let best = &answer.hits_as::<Paper>()?[0].document;
    assert_eq!((best.id, best.title.as_str()), (1, "Tea leaves"));
    assert_eq!(Vector::from(best.embedding.clone()), Vector::from([0.0, 1.0]));
    Ok(())
}

#[tokio::test]
async fn a_hit_as_a_struct_tells_what_a_hit_tells() -> Result<()> {
    #[derive(Debug, Deserialize)]
    struct Row {
        id: u64,
    }
    let words = TextQuery::any("body", "store");
    let legs = [Leg::nearest("embedding", [0.0, 1.0]), Leg::text(words.clone())];
    let marked = Compute::highlight("body", words, Highlight::default());
    let answer = papers().await?.query(Query::hybrid(legs).compute("marked", marked)).await?;
    let (hits, rows) = (answer.hits()?, answer.hits_as::<Row>()?);
    assert_eq!((hits.len(), rows.len()), (3, 3));
    for (hit, row) in hits.iter().zip(&rows) {
        assert_eq!(*hit.id(), row.document.id);
        assert_eq!((hit.distance(), &hit.computed), (row.distance(), &row.computed));
        assert_eq!(hit.fragments("marked"), row.fragments("marked"));
        for leg in 0..3 {
            assert_eq!((hit.leg(leg), hit.rank(leg)), (row.leg(leg), row.rank(leg)));
        }
    }
    let best = &rows[0];
    assert_eq!((best.document.id, best.rank(0), best.distance()), (1, Some(1), Some(0.0)));
    assert_eq!(best.fragments("marked").len(), 1);
    assert!(best.fragments("absent").is_empty());
    let cold = rows.iter().find(|hit| hit.document.id == 2).expect("the nearest are all");
    assert_eq!((cold.rank(1), cold.leg(1), cold.distance()), (None, None, Some(2.0)));
    Ok(())
}

#[tokio::test]
async fn matches_are_counted_in_the_newest_state() -> Result<()> {
    let papers = papers().await?;
    let recent = Filter::gte("year", 2000);
    for flushed in [false, true] {
        assert_eq!(papers.count_matching(&recent).await?, 2, "flushed: {flushed}");
        assert_eq!(papers.count_matching(Filter::between("year", 1998, 2004)).await?, 2);
        assert_eq!(papers.count_matching(Filter::between("year", 2004, 1998)).await?, 0);
        assert_eq!(papers.count_matching(Filter::between("title", "A", "D")).await?, 1);
        papers.flush().await?;
    }
    papers.write(Document::new(4).with("year", 2025)).await?;
    assert_eq!((papers.count_matching(recent).await?, papers.count().await?), (3, 4));
    let error = papers.count_matching(Filter::eq("absent", 1)).await.expect_err("no such column");
    says(&error, &[ID_AND_COLUMNS, "column=`absent`"]);
    Ok(())
}

#[tokio::test]
async fn a_date_is_a_datetime_and_a_number_is_none() -> Result<()> {
    #[derive(Debug, Deserialize)]
    struct Dated {
        published: String,
    }
    let papers = papers().await?;
    let leaves = papers.get_one(1).await?.expect("the first paper");
    assert_eq!(leaves.get("published"), Some(&Value::datetime("2024-02-29")?));
    assert_eq!(leaves.get("published").map(ToString::to_string).as_deref(), Some("2024-02-29T00:00:00.000Z"));
    assert_eq!(leaves.deserialize::<Dated>()?.published, "2024-02-29T00:00:00.000Z");

    let (eve, day) = (Value::datetime("2023-12-31")?, Value::datetime("2024-02-29")?);
    assert_eq!(papers.count_matching(Filter::gte("published", day.clone())).await?, 1);
    assert_eq!(papers.count_matching(Filter::gte("published", "2024-02-29")).await?, 1);
    assert_eq!(papers.count_matching(Filter::gt("published", day.clone())).await?, 0);
    assert_eq!(papers.count_matching(Filter::between("published", eve, day)).await?, 2);

    let words =
        ["expected datetime", "`Value::Datetime(", "`Value::datetime(", "`SystemTime`", "`published`"];
    for number in [Value::Int(1_709_164_800_000), Value::Uint(1_709_164_800), Value::Float(0.5)] {
        let filter = Filter::lt("published", number.clone());
        says(&papers.count_matching(filter).await.expect_err("a number is no datetime"), &words);
        let filter = Filter::is_in("published", [number.clone()]);
        says(&papers.count_matching(filter).await.expect_err("a number is no datetime"), &words);
        let written = papers.write(Document::new(4).with("published", number)).await;
        says(&written.expect_err("a number is no datetime"), &words);
    }
    Ok(())
}

#[tokio::test]
async fn an_error_about_a_column_lists_those_there_are() -> Result<()> {
    let papers = papers().await?;
    let near = |column: &str| Query::nearest(column, [0.0, 1.0]);
    let no_text = ["the column has no full text", "`SchemaBuilder::text`"];
    let cases: [(Query, Vec<&str>); 8] = [
        (TextQuery::any("bodi", "tea").into(), vec![COLUMNS, "column=`bodi`"]),
        (TextQuery::phrase("bodi", "tea").into(), vec![COLUMNS, "column=`bodi`"]),
        (TextQuery::any("title", "tea").into(), vec![no_text[0], no_text[1], "column=`title`"]),
        (near("embeding"), vec!["no such vector column", COLUMNS, "column=`embeding`"]),
        (near("year"), vec!["no such vector column: this one holds int", "column=`year`"]),
        (near("embedding").select(["titel"]), vec!["in the selection", ID_AND_COLUMNS, "column=`titel`"]),
        (near("embedding").select(Select::except(["titel"])), vec![ID_AND_COLUMNS, "column=`titel`"]),
        (
            near("embedding").filter(Filter::eq("yaer", 1)),
            vec!["in the filter", ID_AND_COLUMNS, "column=`yaer`"],
        ),
    ];
    for (query, words) in cases {
        says(&papers.query(query).await.expect_err("a column is wrong"), &words);
    }
    let tokens = Filter::contains_any_token("title", "tea");
    says(&papers.count_matching(tokens).await.expect_err("no full text"), &no_text);
    let written = papers.write(Document::new(4).with("titel", "x")).await;
    says(&written.expect_err("no such column"), &[COLUMNS, "column=`titel`", "id=`4`"]);
    Ok(())
}

#[tokio::test]
async fn a_location_is_text_or_a_path() -> Result<()> {
    let temp = tempfile::tempdir().expect("a folder");
    let path: &Path = temp.path();
    let schema = || Schema::builder(IdKind::U64).build();
    let db = Database::open(path).await?;
    db.create_namespace("papers", schema()?).await?.write(Document::new(1)).await?;
    let text = path.to_str().expect("UTF-8");
    for db in [
        Database::open(path.join("")).await?,
        Database::open(text).await?,
        Database::open(format!("{text}/")).await?,
        Database::builder().open(path).await?,
    ] {
        assert_eq!(db.open_namespace("papers").await?.count().await?, 1);
        let again = db.create_namespace("papers", schema()?).await.expect_err("it exists");
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        assert_eq!(db.open_or_create_namespace("papers", schema()?).await?.count().await?, 1);
    }
    // A URL is one as a path too: none of its slashes is lost.
    assert!(Database::open(Path::new("memory://")).await?.list_namespaces().await?.is_empty());
    says(&Database::open(Path::new("s3:/x")).await.expect_err("a slash is missing"), &["bad location"]);
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn a_path_that_is_not_utf_8_is_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let error = Database::open(OsStr::from_bytes(b"data-\xff")).await.expect_err("no text");
    says(&error, &["bad location", "not UTF-8"]);
}

#[tokio::test]
async fn a_language_makes_text_and_a_document_has_its_vector() -> Result<()> {
    let papers = papers().await?;
    let english = TextOptions::default().language(Language::English);
    assert_eq!(papers.schema().column("body").and_then(|column| column.text.as_ref()), Some(&english));
    let tags = Schema::builder(IdKind::U64).attribute("tags", AttributeType::StringArray);
    assert!(tags.full_text("tags", Language::German).build().is_ok());
    assert_eq!(papers.query(TextQuery::any("body", "store")).await?.rows.len(), 2);

    let leaves = papers.get_one(1).await?.expect("the first paper");
    assert_eq!(leaves.vector("embedding"), Some(&Vector::from([0.0, 1.0])));
    assert_eq!((leaves.vector("title"), leaves.vector("absent")), (None, None));
    let answer = papers.query(Query::nearest("embedding", [0.0, 1.0])).await?;
    let best = &answer.hits()?[0];
    assert!(*best.id() == 1 && best.document.vector("embedding").is_none());
    Ok(())
}
