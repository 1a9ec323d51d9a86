//! **Measures** nearest-neighbour queries through the public API, with everything cached and on one thread: recall against
//! exact ground truth and time per query, next to a plain exact scan of the same vectors in memory, in the same run. Then
//! recall alone: after ten flushes with updates and deletes, after a compaction, after reopening, and with filters.
//!
//! **Leaves out** reading from a store, several threads, and fetching documents.
//!
//! `cargo bench --bench vector`, on a seeded clustered set, or
//! `ELACSYM_BENCH_DATA=folder cargo bench --bench vector -- NAME…` on sets of `base.npy`, `query.npy` and `gt.npy` (f32,
//! f32, i32; the nearest rows of each query) below that folder, with `cosine` or `l2` in their `manifest.json`. With
//! `ELACSYM_BENCH_PYTHON=python3`, a Python that has faiss, faiss is measured on the same set afterwards. The curve of
//! recall and time is written to `target/recall-NAME.svg`.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
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
mod machine;
mod plot;
#[path = "../common/set.rs"]
mod set;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use elacsym::schema::AttributeType;
use elacsym::storage::{MemoryBackend, StorageBackend};
use elacsym::{
    Consistency, Database, Document, Filter, IdKind, Namespace, Query, Result, Schema, Select, Settings,
    Vector, VectorType, WriteBatch,
};

use plot::Line;
use set::Set;

const LIMIT: usize = 10;
const BATCH: usize = 20_000;
/// The number of timed queries.
const QUERIES: usize = 1_000;
/// The number of queries under a filter, whose exact answers are found here.
const FEW: usize = 200;
const TARGETS: [f64; 4] = [0.8, 0.9, 0.95, 0.99];

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let names: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with("--")).collect();
    let Ok(folder) = std::env::var("ELACSYM_BENCH_DATA") else {
        return runtime.block_on(measure(&Set::clustered(100_000, 128), None));
    };
    for name in names {
        let folder = Path::new(&folder).join(&name);
        runtime.block_on(measure(&Set::load(&folder, &name), Some(&folder)))?;
    }
    Ok(())
}

async fn measure(set: &Set, folder: Option<&Path>) -> Result<()> {
    println!("\n## {}: {} rows of {} dimensions, {:?}", set.name, set.rows(), set.dimension, set.metric);
    curve(set).await?;
    if let (Some(folder), Ok(python)) = (folder, std::env::var("ELACSYM_BENCH_PYTHON")) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/vector/faiss_ivf.py");
        let status = Command::new(python).arg(script).arg(folder).status();
        assert!(status.expect("python runs").success(), "the measurement of faiss failed");
    }
    states(set).await
}

/// The curve of recall and time, after one flush.
async fn curve(set: &Set) -> Result<()> {
    let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    let schema = Schema::builder(IdKind::U64).vector("v", VectorType::F32, set.dimension, set.metric);
    let docs = database(&backend).await?.create_namespace("docs", schema.build()?).await?;
    upsert(&docs, set, 0..set.rows()).await?;
    let (wall, cpu) = (Instant::now(), machine::cpu_time());
    machine::forget_peak();
    let (before, _) = machine::memory();
    docs.flush().await?;
    println!(
        "flush with index: {:.1} s of CPU, {:.1} s; at its peak {:.2} times the vectors more memory",
        machine::cpu_time().saturating_sub(cpu).as_secs_f64(),
        wall.elapsed().as_secs_f64(),
        machine::memory().1.saturating_sub(before) as f64 / 1e9 / set.gigabytes()
    );
    let scan = set.time_scan();
    println!(
        "exact scan in memory: {:.2} ms a query, {:.1} GB/s; memory is read at {:.1} GB/s",
        scan * 1e3,
        set.gigabytes() / scan,
        machine::bandwidth(512 << 20)
    );
    println!("\n| target | recall@10 | ms per query | times the scan | clusters | rows scanned | reranked |");
    println!("|---|---|---|---|---|---|---|");
    let mut points = Vec::new();
    for recall in [0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 1.0] {
        points.push(row(set, &docs, scan, recall).await?);
    }
    let lines = [
        Line { name: "elacsym".into(), points },
        Line { name: "exact scan".into(), points: vec![(1.0, scan * 1e3)] },
    ];
    let path = format!("{}/target/recall-{}.svg", env!("CARGO_MANIFEST_DIR"), set.name);
    let _ = std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/target"));
    std::fs::write(&path, plot::svg(&format!("{}, one thread, warm", set.name), &lines)).expect("a plot");
    Ok(())
}

