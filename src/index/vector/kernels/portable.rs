//! The kernels in plain Rust: the reference for all others, and the ones that run where there are no others.
//!
//! Arithmetic is written over arrays of lanes, which compilers turn into vector registers on
//! any target. They cannot vectorise table look-ups: that loop keeps its sums in scalar registers, which
//! measures faster than choosing among 16 entries by masks.

use std::cmp::Ordering;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::kernel_set::{BLOCK, Kernels, LANES, ScanParams, WIDE_LANES};
use super::layout::{BLOCK_VECTORS, GROUP, PADDING, Plane, SignBlock, nibble_position, split_planes};
use super::tables::{Aligned, IntegerQuery, LevelTable, STRIDE, SignTable};

pub(super) const KERNELS: Kernels = Kernels {
    name: "portable",
    scan: scan_blocks,
    sign_dot,
    level_dot,
    byte_dot,
    dot: |query, row| sum_f32(query, row, |a, b| a * b),
    l2: |query, row| sum_f32(query, row, |a, b| (a - b) * (a - b)),
    wide_dot: |query, row| sum_f64(query, row, |a, b| a * b),
    wide_l2: |query, row| sum_f64(query, row, |a, b| (a - b) * (a - b)),
};

/// Inlined, so that it is compiled with the features of its caller.
#[expect(clippy::inline_always, reason = "it is compiled with the features of its caller")]
#[inline(always)]
pub(super) fn byte_dot(codes: &[i8], query: &[i16]) -> i32 {
    // A sum of i32 does not depend on its order, so every compiler may take its own.
    codes
        .iter()
        .zip(query)
        .map(|(code, x)| i32::from(*code).wrapping_mul(i32::from(*x)))
        .fold(0, i32::wrapping_add)
}

fn scan_blocks(blocks: &[u8], table: &SignTable, params: &ScanParams<'_>, masks: &mut [u32]) {
    for (block, mask) in SignBlock::iter_blocks(blocks, table.padded(), params.adds).zip(masks) {
        *mask = mask_bounds(&sum_entries(&block, table), &block, params);
    }
}

fn sum_entries(block: &SignBlock<'_>, table: &SignTable) -> [u32; BLOCK_VECTORS] {
    let mut sums = [0; BLOCK_VECTORS];
    let (low, high) = sums.split_at_mut(BLOCK_VECTORS / 2);
    for (vector, (low, high)) in low.iter_mut().zip(high).enumerate() {
        let (byte, _) = nibble_position(vector);
        (*low, *high) = byte_sums(block.groups, &table.entries, byte);
    }
    sums
}

/// The sums of the two vectors in a byte of each group.
#[expect(clippy::indexing_slicing, reason = "positions of nibbles are below GROUP, and nibbles below 16")]
fn byte_sums(groups: &[u8], entries: &[Aligned<[u8; STRIDE]>], byte: usize) -> (u32, u32) {
    let (mut low, mut high) = (0, 0);
    for (groups, Aligned(entries)) in groups.as_chunks::<STRIDE>().0.iter().zip(entries) {
        for (group, entries) in groups.as_chunks::<GROUP>().0.iter().zip(entries.as_chunks::<GROUP>().0) {
            let entry = |nibble: u8| u32::from(entries[usize::from(nibble & 15)]);
            let byte = group[byte];
            low += entry(byte);
            high += entry(byte >> 4);
        }
    }
    (low, high)
}

/// From sums to bounds, and to a mask of those not above the limit.
// The order of these operations is part of the interface: every implementation keeps it and fuses none, or the rows that
// a query finds would depend on the processor.
#[expect(clippy::cast_precision_loss, reason = "a sum of 16,384 dimensions is below 2^24")]
pub(super) fn mask_bounds(
    sums: &[u32; BLOCK_VECTORS],
    block: &SignBlock<'_>,
    params: &ScanParams<'_>,
) -> u32 {
    let (muls, errs) = (decode_halves(block.muls), decode_halves(block.errs));
    let factors = block.adds.as_chunks().0.iter().zip(muls.iter().zip(&errs));
    let mut mask = 0;
    for (bit, (sum, (add, (mul, err)))) in sums.iter().zip(factors).enumerate() {
        let product = params.step * *sum as f32 + params.base;
        let lower = (params.add_weight * f32::from_le_bytes(*add) - err * params.g_err) + mul * product;
        // A bound that is NaN is not above.
        let above = matches!(lower.partial_cmp(&params.limit), Some(Ordering::Greater));
        mask |= u32::from(!above) << bit;
    }
    mask
}

