//! Cutting rows in two where they are spread most: what splits a cluster, and, cut by cut, what puts clusters that
//! lie near each other in space near each other on disk.

use super::arithmetic::{Mean, dot, square_distance};
use super::{Points, Result, TrainingProgress};

/// How many rows, at most, a direction is found by.
const DIRECTION_ROWS: usize = 2048;
const DIRECTION_ROUNDS: usize = 10;

/// An order of the points in which neighbours in space are neighbours.
pub(super) fn order(points: Points<'_>, progress: &TrainingProgress) -> Result<Vec<u32>> {
    let mut order: Vec<u32> = (0..u32::try_from(points.rows()).unwrap_or(u32::MAX)).collect();
    let mut last = None;
    arrange(points, &mut order, &mut last, progress)?;
    Ok(order)
}

/// Each half begins at the side that the rows before it ended at.
fn arrange(
    points: Points<'_>,
    rows: &mut [u32],
    last: &mut Option<u32>,
    progress: &TrainingProgress,
) -> Result<()> {
    progress.advance(0)?;
    if rows.len() > 1 {
        let cut = bisect(points, rows, last.map(|row| points.row(row as usize)));
        let (left, right) = rows.split_at_mut(cut);
        arrange(points, left, last, progress)?;
        return arrange(points, right, last, progress);
    }
    *last = rows.first().copied().or(*last);
    Ok(())
}

/// Sorts two rows or more along the direction in which they are spread most, beginning at the side that
/// `from` lies on, and says where to cut: where the two sides are most unlike, with at least a quarter of the
/// rows on each. Rows that cannot be told apart stay in the order of their numbers.
pub(super) fn bisect(points: Points<'_>, rows: &mut [u32], from: Option<&[f32]>) -> usize {
    let direction = SplitAxis::of(points, rows);
    let sign = if from.is_some_and(|from| direction.place(from) > 0.0) { -1.0 } else { 1.0 };
    let place = |row: &u32| {
        let place = sign * direction.place(points.row(*row as usize));
        // The order of floats tells zeros and NaNs by their sign, which is not the same everywhere.
        (if place.is_nan() { 0.0 } else { place + 0.0 }, *row)
    };
    let mut places: Vec<_> = rows.iter().map(place).collect();
    places.sort_unstable_by(|(a, a_row), (b, b_row)| a.total_cmp(b).then(a_row.cmp(b_row)));
    for (row, (_, sorted)) in rows.iter_mut().zip(&places) {
        *row = *sorted;
    }
    cut(&places)
}

struct SplitAxis {
    center: Vec<f32>,
    axis: Vec<f32>,
}

impl SplitAxis {
    /// The axis of the largest sum of absolute deviations, or nearly: each round adds the deviations up,
    /// turned to the side they lie on, until none changes sides. Unlike the axis of largest variance it is
    /// not drawn to a few rows far off.
    fn of(points: Points<'_>, rows: &[u32]) -> Self {
        let step = rows.len().div_ceil(DIRECTION_ROWS).max(1);
        let rows: Vec<_> = rows.iter().step_by(step).map(|row| points.row(*row as usize)).collect();
        let center = Mean::of(points.dim(), rows.iter().copied());
        let far = rows.iter().map(|row| (square_distance(row, &center), row));
        let farthest = far.max_by(|(a, _), (b, _)| a.total_cmp(b));
        let axis = farthest.map(|(_, row)| row.iter().zip(&center).map(|(a, b)| a - b).collect());
        let mut direction = Self { axis: axis.unwrap_or_default(), center };
        let mut sides = Vec::new();
        for _ in 0..DIRECTION_ROUNDS {
            let found: Vec<bool> = rows.iter().map(|row| direction.place(row) > 0.0).collect();
            if found == sides {
                break;
            }
            sides = found;
            direction.turn(&rows, &sides);
        }
        direction
    }

    #[expect(clippy::cast_possible_truncation, reason = "a mean of f32 is within their range")]
    #[expect(clippy::cast_precision_loss, reason = "there are at most a few thousand rows")]
    fn turn(&mut self, rows: &[&[f32]], sides: &[bool]) {
        let mut sums = vec![0.0_f64; self.center.len()];
        for (row, right) in rows.iter().zip(sides) {
            let sign = if *right { 1.0 } else { -1.0 };
            for ((sum, value), center) in sums.iter_mut().zip(*row).zip(&self.center) {
                *sum += sign * f64::from(value - center);
            }
        }
        self.axis = sums.into_iter().map(|sum| (sum / rows.len() as f64) as f32).collect();
    }

    /// How far along the axis a row lies.
    fn place(&self, row: &[f32]) -> f32 {
        dot(row, &self.axis) - dot(&self.center, &self.axis)
    }
}

/// Where sorted places fall into two most clearly: the largest variance between the sides, nearest to the
/// middle among equals.
#[expect(clippy::cast_precision_loss, reason = "a row more or less does not matter among 2^52")]
fn cut(places: &[(f32, u32)]) -> usize {
    let count = places.len();
    let total: f64 = places.iter().map(|(place, _)| f64::from(*place)).sum();
    let least = count.div_ceil(4);
    let mut best = (f64::NEG_INFINITY, 0, count / 2);
    let mut left = 0.0;
    for (before, (place, _)) in places.iter().enumerate() {
        if before >= least && before <= count - least {
            let right = total - left;
            let between = left * left / before as f64 + right * right / (count - before) as f64;
            let off = before.abs_diff(count / 2);
            if between > best.0 || (between >= best.0 && off < best.1) {
                best = (between, off, before);
            }
        }
        left += f64::from(*place);
    }
    best.2
}
