//! Where centroids come from: k-means in two levels over a sample of the rows, then together.
//!
//! The first level makes about √k cells. Each gets clusters by its weight (Sainte-Laguë), and k-means within it
//! places them: so no step compares a row with more than about √k centroids, but for the last few.

use super::arithmetic::{Mean, square_distance};
use super::balance::{bound, means, members};
use super::{Centroids, Points, Result, Training, TrainingProgress};
use crate::index::vector::random::Random;

/// Up to so many clusters, one level does.
const FLAT_MAX: usize = 16;
/// How many rows for each centroid the first places are chosen from.
const CANDIDATES: usize = 64;
/// k-means has settled when less than one row in so many changes its centroid.
const SETTLED: usize = 500;

/// How many cells the first level makes.
pub(super) fn cells(clusters: usize) -> usize {
    if clusters <= FLAT_MAX { 1 } else { clusters.isqrt() }
}

impl Centroids {
    /// Places centroids for clusters of about [`Training::cluster_rows`] rows. There may be fewer than the rows
    /// make clusters, if they have fewer distinct places; sizes are bounded by
    /// [`Clusters::build`](super::Clusters::build).
    ///
    /// # Errors
    /// [`ErrorKind::Closed`](crate::error::ErrorKind::Closed) if it was cancelled.
    pub(crate) fn train(
        points: Points<'_>,
        training: &Training,
        progress: &TrainingProgress,
    ) -> Result<Self> {
        let mut random = Random::new(training.seed);
        let clusters = training.clusters(points.rows());
        let all = 0..u32::try_from(points.rows()).unwrap_or(u32::MAX);
        let rows = random.sample(all.into_iter(), training.sample(points.rows()));
        let mut run = Trainer { points, iterations: training.iterations.max(1), random, progress };
        let centroids = match cells(clusters) {
            1 => run.place(&rows, clusters)?.0,
            cells => run.two_levels(&rows, clusters, cells)?,
        };
        (0..training.refinements)
            .try_fold(centroids, |centroids, _| run.together(&rows, clusters, &centroids))
    }
}

struct Trainer<'a> {
    points: Points<'a>,
    iterations: usize,
    random: Random,
    progress: &'a TrainingProgress,
}

