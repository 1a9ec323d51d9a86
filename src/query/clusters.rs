//! The clusters of a centroid set at a query: in which order they are probed, how many of them, and whether that did.

use std::collections::HashSet;

use super::probe::Effort;
use crate::index::vector::{RegionCurve, is_enough};

/// Clusters that are brought into order at first.
const SORTED_MIN: usize = 64;

/// The clusters of a set in the order of their scores, sorted as far as they are asked for.
pub(super) struct Order<'a> {
    scores: &'a [f32],
    clusters: Vec<u32>,
    sorted: usize,
}

impl<'a> Order<'a> {
    pub(super) fn new(scores: &'a [f32]) -> Self {
        Self { scores, clusters: (0..).take(scores.len()).collect(), sorted: 0 }
    }

    /// The cluster of a rank.
    pub(super) fn get(&mut self, rank: usize) -> Option<u32> {
        self.sort(rank.saturating_add(1));
        self.clusters.get(rank).copied()
    }

    /// The first so many clusters.
    pub(super) fn first(&mut self, count: usize) -> &[u32] {
        self.sort(count);
        self.clusters.get(..count).unwrap_or(&self.clusters)
    }

    fn sort(&mut self, count: usize) {
        if count <= self.sorted || self.sorted == self.clusters.len() {
            return;
        }
        let count = count.max(2 * self.sorted).clamp(SORTED_MIN, self.clusters.len().max(SORTED_MIN));
        let scores = self.scores;
        let score = |cluster: &u32| scores.get(*cluster as usize).copied().unwrap_or(f32::NAN);
        let by_score = |a: &u32, b: &u32| score(a).total_cmp(&score(b)).then(a.cmp(b));
        let Some(rest) = self.clusters.get_mut(self.sorted..) else { return };
        let more = count - self.sorted;
        let some = if more < rest.len() { rest.select_nth_unstable_by(more, by_score).0 } else { rest };
        some.sort_unstable_by(by_score);
        self.sorted = count.min(self.clusters.len());
    }
}

/// The curves of some segments as one, at a query.
pub(super) struct Curves<'a> {
    curves: Vec<Share<'a>>,
}

/// A segment among those that are probed together.
pub(super) struct Share<'a> {
    pub(super) curve: RegionCurve<'a>,
    /// Its codes, and those that match.
    pub(super) codes: f64,
    pub(super) matches: f64,
}

impl<'a> Curves<'a> {
    pub(super) fn new(shares: impl IntoIterator<Item = Share<'a>>) -> Self {
        Self { curves: shares.into_iter().collect() }
    }

    fn matches(&self) -> f64 {
        self.curves.iter().map(|share| share.matches).sum()
    }

    /// The share of all codes that match.
    pub(super) fn matching(&self) -> f64 {
        self.matches() / self.curves.iter().map(|share| share.codes).sum::<f64>().max(1.0)
    }

    /// The share that the nearest `probes` clusters hold of the `limit` nearest matches, if these lie among the others
    /// evenly.
    pub(super) fn recall(&self, probes: usize, limit: usize) -> f64 {
        let matches = self.matches().max(1.0);
        let recall = |share: &Share<'_>| {
            let matching = (share.matches / share.codes.max(1.0)).clamp(1e-9, 1.0);
            share.matches / matches * share.curve.recall(probes as f64, limit as f64 / matching)
        };
        self.curves.iter().map(recall).sum()
    }

    /// How many of the nearest of `clusters` clusters are worth so much effort.
    pub(super) fn wanted(&self, effort: Effort, limit: usize, clusters: usize) -> usize {
        let recall = match effort {
            Effort::Probes(probes) => return probes.min(clusters),
            Effort::Recall(recall) => recall,
            Effort::Exact => return clusters,
        };
        let queries = self.curves.iter().map(|share| share.curve.queries()).fold(f64::INFINITY, f64::min);
        let (mut low, mut high) = (1, clusters.max(1));
        while low < high {
            let middle = usize::midpoint(low, high);
            if is_enough(self.recall(middle, limit), queries, recall) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }
}

/// Clusters to probe.
pub(super) struct Chosen {
    /// The nearest first.
    pub(super) clusters: Vec<u32>,
    /// Whether there are no others with a match.
    pub(super) are_all: bool,
}

impl Chosen {
    /// The nearest clusters.
    pub(super) fn nearest(order: &mut Order<'_>, wanted: usize) -> Self {
        let clusters = order.first(wanted).to_vec();
        Self { are_all: clusters.len() >= order.clusters.len(), clusters }
    }

