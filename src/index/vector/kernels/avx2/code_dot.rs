//! Products of the whole code of a vector with the query, in integers.
//!
//! Bytes are multiplied by `maddubs`, which adds two products in 16 bits and saturates. With codes of 8 bits it would: so
//! a code is stored in planes of at most 4.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_add_epi32, _mm_add_epi64, _mm_cvtsi32_si128, _mm_cvtsi128_si32, _mm_cvtsi128_si64,
    _mm_extract_epi64, _mm_srli_epi64, _mm_unpackhi_epi64, _mm256_add_epi16, _mm256_add_epi32,
    _mm256_add_epi64, _mm256_and_si256, _mm256_andnot_si256, _mm256_broadcastsi128_si256,
    _mm256_castsi256_si128, _mm256_cmpeq_epi8, _mm256_cvtepi8_epi16, _mm256_cvtepi32_epi64,
    _mm256_cvtepu8_epi16, _mm256_extracti128_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_or_si256,
    _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi64x, _mm256_setr_epi32, _mm256_setr_epi64x,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_srai_epi32, _mm256_srav_epi32,
    _mm256_srl_epi16, _mm256_srli_epi16, _mm256_srlv_epi32, _mm256_srlv_epi64,
};

use super::register::{halves, load, load_half};
use crate::index::vector::kernels::layout::{PADDING, SignBlock, nibble_position, split_planes};
use crate::index::vector::kernels::tables::{Aligned, IntegerQuery, LevelTable, STRIDE};

/// The signs of 64 dimensions of a vector, as nibbles: those of groups 0, 2, … 14 twice, then 1, 3, … 15 twice.
#[inline]
#[target_feature(enable = "avx2")]
fn sign_nibbles(groups: &[u8; STRIDE], take: &[__m256i; 8], shift: __m128i) -> __m256i {
    let mut nibbles = _mm256_setzero_si256();
    for (groups, take) in groups.as_chunks::<32>().0.iter().zip(take) {
        nibbles = _mm256_or_si256(nibbles, _mm256_shuffle_epi8(load(groups), *take));
    }
    _mm256_srl_epi16(nibbles, shift)
}

#[target_feature(enable = "avx2")]
pub(super) fn sign_dot(block: &SignBlock<'_>, vector: usize, table: &LevelTable) -> i32 {
    let (byte, shift) = nibble_position(vector);
    let byte = _mm256_set1_epi8(byte.to_le_bytes()[0].cast_signed());
    let shift = _mm_cvtsi32_si128(shift.cast_signed());
    // The nibbles of one vector lie in every sixteenth byte. A shuffle moves those of two groups to bytes m and m + 8 of
    // each half, and clears the others: eight of them, combined, are 64 dimensions in order.
    let places = _mm256_set1_epi64x(0x0706_0504_0302_0100);
    let mut take = [byte; 8];
    for (take, m) in take.iter_mut().zip(0..) {
        let others =
            _mm256_andnot_si256(_mm256_cmpeq_epi8(places, _mm256_set1_epi8(m)), _mm256_set1_epi8(-128));
        *take = _mm256_or_si256(*take, others);
    }
    let strides = block.groups.as_chunks().0;
    match &table.query {
        IntegerQuery::I8(query) => sign_sum_i8(strides, &take, shift, &query.signs),
        IntegerQuery::I16(query) => sign_sum_i16(strides, &take, shift, &query.signs),
    }
}

/// The bits of the first or second dimension of a nibble, and in every other eight bytes of the third or fourth.
#[inline]
#[target_feature(enable = "avx2")]
fn sign_masks() -> [__m256i; 2] {
    let (first, third) = (0x0101_0101_0101_0101, 0x0404_0404_0404_0404);
    let even = _mm256_setr_epi64x(first, third, first, third);
    [even, _mm256_slli_epi16::<1>(even)]
}

