//! Rows out of all scale: a few vectors that lie far beyond all others, as broken embeddings and missing values do.
//!
//! No cluster can hold such a vector well, and it would move the means of those that do not belong to it. So they take
//! no part in the training of clusters, and have no code: every search compares them exactly.

use super::kernels::kernels;
use super::kmeans::Points;
use super::space::narrow;

/// At most one row of so many is out of scale, and at most so many of a segment: what is more common is data.
const SHARE: usize = 64;
const ROWS_MAX: usize = 64;
/// How many times farther than the farthest of the others.
const FAR: f64 = 16.0;
/// How many rows tell where the others lie.
const SAMPLE: usize = 1_024;

/// The rows that are out of scale, ascending.
pub(super) fn outliers(points: Points<'_>) -> Vec<u32> {
    let most = (points.rows() / SHARE).min(ROWS_MAX);
    if most == 0 {
        return Vec::new();
    }
    let step = points.rows().div_ceil(SAMPLE);
    let sample = (0..points.rows()).step_by(step).map(|row| points.row(row));
    let centre = middle(points.dim(), &sample.collect::<Vec<_>>());
    let kernels = kernels();
    let distance = |row: u32| kernels.wide_l2(&centre, points.row(row as usize));
    let rows = (0..u32::try_from(points.rows()).unwrap_or(u32::MAX)).map(|row| (distance(row), row));
    let mut rows: Vec<(f64, u32)> = rows.collect();
    let (far, (farthest, _), _) = rows.select_nth_unstable_by(most, |a, b| b.0.total_cmp(&a.0));
    let limit = FAR * FAR * *farthest;
    let mut far: Vec<u32> = far.iter().filter(|(square, _)| *square > limit).map(|(_, row)| *row).collect();
    far.sort_unstable();
    far
}

/// The mean of the middle half of some rows, component by component: a quarter of them may lie anywhere.
pub(super) fn middle(dimension: usize, rows: &[&[f32]]) -> Vec<f32> {
    let (from, to) = (rows.len() / 4, rows.len() - rows.len() / 4);
    let component = |place: usize| {
        let mut column: Vec<f32> = rows.iter().filter_map(|row| row.get(place).copied()).collect();
        if from > 0 && to < column.len() {
            column.select_nth_unstable_by(from, f32::total_cmp);
            let (_, rest) = column.split_at_mut(from);
            rest.select_nth_unstable_by(to - from, f32::total_cmp);
        }
        let middle = column.get(from..to).unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "a count of rows")]
        let mean = middle.iter().map(|x| f64::from(*x)).sum::<f64>() / middle.len().max(1) as f64;
        narrow(mean)
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
        (0..count * 3).map(|_| random.normal() / 418.0 + 5.0).collect()
    }

    #[test]
    fn what_is_far_beyond_all_others_is_out_of_scale() {
        let mut values = rows(1_000);
        let found = |values: &[f32]| outliers(Points::new(values, 3).unwrap());
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
        let clean = middle(3, &rows);
        assert!(clean.iter().all(|x| (x - 5.0).abs() < 0.2), "{clean:?}");
        rows[..99].fill(&[1e30, -1e30, f32::MAX]);
        assert!(middle(3, &rows).iter().all(|x| (x - 5.0).abs() < 1.5));
        assert_eq!(middle(2, &[&[3.0, 4.0]]), [3.0, 4.0]);
        assert_eq!(middle(2, &[]), [0.0, 0.0]);
    }
}
