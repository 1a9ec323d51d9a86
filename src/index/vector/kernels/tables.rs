//! A query in the form that kernels read: made once, used for every vector.
//!
//! Both tables are rounded queries, and both sums over them are exact, so an estimate depends on the query
//! and the code alone, never on the processor.

use super::layout::{GROUP, PADDING};
use crate::index::vector::numeric::{count_to_f64, round_to_f32};

/// Aligned to a cache line, so that loading a register touches only one.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Aligned<T>(pub(super) T);

/// The bytes of the groups of 64 dimensions, and so of their entries.
pub(super) const STRIDE: usize = PADDING * 4;

/// What the four signs of a group and their dimensions add up to, for every group and all 16 cases, rounded
/// to 6 or 8 bits.
///
/// `<b,q> ≈ step · Σ entries + Σ least`, where each group has its own least sum and the step is common.
// An offset per group is 1.5 to 3 times as precise as one for the whole table: that is what makes 6 bits enough.
#[derive(Clone, Debug)]
pub(crate) struct SignTable {
    /// 16 to a group, none above [`NARROW_MAX`] unless `wide`.
    pub(super) entries: Vec<Aligned<[u8; STRIDE]>>,
    pub(super) wide: bool,
    step: f32,
    /// The sum of the least sums, less half the sum of the query: `<y,q> ≈ step · Σ entries + base`.
    base: f32,
}

/// The largest entry of a table of 6 bits: four of them fit a byte.
pub(super) const NARROW_MAX: u8 = 63;
/// How many times 64 dimensions a sum of 16 bits holds the entries of, narrow and wide.
pub(super) const NARROW_STRIDES: usize = 64;
pub(super) const WIDE_STRIDES: usize = 16;
const _: () = assert!(NARROW_STRIDES * STRIDE / GROUP * NARROW_MAX as usize <= u16::MAX as usize);
const _: () = assert!(WIDE_STRIDES * STRIDE / GROUP * u8::MAX as usize <= u16::MAX as usize);

impl SignTable {
    /// `query` is rotated and padded. A wide table is four times as precise and takes a quarter longer to use.
    pub(crate) fn new(query: &[f32], wide: bool) -> Self {
        let strides = query.as_chunks::<PADDING>().0;
        let most = if wide { u8::MAX } else { NARROW_MAX };
        let (mut range, mut total) = (0.0_f32, 0.0_f64);
        for [a, b, c, d] in strides.as_flattened().as_chunks().0 {
            let sum = (a.abs() + b.abs()) + (c.abs() + d.abs());
            range = range.max(sum);
            total += f64::from(sum);
        }
        let step = range / f32::from(most);
        let scale = if step > 0.0 { f32::from(most) / range } else { 0.0 };
        let mut entries = vec![Aligned([0; STRIDE]); strides.len()];
        for (Aligned(entries), stride) in entries.iter_mut().zip(strides) {
            *entries = round_entries(stride, scale, f32::from(most));
        }
        // The least sum less half the sum is half the sum of the absolutes, negated.
        Self { entries, wide, step, base: round_to_f32(-total / 2.0) }
    }

    /// What 1 in an entry stands for.
    pub(crate) fn step(&self) -> f32 {
        self.step
    }

    /// What entries of 0 stand for.
    pub(crate) fn base(&self) -> f32 {
        self.base
    }

    /// The standard deviation of what rounding adds to `<y,q>`: `step · √(padded / 48)`.
    // A quarter as many roundings as dimensions, each evenly distributed over a step, with a variance of 1/12 of its square.
    pub(crate) fn error(&self) -> f32 {
        round_to_f32(f64::from(self.step) * (count_to_f64(self.padded()) / 48.0).sqrt())
    }

    pub(crate) fn padded(&self) -> usize {
        self.entries.len() * PADDING
    }
}