/// Products are of bits in their positions, 1, 2, 4 or 8, and the sums are shifted at the end. Of 64 dimensions a sum of 16
/// bits gets at most 2 · 8 · 127, so that of 1,024 it does not overflow.
#[target_feature(enable = "avx2")]
fn sign_sum_i8(
    strides: &[[u8; STRIDE]],
    take: &[__m256i; 8],
    shift: __m128i,
    query: &[Aligned<[i8; PADDING]>],
) -> i32 {
    let ([even, odd], ones) = (sign_masks(), _mm256_set1_epi16(1));
    let places = _mm256_setr_epi32(0, 0, 2, 2, 0, 0, 2, 2);
    let mut total = _mm256_setzero_si256();
    for (strides, query) in strides.chunks(16).zip(query.chunks(16)) {
        let mut sums = [_mm256_setzero_si256(); 2];
        for (groups, Aligned(query)) in strides.iter().zip(query) {
            let nibbles = sign_nibbles(groups, take, shift);
            let [first, second] = halves::<i8, 32, 64>(query);
            let low = _mm256_maddubs_epi16(_mm256_and_si256(nibbles, even), load(first));
            let high = _mm256_maddubs_epi16(_mm256_and_si256(nibbles, odd), load(second));
            sums = [_mm256_add_epi16(sums[0], low), _mm256_add_epi16(sums[1], high)];
        }
        let [low, high] = sums;
        let high = _mm256_srai_epi32::<1>(_mm256_madd_epi16(high, ones));
        let both = _mm256_add_epi32(_mm256_madd_epi16(low, ones), high);
        total = _mm256_add_epi32(total, _mm256_srav_epi32(both, places));
    }
    add_small_lanes(total)
}

/// The same for a query of 16 bits, in products with 0 or -1: the sum is negated at the end.
#[target_feature(enable = "avx2")]
fn sign_sum_i16(
    strides: &[[u8; STRIDE]],
    take: &[__m256i; 8],
    shift: __m128i,
    query: &[Aligned<[i16; PADDING]>],
) -> i32 {
    let masks = sign_masks();
    let mut total = _mm256_setzero_si256();
    for (groups, Aligned(query)) in strides.iter().zip(query) {
        let nibbles = sign_nibbles(groups, take, shift);
        for (mask, query) in masks.into_iter().zip(query.as_chunks::<32>().0) {
            let set = _mm256_cmpeq_epi8(_mm256_and_si256(nibbles, mask), mask);
            let [first, second] = halves::<i16, 16, 32>(query);
            let low = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(set));
            let high = _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(set));
            total = _mm256_add_epi32(total, _mm256_madd_epi16(low, load(first)));
            total = _mm256_add_epi32(total, _mm256_madd_epi16(high, load(second)));
        }
    }
    -add_small_lanes(total)
}

/// Adds lanes whose sum fits one.
#[inline]
#[target_feature(enable = "avx2")]
fn add_small_lanes(sums: __m256i) -> i32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    let two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_srli_epi64::<32>(two)))
}

#[target_feature(enable = "avx2")]
pub(super) fn level_dot(extra: &[u8], table: &LevelTable) -> i64 {
    let mut total = 0;
    for (plane, bytes) in split_planes(extra, table.padded(), table.bits) {
        let sum = match (&table.query, plane.width) {
            (IntegerQuery::I8(query), 4) => narrow_4(bytes, &query.plain),
            (IntegerQuery::I8(query), 2) => narrow_2(bytes, &query.plain),
            (IntegerQuery::I8(query), _) => narrow_1(bytes, &query.plain),
            (IntegerQuery::I16(query), 4) => broad_4(bytes, &query.plain),
            (IntegerQuery::I16(query), 2) => broad_2(bytes, &query.plain),
            (IntegerQuery::I16(query), _) => broad_1(bytes, &query.plain),
        };
        total += sum << plane.shift;
    }
    total
}

/// 64 levels of a plane, each a byte, in the order of their dimensions.
type Levels = [__m256i; 2];

