//! Measures nearest-neighbour queries through the public API: recall against exact ground truth, time a query
//! on one thread with everything cached, and beside it a plain exact scan of the same vectors in memory, in the
//! same run.
//!
//! Leaves out the latency of a store. `cargo bench --bench vector`, on a seeded clustered set, or
//! `ELACSYM_BENCH_DATA=folder cargo bench --bench vector -- NAME…` on sets of `base.npy`, `query.npy` and
//! `gt.npy` (f32, f32, i32; the nearest rows of each query) below that folder, with `cosine` or `l2` in its
//! `manifest.json`.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use elacsym::storage::MemoryBackend;
use elacsym::{
    Consistency, Database, Document, IdKind, Metric, Namespace, Query, Result, Schema, Select, Settings,
    Vector, VectorType, WriteBatch,
};

const LIMIT: usize = 10;
const BATCH: usize = 20_000;
/// Queries that are timed; the scan, which takes far longer, gets fewer.
const QUERIES: usize = 1_000;
const SCANS: usize = 50;

/// A set with its exact answers.
struct Set {
    name: String,
    metric: Metric,
    dimension: usize,
    base: Vec<f32>,
    queries: Vec<f32>,
    /// For each query, its nearest rows.
    truth: Vec<Vec<u64>>,
}

impl Set {
    fn rows(&self) -> usize {
        self.base.len() / self.dimension
    }

    fn queries(&self) -> impl Iterator<Item = &[f32]> {
        self.queries.chunks_exact(self.dimension).take(QUERIES)
    }
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let names: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with("--")).collect();
    match std::env::var("ELACSYM_BENCH_DATA") {
        Ok(folder) => {
            for name in names {
                runtime.block_on(measure(&load(&Path::new(&folder).join(&name), &name)))?;
            }
        }
        Err(_) => runtime.block_on(measure(&clustered(100_000, 128)))?,
    }
    Ok(())
}

async fn measure(set: &Set) -> Result<()> {
    println!("\n{}: {} rows of {} dimensions, {:?}", set.name, set.rows(), set.dimension, set.metric);
    let mut settings = Settings::default();
    (settings.auto_flush, settings.cache_bytes) = (false, 4 << 30);
    (settings.tail_bytes_flush, settings.tail_bytes_max) = (2 << 30, 4 << 30);
    settings.reference_bytes_min = 1 << 30;
    let db = Database::builder().with_settings(settings);
    let db = db.open_backend(Arc::new(MemoryBackend::new())).await?;
    let schema =
        Schema::builder(IdKind::U64).vector("v", VectorType::F32, set.dimension, set.metric).build()?;
    let docs = db.create_namespace("docs", schema).await?;
    for (batch, rows) in set.base.chunks(BATCH * set.dimension).enumerate() {
        let row = |(at, row): (usize, &[f32])| {
            Document::new((batch * BATCH + at) as u64).with("v", Vector::F32(row.to_vec()))
        };
        let documents = rows.chunks_exact(set.dimension).enumerate().map(row);
        docs.write(documents.fold(WriteBatch::new(), WriteBatch::upsert)).await?;
    }
    let (wall, cpu) = (Instant::now(), cpu_time());
    docs.flush().await?;
    println!(
        "flush with index: {:.1} s of CPU, {:.1} s",
        (cpu_time() - cpu).as_secs_f64(),
        wall.elapsed().as_secs_f64()
    );

    let scan = time_scan(set);
    println!("exact scan in memory: {:.2} ms a query, {:.1} GB/s", scan * 1e3, gigabytes(set) / scan);
    println!(
        "| asked | recall@10 | ms a query | times faster than the scan | leaves | rows scanned | reranked |"
    );
    println!("|---|---|---|---|---|---|---|");
    for recall in [0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 1.0] {
        row(set, &docs, scan, recall).await?;
    }
    Ok(())
}

async fn row(set: &Set, docs: &Namespace, scan: f64, recall: f64) -> Result<()> {
    let snapshot = docs.snapshot(Consistency::Eventual).await?;
    let (mut found, mut wanted) = (0, 0);
    let (mut leaves, mut scanned, mut reranked) = (0, 0, 0);
    let mut times = Vec::new();
    let count = if recall < 1.0 { QUERIES } else { SCANS };
    // Once to fill the cache, once to measure.
    for measured in [false, true] {
        for (vector, truth) in set.queries().zip(&set.truth).take(count) {
            let query =
                Query::nearest("v", vector).limit(LIMIT).recall(recall).select(Select::Only(Vec::new()));
            let start = Instant::now();
            let response = snapshot.query(query).await?;
            if !measured {
                continue;
            }
            times.push(start.elapsed().as_secs_f64());
            let truth = truth.get(..LIMIT).unwrap_or(truth);
            let ids = response.rows.documents()?;
            found += ids.iter().filter(|hit| truth.iter().any(|id| *hit.id() == (*id).into())).count();
            wanted += truth.len();
            leaves += response.stats.leaves_probed;
            scanned += response.stats.rows_scanned;
            reranked += response.stats.rows_reranked;
        }
    }
    let time = times.iter().sum::<f64>() / times.len() as f64;
    let each = |total: u64| total as f64 / times.len() as f64;
    println!(
        "| {recall} | {:.4} | {:.3} | {:.1} | {:.1} | {:.0} | {:.1} |",
        found as f64 / wanted.max(1) as f64,
        time * 1e3,
        scan / time,
        each(leaves),
        each(scanned),
        each(reranked)
    );
    Ok(())
}

