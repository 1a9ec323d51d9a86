//! Approximate search: which leaves are probed for a recall, in which segments.
//!
//! Segments that share a centroid set are probed by one order of its leaves. How many of the nearest leaves it
//! takes is read from the curves that were measured when the segments were built. With a filter that lets a
//! share s of the rows through, the k-th match is about the k/s-th neighbour, so the curve of that many is read;
//! leaves without a match are skipped and not counted.

use std::sync::Arc;

use arrow::array::ArrayRef;
use futures::future::try_join_all;
use roaring::RoaringBitmap;

use super::part::Nearest;
use super::topk::TopK;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::index::vector::{CentroidSet, Curve, Found, Query as Codes, VectorIndex};
use crate::segment::Segment;

/// Up to so many matches are compared one by one: to read their vectors costs less than to probe.
const EXACT_ROWS: u64 = 1_000;
/// Beyond this many neighbours nothing was measured: every leaf with a match is probed.
const MEASURED: f64 = 1_000.0;
/// How much of what a recall leaves open is aimed at besides: curves are measured with rows that are stored, and
/// queries tend to lie farther from them than they from each other.
const MARGIN: f64 = 0.6;
/// From this share of matches on, leaves are not counted: nearly all have some.
const DENSE: f64 = 0.7;

/// How thoroughly a query searches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Effort {
    /// Every vector is compared.
    Exact,
    /// Leaves are probed until this share of the true neighbours is found, on average.
    Recall(f64),
    /// This many leaves of each centroid set are probed.
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

/// A segment that is probed, with the rows that may be found.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The number of its part.
    pub(super) part: usize,
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
pub(super) async fn probe(env: &Env, search: &Nearest, targets: Vec<Target>) -> Result<Probed> {
    let mut groups: Vec<(Arc<CentroidSet>, Vec<Target>)> = Vec::new();
    for target in targets {
        let Some(index) = target.segment.index(search.column) else { continue };
        match groups.iter_mut().find(|(set, _)| Arc::ptr_eq(set, index.set())) {
            Some((_, group)) => group.push(target),
            None => groups.push((Arc::clone(index.set()), vec![target])),
        }
    }
    let groups = groups.into_iter().map(|(set, targets)| probe_group(env, search, set, targets));
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
    env: &Env,
    search: &Nearest,
    set: Arc<CentroidSet>,
    targets: Vec<Target>,
) -> Result<Probed> {
    let codes = Arc::new(Codes::new(&set, search.metric, &search.vector));
    let curves = Curves::new(search, &targets);
    let mut wanted = curves.wanted(search.effort, set.len());
    loop {
        let leaves = choose(&set, &codes, wanted, search, &targets);
        let everything = wanted >= set.len();
        let searches = targets.iter().map(|target| probe_one(env, search, &codes, &leaves, target));
        let found = try_join_all(searches).await?;
        let hits: usize = found.iter().map(|(near, _)| near.len()).sum();
        if hits < search.limit && !everything {
            // More rows match than were found.
            wanted = wanted.saturating_mul(4);
            continue;
        }
        let promised = (curves.recall(wanted as f64) * curves.matches, curves.matches);
        let mut probed = Probed { promised, ..Probed::default() };
        for (target, (near, found)) in targets.iter().zip(found) {
            probed.leaves += found.leaves;
            probed.scanned += found.scanned;
            probed.reranked += found.candidates.len() as u64;
            probed.near.extend(near.into_iter().map(|(distance, row)| (target.part, distance, row)));
        }
        return Ok(probed);
    }
}

/// How many leaves of a segment would be probed, of how many, and about how many bytes of codes they hold.
pub(super) fn leaves_of(search: &Nearest, target: &Target) -> Option<(usize, usize, u64)> {
    let index = target.segment.index(search.column)?;
    let of = index.set().len();
    let leaves = Curves::new(search, std::slice::from_ref(target)).wanted(search.effort, of).min(of);
    Some((leaves, of, index.bytes() / of.max(1) as u64 * leaves as u64))
}

/// The curves of some segments as one.
struct Curves<'a> {
    /// Each with its share of the matches, and the neighbours to look up.
    curves: Vec<(&'a Curve, f64, f64)>,
    matches: f64,
}

