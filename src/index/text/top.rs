//! The best rows of a part, and what ties with the last of them.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use roaring::RoaringBitmap;

use super::plan::Join;
use super::postings::{END, Postings};
use super::scorer::{Scorer, Term};
use super::sweep::{self, Token};

/// Below one row in so many, those that are allowed lead.
const SPARSE: u64 = 16;
/// A little less than a score, for sums are rounded.
const ROUNDED: f32 = 0.999_999;

/// Scores and rows, and more rows that score as the last of them.
pub(crate) type Best = (Vec<(f32, u32)>, RoaringBitmap);

/// The best `limit` of the rows that are allowed, which come in any order.
#[derive(Debug)]
pub(super) struct Top<'a> {
    limit: usize,
    allowed: Option<&'a RoaringBitmap>,
    /// The worst on top: the least score, then the greatest row. Scores are never negative, so their bits are in
    /// their order.
    heap: BinaryHeap<Reverse<(u32, Reverse<u32>)>>,
    /// Rows beyond the limit with the score of the worst, if they are wanted.
    ties: Option<RoaringBitmap>,
    least: f32,
}

impl<'a> Top<'a> {
    pub(super) fn new(limit: usize, ties: bool, allowed: Option<&'a RoaringBitmap>) -> Self {
        let heap = BinaryHeap::with_capacity(limit.min(1 << 10));
        Self {
            limit,
            allowed,
            heap,
            ties: ties.then(RoaringBitmap::new),
            least: if limit > 0 { -1.0 } else { f32::INFINITY },
        }
    }

    /// What a score must reach to enter; never more, and maybe a little less.
    pub(super) fn least(&self) -> f32 {
        self.least
    }

    /// A row, if it is allowed.
    pub(super) fn offer(&mut self, score: f32, row: u32) {
        if score >= self.least && self.allowed.is_none_or(|allowed| allowed.contains(row)) {
            self.push(score, row);
        }
    }

    fn push(&mut self, score: f32, row: u32) {
        let entry = (score.max(0.0).to_bits(), Reverse(row));
        if self.heap.len() < self.limit {
            self.heap.push(Reverse(entry));
            self.know();
            return;
        }
        let Some(Reverse(worst)) = self.heap.peek().copied() else { return };
        if entry.0 < worst.0 {
            return;
        }
        let out = if entry > worst {
            self.heap.pop();
            self.heap.push(Reverse(entry));
            worst
        } else {
            entry
        };
        if let Some(ties) = &mut self.ties {
            match self.heap.peek() {
                Some(Reverse((bits, _))) if *bits == out.0 => drop(ties.insert(out.1.0)),
                _ => ties.clear(),
            }
        }
        self.know();
    }

    fn know(&mut self) {
        if let Some(Reverse((bits, _))) = self.heap.peek().filter(|_| self.heap.len() >= self.limit) {
            self.least = f32::from_bits(*bits) * ROUNDED;
        }
    }

    /// The best, best first, and the rows beyond them that tie with the last.
    pub(super) fn finish(self) -> Best {
        let mut best: Vec<(f32, u32)> =
            self.heap.into_iter().map(|Reverse((bits, Reverse(row)))| (f32::from_bits(bits), row)).collect();
        best.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        (best, self.ties.into_iter().flatten().collect())
    }

    /// Whether it is worth while to look at rows whether or not they are allowed.
    fn is_dense(&self, rows: u32) -> bool {
        self.allowed.is_none_or(|allowed| allowed.len() >= u64::from(rows) / SPARSE)
    }

    /// Offers every row of a scorer over a part of so many rows.
    pub(super) fn scan(&mut self, mut scorer: Scorer, rows: u32) {
        if self.is_dense(rows) && self.sweep(&mut scorer, rows) {
            return;
        }
        if let Scorer::Phrase(phrase) = &mut scorer {
            phrase.seek(0);
        }
        match self.allowed {
            None => self.walk(scorer),
            Some(allowed) => self.leap(scorer, allowed),
        }
    }

    /// If the scorer has a shape with a loop of its own, all there is to do.
    fn sweep(&mut self, scorer: &mut Scorer, rows: u32) -> bool {
        match scorer {
            Scorer::Group(group) => sweep::group(group, self),
            Scorer::Term(term) => {
                let Some(mut token) = token(term) else { return false };
                sweep::one(&mut token, self);
            }
            Scorer::Phrase(phrase) if phrase.is_flat() => {
                sweep::phrase(phrase, rows, self);
            }
            Scorer::Any(scorers, Join::Sum) => {
                let Some(mut tokens) = tokens(scorers) else { return false };
                sweep::any(&mut tokens, rows, self);
            }
            Scorer::All(scorers, Join::Sum) => {
                let Some(mut tokens) = tokens(scorers) else { return false };
                sweep::all(&mut tokens, rows, self);
            }
            _ => return false,
        }
        true
    }

    fn walk(&mut self, mut scorer: Scorer) {
        while scorer.reach(self.least) != END {
            let score = scorer.score();
            self.offer(score, scorer.row());
            scorer.advance();
        }
    }

    fn leap(&mut self, mut scorer: Scorer, allowed: &RoaringBitmap) {
        let mut rows = allowed.iter();
        let mut next = rows.next();
        while let Some(allowed) = next {
            let row = scorer.reach(self.least);
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
                    self.push(score, row);
                    scorer.advance();
                    next = rows.next();
                }
            }
        }
    }
}

/// A token of a segment that weighs something.
fn token(term: &mut Term) -> Option<Token<'_>> {
    let Term { postings: Postings::Blocks(blocks), weigher, bounds, .. } = term else { return None };
    (weigher.weight >= f32::EPSILON).then(|| Token { blocks, weigher, bounds })
}

fn tokens(scorers: &mut [Scorer]) -> Option<Vec<Token<'_>>> {
    let tokens = scorers.iter_mut().map(|scorer| match scorer {
        Scorer::Term(term) => token(term),
        _ => None,
    });
    tokens.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_with_the_worst_are_kept_beside() {
        let found = |limit, ties, offered: &[(f32, u32)]| {
            let mut top = Top::new(limit, ties, None);
            for (score, row) in offered {
                top.push(*score, *row);
            }
            top.finish()
        };
        let rows = |rows: &[u32]| rows.iter().copied().collect::<RoaringBitmap>();
        let ascending = [(1.0, 0), (1.0, 1), (1.0, 2), (0.5, 3), (2.0, 4)];
        assert_eq!(found(2, true, &ascending), (vec![(2.0, 4), (1.0, 0)], rows(&[1, 2])));
        assert_eq!(found(2, false, &ascending), (vec![(2.0, 4), (1.0, 0)], rows(&[])));
        assert_eq!(found(1, true, &[(1.0, 0), (1.0, 1), (3.0, 2)]), (vec![(3.0, 2)], rows(&[])));
        // In any order.
        let mixed = [(1.0, 2), (2.0, 4), (1.0, 0), (0.5, 3), (1.0, 1)];
        assert_eq!(found(2, true, &mixed), (vec![(2.0, 4), (1.0, 0)], rows(&[1, 2])));
        let mut top = Top::new(2, true, None);
        for (score, row) in &ascending {
            top.push(*score, *row);
        }
        assert!(top.least() <= 1.0 && top.least() > 0.99);
    }
}