async fn row(set: &Set, docs: &Namespace, scan: f64, recall: f64) -> Result<(f64, f64)> {
    let count = if recall < 1.0 { QUERIES } else { 50 };
    let ask = |query: Query| query.recall(recall);
    // Once to fill the cache, then to measure: the better of two.
    run(set, docs, count, ask).await?;
    let (first, second) = (run(set, docs, count, ask).await?, run(set, docs, count, ask).await?);
    let best = if first.seconds < second.seconds { first } else { second };
    println!(
        "| {recall} | {:.4} | {:.3} | {:.1} | {:.1} | {:.0} | {:.1} |",
        best.recall,
        best.seconds * 1e3,
        scan / best.seconds,
        best.clusters,
        best.scanned,
        best.reranked
    );
    Ok((best.recall, best.seconds * 1e3))
}

/// The averages of a run of queries.
#[derive(Default)]
struct Run {
    recall: f64,
    seconds: f64,
    clusters: f64,
    scanned: f64,
    reranked: f64,
}

async fn run(set: &Set, docs: &Namespace, count: usize, ask: impl Fn(Query) -> Query) -> Result<Run> {
    let snapshot = docs.snapshot(Consistency::Eventual).await?;
    let (mut run, mut asked) = (Run::default(), 0.0);
    for (vector, truth) in set.queries().zip(&set.truth).take(count) {
        let query = ask(Query::nearest("v", vector).limit(LIMIT).select(Select::Only(Vec::new())));
        let start = Instant::now();
        let response = snapshot.query(query).await?;
        run.seconds += start.elapsed().as_secs_f64();
        run.recall += share(&response.rows.documents()?, &truth[..LIMIT.min(truth.len())]);
        run.clusters += response.stats.clusters_probed as f64;
        run.scanned += response.stats.rows_scanned as f64;
        run.reranked += response.stats.rows_reranked as f64;
        asked += 1.0;
    }
    for sum in [&mut run.recall, &mut run.seconds, &mut run.clusters, &mut run.scanned, &mut run.reranked] {
        *sum /= asked;
    }
    Ok(run)
}

/// The number of true neighbours that were found.
fn share(hits: &[Document], truth: &[u64]) -> f64 {
    let found = truth.iter().filter(|id| hits.iter().any(|hit| *hit.id() == **id)).count();
    found as f64 / truth.len().max(1) as f64
}

/// Recall in the states of a namespace, and with filters.
async fn states(set: &Set) -> Result<()> {
    let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    let schema = Schema::builder(IdKind::U64)
        .attribute("n", AttributeType::Uint)
        .attribute("shuffled", AttributeType::Uint)
        .vector("v", VectorType::F32, set.dimension, set.metric);
    let docs = database(&backend).await?.create_namespace("docs", schema.build()?).await?;
    println!("\n| state | 0.8 | 0.9 | 0.95 | 0.99 |\n|---|---|---|---|---|");
    let rows = set.rows();
    for part in 0..10 {
        // Rows of later batches, with wrong vectors, and some that are deleted again.
        upsert_as(&docs, set, (part..rows).step_by(97), |row| (row as u64, (row * 31 + 7) % rows)).await?;
        upsert_as(&docs, set, (part..rows).step_by(53), |row| ((rows + row) as u64, row)).await?;
        upsert(&docs, set, (part..rows).step_by(10)).await?;
        docs.flush().await?;
    }
    // Rows that were overwritten with wrong vectors.
    upsert(&docs, set, (0..10).flat_map(|part| (part..rows).step_by(97))).await?;
    docs.write(WriteBatch::new().delete_by_filter(Filter::gte("n", rows as u64))).await?;
    docs.flush().await?;
    recalls(set, &docs, "ten flushes, updates, deletes").await?;
    docs.compact().await?;
    recalls(set, &docs, "compacted").await?;
    let docs = database(&backend).await?.open_namespace("docs").await?;
    recalls(set, &docs, "reopened").await?;
    filters(set, &docs).await
}

