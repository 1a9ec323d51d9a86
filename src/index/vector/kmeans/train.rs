//! Placing centroids: k-means in two levels over a sample of the rows, then over all centroids together.
//!
//! The first level makes about √k cells. Each gets a number of clusters by its weight (Sainte-Laguë), placed by k-means
//! within it. So no step compares a row with more than about √k centroids, except for the last few iterations.

use super::arithmetic::{Mean, square_distance};
use super::balance::{bound_sizes, cluster_means, group_by_cluster};
use super::centroids::Centroids;
use super::points::Points;
use super::progress::TrainingProgress;
use super::training::{Training, cell_count};
use crate::codec::{usize_of, zip_equal};
use crate::error::{Error, Result};
use crate::index::vector::random::Random;

/// Rows per centroid that k-means++ chooses from.
// k-means++ over all rows would cost as much as an iteration for every single centroid.
const CANDIDATES: usize = 64;
/// k-means has converged when fewer than one row in this many changes its centroid.
// Later iterations gain next to nothing: sizes are bounded afterwards anyway, which moves more rows than they would.
const SETTLED: usize = 500;

impl Centroids {
    /// Places centroids for clusters of about [`Training::cluster_rows`] rows. There may be fewer than the rows
    /// call for, if there are fewer distinct vectors; sizes are bounded by [`Clusters::build`](super::Clusters::build).
    ///
    /// # Errors
    /// [`ErrorKind::Closed`](crate::error::ErrorKind::Closed) if it was cancelled.
    pub(crate) fn train(
        points: Points<'_>,
        training: &Training,
        progress: &TrainingProgress,
    ) -> Result<Self> {
        let mut random = Random::new(training.seed);
        let clusters = training.cluster_count(points.rows());
        let rows = random.sample(points.row_numbers()?, training.sample_size(points.rows()));
        let mut run = Trainer { points, iterations: training.iterations.max(1), random, progress };
        let centroids = match cell_count(clusters) {
            1 => run.run_kmeans(&rows, clusters)?.0,
            cells => run.train_two_levels(&rows, clusters, cells)?,
        };
        (0..training.refinements)
            .try_fold(centroids, |centroids, _| run.refine_together(&rows, clusters, &centroids))
    }
}

struct Trainer<'a> {
    points: Points<'a>,
    iterations: usize,
    random: Random,
    progress: &'a TrainingProgress,
}

