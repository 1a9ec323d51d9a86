//! Approximate search: which clusters are probed for a recall, in which segments.
//!
//! Segments that share a centroid set are probed by one order of its clusters. How many of the nearest clusters are
//! probed is read from the recall curves that were measured when the segments were built, in the region of the query.
//! With a filter that matches a share s of the rows, the k-th match is about the k/s-th neighbour, so the curve of that
//! many neighbours is read; clusters without a match are skipped and not counted. That holds if matches are spread
//! evenly among the other rows. If they are not, no curve applies, and the search looks at what it found: while the
//! farther half of the probed clusters still holds more than its share of the nearest rows, the search widens
//! (`docs/decisions/filtered_probing.md`). Where many rows match and are spread evenly, as where some are dead, the curves
//! decide alone.

use std::cmp::Reverse;
use std::sync::Arc;

use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};

use super::VectorSearch;
use super::clusters::{ChosenClusters, ClusterOrder, Curves, LateFinds, SegmentCurve};
use super::distance::Distance;
use super::effort::Effort;
use super::segment_probe::{ProbeTarget, SegmentCandidates, SegmentProbe};
use crate::codec::{to_u32, zip_equal};
use crate::error::{Error, Result};
use crate::index::vector::{CentroidSet, QuantizedQuery, ReadWindow, RowFilter, SearchState, VectorIndex};
use crate::view::{RowAddr, View};

/// How many times as many clusters a search probes when it widens. Each widening is a round trip, so steps are large:
/// at this factor three of them reach 64 times the first guess.
const WIDENING: usize = 4;
/// Of how many of the nearest rows the clusters are looked at, at least, to decide whether to widen. Of ten, one late
/// find more or less would decide; two dozen tell a few per cent apart.
const EVIDENCE_MIN: usize = 24;
/// Clusters around a query that are compared with an even spread, at least.
const SPREAD_CLUSTERS_MIN: usize = 4;
/// Standard deviations by which matches may differ from an even spread by chance.
const SPREAD_DEVIATIONS: f64 = 3.0;
/// From this share of matches on, spread evenly, the curves are taken at their word: no evidence is asked for.
const TRUSTED_SHARE_MIN: f64 = 0.25;
/// The most clusters that [`min_probes`] asks for: with a hundred probed, the farther half shows what lies beyond.
const MIN_PROBES_MAX: f64 = 100.0;
/// Windows that are read ahead of the scan, at least. The first of every segment are read together.
const WINDOWS_AHEAD: usize = 4;
/// To tell which segments the neighbours of a query are in, the clusters around it are looked at until they hold this many
/// times as many matches as are asked for.
const NEAR_FACTOR: u64 = 8;
/// Clusters that are looked at for that, at most.
const NEAR_CLUSTERS_MAX: usize = 64;
/// An index of at most this many bytes is read whole by a filtered search: that takes less time than the round trip of
/// a widening.
const READ_WHOLE_BYTES_MAX: u64 = 256 << 10;

/// What the probes of some segments found.
#[derive(Debug, Default)]
pub(super) struct ProbedRows {
    pub(super) rows: Vec<(Distance, RowAddr)>,
    pub(super) clusters: u64,
    pub(super) rows_scanned: u64,
    pub(super) rows_reranked: u64,
    /// Matches, and the sum over them of the recall that is expected in their segment.
    matches: f64,
    expected: f64,
}

impl ProbedRows {
    /// The expected recall over all segments, weighted by their matches. Rows that were compared one by one are not
    /// counted here: they are found for certain.
    pub(super) fn expected_recall(&self) -> f64 {
        if self.matches > 0.0 { self.expected / self.matches } else { 1.0 }
    }

    fn merge(mut self, other: Self) -> Self {
        self.rows.extend(other.rows);
        self.clusters += other.clusters;
        self.rows_scanned += other.rows_scanned;
        self.rows_reranked += other.rows_reranked;
        self.matches += other.matches;
        self.expected += other.expected;
        self
    }
}

/// Probes segments that have an index of the column.
pub(super) async fn probe_segments(
    view: &View,
    search: &VectorSearch,
    targets: Vec<ProbeTarget>,
) -> Result<ProbedRows> {
    let mut groups: Vec<(Arc<CentroidSet>, Vec<ProbeTarget>)> = Vec::new();
    for target in targets {
        let set = Arc::clone(target.index(search.column)?.set());
        match groups.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &set)) {
            Some((_, group)) => group.push(target),
            None => groups.push((set, vec![target])),
        }
    }
    let groups = groups.into_iter().map(|(set, targets)| async move {
        let group = ProbeGroup { view, search, set: &set };
        group.probe(&targets).await
    });
    Ok(try_join_all(groups).await?.into_iter().fold(ProbedRows::default(), ProbedRows::merge))
}