#[inline]
#[target_feature(enable = "avx2")]
fn levels_4(bytes: &[u8; 32]) -> Levels {
    let (mask, bytes) = (_mm256_set1_epi8(15), load(bytes));
    [_mm256_and_si256(bytes, mask), _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask)]
}

#[inline]
#[target_feature(enable = "avx2")]
fn levels_2(bytes: &[u8; 16]) -> Levels {
    let mask = _mm256_set1_epi8(3);
    let both = _mm256_broadcastsi128_si256(load_half(bytes));
    let bytes = _mm256_srlv_epi32(both, _mm256_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2));
    [_mm256_and_si256(bytes, mask), _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask)]
}

#[inline]
#[target_feature(enable = "avx2")]
#[expect(clippy::trivially_copy_pass_by_ref, reason = "as those of wider planes")]
fn levels_1(bytes: &[u8; 8]) -> Levels {
    let mask = _mm256_set1_epi8(1);
    let all = _mm256_set1_epi64x(i64::from_le_bytes(*bytes));
    let bytes = _mm256_srlv_epi64(all, _mm256_setr_epi64x(0, 1, 2, 3));
    [_mm256_and_si256(bytes, mask), _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask)]
}

/// The sums over planes, for a query of 8 bits and one of 16.
///
/// Four products of 8 bits are at most 4 · 15 · 127 and fit 16 bits; per 64 dimensions a lane of 32 bits grows
/// by 8 · 15 · 127 or, of 16 bits, 8 · 15 · 2¹⁵, so 16,384 dimensions are far from overflowing it.
macro_rules! plane_sums {
    ($narrow:ident, $broad:ident, $levels:ident, $chunk:literal) => {
        #[target_feature(enable = "avx2")]
        fn $narrow(bytes: &[u8], query: &[Aligned<[i8; PADDING]>]) -> i64 {
            let ones = _mm256_set1_epi16(1);
            let mut sums = _mm256_setzero_si256();
            for (bytes, Aligned(query)) in bytes.as_chunks::<$chunk>().0.iter().zip(query) {
                let [low, high] = $levels(bytes);
                let [first, second] = halves::<i8, 32, 64>(query);
                let low = _mm256_maddubs_epi16(low, load(first));
                let high = _mm256_maddubs_epi16(high, load(second));
                let four = _mm256_madd_epi16(_mm256_add_epi16(low, high), ones);
                sums = _mm256_add_epi32(sums, four);
            }
            add_lanes(sums)
        }

        #[target_feature(enable = "avx2")]
        fn $broad(bytes: &[u8], query: &[Aligned<[i16; PADDING]>]) -> i64 {
            let mut sums = _mm256_setzero_si256();
            for (bytes, Aligned(query)) in bytes.as_chunks::<$chunk>().0.iter().zip(query) {
                for (levels, query) in $levels(bytes).into_iter().zip(query.as_chunks::<32>().0) {
                    let [first, second] = halves::<i16, 16, 32>(query);
                    let low = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(levels));
                    let high = _mm256_cvtepu8_epi16(_mm256_extracti128_si256::<1>(levels));
                    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(low, load(first)));
                    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(high, load(second)));
                }
            }
            add_lanes(sums)
        }
    };
}

plane_sums!(narrow_4, broad_4, levels_4, 32);
plane_sums!(narrow_2, broad_2, levels_2, 16);
plane_sums!(narrow_1, broad_1, levels_1, 8);

#[inline]
#[target_feature(enable = "avx2")]
fn add_lanes(sums: __m256i) -> i64 {
    let low = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(sums));
    let four = _mm256_add_epi64(low, _mm256_cvtepi32_epi64(_mm256_extracti128_si256::<1>(sums)));
    let two = _mm_add_epi64(_mm256_castsi256_si128(four), _mm256_extracti128_si256::<1>(four));
    _mm_cvtsi128_si64(two) + _mm_extract_epi64::<1>(two)
}
