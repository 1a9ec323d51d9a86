//! Rows with all of some terms.

use super::candidates::WindowCandidates;
use super::term::{BoundedTerm, NO_ROWS};
use super::window_bounds::WindowBounds;
use crate::index::text::score::bounds::BOUND_SLACK;
use crate::index::text::score::top_rows::TopRowCollector;

/// Offers every row with all terms that may be a hit: the score is the sum. The rarest term comes first.
///
/// Rows of the rarest term are the candidates of a window; each further term keeps those that hold it, and that can still
/// reach the threshold if all later terms score their bounds.
pub(in crate::index::text::score) fn offer_intersection(
    terms: &mut [BoundedTerm<'_>],
    rows: u32,
    top: &mut TopRowCollector<'_>,
) {
    // A window that lacks a term has no match, however much the others score.
    let mut windows = WindowBounds::new(terms, rows, |bounds| {
        let add = |sum: f32, bound: f32| if sum < 0.0 || bound < 0.0 { NO_ROWS } else { sum + bound };
        bounds.fold(0.0, add) * BOUND_SLACK
    });
    let mut candidates = WindowCandidates::default();
    while let Some(window) = windows.pop_reaching(top.threshold()) {
        let mut later_bound: f64 = (1..terms.len()).map(|term| windows.bound(term, window)).sum();
        candidates.start_window(window);
        for (number, term) in terms.iter_mut().enumerate() {
            if number == 0 {
                candidates.push_term_rows(term, later_bound, top);
            } else {
                later_bound -= windows.bound(number, window);
                candidates.add_required_term(term, later_bound, top);
            }
        }
        candidates.offer(top);
    }
}
