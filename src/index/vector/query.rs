//! A query against codes: stage one over all signs of a leaf, stage two over what is left.
//!
//! **Invariant:** a vector is left out only if k others are nearer than it could be, each by the stated number
//! of standard deviations of its estimate.

use std::collections::BinaryHeap;
use std::mem;

use super::centroids::CentroidSet;
use super::kernels::{BLOCK_VECTORS, Kernels, LevelTable, Scan, SignTable, kernels, prefetch};
use super::quantizer::Form;
use super::record::Record;
use super::space::{Space, narrow};
use crate::types::Metric;

/// How many standard deviations an estimate is given: 2.5 misses 0.6 % of the true neighbours at the border.
pub(crate) const DEVIATIONS: f32 = 2.5;
/// The same for signs alone, as in the paper: 2.9 % are missed at the border, but hardly any neighbour is at the
/// border of bounds that wide.
const DEVIATIONS_OF_SIGNS: f32 = 1.9;
/// How many blocks are scanned before what is left of one is looked at: as long as memory takes to answer.
const AHEAD: usize = 4;
/// A query this many times farther from the origin than from its leaves needs the finer table.
const FAR: f32 = 4.0;

/// A query vector in the space of a centroid set.
#[derive(Debug)]
pub(crate) struct Query {
    kernels: &'static Kernels,
    form: Form,
    square: f32,
    signs: SignTable,
    levels: LevelTable,
    /// How near each leaf is.
    scores: Vec<f32>,
}

/// What a query is to one leaf: see [`super::quantizer::Factors`].
#[derive(Clone, Copy, Debug)]
struct Relation {
    add: f32,
    weight: f32,
    err: f32,
}

/// A row that may be among the nearest, with what is known of its distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) lower: f32,
    pub(crate) estimate: f32,
    pub(crate) row: u32,
}

/// The rows that may be among the k nearest.
#[derive(Debug)]
pub(crate) struct Shortlist {
    limit: usize,
    /// The k least upper bounds, the greatest on top.
    uppers: BinaryHeap<Ordered>,
    candidates: Vec<Candidate>,
}

#[derive(Clone, Copy, Debug)]
struct Ordered(f32);

/// Which rows of a segment may be found: all, or those whose bit is set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed<'a>(pub(crate) Option<&'a [u64]>);

impl Query {
    /// A query of the column's dimension.
    pub(crate) fn new(set: &CentroidSet, metric: Metric, vector: &[f32]) -> Self {
        let space = set.space();
        let mut normalized = Vec::with_capacity(vector.len());
        Space::normalized(metric, vector, &mut normalized);
        let mut inner = vec![0.0; space.padded()];
        space.enter(&normalized, &mut Vec::new(), &mut inner);
        let kernels = kernels();
        let scores = set.scores(&inner);
        let square = narrow(kernels.dot(&inner, &inner));
        let nearest = scores.iter().copied().fold(f32::INFINITY, f32::min);
        let wide = match space.form() {
            Form::L2 => square > FAR * FAR * nearest,
            // There the table holds the query whole, and errors are of about its length.
            Form::Dot => false,
        };
        Self {
            kernels,
            form: space.form(),
            square,
            signs: SignTable::new(&inner, wide),
            levels: LevelTable::new(&inner, u32::from(space.bits())),
            scores,
        }
    }

    /// How near each leaf of the set is: smaller is nearer.
    pub(crate) fn scores(&self) -> &[f32] {
        &self.scores
    }

    fn relation(&self, set: &CentroidSet, leaf: usize) -> Relation {
        let score = self.scores.get(leaf).copied().unwrap_or(f32::NAN);
        match self.form {
            Form::L2 => Relation { add: score, weight: 1.0, err: score.max(0.0).sqrt() },
            Form::Dot => {
                let (product, length) = (-f64::from(score), f64::from(set.square(leaf)));
                let weight = if length > 0.0 { product / length } else { 0.0 };
                let rest = f64::from(self.square) - weight * product;
                // Rounded up: near-parallel vectors cancel.
                let slack = 1e-6 * f64::from(self.square);
                Relation { add: score, weight: narrow(weight), err: narrow((rest.max(0.0) + slack).sqrt()) }
            }
        }
    }

    /// Scores the vectors of a leaf. `first` is the row of its first vector, if it does not list its rows.
    pub(super) fn scan(
        &self,
        set: &CentroidSet,
        leaf: usize,
        record: &Record<'_>,
        first: u32,
        allowed: Allowed<'_>,
        list: &mut Shortlist,
    ) {
        let visit = Visit { query: self, relation: self.relation(set, leaf), record, first, allowed };
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

/// A query at a leaf.
struct Visit<'a> {
    query: &'a Query,
    relation: Relation,
    record: &'a Record<'a>,
    first: u32,
    allowed: Allowed<'a>,
}

impl Visit<'_> {
    /// Stage one: the vectors of some blocks, as bits, that may be nearer than the threshold.
    fn scan(&self, first: usize, threshold: f32) -> [u32; AHEAD] {
        let mut wanted: [u32; AHEAD] = std::array::from_fn(|at| self.wanted(first + at));
        let from = wanted.iter().take_while(|wanted| **wanted == 0).count();
        let to = AHEAD - wanted.iter().rev().take_while(|wanted| **wanted == 0).count();
        let Some(wanted_here) = wanted.get_mut(from..to) else { return wanted };
        let Query { kernels, signs, .. } = self.query;
        let scan = Scan {
            add_weight: self.relation.weight,
            g_err: DEVIATIONS_OF_SIGNS * self.relation.err,
            lut_err: DEVIATIONS_OF_SIGNS * signs.error(),
            limit: threshold - self.relation.add,
        };
        let mut masks = [0; AHEAD];
        let masks = masks.get_mut(from..to).unwrap_or_default();
        kernels.scan(self.record.blocks(first + from..first + to), signs, &scan, masks);
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
        let (Query { kernels, levels, .. }, relation) = (self.query, self.relation);
        let Some(block) = self.record.block(vector / BLOCK_VECTORS) else { return };
        let signs = kernels.sign_dot(&block, vector % BLOCK_VECTORS, levels);
        let product = narrow(levels.centred(signs, kernels.level_dot(self.record.extra(vector), levels)));
        let fine = self.record.fine(vector);
        let estimate = relation.add + relation.weight * fine.add + fine.mul * product;
        list.push(estimate, DEVIATIONS * fine.err * relation.err, row);
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
    fn threshold(&self) -> f32 {
        match self.uppers.peek() {
            Some(Ordered(greatest)) if self.uppers.len() == self.limit => *greatest,
            _ => f32::INFINITY,
        }
    }

    fn push(&mut self, estimate: f32, error: f32, row: u32) {
        let (lower, upper) = (estimate - error, estimate + error);
        if lower > self.threshold() {
            return;
        }
        self.candidates.push(Candidate { lower, estimate, row });
        if self.uppers.len() < self.limit {
            self.uppers.push(Ordered(upper));
        } else if let Some(mut greatest) = self.uppers.peek_mut()
            && upper < greatest.0
        {
            *greatest = Ordered(upper);
        }
    }

    /// The rows that are still in question, the most likely first.
    pub(crate) fn finish(mut self) -> Vec<Candidate> {
        let threshold = self.threshold();
        // What is no number is kept: the exact distance will tell.
        self.candidates.retain(|candidate| candidate.lower.is_nan() || candidate.lower <= threshold);
        self.candidates.sort_unstable_by(|a, b| a.estimate.total_cmp(&b.estimate).then(a.row.cmp(&b.row)));
        self.candidates
    }
}

impl Allowed<'_> {
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

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered {}
