//! Training a centroid set on vectors, and deciding whether a set still fits others.
//!
//! Pure and CPU-heavy: it runs where blocking work does.

use std::borrow::Cow;

use super::assignment::Assignment;
use super::centroids::{CentroidSet, ClusterFit, ClusterNumbers, SetHeader, SetShape, Space, choose_scale};
use super::distinct::DistinctVectors;
use super::kernels::kernels;
use super::kmeans::{Centroids, Clusters, Points, Training, TrainingProgress};
use super::numeric::{count_to_f64, median, round_to_f32};
use super::outliers::{find_outliers, interquartile_mean};
use super::random::Random;
use super::record::bytes_per_vector;
use super::row_clusters::RowClusters;
use crate::codec::{to_u32, to_usize, u64_of, usize_of};
use crate::error::{Error, Result};
use crate::types::ObjectId;

/// The size of a cluster's record: one request, and a few hundred vectors.
// Smaller clusters let a query scan fewer vectors but need more requests. At 768 dimensions and a recall of .95, clusters
// of 1,024, 512 and 256 vectors took about 6, 5 and 7 probes and scanned 1.5, .42 and .33 % of the vectors.
const RECORD_BYTES: usize = 64 << 10;
const CLUSTER_ROWS_MIN: usize = 64;
const CLUSTER_ROWS_MAX: usize = 512;
/// The vectors that determine a centroid, at least. Fewer would leave it beside its cluster.
const SAMPLED_ROWS_MIN: usize = 16;
/// Vectors that decide whether a set fits.
const FIT_SAMPLE: usize = 1_024;
/// Vectors are judged if they are more than one in this many of all.
const NEW_SHARE: usize = 8;
/// A set no longer fits when vectors lie this many times farther from their centroids than those it was trained on, or
/// are this many times as likely to share a cluster.
// The first costs recall, as curves fall when residuals grow. The second costs bytes, as a query reads whole clusters: a
// column that grows into one corner of the space fills a few clusters.
const SPREAD_MAX: f32 = 2.0;
const CROWDING_MAX: f32 = 4.0;

/// A set that is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetPlan<'a> {
    /// The name of its object.
    pub(crate) id: ObjectId,
    pub(crate) shape: SetShape,
    /// The set that the column had so far.
    pub(crate) before: Option<&'a CentroidSet>,
    /// The same vectors and seed make the same clusters, whatever else is drawn by chance.
    pub(crate) seed: u64,
    /// The rows that will have these clusters, if the vectors are a sample of theirs.
    pub(crate) rows: u64,
}

/// How many rows a cluster should have.
pub(super) fn cluster_rows(dimension: usize, bits: u8) -> usize {
    let per_vector = bytes_per_vector(dimension.next_multiple_of(64), bits);
    (RECORD_BYTES / per_vector).clamp(CLUSTER_ROWS_MIN, CLUSTER_ROWS_MAX)
}

/// Makes the clusters of a column from some of its vectors.
pub(crate) fn train_centroids(
    planned: &SetPlan<'_>,
    vectors: &DistinctVectors,
    progress: &TrainingProgress,
) -> Result<CentroidSet> {
    let mut random = Random::new(planned.seed);
    let points = Points::new(&vectors.values, vectors.dimension)?;
    let rows = planned.rows.max(u64_of(vectors.len()));
    let values = copy_without(points, &find_outliers(points)?)?;
    let points = Points::new(&values, vectors.dimension)?;
    let training = Training::new(sampled_cluster_rows(planned, vectors.len())?, random.next());
    progress.add_expected(training.expected_comparisons(points.rows()));
    let clusters = Clusters::train(points, &training, progress)?;
    let plain = Centroids::new(clusters.centroids, vectors.dimension)?;
    let distances = centroid_distances(points, &plain, &clusters.assignment);
    let fit = ClusterFit {
        spread: round_to_f32(median(&distances)),
        crowding: measure_crowding(clusters.sizes.iter().map(|size| usize_of(*size))),
    };
    // A rotation serves vectors of any kind, so one does for all sets of a column: queries and codes of two versions can
    // be compared.
    let seed = match planned.before {
        Some(before) => before.space().seed(),
        None => random.next(),
    };
    let space = make_space(planned.shape, seed, &plain, distances);
    let count = to_u32(plain.len(), "the number of clusters")?;
    // Should numbers run out one day, they begin anew with a set that has none before it.
    let before = planned.before.filter(|before| before.numbers().next().checked_add(count).is_some());
    let first = match before {
        Some(before) => before.numbers().next(),
        None => 0,
    };
    let numbers = ClusterNumbers::consecutive(first, count);
    let numbers = numbers.ok_or_else(|| Error::internal("more clusters than numbers"))?;
    let before = before.map(CentroidSet::id);
    let header = SetHeader { id: planned.id, before, shape: planned.shape, trained: rows, fit };
    Ok(CentroidSet::new(header, space, numbers, plain))
}