impl Trainer<'_> {
    fn train_two_levels(&mut self, rows: &[u32], clusters: usize, cells: usize) -> Result<Centroids> {
        let (coarse, nearest) = self.run_kmeans(rows, cells)?;
        let members = group_by_cluster(rows.iter().copied(), &nearest, coarse.len())?;
        let weights: Vec<_> = members.iter().map(Vec::len).collect();
        let mut centroids = Vec::with_capacity(clusters * self.points.dim());
        let seats = apportion_seats(&weights, clusters);
        for (members, seats) in zip_equal(&members, seats, "cells and their clusters")? {
            if seats > 0 {
                centroids.extend_from_slice(self.run_kmeans(members, seats)?.0.points().values());
            }
        }
        Centroids::new(centroids, self.points.dim())
    }

    /// Moves all centroids at once, with sizes bounded as far as the sample shows: a small cluster far from all others
    /// gives its centroid to where there are too few.
    fn refine_together(&self, rows: &[u32], clusters: usize, centroids: &Centroids) -> Result<Centroids> {
        let sampled = rows.iter().map(|row| usize_of(*row));
        let nearest = centroids.assign_rows(self.points, sampled, self.progress)?;
        let members = group_by_cluster(rows.iter().copied(), &nearest, centroids.len())?;
        // The bounds of the final clusters, in proportion to the sample. The upper one is at least 2, or a sample with few
        // rows per cluster would be split into single rows.
        let share = rows.len() / clusters;
        let sizes = share / 4..=(2 * share).max(2);
        let members = bound_sizes(self.points, centroids, members, sizes, self.progress)?;
        Centroids::new(cluster_means(self.points, &members, self.progress)?, self.points.dim())
    }

    /// k-means from the start: at most `count` centroids, and the nearest of each row.
    fn run_kmeans(&mut self, rows: &[u32], count: usize) -> Result<(Centroids, Vec<u32>)> {
        let first = self.seed_centroids(rows, count)?;
        self.run_lloyd(rows, Centroids::new(first, self.points.dim())?)
    }

    /// First centroids, far from one another (k-means++): each is a row, drawn with a probability proportional to the
    /// square of its distance to the nearest one before. Fewer than `count` if there are not as many distinct rows.
    fn seed_centroids(&mut self, rows: &[u32], count: usize) -> Result<Vec<f32>> {
        let candidates = self.random.sample(rows.iter().copied(), count.saturating_mul(CANDIDATES));
        let mut gaps = vec![f64::INFINITY; candidates.len()];
        let mut seeds = Vec::with_capacity(count * self.points.dim());
        let mut next = self.random.below(candidates.len());
        for _ in 0..count {
            // Without rows there is nothing to place.
            let Some(seed) = candidates.get(next).map(|row| self.points.row(usize_of(*row))) else { break };
            seeds.extend_from_slice(seed);
            let mut total = 0.0;
            for (gap, row) in gaps.iter_mut().zip(&candidates) {
                *gap = gap.min(f64::from(square_distance(self.points.row(usize_of(*row)), seed)));
                total += *gap;
            }
            self.progress.advance(0)?;
            // Every row equals a seed: another one would be a duplicate, which no row is nearest to.
            if total <= 0.0 {
                break;
            }
            let mut remaining = self.random.unit() * total;
            let drawn = gaps.iter().position(|gap| {
                remaining -= gap;
                remaining < 0.0
            });
            // The differences are rounded otherwise than the sum, and may end a little above 0; or the sum is infinite.
            next = drawn.unwrap_or(candidates.len() - 1);
        }
        Ok(seeds)
    }

    /// Lloyd's algorithm: moves each centroid to the mean of the rows it is nearest to, a few times.
    fn run_lloyd(&mut self, rows: &[u32], start: Centroids) -> Result<(Centroids, Vec<u32>)> {
        let mut centroids = start;
        let mut nearest = Vec::new();
        for round in 0..self.iterations {
            let sampled = rows.iter().map(|row| usize_of(*row));
            let found = centroids.assign_rows(self.points, sampled, self.progress)?;
            let changed = if round == 0 { rows.len() } else { count_changes(&found, &nearest) };
            nearest = found;
            centroids = self.move_centroids(rows, &nearest, &centroids)?;
            if changed <= rows.len() / SETTLED {
                // Work that was announced and is not needed counts as done, or progress would never be complete.
                let saved = self.iterations - round - 1;
                self.progress.advance(rows.len() * centroids.len() * saved)?;
                break;
            }
        }
        Ok((centroids, nearest))
    }

    fn move_centroids(&mut self, rows: &[u32], nearest: &[u32], before: &Centroids) -> Result<Centroids> {
        let dim = self.points.dim();
        let mut means = vec![Mean::new(dim); before.len()];
        for (row, cluster) in zip_equal(rows, nearest, "rows and their clusters")? {
            let mean = means.get_mut(usize_of(*cluster));
            let mean = mean.ok_or_else(|| Error::internal("a row is nearest to no cluster"))?;
            mean.add_row(self.points.row(usize_of(*row)));
        }
        let mut counts: Vec<_> = means.iter().map(Mean::row_count).collect();
        let mut values = Vec::with_capacity(means.len() * dim);
        for (mean, old) in zip_equal(&means, before.points().iter(), "centroids and their means")? {
            if mean.row_count() > 0 {
                values.extend(mean.components());
            } else {
                // Where no cluster has two rows, there is no better place than the old one.
                values.extend_from_slice(self.relocate_empty(rows, nearest, &mut counts).unwrap_or(old));
            }
        }
        Centroids::new(values, dim)
    }

    /// A new place for a centroid that is nearest to no row: a random row of the largest cluster.
    fn relocate_empty(&mut self, rows: &[u32], nearest: &[u32], counts: &mut [u32]) -> Option<&[f32]> {
        let (largest, count) = (0..).zip(counts.iter_mut()).max_by_key(|(_, count)| **count)?;
        if *count < 2 {
            return None;
        }
        // Two centroids share the cluster now: the next empty one goes where the remaining half is still the largest.
        *count /= 2;
        let mut members = rows.iter().zip(nearest).filter(|(_, cluster)| **cluster == largest);
        let size = members.clone().count();
        let (row, _) = members.nth(self.random.below(size))?;
        Some(self.points.row(usize_of(*row)))
    }
}

fn count_changes(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a != b).count()
}

/// Apportions seats by weight: each next one goes to the largest quotient of weight / (2·seats + 1) (Sainte-Laguë).
// Quotas rounded one by one would not sum to `count`. Quotients are compared as products of integers: divisions of floats
// may round a tie either way.
fn apportion_seats(weights: &[usize], count: usize) -> Vec<usize> {
    let mut seats = vec![0; weights.len()];
    for _ in 0..count {
        let quotients = weights.iter().zip(&mut seats).map(|(weight, seats)| {
            let divisor = 2 * *seats as u128 + 1;
            (*weight as u128, divisor, seats)
        });
        let next = quotients.reduce(|best, next| if next.0 * best.1 > best.0 * next.1 { next } else { best });
        // Without cells nobody gets a seat.
        let Some((_, _, seats)) = next else { break };
        *seats += 1;
    }
    seats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_follow_weights() {
        assert_eq!(apportion_seats(&[53, 24, 23], 7), [3, 2, 2]);
        assert_eq!(apportion_seats(&[1000, 1, 0], 5), [5, 0, 0]);
        assert_eq!(apportion_seats(&[1, 1, 1], 2), [1, 1, 0]);
        assert!(apportion_seats(&[], 3).is_empty());
    }
}
