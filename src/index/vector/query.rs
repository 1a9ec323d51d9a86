//! A query against codes: stage one over all signs of a cluster, stage two over what is left.
//!
//! A query meets codes as a table of small integers. One table, of the whole query, serves all clusters, and is
//! rounded in proportion to the query's distance from the middle of the data; what is estimated is in proportion to
//! its distance from the cluster. Where the one is [`FAR`] times the other, a table of more bits is taken, and where it
//! is [`FARTHER`], one of what leads from the cluster to the query, made for that cluster alone.
//!
//! **Invariant:** a vector is left out only if k others are nearer than it could be, each by the stated number
//! of standard deviations of its estimate. Every error is in that deviation: of the code, of the table, and, as a
//! margin, of sums in f32. What lies between clusters is summed in f64.

use std::collections::BinaryHeap;
use std::mem;
use std::sync::OnceLock;

use super::centroids::CentroidSet;
use super::kernels::{
    ADDS_LEN, BLOCK_VECTORS, Kernels, LevelTable, ScanParams, SignTable, kernels, prefetch,
};
use super::quantizer::Form;
use super::record::ClusterRecord;
use super::space::{Space, narrow, power_of_two};
use crate::types::Metric;

/// How many standard deviations an estimate is given: 2.5 misses 0.6 % of the true neighbours at the border.
pub(crate) const DEVIATIONS: f64 = 2.5;
/// The same for signs alone, as in the paper: 2.9 % are missed at the border, but hardly any neighbour is at the
/// border of bounds that wide.
const DEVIATIONS_OF_SIGNS: f64 = 1.9;
/// How many blocks are scanned before what is left of one is looked at: as long as memory takes to answer.
const AHEAD: usize = 4;
/// A query so many times longer than what leads to it from a cluster needs the finer table there.
const FAR: f64 = 4.0;
/// The same for codes of as many bits as a query of 8 bits can tell apart.
const FAR_OF_SIX_BITS: f64 = 2.0;
/// A query so many times longer needs a table of its own for the cluster.
const FARTHER: f64 = 32.0;
/// What a sum of a few numbers of f32 is off by, in parts of the largest.
const ROUNDING: f64 = 2.4e-7;
/// What a sum in f64 of the squares of as many components as there may be is off by.
const ROUNDING_WIDE: f64 = 1e-12;
/// Below this part of the query's square, what is not along a centroid is computed anew: it has cancelled.
const CANCELLED: f64 = 1e-4;

/// A query vector in the space of a centroid set.
#[derive(Debug)]
pub(crate) struct VectorQuery {
    kernels: &'static Kernels,
    form: Form,
    bits: u32,
    /// As the metric compares it, and rounded.
    exact: Vec<f64>,
    vector: Vec<f32>,
    /// The length of what `inner` is of.
    length: f64,
    /// The square of the length of the query.
    square: f64,
    /// Less the origin of the space, rotated, in the scale of `unit`.
    inner: Vec<f32>,
    unit: f64,
    narrow: QueryTables,
    wide: OnceLock<QueryTables>,
    /// How near each cluster is.
    scores: Vec<f32>,
}

/// A rotated vector in the two forms that kernels read.
#[derive(Debug)]
struct QueryTables {
    signs: SignTable,
    levels: LevelTable,
    /// What 1 stands for in them.
    unit: f64,
}

/// What a query is to one cluster: see [`super::quantizer::Factors`].
#[derive(Clone, Copy, Debug)]
struct ClusterRelation {
    add: f64,
    weight: f64,
    err: f64,
}

/// A row that may be among the nearest, with what is known of its distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RowCandidate {
    pub(crate) lower: f64,
    pub(crate) estimate: f64,
    pub(crate) row: u32,
    pub(crate) cluster: u32,
}

/// The rows that may be among the k nearest.
#[derive(Debug)]
pub(crate) struct Shortlist {
    limit: usize,
    /// The k least upper bounds, the greatest on top.
    uppers: BinaryHeap<TotalF64>,
    candidates: Vec<RowCandidate>,
}

#[derive(Clone, Copy, Debug)]
struct TotalF64(f64);

/// Which rows of a segment may be found: all, or those whose bit is set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AllowedRows<'a>(pub(crate) Option<&'a [u64]>);

