//! Sums over the components of two vectors, in f32 and in f64.

use std::arch::x86_64::{
    __m256, __m256d, _mm_add_pd, _mm_add_ps, _mm_add_sd, _mm_add_ss, _mm_castsi128_ps, _mm_cvtsd_f64,
    _mm_cvtss_f32, _mm_movehdup_ps, _mm_movehl_ps, _mm_unpackhi_pd, _mm256_add_pd, _mm256_add_ps,
    _mm256_castpd256_pd128, _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_cvtps_pd,
    _mm256_extractf128_pd, _mm256_extractf128_ps, _mm256_mul_pd, _mm256_mul_ps, _mm256_setzero_pd,
    _mm256_setzero_ps, _mm256_sub_pd, _mm256_sub_ps,
};

use super::register::{load, load_half};
use crate::index::vector::kernels::kernel_set::{BLOCK, LANES, WIDE_LANES};

#[inline]
#[target_feature(enable = "avx2")]
fn load_f32(eight: &[f32; 8]) -> __m256 {
    _mm256_castsi256_ps(load(eight))
}

/// Terms of a sum.
#[inline]
#[target_feature(enable = "avx2")]
fn product_f32(a: __m256, b: __m256) -> __m256 {
    _mm256_mul_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn squared_difference_f32(a: __m256, b: __m256) -> __m256 {
    let difference = _mm256_sub_ps(a, b);
    _mm256_mul_ps(difference, difference)
}

/// Sums in f32, in the order of `portable`.
macro_rules! f32_sums {
    ($name:ident, $term:ident) => {
        #[target_feature(enable = "avx2")]
        pub(super) fn $name(query: &[f32], row: &[f32]) -> f64 {
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
                    // All four sums in each tail, however short: indexed by its length, they would leave the registers.
                    let mut eights = query_rest.chunks(8).zip(row_rest.chunks(8));
                    for sum in &mut sums {
                        if let Some((query, row)) = eights.next() {
                            *sum = _mm256_add_ps(
                                *sum,
                                $term(load_f32(&pad_eight(query)), load_f32(&pad_eight(row))),
                            );
                        }
                    }
                }
                total += f64::from(reduce_f32(sums));
            }
            total
        }
    };
}

f32_sums!(dot, product_f32);
f32_sums!(l2, squared_difference_f32);

/// Terms of a sum in f64.
#[inline]
#[target_feature(enable = "avx2")]
fn product_f64(a: __m256d, b: __m256d) -> __m256d {
    _mm256_mul_pd(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn squared_difference_f64(a: __m256d, b: __m256d) -> __m256d {
    let difference = _mm256_sub_pd(a, b);
    _mm256_mul_pd(difference, difference)
}

/// Sums in f64, in the order of `portable`.
macro_rules! f64_sums {
    ($name:ident, $term:ident) => {
        #[target_feature(enable = "avx2")]
        pub(super) fn $name(query: &[f32], row: &[f32]) -> f64 {
            let mut sums = [_mm256_setzero_pd(); 4];
            let ((query, query_rest), (row, row_rest)) =
                (query.as_chunks::<WIDE_LANES>(), row.as_chunks::<WIDE_LANES>());
            // Filled up with zeros, whose terms add nothing: the tail runs through the same loop.
            let rest = (!query_rest.is_empty()).then(|| (pad_sixteen(query_rest), pad_sixteen(row_rest)));
            let rest = rest.as_ref().map(|(query, row)| (query, row));
            for (query, row) in query.iter().zip(row).chain(rest) {
                let fours = query.as_chunks().0.iter().zip(row.as_chunks().0);
                for (sum, (query, row)) in sums.iter_mut().zip(fours) {
                    *sum = _mm256_add_pd(*sum, $term(load_f64(query), load_f64(row)));
                }
            }
            reduce_f64(sums)
        }
    };
}

f64_sums!(wide_dot, product_f64);
f64_sums!(wide_l2, squared_difference_f64);

/// Four numbers, as f64.
#[inline]
#[target_feature(enable = "avx2")]
fn load_f64(four: &[f32; 4]) -> __m256d {
    _mm256_cvtps_pd(_mm_castsi128_ps(load_half(four)))
}

/// The last components, filled up with zeros.
fn pad_sixteen(rest: &[f32]) -> [f32; WIDE_LANES] {
    // invariant: beyond the rest come zeros, whose terms add nothing.
    std::array::from_fn(|i| rest.get(i).copied().unwrap_or_default())
}

/// The sum of all lanes, by halves.
#[inline]
#[target_feature(enable = "avx2")]
fn reduce_f64([a, b, c, d]: [__m256d; 4]) -> f64 {
    let four = _mm256_add_pd(_mm256_add_pd(a, c), _mm256_add_pd(b, d));
    let two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd::<1>(four));
    _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
}

/// The next eight of the last components, filled up with zeros.
#[inline]
fn pad_eight(rest: &[f32]) -> [f32; 8] {
    match rest.first_chunk() {
        Some(eight) => *eight,
        // invariant: beyond the rest come zeros, whose terms add nothing.
        None => std::array::from_fn(|i| rest.get(i).copied().unwrap_or_default()),
    }
}

/// The sum of all lanes, by halves.
#[inline]
#[target_feature(enable = "avx2")]
fn reduce_f32([a, b, c, d]: [__m256; 4]) -> f32 {
    let eight = _mm256_add_ps(_mm256_add_ps(a, c), _mm256_add_ps(b, d));
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}
