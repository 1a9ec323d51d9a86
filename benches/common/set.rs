//! A set of vectors with queries and their exact answers, and the exact scan that serves as the baseline.

use std::path::Path;

use elacsym::Metric;

use crate::common::Draw;
use crate::{LIMIT, QUERIES, machine};

pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) metric: Metric,
    pub(crate) dimension: usize,
    pub(crate) base: Vec<f32>,
    queries: Vec<f32>,
    /// For each query, its nearest rows.
    pub(crate) truth: Vec<Vec<u64>>,
}

impl Set {
    pub(crate) fn rows(&self) -> usize {
        self.base.len() / self.dimension
    }

    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.base[row * self.dimension..(row + 1) * self.dimension]
    }

    /// The rank of a row in an order independent of the space; each rank occurs about once.
    pub(crate) fn shuffled(&self, row: usize) -> u64 {
        // A multiplier without a common factor with most counts of rows.
        row as u64 * 2_654_435_761 % self.rows() as u64
    }

    pub(crate) fn queries(&self) -> impl Iterator<Item = &[f32]> + Clone {
        self.queries.chunks_exact(self.dimension).take(QUERIES)
    }

    /// The nearest of the rows that match.
    pub(crate) fn nearest(&self, query: &[f32], limit: usize, matches: impl Fn(usize) -> bool) -> Vec<u64> {
        scan(self.metric, query, &self.base, limit, matches)
    }

    /// Seconds of an exact scan.
    pub(crate) fn time_scan(&self) -> f64 {
        let mut queries = self.queries().cycle();
        machine::best(|| {
            let query = queries.next().expect("there are queries");
            std::hint::black_box(self.nearest(query, LIMIT, |_| true));
        })
    }

    pub(crate) fn gigabytes(&self) -> f64 {
        self.base.len() as f64 * 4.0 / 1e9
    }

    /// From `base.npy`, `query.npy`, `gt.npy` and `manifest.json`.
    pub(crate) fn load(folder: &Path, name: &str) -> Self {
        let about = std::fs::read_to_string(folder.join("manifest.json")).expect("manifest.json");
        let metric = if about.contains("\"cosine\"") { Metric::Cosine } else { Metric::L2Squared };
        let (base, dimension) = npy(&folder.join("base.npy"), f32::from_le_bytes);
        let (queries, _) = npy(&folder.join("query.npy"), f32::from_le_bytes);
        let (truth, depth) = npy(&folder.join("gt.npy"), i32::from_le_bytes);
        let truth =
            truth.chunks(depth).map(|rows| rows.iter().map(|row| u64::from(row.unsigned_abs())).collect());
        Self { name: name.to_owned(), metric, dimension, base, queries, truth: truth.collect() }
    }

    /// Points around mixtures of two centers, with held-out queries.
    pub(crate) fn clustered(rows: usize, dimension: usize) -> Self {
        let mut draw = Draw(42);
        // The sum of four uniform numbers is close enough to a normal one.
        let mut normal =
            || -> f32 { (0..4).map(|_| f32::from(draw.below(1 << 16) as u16) / 32_768.0 - 1.0).sum() };
        let centers: Vec<Vec<f32>> = (0..400).map(|_| (0..dimension).map(|_| normal()).collect()).collect();
        let mut point = |number: usize| -> Vec<f32> {
            let (a, b) = (&centers[number % 400], &centers[number * 7 % 397]);
            a.iter().zip(b).map(|(a, b)| a * 0.6 + b * 0.3 + normal() * 0.5).collect()
        };
        let base: Vec<f32> = (0..rows).flat_map(&mut point).collect();
        let queries: Vec<f32> = (0..QUERIES).flat_map(|n| point(n * 31)).collect();
        let (name, metric) = ("clustered".into(), Metric::L2Squared);
        let mut set = Self { name, metric, dimension, base, queries, truth: Vec::new() };
        set.truth = set.queries().map(|query| set.nearest(query, LIMIT, |_| true)).collect();
        set
    }
}

/// The nearest rows of a matrix, in one pass with sums in lanes. Compiled for AVX2 where the processor has it.
fn scan(
    metric: Metric,
    query: &[f32],
    base: &[f32],
    limit: usize,
    matches: impl Fn(usize) -> bool,
) -> Vec<u64> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: the processor has the features the function asks for.
        #[expect(unsafe_code, reason = "a function for processor features is called")]
        return unsafe { scan_avx2(metric, query, base, limit, matches) };
    }
    scan_plain(metric, query, base, limit, |a, b, c| a * b + c, matches)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn scan_avx2(
    metric: Metric,
    query: &[f32],
    base: &[f32],
    limit: usize,
    matches: impl Fn(usize) -> bool,
) -> Vec<u64> {
    scan_plain(metric, query, base, limit, f32::mul_add, matches)
}

#[expect(clippy::inline_always, reason = "it is compiled with the features of its caller")]
#[inline(always)]
fn scan_plain(
    metric: Metric,
    query: &[f32],
    base: &[f32],
    limit: usize,
    fused: impl Fn(f32, f32, f32) -> f32,
    matches: impl Fn(usize) -> bool,
) -> Vec<u64> {
    let mut near: Vec<(f32, u64)> = Vec::with_capacity(limit + 1);
    for (row, vector) in base.chunks_exact(query.len()).enumerate() {
        if !matches(row) {
            continue;
        }
        let distance = match metric {
            Metric::L2Squared => sum(query, vector, |a, b, c| fused(a - b, a - b, c)),
            // Sets for cosine distance have rows of unit length.
            _ => -sum(query, vector, &fused),
        };
        if near.len() < limit || near.last().is_some_and(|last| distance < last.0) {
            let at = near.partition_point(|(other, _)| *other <= distance);
            near.insert(at, (distance, row as u64));
            near.truncate(limit);
        }
    }
    near.into_iter().map(|(_, row)| row).collect()
}

#[expect(clippy::inline_always, reason = "it is compiled with the features of its caller")]
#[inline(always)]
fn sum(a: &[f32], b: &[f32], add: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
    let mut lanes = [0.0; 32];
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane = add(*a, *b, *lane);
        }
    }
    let rest = a_rest.iter().zip(b_rest).fold(0.0, |sum, (a, b)| add(*a, *b, sum));
    lanes.iter().sum::<f32>() + rest
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
