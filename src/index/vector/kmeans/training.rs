//! The parameters of training, and what follows from them for a number of rows.

/// Up to this many clusters are placed in one level: two would compare a row with about as many centroids.
const FLAT_MAX: usize = 16;

/// How clusters are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Training {
    /// The rows a cluster should have: it gets between a quarter of them and twice as many.
    pub(crate) cluster_rows: usize,
    /// Rows sampled per cluster. Default: 128.
    pub(crate) sample_per_cluster: usize,
    /// Iterations of Lloyd's algorithm, at most, on each of the two levels; at least one. Default: 10.
    pub(crate) iterations: usize,
    /// Iterations over the centroids of all clusters together, after the two levels. Default: 2.
    pub(crate) refinements: usize,
    /// Seed of the sample and of the first centroids.
    pub(crate) seed: u64,
}

impl Training {
    pub(crate) fn new(cluster_rows: usize, seed: u64) -> Self {
        Self {
            cluster_rows: cluster_rows.max(1),
            // Systems of this kind sample 64 (VectorChord) to 256 rows per list (where faiss saturates). The sample
            // only places centroids: the means that codes refer to are taken over all rows afterwards.
            sample_per_cluster: 128,
            iterations: 10,
            // A row near the border of two coarse cells was compared with the centroids of its own cell only. These
            // iterations compare the sample with all centroids, which is costly; few are needed, as the centroids are
            // nearly placed.
            refinements: 2,
            seed,
        }
    }

    /// How many clusters `rows` rows make before their sizes are bounded.
    pub(super) fn cluster_count(&self, rows: usize) -> usize {
        let target = self.cluster_rows.max(1);
        ((rows + target / 2) / target).max(1)
    }

    pub(super) fn sample_size(&self, rows: usize) -> usize {
        self.cluster_count(rows).saturating_mul(self.sample_per_cluster.max(1)).min(rows)
    }

    /// About what [`TrainingProgress::done`](super::TrainingProgress::done) comes to for `rows` rows.
    pub(crate) fn expected_comparisons(&self, rows: usize) -> u64 {
        let (clusters, sample) = (self.cluster_count(rows), self.sample_size(rows));
        let coarse = cell_count(clusters);
        // An estimate for a progress bar: saturating is as good as any figure that large.
        let level = sample.saturating_mul(coarse + clusters / coarse).saturating_mul(self.iterations);
        let together = sample.saturating_mul(clusters).saturating_mul(self.refinements);
        level.saturating_add(together).saturating_add(rows.saturating_mul(clusters)) as u64
    }

    /// The most rows of a cluster.
    pub(super) fn rows_max(&self) -> usize {
        self.cluster_rows.max(1).saturating_mul(2)
    }

    /// The fewest rows of a cluster that is not the only one.
    pub(super) fn rows_min(&self) -> usize {
        self.cluster_rows / 4
    }
}

/// How many cells the first level makes: √k, so that both levels compare a row with about as many centroids.
pub(super) fn cell_count(clusters: usize) -> usize {
    if clusters <= FLAT_MAX { 1 } else { clusters.isqrt() }
}
