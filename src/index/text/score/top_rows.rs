//! Collects the best rows of a part, and the rows that tie with the last of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU32, Ordering};

use roaring::RoaringBitmap;

/// The threshold is lower than the worst score by this factor: scores are sums of floats, and a row that ties in `f64`
/// must not be dropped for a rounded `f32`.
const THRESHOLD_SLACK: f32 = 0.999_999;
/// A heap reserves room for at most this many rows up front; a limit may be much larger than the number of hits.
const RESERVED_ROWS_MAX: usize = 1 << 10;

/// The best rows of a part.
#[derive(Debug, PartialEq)]
pub(crate) struct TopRows {
    /// Scores and rows, best first, ties by row.
    pub(crate) rows: Vec<(f32, u32)>,
    /// Further rows that score as the last row does, if they were wanted.
    pub(crate) ties: RoaringBitmap,
}

/// The score of the worst row that a part has among its best, once it has as many as are wanted: the highest over the parts
/// of a query. Rows of other parts with less cannot be among the best of all.
// Without it each part would find hits of its own among scores that others have long passed.
#[derive(Debug, Default)]
pub(crate) struct ScoreFloor(AtomicU32);

impl ScoreFloor {
    /// A row of any part with a score below this cannot be a hit.
    fn get(&self) -> f32 {
        match self.0.load(Ordering::Relaxed) {
            // No part is full: a row with a score of 0 may be one.
            0 => f32::NEG_INFINITY,
            bits => f32::from_bits(bits),
        }
    }

    fn raise(&self, score: f32) {
        // The bits of numbers that are not negative are in the order of the numbers.
        if score > 0.0 {
            self.0.fetch_max(score.to_bits(), Ordering::Relaxed);
        }
    }
}

/// Keeps the best `limit` of the rows that are allowed, which are offered in any order.
#[derive(Debug)]
pub(super) struct TopRowCollector<'a> {
    limit: usize,
    allowed: Option<&'a RoaringBitmap>,
    /// The worst row on top.
    heap: BinaryHeap<Reverse<HeapRow>>,
    /// Rows beyond the limit that score as the worst row in the heap, if they are wanted.
    ties: Option<RoaringBitmap>,
    threshold: f32,
    floor: &'a ScoreFloor,
}

/// Better rows compare greater: by score, then the smaller row first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct HeapRow {
    /// Scores are never negative, so their bits are in the order of their values.
    score_bits: u32,
    row: Reverse<u32>,
}

impl<'a> TopRowCollector<'a> {
    pub(super) fn new(
        limit: usize,
        ties: bool,
        allowed: Option<&'a RoaringBitmap>,
        floor: &'a ScoreFloor,
    ) -> Self {
        Self {
            limit,
            allowed,
            floor,
            heap: BinaryHeap::with_capacity(limit.min(RESERVED_ROWS_MAX)),
            ties: ties.then(RoaringBitmap::new),
            // Below every score, so that rows with a score of 0 enter; without a limit no row does.
            threshold: if limit > 0 { -1.0 } else { f32::INFINITY },
        }
    }

    /// A row with a score below this cannot enter. May be a little lower than the worst score.
    pub(super) fn threshold(&self) -> f32 {
        self.threshold.max(self.floor.get())
    }

    /// The rows that may enter; `None` if all may.
    pub(super) fn allowed(&self) -> Option<&'a RoaringBitmap> {
        self.allowed
    }

    /// Adds a row if it is allowed and good enough.
    pub(super) fn offer(&mut self, score: f32, row: u32) {
        // The score first: looking a row up in a bitmap costs more, and few rows reach the threshold.
        if score >= self.threshold() && self.allowed.is_none_or(|allowed| allowed.contains(row)) {
            self.push(score, row);
        }
    }

    /// Adds a row that is allowed, if it is good enough.
    pub(super) fn push(&mut self, score: f32, row: u32) {
        let candidate = HeapRow { score_bits: score.max(0.0).to_bits(), row: Reverse(row) };
        if self.heap.len() < self.limit {
            self.heap.push(Reverse(candidate));
            self.update_threshold();
            return;
        }
        let Some(Reverse(worst)) = self.heap.peek().copied() else { return };
        if candidate.score_bits < worst.score_bits {
            return;
        }
        let loser = if candidate > worst {
            self.heap.pop();
            self.heap.push(Reverse(candidate));
            worst
        } else {
            candidate
        };
        if let Some(ties) = &mut self.ties {
            match self.heap.peek() {
                Some(Reverse(worst)) if worst.score_bits == loser.score_bits => {
                    ties.insert(loser.row.0);
                }
                // The worst row is better than it was: what tied with the old one is out of the race.
                _ => ties.clear(),
            }
        }
        self.update_threshold();
    }

    fn update_threshold(&mut self) {
        if self.heap.len() < self.limit {
            return;
        }
        if let Some(Reverse(worst)) = self.heap.peek() {
            self.threshold = f32::from_bits(worst.score_bits) * THRESHOLD_SLACK;
            self.floor.raise(self.threshold);
        }
    }

    pub(super) fn finish(self) -> TopRows {
        let rows = self.heap.into_iter().map(|Reverse(row)| (f32::from_bits(row.score_bits), row.row.0));
        let mut rows: Vec<(f32, u32)> = rows.collect();
        rows.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        // invariant: without a wish for ties there are none.
        TopRows { rows, ties: self.ties.unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_with_the_worst_are_kept_beside() {
        let found = |limit, ties, offered: &[(f32, u32)]| {
            let floor = ScoreFloor::default();
            let mut top = TopRowCollector::new(limit, ties, None, &floor);
            for (score, row) in offered {
                top.push(*score, *row);
            }
            let top = top.finish();
            (top.rows, top.ties)
        };
        let rows = |rows: &[u32]| rows.iter().copied().collect::<RoaringBitmap>();
        let ascending = [(1.0, 0), (1.0, 1), (1.0, 2), (0.5, 3), (2.0, 4)];
        assert_eq!(found(2, true, &ascending), (vec![(2.0, 4), (1.0, 0)], rows(&[1, 2])));
        assert_eq!(found(2, false, &ascending), (vec![(2.0, 4), (1.0, 0)], rows(&[])));
        assert_eq!(found(1, true, &[(1.0, 0), (1.0, 1), (3.0, 2)]), (vec![(3.0, 2)], rows(&[])));
        // In any order.
        let mixed = [(1.0, 2), (2.0, 4), (1.0, 0), (0.5, 3), (1.0, 1)];
        assert_eq!(found(2, true, &mixed), (vec![(2.0, 4), (1.0, 0)], rows(&[1, 2])));
        let floor = ScoreFloor::default();
        let mut top = TopRowCollector::new(2, true, None, &floor);
        for (score, row) in &ascending {
            top.push(*score, *row);
        }
        assert!(top.threshold() <= 1.0 && top.threshold() > 0.99);
    }

    #[test]
    fn what_one_part_has_rules_out_rows_of_another_but_none_that_tie() {
        let floor = ScoreFloor::default();
        let mut one = TopRowCollector::new(2, true, None, &floor);
        let mut other = TopRowCollector::new(2, true, None, &floor);
        other.offer(0.0, 9);
        one.offer(3.0, 0);
        assert!(other.threshold() < 0.0, "the first part is not full yet");
        one.offer(2.0, 1);
        for (score, row) in [(1.0, 10), (2.0, 11), (2.5, 12)] {
            other.offer(score, row);
        }
        assert_eq!(other.finish().rows, [(2.5, 12), (2.0, 11)]);
        assert!(one.threshold() > 1.99 && one.threshold() <= 2.0);
    }
}
