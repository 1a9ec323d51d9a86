//! Building: from the vectors of a column to leaf records, their index, and the order that rows should lie in.
//!
//! Everything here is pure and heavy: it runs where blocking work does.

use super::centroids::CentroidSet;
use super::curve::Curve;
use super::index::{Entry, encode_index};
use super::kmeans::{Centroids, Leaves, Points, Progress, Training};
use super::quantizer::Quantizer;
use super::record::{RecordBuilder, length};
use super::space::Space;
use crate::codec::checksum;
use crate::error::Result;
use crate::types::Metric;

/// The bytes that the record of a leaf should have: one request, and a few hundred vectors.
const RECORD_BYTES: usize = 64 << 10;
const LEAF_ROWS_MIN: usize = 64;
const LEAF_ROWS_MAX: usize = 512;

/// The vectors of a column of a segment, as the metric compares them, and the rows they are of.
#[derive(Debug, Default)]
pub(crate) struct Coded {
    pub(crate) dimension: usize,
    pub(crate) values: Vec<f32>,
    pub(crate) rows: Vec<u32>,
}

/// The index of a column of a segment, before the rows have found their places.
#[derive(Debug)]
pub(crate) struct Built {
    leaves: Vec<Leaf>,
    /// Rows whose vectors have no code: they are compared exactly, always.
    loose: Vec<u32>,
    curve: Curve,
    quantizer: Quantizer,
}

#[derive(Debug)]
struct Leaf {
    number: u32,
    /// The places of its vectors in [`Coded`].
    vectors: Vec<usize>,
}

/// How many rows a leaf is to have.
pub(crate) fn leaf_rows(dimension: usize, bits: u8) -> usize {
    let padded = dimension.next_multiple_of(64);
    let (none, many) = (length(padded, bits, 0, false), length(padded, bits, 1 << 10, false));
    let each = (many - none).div_ceil(1 << 10).max(1);
    (RECORD_BYTES / each).clamp(LEAF_ROWS_MIN, LEAF_ROWS_MAX)
}

/// Makes the leaves of a column from some of its vectors.
pub(crate) fn train(
    metric: Metric,
    bits: u8,
    coded: &Coded,
    random: &mut impl FnMut() -> u64,
    progress: &Progress,
) -> Result<CentroidSet> {
    let points = Points::new(&coded.values, coded.dimension)?;
    let training = Training::new(leaf_rows(coded.dimension, bits), random());
    progress.expect(training.work(points.rows()));
    let leaves = Leaves::train(points, &training, progress)?;
    let (mean, spread) = moments(points, &leaves);
    let space = Space::new(metric, bits, mean, spread, random);
    let plain = Centroids::new(leaves.centroids, coded.dimension)?;
    Ok(CentroidSet::new(space, points.rows() as u64, plain))
}

