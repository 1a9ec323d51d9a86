//! Sums in a fixed order, so that every processor computes the same bits.

use super::points::Points;
use crate::codec::usize_of;

/// Independent sums, which the compiler keeps in vector registers.
// A compiler may not reorder additions of floats, so one running sum stays scalar. Lanes fix an order that vector code
// of any width reproduces bit by bit.
const LANES: usize = 16;

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_terms(a, b, |a, b| a * b)
}

pub(super) fn square_distance(a: &[f32], b: &[f32]) -> f32 {
    sum_terms(a, b, |a, b| (a - b) * (a - b))
}

fn sum_terms(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += term(*a, *b);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += term(*a, *b);
    }
    lanes.iter().sum()
}

/// The mean of rows, summed in f64 in the order they are added.
// Sums of f32 over thousands of rows would lose the digits that distinguish centroids of narrow clusters.
#[derive(Clone, Debug)]
pub(super) struct Mean {
    sums: Vec<f64>,
    count: u32,
}

impl Mean {
    pub(super) fn new(dim: usize) -> Self {
        Self { sums: vec![0.0; dim], count: 0 }
    }

    pub(super) fn of_vectors<'a>(dim: usize, rows: impl IntoIterator<Item = &'a [f32]>) -> Vec<f32> {
        let mut mean = Self::new(dim);
        rows.into_iter().for_each(|row| mean.add_row(row));
        mean.components().collect()
    }

    /// The mean of some rows of `points`.
    pub(super) fn of_rows(points: Points<'_>, rows: &[u32]) -> Vec<f32> {
        Self::of_vectors(points.dim(), rows.iter().map(|row| points.row(usize_of(*row))))
    }

    pub(super) fn add_row(&mut self, row: &[f32]) {
        for (sum, value) in self.sums.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
        self.count += 1;
    }

    pub(super) fn row_count(&self) -> u32 {
        self.count
    }

    /// The components of the mean; zeros when nothing was added.
    #[expect(clippy::cast_possible_truncation, reason = "a mean of f32 is within their range")]
    pub(super) fn components(&self) -> impl Iterator<Item = f32> {
        // invariant: without rows all sums are 0, and so are the quotients.
        let count = f64::from(self.count.max(1));
        self.sums.iter().map(move |sum| (sum / count) as f32)
    }
}
