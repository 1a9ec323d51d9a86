//! A query in the form that the kernels read: made once, used for every vector.
//!
//! Both tables are rounded queries, and both sums over them are exact, so an estimate depends on the query
//! and the code alone, never on the processor.

use super::layout::GROUP;

/// What the four signs of a group and their dimensions add up to, for every group and all 16 cases, rounded
/// to 6 or 8 bits.
///
/// `<b,q> ≈ step · Σ entries + Σ least`, where the least sum of a group is its own and the step is common.
#[derive(Clone, Debug)]
pub(crate) struct SignTable {
    /// 16 to a group, none above [`NARROW_MAX`] unless `wide`.
    pub(super) entries: Vec<u8>,
    pub(super) wide: bool,
    pub(super) step: f32,
    /// What no signs at all stand for, less half the sum of the query: `<y,q> ≈ step · Σ entries + base`.
    pub(super) base: f32,
}

/// The largest entry of a table of 6 bits: four of them fit a byte.
pub(super) const NARROW_MAX: u8 = 63;
/// How many groups of narrow and wide entries a sum of 16 bits holds.
pub(super) const NARROW_GROUPS: usize = 1024;
pub(super) const WIDE_GROUPS: usize = 256;
const _: () = assert!(NARROW_GROUPS * NARROW_MAX as usize <= u16::MAX as usize);
const _: () = assert!(WIDE_GROUPS * u8::MAX as usize <= u16::MAX as usize);

impl SignTable {
    /// `query` is rotated and padded. A wide table is four times as precise and takes a third longer to use.
    pub(crate) fn new(query: &[f32], wide: bool) -> Self {
        let groups = query.as_chunks::<4>().0;
        let most = if wide { u8::MAX } else { NARROW_MAX };
        let (mut range, mut base) = (0.0_f32, 0.0_f64);
        for group in groups {
            range = range.max(group.iter().map(|q| q.abs()).sum());
            // The least sum less half the sum is half the sum of the absolutes, negated.
            base -= group.iter().map(|q| f64::from(q.abs())).sum::<f64>() / 2.0;
        }
        let step = range / f32::from(most);
        let scale = if step > 0.0 { f32::from(most) / range } else { 0.0 };
        let mut entries = vec![0; groups.len() * GROUP];
        for (entries, group) in entries.as_chunks_mut::<GROUP>().0.iter_mut().zip(groups) {
            *entries = round(group, scale, most);
        }
        Self { entries, wide, step, base: narrowed(base) }
    }

    /// The standard deviation of what rounding adds to `<y,q>`: `step · √(padded / 48)`.
    #[expect(clippy::cast_precision_loss, reason = "a dimension is small")]
    pub(crate) fn error(&self) -> f32 {
        narrowed(f64::from(self.step) * ((self.entries.len() / 4) as f64 / 48.0).sqrt())
    }

    pub(crate) fn padded(&self) -> usize {
        self.entries.len() / 4
    }
}

/// The 16 sums of a group above the least, in steps.
///
/// A set bit counts where its dimension is positive, a clear one where it is negative: no sum cancels.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates, NaN to 0")]
fn round(group: &[f32; 4], scale: f32, most: u8) -> [u8; GROUP] {
    let [a, b, c, d] = group.map(|q| if q > 0.0 { [0.0, q * scale] } else { [-q * scale, 0.0] });
    let mut entries = [0; GROUP];
    for (case, entry) in entries.iter_mut().enumerate() {
        let pick = |pair: [f32; 2], bit: usize| if case >> bit & 1 == 0 { pair[0] } else { pair[1] };
        let sum = (pick(a, 0) + pick(b, 1)) + (pick(c, 2) + pick(d, 3));
        *entry = ((sum + 0.5) as u8).min(most);
    }
    entries
}

#[expect(clippy::cast_possible_truncation, reason = "rounding is the point; what is too large is infinite")]
fn narrowed(value: f64) -> f32 {
    value as f32
}

/// The query in integers, for the exact sum over all bits of a code.
#[derive(Clone, Debug)]
pub(crate) struct LevelTable {
    pub(super) bits: u32,
    pub(super) query: Integers,
    /// What the four signs of a group and their dimensions add up to.
    pub(super) groups: Vec<[i32; GROUP]>,
    scale: f64,
    sum: i64,
}

/// Codes of up to 6 bits are coarser than a query of 8; those of 7 and 8 bits need one of 16.
#[derive(Clone, Debug)]
pub(super) enum Integers {
    I8(Vec<i8>),
    I16(Vec<i16>),
}

impl LevelTable {
    /// `query` is rotated and padded, `bits` between 1 and 8.
    #[expect(clippy::cast_possible_truncation, reason = "rounding is the point, and the cast saturates")]
    pub(crate) fn new(query: &[f32], bits: u32) -> Self {
        let most = query.iter().fold(0.0_f64, |most, q| most.max(f64::from(q.abs())));
        let limit = if bits <= 6 { f64::from(i8::MAX) } else { f64::from(i16::MAX) };
        let inverse = if most > 0.0 { limit / most } else { 0.0 };
        let integer = |q: &f32| (f64::from(*q) * inverse).round_ties_even() as i16;
        let all: Vec<i16> = query.iter().map(integer).collect();
        let groups = all.as_chunks().0.iter().map(sums).collect();
        let sum = all.iter().map(|q| i64::from(*q)).sum();
        let query = match bits {
            ..=6 => Integers::I8(all.into_iter().map(|q| q as i8).collect()),
            _ => Integers::I16(all),
        };
        Self { bits, query, groups, scale: most / limit, sum }
    }

