//! Approximate search: which clusters are probed for a recall, in which segments.
//!
//! Segments that share a centroid set are probed by one order of its clusters. How many of the nearest clusters it
//! takes is read from the curves that were measured when the segments were built, in the region of the query. With a
//! filter that lets a share s of the rows through, the k-th match is about the k/s-th neighbour, so the curve of that
//! many is read; clusters without a match are skipped and not counted. That holds for matches that lie among the other
//! rows evenly. Where they do not, no curve tells, but what was found does: as long as the farther half of the clusters
//! holds its share of the nearest, there is more beyond, and the search widens.

use std::mem;
use std::sync::Arc;

use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringBitmap;

use super::clusters::{Chosen, Curves, Late, Order, Share};
use super::compare::{SPARSE, VectorSearch};
use crate::error::{Error, Result};
use crate::index::vector::{CentroidSet, MatchCounts, ReadPlan, SearchState, VectorIndex, VectorQuery};
use crate::segment::Segment;
use crate::view::{Part, View};

/// Up to so many matches are compared one by one: to read their vectors costs less than to probe.
const EXACT_ROWS: u64 = 1_000;
/// How many times as many clusters are probed where those that were did not do.
const WIDER: usize = 4;
/// So many of the nearest tell whether farther clusters are worth their while, at least.
const EVIDENCE: usize = 24;
/// Clusters around a query that tell how matches lie, at least, and how many standard deviations they are off by chance.
const LOOKED_AT: usize = 4;
const BY_CHANCE: f64 = 3.0;
/// However much recall is asked for, so many clusters are enough to see whether there is more beyond.
const LEAST_MAX: f64 = 100.0;
/// Records of clusters that are read and scanned at a time, in bytes, and how many times as many are read ahead.
const WINDOW_BYTES: u64 = 4 << 20;
const PARALLEL: usize = 4;
/// So many bytes come in less time than another round trip takes.
const AT_ONCE_BYTES: u64 = 256 << 10;
/// What a request costs besides what it brings, in bytes.
const REQUEST_BYTES: u64 = 16 << 10;

/// How thoroughly a query searches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Effort {
    /// Every vector is compared.
    Exact,
    /// Clusters are probed until this share of the true neighbours is found, on average.
    Recall(f64),
    /// This many of the nearest clusters with a match are probed, of each centroid set.
    Probes(usize),
}

impl Default for Effort {
    fn default() -> Self {
        Self::Recall(0.95)
    }
}

impl Effort {
    pub(super) fn of(recall: f64) -> Self {
        if (1.0 - recall).abs() < f64::EPSILON { Self::Exact } else { Self::Recall(recall) }
    }

    pub(super) fn check(self) -> Result<()> {
        match self {
            Self::Recall(recall) if !(recall > 0.0 && recall <= 1.0) => Err(Error::invalid(format!(
                "bad recall: above 0 and at most 1 is allowed. recall=`{recall}`"
            ))),
            Self::Probes(0) => Err(Error::invalid("bad number of probes: at least 1 is allowed. probes=`0`")),
            Self::Recall(_) | Self::Probes(_) | Self::Exact => Ok(()),
        }
    }
}

/// A segment that is probed, with the rows that may be found: all of them have a vector.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The number of its part.
    pub(super) at: usize,
    pub(super) part: Part,
    pub(super) segment: Arc<Segment>,
    pub(super) matching: Arc<RoaringBitmap>,
}

/// What the probes of all segments came to.
#[derive(Debug, Default)]
pub(super) struct Probed {
    /// Part, distance, row.
    pub(super) near: Vec<(usize, f64, u32)>,
    pub(super) clusters: u64,
    pub(super) scanned: u64,
    pub(super) reranked: u64,
    /// The recall that the curves promise, times the matches it is promised for; and these.
    pub(super) promised: (f64, f64),
}

impl Probed {
    fn and(mut self, other: Self) -> Self {
        self.near.extend(other.near);
        self.clusters += other.clusters;
        self.scanned += other.scanned;
        self.reranked += other.reranked;
        self.promised.0 += other.promised.0;
        self.promised.1 += other.promised.1;
        self
    }
}

/// Whether so many matches of a segment are worth probing for.
pub(super) fn is_worth_probing(matching: u64) -> bool {
    matching > EXACT_ROWS
}

