//! Runs of consecutive rows: what is read as one range.

use std::ops::Range;

use roaring::RoaringBitmap;

/// The runs of consecutive rows of a bitmap, ascending.
pub(in crate::segment) fn row_runs(rows: &RoaringBitmap) -> Vec<Range<u32>> {
    let mut runs: Vec<Range<u32>> = Vec::new();
    for row in rows {
        match runs.last_mut() {
            Some(run) if run.end == row => run.end += 1,
            _ => runs.push(row..row.saturating_add(1)),
        }
    }
    runs
}
