//! Which cluster each vector belongs to, outliers to none.

use super::kmeans::group_by_cluster;
use crate::codec::{to_u32, usize_of};
use crate::error::{Error, Result};

/// The clusters of the distinct vectors of a column.
#[derive(Debug)]
pub(super) struct Assignment {
    /// The cluster of each vector, or [`NO_CLUSTER`].
    clusters: Vec<u32>,
    /// The vectors of each cluster.
    members: Vec<Vec<u32>>,
}

/// In place of the cluster of a vector that is in none.
// No set has that many clusters, so that four bytes per vector do.
const NO_CLUSTER: u32 = u32::MAX;

impl Assignment {
    /// The cluster of each vector, out of `count`; `outliers` are taken out of theirs.
    pub(super) fn new(mut clusters: Vec<u32>, count: usize, outliers: &[u32]) -> Result<Self> {
        let vectors = 0..to_u32(clusters.len(), "the number of vectors")?;
        let mut members = group_by_cluster(vectors, &clusters, count)?;
        for vector in outliers {
            let cluster = clusters.get_mut(usize_of(*vector));
            *cluster.ok_or_else(|| Error::internal("an outlier is no vector"))? = NO_CLUSTER;
        }
        if !outliers.is_empty() {
            for members in &mut members {
                members.retain(|vector| clusters.get(usize_of(*vector)) != Some(&NO_CLUSTER));
            }
        }
        Ok(Self { clusters, members })
    }

    /// The vectors of each cluster, ascending.
    pub(super) fn members(&self) -> &[Vec<u32>] {
        &self.members
    }

    /// The cluster of a vector.
    ///
    /// # Panics
    /// If there is no such vector.
    #[expect(clippy::indexing_slicing, reason = "a vector that is not there would count for a wrong cluster")]
    pub(super) fn cluster_of(&self, vector: u32) -> Option<u32> {
        Some(self.clusters[usize_of(vector)]).filter(|cluster| *cluster != NO_CLUSTER)
    }
}
