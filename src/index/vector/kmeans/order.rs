//! Splitting rows along the direction in which they are spread most.
//!
//! One split halves a cluster. Recursive splits order clusters so that those close in space are close on disk: a query
//! probes clusters that lie together, and their records are joined into fewer requests.

use super::arithmetic::{Mean, dot, square_distance};
use super::points::Points;
use super::progress::TrainingProgress;
use crate::codec::usize_of;
use crate::error::Result;

/// Rows that determine a direction, at most.
// The axis of a split only has to be good, not optimal. An evenly spaced sample bounds what one split costs.
const DIRECTION_ROWS: usize = 2048;
/// Rounds of refining a direction, at most: it usually settles after a few.
const DIRECTION_ROUNDS: usize = 10;

/// An order of the points in which neighbours in space are neighbours.
// Measured for 32 probed clusters, requests of neighbouring records joined: 18 to 26 ranges instead of 31 in random
// order, for 4 to 8 % more bytes.
pub(super) fn disk_order(points: Points<'_>, progress: &TrainingProgress) -> Result<Vec<u32>> {
    let mut order: Vec<u32> = points.row_numbers()?.collect();
    let mut last = None;
    arrange_rows(points, &mut order, &mut last, progress)?;
    Ok(order)
}

/// Orders rows by recursive splits; `last` is the row before them, and afterwards their last.
fn arrange_rows(
    points: Points<'_>,
    rows: &mut [u32],
    last: &mut Option<u32>,
    progress: &TrainingProgress,
) -> Result<()> {
    progress.advance(0)?;
    if rows.len() > 1 {
        // An axis has no sign of its own. Each half begins at the side where the rows before it ended, or the order
        // would jump across the space at every second border.
        let middle = bisect_rows(points, rows, last.map(|row| points.row(usize_of(row))));
        let (left, right) = rows.split_at_mut(middle);
        arrange_rows(points, left, last, progress)?;
        return arrange_rows(points, right, last, progress);
    }
    *last = rows.first().copied().or(*last);
    Ok(())
}

/// Sorts two rows or more along the direction in which they are spread most, starting at the side that
/// `from` lies on, and returns where to split: where the two sides differ most, with at least a quarter of the
/// rows on each. Rows that cannot be distinguished keep the order of their numbers.
pub(super) fn bisect_rows(points: Points<'_>, rows: &mut [u32], from: Option<&[f32]>) -> usize {
    let axis = SplitAxis::fit(points, rows);
    let sign = if from.is_some_and(|from| axis.project(from) > 0.0) { -1.0 } else { 1.0 };
    let projected = |row: &u32| {
        let offset = sign * axis.project(points.row(usize_of(*row)));
        // `total_cmp` distinguishes zeros and NaNs by their signs, and the sign of a NaN differs between processors.
        (if offset.is_nan() { 0.0 } else { offset + 0.0 }, *row)
    };
    let mut offsets: Vec<_> = rows.iter().map(projected).collect();
    offsets.sort_unstable_by(|(a, a_row), (b, b_row)| a.total_cmp(b).then(a_row.cmp(b_row)));
    for (row, (_, sorted)) in rows.iter_mut().zip(&offsets) {
        *row = *sorted;
    }
    split_point(&offsets)
}

/// A line through the centre of some rows.
struct SplitAxis {
    center: Vec<f32>,
    axis: Vec<f32>,
}

impl SplitAxis {
    /// The axis of the largest sum of absolute deviations, or nearly: each round adds up the deviations,
    /// flipped to one side, until no row changes sides.
    // The axis of largest variance, the usual choice, follows a few rows far off and splits them from all others.
    // Absolute deviations do not, and a round costs no more than one of power iteration.
    fn fit(points: Points<'_>, rows: &[u32]) -> Self {
        let step = rows.len().div_ceil(DIRECTION_ROWS).max(1);
        let rows: Vec<_> = rows.iter().step_by(step).map(|row| points.row(usize_of(*row))).collect();
        let center = Mean::of_vectors(points.dim(), rows.iter().copied());
        let gaps = rows.iter().map(|row| (square_distance(row, &center), row));
        // The row farthest from the centre is a start that depends on no chance and is not orthogonal to the spread.
        let farthest = gaps.max_by(|(a, _), (b, _)| a.total_cmp(b));
        let axis = match farthest {
            Some((_, row)) => row.iter().zip(&center).map(|(a, b)| a - b).collect(),
            None => vec![0.0; points.dim()],
        };
        let mut split = Self { center, axis };
        let mut sides = Vec::new();
        for _ in 0..DIRECTION_ROUNDS {
            let found: Vec<bool> = rows.iter().map(|row| split.project(row) > 0.0).collect();
            if found == sides {
                break;
            }
            sides = found;
            split.align_with(&rows, &sides);
        }
        split
    }

    #[expect(clippy::cast_possible_truncation, reason = "a mean of f32 is within their range")]
    #[expect(clippy::cast_precision_loss, reason = "there are at most a few thousand rows")]
    fn align_with(&mut self, rows: &[&[f32]], sides: &[bool]) {
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
    fn project(&self, row: &[f32]) -> f32 {
        dot(row, &self.axis) - dot(&self.center, &self.axis)
    }
}

/// Where sorted offsets fall into two groups most clearly: the largest variance between the sides, nearest to the
/// middle among equals.
#[expect(clippy::cast_precision_loss, reason = "a row more or less does not matter among 2^52")]
fn split_point(offsets: &[(f32, u32)]) -> usize {
    let count = offsets.len();
    let total: f64 = offsets.iter().map(|(offset, _)| f64::from(*offset)).sum();
    // A quarter on each side: of more than twice the target, that is more than half of it, so no piece of a split is
    // below the lower bound of a quarter of the target.
    let side_min = count.div_ceil(4);
    let mut best = (f64::NEG_INFINITY, 0, count / 2);
    let mut left = 0.0;
    for (before, (offset, _)) in offsets.iter().enumerate() {
        if before >= side_min && before <= count - side_min {
            let right = total - left;
            let between = left * left / before as f64 + right * right / (count - before) as f64;
            let off_middle = before.abs_diff(count / 2);
            if between > best.0 || (between >= best.0 && off_middle < best.1) {
                best = (between, off_middle, before);
            }
        }
        left += f64::from(*offset);
    }
    best.2
}
