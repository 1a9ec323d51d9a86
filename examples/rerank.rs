//! A model of your own ranks the best hits again. Here it counts the words of the claim that a title has; yours may ask a
//! cross-encoder behind an HTTP API.
//!
//! `cargo run --example rerank`
#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "an example prints, and counts are small"
)]

mod common;

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use common::{Collection, DIMENSION};
use elacsym::schema::{AttributeType, TextOptions};
use elacsym::{
    Database, Document, Hit, IdKind, Leg, Metric, Query, Reranker, Rescore, Result, Schema, TextQuery,
    VectorType,
};

/// Scores candidates by the words that their titles share with a claim.
struct SharedWords(Vec<String>);

impl SharedWords {
    fn new(claim: &str) -> Self {
        Self(claim.split_whitespace().filter(|word| word.len() > 3).map(str::to_lowercase).collect())
    }

    fn score(&self, document: &Document) -> f32 {
        let title = document.str("title").unwrap_or_default().to_lowercase();
        self.0.iter().filter(|word| title.contains(word.as_str())).count() as f32
    }
}

#[async_trait]
impl Reranker for SharedWords {
    async fn rerank(&self, candidates: &[Hit]) -> Result<Vec<f32>> {
        // All candidates in one call: a model on a network is asked once.
        Ok(candidates.iter().map(|hit| self.score(&hit.document)).collect())
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn Error>> {
    let Collection { documents, queries } = Collection::load()?;
    let schema = Schema::builder(IdKind::U64)
        .attribute("title", AttributeType::String)
        .text("text", TextOptions::default())
        .attribute("words", AttributeType::Int)
        .attribute("sentences", AttributeType::Int)
        .attribute("structured", AttributeType::Bool)
        .vector("embedding", VectorType::F16, DIMENSION, Metric::Cosine)
        .build()?;
    let papers = Database::open("memory://").await?.create_namespace("papers", schema).await?;
    papers.write(documents).await?;

    let claim = queries.first().ok_or("no claims")?;
    println!("{}", claim.text);
    let legs =
        [Leg::nearest("embedding", &claim.embedding), Leg::text(TextQuery::any("text", claim.text.as_str()))];
    let model = SharedWords::new(&claim.text);
    // The fifty best of the fusion are rescored; the candidates carry the title alone.
    let rescored = Rescore::with(Arc::new(model)).depth(50).select(["title"]);
    let query = Query::hybrid(legs).rescore(rescored).select(["title"]).limit(5);
    for hit in papers.query(query).await?.hits()? {
        println!("  {} words  {}", hit.score, hit.document.str("title").unwrap_or("(no title)"));
    }

    // The model is tested without a database: hits are made by hand.
    let hits = ["Tea leaves", "The microbiome"].map(|title| Document::new(1).with("title", title));
    let hits = hits.map(|document| Hit::new(document, 0.0, Vec::new()));
    assert_eq!(SharedWords::new("the microbiome matters").rerank(&hits).await?, [0.0, 1.0]);
    Ok(())
}
