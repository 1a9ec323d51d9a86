//! **Measures** what becomes of a bulk load: its flush, the merges that follow by themselves, and a compaction. For each,
//! CPU time, memory at its peak, and the bytes that the store was asked for and given, per byte of the vectors. Before
//! and after the compaction, recall and time of queries at several targets, with everything cached and on one thread.
//!
//! **Leaves out** the time of a store: the store is memory.
//!
//! `cargo bench --bench merges`, on a seeded clustered set, or
//! `ELACSYM_BENCH_DATA=folder cargo bench --bench merges -- NAME…` on sets as the bench `vector` takes them. The rows are
//! in the order of the set, or in that of `ELACSYM_BENCH_ORDER=shuffled`. With `ELACSYM_BENCH_PYTHON=python3`, a Python
//! that has faiss, faiss is measured on the same set afterwards.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "a benchmark"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/machine.rs"]
#[expect(dead_code, reason = "shared with others")]
mod machine;
#[path = "../common/set.rs"]
#[expect(dead_code, reason = "shared with others")]
mod set;

use std::future::Future;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use elacsym::storage::{CountingBackend, MemoryBackend, StorageBackend};
use elacsym::{
    Consistency, Database, Document, IdKind, Namespace, Query, Result, Schema, Select, Settings, Vector,
    VectorType, WriteBatch,
};

use set::Set;

const LIMIT: usize = 10;
const BATCH: usize = 10_000;
/// The number of timed queries.
const QUERIES: usize = 500;
const TARGETS: [f64; 4] = [0.9, 0.95, 0.97, 0.99];

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let names: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with("--")).collect();
    let Ok(folder) = std::env::var("ELACSYM_BENCH_DATA") else {
        return runtime.block_on(measure(&Set::clustered(200_000, 128)));
    };
    for name in names {
        let folder = Path::new(&folder).join(&name);
        runtime.block_on(measure(&Set::load(&folder, &name)))?;
        if let Ok(python) = std::env::var("ELACSYM_BENCH_PYTHON") {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/vector/faiss_ivf.py");
            let status = Command::new(python).arg(script).arg(&folder).status();
            assert!(status.expect("python runs").success(), "the measurement of faiss failed");
        }
    }
    Ok(())
}

async fn measure(set: &Set) -> Result<()> {
    println!("\n## {}: {} rows of {} dimensions, {:?}", set.name, set.rows(), set.dimension, set.metric);
    let store = Arc::new(CountingBackend::new(Arc::new(MemoryBackend::new())));
    let schema = Schema::builder(IdKind::U64).vector("v", VectorType::F32, set.dimension, set.metric);
    let backend = Arc::clone(&store) as Arc<dyn StorageBackend>;
    let settings = Settings::default().cache_bytes(2 << 30);
    let db = Database::builder().settings(settings).open_backend(backend).await?;
    let docs = db.create_namespace("docs", schema.build()?).await?;
    let work = Work { set, store: &store };
    work.measure("load", load(&docs, set)).await?;
    work.measure("flush", docs.flush()).await?;
    work.measure("merges after it", settle(&docs)).await?;
    ask(set, &docs).await?;
    ask_cold(set, &store).await?;
    work.measure("compact", docs.compact()).await?;
    ask(set, &docs).await?;
    ask_cold(set, &store).await?;
    work.measure("compact again", docs.compact()).await?;
    // All segments share a set of clusters now. One row in twenty dies in each.
    work.measure("a twentieth is replaced", replace(&docs, set)).await?;
    work.measure("compact", docs.compact()).await?;
    ask(set, &docs).await?;
    work.measure("compact again", docs.compact()).await.map(drop)
}

/// Writes one document in twenty again, as it was.
async fn replace(docs: &Namespace, set: &Set) -> Result<()> {
    let rows: Vec<usize> = (0..set.rows()).step_by(20).collect();
    write(docs, set, &rows).await?;
    docs.flush().await?;
    settle(docs).await
}

/// Work on a set, and the store that it reads and writes.
struct Work<'a> {
    set: &'a Set,
    store: &'a CountingBackend,
}

impl Work<'_> {
    async fn measure<T>(&self, name: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.store.reset();
        machine::forget_peak();
        let ((before, _), cpu, start) = (machine::memory(), machine::cpu_time(), Instant::now());
        let result = work.await?;
        let (_, peak) = machine::memory();
        let bytes = self.set.gigabytes() * 1e9;
        let (requests, read, written) =
            (self.store.requests(), self.store.bytes_read(), self.store.bytes_written());
        println!(
            "{name}: {:.1} s of CPU, {:.1} s; {:.2} GB more memory at its peak, of which the store has {:.2}; \
             {requests} requests, {:.2} bytes read and {:.2} written per byte of vectors",
            machine::cpu_time().saturating_sub(cpu).as_secs_f64(),
            start.elapsed().as_secs_f64(),
            peak.saturating_sub(before) as f64 / 1e9,
            written as f64 / 1e9,
            read as f64 / bytes,
            written as f64 / bytes,
        );
        Ok(result)
    }
}

