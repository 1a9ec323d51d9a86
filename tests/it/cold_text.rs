//! What a first query for a rare word costs, on one segment of 100,000 documents that is not cached: a few round
//! trips, and a small share of the index.
#![expect(clippy::disallowed_methods, reason = "the paused clock is what is read")]

use std::sync::Arc;
use std::time::Duration;

use elacsym::arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use elacsym::env::Env;
use elacsym::schema::TextOptions;
use elacsym::storage::{CountingBackend, DelayedBackend, MemoryBackend, ObjectPrefix, StorageBackend};
use elacsym::{
    Consistency, Database, Filter, IdKind, Query, Result, Scan, Schema, Select, TextMatch, WriteBatch,
};
use tokio::time::Instant;

use crate::common::rng::Rng;

const DOCUMENTS: u64 = 100_000;

/// Twenty words, of a vocabulary of 30,000 in which some are far more frequent; three documents have a rare one.
fn text(id: u64, rng: &mut Rng) -> String {
    let word = |_| format!("w{} ", rng.below(173) * rng.below(173));
    let mut text: String = (0..20).map(word).collect();
    if id % 40_000 == 7 {
        text.push_str("needle");
    }
    text
}

#[tokio::test(start_paused = true)]
async fn a_cold_query_for_a_rare_word_reads_little_of_the_index() -> Result<()> {
    let memory = MemoryBackend::new();
    let delayed = DelayedBackend::new(Arc::new(memory.clone()), &Env::current()?, Duration::from_millis(50));
    let counting = CountingBackend::new(Arc::new(delayed.clone()));
    let open = || Database::builder().open_backend(Arc::new(counting.clone()));
    let schema = Schema::builder(IdKind::U64).text("body", TextOptions::default()).build()?;
    let docs = open().await?.create_namespace("docs", schema).await?;
    let mut rng = Rng::new(1);
    let ids: ArrayRef = Arc::new((0..DOCUMENTS).collect::<UInt64Array>());
    let texts = StringArray::from_iter_values((0..DOCUMENTS).map(|id| text(id, &mut rng)));
    let batch = RecordBatch::try_from_iter([("id", ids), ("body", Arc::new(texts) as ArrayRef)]).unwrap();
    docs.write(WriteBatch::new().upsert_batch(batch)).await?;
    docs.flush().await?;
    docs.close().await;
    let listed = memory.list(&ObjectPrefix::root(), None).await?;
    let index: u64 = listed.iter().filter(|o| o.key.as_str().ends_with("/text")).map(|o| o.size).sum();
    assert!(index > 1 << 20, "there is an index of {index} bytes");

    // A misspelt word reads the blocks of the dictionary that may hold it, all at once.
    for (filter, asked, share) in [(false, "needle", 20), (true, "needle", 20), (false, "neelde", 4)] {
        let docs = open().await?.open_namespace("docs").await?;
        // The state and the heads of its files are read.
        let snapshot = docs.snapshot(Consistency::Strong).await?;
        counting.reset();
        let start = Instant::now();
        let found = if filter {
            let scan = Scan::new().filter(Filter::contains_all_tokens("body", asked));
            snapshot.scan(scan.select(Select::only([""; 0]))).await?.rows.len()
        } else {
            let words = TextMatch::any(asked).column("body", 1.0);
            let words = if asked == "needle" { words } else { words.fuzzy() };
            snapshot.query(Query::text(words).select(Select::only([""; 0]))).await?.rows.len()
        };
        let trips = delayed.round_trips(start.elapsed());
        let (requests, bytes) = (counting.requests(), counting.bytes_read());
        assert_eq!(found, 3);
        // The word, where it is and how long texts are, and ids.
        assert!(trips <= 3 && requests <= 8, "filter {filter}: {trips} trips, {requests} requests");
        assert!(bytes * share < index, "{asked}: {bytes} bytes of {index}");
        println!("filter {filter}: {trips} trips, {requests} requests, {bytes} of {index} bytes");
    }
    Ok(())
}