/// Seconds of an exact scan: one pass over the matrix, sums in sixteen lanes, the ten nearest kept.
fn time_scan(set: &Set) -> f64 {
    let mut best = f64::INFINITY;
    for query in set.queries().take(SCANS) {
        let start = Instant::now();
        let mut near: Vec<(f32, usize)> = Vec::with_capacity(LIMIT + 1);
        for (row, vector) in set.base.chunks_exact(set.dimension).enumerate() {
            let distance = match set.metric {
                Metric::L2Squared => sum(query, vector, |a, b| (a - b) * (a - b)),
                _ => -sum(query, vector, |a, b| a * b),
            };
            if near.len() < LIMIT || near.last().is_some_and(|last| distance < last.0) {
                let at = near.partition_point(|(other, _)| *other <= distance);
                near.insert(at, (distance, row));
                near.truncate(LIMIT);
            }
        }
        best = best.min(start.elapsed().as_secs_f64());
        std::hint::black_box(near);
    }
    best
}

fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut lanes = [0.0; 16];
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += term(*a, *b);
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| term(*a, *b)).sum::<f32>()
}

fn gigabytes(set: &Set) -> f64 {
    set.base.len() as f64 * 4.0 / 1e9
}

/// The CPU time of this process so far.
fn cpu_time() -> Duration {
    // Fields 14 and 15, in hundredths of a second; where there is no such file the answer is zero.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    Duration::from_millis(fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10)
}

/// Points around centres that lie around fewer centres, with held-out queries.
fn clustered(rows: usize, dimension: usize) -> Set {
    let mut state = 42_u64;
    let mut normal = || -> f32 {
        (0..4)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                f32::from(u16::try_from(state >> 48).unwrap_or_default()) / 32_768.0 - 1.0
            })
            .sum()
    };
    let centres: Vec<Vec<f32>> = (0..400).map(|_| (0..dimension).map(|_| normal()).collect()).collect();
    let mut point = |number: usize| -> Vec<f32> {
        let (a, b) = (&centres[number % 400], &centres[number * 7 % 397]);
        a.iter().zip(b).map(|(a, b)| a * 0.6 + b * 0.3 + normal() * 0.5).collect()
    };
    let base: Vec<f32> = (0..rows).flat_map(&mut point).collect();
    let queries: Vec<f32> = (0..QUERIES).flat_map(|n| point(n * 31)).collect();
    let mut set = Set {
        name: "clustered".into(),
        metric: Metric::L2Squared,
        dimension,
        base,
        queries,
        truth: Vec::new(),
    };
    set.truth = set
        .queries()
        .map(|query| {
            let near = set.base.chunks_exact(dimension).map(|row| sum(query, row, |a, b| (a - b) * (a - b)));
            let mut near: Vec<(f32, u64)> = near.zip(0..).collect();
            near.select_nth_unstable_by(LIMIT, |a, b| a.0.total_cmp(&b.0));
            near.truncate(LIMIT);
            near.into_iter().map(|(_, row)| row).collect()
        })
        .collect();
    set
}

fn load(folder: &Path, name: &str) -> Set {
    let about = std::fs::read_to_string(folder.join("manifest.json")).expect("manifest.json");
    let metric = if about.contains("\"cosine\"") { Metric::Cosine } else { Metric::L2Squared };
    let (base, dimension) = npy(&folder.join("base.npy"), f32::from_le_bytes);
    let (queries, _) = npy(&folder.join("query.npy"), f32::from_le_bytes);
    let (truth, depth) = npy(&folder.join("gt.npy"), i32::from_le_bytes);
    let truth =
        truth.chunks(depth).map(|rows| rows.iter().map(|row| u64::from(row.unsigned_abs())).collect());
    Set { name: name.to_owned(), metric, dimension, base, queries, truth: truth.collect() }
}

/// The values of a `.npy` file of version 1, and the length of its rows.
fn npy<T>(path: &Path, value: impl Fn([u8; 4]) -> T) -> (Vec<T>, usize) {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let shape = String::from_utf8_lossy(&bytes[10..header]).into_owned();
    let shape = shape.split("'shape': (").nth(1).and_then(|rest| rest.split(')').next()).expect("a shape");
    let row = shape.split(',').nth(1).and_then(|n| n.trim().parse().ok()).expect("two dimensions");
    (bytes[header..].as_chunks::<4>().0.iter().map(|bytes| value(*bytes)).collect(), row)
}