/// The 16 sums of each group above the least, in steps.
///
/// A set bit counts if its dimension is positive, a clear one if it is negative: no sum cancels.
fn round_entries(stride: &[f32; PADDING], scale: f32, most: f32) -> [u8; STRIDE] {
    /// Added to a small number, it leaves the nearest integer in the low bits.
    // A conversion would saturate and check for NaN, which vectorises poorly; this is one addition.
    const MAGIC: f32 = 8_388_608.0;
    let mut sums = [0.0; STRIDE];
    for (sums, group) in sums.as_chunks_mut::<GROUP>().0.iter_mut().zip(stride.as_chunks::<4>().0) {
        let [a, b, c, d] = group.map(|q| if q < 0.0 { (-q * scale, 0.0) } else { (0.0, q * scale) });
        let low = [a.0 + b.0, a.1 + b.0, a.0 + b.1, a.1 + b.1];
        let high = [c.0 + d.0, c.1 + d.0, c.0 + d.1, c.1 + d.1];
        for (sums, high) in sums.as_chunks_mut().0.iter_mut().zip(high) {
            *sums = low.map(|low| low + high);
        }
    }
    let mut entries = [0; STRIDE];
    for (entry, sum) in entries.iter_mut().zip(sums) {
        // NaN becomes the largest entry. The estimate is NaN all the same, by the base.
        let [byte, ..] = (if sum < most { sum } else { most } + MAGIC).to_bits().to_le_bytes();
        *entry = byte;
    }
    entries
}

/// The query in integers, for the exact sum over all bits of a code.
#[derive(Clone, Debug)]
pub(crate) struct LevelTable {
    pub(super) bits: u32,
    pub(super) query: IntegerQuery,
    scale: f64,
    sum: i64,
}

/// Codes of up to 6 bits are coarser than a query of 8; those of 7 and 8 bits need one of 16.
// Measured without exact vectors: with codes of 4 bits, a query of 8 bits changes recall@10 by less than half a point; with
// codes of 7 bits it loses .4 to 1.1 points.
#[derive(Clone, Debug)]
pub(super) enum IntegerQuery {
    I8(DimensionOrders<i8>),
    I16(DimensionOrders<i16>),
}

/// A query in groups of 64 dimensions, in the orders of levels and of signs.
#[derive(Clone, Debug)]
pub(super) struct DimensionOrders<T> {
    /// In their own order, for levels.
    pub(super) plain: Vec<Aligned<[T; PADDING]>>,
    /// For signs: of each 8 dimensions the first, then of each the third, fifth, seventh, second, and so on.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(dead_code, reason = "other processors take the plain form")
    )]
    pub(super) signs: Vec<Aligned<[T; PADDING]>>,
}

impl LevelTable {
    /// `query` is rotated and padded, `bits` between 1 and 8. A wide table has 16 bits whatever the code, and
    /// takes half as long again to use.
    pub(crate) fn new(query: &[f32], bits: u32, wide: bool) -> Self {
        let strides = query.as_chunks::<PADDING>().0;
        let most = strides.as_flattened().iter().fold(0.0_f32, |most, q| most.max(q.abs()));
        let narrow = bits <= 6 && !wide;
        let limit = if narrow { f32::from(i8::MAX) } else { f32::from(i16::MAX) };
        let inverse = if most > 0.0 { limit / most } else { 0.0 };
        let rounded: Vec<_> =
            strides.iter().map(|stride| stride.map(|q| round_to_i16(q * inverse))).collect();
        let sum = rounded.as_flattened().iter().map(|q| i64::from(*q)).sum();
        #[expect(clippy::cast_possible_truncation, reason = "none is above 127")]
        let query = if narrow {
            IntegerQuery::I8(DimensionOrders::new(rounded.iter().map(|stride| stride.map(|q| q as i8))))
        } else {
            IntegerQuery::I16(DimensionOrders::new(rounded.into_iter()))
        };
        Self { bits, query, scale: f64::from(most) / f64::from(limit), sum }
    }

