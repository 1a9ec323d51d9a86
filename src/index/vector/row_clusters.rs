//! In which cluster each row of some rows is, as far as that is known.

use crate::codec::usize_of;

/// In place of the cluster of a row that is in none, or in one that is not known.
// No set has that many clusters, so that four bytes per row do.
const NO_CLUSTER: u32 = u32::MAX;

/// The clusters of rows, by their positions in a set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowClusters(Vec<u32>);

impl RowClusters {
    /// Of so many rows, none of which is known.
    pub(crate) fn unknown(rows: u32) -> Self {
        Self(vec![NO_CLUSTER; usize_of(rows)])
    }

    pub(crate) fn get(&self, row: u32) -> Option<u32> {
        self.0.get(usize_of(row)).copied().filter(|cluster| *cluster != NO_CLUSTER)
    }

    /// Learns the cluster of a row. A row that does not exist has none.
    pub(crate) fn set(&mut self, row: u32, cluster: u32) {
        if let Some(known) = self.0.get_mut(usize_of(row)) {
            *known = cluster;
        }
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, cluster: Option<u32>) {
        self.0.push(match cluster {
            Some(cluster) => cluster,
            None => NO_CLUSTER,
        });
    }
}
