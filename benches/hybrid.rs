//! **Measures** the time of a hybrid query against the sum of its legs run one by one, with everything cached, on one
//! thread, through the public API, in the same run.
//!
//! The collection is generated from a seed: 50,000 documents with texts of words as frequent as in natural language, and
//! vectors of 96 dimensions in clusters.
//!
//! **Leaves out** reading from a store, the quality of the ranking (see `examples/hybrid_quality.rs`), rescoring and
//! fetching more than the hits.
//!
//! `cargo bench --bench hybrid`.

#![expect(
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark"
)]

mod common;

use std::time::Instant;

use common::{Draw, median};
use elacsym::schema::{AttributeType, TextOptions};
use elacsym::{
    Consistency, Database, Document, Filter, Fusion, IdKind, Leg, Metric, Query, Result, Schema, Select,
    Snapshot, TextQuery, Vector, VectorType, WriteBatch,
};

const DOCUMENTS: u64 = 50_000;
const DIMENSION: usize = 96;
const QUERIES: usize = 200;

/// A word of 30,000, the r-th about 1/r times as frequent as the first.
fn draw_word(draw: &mut Draw) -> String {
    format!("w{}", 30_000.0_f64.powf(draw.unit()) as u32)
}

/// A vector near one of 300 centers.
fn draw_vector(draw: &mut Draw) -> Vec<f32> {
    let mut center = Draw((draw.unit() * 300.0) as u64);
    (0..DIMENSION).map(|_| (center.unit() + 0.5 * draw.unit()) as f32).collect()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let snapshot = collection().await?;
    let mut draw = Draw(99);
    let asked: Vec<[Leg; 3]> = (0..QUERIES)
        .map(|_| {
            let words =
                |draw: &mut Draw, count| (0..count).map(|_| draw_word(draw)).collect::<Vec<_>>().join(" ");
            [
                Leg::nearest("v", draw_vector(&mut draw)),
                Leg::text(TextQuery::any("body", words(&mut draw, 3))),
                Leg::text(TextQuery::all("body", words(&mut draw, 2))),
            ]
        })
        .collect();
    println!("| query | legs one by one, ms | fused, ms | ratio |");
    println!("|---|---|---|---|");
    for (name, legs) in [("a vector and a text", 2), ("a vector and two texts", 3)] {
        for filter in [None, Some(Filter::lt("share", 20))] {
            for (rule, fusion) in [("ranks", Fusion::default()), ("scores", Fusion::z_score())] {
                let with = |query: Query| {
                    let query = query.limit(10).select(Select::only::<&str>([]));
                    match &filter {
                        Some(filter) => query.filter(filter.clone()),
                        None => query,
                    }
                };
                let (mut apart, mut fused) = (Vec::new(), Vec::new());
                for _ in 0..7 {
                    let start = Instant::now();
                    for legs in asked.iter().filter_map(|all| all.get(..legs)) {
                        for leg in legs {
                            // The depth of a leg in the fused query.
                            snapshot.query(with(leg.clone().into()).limit(100)).await?;
                        }
                    }
                    apart.push(start.elapsed().as_secs_f64());
                    let start = Instant::now();
                    for legs in asked.iter().filter_map(|all| all.get(..legs)) {
                        snapshot.query(with(Query::hybrid(legs.to_vec()).fuse(fusion.clone()))).await?;
                    }
                    fused.push(start.elapsed().as_secs_f64());
                }
                let (apart, fused) = (median(apart), median(fused));
                let filtered = if filter.is_some() { ", a filter of 20 %" } else { "" };
                println!(
                    "| {name}, {rule}{filtered} | {:.3} | {:.3} | {:.2} |",
                    apart * 1e3 / QUERIES as f64,
                    fused * 1e3 / QUERIES as f64,
                    fused / apart
                );
            }
        }
    }
    Ok(())
}

async fn collection() -> Result<Snapshot> {
    let schema = Schema::builder(IdKind::U64)
        .vector("v", VectorType::F32, DIMENSION, Metric::L2Squared)
        .text("body", TextOptions::default())
        .attribute("share", AttributeType::Int)
        .build()?;
    let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
    let mut draw = Draw(1);
    for start in (0..DOCUMENTS).step_by(5_000) {
        let mut batch = WriteBatch::new();
        for id in start..start + 5_000 {
            let body: Vec<String> = (0..30).map(|_| draw_word(&mut draw)).collect();
            let document = Document::new(id)
                .with("v", Vector::from(draw_vector(&mut draw)))
                .with("body", body.join(" "));
            batch = batch.upsert(document.with("share", (id % 100).cast_signed()));
        }
        docs.write(batch).await?;
    }
    docs.flush().await?;
    docs.compact().await?;
    docs.snapshot(Consistency::Eventual).await
}