    /// `<y,q>` of a code whose sums over the signs and the levels are these.
    ///
    /// The centre of the levels is subtracted with the sum of the rounded query: the common part of the rounding errors
    /// of all dimensions cancels.
    #[expect(clippy::cast_precision_loss, reason = "sums of 16,384 dimensions are below 2^53")]
    pub(crate) fn centred(&self, signs: i32, levels: i64) -> f64 {
        let twice = (i64::from(signs) << self.bits) + 2 * levels - ((1 << self.bits) - 1) * self.sum;
        twice as f64 * (self.scale / 2.0)
    }

    /// The standard deviation of what rounding adds to `<y,q>`, for each unit of the length of y: a component is
    /// off by up to half a step, evenly.
    pub(crate) fn error(&self) -> f64 {
        self.scale / 12_f64.sqrt()
    }

    pub(crate) fn padded(&self) -> usize {
        PADDING
            * match &self.query {
                IntegerQuery::I8(query) => query.plain.len(),
                IntegerQuery::I16(query) => query.plain.len(),
            }
    }
}

impl<T: Copy + Default> DimensionOrders<T> {
    fn new(strides: impl Iterator<Item = [T; PADDING]>) -> Self {
        let plain: Vec<_> = strides.map(Aligned).collect();
        let signs = plain.iter().map(|Aligned(stride)| Aligned(sign_order(stride))).collect();
        Self { plain, signs }
    }
}

/// The dimensions of a stride in the order in which the sign kernel of AVX2 unpacks nibbles.
#[expect(clippy::indexing_slicing, reason = "`dimension` is below 8")]
fn sign_order<T: Copy + Default>(stride: &[T; PADDING]) -> [T; PADDING] {
    let mut ordered = [T::default(); PADDING];
    let (even, odd) = ordered.split_at_mut(PADDING / 2);
    for (part, first) in [(even, 0), (odd, 1)] {
        for (eight, dimension) in part.as_chunks_mut::<8>().0.iter_mut().zip((first..8).step_by(2)) {
            for (place, eighth) in eight.iter_mut().zip(stride.as_chunks::<8>().0) {
                *place = eighth[dimension];
            }
        }
    }
    ordered
}

/// The nearest integer of up to 16 bits; any for a number that is not finite.
fn round_to_i16(value: f32) -> i16 {
    /// Added to such a number, it leaves the integer in the low bits, negative ones in two's complement.
    const MAGIC: f32 = 12_582_912.0;
    let [low, high, ..] = (value + MAGIC).to_bits().to_le_bytes();
    i16::from_le_bytes([low, high])
}

#[cfg(test)]
mod tests {
    use super::super::testing::TestRng;
    use super::*;

    /// `<y,q>` for the sign code `signs`, in f64.
    fn exact(query: &[f32], signs: &[u8]) -> f64 {
        let y = |i: usize| f64::from(signs[i / 8] >> (i % 8) & 1) - 0.5;
        query.iter().enumerate().map(|(i, q)| y(i) * f64::from(*q)).sum()
    }

    #[test]
    fn the_error_of_a_sign_table_is_what_it_says() {
        let mut draw = TestRng::new(3);
        for (padded, wide) in [(64, false), (128, true), (768, false), (768, true), (4096, false)] {
            let mut squares = 0.0;
            let trials = 1_500;
            let mut sigma = 0.0;
            for _ in 0..trials {
                let query = draw.floats(padded);
                let table = SignTable::new(&query, wide);
                let signs = draw.bytes(padded / 8);
                let nibble = |j: usize| usize::from(signs[j / 2] >> (j % 2 * 4) & 15);
                let sum: u32 = (0..padded / 4)
                    .map(|j| u32::from(table.entries[j / 16].0[j % 16 * 16 + nibble(j)]))
                    .sum();
                let found = f64::from(table.step) * f64::from(sum) + f64::from(table.base);
                let error = found - exact(&query, &signs);
                sigma = f64::from(table.error());
                assert!(error.abs() < 6.0 * sigma);
                squares += (error / sigma).powi(2);
            }
            let deviation = (squares / f64::from(trials)).sqrt();
            assert!((0.8..1.1).contains(&deviation), "{padded} {wide}: {deviation}, {sigma}");
        }
    }