/// Probes segments, all of which have an index of the column.
pub(super) async fn probe(view: &View, search: &VectorSearch, targets: Vec<Target>) -> Result<Probed> {
    let mut groups: Vec<(Arc<CentroidSet>, Vec<Target>)> = Vec::new();
    for target in targets {
        let Some(index) = target.segment.vector_index(search.column) else { continue };
        match groups.iter_mut().find(|(set, _)| Arc::ptr_eq(set, index.set())) {
            Some((_, group)) => group.push(target),
            None => groups.push((Arc::clone(index.set()), vec![target])),
        }
    }
    let groups = groups.into_iter().map(|(set, targets)| probe_group(view, search, set, targets));
    Ok(try_join_all(groups).await?.into_iter().fold(Probed::default(), Probed::and))
}

/// Probes segments of one centroid set: clusters that the curves deem enough, and as long as the farther half of those
/// that were probed holds too many of the nearest, some times as many.
async fn probe_group(
    view: &View,
    search: &VectorSearch,
    set: Arc<CentroidSet>,
    targets: Vec<Target>,
) -> Result<Probed> {
    let codes = Arc::new(VectorQuery::new(&set, search.metric, &search.vector));
    let probes = try_join_all(targets.iter().map(|target| Probe::new(search, target))).await?;
    let mut probes: Vec<Probe<'_>> = probes.into_iter().flatten().collect();
    let mut order = Order::new(codes.scores());
    let home = order.get(0).unwrap_or_default();
    let curves = Curves::new(probes.iter().map(|probe| probe.share(home)));
    let wanted = curves.wanted(search.effort, search.promised(), set.len());
    let follows = follows_space(wanted, &curves, &probes, &mut order);
    let wanted = if are_few(search.effort, &probes) {
        set.len()
    } else if follows {
        wanted.max(least(search.effort))
    } else {
        wanted
    };
    let (mut times, mut before) = (1_usize, 0);
    let recall = loop {
        let wanted = wanted.saturating_mul(times).min(set.len());
        let chosen = choose(search, wanted, &probes, &mut order);
        let more = chosen.clusters.get(before..).unwrap_or_default();
        try_join_all(probes.iter_mut().map(|probe| probe.search(view, search, &codes, more))).await?;
        let late = late(search, &chosen, &probes);
        if chosen.are_all {
            break 1.0;
        }
        let if_even = (!follows).then(|| farther_half(search, chosen.clusters.len(), &curves));
        if is_settled(search, &probes, late, if_even) {
            let expected = curves.recall(wanted, search.promised());
            break late.map_or(expected, |late| expected.min(late.recall(if_even)));
        }
        before = chosen.clusters.len();
        times = times.saturating_mul(WIDER);
    };
    let finished = probes.into_iter().map(|probe| probe.finish(view, search, recall));
    Ok(try_join_all(finished).await?.into_iter().fold(Probed::default(), Probed::and))
}