fn decode_halves(bytes: &[u8; 2 * BLOCK_VECTORS]) -> [f32; BLOCK_VECTORS] {
    let mut narrow = [f16::ZERO; BLOCK_VECTORS];
    for (half, bytes) in narrow.iter_mut().zip(bytes.as_chunks().0) {
        *half = f16::from_le_bytes(*bytes);
    }
    let mut wide = [0.0; BLOCK_VECTORS];
    narrow.convert_to_f32_slice(&mut wide);
    wide
}

fn sign_dot(block: &SignBlock<'_>, vector: usize, table: &LevelTable) -> i32 {
    match &table.query {
        IntegerQuery::I8(query) => sign_sum(block, vector, &query.plain),
        IntegerQuery::I16(query) => sign_sum(block, vector, &query.plain),
    }
}

#[expect(clippy::indexing_slicing, reason = "positions of nibbles are below GROUP")]
fn sign_sum<T: Copy + Into<i32>>(
    block: &SignBlock<'_>,
    vector: usize,
    query: &[Aligned<[T; PADDING]>],
) -> i32 {
    let (byte, shift) = nibble_position(vector);
    let mut sum = 0;
    for (groups, Aligned(query)) in block.groups.as_chunks::<STRIDE>().0.iter().zip(query) {
        for (group, query) in groups.as_chunks::<GROUP>().0.iter().zip(query.as_chunks::<4>().0) {
            let nibble = i32::from(group[byte] >> shift);
            for (bit, query) in query.iter().enumerate() {
                // All ones where the bit is set.
                sum += -(nibble >> bit & 1) & (*query).into();
            }
        }
    }
    sum
}

fn level_dot(extra: &[u8], table: &LevelTable) -> i64 {
    let planes = split_planes(extra, table.padded(), table.bits);
    let sums = planes.map(|(plane, bytes)| {
        let sum = match &table.query {
            IntegerQuery::I8(query) => plane_dot(plane, bytes, &query.plain),
            IntegerQuery::I16(query) => plane_dot(plane, bytes, &query.plain),
        };
        sum << plane.shift
    });
    sums.sum()
}

fn plane_dot<T: Copy + Into<i32>>(plane: Plane, bytes: &[u8], query: &[Aligned<[T; PADDING]>]) -> i64 {
    match plane.width {
        4 => plane_sum::<T, 4, 32>(bytes, query),
        2 => plane_sum::<T, 2, 16>(bytes, query),
        _ => plane_sum::<T, 1, 8>(bytes, query),
    }
}

/// The sum over one plane. Of 64 dimensions it fits 32 bits: 64 · 15 · 2¹⁵ < 2³¹.
fn plane_sum<T: Copy + Into<i32>, const WIDTH: usize, const CHUNK: usize>(
    bytes: &[u8],
    query: &[Aligned<[T; PADDING]>],
) -> i64 {
    let mask = (1_u8 << WIDTH) - 1;
    let mut total = 0;
    for (bytes, Aligned(query)) in bytes.as_chunks::<CHUNK>().0.iter().zip(query) {
        let mut sum = 0;
        for (position, query) in query.as_chunks::<CHUNK>().0.iter().enumerate() {
            for (byte, query) in bytes.iter().zip(query) {
                sum += i32::from(byte >> (position * WIDTH) & mask) * (*query).into();
            }
        }
        total += i64::from(sum);
    }
    total
}

fn sum_f32(query: &[f32], row: &[f32], term: impl Fn(f32, f32) -> f32) -> f64 {
    let blocks = query.chunks(BLOCK).zip(row.chunks(BLOCK));
    // Not `sum`: that of nothing would be minus zero.
    blocks.fold(0.0, |total, (query, row)| total + f64::from(block_sum(query, row, &term)))
}

/// A sum in f64: by lanes, then by halves of the lanes.
fn sum_f64(query: &[f32], row: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [0.0_f64; WIDE_LANES];
    for (query, row) in query.chunks(WIDE_LANES).zip(row.chunks(WIDE_LANES)) {
        for ((lane, a), b) in lanes.iter_mut().zip(query).zip(row) {
            *lane += term(f64::from(*a), f64::from(*b));
        }
    }
    // By halves, as registers are added up: one after another would be another order, and other bits.
    for half in [8, 4, 2, 1] {
        let (low, high) = lanes.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
    }
    let [total, ..] = lanes;
    total
}

/// The sum of up to [`BLOCK`] terms: by lanes, then by halves of the lanes.
fn block_sum(query: &[f32], row: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let ((query, query_rest), (row, row_rest)) = (query.as_chunks::<LANES>(), row.as_chunks::<LANES>());
    for (query, row) in query.iter().zip(row) {
        for ((lane, a), b) in lanes.iter_mut().zip(query).zip(row) {
            *lane += term(*a, *b);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(query_rest).zip(row_rest) {
        *lane += term(*a, *b);
    }
    for half in [16, 8, 4, 2, 1] {
        let (low, high) = lanes.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
    }
    let [total, ..] = lanes;
    total
}
