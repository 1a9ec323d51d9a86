//! The kernels for AVX2, which every x86-64 processor of the last ten years has, with F16C for halves.
//!
//! The sums of a scan are look-ups by shuffles of bytes, 32 nibbles in two tables of 16 at once. Narrow
//! entries are added four at a time before they are widened to 16 bits, wide ones are widened each.

#![expect(unsafe_code, reason = "registers are loaded through pointers, and a feature is needed to call")]

use std::arch::x86_64::{
    __m128i, __m256, __m256d, __m256i, _CMP_NGT_UQ, _MM_HINT_T0, _mm_add_epi32, _mm_add_epi64, _mm_add_pd,
    _mm_add_ps, _mm_add_sd, _mm_add_ss, _mm_castsi128_ps, _mm_cvtsd_f64, _mm_cvtsi32_si128,
    _mm_cvtsi128_si32, _mm_cvtsi128_si64, _mm_cvtss_f32, _mm_extract_epi64, _mm_loadu_si128, _mm_movehdup_ps,
    _mm_movehl_ps, _mm_prefetch, _mm_srli_epi64, _mm_unpackhi_epi64, _mm_unpackhi_pd, _mm256_add_epi8,
    _mm256_add_epi16, _mm256_add_epi32, _mm256_add_epi64, _mm256_add_pd, _mm256_add_ps, _mm256_and_si256,
    _mm256_andnot_si256, _mm256_broadcastsi128_si256, _mm256_castpd256_pd128, _mm256_castps256_ps128,
    _mm256_castsi256_ps, _mm256_castsi256_si128, _mm256_cmp_ps, _mm256_cmpeq_epi8, _mm256_cvtepi8_epi16,
    _mm256_cvtepi32_epi64, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi16, _mm256_cvtph_ps, _mm256_cvtps_pd,
    _mm256_extractf128_pd, _mm256_extractf128_ps, _mm256_extracti128_si256, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_movemask_ps, _mm256_mul_pd, _mm256_mul_ps,
    _mm256_or_si256, _mm256_permute2x128_si256, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi64x,
    _mm256_set1_ps, _mm256_setr_epi32, _mm256_setr_epi64x, _mm256_setzero_pd, _mm256_setzero_ps,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_srai_epi32, _mm256_srav_epi32,
    _mm256_srl_epi16, _mm256_srli_epi16, _mm256_srlv_epi32, _mm256_srlv_epi64, _mm256_sub_epi16,
    _mm256_sub_pd, _mm256_sub_ps, _mm256_unpackhi_epi16, _mm256_unpacklo_epi16,
};

use super::layout::{PADDING, SignBlock, place, split_planes};
use super::tables::{Aligned, IntegerQuery, LevelTable, NARROW_STRIDES, STRIDE, SignTable, WIDE_STRIDES};
use super::{BLOCK, Kernels, LANES, ScanParams, WIDE_LANES};

/// These kernels, where the processor can run them.
pub(super) fn kernels() -> Option<&'static Kernels> {
    (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c")).then_some(&KERNELS)
}

/// Asks memory for the line that these bytes begin in.
pub(super) fn prefetch(bytes: &[u8]) {
    // SAFETY: all x86-64 processors have the instruction; it reads nothing and cannot fail, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().cast()) }
}

/// Calls a function that needs the features.
macro_rules! call {
    ($function:ident($($argument:ident),*)) => {
        // SAFETY: all that hands out the functions in `KERNELS` is `kernels`, which has found AVX2 and F16C, and
        // `avx512::kernels`, which has found them too.
        |$($argument),*| unsafe { $function($($argument),*) }
    };
}

pub(super) const KERNELS: Kernels = Kernels {
    name: "avx2",
    scan: call!(scan(blocks, table, factors, masks)),
    sign_dot: call!(sign_dot(block, vector, table)),
    level_dot: call!(level_dot(extra, table)),
    dot: call!(dot(query, row)),
    l2: call!(l2(query, row)),
    wide_dot: call!(wide_dot(query, row)),
    wide_l2: call!(wide_l2(query, row)),
};

/// What may be read as bytes: numbers without padding.
trait PlainNumber: Copy {}
impl PlainNumber for u8 {}
impl PlainNumber for i8 {}
impl PlainNumber for i16 {}
impl PlainNumber for f32 {}

