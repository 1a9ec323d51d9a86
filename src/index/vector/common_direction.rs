//! The direction that many residuals of a cluster share.
//!
//! The error of a code depends on where its residual points, and bounds take the errors of different rows for
//! independent. They are not where a tight group of rows lies beside the centroid, as rows of ordinary length do in a
//! cluster with rows out of all scale: their residuals are nearly equal, so are their codes, and when the bound of one
//! fails, it fails for the whole group. Of ten neighbours a query then misses all or none.

use super::numeric::count_to_f64;

/// How much wider the bounds of rows are that all point the same way.
// From 2.5 deviations to 3.5. Each tight group fails once in 2,000 queries then, not once in 80: at 10 of 2,000 rows, half
// of them 10,000 times as long, one long query in 50 missed most of its neighbours.
const WIDENING: f64 = 0.4;
/// As many others as point the same way make a group.
// A few that err together cost a query a few of its neighbours, which its recall allows for. In a segment of few rows most
// clusters have only some.
const GROUP: f64 = 16.0;

/// The sum of the unit vectors of some residuals.
#[derive(Clone, Debug, Default)]
pub(super) struct CommonDirection {
    sum: Vec<f64>,
    square: f64,
}

impl CommonDirection {
    /// The common direction of residuals, each given by its components, its length and the rows that have it.
    pub(super) fn new<R: Iterator<Item = f64>>(
        dimension: usize,
        residuals: impl Iterator<Item = (R, f64, usize)>,
    ) -> Self {
        let mut sum = vec![0.0; dimension];
        for (residual, length, rows) in residuals.filter(|(_, length, _)| *length > 0.0) {
            let unit = count_to_f64(rows) / length;
            sum.iter_mut().zip(residual).for_each(|(sum, x)| *sum += x * unit);
        }
        let square = sum.iter().map(|x| x * x).sum();
        Self { sum, square }
    }

    /// The factor by which the deviation of the code of one of the residuals counts for more: 1 if it shares no direction
    /// with the others.
    pub(super) fn widening(&self, residual: impl Iterator<Item = f64>) -> f64 {
        let (mut product, mut square) = (0.0_f64, 0.0_f64);
        for (sum, x) in self.sum.iter().zip(residual) {
            product += sum * x;
            square += x * x;
        }
        // The sum without the residual itself, and the cosine between the two.
        let along = product / square.sqrt();
        let alike = along - 1.0;
        let cosine = alike / (self.square - 2.0 * along + 1.0).sqrt();
        // Codes are as alike as residuals are within a step of the quantizer: the fourth power leaves out those that
        // merely lie on one side. Without others, or without a direction, the cosine is no number.
        if cosine > 0.0 { 1.0 + WIDENING * cosine.min(1.0).powi(4) * (alike / GROUP).min(1.0) } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::vector::random::Random;

    fn direction(residuals: &[Vec<f64>]) -> CommonDirection {
        let length = |residual: &[f64]| residual.iter().map(|x| x * x).sum::<f64>().sqrt();
        let with_length = residuals.iter().map(|residual| (residual.iter().copied(), length(residual), 1));
        CommonDirection::new(64, with_length)
    }

    fn widening(common: &CommonDirection, residual: &[f64]) -> f64 {
        common.widening(residual.iter().copied())
    }

    #[test]
    fn a_group_that_points_one_way_is_told_from_the_rest() {
        let mut random = Random::new(3);
        let mut noise = || (0..64).map(|_| f64::from(random.next_normal())).collect::<Vec<_>>();
        let around: Vec<Vec<f64>> = (0..200).map(|_| noise()).collect();
        let common = direction(&around);
        assert!(around.iter().all(|residual| widening(&common, residual) < 1.01));

        // A group of short residuals, and as many long ones that balance it.
        let group = |noise: Vec<f64>| noise.iter().map(|x| x / 1e4 - 1.0).collect::<Vec<_>>();
        let mixed: Vec<Vec<f64>> = around.iter().cloned().chain((0..200).map(|_| group(noise()))).collect();
        let common = direction(&mixed);
        let (around, group) = mixed.split_at(200);
        assert!(group.iter().all(|residual| widening(&common, residual) > 1.35));
        assert!(around.iter().all(|residual| widening(&common, residual) < 1.1));
    }

    #[test]
    fn a_few_are_no_group() {
        let mut random = Random::new(3);
        for count in [1, 2, 5] {
            let alike = |_| (0..64).map(|_| f64::from(random.next_normal()) / 1e4 - 1.0).collect();
            let few: Vec<Vec<f64>> = (0..count).map(alike).collect();
            let common = direction(&few);
            assert!(few.iter().all(|residual| widening(&common, residual) < 1.11), "{count}");
        }
        let one = vec![vec![1.0; 64]];
        assert!((widening(&direction(&one), &one[0]) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn nothing_has_no_direction() {
        let zero = vec![0.0; 64];
        for residuals in [vec![], vec![zero.clone()], vec![zero.clone(), vec![1.0; 64]]] {
            assert!((widening(&direction(&residuals), &zero) - 1.0).abs() < f64::EPSILON);
        }
    }
}
