//! Balanced hierarchical k-means: which rows of a vector column lie together in space.
//!
//! Three steps, each a pure function for a thread that may block:
//! 1. [`Centroids::train`] places the centroids by a sample of the rows. With a quarter of the rows sampled it
//!    is about half of the work.
//! 2. [`Centroids::assign`] finds the nearest centroid of each row, among many that of the nearest [`cells`]: nearly all the
//!    rest. The answer for a row depends on that row alone, so threads may take ranges of rows, of any size, and
//!    concatenate the answers.
//! 3. [`Clusters::build`] bounds the sizes, takes the true means and orders the clusters.
//!
//! [`Clusters::train`] is all three on one thread.
//!
//! **Invariants:** a cluster has at most twice the rows asked for and, unless it is the only one, at least a
//! quarter, whatever the data. The same rows and seed give the same clusters, bit by bit, on every processor
//! and however the rows were divided among threads: every sum is taken in a fixed order, no multiplication is
//! fused with an addition, and ties go to the lower number.

mod arithmetic;
mod balance;
mod cells;
mod centroids;
mod clusters;
mod order;
mod points;
mod progress;
mod tile;
mod train;
mod training;

#[cfg(test)]
mod tests;

pub(crate) use balance::group_by_cluster;
pub(crate) use centroids::Centroids;
pub(crate) use clusters::Clusters;
pub(crate) use points::Points;
pub(crate) use progress::TrainingProgress;
pub(crate) use training::Training;
