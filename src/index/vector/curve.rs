//! What share of the true neighbours lies in the nearest leaves: measured when an index is built, read when a
//! query asks for a recall.
//!
//! Vectors of the segment itself are the queries. For each, its true nearest among the rows are found, and in
//! which leaf each of them lies by the order in which the query would probe the leaves.

use super::centroids::CentroidSet;
use super::kernels::kernels;
use super::kmeans::Points;
use super::quantizer::Form;
use crate::codec::{CodecError, Reader};

const WHAT: &str = "recall curve";
/// The numbers of neighbours that are measured.
const NEIGHBOURS: [usize; 3] = [10, 100, 1_000];
const POINTS_MAX: usize = 64;
/// At most this many vectors are asked for, and at most this many products of components are spent on them.
const QUERIES_MAX: usize = 256;
const QUERIES_MIN: usize = 32;
const PRODUCTS_MAX: usize = 10_000_000_000;

/// Recall by the number of leaves probed, in the order of the whole set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Curve {
    points: Vec<Point>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    probes: u32,
    /// For each of [`NEIGHBOURS`].
    recall: [f32; 3],
}

impl Curve {
    /// Measures the curve of rows, as the metric compares them, that lie in these leaves.
    pub(super) fn measure(set: &CentroidSet, rows: Points<'_>, assignment: &[u32]) -> Self {
        let work = rows.rows().saturating_mul(rows.dim()).max(1);
        let queries = (PRODUCTS_MAX / work).clamp(QUERIES_MIN, QUERIES_MAX).min(rows.rows());
        let grid = grid(set.len());
        let mut sums = vec![[0.0_f64; 3]; grid.len()];
        let mut counts = [0.0_f64; 3];
        for number in 0..queries {
            let query = number * rows.rows() / queries;
            let rank = ranks(&set.scores_of(rows.row(query)));
            let near = neighbours(rows, query, set.space().form());
            for (which, wanted) in NEIGHBOURS.iter().enumerate() {
                let near = near.get(..*wanted.min(&near.len())).unwrap_or_default();
                if near.is_empty() {
                    continue;
                }
                let mut ranks: Vec<u32> = near
                    .iter()
                    // What is in no leaf is always compared.
                    .map(|row| rank.get(*assignment.get(*row as usize)? as usize).copied())
                    .map(Option::unwrap_or_default)
                    .collect();
                ranks.sort_unstable();
                if let Some(count) = counts.get_mut(which) {
                    *count += 1.0;
                }
                for (probes, sums) in grid.iter().zip(&mut sums) {
                    let found = ranks.partition_point(|rank| rank < probes);
                    if let Some(sum) = sums.get_mut(which) {
                        *sum += ratio(found, near.len());
                    }
                }
            }
        }
        let mean = |sums: [f64; 3]| {
            let mut recall = [1.0; 3];
            for ((recall, sum), count) in recall.iter_mut().zip(sums).zip(counts) {
                if count > 0.0 {
                    *recall = super::space::narrow(sum / count);
                }
            }
            recall
        };
        let points = grid.into_iter().zip(sums).map(|(probes, sums)| Point { probes, recall: mean(sums) });
        Self { points: points.collect() }
    }

    /// The share of the `neighbours` nearest that lie in the nearest `probes` leaves.
    pub(crate) fn recall(&self, probes: f64, neighbours: f64) -> f64 {
        let after = self.points.partition_point(|point| f64::from(point.probes) < probes);
        let before = after.checked_sub(1).and_then(|at| self.points.get(at));
        match (before, self.points.get(after)) {
            (Some(a), Some(b)) => {
                let (low, high) = (f64::from(a.probes), f64::from(b.probes));
                let share = if high > low { (probes - low) / (high - low) } else { 1.0 };
                a.of(neighbours) + (b.of(neighbours) - a.of(neighbours)) * share
            }
            (None, Some(point)) => point.of(neighbours) * probes / f64::from(point.probes.max(1)),
            (_, None) => 1.0,
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(u32::try_from(self.points.len()).unwrap_or(u32::MAX).to_le_bytes());
        for point in &self.points {
            out.extend(point.probes.to_le_bytes());
            out.extend(point.recall.iter().flat_map(|recall| recall.to_le_bytes()));
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let count = reader.u32()? as usize;
        if count > POINTS_MAX {
            return Err(CodecError::malformed(WHAT, "too many points"));
        }
        let mut points = Vec::new();
        for _ in 0..count {
            let probes = reader.u32()?;
            let recall = [reader.u32()?, reader.u32()?, reader.u32()?].map(f32::from_bits);
            let sound = recall.iter().all(|recall| (0.0..=1.0).contains(recall));
            if !sound || points.last().is_some_and(|last: &Point| last.probes >= probes) {
                return Err(CodecError::malformed(WHAT, "points do not ascend"));
            }
            points.push(Point { probes, recall });
        }
        Ok(Self { points })
    }
}

impl Point {
    /// Between the measured numbers of neighbours by their logarithm.
    fn of(&self, neighbours: f64) -> f64 {
        let [a, b, c] = self.recall.map(f64::from);
        let decades = neighbours.max(1.0).log10() - 1.0;
        let between = |x: f64, y: f64, share: f64| x + (y - x) * share.clamp(0.0, 1.0);
        if decades <= 1.0 { between(a, b, decades) } else { between(b, c, decades - 1.0) }
    }
}

/// The numbers of probes that are measured: all at first, then about four for each doubling.
fn grid(leaves: usize) -> Vec<u32> {
    let mut grid = Vec::new();
    let mut probes = 1;
    while probes < leaves && grid.len() + 1 < POINTS_MAX {
        grid.push(u32::try_from(probes).unwrap_or(u32::MAX));
        probes += (probes / 4).max(1);
    }
    grid.push(u32::try_from(leaves).unwrap_or(u32::MAX));
    grid
}

/// The place of each leaf in the order of their scores.
fn ranks(scores: &[f32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..).take(scores.len()).collect();
    let score = |leaf: &u32| scores.get(*leaf as usize).copied().unwrap_or(f32::NAN);
    order.sort_unstable_by(|a, b| score(a).total_cmp(&score(b)).then(a.cmp(b)));
    let mut ranks = vec![0; scores.len()];
    for (rank, leaf) in (0..).zip(order) {
        if let Some(place) = ranks.get_mut(leaf as usize) {
            *place = rank;
        }
    }
    ranks
}

/// The rows nearest to a row, itself left out, nearest first.
fn neighbours(rows: Points<'_>, query: usize, form: Form) -> Vec<u32> {
    let kernels = kernels();
    let vector = rows.row(query);
    let distance = |row: usize| match form {
        Form::L2 => kernels.l2(vector, rows.row(row)),
        Form::Dot => -kernels.dot(vector, rows.row(row)),
    };
    let others = (0..rows.rows()).filter(|row| *row != query);
    let mut all: Vec<(f32, u32)> = others
        .filter_map(|row| Some((super::space::narrow(distance(row)), u32::try_from(row).ok()?)))
        .collect();
    let wanted = NEIGHBOURS.iter().copied().max().unwrap_or_default().min(all.len());
    if let Some(last) = wanted.checked_sub(1) {
        all.select_nth_unstable_by(last, |a, b| a.0.total_cmp(&b.0));
    }
    all.truncate(wanted);
    all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    all.into_iter().map(|(_, row)| row).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn ratio(found: usize, of: usize) -> f64 {
    found as f64 / of as f64
}
