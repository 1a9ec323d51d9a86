//! The best rows of a part, and what ties with the last of them.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use roaring::RoaringBitmap;

use super::plan::Join;
use super::postings::END;
use super::scorer::{Scorer, Term};
use super::wand;

/// The best `limit` of rows that come in ascending order.
#[derive(Debug)]
pub(super) struct Top {
    limit: usize,
    /// The worst on top: the least score, then the greatest row. Scores are never negative, so their bits are in
    /// their order.
    heap: BinaryHeap<Reverse<(u32, Reverse<u32>)>>,
    /// Rows beyond the limit with the score of the worst.
    ties: Vec<u32>,
    ties_max: usize,
}

impl Top {
    pub(super) fn new(limit: usize, ties_max: usize) -> Self {
        Self { limit, heap: BinaryHeap::with_capacity(limit.min(1 << 10)), ties: Vec::new(), ties_max }
    }

    pub(super) fn push(&mut self, score: f32, row: u32) {
        let entry = (score.max(0.0).to_bits(), Reverse(row));
        if self.heap.len() < self.limit {
            self.heap.push(Reverse(entry));
            return;
        }
        let Some(Reverse(worst)) = self.heap.peek().copied() else { return };
        if entry.0 < worst.0 {
            return;
        }
        if entry.0 == worst.0 {
            if self.ties.len() < self.ties_max {
                self.ties.push(row);
            }
            return;
        }
        self.heap.pop();
        self.heap.push(Reverse(entry));
        match self.heap.peek() {
            Some(Reverse((bits, _))) if *bits == worst.0 => {
                if self.ties.len() < self.ties_max {
                    self.ties.push(worst.1.0);
                }
            }
            _ => self.ties.clear(),
        }
    }

    /// When full: what a score must reach to enter.
    pub(super) fn threshold(&self) -> Option<f32> {
        let Reverse((bits, _)) = self.heap.peek().filter(|_| self.heap.len() >= self.limit)?;
        Some(f32::from_bits(*bits))
    }

    pub(super) fn finish(self) -> Vec<(f32, u32)> {
        let worst = self.threshold().unwrap_or_default();
        let mut all: Vec<(f32, u32)> =
            self.heap.into_iter().map(|Reverse((bits, Reverse(row)))| (f32::from_bits(bits), row)).collect();
        all.extend(self.ties.into_iter().map(|row| (worst, row)));
        all.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        all
    }
}

/// Offers every row of a scorer that is allowed.
pub(super) fn scan(mut scorer: Scorer, allowed: Option<&RoaringBitmap>, top: &mut Top) {
    if allowed.is_none() {
        match flat(scorer) {
            Flat::One(term) => return wand::one(*term, top),
            Flat::Any(terms) => return wand::any(terms, top),
            Flat::All(terms) => return wand::all(terms, top),
            Flat::Not(other) => scorer = *other,
        }
    }
    let Some(allowed) = allowed else {
        while scorer.reach(top.threshold()) != END {
            let score = scorer.score();
            top.push(score, scorer.row());
            scorer.advance();
        }
        return;
    };
    let mut rows = allowed.iter();
    let mut next = rows.next();
    while let Some(allowed) = next {
        let row = scorer.reach(top.threshold());
        if row == END {
            return;
        }
        match row.cmp(&allowed) {
            Ordering::Greater => {
                rows.advance_to(row);
                next = rows.next();
            }
            Ordering::Less => {
                scorer.seek(allowed);
            }
            Ordering::Equal => {
                let score = scorer.score();
                top.push(score, row);
                scorer.advance();
                next = rows.next();
            }
        }
    }
}

/// A scorer whose shape has a loop of its own.
enum Flat {
    One(Box<Term>),
    Any(Vec<Term>),
    All(Vec<Term>),
    Not(Box<Scorer>),
}

fn flat(scorer: Scorer) -> Flat {
    let terms = |scorers: &[Scorer]| scorers.iter().all(|scorer| matches!(scorer, Scorer::Term(_)));
    let of = |scorers: Vec<Scorer>| {
        let terms = scorers.into_iter().filter_map(|scorer| match scorer {
            Scorer::Term(term) => Some(term),
            _ => None,
        });
        terms.collect()
    };
    match scorer {
        Scorer::Term(term) => Flat::One(Box::new(term)),
        Scorer::Any(scorers, Join::Sum) if terms(&scorers) => Flat::Any(of(scorers)),
        Scorer::All(scorers, Join::Sum) if terms(&scorers) => Flat::All(of(scorers)),
        other => Flat::Not(Box::new(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_with_the_worst_are_kept_beside() {
        let mut top = Top::new(2, 10);
        for (score, row) in [(1.0, 0), (1.0, 1), (1.0, 2), (0.5, 3), (2.0, 4)] {
            top.push(score, row);
        }
        assert_eq!(top.threshold(), Some(1.0));
        assert_eq!(top.finish(), [(2.0, 4), (1.0, 0), (1.0, 1), (1.0, 2)]);
        let mut top = Top::new(1, 10);
        for (score, row) in [(1.0, 0), (1.0, 1), (3.0, 2)] {
            top.push(score, row);
        }
        assert_eq!(top.finish(), [(3.0, 2)]);
    }
}
