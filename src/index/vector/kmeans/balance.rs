//! Clusters of bounded size: those too small are dissolved, those too large are split.
//!
//! k-means alone balances nothing: its largest clusters have 10 to 20 times the rows of the median one. A query pays for
//! them whenever it probes one, and the recall curve, which counts clusters, would say little about bytes.

use std::ops::RangeInclusive;

use super::arithmetic::Mean;
use super::centroids::Centroids;
use super::order::bisect_rows;
use super::points::Points;
use super::progress::TrainingProgress;
use crate::codec::{usize_of, zip_equal};
use crate::error::{Error, Result};

/// The rows of each of `clusters` clusters, in the order of `rows`. `assignment` has the cluster of each of these.
///
/// # Errors
/// [`ErrorKind::Internal`](crate::error::ErrorKind::Internal) if it is not one of these rows to these clusters.
pub(crate) fn group_by_cluster(
    rows: impl IntoIterator<Item = u32, IntoIter: ExactSizeIterator>,
    assignment: &[u32],
    clusters: usize,
) -> Result<Vec<Vec<u32>>> {
    let mut members = vec![Vec::new(); clusters];
    for (cluster, row) in zip_equal(assignment, rows, "rows and their clusters")? {
        let members = members.get_mut(usize_of(*cluster));
        members
            .ok_or_else(|| Error::internal("a row is assigned to a cluster that does not exist"))?
            .push(row);
    }
    Ok(members)
}

/// The mean of the rows of each cluster.
pub(super) fn cluster_means(
    points: Points<'_>,
    members: &[Vec<u32>],
    progress: &TrainingProgress,
) -> Result<Vec<f32>> {
    let mut means = Vec::with_capacity(members.len() * points.dim());
    for members in members {
        means.extend(Mean::of_rows(points, members));
        progress.advance(0)?;
    }
    Ok(means)
}

/// Brings the sizes of clusters within bounds; the upper is to be at least twice the lower.
pub(super) fn bound_sizes(
    points: Points<'_>,
    centroids: &Centroids,
    members: Vec<Vec<u32>>,
    sizes: RangeInclusive<usize>,
    progress: &TrainingProgress,
) -> Result<Vec<Vec<u32>>> {
    // In this order: dissolved rows make other clusters larger, while a split never makes a piece that is too small.
    // The other way round, neither bound would hold at the end.
    let members = dissolve_small(points, centroids, members, *sizes.start(), progress)?;
    split_large(points, members, *sizes.end(), progress)
}

/// Moves the rows of clusters that are too small to the nearest of the others.
fn dissolve_small(
    points: Points<'_>,
    centroids: &Centroids,
    members: Vec<Vec<u32>>,
    rows_min: usize,
    progress: &TrainingProgress,
) -> Result<Vec<Vec<u32>>> {
    let largest = members.iter().map(Vec::len).max().unwrap_or(0);
    // Where all clusters are too small, the largest has to stay: rows need one to go to. An empty cluster never stays.
    let rows_min = rows_min.clamp(1, largest.max(1));
    let (mut kept, mut values, mut moved) = (Vec::new(), Vec::new(), Vec::new());
    for (members, centroid) in zip_equal(members, centroids.points().iter(), "clusters and centroids")? {
        if members.len() >= rows_min {
            kept.push(members);
            values.extend_from_slice(centroid);
        } else {
            moved.extend(members);
        }
    }
    let rows = moved.iter().map(|row| usize_of(*row));
    let nearest = Centroids::new(values, points.dim())?.assign_rows(points, rows, progress)?;
    for (row, cluster) in zip_equal(moved, nearest, "rows and their clusters")? {
        let members = kept.get_mut(usize_of(cluster));
        members.ok_or_else(|| Error::internal("a row is nearest to no cluster"))?.push(row);
    }
    Ok(kept)
}

/// Splits clusters of more than `rows_max` rows until there are none. A split leaves a quarter of the rows on each
/// side, so no piece is too small.
fn split_large(
    points: Points<'_>,
    members: Vec<Vec<u32>>,
    rows_max: usize,
    progress: &TrainingProgress,
) -> Result<Vec<Vec<u32>>> {
    let mut done = Vec::with_capacity(members.len());
    let mut open = members;
    while let Some(mut rows) = open.pop() {
        if rows.len() > rows_max {
            progress.advance(0)?;
            let middle = bisect_rows(points, &mut rows, None);
            open.push(rows.split_off(middle));
            open.push(rows);
        } else {
            // A split sorts rows along its axis. Means are sums in f64 in the order of the rows, so that order must
            // not depend on how often a cluster was split.
            rows.sort_unstable();
            done.push(rows);
        }
    }
    Ok(done)
}
