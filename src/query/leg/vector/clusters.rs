//! The clusters of a centroid set at a query: in which order they are probed, how many of them, and whether the search
//! has to widen.

use std::collections::HashSet;

use super::effort::Effort;
use crate::index::vector::{RegionCurve, is_enough};

/// Clusters that are sorted at first. Most queries probe fewer; sorting all of them would cost more than the probe
/// where a set has tens of thousands.
const SORTED_MIN: usize = 64;

/// Fewer neighbours are probed for as if so many were asked for.
// Curves are measured with stored rows. Where rows come in pairs, as versions of a text or parts that overlap, the nearest of
// a stored row is its sibling in the same cluster, and a query from elsewhere has none.
const LIMIT_MIN: usize = 10;
/// A segment has a say in how many clusters are probed if so many of the neighbours are expected in it.
const TELLING_MIN: f64 = 3.0;
/// Matches around the query that are assumed to be spread over the segments as all matches are.
const NEAR_PRIOR: f64 = 4.0;

/// The clusters of a set from the nearest to the farthest, sorted lazily.
pub(super) struct ClusterOrder<'a> {
    scores: &'a [f32],
    clusters: Vec<u32>,
    sorted: usize,
}

impl<'a> ClusterOrder<'a> {
    /// Orders the clusters whose scores these are, the least first.
    pub(super) fn new(scores: &'a [f32]) -> Self {
        Self { scores, clusters: (0..).take(scores.len()).collect(), sorted: 0 }
    }

    /// The cluster of a rank, counted from 0.
    pub(super) fn nth(&mut self, rank: usize) -> Option<u32> {
        self.sort_to(rank.saturating_add(1));
        self.clusters.get(rank).copied()
    }

    /// The nearest `count` clusters, or all if there are fewer.
    pub(super) fn nearest(&mut self, count: usize) -> &[u32] {
        self.sort_to(count);
        let (nearest, _) = self.clusters.split_at(count.min(self.clusters.len()));
        nearest
    }

    fn sort_to(&mut self, count: usize) {
        if count <= self.sorted || self.sorted == self.clusters.len() {
            return;
        }
        // At least doubling keeps the total work linear, however many steps a search takes.
        let count = count.max(2 * self.sorted).max(SORTED_MIN).min(self.clusters.len());
        let scores = self.scores;
        #[expect(clippy::indexing_slicing, reason = "clusters are numbered by their scores")]
        let score = |cluster: &u32| scores[*cluster as usize];
        let by_score = |a: &u32, b: &u32| score(a).total_cmp(&score(b)).then(a.cmp(b));
        let (_, rest) = self.clusters.split_at_mut(self.sorted);
        let wanted = count - self.sorted;
        let next = if wanted < rest.len() { rest.select_nth_unstable_by(wanted, by_score).0 } else { rest };
        next.sort_unstable_by(by_score);
        self.sorted = count;
    }
}

/// The recall curves of the segments of one centroid set, combined at a query.
pub(super) struct Curves<'a> {
    segments: Vec<SegmentCurve<'a>>,
}

/// The curve of one segment in the region of a query.
pub(super) struct SegmentCurve<'a> {
    pub(super) curve: RegionCurve<'a>,
    /// Codes in the segment.
    pub(super) codes: f64,
    /// Codes whose rows match the filter.
    pub(super) matches: f64,
    /// How many of these are in clusters around the query, as far as those were looked at.
    pub(super) near: f64,
}

impl<'a> Curves<'a> {
    pub(super) fn new(segments: impl IntoIterator<Item = SegmentCurve<'a>>) -> Self {
        Self { segments: segments.into_iter().collect() }
    }

    fn count_matches(&self) -> f64 {
        self.segments.iter().map(|segment| segment.matches).sum()
    }

    /// The share of all codes that match the filter.
    pub(super) fn matching_share(&self) -> f64 {
        self.count_matches() / self.segments.iter().map(|segment| segment.codes).sum::<f64>().max(1.0)
    }

