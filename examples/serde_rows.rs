//! Custom structs in and out, by serde.
//!
//! `cargo run --example serde_rows`
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;

use elacsym::schema::AttributeType;
use elacsym::{
    Database, Document, Filter, IdKind, Metric, Query, Scan, Schema, Select, VectorType, WriteBatch,
};
use serde::{Deserialize, Serialize};

/// A whole row, with fields named as the columns. `Option` is for columns that may be null.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Article {
    id: String,
    title: String,
    kind: Kind,
    published: Option<String>,
    tags: Vec<String>,
    embedding: Vec<f32>,
}

/// An enum without data is a string.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Essay,
    Report,
}

/// Part of a row: the columns that a query selects.
#[derive(Debug, Deserialize)]
struct Title {
    id: String,
    title: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let articles = articles();
    let db = Database::open("memory://").await?;
    let ns = db.create_namespace("articles", schema()?).await?;
    let documents = articles.iter().map(|article| Document::from_serialize(ns.schema(), article));
    ns.write(WriteBatch::new().upsert_all(documents.collect::<elacsym::Result<Vec<_>>>()?)).await?;

    // Whole rows come back as they were written.
    let page = ns.scan(Scan::new()).await?;
    assert_eq!(page.rows.deserialize::<Article>()?, articles);

    // An answer can be read into a type with the selected columns only.
    let query = Query::nearest("embedding", vec![0.0, 1.0]).filter(Filter::contains("tags", "search"));
    let answer = ns.query(query.select(Select::only(["title"]))).await?;
    for Title { id, title } in answer.rows.deserialize()? {
        println!("{id}: {title}");
    }

    // With scores. By default a query selects no vectors: a type that has one needs `Select::All`.
    let query = Query::nearest("embedding", [0.0, 1.0]).select(Select::All);
    for hit in ns.query(query).await?.hits_as::<Article>()? {
        println!("{:.3}  {}", hit.score, hit.document.title);
    }

    // A single document, which has all columns.
    if let Some(document) = ns.get_one("warm").await? {
        let article: Article = document.deserialize()?;
        println!("{} is about {}", article.title, article.tags.join(", "));
    }
    Ok(())
}

fn schema() -> elacsym::Result<Schema> {
    Schema::builder(IdKind::String)
        .attribute("title", AttributeType::String)
        .attribute("kind", AttributeType::String)
        .attribute("published", AttributeType::Datetime)
        .attribute("tags", AttributeType::StringArray)
        .vector("embedding", VectorType::F32, 2, Metric::Cosine)
        .build()
}

fn articles() -> [Article; 2] {
    [
        Article {
            id: "cold".into(),
            title: "Cold reads".into(),
            kind: Kind::Essay,
            published: Some("2024-02-29T12:00:00.000Z".into()),
            tags: vec!["storage".into(), "search".into()],
            embedding: vec![0.6, 0.8],
        },
        Article {
            id: "warm".into(),
            title: "Warm reads".into(),
            kind: Kind::Report,
            published: None,
            tags: vec!["cache".into()],
            embedding: vec![1.0, 0.0],
        },
    ]
}
