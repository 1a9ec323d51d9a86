//! The scan for NEON, which every 64-bit Arm processor has: look-ups by the table instruction, as by the shuffles of
//! AVX2. All other kernels are the portable ones, which compilers vectorise.

#![expect(unsafe_code, reason = "registers are loaded and stored through pointers")]

use std::arch::aarch64::{
    uint8x16_t, uint16x8_t, uint32x4_t, vaddq_u8, vaddq_u16, vaddw_high_u16, vaddw_u16, vandq_u8, vdupq_n_u8,
    vdupq_n_u16, vdupq_n_u32, vget_low_u16, vld1q_u8, vqtbl1q_u8, vreinterpretq_u16_u8, vshlq_n_u16,
    vshrq_n_u8, vsraq_n_u16, vst1q_u32, vsubq_u16,
};
use std::arch::is_aarch64_feature_detected;

use super::kernel_set::{Kernels, ScanParams};
use super::layout::{BLOCK_VECTORS, GROUP, SignBlock};
use super::portable::{self, mask_bounds};
use super::tables::{Aligned, NARROW_STRIDES, STRIDE, SignTable, WIDE_STRIDES};

/// These kernels, if the processor can run them.
pub(super) fn detect() -> Option<&'static Kernels> {
    is_aarch64_feature_detected!("neon").then_some(&KERNELS)
}

const KERNELS: Kernels = Kernels {
    name: "neon",
    // SAFETY: this function is handed out by `detect` alone, which has found NEON.
    scan: |blocks, table, params, masks| unsafe { scan_blocks(blocks, table, params, masks) },
    ..portable::KERNELS
};

#[target_feature(enable = "neon")]
fn scan_blocks(blocks: &[u8], table: &SignTable, params: &ScanParams<'_>, masks: &mut [u32]) {
    for (block, mask) in SignBlock::iter_blocks(blocks, table.padded(), params.adds).zip(masks) {
        let (groups, entries) = (block.groups.as_chunks::<STRIDE>().0, table.entries.as_slice());
        let sums = if table.wide {
            sum_entries::<WIDE_STRIDES>(groups, entries)
        } else {
            sum_entries::<NARROW_STRIDES>(groups, entries)
        };
        *mask = mask_bounds(&sums, &block, params);
    }
}

/// Sums of 16 bits: of the vectors in the even and the odd bytes of groups, and of the vectors 16 above them.
///
/// The first and third also contain 256 times the next, which is subtracted at the end.
type NeonSums = [uint16x8_t; 4];

/// The sums of all vectors, carried to 32 bits before 16 could overflow, which is after `MOST` times 64 dimensions. Narrow
/// entries are added four at a time before they are widened, wide ones are widened each.
#[inline]
#[target_feature(enable = "neon")]
fn sum_entries<const MOST: usize>(
    strides: &[[u8; STRIDE]],
    entries: &[Aligned<[u8; STRIDE]>],
) -> [u32; BLOCK_VECTORS] {
    let mut totals = [vdupq_n_u32(0); 8];
    for (strides, entries) in strides.chunks(MOST).zip(entries.chunks(MOST)) {
        let mut wide = [vdupq_n_u16(0); 4];
        for (groups, Aligned(entries)) in strides.iter().zip(entries) {
            wide = if MOST == NARROW_STRIDES {
                add_entries::<{ 4 * GROUP }>(wide, groups, entries)
            } else {
                add_entries::<GROUP>(wide, groups, entries)
            };
        }
        totals = carry_sums(totals, wide);
    }
    let mut sums = [0; BLOCK_VECTORS];
    for (sums, total) in sums.as_chunks_mut().0.iter_mut().zip(totals) {
        store(sums, total);
    }
    sums
}

/// Adds the entries of 64 dimensions, those of `TOGETHER` bytes of groups in bytes.
#[inline]
#[target_feature(enable = "neon")]
fn add_entries<const TOGETHER: usize>(
    wide: NeonSums,
    groups: &[u8; STRIDE],
    entries: &[u8; STRIDE],
) -> NeonSums {
    let together = groups.as_chunks::<TOGETHER>().0.iter().zip(entries.as_chunks::<TOGETHER>().0);
    together.fold(wide, |wide, (groups, entries)| {
        let (mut low, mut high) = (vdupq_n_u8(0), vdupq_n_u8(0));
        for (groups, entries) in groups.as_chunks().0.iter().zip(entries.as_chunks().0) {
            let (groups, entries) = (load(groups), load(entries));
            low = vaddq_u8(low, vqtbl1q_u8(entries, vandq_u8(groups, vdupq_n_u8(15))));
            high = vaddq_u8(high, vqtbl1q_u8(entries, vshrq_n_u8::<4>(groups)));
        }
        let ([a, b, c, d], low, high) = (wide, vreinterpretq_u16_u8(low), vreinterpretq_u16_u8(high));
        [vaddq_u16(a, low), vsraq_n_u16::<8>(b, low), vaddq_u16(c, high), vsraq_n_u16::<8>(d, high)]
    })
}

/// Adds sums of 16 bits to those of 32, four vectors each in their order.
#[inline]
#[target_feature(enable = "neon")]
fn carry_sums(
    [a, b, c, d, e, f, g, h]: [uint32x4_t; 8],
    [low, low_next, high, high_next]: NeonSums,
) -> [uint32x4_t; 8] {
    let low = vsubq_u16(low, vshlq_n_u16::<8>(low_next));
    let high = vsubq_u16(high, vshlq_n_u16::<8>(high_next));
    [
        vaddw_u16(a, vget_low_u16(low)),
        vaddw_u16(b, vget_low_u16(low_next)),
        vaddw_high_u16(c, low),
        vaddw_high_u16(d, low_next),
        vaddw_u16(e, vget_low_u16(high)),
        vaddw_u16(f, vget_low_u16(high_next)),
        vaddw_high_u16(g, high),
        vaddw_high_u16(h, high_next),
    ]
}

#[inline]
#[target_feature(enable = "neon")]
fn load(bytes: &[u8; GROUP]) -> uint8x16_t {
    // SAFETY: the array has the 16 bytes that are read, and the load needs no alignment.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn store(to: &mut [u32; 4], four: uint32x4_t) {
    // SAFETY: the array has the 16 bytes that are written, and the store needs no alignment but its own.
    unsafe { vst1q_u32(to.as_mut_ptr(), four) }
}