    /// The segments whose curves tell of the `limit` nearest matches, each with the share of these that is expected in it.
    fn telling(&self, limit: usize) -> Vec<(f64, &SegmentCurve<'a>)> {
        let (matches, near) =
            (self.count_matches(), self.segments.iter().map(|segment| segment.near).sum::<f64>());
        // As if some matches more had been seen, spread as all matches are: of few that were seen, none may be of a
        // segment by chance.
        let share = |segment: &SegmentCurve<'_>| {
            (segment.near + NEAR_PRIOR * segment.matches / matches.max(1.0)) / (near + NEAR_PRIOR)
        };
        let shares: Vec<f64> = self.segments.iter().map(share).collect();
        let largest = shares.iter().copied().fold(0.0, f64::max);
        // Segments of one set have the same clusters, so the nearest of all lie in the same ones whichever segment they are
        // in. Where few of them are expected, the curve does not reach down to them: it begins with the nearest of that
        // segment, which is farther away than the nearest of all.
        let least = (TELLING_MIN / limit.max(LIMIT_MIN) as f64).min(largest / 2.0);
        shares.into_iter().zip(&self.segments).filter(|(share, _)| *share >= least).collect()
    }

    /// The share of the `limit` nearest matches in the nearest `probes` clusters, if matches are spread evenly among
    /// the other rows.
    pub(super) fn expected_recall(&self, probes: usize, limit: usize) -> f64 {
        expected_recall(&self.telling(limit), probes, limit)
    }

    /// How many of the nearest of `clusters` clusters an effort takes.
    pub(super) fn count_probes(&self, effort: Effort, limit: usize, clusters: usize) -> usize {
        let recall = match effort {
            Effort::Probes(probes) => return probes.min(clusters),
            Effort::Recall(recall) => recall,
            Effort::Exact => return clusters,
        };
        let telling = self.telling(limit);
        let queries = count_queries(&telling);
        let (mut low, mut high) = (1, clusters.max(1));
        while low < high {
            let middle = usize::midpoint(low, high);
            if is_enough(expected_recall(&telling, middle, limit), queries, recall) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }
}

