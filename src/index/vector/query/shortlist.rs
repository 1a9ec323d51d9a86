//! The rows that may be among the k nearest, by bounds of their distances.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A row that may be among the nearest, with what is known of its distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RowCandidate {
    pub(crate) lower: f64,
    pub(crate) estimate: f64,
    pub(crate) row: u32,
    pub(crate) source: RecordSource,
}

/// Where a record is from, of those that one search scans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordSource {
    /// The number of its segment among those of the search.
    pub(crate) segment: u32,
    pub(crate) cluster: u32,
}

/// The rows that may be among the k nearest.
// All candidates are collected before any exact vector is read. Reading them as they are found, with a threshold that is
// still loose, takes two to three times as many reads; and here a read may be a request.
#[derive(Debug)]
pub(crate) struct Shortlist {
    limit: usize,
    /// The k least upper bounds, the greatest on top.
    uppers: BinaryHeap<TotalF64>,
    candidates: Vec<RowCandidate>,
}

#[derive(Clone, Copy, Debug)]
struct TotalF64(f64);

impl Shortlist {
    /// For the `limit` nearest; at least one.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), uppers: BinaryHeap::new(), candidates: Vec::new() }
    }

    /// A row is ruled out if its lower bound is greater than this.
    // The k-th least upper bound, not the k-th estimate: k rows are certainly no farther.
    pub(super) fn threshold(&self) -> f64 {
        match self.uppers.peek() {
            Some(TotalF64(greatest)) if self.uppers.len() == self.limit => *greatest,
            _ => f64::INFINITY,
        }
    }

    pub(super) fn push(&mut self, candidate: RowCandidate) {
        let upper = candidate.upper_bound();
        if candidate.lower > self.threshold() {
            return;
        }
        self.candidates.push(candidate);
        // NaN bounds nothing. In the heap it would be the greatest, as a threshold that every comparison fails.
        if upper.is_nan() {
            return;
        }
        if self.uppers.len() < self.limit {
            self.uppers.push(TotalF64(upper));
        } else if let Some(mut greatest) = self.uppers.peek_mut()
            && upper < greatest.0
        {
            *greatest = TotalF64(upper);
        }
    }

    /// How many rows that count were candidates at some time.
    pub(crate) fn count(&self, counts: impl Fn(&RowCandidate) -> bool) -> usize {
        self.candidates.iter().filter(|candidate| counts(candidate)).count()
    }

    /// The `count` best estimates, in no order, and the clusters of these rows.
    pub(crate) fn best_estimates(&self, count: usize) -> Vec<(f64, u32)> {
        let mut estimates: Vec<(f64, u32)> =
            self.candidates.iter().map(|candidate| (candidate.estimate, candidate.source.cluster)).collect();
        if count < estimates.len() {
            estimates.select_nth_unstable_by(count, |a, b| a.0.total_cmp(&b.0));
            estimates.truncate(count);
        }
        estimates
    }

    /// The rows that are still in question for the `limit` nearest, the most likely first.
    pub(crate) fn finish(mut self, limit: usize) -> Vec<RowCandidate> {
        // `limit` may be less than the list was made for, and early candidates were pushed under a loose threshold: both
        // leave rows that are certainly too far.
        let mut uppers: Vec<f64> =
            self.candidates.iter().map(RowCandidate::upper_bound).filter(|upper| !upper.is_nan()).collect();
        if (1..=uppers.len()).contains(&limit) {
            let (_, threshold, _) = uppers.select_nth_unstable_by(limit - 1, f64::total_cmp);
            // NaN is kept: the exact distance decides.
            self.candidates.retain(|candidate| candidate.lower.is_nan() || candidate.lower <= *threshold);
        }
        let place = |candidate: &RowCandidate| (candidate.source.segment, candidate.row);
        self.candidates
            .sort_unstable_by(|a, b| a.estimate.total_cmp(&b.estimate).then(place(a).cmp(&place(b))));
        self.candidates
    }
}

impl RowCandidate {
    /// The distance is no greater than this, as far as is known; NaN if nothing is.
    fn upper_bound(&self) -> f64 {
        2.0 * self.estimate - self.lower
    }
}

impl Ord for TotalF64 {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for TotalF64 {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for TotalF64 {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for TotalF64 {}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(limit: usize, distances: &[(f64, f64)]) -> Shortlist {
        let mut list = Shortlist::new(limit);
        for (row, (estimate, error)) in (0..).zip(distances) {
            let source = RecordSource { segment: 0, cluster: 0 };
            list.push(RowCandidate { lower: estimate - error, estimate: *estimate, row, source });
        }
        list
    }

    fn rows(found: &[RowCandidate]) -> Vec<u32> {
        found.iter().map(|candidate| candidate.row).collect()
    }

    #[test]
    fn a_bound_that_is_no_number_displaces_nothing() {
        let list = list(2, &[(f64::NAN, 1.0), (3.0, 0.1), (1.0, f64::NAN), (2.0, 0.1), (9.0, 0.1)]);
        assert_eq!(rows(&list.finish(2)), [2, 3, 1, 0]);
    }

    #[test]
    fn fewer_may_be_asked_for_than_were_looked_for() {
        let near = [(5.0, 0.1), (1.0, 0.2), (4.0, 0.1), (1.3, 0.2), (2.0, 0.1), (3.0, 0.1)];
        assert_eq!(rows(&list(4, &near).finish(4)), [1, 3, 4, 5]);
        assert_eq!(rows(&list(4, &near).finish(1)), [1, 3]);
        let mut best = list(4, &near).best_estimates(2);
        best.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert_eq!(best, [(1.0, 0), (1.3, 0)]);
    }
}