/// 32 bytes, wherever they lie.
#[inline]
#[target_feature(enable = "avx2")]
fn load<T: PlainNumber, const N: usize>(values: &[T; N]) -> __m256i {
    const { assert!(size_of::<[T; N]>() == 32) }
    // SAFETY: the array has the 32 bytes that are read, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}

/// 16 bytes, wherever they lie.
#[inline]
#[target_feature(enable = "avx2")]
fn load_half<T: PlainNumber, const N: usize>(values: &[T; N]) -> __m128i {
    const { assert!(size_of::<[T; N]>() == 16) }
    // SAFETY: the array has the 16 bytes that are read, and the load needs no alignment.
    unsafe { _mm_loadu_si128(values.as_ptr().cast()) }
}

#[target_feature(enable = "avx2,f16c")]
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

/// Sums of 16 bits, in each half of a register for itself: of the vectors of the even and the odd bytes of groups,
/// and of those 16 above them.
///
/// The first and third also hold 256 times the next, which is taken off at the end.
pub(super) type WideSums = [__m256i; 4];

/// Sums of 64 dimensions at a time, in 32 bits as soon as 16 may overflow.
macro_rules! sums_of_entries {
    ($name:ident, $most:ident, $add:ident) => {
        #[inline]
        #[target_feature(enable = "avx2")]
        fn $name(groups: &[u8], entries: &[Aligned<[u8; STRIDE]>]) -> [__m256i; 4] {
            let mut totals = [_mm256_setzero_si256(); 4];
            let strides = groups.as_chunks::<STRIDE>().0;
            if strides.len() <= $most {
                return carry(totals, $add(strides, entries));
            }
            for (strides, entries) in strides.chunks($most).zip(entries.chunks($most)) {
                totals = carry(totals, $add(strides, entries));
            }
            totals
        }
    };
}

sums_of_entries!(sums_narrow, NARROW_STRIDES, add_narrow);
sums_of_entries!(sums_wide, WIDE_STRIDES, add_wide);

/// Adds entries of 6 bits, of which four fit a byte.
#[inline]
#[target_feature(enable = "avx2")]
fn add_narrow(strides: &[[u8; STRIDE]], entries: &[Aligned<[u8; STRIDE]>]) -> WideSums {
    let mut wide = [_mm256_setzero_si256(); 4];
    for (groups, Aligned(entries)) in strides.iter().zip(entries) {
        for (groups, entries) in groups.as_chunks::<128>().0.iter().zip(entries.as_chunks::<128>().0) {
            let (mut low, mut high) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            for (groups, entries) in groups.as_chunks().0.iter().zip(entries.as_chunks().0) {
                let (more_low, more_high) = look_up(load::<u8, 32>(groups), load::<u8, 32>(entries));
                (low, high) = (_mm256_add_epi8(low, more_low), _mm256_add_epi8(high, more_high));
            }
            wide = widen(wide, low, high);
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
            wide = widen(wide, low, high);
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
fn widen([a, b, c, d]: WideSums, low: __m256i, high: __m256i) -> WideSums {
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
pub(super) fn carry([a, b, c, d]: [__m256i; 4], [low, low_next, high, high_next]: WideSums) -> [__m256i; 4] {
    let (first, second) = spread(low, low_next);
    let (third, fourth) = spread(high, high_next);
    [
        _mm256_add_epi32(a, first),
        _mm256_add_epi32(b, second),
        _mm256_add_epi32(c, third),
        _mm256_add_epi32(d, fourth),
    ]
}

/// Adds the halves of sums of even and odd bytes, and widens them: the order of a group is such that they come out
/// in the order of vectors.
#[inline]
#[target_feature(enable = "avx2")]
fn spread(even: __m256i, odd: __m256i) -> (__m256i, __m256i) {
    let even = _mm256_sub_epi16(even, _mm256_slli_epi16::<8>(odd));
    let lower = _mm256_permute2x128_si256::<0x20>(even, odd);
    let sums = _mm256_add_epi16(lower, _mm256_permute2x128_si256::<0x31>(even, odd));
    let zero = _mm256_setzero_si256();
    (_mm256_unpacklo_epi16(sums, zero), _mm256_unpackhi_epi16(sums, zero))
}

/// From sums to bounds: the operations of [`portable`](super::portable)'s, in their order.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn finish(sums: [__m256i; 4], block: &SignBlock<'_>, scan: &ScanParams<'_>) -> u32 {
    let all = _mm256_set1_ps;
    let halves = block.muls.as_chunks().0.iter().zip(block.errs.as_chunks().0);
    let factors = block.adds.as_chunks().0.iter().zip(halves);
    let mut mask = 0;
    for (position, (sums, (add, (mul, err)))) in sums.into_iter().zip(factors).enumerate() {
        let add = _mm256_castsi256_ps(load::<u8, 32>(add));
        let (mul, err) =
            (_mm256_cvtph_ps(load_half::<u8, 16>(mul)), _mm256_cvtph_ps(load_half::<u8, 16>(err)));
        let product = _mm256_add_ps(_mm256_mul_ps(all(scan.step), _mm256_cvtepi32_ps(sums)), all(scan.base));
        let add = _mm256_mul_ps(all(scan.add_weight), add);
        let constant = _mm256_sub_ps(add, _mm256_mul_ps(err, all(scan.g_err)));
        let bounds = _mm256_add_ps(constant, _mm256_mul_ps(mul, product));
        let kept = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NGT_UQ>(bounds, all(scan.limit)));
        mask |= kept.cast_unsigned() << (8 * position);
    }
    mask
}

/// The signs of 64 dimensions of a vector, as nibbles: those of groups 0, 2, … 14 twice, then 1, 3, … 15 twice.
#[inline]
#[target_feature(enable = "avx2")]
fn nibbles(groups: &[u8; STRIDE], take: &[__m256i; 8], shift: __m128i) -> __m256i {
    let mut nibbles = _mm256_setzero_si256();
    for (groups, take) in groups.as_chunks::<32>().0.iter().zip(take) {
        nibbles = _mm256_or_si256(nibbles, _mm256_shuffle_epi8(load(groups), *take));
    }
    _mm256_srl_epi16(nibbles, shift)
}

#[target_feature(enable = "avx2")]
fn sign_dot(block: &SignBlock<'_>, vector: usize, table: &LevelTable) -> i32 {
    let (byte, shift) = place(vector);
    let byte = _mm256_set1_epi8(byte.to_le_bytes()[0].cast_signed());
    let shift = _mm_cvtsi32_si128(shift.cast_signed());
    // Bytes m and m + 8 of each half take their bits out of register m, the others nothing.
    let places = _mm256_set1_epi64x(0x0706_0504_0302_0100);
    let mut take = [byte; 8];
    for (take, m) in take.iter_mut().zip(0..) {
        let others =
            _mm256_andnot_si256(_mm256_cmpeq_epi8(places, _mm256_set1_epi8(m)), _mm256_set1_epi8(-128));
        *take = _mm256_or_si256(*take, others);
    }
    let strides = block.groups.as_chunks().0;
    match &table.query {
        IntegerQuery::I8(query) => signs_narrow(strides, &take, shift, &query.signs),
        IntegerQuery::I16(query) => signs_broad(strides, &take, shift, &query.signs),
    }
}

/// Sets the bits of the first or second, and in every other eight bytes of the third or fourth dimension.
#[inline]
#[target_feature(enable = "avx2")]
fn sign_masks() -> [__m256i; 2] {
    let (first, third) = (0x0101_0101_0101_0101, 0x0404_0404_0404_0404);
    let even = _mm256_setr_epi64x(first, third, first, third);
    [even, _mm256_slli_epi16::<1>(even)]
}

/// Products are of bits where they stand, so that the sums are shifted at the end. Of 64 dimensions a sum of 16
/// bits gets at most 2 · 8 · 127, so that of 1,024 it does not overflow.
#[target_feature(enable = "avx2")]
fn signs_narrow(
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
            let nibbles = nibbles(groups, take, shift);
            if let [first, second] = query.as_chunks::<32>().0 {
                let low = _mm256_maddubs_epi16(_mm256_and_si256(nibbles, even), load(first));
                let high = _mm256_maddubs_epi16(_mm256_and_si256(nibbles, odd), load(second));
                sums = [_mm256_add_epi16(sums[0], low), _mm256_add_epi16(sums[1], high)];
            }
        }
        let [low, high] = sums;
        let high = _mm256_srai_epi32::<1>(_mm256_madd_epi16(high, ones));
        let both = _mm256_add_epi32(_mm256_madd_epi16(low, ones), high);
        total = _mm256_add_epi32(total, _mm256_srav_epi32(both, places));
    }
    add_small_lanes(total)
}

/// The same for a query of 16 bits, whose products are with 0 or -1: the sum is negated at the end.
#[target_feature(enable = "avx2")]
fn signs_broad(
    strides: &[[u8; STRIDE]],
    take: &[__m256i; 8],
    shift: __m128i,
    query: &[Aligned<[i16; PADDING]>],
) -> i32 {
    let masks = sign_masks();
    let mut total = _mm256_setzero_si256();
    for (groups, Aligned(query)) in strides.iter().zip(query) {
        let nibbles = nibbles(groups, take, shift);
        for (mask, query) in masks.into_iter().zip(query.as_chunks::<32>().0) {
            let set = _mm256_cmpeq_epi8(_mm256_and_si256(nibbles, mask), mask);
            if let [first, second] = query.as_chunks::<16>().0 {
                let low = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(set));
                let high = _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(set));
                total = _mm256_add_epi32(total, _mm256_madd_epi16(low, load(first)));
                total = _mm256_add_epi32(total, _mm256_madd_epi16(high, load(second)));
            }
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
fn level_dot(extra: &[u8], table: &LevelTable) -> i64 {
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
macro_rules! planes {
    ($narrow:ident, $broad:ident, $levels:ident, $chunk:literal) => {
        #[target_feature(enable = "avx2")]
        fn $narrow(bytes: &[u8], query: &[Aligned<[i8; PADDING]>]) -> i64 {
            let ones = _mm256_set1_epi16(1);
            let mut sums = _mm256_setzero_si256();
            for (bytes, Aligned(query)) in bytes.as_chunks::<$chunk>().0.iter().zip(query) {
                let [low, high] = $levels(bytes);
                if let [first, second] = query.as_chunks::<32>().0 {
                    let low = _mm256_maddubs_epi16(low, load(first));
                    let high = _mm256_maddubs_epi16(high, load(second));
                    let four = _mm256_madd_epi16(_mm256_add_epi16(low, high), ones);
                    sums = _mm256_add_epi32(sums, four);
                }
            }
            add_lanes(sums)
        }

        #[target_feature(enable = "avx2")]
        fn $broad(bytes: &[u8], query: &[Aligned<[i16; PADDING]>]) -> i64 {
            let mut sums = _mm256_setzero_si256();
            for (bytes, Aligned(query)) in bytes.as_chunks::<$chunk>().0.iter().zip(query) {
                for (levels, query) in $levels(bytes).into_iter().zip(query.as_chunks::<32>().0) {
                    if let [first, second] = query.as_chunks::<16>().0 {
                        let low = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(levels));
                        let high = _mm256_cvtepu8_epi16(_mm256_extracti128_si256::<1>(levels));
                        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(low, load(first)));
                        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(high, load(second)));
                    }
                }
            }
            add_lanes(sums)
        }
    };
}

