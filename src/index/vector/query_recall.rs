//! What a single query would find, by the number of clusters it probes.

use super::assignment::Assignment;
use super::curve::NEIGHBOURS;
use super::numeric::count_to_f64;
use crate::codec::usize_of;

/// The recall of one query.
pub(super) struct QueryRecall {
    /// The cluster that it probes first.
    pub(super) home: u32,
    /// For each point of the grid and of [`NEIGHBOURS`], the share that is found.
    pub(super) shares: Vec<[f64; NEIGHBOURS.len()]>,
}

impl QueryRecall {
    #[expect(
        clippy::indexing_slicing,
        reason = "ranks and points of the grid are at most the number of clusters"
    )]
    /// `ranks` are those of the clusters, `neighbours` are ordered as the largest of [`NEIGHBOURS`] is selected.
    pub(super) fn new(ranks: &[u32], neighbours: &[u32], assignment: &Assignment, grid: &[u32]) -> Self {
        // invariant: without clusters there is no grid, and no region that `home` would matter to.
        let home = (0..).zip(ranks).find(|(_, rank)| **rank == 0).map_or(0, |(cluster, _)| cluster);
        let rank_of = |vector: u32| match assignment.cluster_of(vector) {
            Some(cluster) => usize_of(ranks[usize_of(cluster)]),
            // What is in no cluster is always compared, as if it were in the first.
            None => 0,
        };
        let mut shares = vec![[1.0; NEIGHBOURS.len()]; grid.len()];
        // How many of the neighbours counted so far lie in the cluster of each rank.
        let (mut counts, mut counted) = (vec![0_u32; ranks.len()], 0);
        for (which, wanted) in NEIGHBOURS.iter().enumerate() {
            let wanted = neighbours.len().min(usize_of(*wanted));
            for vector in &neighbours[counted..wanted] {
                counts[rank_of(*vector)] += 1;
            }
            counted = wanted;
            // Of no neighbours, any probe finds all.
            if wanted == 0 {
                continue;
            }
            let (mut found, mut from) = (0_u32, 0);
            for (probes, shares) in grid.iter().zip(&mut shares) {
                let to = usize_of(*probes);
                found += counts[from..to].iter().sum::<u32>();
                from = to;
                shares[which] = f64::from(found) / count_to_f64(wanted);
            }
        }
        Self { home, shares }
    }
}
