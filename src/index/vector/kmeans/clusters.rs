//! The clusters that training results in.

use super::balance::{bound_sizes, cluster_means, group_by_cluster};
use super::centroids::Centroids;
use super::order::disk_order;
use super::points::Points;
use super::progress::TrainingProgress;
use super::training::Training;
use crate::codec::{to_u32, usize_of};
use crate::error::{Error, Result};

/// The clusters of a column, in the order in which they are laid out: neighbours in space are neighbours on disk.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Clusters {
    /// The mean of the rows of each cluster, cluster by cluster.
    pub(crate) centroids: Vec<f32>,
    /// How many rows each cluster has.
    pub(crate) sizes: Vec<u32>,
    /// The cluster of each row.
    pub(crate) assignment: Vec<u32>,
}

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
    /// nearest of the others; then clusters that are too large are halved until none is. No rows make no clusters.
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
        let members = group_by_cluster(points.row_numbers()?, assignment, centroids.len())?;
        let sizes = training.rows_min()..=training.rows_max();
        let members = bound_sizes(points, centroids, members, sizes, progress)?;
        // Means over all rows, not over the sample: the error of a code is relative to its residual, and residuals
        // from the true mean are the shortest.
        let centroids = cluster_means(points, &members, progress)?;
        let centroids = Points::new(&centroids, points.dim())?;
        Self::in_order(points.rows(), centroids, &members, &disk_order(centroids, progress)?)
    }

    /// The clusters with these members, numbered by `order`.
    fn in_order(rows: usize, centroids: Points<'_>, members: &[Vec<u32>], order: &[u32]) -> Result<Self> {
        let mut clusters = Self {
            centroids: Vec::with_capacity(centroids.values().len()),
            sizes: Vec::with_capacity(order.len()),
            assignment: vec![0; rows],
        };
        for (cluster, old) in (0..).zip(order) {
            let members = members.get(usize_of(*old));
            let members = members.ok_or_else(|| Error::internal("the order of clusters has one too many"))?;
            clusters.centroids.extend_from_slice(centroids.row(usize_of(*old)));
            clusters.sizes.push(to_u32(members.len(), "the number of rows in a cluster")?);
            for row in members {
                let assigned = clusters.assignment.get_mut(usize_of(*row));
                *assigned.ok_or_else(|| Error::internal("a cluster has a row that does not exist"))? =
                    cluster;
            }
        }
        Ok(clusters)
    }
}