impl VectorQuery {
    /// A query of the column's dimension.
    pub(crate) fn new(set: &CentroidSet, metric: Metric, vector: &[f32]) -> Self {
        let space = set.space();
        let exact: Vec<f64> = Space::exact(metric, vector).collect();
        let vector: Vec<f32> = exact.iter().map(|x| narrow(*x)).collect();
        let centred: Vec<f64> = exact.iter().zip(space.origin()).map(|(x, origin)| x - origin).collect();
        let unit = unit(&centred);
        let mut inner = vec![0.0; space.padded()];
        space.rotated(centred.iter().copied(), unit.recip(), &mut Vec::new(), &mut inner);
        let scale = narrow(space.scale() * unit);
        let scores = set.scores(&vector, &inner.iter().map(|x| x * scale).collect::<Vec<_>>());
        let bits = u32::from(space.bits());
        Self {
            kernels: kernels(),
            form: space.form(),
            bits,
            length: square(&centred).sqrt(),
            square: square(&exact),
            narrow: QueryTables::new(&inner, bits, false, unit),
            wide: OnceLock::new(),
            exact,
            vector,
            inner,
            unit,
            scores,
        }
    }

    /// How near each cluster of the set is: smaller is nearer.
    pub(crate) fn scores(&self) -> &[f32] {
        &self.scores
    }

    fn relation(&self, set: &CentroidSet, cluster: usize) -> ClusterRelation {
        let (kernels, centroid) = (self.kernels, set.centroid(cluster));
        match self.form {
            Form::L2 => {
                let add = kernels.wide_l2(&self.vector, centroid);
                ClusterRelation { add, weight: 1.0, err: add.sqrt() }
            }
            Form::Dot => {
                let (product, length) = (kernels.wide_dot(&self.vector, centroid), set.square(cluster));
                let weight = if length > 0.0 { product / length } else { 0.0 };
                let mut rest = self.square - weight * product;
                if rest < CANCELLED * self.square {
                    rest = square(&self.away(centroid, weight));
                }
                ClusterRelation { add: -product, weight, err: rest.sqrt() }
            }
        }
    }

    /// The query less so many times a centroid.
    fn away(&self, centroid: &[f32], times: f64) -> Vec<f64> {
        self.exact.iter().zip(centroid).map(|(q, c)| q - times * f64::from(*c)).collect()
    }

    /// The tables of what leads from a cluster to the query, for that cluster.
    fn away_tables(&self, set: &CentroidSet, cluster: usize, relation: &mut ClusterRelation) -> QueryTables {
        let away = self.away(set.centroid(cluster), relation.weight);
        if self.form == Form::L2 {
            // The query as it is before it is rounded.
            relation.add = square(&away);
            relation.err = relation.add.sqrt();
        }
        let (space, unit) = (set.space(), unit(&away));
        let mut inner = vec![0.0; space.padded()];
        space.rotated(away.into_iter(), unit.recip(), &mut Vec::new(), &mut inner);
        QueryTables::new(&inner, self.bits, false, unit)
    }

    fn wide(&self) -> &QueryTables {
        self.wide.get_or_init(|| QueryTables::new(&self.inner, self.bits, true, self.unit))
    }

    /// Scores the vectors of a cluster. `first` is the row of its first vector, if it does not list its rows.
    pub(super) fn scan(
        &self,
        set: &CentroidSet,
        cluster: usize,
        record: &ClusterRecord<'_>,
        first: u32,
        allowed: AllowedRows<'_>,
        list: &mut Shortlist,
    ) {
        let mut relation = self.relation(set, cluster);
        let times = self.length / relation.err;
        let far = if self.bits == 6 { FAR_OF_SIX_BITS } else { FAR };
        // Where it is no number, what leads from the cluster is looked at too.
        let apart = times > FARTHER || times.is_nan();
        let own;
        let tables = if apart {
            own = self.away_tables(set, cluster, &mut relation);
            &own
        } else if times <= far {
            &self.narrow
        } else {
            self.wide()
        };
        let scale = record.scale();
        let visit = ClusterScan {
            kernels: self.kernels,
            cluster: u32::try_from(cluster).unwrap_or(u32::MAX),
            tables,
            apart,
            relation,
            scale,
            back: (scale * scale).recip(),
            unit: scale * tables.unit,
            record,
            first,
            allowed,
        };
        // The blocks before, and what is left of them.
        let mut before = (0, [0; AHEAD]);
        for first in (0..record.vectors().div_ceil(BLOCK_VECTORS)).step_by(AHEAD) {
            let wanted = visit.scan(first, list.threshold());
            each_vector(first, wanted, |vector| prefetch(record.extra(vector)));
            let (first, wanted) = mem::replace(&mut before, (first, wanted));
            each_vector(first, wanted, |vector| visit.refine(vector, list));
        }
        let (first, wanted) = before;
        each_vector(first, wanted, |vector| visit.refine(vector, list));
    }
}