/// The mean of the vectors, and the root of their mean squared distance from their centroids.
fn moments(points: Points<'_>, leaves: &Leaves) -> (Vec<f32>, f64) {
    let mut sums = vec![0.0_f64; points.dim()];
    let mut squares = 0.0;
    for (row, leaf) in leaves.assignment.iter().enumerate() {
        let start = *leaf as usize * points.dim();
        let centroid = leaves.centroids.get(start..start + points.dim()).unwrap_or_default();
        for ((sum, x), c) in sums.iter_mut().zip(points.row(row)).zip(centroid) {
            *sum += f64::from(*x);
            squares += (f64::from(*x) - f64::from(*c)).powi(2);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of rows")]
    let count = points.rows().max(1) as f64;
    (sums.into_iter().map(|sum| super::space::narrow(sum / count)).collect(), (squares / count).sqrt())
}

impl Built {
    /// Finds the leaf of every vector.
    pub(crate) fn new(set: &CentroidSet, coded: &Coded, progress: &Progress) -> Result<Self> {
        let points = Points::new(&coded.values, coded.dimension)?;
        progress.expect((points.rows() as u64).saturating_mul(set.len() as u64));
        let assignment = set.plain().assign(points, progress)?;
        let space = set.space();
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); set.len()];
        for (vector, leaf) in assignment.iter().enumerate() {
            if let Some(members) = members.get_mut(*leaf as usize) {
                members.push(vector);
            }
        }
        let leaves = (0..).zip(members).filter(|(_, vectors)| !vectors.is_empty());
        let leaves = leaves.map(|(number, vectors)| Leaf { number, vectors }).collect();
        Ok(Self {
            leaves,
            loose: Vec::new(),
            curve: Curve::measure(set, points, &assignment),
            quantizer: Quantizer::new(space.padded(), space.bits(), space.form()),
        })
    }

    /// The rows in the order of their leaves.
    pub(crate) fn order(&self, coded: &Coded) -> Vec<u32> {
        let vectors = self.leaves.iter().flat_map(|leaf| &leaf.vectors);
        vectors.filter_map(|vector| coded.rows.get(*vector).copied()).collect()
    }

    /// The records, and the section that tells where they are if they are put at `base` of the file.
    ///
    /// `place` gives the row at which each of [`Coded::rows`] has come to lie. If it is the order of this
    /// index that they lie in, `listed` is false.
    pub(crate) fn finish(
        mut self,
        set: &CentroidSet,
        coded: &Coded,
        place: &[u32],
        listed: bool,
        base: u64,
    ) -> (Vec<u8>, Vec<u8>) {
        let space = set.space();
        let bytes = |leaf: &Leaf| length(space.padded(), space.bits(), leaf.vectors.len(), true);
        let mut records = Vec::with_capacity(self.leaves.iter().map(bytes).sum());
        let mut entries = Vec::new();
        let quantizer = self.quantizer.clone();
        let mut builder = RecordBuilder::new(&quantizer);
        let mut residuals = Residuals::new(set);
        for leaf in &self.leaves {
            let centroid = set.inner(leaf.number as usize);
            let mut rows = Vec::with_capacity(leaf.vectors.len());
            for vector in &leaf.vectors {
                let row = coded.rows.get(*vector).and_then(|row| place.get(*row as usize)).copied();
                let row = row.unwrap_or_default();
                let start = vector * coded.dimension;
                let values = coded.values.get(start..start + coded.dimension).unwrap_or_default();
                if builder.push(residuals.of(values, centroid), centroid) {
                    rows.push(row);
                } else {
                    self.loose.push(row);
                }
            }
            // A run with a gap is no run.
            let run = !listed && rows.windows(2).all(|pair| matches!(pair, [a, b] if a + 1 == *b));
            let start = records.len();
            builder.finish(centroid, (!run).then_some(rows.as_slice()), &mut records);
            if rows.is_empty() {
                records.truncate(start);
                continue;
            }
            let sum = checksum(records.get(start..).unwrap_or_default());
            entries.push(Entry {
                leaf: leaf.number,
                vectors: u32::try_from(rows.len()).unwrap_or(u32::MAX),
                first: run.then(|| rows.first().copied()).flatten(),
                offset: base + start as u64,
                sum,
            });
        }
        let section = encode_index(&entries, &self.loose, &self.curve);
        (records, section)
    }
}

/// Residuals of vectors, in memory that is used again.
struct Residuals<'a> {
    space: &'a Space,
    scratch: Vec<f32>,
    inner: Vec<f32>,
}

impl<'a> Residuals<'a> {
    fn new(set: &'a CentroidSet) -> Self {
        let space = set.space();
        Self { space, scratch: Vec::new(), inner: vec![0.0; space.padded()] }
    }

    fn of(&mut self, vector: &[f32], centroid: &[f32]) -> &[f32] {
        self.space.enter(vector, &mut self.scratch, &mut self.inner);
        for (x, c) in self.inner.iter_mut().zip(centroid) {
            *x -= c;
        }
        &self.inner
    }
}