planes!(narrow_4, broad_4, levels_4, 32);
planes!(narrow_2, broad_2, levels_2, 16);
planes!(narrow_1, broad_1, levels_1, 8);

#[inline]
#[target_feature(enable = "avx2")]
fn add_lanes(sums: __m256i) -> i64 {
    let low = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(sums));
    let four = _mm256_add_epi64(low, _mm256_cvtepi32_epi64(_mm256_extracti128_si256::<1>(sums)));
    let two = _mm_add_epi64(_mm256_castsi256_si128(four), _mm256_extracti128_si256::<1>(four));
    _mm_cvtsi128_si64(two) + _mm_extract_epi64::<1>(two)
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_f32(eight: &[f32; 8]) -> __m256 {
    _mm256_castsi256_ps(load(eight))
}

/// Terms of a sum.
#[inline]
#[target_feature(enable = "avx2")]
fn product(a: __m256, b: __m256) -> __m256 {
    _mm256_mul_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn square(a: __m256, b: __m256) -> __m256 {
    let difference = _mm256_sub_ps(a, b);
    _mm256_mul_ps(difference, difference)
}

/// Exact sums, in the order of [`portable`](super::portable)'s.
macro_rules! sums {
    ($name:ident, $term:ident) => {
        #[target_feature(enable = "avx2")]
        fn $name(query: &[f32], row: &[f32]) -> f64 {
            let mut total = 0.0;
            for (query, row) in query.chunks(BLOCK).zip(row.chunks(BLOCK)) {
                let mut sums = [_mm256_setzero_ps(); 4];
                let ((query, query_rest), (row, row_rest)) =
                    (query.as_chunks::<LANES>(), row.as_chunks::<LANES>());
                for (query, row) in query.iter().zip(row) {
                    let eights = query.as_chunks().0.iter().zip(row.as_chunks().0);
                    for (sum, (query, row)) in sums.iter_mut().zip(eights) {
                        *sum = _mm256_add_ps(*sum, $term(load_f32(query), load_f32(row)));
                    }
                }
                if !query_rest.is_empty() {
                    // All four sums each time, so that they stay in registers.
                    let mut eights = query_rest.chunks(8).zip(row_rest.chunks(8));
                    for sum in &mut sums {
                        if let Some((query, row)) = eights.next() {
                            *sum = _mm256_add_ps(*sum, $term(load_f32(&eight(query)), load_f32(&eight(row))));
                        }
                    }
                }
                total += f64::from(reduce(sums));
            }
            total
        }
    };
}

sums!(dot, product);
sums!(l2, square);

/// Terms of a sum in f64.
#[inline]
#[target_feature(enable = "avx2")]
fn wide_product(a: __m256d, b: __m256d) -> __m256d {
    _mm256_mul_pd(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn wide_square(a: __m256d, b: __m256d) -> __m256d {
    let difference = _mm256_sub_pd(a, b);
    _mm256_mul_pd(difference, difference)
}

/// Sums in f64, in the order of [`portable`](super::portable)'s.
macro_rules! wide_sums {
    ($name:ident, $term:ident) => {
        #[target_feature(enable = "avx2")]
        fn $name(query: &[f32], row: &[f32]) -> f64 {
            let mut sums = [_mm256_setzero_pd(); 4];
            let ((query, query_rest), (row, row_rest)) =
                (query.as_chunks::<WIDE_LANES>(), row.as_chunks::<WIDE_LANES>());
            // What is filled up with zeros adds nothing.
            let rest = (!query_rest.is_empty()).then(|| (sixteen(query_rest), sixteen(row_rest)));
            let rest = rest.as_ref().map(|(query, row)| (query, row));
            for (query, row) in query.iter().zip(row).chain(rest) {
                let fours = query.as_chunks().0.iter().zip(row.as_chunks().0);
                for (sum, (query, row)) in sums.iter_mut().zip(fours) {
                    *sum = _mm256_add_pd(*sum, $term(load_f64(query), load_f64(row)));
                }
            }
            wide_reduce(sums)
        }
    };
}

wide_sums!(wide_dot, wide_product);
wide_sums!(wide_l2, wide_square);

/// Four numbers, as f64.
#[inline]
#[target_feature(enable = "avx2")]
fn load_f64(four: &[f32; 4]) -> __m256d {
    _mm256_cvtps_pd(_mm_castsi128_ps(load_half(four)))
}

fn sixteen(rest: &[f32]) -> [f32; WIDE_LANES] {
    std::array::from_fn(|i| rest.get(i).copied().unwrap_or_default())
}

/// The sum of all lanes, by halves.
#[inline]
#[target_feature(enable = "avx2")]
fn wide_reduce([a, b, c, d]: [__m256d; 4]) -> f64 {
    let four = _mm256_add_pd(_mm256_add_pd(a, c), _mm256_add_pd(b, d));
    let two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd::<1>(four));
    _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
}

/// The last components, filled up with zeros: terms of zeros add nothing.
#[inline]
fn eight(rest: &[f32]) -> [f32; 8] {
    match rest.first_chunk() {
        Some(eight) => *eight,
        None => std::array::from_fn(|i| rest.get(i).copied().unwrap_or_default()),
    }
}

/// The sum of all lanes, by halves.
#[inline]
#[target_feature(enable = "avx2")]
fn reduce([a, b, c, d]: [__m256; 4]) -> f32 {
    let eight = _mm256_add_ps(_mm256_add_ps(a, c), _mm256_add_ps(b, d));
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}
