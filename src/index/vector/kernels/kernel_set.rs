//! The set of kernels that an implementation provides.

use super::layout::{ADDS_LEN, SignBlock, block_len, extra_len};
use super::tables::{LevelTable, SignTable};

/// Independent sums of a distance in f32.
// Enough to hide the latency of an addition in the widest registers. Their number decides the order of additions, so it is
// the same for all implementations, however narrow.
pub(super) const LANES: usize = 32;
/// The same in f64.
pub(super) const WIDE_LANES: usize = 16;
/// How many terms of a distance are summed in f32 before the sum is carried to f64.
// That bounds the error by the terms of a block, whatever the dimension.
pub(super) const BLOCK: usize = 512;

/// The constants of a scan: of the cluster, and of the results so far.
///
/// `estimate = g_add + add_weight · F_add + F_mul · <y,q>`, and `estimate - F_err · g_err - |F_mul| · lut_err`
/// is its lower bound. As `F_mul` is not positive, that is
/// `g_add + (add_weight · F_add - F_err · g_err) + F_mul · (<y,q> + lut_err)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScanParams<'a> {
    pub(crate) add_weight: f32,
    /// Times the number of standard deviations between estimate and bound.
    pub(crate) g_err: f32,
    /// [`SignTable::step`], in the scale of the factors.
    pub(crate) step: f32,
    /// [`SignTable::base`] and, times the same number, [`SignTable::error`], in the same scale.
    pub(crate) base: f32,
    /// A vector whose lower bound, less `g_add`, is above this is ruled out.
    pub(crate) limit: f32,
    /// Block by block, what replaces the `F_add` of the blocks.
    pub(crate) adds: Option<&'a [[u8; ADDS_LEN]]>,
}

type SumKernel = fn(&[f32], &[f32]) -> f64;

/// One implementation of every kernel.
#[derive(Debug)]
pub(crate) struct Kernels {
    #[cfg_attr(
        not(any(test, feature = "testing")),
        expect(dead_code, reason = "tests and benchmarks name kernels")
    )]
    pub(super) name: &'static str,
    pub(super) scan: fn(&[u8], &SignTable, &ScanParams<'_>, &mut [u32]),
    pub(super) sign_dot: fn(&SignBlock<'_>, usize, &LevelTable) -> i32,
    pub(super) level_dot: fn(&[u8], &LevelTable) -> i64,
    pub(super) byte_dot: fn(&[i8], &[i16]) -> i32,
    pub(super) dot: SumKernel,
    pub(super) l2: SumKernel,
    pub(super) wide_dot: SumKernel,
    pub(super) wide_l2: SumKernel,
}

impl Kernels {
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The vectors of adjacent sign blocks with no bound above the limit, as bits: a mask for each block.
    pub(crate) fn scan(&self, blocks: &[u8], table: &SignTable, params: &ScanParams<'_>, masks: &mut [u32]) {
        debug_assert_eq!(blocks.len(), block_len(table.padded()) * masks.len());
        debug_assert!(params.adds.is_none_or(|adds| adds.len() == masks.len()));
        (self.scan)(blocks, table, params, masks);
    }

    /// `<b,q>` of a vector of a block, with the rounded query.
    pub(crate) fn sign_dot(&self, block: &SignBlock<'_>, vector: usize, table: &LevelTable) -> i32 {
        debug_assert_eq!(block.groups.len(), table.padded() * 4);
        (self.sign_dot)(block, vector, table)
    }

    /// `<e,q>` of an extra code, with the rounded query.
    pub(crate) fn level_dot(&self, extra: &[u8], table: &LevelTable) -> i64 {
        debug_assert_eq!(extra.len(), extra_len(table.padded(), table.bits));
        (self.level_dot)(extra, table)
    }

    /// The dot product of integers. Its caller sees to it that an i32 holds all partial sums.
    pub(crate) fn byte_dot(&self, codes: &[i8], query: &[i16]) -> i32 {
        debug_assert_eq!(codes.len(), query.len());
        (self.byte_dot)(codes, query)
    }

    /// The dot product. With u = 2⁻²⁴ its error is at most 24 u · Σ|aᵢ bᵢ|, unless terms overflow an f32 or
    /// lose digits to underflow.
    pub(crate) fn dot(&self, query: &[f32], row: &[f32]) -> f64 {
        debug_assert_eq!(query.len(), row.len());
        (self.dot)(query, row)
    }

    /// The squared distance, with a relative error of at most 24 u under the same condition.
    pub(crate) fn l2(&self, query: &[f32], row: &[f32]) -> f64 {
        debug_assert_eq!(query.len(), row.len());
        (self.l2)(query, row)
    }

    /// The dot product. With u = 2⁻⁵³ its error is at most n/8 · u · Σ|aᵢ bᵢ| for n components, none of whose
    /// products overflows, underflows or is rounded.
    pub(crate) fn wide_dot(&self, query: &[f32], row: &[f32]) -> f64 {
        debug_assert_eq!(query.len(), row.len());
        (self.wide_dot)(query, row)
    }

    /// The squared distance, with a relative error of at most n/8 · u, whatever the components.
    pub(crate) fn wide_l2(&self, query: &[f32], row: &[f32]) -> f64 {
        debug_assert_eq!(query.len(), row.len());
        (self.wide_l2)(query, row)
    }
}
