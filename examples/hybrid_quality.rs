//! Ranking quality as nDCG@10 by expert judgments: of vectors alone, of text alone, and of three fusions.
//!
//! `cargo run --release --example hybrid_quality` measures the claims and abstracts in this repository. With
//! `ELACSYM_BENCH_DATA=folder` it adds the larger sets below that folder that have judgments: `docs.parquet`, `base.npy`,
//! `queries.parquet`, `query.npy` and `qrels.json`.
#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "an example prints, and counts are small"
)]

mod common;

use std::error::Error;

use common::judged::Set;
use elacsym::schema::{Language, TextOptions};
use elacsym::{
    Database, Document, Fusion, IdKind, Leg, Metric, Query, Schema, Select, TextQuery, Vector, VectorQuery,
    VectorType, WriteBatch,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let sets = common::judged::sets()?;
    println!("| nDCG@10 | documents | questions | vectors | text | reciprocal ranks | min-max | z-score |");
    println!("|---|---|---|---|---|---|---|---|");
    for set in sets {
        let means = measure(&set).await?;
        let means: Vec<String> = means.iter().map(|mean| format!("{mean:.3}")).collect();
        let Set { name, documents, questions } = set;
        println!("| {name} | {} | {} | {} |", documents.len(), questions.len(), means.join(" | "));
    }
    Ok(())
}

async fn measure(set: &Set) -> Result<[f64; 5], Box<dyn Error>> {
    let dimension = set.documents.first().map_or(1, |(_, vector)| vector.len());
    let schema = Schema::builder(IdKind::U64)
        .text("text", TextOptions::default().language(Language::English))
        .vector("embedding", VectorType::F32, dimension, Metric::Cosine)
        .build()?;
    let documents = Database::open("memory://").await?.create_namespace("documents", schema).await?;
    for (start, part) in (0..).step_by(2_000).zip(set.documents.chunks(2_000)) {
        let batch = (start..).zip(part).fold(WriteBatch::new(), |batch, (id, (text, vector)): (u64, _)| {
            let document = Document::new(id).with("text", text.as_str());
            batch.upsert(document.with("embedding", Vector::from(vector.clone())))
        });
        documents.write(batch).await?;
    }
    documents.flush().await?;
    let mut sums = [0.0; 5];
    for question in &set.questions {
        let vectors = || Leg::from(VectorQuery::new("embedding", question.embedding.clone()).exact());
        let words = || Leg::text(TextQuery::any("text", question.text.as_str()));
        let both = |fusion| Query::hybrid([vectors(), words()]).fuse(fusion);
        let queries = [
            vectors().into(),
            words().into(),
            both(Fusion::default()),
            both(Fusion::min_max()),
            both(Fusion::z_score()),
        ];
        let queries = queries.map(|query: Query| query.limit(10).select(Select::only::<&str>([])));
        for (sum, answer) in sums.iter_mut().zip(documents.query_all(&queries).await?) {
            let hits = answer.hits()?;
            *sum += question.ndcg(hits.iter().filter_map(|hit| hit.document.id().as_u64()));
        }
    }
    Ok(sums.map(|sum| sum / set.questions.len() as f64))
}
