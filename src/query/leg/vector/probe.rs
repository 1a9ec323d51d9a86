//! Approximate search: which clusters are probed for a recall, in which segments.
//!
//! Segments that share a centroid set are probed by one order of its clusters. How many of the nearest clusters are
//! probed is read from the recall curves that were measured when the segments were built, in the region of the query.
//! With a filter that matches a share s of the rows, the k-th match is about the k/s-th neighbour, so the curve of that
//! many neighbours is read; clusters without a match are skipped and not counted. That holds if matches are spread
//! evenly among the other rows. If they are not, no curve applies, and the search looks at what it found: while the
//! farther half of the probed clusters still holds more than its share of the nearest rows, the search widens
//! (`docs/decisions/filtered_probing.md`).

use std::mem;
use std::sync::Arc;

use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringBitmap;

use super::VectorSearch;
use super::clusters::{ChosenClusters, ClusterOrder, Curves, LateFinds, SegmentCurve};
use super::distance::Distance;
use super::effort::Effort;
use super::exact::SPARSE;
use crate::codec::to_u32;
use crate::error::{Error, Result};
use crate::index::vector::{
    CentroidSet, MatchCounts, QuantizedQuery, ReadPlan, ReadWindow, SearchState, VectorIndex,
};
use crate::segment::Segment;
use crate::view::{LiveVectors, Part, RowAddr, View};

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
/// The most clusters that [`min_probes`] asks for: with a hundred probed, the farther half shows what lies beyond.
const MIN_PROBES_MAX: f64 = 100.0;
/// Bytes of cluster records that are read and scanned at a time.
const WINDOW_BYTES: u64 = 4 << 20;
/// Windows that are read ahead of the scan.
const WINDOWS_AHEAD: usize = 4;
/// An index of at most this many bytes is read whole by a filtered search: that takes less time than the round trip of
/// a widening.
const READ_WHOLE_BYTES_MAX: u64 = 256 << 10;
/// Bytes that could be transferred in the time a request takes besides the transfer, in comparing the costs of plans.
const REQUEST_COST_BYTES: u64 = 16 << 10;

/// A segment to probe.
#[derive(Clone, Debug)]
pub(super) struct ProbeTarget {
    /// The number of its part.
    pub(super) number: usize,
    pub(super) part: Part,
    pub(super) segment: Arc<Segment>,
    /// Rows that may be found. All of them have a vector.
    pub(super) matching: Arc<RoaringBitmap>,
    /// What is known of them, if they are all that live.
    pub(super) live: Option<Arc<LiveVectors>>,
}

impl ProbeTarget {
    fn index(&self, column: usize) -> Result<&VectorIndex> {
        self.segment
            .vector_index(column)
            .ok_or_else(|| Error::internal("a segment without a vector index is probed"))
    }
}

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
        let Self { view, search, set } = self;
        let codes = Arc::new(QuantizedQuery::new(set, search.metric, &search.components));
        let mut probes = try_join_all(targets.iter().map(|target| Probe::new(view, search, target))).await?;
        let mut order = ClusterOrder::new(codes.cluster_scores());
        let home =
            order.nth(0).ok_or_else(|| Error::internal("a centroid set without clusters is probed"))?;
        let curves = Curves::new(probes.iter().map(|probe| probe.curve_at(home)));
        let wanted = curves.count_probes(search.effort, search.promised(), set.len());
        let follows_space = follows_space(wanted, &curves, &probes, &mut order);
        let wanted = if is_read_whole(search.effort, &probes) {
            set.len()
        } else if follows_space {
            wanted.max(min_probes(search.effort))
        } else {
            wanted
        };
        let (mut widening, mut searched) = (1_usize, 0);
        let recall = loop {
            let wanted = wanted.saturating_mul(widening).min(set.len());
            let chosen = self.choose(wanted, &probes, &mut order);
            // Widening keeps the order, so the clusters that were probed are the first of those that are chosen.
            let (_, next) = chosen.clusters.split_at(searched);
            try_join_all(probes.iter_mut().map(|probe| probe.search_clusters(view, search, &codes, next)))
                .await?;
            if chosen.are_all {
                break 1.0;
            }
            let late = late_finds(search, &chosen, &probes);
            let if_even = (!follows_space).then(|| farther_half(search, chosen.clusters.len(), &curves));
            if is_enough(search, &probes, late, if_even) {
                let expected = curves.expected_recall(wanted, search.promised());
                break late.map_or(expected, |late| expected.min(late.expected_recall(if_even)));
            }
            searched = chosen.clusters.len();
            widening = widening.saturating_mul(WIDENING);
        };
        let finished = probes.into_iter().map(|probe| probe.rerank(view, search, recall));
        Ok(try_join_all(finished).await?.into_iter().fold(ProbedRows::default(), ProbedRows::merge))
    }

    /// Chooses `wanted` clusters. With a filter, clusters without a match are skipped. What the curves promise for all
    /// rows holds for matches that are spread evenly among them, so clusters are taken until they hold at least as many
    /// matches as that many clusters do on average.
    fn choose(self, wanted: usize, probes: &[Probe<'_>], order: &mut ClusterOrder<'_>) -> ChosenClusters {
        if !is_filtered(probes) {
            return ChosenClusters::nearest(order, wanted);
        }
        let enough = match self.search.effort {
            Effort::Recall(_) => {
                let matches: f64 = probes.iter().map(Probe::count_matches).sum();
                wanted as f64 * matches / self.set.len().max(1) as f64
            }
            // A number of probes is the caller's word, whatever they hold.
            Effort::Probes(_) | Effort::Exact => 0.0,
        };
        ChosenClusters::with_matches(order, wanted, enough, |cluster| count_matches_in(probes, cluster))
    }
}

