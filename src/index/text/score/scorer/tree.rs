//! The tree of scorers: one for each node of a plan.

use std::fmt;
use std::sync::Arc;

use super::expanded_term::ExpandedTermScorer;
use super::phrase::PhraseScorer;
use super::term::TermScorer;
use crate::index::text::plan::ScoreJoin;
use crate::index::text::score::bounds::BOUND_SLACK;
use crate::index::text::score::rank_values::RankValues;
use crate::index::text::store::NO_MORE_ROWS;

/// A cursor over the rows of a node. It starts on the first row.
pub(in crate::index::text::score) enum Scorer {
    /// Every row from the first number to before the second.
    Every(u32, u32),
    Term(TermScorer),
    ExpandedTerm(ExpandedTermScorer),
    Phrase(Box<PhraseScorer>),
    /// Rows of any scorer.
    Any(Vec<Scorer>, ScoreJoin),
    /// Rows of all scorers.
    All(Conjunction),
    /// Rows of the first scorer that are not of the second.
    Without(Box<Scorer>, Box<Scorer>),
    Boost(Box<Scorer>, f32),
    Rank(Box<Scorer>, RankFactor),
}

/// Scorers whose common rows are wanted.
pub(in crate::index::text::score) struct Conjunction {
    /// The scorer with the fewest rows: the others only seek to its rows.
    pub(super) lead: Box<Scorer>,
    pub(super) others: Vec<Scorer>,
    pub(in crate::index::text::score) join: ScoreJoin,
}

/// Values that join the scores of rows, and how.
pub(in crate::index::text::score) struct RankFactor {
    pub(super) values: Arc<RankValues>,
    pub(super) join: ScoreJoin,
}

impl Conjunction {
    pub(in crate::index::text::score) fn scorers_mut(&mut self) -> impl Iterator<Item = &mut Scorer> {
        std::iter::once(self.lead.as_mut()).chain(&mut self.others)
    }

    /// Moves on until all scorers are on the same row, or at the end.
    pub(super) fn align(&mut self) {
        let mut row = self.lead.row();
        'rows: while row != NO_MORE_ROWS {
            for other in &mut self.others {
                let found = if other.row() < row { other.seek(row) } else { other.row() };
                if found != row {
                    row = self.lead.seek(found);
                    continue 'rows;
                }
            }
            return;
        }
    }
}

impl Scorer {
    /// About how many rows it has, at most.
    pub(super) fn row_count_max(&self) -> u64 {
        match self {
            Self::Every(row, end) => end.saturating_sub(*row).into(),
            Self::Term(term) => term.postings.row_count(),
            Self::ExpandedTerm(term) => term.row_count(),
            Self::Phrase(phrase) => phrase.cursor.row_count_max(),
            Self::Any(scorers, _) => scorers.iter().map(Self::row_count_max).sum(),
            Self::All(all) => all.lead.row_count_max(),
            Self::Without(scorer, _) | Self::Boost(scorer, _) | Self::Rank(scorer, _) => {
                scorer.row_count_max()
            }
        }
    }

    /// The current row.
    pub(in crate::index::text::score) fn row(&self) -> u32 {
        match self {
            Self::Every(row, end) if row < end => *row,
            Self::Every(..) => NO_MORE_ROWS,
            Self::Term(term) => term.postings.row(),
            Self::ExpandedTerm(term) => term.row(),
            Self::Phrase(phrase) => phrase.cursor.row(),
            // invariant: a union of nothing is on no row.
            Self::Any(scorers, _) => scorers.iter().map(Self::row).min().unwrap_or(NO_MORE_ROWS),
            Self::All(all) => all.lead.row(),
            Self::Without(scorer, _) | Self::Boost(scorer, _) | Self::Rank(scorer, _) => scorer.row(),
        }
    }

    pub(in crate::index::text::score) fn advance(&mut self) -> u32 {
        let row = self.row();
        if row == NO_MORE_ROWS { NO_MORE_ROWS } else { self.seek(row + 1) }
    }

