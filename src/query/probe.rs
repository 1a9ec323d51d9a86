//! Approximate search: which leaves are probed for a recall, in which segments.
//!
//! Segments that share a centroid set are probed by one order of its leaves. How many of the nearest leaves it
//! takes is read from the curves that were measured when the segments were built, in the region of the query. With a
//! filter that lets a share s of the rows through, the k-th match is about the k/s-th neighbour, so the curve of that
//! many is read; leaves without a match are skipped and not counted.

use std::sync::Arc;

use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringBitmap;

use super::part::{Nearest, SPARSE};
use super::{Part, View};
use crate::error::{Error, Result};
use crate::index::vector::{
    CentroidSet, CurveAt, Hunt, Plan, Query as Codes, Ranks, Tally, VectorIndex, is_enough,
};
use crate::segment::Segment;

/// Up to so many matches are compared one by one: to read their vectors costs less than to probe.
const EXACT_ROWS: u64 = 1_000;
/// How many times as many leaves are probed where matches lie otherwise than rows do.
const CARE: usize = 5;
/// Records of leaves that are read and scanned at a time, in bytes, and how many times as many are read ahead.
const WINDOW_BYTES: u64 = 4 << 20;
const PARALLEL: usize = 4;
/// What a request costs besides what it brings, in bytes.
const REQUEST_BYTES: u64 = 16 << 10;
/// Leaves that are brought into order at first.
const SORTED_MIN: usize = 64;

/// How thoroughly a query searches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Effort {
    /// Every vector is compared.
    Exact,
    /// Leaves are probed until this share of the true neighbours is found, on average.
    Recall(f64),
    /// This many of the nearest leaves with a match are probed, of each centroid set.
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
    pub(super) leaves: u64,
    pub(super) scanned: u64,
    pub(super) reranked: u64,
    /// The recall that the curves promise, times the matches it is promised for; and these.
    pub(super) promised: (f64, f64),
}

/// Whether so many matches of a segment are worth probing for.
pub(super) fn is_worth_probing(matching: u64) -> bool {
    matching > EXACT_ROWS
}

/// Probes segments, all of which have an index of the column.
pub(super) async fn probe(view: &View, search: &Nearest, targets: Vec<Target>) -> Result<Probed> {
    let mut groups: Vec<(Arc<CentroidSet>, Vec<Target>)> = Vec::new();
    for target in targets {
        let Some(index) = target.segment.index(search.column) else { continue };
        match groups.iter_mut().find(|(set, _)| Arc::ptr_eq(set, index.set())) {
            Some((_, group)) => group.push(target),
            None => groups.push((Arc::clone(index.set()), vec![target])),
        }
    }
    let groups = groups.into_iter().map(|(set, targets)| probe_group(view, search, set, targets));
    let mut all = Probed::default();
    for probed in try_join_all(groups).await? {
        all.near.extend(probed.near);
        all.leaves += probed.leaves;
        all.scanned += probed.scanned;
        all.reranked += probed.reranked;
        all.promised.0 += probed.promised.0;
        all.promised.1 += probed.promised.1;
    }
    Ok(all)
}

async fn probe_group(
    view: &View,
    search: &Nearest,
    set: Arc<CentroidSet>,
    targets: Vec<Target>,
) -> Result<Probed> {
    let codes = Arc::new(Codes::new(&set, search.metric, &search.vector));
    let probes = try_join_all(targets.iter().map(|target| Probe::new(search, target))).await?;
    let probes: Vec<Probe<'_>> = probes.into_iter().flatten().collect();
    let mut order = Order::new(codes.scores());
    let curves = Curves::new(search.promised(), order.get(0).unwrap_or_default(), &probes);
    let mut times = 1;
    loop {
        let chosen = choose(search, set.len(), times, &curves, &probes, &mut order);
        let searches = probes.iter().map(|probe| probe.search(view, search, &codes, &chosen.leaves));
        let found: Vec<Searched> = try_join_all(searches).await?;
        let hits: usize = found.iter().map(|found| found.near.len()).sum();
        let widens = matches!(search.effort, Effort::Recall(_)) && !chosen.everything;
        if hits < search.limit && widens {
            // More rows match than were found.
            times *= 4;
            continue;
        }
        let mut all = Probed::default();
        for (probe, found) in probes.iter().zip(found) {
            let matches = probe.matches();
            all.promised.0 += matches * if found.exact { 1.0 } else { chosen.recall };
            all.promised.1 += matches;
            all.leaves += found.leaves;
            all.scanned += found.scanned;
            all.reranked += found.reranked;
            all.near.extend(found.near.into_iter().map(|(distance, row)| (probe.target.at, distance, row)));
        }
        return Ok(all);
    }
}

