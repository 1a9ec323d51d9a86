//! Kernels: the loops over codes and vectors in which a query spends its time.
//!
//! | what | of |
//! |---|---|
//! | [`Kernels::scan`] | sign blocks: which of their 32 vectors each may be near enough |
//! | [`Kernels::sign_dot`], [`Kernels::level_dot`] | one vector: its code times the query in integers, exactly |
//! | [`Kernels::dot`], [`Kernels::l2`] | one vector, in f32: to rank clusters |
//! | [`Kernels::wide_dot`], [`Kernels::wide_l2`] | one vector as it was given, in f64: for final distances |
//!
//! Each exists in plain Rust and, on x86-64, for AVX2 and AVX-512; the scan also for NEON. The best that the
//! processor supports is chosen once. The plain form leaves vector registers to the compiler: the sums of `scan` are
//! table look-ups, which it cannot vectorise, and take about twenty times as long as with AVX2.
//!
//! **Invariants:** every implementation returns the same bits, except that only whether a result is NaN is the
//! same: sums of integers are exact, and floats are added and multiplied in one order, never fused. No kernel
//! panics or reads out of bounds, whatever the lengths of its arguments: lengths that do not match make wrong
//! sums. A bound that is NaN never rules a vector out.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod kernel_set;
mod layout;
#[cfg(feature = "testing")]
mod measure;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod select;
mod tables;

#[cfg(test)]
mod testing;
#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "sums of tests are exact in f32")]
mod tests;

#[cfg(feature = "testing")]
pub use measure::ScanTrial;

pub(crate) use kernel_set::{Kernels, ScanParams};
pub(crate) use layout::{
    ADDS_LEN, BLOCK_VECTORS, SignBlock, SignFactors, block_len, extra_len, push_block, push_levels,
};
pub(crate) use select::{kernels, prefetch};
pub(crate) use tables::{LevelTable, SignTable};