/// A search of the segments of one centroid set.
#[derive(Clone, Copy)]
struct ProbeGroup<'a> {
    view: &'a View,
    search: &'a VectorSearch,
    set: &'a CentroidSet,
}

impl ProbeGroup<'_> {
    async fn probe(self, targets: &[ProbeTarget]) -> Result<ProbedRows> {
        let Self { search, set, .. } = self;
        let codes = Arc::new(QuantizedQuery::new(set, search.metric, &search.components));
        let mut probes = try_join_all(targets.iter().map(|target| SegmentProbe::new(search, target))).await?;
        // What is found in a large segment rules out most rows of small ones.
        probes.sort_by_key(|probe| Reverse(probe.count_matches()));
        let mut order = ClusterOrder::new(codes.cluster_scores());
        let home =
            order.nth(0).ok_or_else(|| Error::internal("a centroid set without clusters is probed"))?;
        let near = count_near(&probes, &mut order, search.promised());
        let curves = Curves::new(probes.iter().zip(near).map(|(probe, near)| probe.curve_at(home, near)));
        let wanted = curves.count_probes(search.effort, search.promised(), set.len());
        let follows_space = follows_space(wanted, &curves, &probes, &mut order);
        let wanted = if is_read_whole(search.effort, &probes) {
            set.len()
        } else if follows_space {
            wanted.max(min_probes(search.effort))
        } else {
            wanted
        };
        // Few rows that do not match, as dead ones are, leave the curves as they are unless they lie together.
        let needs_evidence = follows_space || curves.matching_share() < TRUSTED_SHARE_MIN;
        let limit = if needs_evidence { evidence_rows(search) } else { search.limit };
        let (mut widening, mut searched, mut state) = (1_usize, 0, SearchState::new(limit));
        let recall = loop {
            let wanted = wanted.saturating_mul(widening).min(set.len());
            let chosen = self.choose(wanted, &probes, &mut order);
            // Widening keeps the order, so the clusters that were probed are the first of those that are chosen.
            let (_, next) = chosen.clusters.split_at(searched);
            state = self.scan_clusters(&mut probes, &codes, next, state).await?;
            if chosen.are_all {
                break 1.0;
            }
            let late = needs_evidence.then(|| late_finds(search, &chosen, &state));
            let if_even = (!follows_space).then(|| farther_half(search, chosen.clusters.len(), &curves));
            if is_enough(search, &probes, &state, late, if_even) {
                let expected = curves.expected_recall(wanted, search.promised());
                break late.map_or(expected, |late| expected.min(late.expected_recall(if_even)));
            }
            searched = chosen.clusters.len();
            widening = widening.saturating_mul(WIDENING);
        };
        self.rerank(probes, state, recall).await
    }

    /// Scans further clusters of all segments.
    async fn scan_clusters(
        self,
        probes: &mut [SegmentProbe<'_>],
        codes: &Arc<QuantizedQuery>,
        clusters: &[u32],
        mut state: SearchState,
    ) -> Result<SearchState> {
        let Self { view, search, .. } = self;
        let plans = probes.iter_mut().map(|probe| probe.plan_scan(view, search, clusters));
        let plans = try_join_all(plans).await?;
        let mut scans = Vec::new();
        for (segment, (probe, (windows, filtered))) in
            (0..).zip(zip_equal(probes.iter(), plans, "probes and their plans")?)
        {
            scans.extend(windows.into_iter().enumerate().map(|(round, window)| WindowScan {
                round,
                segment,
                index: probe.index.clone(),
                window,
                filtered: filtered.clone(),
            }));
        }
        // The nearest clusters of every segment come before the farther ones of any.
        scans.sort_by_key(|scan| scan.round);
        // Records are in memory as long as their part of the room is taken.
        let read = |scan: WindowScan| async move {
            let room = search.room.take(scan.window.bytes).await?;
            Ok::<_, Error>((scan.index.read_records(&scan.window).await?, scan, room))
        };
        let mut scans = stream::iter(scans).map(read).buffered(WINDOWS_AHEAD.max(probes.len()));
        while let Some((records, scan, _room)) = scans.try_next().await? {
            let WindowScan { segment, index, window, filtered, .. } = scan;
            // The scan may run on the pool, so it takes the state and gives it back.
            state = index.scan_records(&view.env, codes, segment, (window, records), filtered, state).await?;
        }
        Ok(state)
    }

    /// Compares the vectors of the candidates. `recall` is expected of the clusters that were scanned.
    async fn rerank(
        self,
        probes: Vec<SegmentProbe<'_>>,
        state: SearchState,
        recall: f64,
    ) -> Result<ProbedRows> {
        let Self { view, search, .. } = self;
        let (mut sum, found) = (ProbedRows::default(), state.finish(search.limit));
        for (number, probe) in (0..).zip(&probes) {
            let matches = probe.count_matches() as f64;
            sum.matches += matches;
            if probe.compared.is_some() {
                sum.expected += matches;
                sum.rows_scanned += probe.target.matching.len();
            } else {
                sum.expected += matches * recall;
                sum.clusters += probe.clusters;
                // invariant: a segment without a matching cluster is not scanned.
                sum.rows_scanned += found.scanned.get(&number).copied().unwrap_or_default();
            }
        }
        let candidates = SegmentCandidates::by_segment(found, probes.len())?;
        let reranked = zip_equal(probes, candidates, "probes and their candidates")?;
        let reranked = reranked.map(|(probe, candidates)| probe.rerank(view, search, candidates));
        for (rows, reranked) in try_join_all(reranked).await? {
            sum.rows.extend(rows);
            sum.rows_reranked += reranked;
        }
        Ok(sum)
    }

    /// Chooses `wanted` clusters. With a filter, clusters without a match are skipped. What the curves promise for all
    /// rows holds for matches that are spread evenly among them, so clusters are taken until they hold at least as many
    /// matches as that many clusters do on average.
    fn choose(
        self,
        wanted: usize,
        probes: &[SegmentProbe<'_>],
        order: &mut ClusterOrder<'_>,
    ) -> ChosenClusters {
        if !is_filtered(probes) {
            return ChosenClusters::nearest(order, wanted);
        }
        let enough = match self.search.effort {
            Effort::Recall(_) => {
                let matches: u64 = probes.iter().map(SegmentProbe::count_matches).sum();
                wanted as f64 * matches as f64 / self.set.len().max(1) as f64
            }
            // A number of probes is the caller's word, whatever they hold.
            Effort::Probes(_) | Effort::Exact => 0.0,
        };
        ChosenClusters::with_matches(order, wanted, enough, |cluster| count_matches_in(probes, cluster))
    }
}

/// A window of the records of one segment, to be read and scanned.
struct WindowScan {
    /// The number of the window among those of its segment.
    round: usize,
    segment: u32,
    index: VectorIndex,
    window: ReadWindow,
    filtered: Option<RowFilter>,
}

/// Whether some rows of the segments do not match.
fn is_filtered(probes: &[SegmentProbe<'_>]) -> bool {
    probes.iter().any(SegmentProbe::is_filtered)
}

/// How many of the matches around the query each segment has: where rows of some kind were written together, their
/// neighbours are in few segments, whatever the size of the others.
fn count_near(probes: &[SegmentProbe<'_>], order: &mut ClusterOrder<'_>, limit: usize) -> Vec<u64> {
    let mut near = vec![0; probes.len()];
    // A segment alone has all neighbours.
    if probes.len() < 2 {
        return near;
    }
    let (enough, mut total) = (NEAR_FACTOR.saturating_mul(limit as u64), 0);
    for rank in 0..NEAR_CLUSTERS_MAX {
        let Some(cluster) = order.nth(rank).filter(|_| total < enough) else { break };
        for (near, probe) in near.iter_mut().zip(probes) {
            let matches = probe.count_matches_in(cluster);
            *near += matches;
            total += matches;
        }
    }
    near
}

/// Matches in a cluster, over all segments.
fn count_matches_in(probes: &[SegmentProbe<'_>], cluster: u32) -> u64 {
    probes.iter().map(|probe| probe.count_matches_in(cluster)).sum()
}

/// The nearest rows found in the farther half of the clusters.
fn late_finds(search: &VectorSearch, chosen: &ChosenClusters, state: &SearchState) -> LateFinds {
    let evidence = evidence_rows(search);
    LateFinds::new(&chosen.clusters, state.best_estimates(evidence), evidence)
}

/// Of how many of the nearest rows the clusters are looked at.
fn evidence_rows(search: &VectorSearch) -> usize {
    search.limit.max(EVIDENCE_MIN)
}

/// Whether the filter follows the space: the clusters around the query hold more or fewer of the matches than an even
/// spread explains, by a χ² test.
fn follows_space(
    wanted: usize,
    curves: &Curves<'_>,
    probes: &[SegmentProbe<'_>],
    order: &mut ClusterOrder<'_>,
) -> bool {
    if !is_filtered(probes) {
        return false;
    }
    let share = curves.matching_share().min(1.0);
    // The sum of n squared deviations, each in units of its variance, has mean n and standard deviation √2n.
    let (mut sum, mut clusters) = (0.0_f64, 0.0_f64);
    for cluster in order.nearest(wanted.max(SPREAD_CLUSTERS_MIN)) {
        let codes: u64 = probes.iter().map(|probe| probe.index.matches_of(*cluster, None)).sum();
        let expected = codes as f64 * share;
        let deviation = count_matches_in(probes, *cluster) as f64 - expected;
        // One more in the variance, so that a single match in an otherwise empty cluster is no evidence.
        sum += deviation.powi(2) / (expected * (1.0 - share) + 1.0);
        clusters += 1.0;
    }
    sum > clusters + SPREAD_DEVIATIONS * (2.0 * clusters).sqrt()
}

/// Whether a filtered search, which may have to widen, reads all clusters at once because they are small.
fn is_read_whole(effort: Effort, probes: &[SegmentProbe<'_>]) -> bool {
    let bytes: u64 = probes.iter().map(|probe| probe.index.bytes()).sum();
    is_filtered(probes) && matches!(effort, Effort::Recall(_)) && bytes <= READ_WHOLE_BYTES_MAX
}

/// The share of the nearest rows that the curves expect in the farther half of the probed clusters.
fn farther_half(search: &VectorSearch, clusters: usize, curves: &Curves<'_>) -> f64 {
    let within = |clusters| curves.expected_recall(clusters, evidence_rows(search));
    within(clusters) - within(clusters.div_ceil(2))
}

/// The clusters to probe at least where matches follow the space. The nearest match may lie in any of the clusters around
/// the query; that the one of n clusters which holds all finds so far also holds the best is wrong about once in n
/// times, so a recall of r needs 1 / (1 − r) of them.
fn min_probes(effort: Effort) -> usize {
    let Effort::Recall(recall) = effort else { return 1 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 100")]
    let clusters = (1.0 - recall).recip().ceil().clamp(1.0, MIN_PROBES_MAX) as usize;
    clusters
}

/// Whether the probed clusters are enough.
fn is_enough(
    search: &VectorSearch,
    probes: &[SegmentProbe<'_>],
    state: &SearchState,
    late: Option<LateFinds>,
    if_even: Option<f64>,
) -> bool {
    let Effort::Recall(recall) = search.effort else { return true };
    let is_scanned = |number: u32| probes.get(number as usize).is_some_and(|probe| probe.compared.is_none());
    let apart: u64 = probes.iter().map(SegmentProbe::count_found_apart).sum();
    state.count_rows(is_scanned) + apart >= search.limit as u64
        && late.is_none_or(|late| late.allow(recall, if_even))
}

/// An estimate of a probe, without reading anything.
pub(super) struct ProbeEstimate {
    pub(super) probes: usize,
    pub(super) clusters: usize,
    /// Bytes of codes in the clusters that are probed.
    pub(super) bytes: u64,
}

/// How many clusters of a segment are probed for a query in a region of median difficulty.
pub(super) fn estimate_probes(search: &VectorSearch, target: &ProbeTarget) -> Result<ProbeEstimate> {
    let index = target.index(search.column)?;
    let clusters = index.set().len();
    let segment = SegmentCurve {
        curve: index.curve().for_cluster(to_u32(clusters / 2, "clusters")?),
        codes: index.codes() as f64,
        matches: target.matching.len() as f64,
        near: 0.0,
    };
    let probes = Curves::new([segment]).count_probes(search.effort, search.promised(), clusters);
    Ok(ProbeEstimate { probes, clusters, bytes: index.bytes() / clusters.max(1) as u64 * probes as u64 })
}
