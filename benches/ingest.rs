//! **Measures** durable ingestion of rows of 768 dimensions: rows per second by batch size and number of writers, and
//! the same number of bytes in as many bare puts to the same store, in the same run. A local disk is noisy, so each case
//! runs in pairs, and the median and spread of their ratio are printed.
//!
//! **Leaves out** flushing, indexing and network latency. In memory a bare put moves no bytes, so there is no comparison.
//!
//! `cargo bench --bench ingest`.

#![expect(
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    reason = "a benchmark reads the clock, and draws below 2^16"
)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::Draw;
use elacsym::arrow::array::RecordBatch;
use elacsym::env::Env;
use elacsym::schema::AttributeType;
use elacsym::storage::{
    CountingBackend, LocalBackend, MemoryBackend, ObjectKey, PutMode, StorageBackend, Verb,
};
use elacsym::{Database, Document, IdKind, Metric, Result, Schema, Settings, Vector, VectorType, WriteBatch};
use futures::future::try_join_all;

const DIMENSION: usize = 768;
/// Rows per batch, writers, and rows in all.
const CASES: [(usize, usize, usize); 6] = [
    (1, 1, 200),
    (1, 16, 1_600),
    (100, 1, 10_000),
    (100, 8, 40_000),
    (10_000, 1, 40_000),
    (10_000, 4, 80_000),
];
/// Runs of each case.
const RUNS: usize = 7;

fn schema() -> Result<Schema> {
    Schema::builder(IdKind::U64)
        .attribute("title", AttributeType::String)
        .vector("embedding", VectorType::F32, DIMENSION, Metric::Cosine)
        .build()
}

/// Rows with random vectors, which do not compress.
fn rows(first: usize, count: usize) -> Result<RecordBatch> {
    let mut draw = Draw(first as u64 + 1);
    let mut document = |id: usize| {
        let vector: Vec<f32> =
            (0..DIMENSION).map(|_| f32::from(draw.below(1 << 16) as u16) / 32_768.0 - 1.0).collect();
        Document::new(id as u64).with("title", format!("row {id}")).with("embedding", Vector::F32(vector))
    };
    schema()?.to_batch(&(first..first + count).map(&mut document).collect::<Vec<_>>())
}

/// Writes all batches with some writers of one process. Returns the time, the number of puts and their bytes.
async fn ingest(
    store: Arc<dyn StorageBackend>,
    batches: &[RecordBatch],
    writers: usize,
) -> Result<(Duration, usize, u64)> {
    let counting = Arc::new(CountingBackend::new(store));
    let mut settings = Settings::default();
    (settings.auto_flush, settings.auto_compact) = (false, false);
    let db = Database::builder().settings(settings).open_backend(counting.clone()).await?;
    let docs = db.create_namespace("docs", schema()?).await?;
    counting.reset();
    let start = Instant::now();
    let writer = |number: usize| {
        let docs = docs.clone();
        async move {
            for batch in batches.iter().skip(number).step_by(writers) {
                docs.write(WriteBatch::new().upsert_batch(batch.clone())).await?;
            }
            Ok::<_, elacsym::Error>(())
        }
    };
    try_join_all((0..writers).map(writer)).await?;
    let time = start.elapsed();
    Ok((time, counting.count(Verb::Create) + counting.count(Verb::Overwrite), counting.bytes_written()))
}

/// The same bytes in as many puts, one after another, like those of the log.
async fn put_bare(store: Arc<dyn StorageBackend>, puts: usize, bytes: u64) -> Result<Duration> {
    let size = usize::try_from(bytes).unwrap_or(usize::MAX) / puts.max(1);
    let object = Bytes::from((0..=250u8).cycle().take(size).collect::<Vec<_>>());
    let start = Instant::now();
    for number in 0..puts {
        store
            .put(&ObjectKey::new(format!("bare/{number:08}"))?, object.clone().into(), PutMode::Create)
            .await?;
    }
    Ok(start.elapsed())
}

#[tokio::main]
async fn main() -> Result<()> {
    println!(
        "| store | batch | writers | rows/s | MB/s | bare puts, MB/s | of bare puts: median, least to most |\n\
         |---|---|---|---|---|---|---|"
    );
    for local in [true, false] {
        for (batch, writers, total) in CASES {
            let batches = (0..total / batch).map(|n| rows(n * batch, batch)).collect::<Result<Vec<_>>>()?;
            let mut runs = Vec::new();
            for _ in 0..RUNS {
                let folders =
                    (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
                let store = |folder: &tempfile::TempDir| -> Result<Arc<dyn StorageBackend>> {
                    if local {
                        return Ok(Arc::new(LocalBackend::new(folder.path(), &Env::current()?)?));
                    }
                    Ok(Arc::new(MemoryBackend::new()))
                };
                let (time, puts, bytes) = ingest(store(&folders.0)?, &batches, writers).await?;
                let bare = put_bare(store(&folders.1)?, puts, bytes).await?;
                runs.push((time.as_secs_f64(), bare.as_secs_f64(), bytes));
            }
            // By the ratio, best first.
            runs.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
            let (Some((time, bare, bytes)), Some(least), Some(most)) =
                (runs.get(RUNS / 2).copied(), runs.last(), runs.first())
            else {
                continue;
            };
            let megabytes = f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) / 1024.0;
            let name = if local { "local folder" } else { "memory" };
            let rate = f64::from(u32::try_from(total).unwrap_or(u32::MAX)) / time;
            let compared = if local {
                let (least, most) = (least.1 / least.0, most.1 / most.0);
                format!("{:.0} | {:.2}, {least:.2} to {most:.2}", megabytes / bare, bare / time)
            } else {
                "| ".to_owned()
            };
            println!("| {name} | {batch} | {writers} | {rate:.0} | {:.0} | {compared} |", megabytes / time);
        }
    }
    Ok(())
}