    /// `<y,q>` of a code whose sums over the signs and the levels are these.
    ///
    /// The centre of the levels is taken off with the sum of the rounded query: what all dimensions were
    /// rounded by together then cancels.
    #[expect(clippy::cast_precision_loss, reason = "sums of 16,384 dimensions are below 2^53")]
    pub(crate) fn centred(&self, signs: i32, levels: i64) -> f64 {
        let twice = (i64::from(signs) << self.bits) + 2 * levels - ((1 << self.bits) - 1) * self.sum;
        twice as f64 * (self.scale / 2.0)
    }

    pub(crate) fn padded(&self) -> usize {
        self.groups.len() * 4
    }
}

/// The sums of all subsets of a group.
fn sums(group: &[i16; 4]) -> [i32; GROUP] {
    let [a, b, c, d] = group.map(i32::from);
    let low = [0, a, b, a + b];
    let [c0, c1, c2, c3] = [0, c, d, c + d].map(|high| low.map(|low| low + high));
    let mut all = [0; GROUP];
    for (all, part) in all.as_chunks_mut::<4>().0.iter_mut().zip([c0, c1, c2, c3]) {
        *all = part;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::testing::Draw;
    use super::*;

    /// `<y,q>` for the sign code `signs`, in f64.
    fn exact(query: &[f32], signs: &[u8]) -> f64 {
        let y = |i: usize| f64::from(signs[i / 8] >> (i % 8) & 1) - 0.5;
        query.iter().enumerate().map(|(i, q)| y(i) * f64::from(*q)).sum()
    }

    #[test]
    fn the_error_of_a_sign_table_is_what_it_says() {
        let mut draw = Draw(3);
        for (padded, wide) in [(64, false), (128, true), (768, false), (768, true), (4096, false)] {
            let mut squares = 0.0;
            let trials = 1_500;
            let mut sigma = 0.0;
            for _ in 0..trials {
                let query = draw.floats(padded);
                let table = SignTable::new(&query, wide);
                let signs = draw.bytes(padded / 8);
                let nibble = |j: usize| usize::from(signs[j / 2] >> (j % 2 * 4) & 15);
                let sum: u32 = (0..padded / 4).map(|j| u32::from(table.entries[j * 16 + nibble(j)])).sum();
                let found = table.step * sum as f32 + table.base;
                let error = f64::from(found) - exact(&query, &signs);
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
        let mut draw = Draw(4);
        let mut queries: Vec<_> = (0..200).map(|_| draw.floats(64)).collect();
        queries.extend(
            [1.0, -1.0, 1e38, 1e-45, f32::MIN_POSITIVE, f32::INFINITY, f32::NAN].map(|q| vec![q; 64]),
        );
        for query in queries {
            let table = SignTable::new(&query, false);
            assert!(table.entries.iter().all(|e| *e <= NARROW_MAX));
            // Of a group of positive dimensions, no bits are the least and all bits the most.
            if query.iter().all(|q| *q == 1.0) {
                assert_eq!((table.entries[0], table.entries[15]), (0, NARROW_MAX));
                assert_eq!(SignTable::new(&query, true).entries[15], u8::MAX);
            }
        }
    }

    #[test]
    fn a_query_of_zeros_estimates_zero() {
        for wide in [false, true] {
            let table = SignTable::new(&[0.0; 128], wide);
            assert!(table.entries.iter().all(|e| *e == 0) && table.padded() == 128);
            assert_eq!((table.step, table.base, table.error()), (0.0, 0.0, 0.0));
        }
        let table = LevelTable::new(&[0.0; 128], 5);
        assert_eq!((table.centred(0, 0), table.padded()), (0.0, 128));
    }

    #[test]
    fn sums_over_levels_are_those_of_the_rounded_query() {
        let mut draw = Draw(5);
        for bits in 1..=8_u32 {
            let (query, codes) = (draw.floats(192), draw.bytes(192));
            let table = LevelTable::new(&query, bits);
            let mask = u8::try_from((1_u32 << bits) - 1).unwrap();
            let (mut signs, mut levels, mut wanted, mut lengths) = (0, 0, 0.0, 0.0);
            for (i, (q, code)) in query.iter().zip(codes.iter().map(|code| code & mask)).enumerate() {
                let integer = match &table.query {
                    Integers::I8(query) => i64::from(query[i]),
                    Integers::I16(query) => i64::from(query[i]),
                };
                let (sign, level) = (i64::from(code >> (bits - 1)), i64::from(code & (mask >> 1)));
                signs += i32::try_from(sign * integer).unwrap();
                levels += level * integer;
                let y = f64::from(code) - f64::from(mask) / 2.0;
                wanted += y * f64::from(*q);
                lengths += y * y;
            }
            let error = (table.centred(signs, levels) - wanted).abs();
            // Each dimension is rounded by a twelfth of a step squared.
            assert!(error < 6.0 * table.scale * (lengths / 12.0).sqrt(), "{bits}: {error}");
        }
        assert_eq!(sums(&[1, 2, 4, 8]), std::array::from_fn(|i| i32::try_from(i).unwrap()));
    }
}
