//! Vectors out of all scale: a few that lie far beyond all others, as broken embeddings and placeholders do.
//!
//! No cluster can hold such a vector well, and it would move the means of vectors that do not belong to it. One vector a
//! million times as long as 6,000 others took recall@10 from .95 to .3. So outliers take no part in the training of
//! clusters and have no code: every search compares them exactly.

use super::kernels::kernels;
use super::kmeans::Points;
use super::numeric::{count_to_f64, round_to_f32};
use crate::codec::usize_of;
use crate::error::Result;

/// At most one vector in this many is an outlier, and at most [`OUTLIERS_MAX`] of a segment: what is more common is data.
// Both bounds keep the cost of outliers small, as every search reads all of their exact vectors.
const SHARE: usize = 64;
const OUTLIERS_MAX: usize = 64;
/// How many times farther an outlier lies than the farthest other vector.
// Generous on purpose: a vector taken for an outlier costs every search an exact comparison, one taken for data costs its
// cluster some digits.
const FAR: f64 = 16.0;
/// Vectors that determine where the others lie.
const SAMPLE: usize = 1_024;

/// The vectors out of scale, ascending.
pub(super) fn find_outliers(points: Points<'_>) -> Result<Vec<u32>> {
    let most = (points.rows() / SHARE).min(OUTLIERS_MAX);
    if most == 0 {
        return Ok(Vec::new());
    }
    let step = points.rows().div_ceil(SAMPLE);
    let sample = (0..points.rows()).step_by(step).map(|row| points.row(row));
    let centre = interquartile_mean(points.dim(), &sample.collect::<Vec<_>>());
    let kernels = kernels();
    // In f64: the square of the distance of an outlier may overflow an f32.
    let square = |row: u32| kernels.wide_l2(&centre, points.row(usize_of(row)));
    let mut rows: Vec<(f64, u32)> = points.row_numbers()?.map(|row| (square(row), row)).collect();
    // The scale is that of the farthest vector which cannot be an outlier any more, for there may be only `most`. A mean
    // or a deviation of all would itself be moved by the outliers.
    let (far, (farthest, _), _) = rows.select_nth_unstable_by(most, |a, b| b.0.total_cmp(&a.0));
    let limit = FAR * FAR * *farthest;
    let mut far: Vec<u32> = far.iter().filter(|(square, _)| *square > limit).map(|(_, row)| *row).collect();
    far.sort_unstable();
    Ok(far)
}

/// The mean of the middle half of some vectors, component by component.
// A quarter of the vectors on either side may lie anywhere without moving it far; one would be enough to move a mean.
#[expect(clippy::indexing_slicing, reason = "rows have all dimensions, and a half lies within the whole")]
pub(super) fn interquartile_mean(dimension: usize, rows: &[&[f32]]) -> Vec<f32> {
    let (from, to) = (rows.len() / 4, rows.len() - rows.len() / 4);
    let component = |dimension: usize| {
        let mut column: Vec<f32> = rows.iter().map(|row| row[dimension]).collect();
        if from > 0 && to < column.len() {
            column.select_nth_unstable_by(from, f32::total_cmp);
            let (_, rest) = column.split_at_mut(from);
            rest.select_nth_unstable_by(to - from, f32::total_cmp);
        }
        let middle = &column[from..to];
        // invariant: without rows the sum is 0, and so is the mean.
        round_to_f32(middle.iter().map(|x| f64::from(*x)).sum::<f64>() / count_to_f64(middle.len().max(1)))
    };
    (0..dimension).map(component).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::vector::random::Random;

    fn rows(count: usize) -> Vec<f32> {
        let mut random = Random::new(7);
        // Of a deviation of about 1.
        (0..count * 3).map(|_| random.next_normal() / 418.0 + 5.0).collect()
    }

    #[test]
    fn what_is_far_beyond_all_others_is_out_of_scale() {
        let mut values = rows(1_000);
        let found = |values: &[f32]| find_outliers(Points::new(values, 3).unwrap()).unwrap();
        assert!(found(&values).is_empty());
        values[30..33].fill(1e6);
        values[2_700] = -1e30;
        values[0] = 500.0;
        assert_eq!(found(&values), [0, 10, 900]);
        // So many are data, beyond which the last one lies still.
        values[..60].fill(1e6);
        assert_eq!(found(&values), [900]);
        assert!(found(&values[..3 * SHARE - 3]).is_empty() && found(&[]).is_empty());
        // Beside equal rows all others are.
        let mut equal = vec![2.0; 3_000];
        equal[1_500] = 2.5;
        assert_eq!(found(&equal), [500]);
    }

    #[test]
    fn the_middle_is_moved_by_no_quarter() {
        let values = rows(400);
        let mut rows: Vec<&[f32]> = values.chunks(3).collect();
        let clean = interquartile_mean(3, &rows);
        assert!(clean.iter().all(|x| (x - 5.0).abs() < 0.2), "{clean:?}");
        rows[..99].fill(&[1e30, -1e30, f32::MAX]);
        assert!(interquartile_mean(3, &rows).iter().all(|x| (x - 5.0).abs() < 1.5));
        assert_eq!(interquartile_mean(2, &[&[3.0, 4.0]]), [3.0, 4.0]);
        assert_eq!(interquartile_mean(2, &[]), [0.0, 0.0]);
    }
}
