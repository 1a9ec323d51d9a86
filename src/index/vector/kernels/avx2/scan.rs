//! The scan of sign blocks.
//!
//! The sums of a scan are look-ups by byte shuffles, 32 nibbles in two tables of 16 at once. Narrow
//! entries are added four at a time before they are widened to 16 bits, wide ones are widened each.

use std::arch::x86_64::{
    __m256i, _CMP_NGT_UQ, _mm256_add_epi8, _mm256_add_epi16, _mm256_add_epi32, _mm256_add_ps,
    _mm256_and_si256, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cvtepi32_ps, _mm256_cvtph_ps,
    _mm256_movemask_ps, _mm256_mul_ps, _mm256_permute2x128_si256, _mm256_set1_epi8, _mm256_set1_ps,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_srli_epi16, _mm256_sub_epi16,
    _mm256_sub_ps, _mm256_unpackhi_epi16, _mm256_unpacklo_epi16,
};

use super::register::{load, load_half};
use crate::index::vector::kernels::kernel_set::ScanParams;
use crate::index::vector::kernels::layout::SignBlock;
use crate::index::vector::kernels::tables::{Aligned, NARROW_STRIDES, STRIDE, SignTable, WIDE_STRIDES};

#[target_feature(enable = "avx2,f16c")]
pub(super) fn scan_blocks(blocks: &[u8], table: &SignTable, params: &ScanParams<'_>, masks: &mut [u32]) {
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

/// Sums of 16 bits, separate in each half of a register: of the vectors in the even and the odd bytes of groups,
/// and of the vectors 16 above them.
///
/// The first and third also contain 256 times the next, which is subtracted at the end.
// Masking off the odd bytes first would take an instruction for every group; the subtraction is one for all.
pub(in crate::index::vector::kernels) type WideSums = [__m256i; 4];

/// Sums of 64 dimensions at a time, carried to 32 bits before 16 could overflow.
macro_rules! sums_of_entries {
    ($name:ident, $most:ident, $add:ident) => {
        #[inline]
        #[target_feature(enable = "avx2")]
        fn $name(groups: &[u8], entries: &[Aligned<[u8; STRIDE]>]) -> [__m256i; 4] {
            let mut totals = [_mm256_setzero_si256(); 4];
            let strides = groups.as_chunks::<STRIDE>().0;
            // Up to 4,096 dimensions, or 1,024 with entries of 8 bits, nothing has to be carried in between.
            if strides.len() <= $most {
                return carry_sums(totals, $add(strides, entries));
            }
            for (strides, entries) in strides.chunks($most).zip(entries.chunks($most)) {
                totals = carry_sums(totals, $add(strides, entries));
            }
            totals
        }
    };
}

sums_of_entries!(sums_narrow, NARROW_STRIDES, add_narrow);
sums_of_entries!(sums_wide, WIDE_STRIDES, add_wide);

/// Adds entries of 6 bits, of which four fit a byte.
// So only every fourth is widened: measured, 53 GB/s of codes instead of the 38 of entries of 8 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn add_narrow(strides: &[[u8; STRIDE]], entries: &[Aligned<[u8; STRIDE]>]) -> WideSums {
    let mut wide = [_mm256_setzero_si256(); 4];
    for (groups, Aligned(entries)) in strides.iter().zip(entries) {
        for (groups, entries) in groups.as_chunks::<128>().0.iter().zip(entries.as_chunks::<128>().0) {
            let (mut low, mut high) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            for (groups, entries) in groups.as_chunks().0.iter().zip(entries.as_chunks().0) {
                let (entries_low, entries_high) = look_up(load::<u8, 32>(groups), load::<u8, 32>(entries));
                (low, high) = (_mm256_add_epi8(low, entries_low), _mm256_add_epi8(high, entries_high));
            }
            wide = widen_bytes(wide, low, high);
        }
    }
    wide
}

