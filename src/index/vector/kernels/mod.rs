//! Kernels: the loops over codes and vectors in which a query spends its time.
//!
//! | what | of |
//! |---|---|
//! | [`Kernels::scan`] | sign blocks: which of their 32 vectors each are worth a second look |
//! | [`Kernels::sign_dot`], [`Kernels::level_dot`] | one vector: its code times the query in integers, exactly |
//! | [`Kernels::dot`], [`Kernels::l2`] | one vector, in f32: for which clusters are near |
//! | [`Kernels::wide_dot`], [`Kernels::wide_l2`] | one vector as it was given, in f64: for the last word |
//!
//! Each exists in plain Rust and, on x86-64, for AVX2 and AVX-512; the scan also for NEON. The best that the
//! processor has is chosen once. The plain form leaves vector registers to the compiler: the sums of `scan` are
//! table look-ups, which it cannot vectorise, and take some twenty times as long as with AVX2.
//!
//! **Invariants:** every implementation gives the same bits, NaN aside, of which only that it is NaN is the
//! same: sums of integers are exact, and floats are added and multiplied in one order, never fused. No kernel
//! panics or reads out of bounds, whatever the lengths of its arguments: those that do not match make wrong
//! sums. A bound that is NaN never rules a vector out.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod layout;
#[cfg(feature = "testing")]
mod measure;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod tables;

#[cfg(test)]
mod testing;
#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "sums of tests are exact in f32")]
mod tests;

#[cfg(feature = "testing")]
pub use measure::ScanTrial;

use std::sync::OnceLock;

pub(crate) use layout::{
    ADDS_LEN, BLOCK_VECTORS, SignBlock, SignFactors, block_len, extra_len, push_block, push_levels,
};
pub(crate) use tables::{LevelTable, SignTable};

/// Independent sums of a distance in f32: enough to hide the latency of an addition in the widest registers.
const LANES: usize = 32;
/// The same in f64.
const WIDE_LANES: usize = 16;
/// How many terms of a distance are summed in f32 before the sum is carried over to f64.
const BLOCK: usize = 512;

/// What a scan needs of a cluster and of the results so far.
///
/// `estimate = g_add + add_weight · F_add + F_mul · <y,q>`, and `estimate - F_err · g_err - |F_mul| · lut_err`
/// is its lower bound. As `F_mul` is not positive, that is
/// `g_add + (add_weight · F_add - F_err · g_err) + F_mul · (<y,q> + lut_err)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScanParams<'a> {
    pub(crate) add_weight: f32,
    /// Times how many standard deviations the bound is to be away.
    pub(crate) g_err: f32,
    /// [`SignTable::step`], in the scale of the factors.
    pub(crate) step: f32,
    /// [`SignTable::base`] and, times as many deviations, [`SignTable::error`], in the same scale.
    pub(crate) base: f32,
    /// A vector whose lower bound, less `g_add`, is above this is ruled out.
    pub(crate) limit: f32,
    /// Block by block, what is taken in place of the `F_add` of the blocks.
    pub(crate) adds: Option<&'a [[u8; ADDS_LEN]]>,
}

type SumKernel = fn(&[f32], &[f32]) -> f64;

/// One implementation of every kernel.
#[derive(Debug)]
pub(crate) struct Kernels {
    #[cfg_attr(not(any(test, feature = "testing")), expect(dead_code, reason = "for those who measure"))]
    name: &'static str,
    scan: fn(&[u8], &SignTable, &ScanParams<'_>, &mut [u32]),
    sign_dot: fn(&SignBlock<'_>, usize, &LevelTable) -> i32,
    level_dot: fn(&[u8], &LevelTable) -> i64,
    dot: SumKernel,
    l2: SumKernel,
    wide_dot: SumKernel,
    wide_l2: SumKernel,
}

/// The fastest kernels of this processor.
pub(crate) fn kernels() -> &'static Kernels {
    static CHOSEN: OnceLock<&'static Kernels> = OnceLock::new();
    CHOSEN.get_or_init(|| Kernels::supported().pop().unwrap_or(&portable::KERNELS))
}

/// Asks memory for bytes that are read soon. A hint: it changes nothing but time.
pub(crate) fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(64) {
        avx2::prefetch(line);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

impl Kernels {
    /// All that this processor can run, the fastest last.
    pub(crate) fn supported() -> Vec<&'static Self> {
        #[cfg(target_arch = "x86_64")]
        let wider = [avx2::kernels(), avx512::kernels()];
        #[cfg(target_arch = "aarch64")]
        let wider = [neon::kernels()];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let wider: [Option<&'static Self>; 0] = [];
        std::iter::once(&portable::KERNELS).chain(wider.into_iter().flatten()).collect()
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Says as bits which vectors of sign blocks that lie side by side have no bound above the limit: a mask for
    /// each block.
    pub(crate) fn scan(&self, blocks: &[u8], table: &SignTable, scan: &ScanParams<'_>, masks: &mut [u32]) {
        debug_assert_eq!(blocks.len(), block_len(table.padded()) * masks.len());
        debug_assert!(scan.adds.is_none_or(|adds| adds.len() == masks.len()));
        (self.scan)(blocks, table, scan, masks);
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