impl Trainer<'_> {
    fn two_levels(&mut self, rows: &[u32], clusters: usize, cells: usize) -> Result<Centroids> {
        let (coarse, nearest) = self.place(rows, cells)?;
        let members = members(rows.iter().copied(), &nearest, coarse.len());
        let weights: Vec<_> = members.iter().map(Vec::len).collect();
        let mut centroids = Vec::with_capacity(clusters * self.points.dim());
        for (members, seats) in members.iter().zip(seats(&weights, clusters)) {
            if seats > 0 {
                centroids.extend_from_slice(self.place(members, seats)?.0.points().values);
            }
        }
        Centroids::new(centroids, self.points.dim())
    }

    /// Moves all centroids at once, with sizes bounded as far as a sample tells: what is far from all else,
    /// and small, gives its centroid to where there are too few.
    fn together(&self, rows: &[u32], clusters: usize, centroids: &Centroids) -> Result<Centroids> {
        let places = rows.iter().map(|row| *row as usize);
        let nearest = centroids.nearest(self.points, places, self.progress)?;
        let members = members(rows.iter().copied(), &nearest, centroids.len());
        let share = rows.len() / clusters;
        let sizes = share / 4..=(2 * share).max(2);
        let members = bound(self.points, centroids, members, sizes, self.progress)?;
        Centroids::new(means(self.points, &members, self.progress)?, self.points.dim())
    }

    /// k-means from the start: at most `count` centroids, and the nearest of each row.
    fn place(&mut self, rows: &[u32], count: usize) -> Result<(Centroids, Vec<u32>)> {
        let first = self.spread(rows, count)?;
        self.improve(rows, Centroids::new(first, self.points.dim())?)
    }

    /// First places, far from one another (k-means++): each is a row, drawn by the square of its distance to
    /// the nearest place before. Fewer than `count` where there are not as many distinct rows.
    fn spread(&mut self, rows: &[u32], count: usize) -> Result<Vec<f32>> {
        let candidates = self.random.sample(rows.iter().copied(), count.saturating_mul(CANDIDATES));
        let mut gaps = vec![f64::INFINITY; candidates.len()];
        let mut places = Vec::with_capacity(count * self.points.dim());
        let mut next = self.random.below(candidates.len());
        for _ in 0..count {
            let Some(place) = candidates.get(next).map(|row| self.points.row(*row as usize)) else { break };
            places.extend_from_slice(place);
            let mut total = 0.0;
            for (gap, row) in gaps.iter_mut().zip(&candidates) {
                *gap = gap.min(f64::from(square_distance(self.points.row(*row as usize), place)));
                total += *gap;
            }
            self.progress.advance(0)?;
            if total <= 0.0 {
                break;
            }
            let mut left = self.random.unit() * total;
            let passed = gaps.iter().position(|gap| {
                left -= gap;
                left < 0.0
            });
            next = passed.unwrap_or(candidates.len() - 1);
        }
        Ok(places)
    }

    /// Moves each centroid to the mean of the rows it is nearest to, a few times.
    fn improve(&mut self, rows: &[u32], start: Centroids) -> Result<(Centroids, Vec<u32>)> {
        let mut centroids = start;
        let mut nearest = Vec::new();
        for round in 0..self.iterations {
            let places = rows.iter().map(|row| *row as usize);
            let found = centroids.nearest(self.points, places, self.progress)?;
            let changed = if round == 0 { rows.len() } else { differences(&found, &nearest) };
            nearest = found;
            centroids = self.follow(rows, &nearest, &centroids)?;
            if changed <= rows.len() / SETTLED {
                let saved = self.iterations - round - 1;
                self.progress.advance(rows.len() * centroids.len() * saved)?;
                break;
            }
        }
        Ok((centroids, nearest))
    }

    fn follow(&mut self, rows: &[u32], nearest: &[u32], before: &Centroids) -> Result<Centroids> {
        let dim = self.points.dim();
        let mut means = vec![Mean::new(dim); before.len()];
        for (row, cluster) in rows.iter().zip(nearest) {
            if let Some(mean) = means.get_mut(*cluster as usize) {
                mean.add(self.points.row(*row as usize));
            }
        }
        let mut counts: Vec<_> = means.iter().map(Mean::count).collect();
        let mut values = Vec::with_capacity(means.len() * dim);
        for (mean, old) in means.iter().zip(before.points().iter()) {
            if mean.count() > 0 {
                values.extend(mean.values());
            } else {
                values.extend_from_slice(self.relocate(rows, nearest, &mut counts).unwrap_or(old));
            }
        }
        Centroids::new(values, dim)
    }

    /// A new place for a centroid that is nearest to no row: any row of the largest cluster.
    fn relocate(&mut self, rows: &[u32], nearest: &[u32], counts: &mut [u32]) -> Option<&[f32]> {
        let (largest, count) = (0..).zip(counts.iter_mut()).max_by_key(|(_, count)| **count)?;
        if *count < 2 {
            return None;
        }
        *count /= 2;
        let mut members = rows.iter().zip(nearest).filter(|(_, cluster)| **cluster == largest);
        let size = members.clone().count();
        let (row, _) = members.nth(self.random.below(size))?;
        Some(self.points.row(*row as usize))
    }
}

fn differences(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a != b).count()
}

/// Divides seats by weight: each next one to the largest of weight / (2·seats + 1).
fn seats(weights: &[usize], count: usize) -> Vec<usize> {
    let mut seats = vec![0; weights.len()];
    let quotient = |(weight, seats): (usize, usize)| (weight as u128, 2 * seats as u128 + 1);
    for _ in 0..count {
        let held = weights.iter().copied().zip(seats.iter().copied()).map(quotient);
        let next = held.enumerate().reduce(|best, next| {
            let ((_, (a, b)), (_, (c, d))) = (best, next);
            if c * b > a * d { next } else { best }
        });
        if let Some(seats) = next.and_then(|(cell, _)| seats.get_mut(cell)) {
            *seats += 1;
        }
    }
    seats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_follow_weights() {
        assert_eq!(seats(&[53, 24, 23], 7), [3, 2, 2]);
        assert_eq!(seats(&[1000, 1, 0], 5), [5, 0, 0]);
        assert_eq!(seats(&[1, 1, 1], 2), [1, 1, 0]);
        assert!(seats(&[], 3).is_empty());
    }
}