async fn recalls(set: &Set, docs: &Namespace, state: &str) -> Result<()> {
    let mut cells = Vec::new();
    for target in TARGETS {
        let run = run(set, docs, QUERIES, |query| query.recall(target)).await?;
        cells.push(format!("{:.4}", run.recall));
    }
    println!("| {state} | {} |", cells.join(" | "));
    Ok(())
}

/// Recall at the default target, among matching documents.
async fn filters(set: &Set, docs: &Namespace) -> Result<()> {
    println!(
        "\n| matching rows | recall@10 | fewest hits | ms a query | rows scanned |\n|---|---|---|---|---|"
    );
    let rows = set.rows();
    let snapshot = docs.snapshot(Consistency::Eventual).await?;
    for matching in [rows / 2, rows / 10, rows / 100, rows / 1_000, 10] {
        let (mut recall, mut fewest, mut scanned, mut seconds) = (0.0, usize::MAX, 0.0, 0.0);
        for vector in set.queries().take(FEW) {
            let truth = set.nearest(vector, LIMIT, |row| set.shuffled(row) < matching as u64);
            let query = Query::nearest("v", vector).limit(LIMIT).select(Select::Only(Vec::new()));
            let start = Instant::now();
            let response = snapshot.query(query.filter(Filter::lt("shuffled", matching as u64))).await?;
            seconds += start.elapsed().as_secs_f64();
            let hits = response.rows.documents()?;
            (fewest, recall) = (fewest.min(hits.len()), recall + share(&hits, &truth));
            scanned += response.stats.rows_scanned as f64;
        }
        let each = set.queries().take(FEW).count() as f64;
        println!(
            "| {matching} | {:.4} | {fewest} | {:.3} | {:.0} |",
            recall / each,
            seconds / each * 1e3,
            scanned / each
        );
    }
    Ok(())
}

async fn database(backend: &Arc<dyn StorageBackend>) -> Result<Database> {
    let mut settings = Settings::default();
    (settings.auto_flush, settings.auto_compact, settings.cache_bytes) = (false, false, 4 << 30);
    (settings.tail_bytes_flush, settings.tail_bytes_max) = (2 << 30, 4 << 30);
    settings.reference_bytes_min = 1 << 30;
    Database::builder().settings(settings).open_backend(Arc::clone(backend)).await
}

async fn upsert(docs: &Namespace, set: &Set, rows: impl Iterator<Item = usize>) -> Result<()> {
    upsert_as(docs, set, rows, |row| (row as u64, row)).await
}

/// Upserts rows under the id and with the vector that `as_what` says.
async fn upsert_as(
    docs: &Namespace,
    set: &Set,
    rows: impl Iterator<Item = usize>,
    as_what: impl Fn(usize) -> (u64, usize),
) -> Result<()> {
    let mut rows: Vec<usize> = rows.collect();
    rows.sort_unstable();
    rows.dedup();
    for rows in rows.chunks(BATCH) {
        let attributes = docs.schema().columns().len() > 1;
        let document = |row: &usize| {
            let (id, vector) = as_what(*row);
            let document = Document::new(id).with("v", Vector::F32(set.row(vector).to_vec()));
            if !attributes {
                return document;
            }
            document.with("n", id).with("shuffled", set.shuffled(id as usize))
        };
        docs.write(rows.iter().map(document).fold(WriteBatch::new(), WriteBatch::upsert)).await?;
    }
    Ok(())
}