async fn load(docs: &Namespace, set: &Set) -> Result<()> {
    let order = std::env::var("ELACSYM_BENCH_ORDER").unwrap_or_default();
    let mut rows: Vec<usize> = (0..set.rows()).collect();
    if order == "shuffled" {
        rows.sort_by_key(|row| set.shuffled(*row));
    }
    write(docs, set, &rows).await
}

async fn write(docs: &Namespace, set: &Set, rows: &[usize]) -> Result<()> {
    for batch in rows.chunks(BATCH) {
        let document =
            |row: &usize| Document::new(*row as u64).with("v", Vector::F32(set.row(*row).to_vec()));
        docs.write(batch.iter().map(document).collect::<WriteBatch>()).await?;
    }
    Ok(())
}

/// Waits until merges that go on by themselves are done.
async fn settle(docs: &Namespace) -> Result<()> {
    let mut idle = 0;
    while idle < 15 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        idle = if docs.index_progress().is_some() { 0 } else { idle + 1 };
    }
    Ok(())
}

/// What queries cost a process that has opened the namespace and caches nothing.
async fn ask_cold(set: &Set, store: &Arc<CountingBackend>) -> Result<()> {
    let backend = Arc::clone(store) as Arc<dyn StorageBackend>;
    let db = Database::builder().settings(Settings::default().cache_bytes(0)).open_backend(backend).await?;
    let docs = db.open_namespace("docs").await?;
    let (mut requests, mut trips, mut bytes, mut asked) = (0, 0, 0, 0);
    for vector in set.queries().take(50) {
        let stats = docs.query(Query::nearest("v", vector).limit(LIMIT).recall(0.95)).await?.stats;
        (requests, trips) = (requests + stats.requests, trips.max(stats.round_trips));
        (bytes, asked) = (bytes + stats.bytes, asked + 1);
    }
    println!(
        "without a cache, asked 0.95: {:.1} requests and {:.1} MB a query, at most {trips} round trips\n",
        requests as f64 / f64::from(asked),
        bytes as f64 / f64::from(asked) / 1e6
    );
    Ok(())
}

/// Recall and time of queries.
async fn ask(set: &Set, docs: &Namespace) -> Result<()> {
    let snapshot = docs.snapshot(Consistency::Eventual).await?;
    let select = || Select::Only(Vec::new());
    let plan = snapshot.explain(Query::nearest("v", set.row(0)).select(select()))?;
    for part in &plan.legs[0].parts {
        println!("  {}: {} rows", part.part, part.rows);
    }
    println!("\n| asked | recall@{LIMIT} | ms a query | clusters | rows scanned | reranked |");
    println!("|---|---|---|---|---|---|");
    for target in TARGETS {
        let (mut best, mut row) = (f64::INFINITY, String::new());
        // Once to fill the cache, then the better of two.
        for _ in 0..3 {
            let (mut found, mut asked) = (0, 0);
            let mut seconds = 0.0;
            let (mut clusters, mut scanned, mut reranked) = (0_u64, 0_u64, 0_u64);
            for (vector, truth) in set.queries().zip(&set.truth).take(QUERIES) {
                let query = Query::nearest("v", vector).limit(LIMIT).recall(target).select(select());
                let start = Instant::now();
                let answer = snapshot.query(query).await?;
                seconds += start.elapsed().as_secs_f64();
                let truth = &truth[..LIMIT];
                let hits = answer.rows.documents()?;
                found += truth.iter().filter(|id| hits.iter().any(|hit| *hit.id() == **id)).count();
                asked += LIMIT;
                clusters += answer.stats.clusters_probed as u64;
                scanned += answer.stats.rows_scanned;
                reranked += answer.stats.rows_reranked;
            }
            let queries = (asked / LIMIT) as f64;
            if seconds < best {
                best = seconds;
                row = format!(
                    "| {target} | {:.4} | {:.3} | {:.1} | {:.0} | {:.1} |",
                    found as f64 / asked as f64,
                    seconds * 1e3 / queries,
                    clusters as f64 / queries,
                    scanned as f64 / queries,
                    reranked as f64 / queries
                );
            }
        }
        println!("{row}");
    }
    println!();
    Ok(())
}
