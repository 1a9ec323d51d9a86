//! MaxScore over windows: rows with any of some terms.

use super::candidates::WindowCandidates;
use super::term::{BoundedTerm, NO_ROWS};
use super::window_bounds::WindowBounds;
use crate::index::text::score::bounds::BOUND_SLACK;
use crate::index::text::score::top_rows::TopRowCollector;
use crate::index::text::score::windows::WINDOW_ROWS;

/// A term that has rows in a window, and what they score at most there.
#[derive(Clone, Copy, Debug)]
struct TermBound {
    score_bound: f64,
    term: usize,
}

/// Offers every row with any of the terms that may be a hit: the score is the sum.
///
/// MaxScore (Turtle and Flood 1995): order the terms of a window by their bounds. The longest run of the lowest whose sum
/// stays below the threshold is *non-essential*: a row with these terms alone cannot be a hit. So the *essential* terms
/// generate the candidates, and the non-essential ones are only looked up in the candidates, from the highest bound to the
/// lowest. After each of them, candidates that cannot reach the threshold with all that is still to come are dropped.
///
/// The original orders the terms once per query. Here bounds are those of a window, which are much tighter: a term may be
/// essential in a window with its best block, and in no other.
#[expect(clippy::indexing_slicing, reason = "numbers of terms come from counting them")]
pub(in crate::index::text::score) fn offer_union(
    terms: &mut [BoundedTerm<'_>],
    rows: u32,
    top: &mut TopRowCollector<'_>,
) {
    let mut windows = WindowBounds::new(terms, rows, |bounds| {
        bounds.filter(|bound| *bound >= 0.0).reduce(|a, b| a + b).unwrap_or(NO_ROWS) * BOUND_SLACK
    });
    let mut sums = vec![0.0_f64; WINDOW_ROWS as usize];
    let mut candidates = WindowCandidates::default();
    let mut present: Vec<TermBound> = Vec::with_capacity(terms.len());
    while let Some(window) = windows.pop_reaching(top.threshold()) {
        present.clear();
        present.extend(
            (0..terms.len())
                .map(|term| TermBound { score_bound: windows.bound(term, window), term })
                .filter(|term| term.score_bound >= 0.0),
        );
        present.sort_unstable_by(|a, b| a.score_bound.total_cmp(&b.score_bound));
        // 1. Split. The threshold rises from window to window, so that fewer terms are essential.
        let NonEssential { count, mut score_bound } = find_non_essential(&present, top.threshold());
        let (non_essential, essential) = present.split_at(count);
        // 2. Candidates: rows of essential terms that can be hits if all non-essential terms score their bounds.
        candidates.start_window(window);
        if let [single] = essential {
            // The frequency decides on a row: no sums are needed.
            candidates.push_term_rows(&mut terms[single.term], score_bound, top);
        } else {
            for essential in essential {
                terms[essential.term].add_scores(candidates.window(), &mut sums);
            }
            candidates.drain_sums(&mut sums, f64::from(top.threshold()) - score_bound);
        }
        // 3. Add the non-essential terms one by one. `score_bound` is what those behind the current one can add.
        for non_essential in non_essential.iter().rev() {
            score_bound -= non_essential.score_bound;
            candidates.add_optional_term(&mut terms[non_essential.term], score_bound, top);
        }
        // 4. The scores are complete.
        candidates.offer(top);
    }
}

/// The terms that cannot make a hit by themselves.
struct NonEssential {
    /// How many of the terms, from the lowest bound on.
    count: usize,
    /// What they score at most together.
    score_bound: f64,
}

fn find_non_essential(terms: &[TermBound], threshold: f32) -> NonEssential {
    let mut score_bound = 0.0;
    for (count, term) in terms.iter().enumerate() {
        let with_term = score_bound + term.score_bound;
        if with_term >= f64::from(threshold) {
            return NonEssential { count, score_bound };
        }
        score_bound = with_term;
    }
    // Slack on the bound of the window let it pass, and yet no row can be a hit.
    NonEssential { count: terms.len(), score_bound }
}