impl QueryTables {
    fn new(inner: &[f32], bits: u32, wide: bool, unit: f64) -> Self {
        Self { signs: SignTable::new(inner, wide), levels: LevelTable::new(inner, bits, wide), unit }
    }
}

/// What brings the largest of some components to between 1 and 2 if it is divided by it, a power of two.
fn unit(components: &[f64]) -> f64 {
    power_of_two(components.iter().fold(0.0, |most: f64, x| most.max(x.abs()))).recip()
}

/// The largest magnitude of the adds of some blocks.
fn largest(adds: &[[u8; ADDS_LEN]]) -> f64 {
    let adds = adds.as_flattened().as_chunks().0.iter().map(|add| f32::from_le_bytes(*add).abs());
    adds.fold(0.0, f32::max).into()
}

fn square(components: &[f64]) -> f64 {
    components.iter().map(|x| x * x).sum()
}

/// A query at a cluster.
struct ClusterScan<'a> {
    kernels: &'static Kernels,
    cluster: u32,
    tables: &'a QueryTables,
    /// Whether the tables are of what leads from the cluster to the query.
    apart: bool,
    relation: ClusterRelation,
    /// What brings lengths to the scale of the record.
    scale: f64,
    /// What brings squares back from it.
    back: f64,
    /// What 1 stands for in the tables, in that scale.
    unit: f64,
    record: &'a ClusterRecord<'a>,
    first: u32,
    allowed: AllowedRows<'a>,
}

impl ClusterScan<'_> {
    /// Stage one: the vectors of some blocks, as bits, that may be nearer than the threshold.
    fn scan(&self, first: usize, threshold: f64) -> [u32; AHEAD] {
        let mut wanted: [u32; AHEAD] = std::array::from_fn(|at| self.wanted(first + at));
        let from = wanted.iter().take_while(|wanted| **wanted == 0).count();
        let to = AHEAD - wanted.iter().rev().take_while(|wanted| **wanted == 0).count();
        let Some(wanted_here) = wanted.get_mut(from..to) else { return wanted };
        let blocks = first + from..first + to;
        let (ClusterRelation { add, weight, err }, signs) = (self.relation, &self.tables.signs);
        let base = f64::from(signs.base()) + DEVIATIONS_OF_SIGNS * f64::from(signs.error());
        let adds = self.apart.then(|| self.record.bases(blocks.clone()));
        let limit = (threshold - add + ROUNDING_WIDE * (threshold.abs() + add.abs())) / self.back;
        // Beside what the code leaves open, what the other sums are rounded by is nothing.
        let rounded = limit.abs() + weight.abs() * largest(adds.unwrap_or_default());
        let scan = ScanParams {
            add_weight: narrow(weight),
            g_err: narrow(DEVIATIONS_OF_SIGNS * err * self.scale),
            step: narrow(f64::from(signs.step()) * self.unit),
            base: narrow(base * self.unit),
            limit: narrow(limit + ROUNDING * rounded),
            adds,
        };
        let mut masks = [0; AHEAD];
        let masks = masks.get_mut(from..to).unwrap_or_default();
        self.kernels.scan(self.record.blocks(blocks), signs, &scan, masks);
        wanted_here.iter_mut().zip(masks).for_each(|(wanted, mask)| *wanted &= *mask);
        wanted
    }

    /// The vectors of a block that there are, and that are allowed where that is known by their order.
    fn wanted(&self, block: usize) -> u32 {
        let start = block * BLOCK_VECTORS;
        let filled = match self.record.vectors().saturating_sub(start) {
            0 => return 0,
            filled @ 1..BLOCK_VECTORS => (1 << filled) - 1,
            _ => u32::MAX,
        };
        let listed = self.record.row(start).is_some();
        if listed { filled } else { filled & self.allowed.mask(self.row(start)) }
    }

    /// Stage two: one vector by its whole code.
    fn refine(&self, vector: usize, list: &mut Shortlist) {
        let row = self.row(vector);
        // The rows of a block that lists them were not yet asked for.
        if !self.allowed.has(row) {
            return;
        }
        let (kernels, levels) = (self.kernels, &self.tables.levels);
        let Some(block) = self.record.block(vector / BLOCK_VECTORS) else { return };
        let signs = kernels.sign_dot(&block, vector % BLOCK_VECTORS, levels);
        let product = levels.centred(signs, kernels.level_dot(self.record.extra(vector), levels));
        let (ClusterRelation { add, weight, err: away }, fine) = (self.relation, self.record.fine(vector));
        let constant = weight * f64::from(if self.apart { fine.base } else { fine.add });
        let inside = f64::from(fine.mul) * product * self.unit;
        // Of the code: what it says; of the table: what it says times |mul|·‖y‖. That is at most the same of the
        // signs alone, for what is along the residual, and err·√(D − 1) for what is not.
        let (err, mul) = (f64::from(fine.err), f64::from(block.mul(vector % BLOCK_VECTORS)));
        #[expect(clippy::cast_precision_loss, reason = "a dimension is small")]
        let padded = levels.padded() as f64;
        let of_code = err * away * self.scale;
        let of_table = levels.error() * self.unit;
        let variance =
            of_code * of_code + of_table * of_table * (mul * mul * padded / 4.0 + err * err * padded);
        let rounding = ROUNDING * (constant.abs() + inside.abs());
        let estimate = add + (constant + inside) * self.back;
        let error = (DEVIATIONS * variance.sqrt() + rounding) * self.back + ROUNDING_WIDE * add.abs();
        list.push(RowCandidate { lower: estimate - error, estimate, row, cluster: self.cluster });
    }

    fn row(&self, vector: usize) -> u32 {
        let run = || self.first + u32::try_from(vector).unwrap_or(u32::MAX);
        self.record.row(vector).unwrap_or_else(run)
    }
}

