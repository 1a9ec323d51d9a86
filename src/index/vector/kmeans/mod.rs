//! Clusters of balanced hierarchical k-means: which rows of a vector column lie together in space.
//!
//! Three steps, each a pure function to be run where CPU-heavy work is:
//! 1. [`Centroids::train`] places the centroids by a sample of the rows. With a quarter of the rows sampled it
//!    is about half of the work.
//! 2. [`Centroids::assign`] finds the nearest centroid of each row: nearly all the rest. A row's answer
//!    depends on that row alone, so threads may take a range of rows each, of any size ([`Points::slice`]),
//!    and the answers are put one after another.
//! 3. [`Clusters::build`] bounds the sizes, takes the true means and brings the clusters into order.
//!
//! [`Clusters::train`] is all three on one thread.
//!
//! **Invariants:** a cluster has at most twice the rows asked for and, unless it is the only one, at least a
//! quarter, whatever the data. The same rows and seed give the same clusters, bit by bit, on every processor
//! and however the rows were divided among threads: every sum is taken in a fixed order, no multiplication is
//! fused with an addition, and ties go to the lower number.

mod arithmetic;
mod balance;
mod centroids;
mod order;
mod tile;
mod train;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};

pub(crate) use centroids::Centroids;

/// The clusters of a column, in the order in which they are to lie on disk: neighbours in space are neighbours.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Clusters {
    /// The mean of the rows of each cluster, cluster by cluster.
    pub(crate) centroids: Vec<f32>,
    /// How many rows each cluster has.
    pub(crate) sizes: Vec<u32>,
    /// The cluster of each row.
    pub(crate) assignment: Vec<u32>,
}

/// A borrowed matrix of f32, row by row: the vectors of a column, or centroids.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Points<'a> {
    values: &'a [f32],
    dim: usize,
}

impl<'a> Points<'a> {
    /// The rows of `values`, of `dim` components each.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if they do not make whole rows, or more rows than a `u32` counts.
    pub(crate) fn new(values: &'a [f32], dim: usize) -> Result<Self> {
        if dim == 0 || !values.len().is_multiple_of(dim) || u32::try_from(values.len() / dim).is_err() {
            let length = values.len();
            return Err(Error::internal(format!("not a matrix. values=`{length}` dimension=`{dim}`")));
        }
        Ok(Self { values, dim })
    }

    pub(crate) fn values(&self) -> &'a [f32] {
        self.values
    }

    pub(crate) fn rows(&self) -> usize {
        self.values.len() / self.dim
    }

    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    /// The components of a row; empty behind the last.
    pub(crate) fn row(&self, row: usize) -> &'a [f32] {
        self.slice(row..row.saturating_add(1)).values
    }

    /// Some of the rows; none where `rows` leaves the matrix.
    pub(crate) fn slice(&self, rows: Range<usize>) -> Points<'a> {
        let range = rows.start.saturating_mul(self.dim)..rows.end.saturating_mul(self.dim);
        Points { values: self.values.get(range).unwrap_or_default(), dim: self.dim }
    }

    fn iter(self) -> impl ExactSizeIterator<Item = &'a [f32]> {
        self.values.chunks_exact(self.dim)
    }
}

/// How clusters are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Training {
    /// How many rows a cluster is to have: it has between a quarter of them and twice as many.
    pub(crate) cluster_rows: usize,
    /// How many rows are sampled for each cluster. Default: 128.
    pub(crate) sample_per_cluster: usize,
    /// How often centroids are moved, at most, at each of the two levels; at least once. Default: 10.
    pub(crate) iterations: usize,
    /// How often the centroids of all clusters are moved together, after the two levels. Default: 2.
    pub(crate) refinements: usize,
    /// What the sample and the first centroids are drawn by.
    pub(crate) seed: u64,
}

impl Training {
    pub(crate) fn new(cluster_rows: usize, seed: u64) -> Self {
        Self {
            cluster_rows: cluster_rows.max(1),
            sample_per_cluster: 128,
            iterations: 10,
            refinements: 2,
            seed,
        }
    }

    /// How many clusters so many rows make before sizes are bounded.
    fn clusters(&self, rows: usize) -> usize {
        let target = self.cluster_rows.max(1);
        ((rows + target / 2) / target).max(1)
    }

    fn sample(&self, rows: usize) -> usize {
        self.clusters(rows).saturating_mul(self.sample_per_cluster.max(1)).min(rows)
    }

    /// About what [`TrainingProgress::done`] comes to for so many rows.
    pub(crate) fn work(&self, rows: usize) -> u64 {
        let (clusters, sample) = (self.clusters(rows), self.sample(rows));
        let coarse = train::cells(clusters);
        let level = sample.saturating_mul(coarse + clusters / coarse).saturating_mul(self.iterations);
        let together = sample.saturating_mul(clusters).saturating_mul(self.refinements);
        level.saturating_add(together).saturating_add(rows.saturating_mul(clusters)) as u64
    }

    /// The most rows of a cluster.
    fn most(&self) -> usize {
        self.cluster_rows.max(1).saturating_mul(2)
    }

    /// The fewest rows of a cluster that has neighbours.
    fn least(&self) -> usize {
        self.cluster_rows / 4
    }
}

/// How far the work is, and the word to stop it: shared by whoever works and whoever waits.
#[derive(Debug, Default)]
pub(crate) struct TrainingProgress {
    cancelled: AtomicBool,
    done: AtomicU64,
    expected: AtomicU64,
}

impl TrainingProgress {
    /// Ends the work with an error within milliseconds.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// How many times a row was compared with a centroid.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// How often that will be, of the work that has begun; about.
    pub(crate) fn expected(&self) -> u64 {
        self.expected.load(Ordering::Relaxed)
    }

    /// Says that so much work begins.
    pub(crate) fn expect(&self, comparisons: u64) {
        self.expected.fetch_add(comparisons, Ordering::Relaxed);
    }

    /// Counts what was done.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] after [`cancel`](Self::cancel).
    fn advance(&self, comparisons: usize) -> Result<()> {
        self.done.fetch_add(comparisons as u64, Ordering::Relaxed);
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Closed, "clustering was cancelled"));
        }
        Ok(())
    }
}
