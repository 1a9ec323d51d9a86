//! The scan for AVX-512: that of AVX2 in registers twice as wide. All other kernels are those of [`avx2`].
//!
//! Comments on the algorithm are there too.

#![expect(unsafe_code, reason = "registers are loaded through pointers, and a feature is needed to call")]

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_add_epi16, _mm256_setzero_si256, _mm512_add_epi8, _mm512_add_epi16,
    _mm512_and_si512, _mm512_castsi512_si256, _mm512_extracti64x4_epi64, _mm512_loadu_si512,
    _mm512_set1_epi8, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_srli_epi16,
};

use super::avx2::{self, WideSums, carry_sums, mask_bounds};
use super::kernel_set::{Kernels, ScanParams};
use super::layout::SignBlock;
use super::tables::{Aligned, NARROW_STRIDES, STRIDE, SignTable, WIDE_STRIDES};

/// These kernels, if the processor can run them.
pub(super) fn detect() -> Option<&'static Kernels> {
    avx2::detect()?;
    (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")).then_some(&KERNELS)
}

static KERNELS: Kernels = Kernels {
    name: "avx512",
    // SAFETY: this function is handed out by `detect` alone, which has found AVX2, F16C and AVX-512.
    scan: |blocks, table, params, masks| unsafe { scan_blocks(blocks, table, params, masks) },
    ..avx2::KERNELS
};

#[target_feature(enable = "avx2,f16c,avx512f,avx512bw")]
fn scan_blocks(blocks: &[u8], table: &SignTable, params: &ScanParams<'_>, masks: &mut [u32]) {
    let blocks = SignBlock::iter_blocks(blocks, table.padded(), params.adds).zip(masks);
    if table.wide {
        blocks.for_each(|(block, mask)| {
            *mask = mask_bounds(sums_wide(block.groups, &table.entries), &block, params);
        });
    } else {
        blocks.for_each(|(block, mask)| {
            *mask = mask_bounds(sums_narrow(block.groups, &table.entries), &block, params);
        });
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: the array has the 64 bytes that are read, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw")]
fn sums_narrow(groups: &[u8], entries: &[Aligned<[u8; STRIDE]>]) -> [__m256i; 4] {
    let mut totals = [_mm256_setzero_si256(); 4];
    let strides = groups.as_chunks::<STRIDE>().0;
    for (strides, entries) in strides.chunks(NARROW_STRIDES).zip(entries.chunks(NARROW_STRIDES)) {
        let mut wide = [_mm512_setzero_si512(); 4];
        for (groups, Aligned(entries)) in strides.iter().zip(entries) {
            let (mut low, mut high) = (_mm512_setzero_si512(), _mm512_setzero_si512());
            for (groups, entries) in groups.as_chunks().0.iter().zip(entries.as_chunks().0) {
                let (entries_low, entries_high) = look_up(load(groups), load(entries));
                (low, high) = (_mm512_add_epi8(low, entries_low), _mm512_add_epi8(high, entries_high));
            }
            wide = widen_bytes(wide, low, high);
        }
        totals = carry_sums(totals, add_halves(wide));
    }
    totals
}

#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw")]
fn sums_wide(groups: &[u8], entries: &[Aligned<[u8; STRIDE]>]) -> [__m256i; 4] {
    let mut totals = [_mm256_setzero_si256(); 4];
    let strides = groups.as_chunks::<STRIDE>().0;
    for (strides, entries) in strides.chunks(WIDE_STRIDES).zip(entries.chunks(WIDE_STRIDES)) {
        let mut wide = [_mm512_setzero_si512(); 4];
        for (groups, Aligned(entries)) in strides.iter().zip(entries) {
            for (groups, entries) in groups.as_chunks().0.iter().zip(entries.as_chunks().0) {
                let (low, high) = look_up(load(groups), load(entries));
                wide = widen_bytes(wide, low, high);
            }
        }
        totals = carry_sums(totals, add_halves(wide));
    }
    totals
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn look_up(groups: __m512i, entries: __m512i) -> (__m512i, __m512i) {
    let mask = _mm512_set1_epi8(15);
    let low = _mm512_and_si512(groups, mask);
    let high = _mm512_and_si512(_mm512_srli_epi16::<4>(groups), mask);
    (_mm512_shuffle_epi8(entries, low), _mm512_shuffle_epi8(entries, high))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn widen_bytes([a, b, c, d]: [__m512i; 4], low: __m512i, high: __m512i) -> [__m512i; 4] {
    [
        _mm512_add_epi16(a, low),
        _mm512_add_epi16(b, _mm512_srli_epi16::<8>(low)),
        _mm512_add_epi16(c, high),
        _mm512_add_epi16(d, _mm512_srli_epi16::<8>(high)),
    ]
}

/// Adds the halves of sums: no more than one register of AVX2 would hold of all entries.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw")]
fn add_halves(wide: [__m512i; 4]) -> WideSums {
    wide.map(|sums| _mm256_add_epi16(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64::<1>(sums)))
}
