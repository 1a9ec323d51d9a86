//! What terms score at most in each window.

use super::bound_order::BoundOrder;
use super::term::{BoundedTerm, NO_ROWS};
use crate::index::text::score::windows::count_windows;

/// For each term the bounds of all windows, and the windows in the order of their joint bounds.
pub(super) struct WindowBounds {
    by_term: Vec<Vec<f32>>,
    order: BoundOrder,
}

impl WindowBounds {
    /// `join` makes one bound of those of all terms in a window; it is below 0 where no row can match.
    pub(super) fn new(
        terms: &[BoundedTerm<'_>],
        rows: u32,
        join: impl Fn(&mut dyn Iterator<Item = f32>) -> f32,
    ) -> Self {
        let by_term: Vec<Vec<f32>> = terms.iter().map(|term| term.bound_windows(rows)).collect();
        let join_window = |window| {
            // invariant: a window behind the last holds no rows.
            join(&mut by_term.iter().map(|bounds| bounds.get(window).copied().unwrap_or(NO_ROWS)))
        };
        let order = BoundOrder::new((0..count_windows(rows) as usize).map(join_window));
        Self { by_term, order }
    }

    /// The next window that may hold a row with a score of `threshold`.
    pub(super) fn pop_reaching(&mut self, threshold: f32) -> Option<u32> {
        self.order.pop_reaching(threshold)
    }

    /// What a term scores at most in a window; below 0 if it has no row there.
    #[expect(clippy::indexing_slicing, reason = "terms and windows are those that `new` was given")]
    pub(super) fn bound(&self, term: usize, window: u32) -> f64 {
        debug_assert!(term < self.by_term.len(), "a term of this query");
        self.by_term[term][window as usize].into()
    }
}
