//! Skips rows that cannot reach a threshold: block-max WAND.
//!
//! A. Broder et al., "Efficient query evaluation using a two-level retrieval process", 2003; S. Ding and T. Suel, "Faster
//! top-k document retrieval using block-max indexes", 2011.

use super::term::RowsBound;
use super::tree::Scorer;
use crate::index::text::plan::ScoreJoin;
use crate::index::text::store::NO_MORE_ROWS;

impl Scorer {
    /// Moves to the first row from the current one on that may score `threshold` or more.
    pub(in crate::index::text::score) fn seek_competitive(&mut self, threshold: f32) -> u32 {
        match self {
            Self::Any(scorers, ScoreJoin::Sum) => seek_competitive_sum(scorers, threshold),
            Self::Term(term) => term.seek_competitive(threshold),
            // Other nodes have no cheap bound per block; their rows are all scored.
            _ => self.row(),
        }
    }

    /// The highest score from the current row on, up to a last row.
    fn bound_ahead(&self) -> RowsBound {
        match self {
            Self::Term(term) => term.bound_of_block(),
            other => RowsBound { score_bound: other.score_bound(), last_row: NO_MORE_ROWS },
        }
    }
}

/// WAND. With the scorers in the order of their rows, the *pivot* is the first at which the bounds, summed from the start,
/// reach the threshold. No row before the pivot's can reach it: only scorers before the pivot can have such a row, and
/// their bounds are too low together.
fn seek_competitive_sum(scorers: &mut [Scorer], threshold: f32) -> u32 {
    loop {
        scorers.sort_unstable_by_key(Scorer::row);
        let mut bound = 0.0;
        let pivot = scorers.iter().find(|scorer| {
            bound += scorer.score_bound();
            bound >= threshold
        });
        let Some(pivot_row) = pivot.map(Scorer::row) else {
            for scorer in scorers {
                scorer.seek(NO_MORE_ROWS);
            }
            return NO_MORE_ROWS;
        };
        match scorers.first_mut() {
            // One scorer moves at a time: the row it lands on may already move the pivot.
            Some(first) if first.row() < pivot_row => {
                first.seek(pivot_row);
            }
            // All scorers up to the pivot are on its row. Their blocks may still bound it lower.
            _ => match find_skip_target(scorers, pivot_row, threshold) {
                None => return pivot_row,
                Some(next) => {
                    for scorer in scorers.iter_mut().filter(|scorer| scorer.row() < next) {
                        scorer.seek(next);
                    }
                }
            },
        }
    }
}

/// Where to go on if the current blocks cannot reach the threshold: the first row behind the end of any of these blocks,
/// or on which a further scorer joins. `None` if the row may reach it. Scorers are in the order of their rows.
fn find_skip_target(scorers: &[Scorer], row: u32, threshold: f32) -> Option<u32> {
    let (mut bound, mut next) = (0.0, NO_MORE_ROWS);
    for scorer in scorers {
        if scorer.row() > row {
            next = next.min(scorer.row());
            break;
        }
        let RowsBound { score_bound, last_row } = scorer.bound_ahead();
        bound += score_bound;
        next = next.min(if last_row >= NO_MORE_ROWS { NO_MORE_ROWS } else { last_row + 1 });
    }
    (bound < threshold && next > row).then_some(next)
}