/// Chooses clusters, `wanted` of them. With a filter, clusters without a match are passed over, and what curves promise for
/// all rows holds for matches that lie among them evenly; so at least as many clusters with matches are taken, with at
/// least as many matches as so many clusters have on average.
fn choose(search: &VectorSearch, wanted: usize, probes: &[Probe<'_>], order: &mut Order<'_>) -> Chosen {
    if !are_filtered(probes) {
        return Chosen::nearest(order, wanted);
    }
    let matches: f64 = probes.iter().map(Probe::matches).sum();
    let clusters = probes.first().map_or(1, |probe| probe.index.set().len());
    let counted = matches!(search.effort, Effort::Recall(_));
    let enough = if counted { wanted as f64 * matches / clusters.max(1) as f64 } else { 0.0 };
    Chosen::matching(order, wanted, enough, |cluster| matches_of(probes, cluster))
}

/// Whether not all rows of the segments match.
fn are_filtered(probes: &[Probe<'_>]) -> bool {
    probes.iter().any(|probe| probe.tally.is_some())
}

/// How many codes of a cluster match, in all segments.
fn matches_of(probes: &[Probe<'_>], cluster: u32) -> u64 {
    probes.iter().map(|probe| probe.index.matches_of(cluster, probe.tally.as_ref())).sum()
}

/// What is known by what was found: asked for only where a filter may follow the space.
fn late(search: &VectorSearch, chosen: &Chosen, probes: &[Probe<'_>]) -> Option<Late> {
    if !are_filtered(probes) {
        return None;
    }
    let evidence = evidence(search);
    let likeliest = probes.iter().flat_map(|probe| probe.hunt.likeliest(evidence)).collect();
    Some(Late::new(&chosen.clusters, likeliest, evidence))
}

/// How many of the nearest tell whether more clusters are worth their while.
fn evidence(search: &VectorSearch) -> usize {
    search.limit.max(EVIDENCE)
}

/// Whether matches lie otherwise than the rows do, by more than chance explains: some of the clusters around the query hold
/// more of them than their share, or less.
fn follows_space(wanted: usize, curves: &Curves<'_>, probes: &[Probe<'_>], order: &mut Order<'_>) -> bool {
    if !are_filtered(probes) {
        return false;
    }
    let share = curves.matching().min(1.0);
    // The sum of squares of n deviations is n by chance, with a deviation of √2n.
    let (mut off, mut clusters) = (0.0_f64, 0.0_f64);
    for cluster in order.first(wanted.max(LOOKED_AT)) {
        let codes: u64 = probes.iter().map(|probe| probe.index.matches_of(*cluster, None)).sum();
        let expected = codes as f64 * share;
        off += (matches_of(probes, *cluster) as f64 - expected).powi(2) / (expected * (1.0 - share) + 1.0);
        clusters += 1.0;
    }
    off > clusters + BY_CHANCE * (2.0 * clusters).sqrt()
}

/// Whether all clusters hold so little that, where more than the first of them may be wanted, they are read at once.
fn are_few(effort: Effort, probes: &[Probe<'_>]) -> bool {
    let bytes: u64 = probes.iter().map(|probe| probe.index.bytes()).sum();
    are_filtered(probes) && matches!(effort, Effort::Recall(_)) && bytes <= AT_ONCE_BYTES
}

/// The share of the nearest that curves let expect in the farther half of so many clusters.
fn farther_half(search: &VectorSearch, clusters: usize, curves: &Curves<'_>) -> f64 {
    let within = |clusters| curves.recall(clusters, evidence(search));
    within(clusters) - within(clusters.div_ceil(2))
}

/// How many clusters are probed at least where matches follow the space: the nearest of them may lie in any of the clusters
/// around, and all that are found in one alone. That one of n clusters holds the best is then wrong once in n times, so
/// there have to be as many as the recall asks for.
fn least(effort: Effort) -> usize {
    let Effort::Recall(recall) = effort else { return 1 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is at most 100")]
    let clusters = (1.0 - recall).recip().ceil().clamp(1.0, LEAST_MAX) as usize;
    clusters
}

/// Whether what was probed is enough.
fn is_settled(search: &VectorSearch, probes: &[Probe<'_>], late: Option<Late>, if_even: Option<f64>) -> bool {
    let Effort::Recall(recall) = search.effort else { return true };
    let found: u64 = probes.iter().map(Probe::found).sum();
    found >= search.limit as u64 && late.is_none_or(|late| late.allows(recall, if_even))
}

/// How many clusters of a segment would be probed, of how many, and about how many bytes of codes they hold, for a query
/// in a region of the space that is neither the easiest nor the hardest.
pub(super) fn clusters_of(search: &VectorSearch, target: &Target) -> Option<(usize, usize, u64)> {
    let index = target.segment.vector_index(search.column)?;
    let of = index.set().len();
    let middle = u32::try_from(of / 2).unwrap_or(u32::MAX);
    let share = Share {
        curve: index.curve().at(middle),
        codes: index.codes() as f64,
        matches: target.matching.len() as f64,
    };
    let clusters = Curves::new([share]).wanted(search.effort, search.promised(), of);
    Some((clusters, of, index.bytes() / of.max(1) as u64 * clusters as u64))
}

/// A segment that is probed, and what of its clusters matches.
struct Probe<'a> {
    target: &'a Target,
    index: &'a VectorIndex,
    /// Nothing if everything matches.
    tally: Option<MatchCounts>,
    hunt: SearchState,
    /// The nearest, where every match was compared.
    exact: Option<Vec<(f64, u32)>>,
    clusters: u64,
}

impl<'a> Probe<'a> {
    /// Nothing of a segment without an index.
    async fn new(search: &VectorSearch, target: &'a Target) -> Result<Option<Self>> {
        let Some(index) = target.segment.vector_index(search.column) else { return Ok(None) };
        let nulls = target.segment.rows_without_vector(search.column)?.len();
        let all = target.matching.len() + nulls == u64::from(target.segment.meta().rows);
        let tally = if all { None } else { Some(index.tally(&target.matching).await?) };
        let hunt = SearchState::new(if all { search.limit } else { evidence(search) });
        Ok(Some(Self { target, index, tally, hunt, exact: None, clusters: 0 }))
    }

    /// The codes that match.
    fn matches(&self) -> f64 {
        self.tally.as_ref().map_or(self.index.codes(), MatchCounts::codes) as f64
    }

    /// How many rows were found.
    fn found(&self) -> u64 {
        let loose = self.index.loose().intersection_len(&self.target.matching);
        self.exact.as_ref().map_or(self.hunt.rows() + loose, |near| near.len() as u64)
    }

    /// Its curve where the nearest cluster is `home`.
    fn share(&self, home: u32) -> Share<'a> {
        Share {
            curve: self.index.curve().at(home),
            codes: self.index.codes() as f64,
            matches: self.matches(),
        }
    }

    /// Looks for the nearest matching rows in some more clusters. If these hold more bytes than the vectors of all
    /// matches, or it takes more requests, all are compared, and there is no more to look for.
    async fn search(
        &mut self,
        view: &View,
        search: &VectorSearch,
        codes: &Arc<VectorQuery>,
        clusters: &[u32],
    ) -> Result<()> {
        if self.exact.is_some() {
            return Ok(());
        }
        let (index, Target { part, matching, .. }) = (self.index, self.target);
        let plan = index.plan(clusters, self.tally.as_ref(), WINDOW_BYTES);
        if !matches!(search.effort, Effort::Probes(_)) && self.is_exact_cheaper(search, &plan) {
            self.exact = Some(search.nearest_of(view, part, matching).await?);
            return Ok(());
        }
        self.clusters += plan.clusters;
        let filtered = self.tally.is_some().then(|| index.filtered(&plan, matching));
        let read = |(window, bytes): (Vec<usize>, u64)| async move {
            let room = search.room.take(bytes).await?;
            Ok::<_, Error>((index.read(&window).await?, window, room))
        };
        let mut windows = stream::iter(plan.windows).map(read).buffered(PARALLEL);
        while let Some((records, window, _room)) = windows.try_next().await? {
            let hunt = mem::replace(&mut self.hunt, SearchState::new(0));
            self.hunt = index.scan(&view.env, codes, (window, records), filtered.clone(), hunt).await?;
        }
        Ok(())
    }

    /// The nearest rows by their vectors.
    async fn finish(self, view: &View, search: &VectorSearch, recall: f64) -> Result<Probed> {
        let Target { at, part, segment, matching } = self.target;
        let matches = self.matches();
        let (near, probed) = if let Some(near) = self.exact {
            (near, Probed { scanned: matching.len(), promised: (matches, matches), ..Probed::default() })
        } else {
            let found = self.hunt.finish(search.limit);
            let mut rows: RoaringBitmap = found.candidates.iter().map(|candidate| candidate.row).collect();
            rows |= self.index.loose();
            rows &= matching.as_ref();
            let top = search.compare(&view.env, segment, &rows, &found.copies.into_iter().collect()).await?;
            let near = top.finish().cut(part, &view.schema, search.limit.saturating_add(search.ties)).await?;
            let (scanned, reranked, promised) = (found.scanned, rows.len(), (matches * recall, matches));
            (near, Probed { clusters: self.clusters, scanned, reranked, promised, ..Probed::default() })
        };
        let near = near.into_iter().map(|(distance, row)| (*at, distance, row)).collect();
        Ok(Probed { near, ..probed })
    }

    fn is_exact_cheaper(&self, search: &VectorSearch, plan: &ReadPlan) -> bool {
        let (rows, matches) = (u64::from(self.target.segment.meta().rows), self.target.matching.len());
        let row = search.row_bytes as u64;
        let exact = if matches < rows / SPARSE { matches * (row + REQUEST_BYTES) } else { rows * row };
        exact <= plan.bytes
    }
}