/// Adds entries of 8 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn add_wide(strides: &[[u8; STRIDE]], entries: &[Aligned<[u8; STRIDE]>]) -> WideSums {
    let mut wide = [_mm256_setzero_si256(); 4];
    for (groups, Aligned(entries)) in strides.iter().zip(entries) {
        for (groups, entries) in groups.as_chunks().0.iter().zip(entries.as_chunks().0) {
            let (low, high) = look_up(load::<u8, 32>(groups), load::<u8, 32>(entries));
            wide = widen_bytes(wide, low, high);
        }
    }
    wide
}

/// The entries of the low and of the high nibbles.
#[inline]
#[target_feature(enable = "avx2")]
fn look_up(groups: __m256i, entries: __m256i) -> (__m256i, __m256i) {
    let mask = _mm256_set1_epi8(15);
    let low = _mm256_and_si256(groups, mask);
    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(groups), mask);
    (_mm256_shuffle_epi8(entries, low), _mm256_shuffle_epi8(entries, high))
}

/// Adds bytes to sums of 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn widen_bytes([a, b, c, d]: WideSums, low: __m256i, high: __m256i) -> WideSums {
    [
        _mm256_add_epi16(a, low),
        _mm256_add_epi16(b, _mm256_srli_epi16::<8>(low)),
        _mm256_add_epi16(c, high),
        _mm256_add_epi16(d, _mm256_srli_epi16::<8>(high)),
    ]
}

/// Adds sums of 16 bits to those of 32: of vectors 0–7, 8–15, 16–23 and 24–31.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::index::vector::kernels) fn carry_sums(
    [a, b, c, d]: [__m256i; 4],
    [low, low_next, high, high_next]: WideSums,
) -> [__m256i; 4] {
    let (first, second) = widen_sums(low, low_next);
    let (third, fourth) = widen_sums(high, high_next);
    [
        _mm256_add_epi32(a, first),
        _mm256_add_epi32(b, second),
        _mm256_add_epi32(c, third),
        _mm256_add_epi32(d, fourth),
    ]
}

/// Adds the halves of sums of even and odd bytes, and widens them. The order of vectors in a group is such that the sums
/// come out in the order of vectors.
#[inline]
#[target_feature(enable = "avx2")]
fn widen_sums(even: __m256i, odd: __m256i) -> (__m256i, __m256i) {
    let even = _mm256_sub_epi16(even, _mm256_slli_epi16::<8>(odd));
    let lower = _mm256_permute2x128_si256::<0x20>(even, odd);
    let sums = _mm256_add_epi16(lower, _mm256_permute2x128_si256::<0x31>(even, odd));
    let zero = _mm256_setzero_si256();
    (_mm256_unpacklo_epi16(sums, zero), _mm256_unpackhi_epi16(sums, zero))
}

/// From sums to bounds, and to a mask of those not above the limit.
// The operations of `portable`, in their order and without fused multiplications: the same bits on every processor.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(in crate::index::vector::kernels) fn mask_bounds(
    sums: [__m256i; 4],
    block: &SignBlock<'_>,
    params: &ScanParams<'_>,
) -> u32 {
    let all = _mm256_set1_ps;
    let halves = block.muls.as_chunks().0.iter().zip(block.errs.as_chunks().0);
    let factors = block.adds.as_chunks().0.iter().zip(halves);
    let mut mask = 0;
    for (position, (sums, (add, (mul, err)))) in sums.into_iter().zip(factors).enumerate() {
        let add = _mm256_castsi256_ps(load::<u8, 32>(add));
        let (mul, err) =
            (_mm256_cvtph_ps(load_half::<u8, 16>(mul)), _mm256_cvtph_ps(load_half::<u8, 16>(err)));
        let product =
            _mm256_add_ps(_mm256_mul_ps(all(params.step), _mm256_cvtepi32_ps(sums)), all(params.base));
        let add = _mm256_mul_ps(all(params.add_weight), add);
        let constant = _mm256_sub_ps(add, _mm256_mul_ps(err, all(params.g_err)));
        let bounds = _mm256_add_ps(constant, _mm256_mul_ps(mul, product));
        // Not greater, unordered: NaN keeps its vector.
        let kept = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NGT_UQ>(bounds, all(params.limit)));
        mask |= kept.cast_unsigned() << (8 * position);
    }
    mask
}
