//! Scanning the record of a cluster: the signs of all vectors, then the whole code of those that remain.

use std::mem;
use std::ops::Range;

use super::allowed_rows::AllowedRows;
use super::query_tables::QueryTables;
use super::shortlist::{RecordSource, RowCandidate, Shortlist};
use super::vector_query::{ClusterRelation, QuantizedQuery};
use crate::index::vector::centroids::CentroidSet;
use crate::index::vector::kernels::{ADDS_LEN, BLOCK_VECTORS, Kernels, ScanParams, prefetch};
use crate::index::vector::numeric::{count_to_f64, round_to_f32};
use crate::index::vector::record::ClusterRecord;

/// The standard deviations between an estimate and its bounds.
// Errors are normally distributed, so this is a plain z-score: 2.5 misses .6 % of the true neighbours at the border, the
// 1.9 of the paper 2.9 %. For that, 14 % more exact vectors are read at 768 dimensions, and 24 % more at 100.
const DEVIATIONS: f64 = 2.5;
/// The same for signs alone, as in the paper.
// Bounds of signs are so wide that hardly any neighbour is at their border, and each vector that passes costs a whole code.
const DEVIATIONS_OF_SIGNS: f64 = 1.9;
/// Blocks that are scanned before the vectors that remain in them are refined.
// Their codes are prefetched meanwhile: scanning four blocks takes about as long as memory takes to answer.
const AHEAD: usize = 4;
/// The relative error of a sum of a few f32.
const ROUNDING: f64 = 2.4e-7;
/// The relative error of a sum in f64 of as many squares as there may be dimensions.
const ROUNDING_WIDE: f64 = 1e-12;

impl QuantizedQuery {
    /// Adds the vectors of a cluster that may be among the nearest to the list.
    pub(in crate::index::vector) fn scan_record(
        &self,
        set: &CentroidSet,
        source: RecordSource,
        record: &ClusterRecord<'_>,
        allowed: AllowedRows<'_>,
        list: &mut Shortlist,
    ) {
        let (relation, tables) = self.enter_cluster(set, source.cluster);
        let scale = record.scale();
        let scan = ClusterScan {
            kernels: self.kernels,
            source,
            tables: tables.tables(),
            are_own: tables.are_own(),
            relation,
            scale,
            back: (scale * scale).recip(),
            unit: scale * tables.tables().unit,
            record,
            allowed,
        };
        // The blocks of the step before, and the vectors that remain in them. They are refined one step later, when their
        // codes have arrived. So a step is scanned with a threshold that is one step old: looser, never too strict.
        let mut before = (0, [0; AHEAD]);
        for first in (0..record.vector_count().div_ceil(BLOCK_VECTORS)).step_by(AHEAD) {
            let remaining = scan.scan_blocks(first, list.threshold());
            each_vector(first, remaining, |vector| prefetch(record.extra_code(vector)));
            let (first, remaining) = mem::replace(&mut before, (first, remaining));
            each_vector(first, remaining, |vector| scan.refine_vector(vector, list));
        }
        let (first, remaining) = before;
        each_vector(first, remaining, |vector| scan.refine_vector(vector, list));
    }
}

/// A query at a cluster.
struct ClusterScan<'a> {
    kernels: &'static Kernels,
    source: RecordSource,
    tables: &'a QueryTables,
    /// Whether the tables are of the difference between query and centroid.
    are_own: bool,
    relation: ClusterRelation,
    /// Brings lengths to the scale of the record.
    scale: f64,
    /// Brings squares back from it.
    back: f64,
    /// What 1 in the tables stands for, in that scale.
    unit: f64,
    record: &'a ClusterRecord<'a>,
    allowed: AllowedRows<'a>,
}

