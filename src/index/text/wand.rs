//! The common shapes of queries as flat loops: one token, any of some, all of some, over all rows of a segment.
//!
//! What the rows of a block of postings score at most decides whether it is looked at (Broder et al. 2003, Ding and
//! Suel 2011). A row that scores as the worst of the best is never left out: ties are kept.

use super::postings::{END, Postings};
use super::scorer::Term;
use super::top::Top;

/// A token in a walk.
struct Cursor {
    term: Term,
    row: u32,
    /// The last row of the block at hand, and what its rows score at most.
    block: (u32, f32),
}

impl Cursor {
    fn new(term: Term) -> Self {
        let row = term.postings.row();
        Self { term, row, block: (0, f32::INFINITY) }
    }

    fn seek(&mut self, row: u32) {
        if self.row < row {
            self.row = self.term.postings.seek(row);
        }
    }

    fn advance(&mut self) {
        self.row = self.term.postings.advance();
    }

    /// The last row of the block at hand, and what its rows score at most.
    fn block(&mut self) -> (u32, f32) {
        if self.row > self.block.0 || self.block.1.is_infinite() {
            self.block = self.term.block();
        }
        self.block
    }

    fn score(&self) -> f32 {
        self.term.score(self.row)
    }
}

/// Offers every row with the token.
pub(super) fn one(mut term: Term, top: &mut Top) {
    while term.postings.row() != END {
        if top.threshold().is_some_and(|threshold| term.block().1 < threshold) {
            let (last, _) = term.block();
            if last >= END {
                return;
            }
            term.postings.seek(last + 1);
            continue;
        }
        let Postings::Blocks(blocks) = &mut term.postings else {
            top.push(term.score(term.postings.row()), term.postings.row());
            term.postings.advance();
            continue;
        };
        let mut least = top.threshold().unwrap_or(-1.0);
        for (row, frequency) in blocks.rest() {
            #[expect(clippy::cast_precision_loss, reason = "frequencies become weights")]
            let score = term.weigher.score(row, frequency as f32);
            if score >= least {
                top.push(score, row);
                least = top.threshold().unwrap_or(-1.0);
            }
        }
        blocks.next_block();
    }
}

/// Offers every row with any of the tokens: the sum.
pub(super) fn any(terms: Vec<Term>, top: &mut Top) {
    let mut cursors: Vec<Cursor> = terms.into_iter().map(Cursor::new).collect();
    loop {
        cursors.retain(|cursor| cursor.row != END);
        cursors.sort_unstable_by_key(|cursor| cursor.row);
        let threshold = top.threshold().unwrap_or(-1.0);
        let mut bound = 0.0;
        let pivot = cursors.iter().position(|cursor| {
            bound += cursor.term.most();
            bound >= threshold
        });
        let Some(row) = pivot.and_then(|pivot| cursors.get(pivot)).map(|cursor| cursor.row) else { return };
        if cursors.first().is_some_and(|first| first.row < row) {
            for cursor in &mut cursors {
                cursor.seek(row);
            }
            continue;
        }
        let (mut bound, mut next) = (0.0, END);
        for cursor in &mut cursors {
            if cursor.row > row {
                next = next.min(cursor.row);
                break;
            }
            let (last, most) = cursor.block();
            bound += most;
            next = next.min(last.saturating_add(1));
        }
        if bound < threshold {
            for cursor in &mut cursors {
                cursor.seek(next);
            }
            continue;
        }
        let mut sum = 0.0;
        for cursor in cursors.iter_mut().take_while(|cursor| cursor.row == row) {
            sum += f64::from(cursor.score());
            cursor.advance();
        }
        push(top, sum, row);
    }
}

/// Offers every row with all of the tokens: the sum. The rarest comes first.
pub(super) fn all(terms: Vec<Term>, top: &mut Top) {
    let mut cursors: Vec<Cursor> = terms.into_iter().map(Cursor::new).collect();
    let Some((first, others)) = cursors.split_first_mut() else { return };
    let others_most: f32 = others.iter().map(|cursor| cursor.term.most()).sum();
    'rows: while first.row != END {
        let threshold = top.threshold().unwrap_or(-1.0);
        let (last, most) = first.block();
        if most + others_most < threshold {
            first.seek(last.saturating_add(1));
            continue;
        }
        for other in others.iter_mut() {
            other.seek(first.row);
            if other.row > first.row {
                first.seek(other.row);
                continue 'rows;
            }
        }
        let (mut bound, mut next) = (most, last.saturating_add(1));
        for other in others.iter_mut() {
            let (last, most) = other.block();
            bound += most;
            next = next.min(last.saturating_add(1));
        }
        if bound < threshold {
            first.seek(next);
            continue;
        }
        let sum =
            f64::from(first.score()) + others.iter().map(|cursor| f64::from(cursor.score())).sum::<f64>();
        push(top, sum, first.row);
        first.advance();
    }
}

fn push(top: &mut Top, sum: f64, row: u32) {
    #[expect(clippy::cast_possible_truncation, reason = "scores are f32")]
    top.push(sum as f32, row);
}
