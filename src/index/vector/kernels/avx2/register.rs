//! Loading registers from arrays, and memory into caches.

#![expect(unsafe_code, reason = "registers are loaded through pointers")]

use std::arch::x86_64::{__m128i, __m256i, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm256_loadu_si256};

/// Prefetches the cache line that these bytes begin in.
pub(in crate::index::vector::kernels) fn prefetch_line(bytes: &[u8]) {
    // SAFETY: all x86-64 processors have the instruction; it accesses no memory that could fault, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().cast()) }
}

/// Types whose arrays may be read as bytes: numbers without padding.
pub(super) trait PlainNumber: Copy {}
impl PlainNumber for u8 {}
impl PlainNumber for i8 {}
impl PlainNumber for i16 {}
impl PlainNumber for f32 {}

/// Loads 32 bytes, which need no alignment.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load<T: PlainNumber, const N: usize>(values: &[T; N]) -> __m256i {
    const { assert!(size_of::<[T; N]>() == 32) }
    // SAFETY: the array has the 32 bytes that are read, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}

/// Loads 16 bytes, which need no alignment.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_half<T: PlainNumber, const N: usize>(values: &[T; N]) -> __m128i {
    const { assert!(size_of::<[T; N]>() == 16) }
    // SAFETY: the array has the 16 bytes that are read, and the load needs no alignment.
    unsafe { _mm_loadu_si128(values.as_ptr().cast()) }
}

/// The halves of an array that is loaded in two parts.
#[inline]
pub(super) fn halves<T, const HALF: usize, const N: usize>(values: &[T; N]) -> [&[T; HALF]; 2] {
    const { assert!(N == 2 * HALF) }
    match values.as_chunks::<HALF>().0 {
        [first, second] => [first, second],
        // Not reached, and not compiled: the lengths are constants.
        _ => unreachable!("an array has two halves"),
    }
}
