//! Texts with embeddings of a model: documents are embedded in batches, several at a time, and a query by the same model.
//! The model here counts hashed parts of words, so that the example needs no download; yours may be an HTTP API, or a
//! crate that runs one on your machine.
//!
//! `cargo run --example embeddings`
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::hash::{DefaultHasher, Hash, Hasher};

use elacsym::schema::TextOptions;
use elacsym::{
    Database, Document, IdKind, Leg, Metric, Namespace, Query, Result, Schema, TextQuery, Vector, VectorType,
    WriteBatch,
};
use futures::{StreamExt, TryStreamExt, stream};

const DIMENSION: usize = 256;
/// Texts that are embedded by one call. Models and APIs are fastest with many, and have a limit.
const BATCH: usize = 4;
/// Calls at a time.
const CALLS: usize = 2;

/// The place of a model: `async`, and several texts in one call.
async fn embed(texts: &[String]) -> Result<Vec<Vec<f32>>> {
    tokio::task::yield_now().await; // here yours waits
    Ok(texts.iter().map(|text| embed_one(text)).collect())
}

/// Adds one, or takes it away, at a place that the hash of each three letters gives. Words that are written alike lie
/// near one another.
fn embed_one(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0; DIMENSION];
    let lower = text.to_lowercase();
    for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let letters: Vec<char> = format!("<{word}>").chars().collect();
        for part in letters.windows(3) {
            let mut hasher = DefaultHasher::new();
            part.hash(&mut hasher);
            let hash = hasher.finish();
            let place = usize::try_from(hash >> 1).unwrap_or_default() % DIMENSION;
            if let Some(component) = vector.get_mut(place) {
                *component += if hash & 1 == 0 { 1.0 } else { -1.0 };
            }
        }
    }
    vector
}

/// Embeds texts and writes them.
async fn store(notes: &Namespace, batch: Vec<(u64, String)>) -> Result<u64> {
    let (ids, texts): (Vec<u64>, Vec<String>) = batch.into_iter().unzip();
    let embeddings = embed(&texts).await?;
    let document = |((id, text), embedding)| {
        Document::new(id).with("body", text).with("embedding", Vector::from(embedding))
    };
    let rows = ids.into_iter().zip(texts).zip(embeddings);
    Ok(notes.write(rows.map(document).collect::<WriteBatch>()).await?.upserted)
}

#[tokio::main]
async fn main() -> Result<()> {
    let schema = Schema::builder(IdKind::U64)
        .text("body", TextOptions::default())
        .vector("embedding", VectorType::F32, DIMENSION, Metric::Cosine)
        .build()?;
    let notes = Database::open("memory://").await?.create_namespace("notes", schema).await?;

    let texts = [
        "The invoices of March are late",
        "Our parcels were damaged on the way",
        "The printer in the hall is out of paper",
        "How do I reset my password?",
        "Invoicing is done by another department",
        "The lift is under repair",
    ];
    let numbered: Vec<(u64, String)> = (1..).zip(texts.map(str::to_owned)).collect();
    let batches = numbered.chunks(BATCH).map(<[_]>::to_vec);
    let stored = stream::iter(batches).map(|batch| store(&notes, batch));
    // While one batch is written, others are embedded.
    let mut stored = stored.buffer_unordered(CALLS);
    while let Some(count) = stored.try_next().await? {
        println!("stored {count} texts");
    }

    // No text has the word itself: the vectors find it, and what else is written like it.
    let asked = "invoice";
    let embedding = embed_one(asked);
    let legs = [Leg::nearest("embedding", &embedding), Leg::text(TextQuery::any("body", asked))];
    println!("\n{asked}:");
    for hit in notes.query(Query::hybrid(legs).limit(2)).await?.hits()? {
        println!("  {}", hit.document.str("body").unwrap_or_default());
    }
    Ok(())
}