impl<'a> Curves<'a> {
    fn new(search: &Nearest, targets: &'a [Target]) -> Self {
        let matches: f64 = targets.iter().map(|target| target.matching.len() as f64).sum();
        let curve = |target: &'a Target| {
            let index = target.segment.index(search.column)?;
            let here = target.matching.len() as f64;
            let share = (here / index.vectors().max(1) as f64).clamp(1e-9, 1.0);
            Some((index.curve(), here / matches.max(1.0), search.limit as f64 / share))
        };
        Self { curves: targets.iter().filter_map(curve).collect(), matches }
    }

    /// The share of the neighbours that the nearest `probes` leaves hold.
    fn recall(&self, probes: f64) -> f64 {
        self.curves.iter().map(|(curve, weight, neighbours)| weight * curve.recall(probes, *neighbours)).sum()
    }

    /// How many of the nearest of `leaves` leaves are worth so much effort.
    fn wanted(&self, effort: Effort, leaves: usize) -> usize {
        match effort {
            Effort::Probes(probes) => probes,
            Effort::Recall(recall) => self.probes_for(recall, leaves),
            Effort::Exact => leaves,
        }
    }

    /// How many of the nearest of `leaves` leaves hold the recall.
    fn probes_for(&self, recall: f64, leaves: usize) -> usize {
        if self.curves.iter().any(|(_, _, neighbours)| *neighbours > MEASURED) {
            return leaves;
        }
        let aim = recall + (1.0 - recall) * MARGIN;
        let (mut low, mut high) = (1, leaves);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.recall(middle as f64) >= aim { high = middle } else { low = middle + 1 }
        }
        low
    }
}

/// The leaves to probe, nearest first: `wanted` of those that have a match, and on until as many matches are in
/// them as so many leaves have on average.
fn choose(set: &CentroidSet, codes: &Codes, wanted: usize, search: &Nearest, targets: &[Target]) -> Vec<u32> {
    let scores = codes.scores();
    let mut order: Vec<u32> = (0..).take(set.len()).collect();
    let by_score = |a: &u32, b: &u32| {
        let score = |leaf: &u32| scores.get(*leaf as usize).copied().unwrap_or(f32::NAN);
        score(a).total_cmp(&score(b)).then(a.cmp(b))
    };
    let indexes: Vec<(&VectorIndex, &RoaringBitmap)> = targets
        .iter()
        .filter_map(|target| Some((target.segment.index(search.column)?, target.matching.as_ref())))
        .collect();
    let matches: u64 = indexes.iter().map(|(_, matching)| matching.len()).sum();
    let vectors: u64 = indexes.iter().map(|(index, _)| index.vectors()).sum();
    let count = wanted.clamp(1, set.len().max(1));
    if matches as f64 >= vectors as f64 * DENSE {
        if count < order.len() {
            order.select_nth_unstable_by(count, by_score);
            order.truncate(count);
        }
        order.sort_unstable_by(by_score);
        return order;
    }
    order.sort_unstable_by(by_score);
    let enough = wanted as f64 * matches as f64 / set.len() as f64;
    let (mut chosen, mut seen) = (Vec::new(), 0);
    for leaf in order {
        if chosen.len() >= count && seen as f64 >= enough {
            break;
        }
        let here: u64 = indexes.iter().map(|(index, matching)| index.matches(leaf, matching)).sum();
        if here > 0 {
            chosen.push(leaf);
            seen += here;
        }
    }
    chosen
}

/// The nearest rows of one segment: distance and row.
async fn probe_one(
    env: &Env,
    search: &Nearest,
    codes: &Arc<Codes>,
    leaves: &[u32],
    target: &Target,
) -> Result<(Vec<(f64, u32)>, Found)> {
    let Some(index) = target.segment.index(search.column) else { return Ok(Default::default()) };
    let rows = u64::from(target.segment.meta().rows);
    let allowed = (target.matching.len() < rows).then(|| index.allowed(leaves, &target.matching, rows));
    let found = index.search(env, codes, leaves, allowed, search.limit).await?;
    let candidates = found.candidates.iter().map(|candidate| candidate.row);
    let rows: RoaringBitmap = candidates.filter(|row| target.matching.contains(*row)).collect();
    if rows.is_empty() {
        return Ok((Vec::new(), found));
    }
    let vectors: ArrayRef = target.segment.vectors_of(search.column, &rows).await?;
    let mut top = TopK::new(search.limit);
    let mut each = rows.iter();
    search.prepared.each(&vectors, None, |_, distance| {
        if let Some(row) = each.next() {
            top.push(distance, row);
        }
    })?;
    Ok((top.into_sorted_vec(), found))
}