/// How many leaves of a segment would be probed, of how many, and about how many bytes of codes they hold, for a query
/// in a region of the space that is neither the easiest nor the hardest.
pub(super) fn leaves_of(search: &Nearest, target: &Target) -> Option<(usize, usize, u64)> {
    let index = target.segment.index(search.column)?;
    let of = index.set().len();
    let middle = u32::try_from(of / 2).unwrap_or(u32::MAX);
    let probe = Probe { target, index, tally: None };
    let curves = Curves::new(search.promised(), middle, std::slice::from_ref(&probe));
    let leaves = curves.wanted(search.effort, of, None);
    Some((leaves, of, index.bytes() / of.max(1) as u64 * leaves as u64))
}

/// The leaves of a set in the order of their scores, sorted as far as they are asked for.
struct Order<'a> {
    scores: &'a [f32],
    leaves: Vec<u32>,
    sorted: usize,
}

impl<'a> Order<'a> {
    fn new(scores: &'a [f32]) -> Self {
        Self { scores, leaves: (0..).take(scores.len()).collect(), sorted: 0 }
    }

    /// The leaf of a rank.
    fn get(&mut self, rank: usize) -> Option<u32> {
        self.sort(rank.saturating_add(1));
        self.leaves.get(rank).copied()
    }

    /// The first so many leaves.
    fn first(&mut self, count: usize) -> &[u32] {
        self.sort(count);
        self.leaves.get(..count).unwrap_or(&self.leaves)
    }

    fn sort(&mut self, count: usize) {
        if count <= self.sorted || self.sorted == self.leaves.len() {
            return;
        }
        let count = count.max(2 * self.sorted).clamp(SORTED_MIN, self.leaves.len().max(SORTED_MIN));
        let scores = self.scores;
        let score = |leaf: &u32| scores.get(*leaf as usize).copied().unwrap_or(f32::NAN);
        let by_score = |a: &u32, b: &u32| score(a).total_cmp(&score(b)).then(a.cmp(b));
        let Some(rest) = self.leaves.get_mut(self.sorted..) else { return };
        let more = count - self.sorted;
        let some = if more < rest.len() { rest.select_nth_unstable_by(more, by_score).0 } else { rest };
        some.sort_unstable_by(by_score);
        self.sorted = count.min(self.leaves.len());
    }
}

/// The curves of some segments as one, at a query.
struct Curves<'a> {
    /// Each with its share of the matches, and the neighbours among which its matches are the `limit` nearest.
    curves: Vec<(CurveAt<'a>, f64, f64)>,
}

impl<'a> Curves<'a> {
    /// `home` is the leaf nearest to the query.
    fn new(limit: usize, home: u32, probes: &[Probe<'a>]) -> Self {
        let matches: f64 = probes.iter().map(Probe::matches).sum();
        let curve = |probe: &Probe<'a>| {
            let share = (probe.matches() / probe.index.codes().max(1) as f64).clamp(1e-9, 1.0);
            let weight = probe.matches() / matches.max(1.0);
            (probe.index.curve().at(home), weight, limit as f64 / share)
        };
        Self { curves: probes.iter().map(curve).collect() }
    }