/// The recall over segments with shares of the nearest, by `probes` clusters.
fn expected_recall(segments: &[(f64, &SegmentCurve<'_>)], probes: usize, limit: usize) -> f64 {
    let (mut recall, mut shares) = (0.0, 0.0);
    for (share, segment) in segments {
        // Where one row in n matches, the k-th match is about the (n·k)-th neighbour.
        let matching = (segment.matches / segment.codes.max(1.0)).clamp(1e-9, 1.0);
        // In the segment of a neighbour: that one, and its share of the others.
        let neighbours = 1.0 + (limit.max(LIMIT_MIN) - 1) as f64 * share;
        recall += share * segment.curve.recall(probes as f64, neighbours / matching);
        shares += share;
    }
    if shares > 0.0 { recall / shares } else { 1.0 }
}

/// The mean of the recalls of segments, weighted by their shares, is as certain as that of this many queries.
fn count_queries(segments: &[(f64, &SegmentCurve<'_>)]) -> f64 {
    let shares: f64 = segments.iter().map(|(share, _)| share).sum();
    // The variance of a mean of n queries is in proportion to 1/n, and that of a weighted sum has the squared weights.
    let variance = |(share, segment): &(f64, &SegmentCurve<'_>)| share * share / segment.curve.query_count();
    let variances: f64 = segments.iter().map(variance).sum();
    if variances > 0.0 { shares * shares / variances } else { 1.0 }
}

/// Clusters to probe.
pub(super) struct ChosenClusters {
    /// The nearest first.
    pub(super) clusters: Vec<u32>,
    /// Whether no other cluster holds a match.
    pub(super) are_all: bool,
}

impl ChosenClusters {
    /// The nearest clusters.
    pub(super) fn nearest(order: &mut ClusterOrder<'_>, count: usize) -> Self {
        let clusters = order.nearest(count).to_vec();
        Self { are_all: clusters.len() >= order.clusters.len(), clusters }
    }

    /// The nearest clusters with a match: at least `count` of them, and more until they hold `enough` matches.
    pub(super) fn with_matches(
        order: &mut ClusterOrder<'_>,
        count: usize,
        enough: f64,
        count_matches: impl Fn(u32) -> u64,
    ) -> Self {
        let (mut clusters, mut rank, mut total) = (Vec::new(), 0, 0.0);
        while let Some(cluster) = order.nth(rank).filter(|_| clusters.len() < count || total < enough) {
            let matches = count_matches(cluster);
            if matches > 0 {
                total += matches as f64;
                clusters.push(cluster);
            }
            rank += 1;
        }
        Self { clusters, are_all: rank >= order.clusters.len() }
    }
}

/// How many of the nearest rows came from the farther half of the probed clusters: about as many as can still be found
/// in the clusters beyond. It is evidence where matches follow the space and the curves do not hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct LateFinds {
    late: f64,
    total: f64,
}

impl LateFinds {
    /// Counts the `limit` nearest of what was found, given as estimates with their clusters, by the probed clusters,
    /// nearest first.
    pub(super) fn new(clusters: &[u32], mut found: Vec<(f64, u32)>, limit: usize) -> Self {
        if limit < found.len() {
            found.select_nth_unstable_by(limit, |a, b| a.0.total_cmp(&b.0));
            found.truncate(limit);
        }
        let farther: HashSet<u32> = clusters.iter().skip(clusters.len().div_ceil(2)).copied().collect();
        let late = found.iter().filter(|(_, cluster)| farther.contains(cluster)).count();
        Self { late: late as f64, total: found.len() as f64 }
    }

    /// Whether no more is missing than a recall allows. A count of n is uncertain by about √n, which counts against
    /// stopping. `if_even` is the share that the curves expect in the farther half if matches are spread evenly: finding
    /// that many there is no reason to go on.
    pub(super) fn allow(self, recall: f64, if_even: Option<f64>) -> bool {
        // invariant: without curves that hold, none of the late finds is expected.
        let expected = if_even.unwrap_or_default() * self.total;
        self.late + self.late.sqrt() <= (1.0 - recall) * self.total || self.late <= expected + expected.sqrt()
    }

    /// The recall to expect, given what lies in the farther half beyond the even share.
    pub(super) fn expected_recall(self, if_even: Option<f64>) -> f64 {
        // invariant: without curves that hold, none of the late finds is expected.
        let unexpected = (self.late - if_even.unwrap_or_default() * self.total).max(0.0);
        1.0 - unexpected / (unexpected + self.total).max(1.0)
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
        let mut order = ClusterOrder::new(&scores);
        assert_eq!(order.nearest(70), &all[..70]);
        assert_eq!(order.nth(300), Some(all[300]));
        assert_eq!(order.nearest(1_000), all);
        assert_eq!(order.nth(500), None);
    }

    #[test]
    fn clusters_without_a_match_are_passed_over() {
        let scores: Vec<f32> = (0..100_u8).map(f32::from).collect();
        let every_tenth = |cluster: u32| u64::from(cluster % 10 == 9) * 5;
        let chosen = |wanted, enough| {
            ChosenClusters::with_matches(&mut ClusterOrder::new(&scores), wanted, enough, every_tenth)
        };
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
            LateFinds::new(&clusters, found.collect(), 16)
        };
        assert!(found(0).allow(0.99, None) && found(0).expected_recall(None) > 0.999);
        assert!(!found(1).allow(0.9, None) && found(1).allow(0.8, None));
        assert!(!found(2).allow(0.8, None) && found(2).allow(0.7, None));
        // One of sixteen is expected there.
        let if_even = Some(1.0 / 16.0);
        assert!(found(1).expected_recall(if_even) > 0.999 && found(1).expected_recall(None) < 0.95);
        assert!(found(2).allow(0.99, if_even) && !found(3).allow(0.9, if_even));
        // Only the nearest tell.
        let near = vec![(1.0, 0), (2.0, 1), (3.0, 9), (f64::NAN, 9)];
        assert!(LateFinds::new(&clusters, near, 2).allow(0.99, None));
        assert!(LateFinds::new(&clusters, Vec::new(), 16).allow(0.99, None));
    }
}