/// Calls `visit` with the number of each vector whose bit is set in the masks of some blocks.
fn each_vector(first: usize, masks: [u32; AHEAD], mut visit: impl FnMut(usize)) {
    for (block, mut bits) in (first..).zip(masks) {
        while bits != 0 {
            visit(block * BLOCK_VECTORS + bits.trailing_zeros() as usize);
            bits &= bits - 1;
        }
    }
}

impl Shortlist {
    /// For the `limit` nearest; at least one.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), uppers: BinaryHeap::new(), candidates: Vec::new() }
    }

    /// What is farther than this for sure is not wanted.
    fn threshold(&self) -> f64 {
        match self.uppers.peek() {
            Some(TotalF64(greatest)) if self.uppers.len() == self.limit => *greatest,
            _ => f64::INFINITY,
        }
    }

    fn push(&mut self, candidate: RowCandidate) {
        let upper = candidate.upper();
        if candidate.lower > self.threshold() {
            return;
        }
        self.candidates.push(candidate);
        // What is no number bounds nothing.
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

    /// How many were in question at some time.
    pub(crate) fn len(&self) -> usize {
        self.candidates.len()
    }

    /// The estimates of those that are the nearest by them, at most so many, and the clusters they lie in.
    pub(crate) fn likeliest(&self, count: usize) -> Vec<(f64, u32)> {
        let mut all: Vec<(f64, u32)> =
            self.candidates.iter().map(|candidate| (candidate.estimate, candidate.cluster)).collect();
        if count < all.len() {
            all.select_nth_unstable_by(count, |a, b| a.0.total_cmp(&b.0));
            all.truncate(count);
        }
        all
    }

    /// The rows that are still in question for the `limit` nearest, the most likely first.
    pub(crate) fn finish(mut self, limit: usize) -> Vec<RowCandidate> {
        let mut uppers: Vec<f64> =
            self.candidates.iter().map(RowCandidate::upper).filter(|upper| !upper.is_nan()).collect();
        if (1..=uppers.len()).contains(&limit) {
            let (_, threshold, _) = uppers.select_nth_unstable_by(limit - 1, f64::total_cmp);
            // What is no number is kept: the exact distance will tell.
            self.candidates.retain(|candidate| candidate.lower.is_nan() || candidate.lower <= *threshold);
        }
        self.candidates.sort_unstable_by(|a, b| a.estimate.total_cmp(&b.estimate).then(a.row.cmp(&b.row)));
        self.candidates
    }
}

impl RowCandidate {
    /// It is no farther than this, as far as is known. No number if nothing is.
    fn upper(&self) -> f64 {
        2.0 * self.estimate - self.lower
    }
}

impl AllowedRows<'_> {
    /// The bits of 32 rows from `row` on.
    fn mask(&self, row: u32) -> u32 {
        let Some(bits) = self.0 else { return u32::MAX };
        let (word, shift) = (row as usize / 64, row % 64);
        let at = |word: usize| u128::from(bits.get(word).copied().unwrap_or_default());
        let both = at(word) | at(word + 1) << 64;
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are what is asked for")]
        let mask = (both >> shift) as u32;
        mask
    }

    fn has(&self, row: u32) -> bool {
        self.mask(row) & 1 == 1
    }
}

impl Ord for TotalF64 {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for TotalF64 {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
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
            list.push(RowCandidate { lower: estimate - error, estimate: *estimate, row, cluster: 0 });
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
        let mut likeliest = list(4, &near).likeliest(2);
        likeliest.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert_eq!(likeliest, [(1.0, 0), (1.3, 0)]);
    }
}