    /// Moves forward to the first row that is not below `row`.
    pub(in crate::index::text::score) fn seek(&mut self, row: u32) -> u32 {
        match self {
            Self::Every(at, _) => *at = row.max(*at),
            // Advancing by one row is the common case, and needs no search of the skip list.
            Self::Term(term) if term.postings.row() + 1 == row => return term.postings.advance(),
            Self::Term(term) => return term.postings.seek(row),
            Self::ExpandedTerm(term) => return term.seek(row),
            Self::Phrase(phrase) => phrase.cursor.seek(row),
            Self::Any(scorers, _) => {
                let mut next = NO_MORE_ROWS;
                for scorer in scorers {
                    let at = scorer.row();
                    next = next.min(if at < row { scorer.seek(row) } else { at });
                }
                return next;
            }
            Self::All(all) => {
                all.lead.seek(row);
                all.align();
            }
            Self::Without(scorer, excluded) => {
                scorer.seek(row);
                skip_excluded(scorer, excluded);
            }
            Self::Boost(scorer, _) | Self::Rank(scorer, _) => {
                scorer.seek(row);
            }
        }
        self.row()
    }

    /// No score of the node is higher. Raised a little above the sum, for floats round.
    pub(super) fn score_bound(&self) -> f32 {
        match self {
            Self::Every(..) => 0.0,
            Self::Term(term) => term.score_bound,
            Self::ExpandedTerm(term) => term.weight.weight * BOUND_SLACK,
            Self::Phrase(phrase) => phrase.weight.weight * BOUND_SLACK,
            Self::Any(scorers, ScoreJoin::Greatest) => {
                scorers.iter().map(Self::score_bound).fold(0.0, f32::max)
            }
            Self::Any(scorers, _) => scorers.iter().map(Self::score_bound).sum::<f32>() * BOUND_SLACK,
            Self::All(Conjunction { lead, others, join }) => {
                let bounds = std::iter::once(&**lead).chain(others).map(Self::score_bound);
                match join {
                    ScoreJoin::Greatest => bounds.fold(0.0, f32::max),
                    ScoreJoin::Sum => bounds.sum::<f32>() * BOUND_SLACK,
                    ScoreJoin::Product => bounds.product::<f32>() * BOUND_SLACK,
                }
            }
            Self::Without(scorer, _) => scorer.score_bound(),
            Self::Boost(scorer, factor) => scorer.score_bound() * factor * BOUND_SLACK,
            // Values of documents have no bound that is known before they are all read.
            Self::Rank(..) => f32::INFINITY,
        }
    }

    /// The score of the current row.
    pub(in crate::index::text::score) fn score(&mut self) -> f32 {
        match self {
            Self::Every(..) => 0.0,
            Self::Term(term) => term.score(),
            Self::ExpandedTerm(term) => term.score(),
            Self::Phrase(phrase) => phrase.score(),
            Self::Any(scorers, join) => {
                // invariant: a union of nothing is on no row, and is never scored.
                let row = scorers.iter().map(Self::row).min().unwrap_or(NO_MORE_ROWS);
                let on_row = scorers.iter_mut().filter(|scorer| scorer.row() == row);
                join_scores(on_row.map(Self::score), *join)
            }
            Self::All(all) => {
                let join = all.join;
                join_scores(all.scorers_mut().map(Self::score), join)
            }
            Self::Without(scorer, _) => scorer.score(),
            Self::Boost(scorer, factor) => scorer.score() * *factor,
            Self::Rank(scorer, factor) => {
                let value = factor.values.get(scorer.row());
                join_scores([scorer.score(), value].into_iter(), factor.join)
            }
        }
    }
}

/// Moves a scorer on until it is on a row that another does not have.
pub(super) fn skip_excluded(scorer: &mut Scorer, excluded: &mut Scorer) {
    while scorer.row() != NO_MORE_ROWS {
        let row = scorer.row();
        if excluded.row() < row {
            excluded.seek(row);
        }
        if excluded.row() != row {
            return;
        }
        scorer.advance();
    }
}

fn join_scores(scores: impl Iterator<Item = f32>, join: ScoreJoin) -> f32 {
    match join {
        // Terms are scored in an order that differs from part to part, by their frequency. In `f64` the order changes the
        // last bits of the sum, which rounding to `f32` hides.
        #[expect(clippy::cast_possible_truncation, reason = "scores are f32")]
        ScoreJoin::Sum => scores.map(f64::from).sum::<f64>() as f32,
        ScoreJoin::Greatest => scores.fold(0.0, f32::max),
        ScoreJoin::Product => scores.product(),
    }
}

impl fmt::Debug for Scorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scorer(at row {})", self.row())
    }
}