/// Whether some rows of the segments do not match.
fn is_filtered(probes: &[Probe<'_>]) -> bool {
    probes.iter().any(|probe| probe.match_counts.is_some())
}

/// Matches in a cluster, over all segments.
fn count_matches_in(probes: &[Probe<'_>], cluster: u32) -> u64 {
    probes.iter().map(|probe| probe.index.matches_of(cluster, probe.match_counts.as_deref())).sum()
}

/// The nearest rows found in the farther half of the clusters. Without a filter the curves apply, and no evidence is
/// needed.
fn late_finds(search: &VectorSearch, chosen: &ChosenClusters, probes: &[Probe<'_>]) -> Option<LateFinds> {
    if !is_filtered(probes) {
        return None;
    }
    let evidence = evidence_rows(search);
    let best = probes.iter().flat_map(|probe| probe.state.best_estimates(evidence)).collect();
    Some(LateFinds::new(&chosen.clusters, best, evidence))
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
    probes: &[Probe<'_>],
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
fn is_read_whole(effort: Effort, probes: &[Probe<'_>]) -> bool {
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
    probes: &[Probe<'_>],
    late: Option<LateFinds>,
    if_even: Option<f64>,
) -> bool {
    let Effort::Recall(recall) = search.effort else { return true };
    let found: u64 = probes.iter().map(Probe::count_found).sum();
    found >= search.limit as u64 && late.is_none_or(|late| late.allow(recall, if_even))
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
    };
    let probes = Curves::new([segment]).count_probes(search.effort, search.promised(), clusters);
    Ok(ProbeEstimate { probes, clusters, bytes: index.bytes() / clusters.max(1) as u64 * probes as u64 })
}

/// The probe of one segment.
struct Probe<'a> {
    target: &'a ProbeTarget,
    index: &'a VectorIndex,
    /// What other queries counted of the rows that match, if that is worth it.
    live: Option<&'a LiveVectors>,
    /// Matches by cluster; `None` if all rows match.
    match_counts: Option<Arc<MatchCounts>>,
    state: SearchState,
    /// The nearest rows, if it turned out cheaper to compare every match.
    compared: Option<Vec<(Distance, u32)>>,
    clusters: u64,
}

impl<'a> Probe<'a> {
    async fn new(view: &View, search: &VectorSearch, target: &'a ProbeTarget) -> Result<Self> {
        let index = target.index(search.column)?;
        let nulls = target.segment.rows_without_vector(search.column)?.len();
        let all_match = target.matching.len() + nulls == u64::from(target.segment.meta().rows);
        let live = target.live.as_deref().filter(|live| !all_match && live.is_reused());
        let match_counts = match live {
            _ if all_match => None,
            Some(live) => Some(live.match_counts(&view.env, index).await?),
            None => Some(Arc::new(index.count_matches(&target.matching).await?)),
        };
        let state = SearchState::new(if all_match { search.limit } else { evidence_rows(search) });
        Ok(Self { target, index, live, match_counts, state, compared: None, clusters: 0 })
    }

    /// Codes whose rows match.
    fn count_matches(&self) -> f64 {
        self.match_counts.as_ref().map_or(self.index.codes(), |counts| counts.codes()) as f64
    }

    fn count_found(&self) -> u64 {
        // Loose rows are in no cluster: they are compared at the end, and so are found already.
        let loose = self.index.loose().intersection_len(&self.target.matching);
        self.compared.as_ref().map_or(self.state.rows() + loose, |nearest| nearest.len() as u64)
    }

    /// The recall curve where the nearest cluster is `home`.
    fn curve_at(&self, home: u32) -> SegmentCurve<'a> {
        SegmentCurve {
            curve: self.index.curve().for_cluster(home),
            codes: self.index.codes() as f64,
            matches: self.count_matches(),
        }
    }

    /// Scans further clusters for the nearest matches. If reading these costs more than reading the vectors of all
    /// matches, all matches are compared instead, and the probe is complete.
    async fn search_clusters(
        &mut self,
        view: &View,
        search: &VectorSearch,
        codes: &Arc<QuantizedQuery>,
        clusters: &[u32],
    ) -> Result<()> {
        if self.compared.is_some() {
            return Ok(());
        }
        let (index, ProbeTarget { part, matching, .. }) = (self.index, self.target);
        let plan = index.plan_reads(clusters, self.match_counts.as_deref(), WINDOW_BYTES);
        if !matches!(search.effort, Effort::Probes(_)) && self.is_comparison_cheaper(search, &plan) {
            self.compared = Some(search.compare_part(view, part, matching).await?);
            return Ok(());
        }
        self.clusters += plan.clusters;
        let filtered = match (&self.match_counts, self.live) {
            (None, _) => None,
            // One for all queries of the state, whichever clusters they read.
            (Some(_), Some(live)) => Some(live.filter(&view.env, index).await?),
            (Some(_), None) => Some(index.filter_rows(&plan, matching)?),
        };
        let read = |window: ReadWindow| async move {
            let room = search.room.take(window.bytes).await?;
            Ok::<_, Error>((index.read_records(&window).await?, window, room))
        };
        let mut windows = stream::iter(plan.windows).map(read).buffered(WINDOWS_AHEAD);
        while let Some((records, window, _room)) = windows.try_next().await? {
            // The scan may run on the pool, so it takes the state and gives it back.
            let state = mem::replace(&mut self.state, SearchState::new(0));
            self.state =
                index.scan_records(&view.env, codes, (window, records), filtered.clone(), state).await?;
        }
        Ok(())
    }

    fn is_comparison_cheaper(&self, search: &VectorSearch, plan: &ReadPlan) -> bool {
        let (rows, matches) = (u64::from(self.target.segment.meta().rows), self.target.matching.len());
        let row = search.row_bytes as u64;
        let cost = if matches < rows / SPARSE { matches * (row + REQUEST_COST_BYTES) } else { rows * row };
        cost <= plan.bytes
    }

    /// Compares the vectors of the candidates: codes only estimate distances.
    async fn rerank(self, view: &View, search: &VectorSearch, recall: f64) -> Result<ProbedRows> {
        let matches = self.count_matches();
        let ProbeTarget { number, part, segment, matching, .. } = self.target;
        let with_addr = |rows: Vec<(Distance, u32)>| {
            rows.into_iter().map(|(distance, row)| (distance, RowAddr { part: *number, row })).collect()
        };
        if let Some(nearest) = self.compared {
            let (rows, rows_scanned) = (with_addr(nearest), matching.len());
            return Ok(ProbedRows {
                rows,
                rows_scanned,
                matches,
                expected: matches,
                ..ProbedRows::default()
            });
        }
        let found = self.state.finish(search.limit);
        let mut candidates: RoaringBitmap = found.candidates.iter().map(|candidate| candidate.row).collect();
        candidates |= self.index.loose();
        candidates &= matching.as_ref();
        let copies = found.copies.into_iter().collect();
        let top = search.compare_rows(&view.env, segment, &candidates, &copies).await?;
        Ok(ProbedRows {
            rows: with_addr(search.cut_ties(view, part, top.into_ranking()).await?),
            clusters: self.clusters,
            rows_scanned: found.scanned,
            rows_reranked: candidates.len(),
            matches,
            expected: matches * recall,
        })
    }
}
