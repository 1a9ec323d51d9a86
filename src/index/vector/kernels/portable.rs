//! The kernels in plain Rust: what the others must agree with, and what runs where there are no others.
//!
//! What is arithmetic on lanes is written over arrays of lanes, which compilers turn into vector registers on
//! any target. Looking up in a table is what they cannot: that loop keeps its sums in scalar registers, which
//! measures faster than choosing among 16 entries by masks.

use std::cmp::Ordering;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::layout::{BLOCK_VECTORS, GROUP, PADDING, Plane, SignBlock, place, split_planes};
use super::tables::{Aligned, IntegerQuery, LevelTable, STRIDE, SignTable};
use super::{BLOCK, Kernels, LANES, ScanParams, WIDE_LANES};

pub(super) const KERNELS: Kernels = Kernels {
    name: "portable",
    scan,
    sign_dot,
    level_dot,
    dot: |query, row| sum(query, row, product),
    l2: |query, row| sum(query, row, square),
    wide_dot: |query, row| wide_sum(query, row, |a, b| a * b),
    wide_l2: |query, row| wide_sum(query, row, |a, b| (a - b) * (a - b)),
};

fn scan(blocks: &[u8], table: &SignTable, scan: &ScanParams<'_>, masks: &mut [u32]) {
    for (block, mask) in SignBlock::each(blocks, table.padded(), scan.adds).zip(masks) {
        *mask = finish(&sums(&block, table), &block, scan);
    }
}

fn sums(block: &SignBlock<'_>, table: &SignTable) -> [u32; BLOCK_VECTORS] {
    let mut sums = [0; BLOCK_VECTORS];
    let (low, high) = sums.split_at_mut(BLOCK_VECTORS / 2);
    for (vector, (low, high)) in low.iter_mut().zip(high).enumerate() {
        let (byte, _) = place(vector);
        (*low, *high) = byte_sums(block.groups, &table.entries, byte);
    }
    sums
}

/// The sums of the two vectors in a byte of each group.
fn byte_sums(groups: &[u8], entries: &[Aligned<[u8; STRIDE]>], byte: usize) -> (u32, u32) {
    let (mut low, mut high) = (0, 0);
    for (groups, Aligned(entries)) in groups.as_chunks::<STRIDE>().0.iter().zip(entries) {
        for (group, entries) in groups.as_chunks::<GROUP>().0.iter().zip(entries.as_chunks::<GROUP>().0) {
            let entry = |nibble: u8| u32::from(entries.get(usize::from(nibble & 15)).copied().unwrap_or(0));
            let byte = group.get(byte).copied().unwrap_or(0);
            low += entry(byte);
            high += entry(byte >> 4);
        }
    }
    (low, high)
}

/// From sums to bounds, in the order of operations that every implementation keeps.
#[expect(clippy::cast_precision_loss, reason = "a sum of 16,384 dimensions is below 2^24")]
pub(super) fn finish(sums: &[u32; BLOCK_VECTORS], block: &SignBlock<'_>, scan: &ScanParams<'_>) -> u32 {
    let (muls, errs) = (halves(block.muls), halves(block.errs));
    let factors = block.adds.as_chunks().0.iter().zip(muls.iter().zip(&errs));
    let mut mask = 0;
    for (bit, (sum, (add, (mul, err)))) in sums.iter().zip(factors).enumerate() {
        let product = scan.step * *sum as f32 + scan.base;
        let lower = (scan.add_weight * f32::from_le_bytes(*add) - err * scan.g_err) + mul * product;
        // A bound that is NaN is not above.
        let above = matches!(lower.partial_cmp(&scan.limit), Some(Ordering::Greater));
        mask |= u32::from(!above) << bit;
    }
    mask
}

fn halves(bytes: &[u8; 2 * BLOCK_VECTORS]) -> [f32; BLOCK_VECTORS] {
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

fn sign_sum<T: Copy + Into<i32>>(
    block: &SignBlock<'_>,
    vector: usize,
    query: &[Aligned<[T; PADDING]>],
) -> i32 {
    let (byte, shift) = place(vector);
    let mut sum = 0;
    for (groups, Aligned(query)) in block.groups.as_chunks::<STRIDE>().0.iter().zip(query) {
        for (group, query) in groups.as_chunks::<GROUP>().0.iter().zip(query.as_chunks::<4>().0) {
            let nibble = group.get(byte).map_or(0, |byte| i32::from(byte >> shift));
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

fn product(a: f32, b: f32) -> f32 {
    a * b
}

fn square(a: f32, b: f32) -> f32 {
    (a - b) * (a - b)
}

fn sum(query: &[f32], row: &[f32], term: impl Fn(f32, f32) -> f32) -> f64 {
    let blocks = query.chunks(BLOCK).zip(row.chunks(BLOCK));
    // Not `sum`: that of nothing would be minus zero.
    blocks.fold(0.0, |total, (query, row)| total + f64::from(block_sum(query, row, &term)))
}

/// A sum in f64: by lanes, then by halves of the lanes.
fn wide_sum(query: &[f32], row: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [0.0_f64; WIDE_LANES];
    for (query, row) in query.chunks(WIDE_LANES).zip(row.chunks(WIDE_LANES)) {
        for ((lane, a), b) in lanes.iter_mut().zip(query).zip(row) {
            *lane += term(f64::from(*a), f64::from(*b));
        }
    }
    for half in [8, 4, 2, 1] {
        let (low, high) = lanes.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
    }
    lanes.first().copied().unwrap_or_default()
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
    lanes.first().copied().unwrap_or_default()
}
