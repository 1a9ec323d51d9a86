//! Windows of rows: a search adds scores up in a flat array of one window at a time, instead of merging cursors.

use std::ops::Range;

/// Rows of a window. The sums of a window are 16 KiB of `f64`: half of the first-level cache of common processors, so
/// that the postings that stream through leave them in it.
pub(super) const WINDOW_ROWS: u32 = 1 << 11;
/// Sums that are tested together: whole vector registers, and mostly all zero.
pub(super) const LANE_ROWS: usize = 16;

/// How many windows a part of so many rows has.
pub(super) fn count_windows(rows: u32) -> u32 {
    rows.div_ceil(WINDOW_ROWS)
}

/// The rows of a window.
pub(super) fn rows_of_window(window: u32) -> Range<u32> {
    window * WINDOW_ROWS..(window + 1).saturating_mul(WINDOW_ROWS)
}

/// The index of a row in the window that begins with `start`. A row outside of it, which only forged postings have,
/// gets an index beyond all windows.
pub(super) fn slot_in_window(row: u32, start: u32) -> usize {
    row.wrapping_sub(start) as usize
}