/// How many of a sample of `sample` rows a cluster should have.
fn sampled_cluster_rows(planned: &SetPlan<'_>, sample: usize) -> Result<usize> {
    let rows = u128::from(planned.rows.max(u64_of(sample)).max(1));
    let of_all = cluster_rows(planned.shape.dimension, planned.shape.bits);
    let of_sample = of_all as u128 * sample as u128 / rows;
    Ok(to_usize(of_sample, "the vectors of a cluster")?.clamp(SAMPLED_ROWS_MIN.min(of_all), of_all))
}

/// The space of clusters from whose centroids rows have these distances.
fn make_space(shape: SetShape, seed: u64, plain: &Centroids, distances: Vec<f64>) -> Space {
    let centroids: Vec<&[f32]> = (0..plain.len()).map(|cluster| plain.points().row(cluster)).collect();
    // Each centroid counts once, however many rows it has: the mean is subtracted from queries, which may come from
    // anywhere, and is not moved by a few clusters far off.
    let mean = interquartile_mean(shape.dimension, &centroids);
    let farthest_component = |centroid: &&[f32]| {
        let gaps = centroid.iter().zip(&mean).map(|(c, mean)| (f64::from(*c) - f64::from(*mean)).abs());
        gaps.fold(0.0, f64::max)
    };
    let reach = centroids.iter().map(farthest_component).fold(0.0, f64::max);
    // A vector that is its own centroid says nothing about the scale of residuals. Where most are, a median over all of
    // them would be 0.
    let apart: Vec<f64> = distances.into_iter().filter(|distance| *distance > 0.0).collect();
    Space::new(shape, seed, choose_scale(median(&apart), reach), mean)
}

/// Whether a set fits vectors about as well as those it was trained on. Those whose cluster is `known` were judged before.
pub(crate) fn still_fits(
    set: &CentroidSet,
    vectors: &DistinctVectors,
    known: &RowClusters,
    progress: &TrainingProgress,
) -> Result<bool> {
    let points = Points::new(&vectors.values, vectors.dimension)?;
    let new = vectors.rows.iter().enumerate().filter(|(_, row)| known.get(**row).is_none());
    let new: Vec<usize> = new.map(|(vector, _)| vector).collect();
    // A few change nothing, whatever they are: they may be outliers, or parts of one text.
    if new.len() * NEW_SHARE < points.rows() || new.is_empty() {
        return Ok(true);
    }
    let step = new.len().div_ceil(FIT_SAMPLE).max(1);
    let sample: Vec<f32> = new.iter().step_by(step).flat_map(|row| points.row(*row)).copied().collect();
    let sample = Points::new(&sample, vectors.dimension)?;
    progress.add_expected(u64_of(sample.rows()).saturating_mul(u64_of(set.len())));
    let assignment = set.plain().assign(sample, progress)?;
    let spread = round_to_f32(median(&centroid_distances(sample, set.plain(), &assignment)));
    let assignment = Assignment::new(assignment, set.len(), &[])?;
    let crowding = measure_crowding(assignment.members().iter().map(Vec::len));
    let trained = set.fit();
    Ok(spread <= trained.spread * SPREAD_MAX && crowding <= trained.crowding * CROWDING_MAX)
}

/// The values of all rows except some, which are given in order.
fn copy_without<'a>(points: Points<'a>, rows: &[u32]) -> Result<Cow<'a, [f32]>> {
    if rows.is_empty() {
        return Ok(Cow::Borrowed(points.values()));
    }
    let others = points.row_numbers()?.filter(|row| rows.binary_search(row).is_err());
    Ok(Cow::Owned(others.flat_map(|row| points.row(usize_of(row))).copied().collect()))
}

/// How far each row lies from its centroid.
fn centroid_distances(points: Points<'_>, centroids: &Centroids, assignment: &[u32]) -> Vec<f64> {
    let kernels = kernels();
    let rows = assignment.iter().enumerate();
    let square = |(row, cluster): (usize, &u32)| {
        kernels.wide_l2(points.row(row), centroids.points().row(usize_of(*cluster)))
    };
    rows.map(square).map(f64::sqrt).collect()
}

/// The probability that two rows share a cluster, by the number of rows in each.
// Unlike the size of the largest cluster, it does not depend on the size of the sample.
fn measure_crowding(sizes: impl Iterator<Item = usize> + Clone) -> f32 {
    let pairs = |size: usize| count_to_f64(size) * (count_to_f64(size) - 1.0);
    let all = pairs(sizes.clone().sum());
    if all <= 0.0 {
        return 0.0;
    }
    round_to_f32((sizes.map(pairs).sum::<f64>() / all).min(1.0))
}