    #[test]
    fn no_entry_is_too_large() {
        let mut draw = TestRng::new(4);
        let mut queries: Vec<_> = (0..200).map(|_| draw.floats(64)).collect();
        queries.extend(
            [1.0, -1.0, 1e38, 1e-45, f32::MIN_POSITIVE, f32::INFINITY, f32::NAN].map(|q| vec![q; 64]),
        );
        for query in queries {
            let table = SignTable::new(&query, false);
            assert!(table.entries.iter().flat_map(|e| e.0).all(|e| e <= NARROW_MAX));
        }
        // Of a group of positive dimensions, no bits are the least and all bits the most.
        for (wide, most) in [(false, NARROW_MAX), (true, u8::MAX)] {
            let entries = SignTable::new(&[1.0; 64], wide).entries[0].0;
            assert_eq!((entries[0], entries[15]), (0, most));
            let entries = SignTable::new(&[-1.0; 64], wide).entries[0].0;
            assert_eq!((entries[0], entries[15]), (most, 0));
        }
    }

    #[test]
    fn a_query_of_zeros_estimates_zero() {
        for wide in [false, true] {
            let table = SignTable::new(&[0.0; 128], wide);
            assert!(table.entries.iter().all(|e| e.0 == [0; STRIDE]) && table.padded() == 128);
            assert_eq!((table.step, table.base, table.error()), (0.0, 0.0, 0.0));
        }
        let table = LevelTable::new(&[0.0; 128], 5, false);
        assert_eq!((table.centred(0, 0), table.error(), table.padded()), (0.0, 0.0, 128));
    }

    #[test]
    fn the_error_of_a_level_table_is_what_it_says() {
        let mut draw = TestRng::new(5);
        for (bits, wide) in (1..=8_u32).flat_map(|bits| [(bits, false), (bits, true)]) {
            let mut squares = 0.0;
            let trials = 400;
            for _ in 0..trials {
                let (query, codes) = (draw.floats(192), draw.bytes(192));
                let table = LevelTable::new(&query, bits, wide);
                assert_eq!(matches!(table.query, IntegerQuery::I16(_)), wide || bits > 6);
                let mask = u8::try_from((1_u32 << bits) - 1).unwrap();
                let (mut signs, mut levels, mut wanted, mut lengths) = (0, 0, 0.0, 0.0);
                for (i, (q, code)) in query.iter().zip(codes.iter().map(|code| code & mask)).enumerate() {
                    let integer = match &table.query {
                        IntegerQuery::I8(query) => i64::from(query.plain[i / 64].0[i % 64]),
                        IntegerQuery::I16(query) => i64::from(query.plain[i / 64].0[i % 64]),
                    };
                    let (sign, level) = (i64::from(code >> (bits - 1)), i64::from(code & (mask >> 1)));
                    signs += i32::try_from(sign * integer).unwrap();
                    levels += level * integer;
                    let y = f64::from(code) - f64::from(mask) / 2.0;
                    wanted += y * f64::from(*q);
                    lengths += y * y;
                }
                let error = (table.centred(signs, levels) - wanted) / (table.error() * lengths.sqrt());
                assert!(error.abs() < 6.0, "{bits}: {error}");
                squares += error * error;
            }
            let deviation = (squares / f64::from(trials)).sqrt();
            assert!((0.85..1.15).contains(&deviation), "{bits} {wide}: {deviation}");
        }
    }

    #[test]
    fn signs_have_an_order_of_their_own() {
        let ordered = sign_order(&std::array::from_fn::<_, 64, _>(|i| i));
        assert_eq!(ordered[..10], [0, 8, 16, 24, 32, 40, 48, 56, 2, 10]);
        assert_eq!((ordered[24], ordered[32], ordered[63]), (6, 1, 63));
        assert_eq!([0.4, 126.6, -126.6, 32_767.01].map(round_to_i16), [0, 127, -127, 32_767]);
    }
}