    /// The nearest clusters with a match, `wanted` of them or more: as many as hold `enough` matches.
    pub(super) fn matching(
        order: &mut Order<'_>,
        wanted: usize,
        enough: f64,
        matches_of: impl Fn(u32) -> u64,
    ) -> Self {
        let (mut clusters, mut rank, mut seen) = (Vec::new(), 0, 0.0);
        while let Some(cluster) = order.get(rank).filter(|_| clusters.len() < wanted || seen < enough) {
            let here = matches_of(cluster);
            if here > 0 {
                seen += here as f64;
                clusters.push(cluster);
            }
            rank += 1;
        }
        Self { clusters, are_all: rank >= order.clusters.len() }
    }
}

/// What the farther half of the clusters that were probed held of the nearest: about as much as is still to be found in
/// clusters beyond.
#[derive(Clone, Copy, Debug)]
pub(super) struct Late {
    late: f64,
    of: f64,
}

impl Late {
    /// Of these clusters, the nearest first, and the nearest that were found, with their estimates and clusters.
    pub(super) fn new(clusters: &[u32], mut found: Vec<(f64, u32)>, limit: usize) -> Self {
        if limit < found.len() {
            found.select_nth_unstable_by(limit, |a, b| a.0.total_cmp(&b.0));
            found.truncate(limit);
        }
        let farther: HashSet<u32> = clusters.iter().skip(clusters.len().div_ceil(2)).copied().collect();
        let late = found.iter().filter(|(_, cluster)| farther.contains(cluster)).count();
        Self { late: late as f64, of: found.len() as f64 }
    }

    /// Whether no more is missing than a recall allows, as far as so few tell: a count is known to about its root. Where
    /// it is known which share of them lies there if matches lie evenly, that share is no reason to go on.
    pub(super) fn allows(self, recall: f64, if_even: Option<f64>) -> bool {
        let if_even = if_even.unwrap_or_default() * self.of;
        self.late + self.late.sqrt() <= (1.0 - recall) * self.of || self.late <= if_even + if_even.sqrt()
    }

    /// The recall that this lets expect, if what lies there of matches that lie evenly is no news.
    pub(super) fn recall(self, if_even: Option<f64>) -> f64 {
        let news = (self.late - if_even.unwrap_or_default() * self.of).max(0.0);
        1.0 - news / (news + self.of).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_come_by_score_however_many_are_asked_for_at_a_time() {
        let scores: Vec<f32> = (0..500_u16).map(|cluster| f32::from(cluster * 37 % 250)).collect();
        let mut all: Vec<u32> = (0..500).collect();
        all.sort_by(|a, b| scores[*a as usize].total_cmp(&scores[*b as usize]).then(a.cmp(b)));
        let mut order = Order::new(&scores);
        assert_eq!(order.first(70), &all[..70]);
        assert_eq!(order.get(300), Some(all[300]));
        assert_eq!(order.first(1_000), all);
        assert_eq!(order.get(500), None);
    }

    #[test]
    fn clusters_without_a_match_are_passed_over() {
        let scores: Vec<f32> = (0..100_u8).map(f32::from).collect();
        let every_tenth = |cluster: u32| u64::from(cluster % 10 == 9) * 5;
        let chosen = |wanted, enough| Chosen::matching(&mut Order::new(&scores), wanted, enough, every_tenth);
        assert_eq!(chosen(2, 0.0).clusters, [9, 19]);
        assert_eq!(chosen(2, 20.0).clusters, [9, 19, 29, 39]);
        assert!(!chosen(9, 0.0).are_all);
        let all = chosen(11, 0.0);
        assert!(all.are_all && all.clusters.len() == 10);
    }

    #[test]
    fn who_still_finds_goes_on() {
        let clusters: Vec<u32> = (0..10).collect();
        let found = |late: usize| {
            let found =
                (0..16).map(|at| (f64::from(u8::try_from(at).unwrap()), if at < late { 7 } else { 2 }));
            Late::new(&clusters, found.collect(), 16)
        };
        assert!(found(0).allows(0.99, None) && found(0).recall(None) > 0.999);
        assert!(!found(1).allows(0.9, None) && found(1).allows(0.8, None));
        assert!(!found(2).allows(0.8, None) && found(2).allows(0.7, None));
        // One of sixteen is expected there.
        let if_even = Some(1.0 / 16.0);
        assert!(found(1).recall(if_even) > 0.999 && found(1).recall(None) < 0.95);
        assert!(found(2).allows(0.99, if_even) && !found(3).allows(0.9, if_even));
        // Only the nearest tell.
        let near = vec![(1.0, 0), (2.0, 1), (3.0, 9), (f64::NAN, 9)];
        assert!(Late::new(&clusters, near, 2).allows(0.99, None));
        assert!(Late::new(&clusters, Vec::new(), 16).allows(0.99, None));
    }
}