impl ClusterScan<'_> {
    /// Stage one: the vectors of some blocks, as bits, that may be nearer than the threshold.
    #[expect(clippy::indexing_slicing, reason = "`from` and `to` are at most AHEAD")]
    fn scan_blocks(&self, first: usize, threshold: f64) -> [u32; AHEAD] {
        let mut remaining: [u32; AHEAD] = std::array::from_fn(|at| self.wanted_vectors(first + at));
        // Blocks without an allowed row cost nothing at either end; one in the middle is cheaper to scan than a second call.
        let from = remaining.iter().take_while(|wanted| **wanted == 0).count();
        let to = AHEAD - remaining.iter().rev().take_while(|wanted| **wanted == 0).count();
        if from >= to {
            return remaining;
        }
        let blocks = first + from..first + to;
        let params = self.scan_params(&blocks, threshold);
        // All ones: what no kernel has looked at is not ruled out.
        let mut masks = [u32::MAX; AHEAD];
        self.kernels.scan(self.record.sign_blocks(blocks), &self.tables.signs, &params, &mut masks[from..to]);
        for (remaining, mask) in remaining.iter_mut().zip(masks) {
            *remaining &= mask;
        }
        remaining
    }

    /// The constants of stage one. All are in the scale of the record, and in f32: kernels know no other.
    fn scan_params(&self, blocks: &Range<usize>, threshold: f64) -> ScanParams<'_> {
        let (ClusterRelation { add, weight, err }, signs) = (self.relation, &self.tables.signs);
        let base = f64::from(signs.base()) + DEVIATIONS_OF_SIGNS * f64::from(signs.error());
        let adds = self.are_own.then(|| self.record.block_bases(blocks.clone()));
        // The difference of two large numbers where the cluster is far away: in f64, with its rounding as a margin.
        let limit = (threshold - add + ROUNDING_WIDE * (threshold.abs() + add.abs())) / self.back;
        // The kernel compares sums of f32. Of those, only the largest terms count beside the deviation of the code.
        let rounded = limit.abs() + weight.abs() * adds.map_or(0.0, largest_magnitude);
        ScanParams {
            add_weight: round_to_f32(weight),
            g_err: round_to_f32(DEVIATIONS_OF_SIGNS * err * self.scale),
            step: round_to_f32(f64::from(signs.step()) * self.unit),
            base: round_to_f32(base * self.unit),
            limit: round_to_f32(limit + ROUNDING * rounded),
            adds,
        }
    }

    /// The vectors of a block that exist, and that are allowed as far as that is known from the rows being a run.
    fn wanted_vectors(&self, block: usize) -> u32 {
        let start = block * BLOCK_VECTORS;
        // The last block is filled up with vectors that do not exist, and the last step with blocks that do not.
        let filled = match self.record.vector_count().saturating_sub(start) {
            0 => return 0,
            filled @ 1..BLOCK_VECTORS => (1 << filled) - 1,
            _ => u32::MAX,
        };
        if self.record.is_listed() {
            // To look up 32 scattered rows costs more than to score them: `refine_vector` looks up those that remain.
            filled
        } else {
            filled & self.allowed.mask_from(self.record.row_of(start))
        }
    }

    /// Stage two: one vector by its whole code.
    fn refine_vector(&self, vector: usize, list: &mut Shortlist) {
        let row = self.record.row_of(vector);
        if self.record.is_listed() && !self.allowed.contains(row) {
            return;
        }
        let (kernels, levels) = (self.kernels, &self.tables.levels);
        let block = self.record.sign_block(vector / BLOCK_VECTORS);
        // The sum over signs is computed again: that of stage one was over a table of 6 or 8 bits, and its rounding would
        // limit how precise the whole code can be.
        let signs = kernels.sign_dot(&block, vector % BLOCK_VECTORS, levels);
        let product = levels.centred(signs, kernels.level_dot(self.record.extra_code(vector), levels));
        let ClusterRelation { add, weight, err: distance } = self.relation;
        let fine = self.record.fine_factors(vector);
        let constant = weight * f64::from(if self.are_own { fine.base } else { fine.add });
        let inside = f64::from(fine.mul) * product * self.unit;
        // Two deviations. Of the code: as it states. Of the table: what it states times |mul|·‖y‖, which is not stored. That
        // is at most |mul|·√D/2 of the signs alone, for the part along the residual, and err·√(D − 1) for the part across.
        let (err, mul) = (f64::from(fine.err), f64::from(block.mul(vector % BLOCK_VECTORS)));
        let padded = count_to_f64(levels.padded());
        let of_code = err * distance * self.scale;
        let of_table = levels.error() * self.unit;
        let variance =
            of_code * of_code + of_table * of_table * (mul * mul * padded / 4.0 + err * err * padded);
        let rounding = ROUNDING * (constant.abs() + inside.abs());
        let estimate = add + (constant + inside) * self.back;
        let error = (DEVIATIONS * variance.sqrt() + rounding) * self.back + ROUNDING_WIDE * add.abs();
        list.push(RowCandidate { lower: estimate - error, estimate, row, source: self.source });
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

/// The largest magnitude of the adds of some blocks; 0 of none.
fn largest_magnitude(adds: &[[u8; ADDS_LEN]]) -> f64 {
    let adds = adds.as_flattened().as_chunks().0.iter().map(|add| f32::from_le_bytes(*add).abs());
    adds.fold(0.0, f32::max).into()
}
