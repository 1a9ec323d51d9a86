//! What filters and orders cost on one segment of 1,000,000 documents of which nothing is cached but heads: one round
//! trip for the blocks of a predicate, and a small share of the index.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the paused clock is what is read; a test panics"
)]

use std::sync::Arc;
use std::time::Duration;

use elacsym::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt64Array};
use elacsym::env::Env;
use elacsym::schema::AttributeType;
use elacsym::storage::{CountingBackend, DelayedBackend, MemoryBackend, ObjectPrefix, StorageBackend};
use elacsym::{
    Consistency, Database, DocumentId, Filter, IdKind, Order, Query, Result, Schema, Select, Snapshot,
    WriteBatch,
};
use tokio::time::Instant;

const ROWS: u64 = 1_000_000;
const BATCH: u64 = 50_000;
/// Different names.
const NAMES: u64 = 100_000;

/// A store whose requests take time on a clock that stands still otherwise, and are counted.
struct Store {
    memory: MemoryBackend,
    delayed: DelayedBackend,
    counting: CountingBackend,
}

impl Store {
    fn new() -> Result<Self> {
        let memory = MemoryBackend::new();
        let delay = Duration::from_millis(50);
        let delayed = DelayedBackend::new(Arc::new(memory.clone()), &Env::current()?, delay);
        let counting = CountingBackend::new(Arc::new(delayed.clone()));
        Ok(Self { memory, delayed, counting })
    }

    async fn open(&self) -> Result<Database> {
        Database::builder().open_backend(Arc::new(self.counting.clone())).await
    }

    /// What comes of an operation, its round trips and the bytes that it read.
    async fn cost<T>(&self, work: impl Future<Output = Result<T>>) -> Result<(T, u64, u64)> {
        self.counting.reset();
        let start = Instant::now();
        let done = work.await?;
        Ok((done, self.delayed.round_trips(start.elapsed()), self.counting.bytes_read()))
    }

    /// A state of which only heads were read, and the round trips to it.
    async fn cold(&self) -> Result<(Snapshot, u64)> {
        let open =
            async { self.open().await?.open_namespace("docs").await?.snapshot(Consistency::Strong).await };
        let (snapshot, trips, _) = self.cost(open).await?;
        Ok((snapshot, trips))
    }
}

/// Every year once, and not in the order of the ids; those at the ends are neighbours, so that the ids of the first
/// lie in a block or two.
fn year(id: u64) -> u64 {
    if (100..ROWS - 100).contains(&id) { 100 + id * 7_919 % (ROWS - 200) } else { id }
}

/// Each name ten times, far from one another.
fn name(id: u64) -> String {
    format!("dir{:02}/file{:05}", id % NAMES % 97, id * 31 % NAMES)
}

fn rows(first: u64) -> RecordBatch {
    let ids = || first..first + BATCH;
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(ids().collect::<UInt64Array>())),
        ("year", Arc::new(ids().map(|id| year(id).cast_signed()).collect::<Int64Array>())),
        ("percent", Arc::new(ids().map(|id| id * 37 % 100).collect::<UInt64Array>())),
        ("name", Arc::new(StringArray::from_iter_values(ids().map(name)))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

async fn filled() -> Result<Store> {
    let store = Store::new()?;
    let schema = Schema::builder(IdKind::U64)
        .attribute("year", AttributeType::Int)
        .attribute("percent", AttributeType::Uint)
        .attribute("name", AttributeType::String)
        .build()?;
    let docs = store.open().await?.create_namespace("docs", schema).await?;
    for first in (0..ROWS).step_by(usize::try_from(BATCH).unwrap_or(1)) {
        docs.write(WriteBatch::new().upsert_batch(rows(first))).await?;
    }
    docs.flush().await?;
    docs.compact().await?;
    docs.close().await;
    Ok(store)
}

/// Filters, how many match, and how small a share of the index they may read: one in so many bytes.
fn filters() -> Vec<(&'static str, Filter, u64, u64)> {
    let (some, last) = (name(123_456), i64::try_from(ROWS).unwrap_or(0) - 100);
    let namesakes = (0..ROWS).filter(|id| name(*id) == some).count() as u64;
    vec![
        ("one number", Filter::eq("year", 4_321), 1, 200),
        ("a string", Filter::eq("name", some.as_str()), namesakes, 200),
        ("a hundredth by a range", Filter::gte("year", 500_000) & Filter::lt("year", 510_000), 10_000, 20),
        ("a hundredth by a value", Filter::eq("percent", 7), 10_000, 20),
        ("two columns", Filter::eq("percent", 0) & Filter::gte("year", last), 1, 20),
        ("a list", Filter::is_in("year", [5, 300_000, 700_000]), 3, 100),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_cold_filter_or_order_over_a_million_reads_little() -> Result<()> {
    let store = filled().await?;
    let listed = store.memory.list(&ObjectPrefix::root(), None).await?;
    let indexes = listed.iter().filter(|object| object.key.as_str().ends_with("/index"));
    let indexes: Vec<u64> = indexes.map(|object| object.size).collect();
    let [index] = indexes[..] else { panic!("{} segments in place of one", indexes.len()) };

    // Each as the first of a process, which opens the segment, and each after another on another column.
    for (what, filter, expected, share) in filters() {
        for first in [true, false] {
            let (snapshot, opening) = store.cold().await?;
            assert!(opening <= 4, "{opening} trips to open");
            if !first {
                let other = if what.contains("number") { "name" } else { "year" };
                let other = if what.contains("string") { "percent" } else { other };
                let none = if other == "name" { Filter::eq("name", "dir") } else { Filter::eq(other, 1) };
                snapshot.count_matching(&none).await?;
            }
            let (found, trips, bytes) = store.cost(snapshot.count_matching(&filter)).await?;
            println!("{what}: {trips} trips, {bytes} of {index} bytes, {opening} trips to open");
            assert_eq!(found, expected, "{what}");
            assert!(trips <= 1, "{what}: {trips} trips");
            assert!(bytes * share < index, "{what}: {bytes} bytes of {index}");
        }
    }

    let firsts: [(Order, Vec<u64>); 2] =
        [(Order::asc("year"), (0..10).collect()), (Order::desc("year"), (ROWS - 10..ROWS).rev().collect())];
    for (order, ids) in firsts {
        let (snapshot, _) = store.cold().await?;
        let query = Query::order_by([order]).limit(10).select(Select::only([""; 0]));
        let (answer, trips, bytes) = store.cost(snapshot.query(query)).await?;
        let found: Vec<DocumentId> = answer.hits()?.iter().map(|hit| hit.document.id().clone()).collect();
        assert_eq!(found, ids.into_iter().map(DocumentId::from).collect::<Vec<_>>());
        // A block at an end of the index, and the ids of the hits: less than a hundredth of the values.
        println!("order: {trips} trips, {bytes} bytes");
        assert!(trips <= 3 && (1..ROWS * 8 / 100).contains(&bytes), "{trips} trips, {}", answer.stats);
    }
    Ok(())
}
