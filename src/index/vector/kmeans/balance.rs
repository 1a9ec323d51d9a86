//! Clusters of bounded size: those too small are dissolved, those too large are cut in two.

use std::ops::RangeInclusive;

use super::arithmetic::Mean;
use super::order::{bisect, order};
use super::{Centroids, Clusters, Error, Points, Result, Training, TrainingProgress};

impl Clusters {
    /// Trains centroids, assigns all rows and builds the clusters, on one thread.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`](crate::error::ErrorKind::Closed) if it was cancelled.
    pub(crate) fn train(
        points: Points<'_>,
        training: &Training,
        progress: &TrainingProgress,
    ) -> Result<Self> {
        let centroids = Centroids::train(points, training, progress)?;
        let assignment = centroids.assign(points, progress)?;
        Self::build(points, &centroids, &assignment, training, progress)
    }

    /// Builds clusters from the nearest centroid of each row. Rows of clusters that are too small go to the
    /// nearest of the others; then what is too large is cut in two, until nothing is. No rows make no clusters.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::error::ErrorKind::Internal) if the assignment is not one of all rows to
    /// these centroids, [`ErrorKind::Closed`](crate::error::ErrorKind::Closed) if it was cancelled.
    pub(crate) fn build(
        points: Points<'_>,
        centroids: &Centroids,
        assignment: &[u32],
        training: &Training,
        progress: &TrainingProgress,
    ) -> Result<Self> {
        let known = |cluster: &u32| (*cluster as usize) < centroids.len();
        if assignment.len() != points.rows() || !assignment.iter().all(known) {
            return Err(Error::internal("rows are assigned to clusters that are not there"));
        }
        let members = members(0..=u32::MAX, assignment, centroids.len());
        let members = bound(points, centroids, members, training.least()..=training.most(), progress)?;
        let centroids = means(points, &members, progress)?;
        let centroids = Points::new(&centroids, points.dim())?;
        Ok(Self::ordered(points.rows(), centroids, &members, &order(centroids, progress)?))
    }

    fn ordered(rows: usize, centroids: Points<'_>, members: &[Vec<u32>], order: &[u32]) -> Self {
        let mut clusters = Self {
            centroids: Vec::with_capacity(centroids.values.len()),
            sizes: Vec::with_capacity(order.len()),
            assignment: vec![0; rows],
        };
        for (cluster, old) in (0..).zip(order) {
            let members = members.get(*old as usize).map_or(&[][..], Vec::as_slice);
            clusters.centroids.extend_from_slice(centroids.row(*old as usize));
            clusters.sizes.push(u32::try_from(members.len()).unwrap_or(u32::MAX));
            for row in members {
                if let Some(place) = clusters.assignment.get_mut(*row as usize) {
                    *place = cluster;
                }
            }
        }
        clusters
    }
}

/// The rows of each cluster, in the order of `rows`.
pub(super) fn members(
    rows: impl IntoIterator<Item = u32>,
    assignment: &[u32],
    clusters: usize,
) -> Vec<Vec<u32>> {
    let mut members = vec![Vec::new(); clusters];
    for (cluster, row) in assignment.iter().zip(rows) {
        if let Some(members) = members.get_mut(*cluster as usize) {
            members.push(row);
        }
    }
    members
}

/// The mean of the rows of each cluster.
pub(super) fn means(
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

/// Brings the sizes of clusters within bounds; the greater is to be at least twice the lesser.
pub(super) fn bound(
    points: Points<'_>,
    centroids: &Centroids,
    members: Vec<Vec<u32>>,
    sizes: RangeInclusive<usize>,
    progress: &TrainingProgress,
) -> Result<Vec<Vec<u32>>> {
    let members = dissolve(points, centroids, members, *sizes.start(), progress)?;
    split(points, members, *sizes.end(), progress)
}

/// Moves the rows of clusters that are too small to the nearest of the others.
fn dissolve(
    points: Points<'_>,
    centroids: &Centroids,
    members: Vec<Vec<u32>>,
    least: usize,
    progress: &TrainingProgress,
) -> Result<Vec<Vec<u32>>> {
    let largest = members.iter().map(Vec::len).max().unwrap_or(0);
    let least = least.clamp(1, largest.max(1));
    let (mut stays, mut values, mut moved) = (Vec::new(), Vec::new(), Vec::new());
    for (members, centroid) in members.into_iter().zip(centroids.points().iter()) {
        if members.len() >= least {
            stays.push(members);
            values.extend_from_slice(centroid);
        } else {
            moved.extend(members);
        }
    }
    let rows = moved.iter().map(|row| *row as usize);
    let nearest = Centroids::new(values, points.dim())?.nearest(points, rows, progress)?;
    for (row, cluster) in moved.into_iter().zip(nearest) {
        if let Some(members) = stays.get_mut(cluster as usize) {
            members.push(row);
        }
    }
    Ok(stays)
}

/// Cuts what is larger than `most` until nothing is. A cut leaves a quarter on each side, so no piece is too
/// small.
fn split(
    points: Points<'_>,
    members: Vec<Vec<u32>>,
    most: usize,
    progress: &TrainingProgress,
) -> Result<Vec<Vec<u32>>> {
    let mut done = Vec::with_capacity(members.len());
    let mut open = members;
    while let Some(mut rows) = open.pop() {
        if rows.len() > most {
            progress.advance(0)?;
            let cut = bisect(points, &mut rows, None);
            open.push(rows.split_off(cut));
            open.push(rows);
        } else {
            rows.sort_unstable();
            done.push(rows);
        }
    }
    Ok(done)
}
