//! The kernels for AVX2, which every x86-64 processor of the last ten years has, with F16C for halves.

#![expect(unsafe_code, reason = "a feature is needed to call a kernel")]

mod code_dot;
mod float_dot;
mod register;
mod scan;

pub(super) use register::prefetch_line;
pub(super) use scan::{WideSums, carry_sums, mask_bounds};

use code_dot::{level_dot, sign_dot};
use float_dot::{dot, l2, wide_dot, wide_l2};
use scan::scan_blocks;

use super::kernel_set::Kernels;
use super::portable;

/// These kernels, if the processor can run them.
pub(super) fn detect() -> Option<&'static Kernels> {
    (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c")).then_some(&KERNELS)
}

#[target_feature(enable = "avx2")]
fn byte_dot(codes: &[i8], query: &[i16]) -> i32 {
    portable::byte_dot(codes, query)
}

/// Calls a function that needs the features.
macro_rules! call {
    ($function:ident($($argument:ident),*)) => {
        // SAFETY: the functions in `KERNELS` are handed out by `detect` alone, which has found AVX2 and F16C, and by
        // `avx512::detect`, which has found them too.
        |$($argument),*| unsafe { $function($($argument),*) }
    };
}

pub(super) const KERNELS: Kernels = Kernels {
    name: "avx2",
    scan: call!(scan_blocks(blocks, table, params, masks)),
    sign_dot: call!(sign_dot(block, vector, table)),
    level_dot: call!(level_dot(extra, table)),
    byte_dot: call!(byte_dot(codes, query)),
    dot: call!(dot(query, row)),
    l2: call!(l2(query, row)),
    wide_dot: call!(wide_dot(query, row)),
    wide_l2: call!(wide_l2(query, row)),
};