    /// The share that the nearest `probes` leaves hold of the nearest matches: of those that lie among the neighbours
    /// of these ranks, or, if they are not known, as far as the share of all that match lets expect.
    fn recall(&self, probes: usize, ranks: Option<Ranks>) -> f64 {
        let probes = probes as f64;
        let recall = |(curve, weight, neighbours): &(CurveAt<'_>, f64, f64)| {
            let ranks = ranks.unwrap_or(Ranks { from: 0.0, to: 0.0 });
            weight * curve.recall(probes, Ranks { to: ranks.to.max(*neighbours), ..ranks })
        };
        self.curves.iter().map(recall).sum()
    }

    /// How many of the nearest of `leaves` leaves are worth so much effort.
    fn wanted(&self, effort: Effort, leaves: usize, ranks: Option<Ranks>) -> usize {
        let recall = match effort {
            Effort::Probes(probes) => return probes.min(leaves),
            Effort::Recall(recall) => recall,
            Effort::Exact => return leaves,
        };
        let queries = self.curves.iter().map(|(curve, ..)| curve.queries()).fold(f64::INFINITY, f64::min);
        let (mut low, mut high) = (1, leaves.max(1));
        while low < high {
            let middle = usize::midpoint(low, high);
            if is_enough(self.recall(middle, ranks), queries, recall) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }
}

/// Leaves to probe.
struct Chosen {
    /// The nearest first.
    leaves: Vec<u32>,
    /// The recall that the curves promise.
    recall: f64,
    /// Whether there are no others with a match.
    everything: bool,
}

/// Chooses leaves by the curves. With a filter, leaves without a match are passed over, and what is promised for all
/// rows holds for matches that lie among them evenly; so at least as many leaves with matches are taken, with at least
/// as many matches as so many leaves have on average. Where matches lie apart from the query, they are far neighbours
/// of it: how far is counted by the leaves that are passed before them, and the curve of those neighbours is asked.
fn choose(
    search: &Nearest,
    leaves: usize,
    times: usize,
    curves: &Curves<'_>,
    probes: &[Probe<'_>],
    order: &mut Order<'_>,
) -> Chosen {
    let wider = |wanted: usize| wanted.saturating_mul(times).min(leaves);
    let wanted = wider(curves.wanted(search.effort, leaves, None));
    if probes.iter().all(|probe| probe.tally.is_none()) {
        let recall = curves.recall(wanted, None);
        return Chosen { leaves: order.first(wanted).to_vec(), recall, everything: wanted >= leaves };
    }
    let matches: f64 = probes.iter().map(Probe::matches).sum();
    let counted = matches!(search.effort, Effort::Recall(_));
    // Curves are of rows as they lie: where matches lie otherwise, they tell less.
    let care = if counted && are_uneven(wanted, matches, probes, order) { CARE } else { 1 };
    let wanted = wanted.saturating_mul(care).min(leaves);
    let enough = if counted { wanted as f64 * matches / leaves.max(1) as f64 } else { 0.0 };
    let (mut chosen, mut rank) = (Vec::new(), 0);
    let (mut seen, mut passed) = (0_u64, 0_u64);
    // Where the nearest matches lie among the neighbours, and so the rank that leaves are wanted to.
    let (mut ranks, mut to_rank) = (Ranks { from: 0.0, to: 0.0 }, if counted { None } else { Some(0) });
    while let Some(leaf) = order.get(rank) {
        if chosen.len() >= wanted && seen as f64 >= enough && to_rank.is_some_and(|to_rank| rank >= to_rank) {
            break;
        }
        let (all, here) = probes
            .iter()
            .map(|probe| probe.index.codes_of(leaf, probe.tally.as_ref()))
            .fold((0, 0), |(all, here), (more_all, more_here)| (all + more_all, here + more_here));
        if here > 0 {
            if seen == 0 {
                ranks.from = passed as f64;
            }
            seen += here;
            chosen.push(leaf);
            if to_rank.is_none() && seen >= search.limit as u64 {
                ranks.to = (passed as f64).max(ranks.from + search.limit as f64);
                to_rank = Some(wider(curves.wanted(search.effort, leaves, Some(ranks)).saturating_mul(care)));
            }
        }
        passed += all;
        rank += 1;
    }
    Chosen { leaves: chosen, recall: curves.recall(rank, Some(ranks)), everything: rank >= leaves }
}

/// Whether the nearest leaves hold another share of matches than all do.
fn are_uneven(nearest: usize, matches: f64, probes: &[Probe<'_>], order: &mut Order<'_>) -> bool {
    let (mut all, mut here) = (0, 0);
    for leaf in order.first(nearest) {
        for probe in probes {
            let (codes, matching) = probe.index.codes_of(*leaf, probe.tally.as_ref());
            all += codes;
            here += matching;
        }
    }
    let codes: u64 = probes.iter().map(|probe| probe.index.codes()).sum();
    let expected = matches * all as f64 / codes.max(1) as f64;
    let here = here as f64;
    here < expected * 0.8 || here > expected * 1.25
}

/// A segment and what of its leaves matches.
struct Probe<'a> {
    target: &'a Target,
    index: &'a VectorIndex,
    /// Nothing if everything matches.
    tally: Option<Tally>,
}

/// What was found in a segment.
#[derive(Debug, Default)]
struct Searched {
    near: Vec<(f64, u32)>,
    /// Whether every match was compared.
    exact: bool,
    leaves: u64,
    scanned: u64,
    reranked: u64,
}

impl<'a> Probe<'a> {
    /// Nothing of a segment without an index.
    async fn new(search: &Nearest, target: &'a Target) -> Result<Option<Self>> {
        let Some(index) = target.segment.index(search.column) else { return Ok(None) };
        let nulls = target.segment.without_vector(search.column)?.len();
        let all = target.matching.len() + nulls == u64::from(target.segment.meta().rows);
        let tally = if all { None } else { Some(index.tally(&target.matching).await?) };
        Ok(Some(Self { target, index, tally }))
    }

    /// The codes that match.
    fn matches(&self) -> f64 {
        self.tally.as_ref().map_or(self.index.codes(), Tally::codes) as f64
    }

    /// The nearest matching rows in some leaves. If these hold more bytes than the vectors of all matches, or it takes
    /// more requests, all are compared.
    async fn search(
        &self,
        view: &View,
        search: &Nearest,
        codes: &Arc<Codes>,
        leaves: &[u32],
    ) -> Result<Searched> {
        let (index, Target { part, segment, matching, .. }) = (self.index, self.target);
        let plan = index.plan(leaves, self.tally.as_ref(), WINDOW_BYTES);
        if !matches!(search.effort, Effort::Probes(_)) && self.is_exact_cheaper(search, &plan) {
            let near = part.nearest(&view.env, &view.schema, search, matching).await?;
            return Ok(Searched { near, exact: true, scanned: matching.len(), ..Searched::default() });
        }
        let filtered = self.tally.is_some().then(|| index.filtered(&plan, matching));
        let read = |(window, bytes): (Vec<usize>, u64)| async move {
            let room = search.room.take(bytes).await?;
            Ok::<_, Error>((index.read(&window).await?, window, room))
        };
        let mut windows = stream::iter(plan.windows).map(read).buffered(PARALLEL);
        let mut hunt = Hunt::new(search.limit);
        while let Some((records, window, _room)) = windows.try_next().await? {
            hunt = index.scan(&view.env, codes, (window, records), filtered.clone(), hunt).await?;
        }
        let found = hunt.finish();
        let mut rows: RoaringBitmap = found.candidates.iter().map(|candidate| candidate.row).collect();
        rows |= index.loose();
        rows &= matching.as_ref();
        let top = search.compare(&view.env, segment, &rows, &found.copies.into_iter().collect()).await?;
        let near = part.cut(&view.schema, top.finish(), search.limit.saturating_add(search.ties)).await?;
        let (leaves, scanned) = (plan.leaves, found.scanned);
        Ok(Searched { near, exact: false, leaves, scanned, reranked: rows.len() })
    }

    fn is_exact_cheaper(&self, search: &Nearest, plan: &Plan) -> bool {
        let (rows, matches) = (u64::from(self.target.segment.meta().rows), self.target.matching.len());
        let row = search.row_bytes as u64;
        let exact = if matches < rows / SPARSE { matches * (row + REQUEST_BYTES) } else { rows * row };
        exact <= plan.bytes
    }
}
