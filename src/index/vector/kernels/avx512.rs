//! The scan for AVX-512: that of AVX2 in registers twice as wide. What is not here is as in [`avx2`].

#![expect(unsafe_code, reason = "registers are loaded through pointers, and a feature is needed to call")]

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_add_epi16, _mm256_setzero_si256, _mm512_add_epi8, _mm512_add_epi16,
    _mm512_and_si512, _mm512_castsi512_si256, _mm512_extracti64x4_epi64, _mm512_loadu_si512,
    _mm512_set1_epi8, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_srli_epi16,
};

use super::avx2::{self, WideSums, carry, finish};
use super::layout::SignBlock;
use super::tables::{Aligned, NARROW_STRIDES, STRIDE, SignTable, WIDE_STRIDES};
use super::{Kernels, ScanParams};

/// These kernels, where the processor can run them.
pub(super) fn kernels() -> Option<&'static Kernels> {
    avx2::kernels()?;
    (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")).then_some(&KERNELS)
}

static KERNELS: Kernels = Kernels {
    name: "avx512",
    // SAFETY: all that hands out this function is `kernels`, which has found AVX2, F16C and AVX-512.
    scan: |blocks, table, factors, masks| unsafe { scan(blocks, table, factors, masks) },
    ..avx2::KERNELS
};

#[target_feature(enable = "avx2,f16c,avx512f,avx512bw")]
fn scan(blocks: &[u8], table: &SignTable, scan: &ScanParams<'_>, masks: &mut [u32]) {
    let blocks = SignBlock::each(blocks, table.padded(), scan.adds).zip(masks);
    if table.wide {
        blocks.for_each(|(block, mask)| {
            *mask = finish(sums_wide(block.groups, &table.entries), &block, scan);
        });
    } else {
        blocks.for_each(|(block, mask)| {
            *mask = finish(sums_narrow(block.groups, &table.entries), &block, scan);
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
                let (more_low, more_high) = look_up(load(groups), load(entries));
                (low, high) = (_mm512_add_epi8(low, more_low), _mm512_add_epi8(high, more_high));
            }
            wide = widen(wide, low, high);
        }
        totals = carry(totals, halved(wide));
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
                wide = widen(wide, low, high);
            }
        }
        totals = carry(totals, halved(wide));
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
fn widen([a, b, c, d]: [__m512i; 4], low: __m512i, high: __m512i) -> [__m512i; 4] {
    [
        _mm512_add_epi16(a, low),
        _mm512_add_epi16(b, _mm512_srli_epi16::<8>(low)),
        _mm512_add_epi16(c, high),
        _mm512_add_epi16(d, _mm512_srli_epi16::<8>(high)),
    ]
}

/// Adds the halves of sums, which is no more than all of them in one.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw")]
fn halved(wide: [__m512i; 4]) -> WideSums {
    wide.map(|sums| _mm256_add_epi16(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64::<1>(sums)))
}
