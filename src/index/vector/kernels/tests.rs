//! Every implementation against plain sums, and all of them against each other, bit by bit.

use half::f16;

use super::layout::{BLOCK_VECTORS, GROUP};
use super::select::supported_kernels;
use super::tables::{Aligned, IntegerQuery, STRIDE};
use super::testing::TestRng;
use super::*;
use crate::index::vector::Random;

/// A block of random signs and of the factors that `factor` draws.
fn block(draw: &mut TestRng, padded: usize, factor: impl Fn(&mut TestRng) -> f32) -> Vec<u8> {
    let mut vectors = Vec::new();
    for _ in 0..BLOCK_VECTORS {
        let (mul, err) = (f16::from_f32(factor(draw)), f16::from_f32(factor(draw)));
        vectors.push((draw.bytes(padded / 8), SignFactors { add: factor(draw), mul, err }));
    }
    let mut bytes = Vec::new();
    push_block(vectors.iter().map(|(signs, factors)| (signs.as_slice(), *factors)), padded, &mut bytes);
    bytes
}

/// The bound of one vector, as [`ScanParams`] says; other adds are those of the first block.
fn reference(block: &SignBlock<'_>, vector: usize, table: &SignTable, scan: &ScanParams<'_>) -> f32 {
    let entry =
        |j: usize| u32::from(table.entries[j / 16].0[j % 16 * GROUP + usize::from(block.nibble(j, vector))]);
    let sum: u32 = (0..table.padded() / 4).map(entry).sum();
    let product = scan.step * sum as f32 + scan.base;
    let factors = block.factors(vector);
    let add = match scan.adds {
        Some(adds) => f32::from_le_bytes(adds[0].as_chunks().0[vector]),
        None => factors.add,
    };
    let constant = scan.add_weight * add - factors.err.to_f32() * scan.g_err;
    constant + factors.mul.to_f32() * product
}

/// Scans with every implementation; all must agree with the reference, bit by bit: each bound is also made the
/// limit, which does not rule its vector out, and then the next smaller number, which does.
fn check_scan(bytes: &[u8], table: &SignTable, scan: &ScanParams<'_>) -> u32 {
    let block = SignBlock::new(bytes, table.padded()).unwrap();
    let lower: Vec<_> = (0..BLOCK_VECTORS).map(|vector| reference(&block, vector, table, scan)).collect();
    let kept = |limit: f32| {
        let above = lower.iter().map(|lower| *lower > limit);
        above.enumerate().fold(0, |mask, (bit, above)| mask | u32::from(!above) << bit)
    };
    let edges = lower.iter().flat_map(|lower| [*lower, lower.next_down()]);
    for kernels in supported_kernels() {
        for limit in std::iter::once(scan.limit).chain(edges.clone()) {
            let mut masks = [0; 3];
            let adds = scan.adds.map(|adds| [adds[0]; 3]);
            let scan = ScanParams { limit, adds: adds.as_ref().map(<[_; 3]>::as_slice), ..*scan };
            kernels.scan(&bytes.repeat(3), table, &scan, &mut masks);
            assert_eq!(masks, [kept(limit); 3], "{}, {limit}", kernels.name());
        }
    }
    kept(scan.limit)
}

fn a_scan(draw: &mut TestRng, table: &SignTable) -> ScanParams<'static> {
    let (step, base) = (table.step(), table.base() + 2.5 * table.error());
    ScanParams { add_weight: draw.float(), g_err: draw.float().abs(), step, base, limit: 0.0, adds: None }
}

#[test]
fn scans_agree_bit_by_bit() {
    let mut draw = TestRng::new(11);
    let mut kept = 0;
    for padded in (64..=1536).step_by(64).chain([2048, 4096, 4160, 16_384]) {
        for wide in [false, true] {
            let table = SignTable::new(&draw.floats(padded), wide);
            let (bytes, scan) = (block(&mut draw, padded, TestRng::float), a_scan(&mut draw, &table));
            kept += check_scan(&bytes, &table, &scan).count_ones();
            let mut adds = [[0; ADDS_LEN]];
            adds[0].as_chunks_mut().0.iter_mut().for_each(|add| *add = draw.float().to_le_bytes());
            check_scan(&bytes, &table, &ScanParams { adds: Some(&adds), ..scan });
        }
    }
    assert!((300..1_500).contains(&kept), "{kept}: limits that rule out all or none show nothing");
}

#[test]
fn scans_agree_on_the_worst_sums() {
    let mut draw = TestRng::new(12);
    for padded in [64, 1024, 1088, 4096, 4160, 16_384] {
        for wide in [false, true] {
            let mut table = SignTable::new(&draw.floats(padded), wide);
            let scan = a_scan(&mut draw, &table);
            for byte in [0, 0xf, 0xf0, 0xff] {
                let mut bytes = block(&mut draw, padded, TestRng::float);
                bytes[..padded * 4].fill(byte);
                check_scan(&bytes, &table, &scan);
                table.entries.fill(Aligned([if wide { 255 } else { 63 }; STRIDE]));
                check_scan(&bytes, &table, &scan);
            }
        }
    }
}

#[test]
fn what_is_not_finite_is_never_ruled_out_by_accident() {
    let mut draw = TestRng::new(13);
    let odd = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-7, 65_504.0, -6e-8, 1.0, -2.0];
    let pick = |draw: &mut TestRng| odd[usize::try_from(draw.next() % odd.len() as u64).unwrap()];
    for round in 0..200 {
        let mut query = draw.floats(128);
        if round % 4 == 0 {
            query[7] = pick(&mut draw);
        }
        let table = SignTable::new(&query, round % 2 == 0);
        let (add_weight, g_err) = (pick(&mut draw), pick(&mut draw));
        let base = table.base() + pick(&mut draw);
        let step = if round % 8 == 0 { pick(&mut draw) } else { table.step() };
        let scan = ScanParams { add_weight, g_err, step, base, limit: pick(&mut draw), adds: None };
        let bytes = block(&mut draw, 128, pick);
        let mask = check_scan(&bytes, &table, &scan);
        assert!(!scan.limit.is_nan() || mask == u32::MAX);
    }
}

#[test]
fn what_nothing_has_scored_keeps_its_mask() {
    let mut draw = TestRng::new(18);
    let (table, bytes) = (SignTable::new(&draw.floats(128), false), block(&mut draw, 128, TestRng::float));
    let adds = [[0; ADDS_LEN]];
    let params = ScanParams { limit: -1e30, adds: Some(&adds), ..a_scan(&mut draw, &table) };
    for kernels in supported_kernels() {
        let mut masks = [u32::MAX; 2];
        (kernels.scan)(&bytes.repeat(2), &table, &params, &mut masks);
        assert_eq!(masks, [0, u32::MAX], "{}: the second block has no adds", kernels.name());
    }
}

#[test]
fn a_query_of_zeros_leaves_the_constant_parts() {
    let mut draw = TestRng::new(14);
    let table = SignTable::new(&[0.0; 768], false);
    let bytes = block(&mut draw, 768, TestRng::float);
    let (step, base) = (table.step(), table.base() + table.error());
    let scan = ScanParams { add_weight: 1.0, g_err: 0.0, step, base, limit: 0.0, adds: None };
    let mask = check_scan(&bytes, &table, &scan);
    let block = SignBlock::new(&bytes, 768).unwrap();
    let wanted = (0..32).map(|v| u32::from(block.factors(v).add <= 0.0) << v).sum::<u32>();
    assert_eq!(mask, wanted);
}

#[test]
fn sums_of_codes_are_exact() {
    let mut draw = TestRng::new(15);
    for padded in (64..=1536).step_by(64).chain([4096, 16_384]) {
        for bits in 1..=8 {
            // The second query and levels are the largest there are, the third of one sign.
            for extreme in [None, Some([1.0, -1.0]), Some([-1.0, -1.0])] {
                let query = match extreme {
                    None => draw.floats(padded),
                    Some(pair) => pair.repeat(padded / 2),
                };
                let most = u8::try_from((1_u32 << (bits - 1)) - 1).unwrap();
                let levels = match extreme {
                    None => draw.bytes(padded).into_iter().map(|level| level & most).collect(),
                    Some(_) => vec![most; padded],
                };
                for wide in [false, true] {
                    let table = LevelTable::new(&query, bits, wide);
                    check_levels(&table, &levels, bits);
                    check_signs(&table, &block(&mut draw, padded, TestRng::float));
                }
            }
        }
    }
}

fn integers(table: &LevelTable) -> Vec<i64> {
    match &table.query {
        IntegerQuery::I8(query) => query.plain.iter().flat_map(|q| q.0.map(i64::from)).collect(),
        IntegerQuery::I16(query) => query.plain.iter().flat_map(|q| q.0.map(i64::from)).collect(),
    }
}

fn check_levels(table: &LevelTable, levels: &[u8], bits: u32) {
    let wanted: i64 = integers(table).iter().zip(levels).map(|(q, level)| q * i64::from(*level)).sum();
    let mut extra = Vec::new();
    push_levels(levels, bits, &mut extra);
    for kernels in supported_kernels() {
        assert_eq!(kernels.level_dot(&extra, table), wanted, "{}: {bits} bits", kernels.name());
    }
}

fn check_signs(table: &LevelTable, bytes: &[u8]) {
    let block = SignBlock::new(bytes, table.padded()).unwrap();
    let query = integers(table);
    for vector in [0, 7, 8, 15, 16, 23, 31] {
        let signs = block.signs(vector);
        let sign = |i: usize| i64::from(signs[i / 8] >> (i % 8) & 1);
        let wanted: i64 = query.iter().enumerate().map(|(i, q)| sign(i) * q).sum();
        for kernels in supported_kernels() {
            assert_eq!(i64::from(kernels.sign_dot(&block, vector, table)), wanted, "{}", kernels.name());
        }
    }
}

/// The sum of terms and of their absolutes in f64.
fn exact(query: &[f32], row: &[f32], term: impl Fn(f64, f64) -> f64) -> (f64, f64) {
    let terms = query.iter().zip(row).map(|(a, b)| term((*a).into(), (*b).into()));
    terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
}

#[test]
fn exact_sums_are_near_those_of_f64_and_the_same_bits_everywhere() {
    let mut draw = TestRng::new(16);
    let unit = 2_f64.powi(-24);
    for dimension in (0..140).chain([256, 511, 512, 513, 543, 768, 1000, 1536, 16_384]) {
        let (query, row) = (draw.floats(dimension), draw.floats(dimension));
        let results = |kernels: &Kernels| {
            [
                kernels.dot(&query, &row),
                kernels.l2(&query, &row),
                kernels.wide_dot(&query, &row),
                kernels.wide_l2(&query, &row),
            ]
        };
        let plain = results(&portable::KERNELS);
        let [dot, l2, wide_dot, wide_l2] = plain;
        let (wanted, size) = exact(&query, &row, |a, b| a * b);
        assert!((dot - wanted).abs() <= 24.0 * unit * size, "{dot} for {wanted}");
        // The sum that it is compared with has an error of its own.
        let wide_unit = 2_f64.powi(-53) * (dimension + 1) as f64;
        assert!((wide_dot - wanted).abs() <= wide_unit * size, "{wide_dot} for {wanted}");
        let (wanted, _) = exact(&query, &row, |a, b| (a - b) * (a - b));
        assert!((l2 - wanted).abs() <= 24.0 * unit * wanted, "{l2} for {wanted}");
        assert!((wide_l2 - wanted).abs() <= wide_unit * wanted, "{wide_l2} for {wanted}");
        for kernels in supported_kernels() {
            for (found, wanted) in results(kernels).iter().zip(&plain) {
                assert_eq!(found.to_bits(), wanted.to_bits(), "{} of {dimension}", kernels.name());
            }
        }
    }
}

#[test]
fn wide_sums_neither_overflow_nor_underflow() {
    // So many that all sums of equal squares are exact in f64.
    const COUNT: usize = 24;
    for size in [f32::MAX, 1e-45, 1e-30] {
        let (row, wide) = ([size; COUNT], f64::from(size));
        let wanted = COUNT as f64 * wide * wide;
        for kernels in supported_kernels() {
            let (dot, l2) = (kernels.wide_dot(&row, &row), kernels.wide_l2(&row, &[-size; COUNT]));
            assert_eq!(dot.to_bits(), wanted.to_bits(), "{}", kernels.name());
            assert_eq!(l2.to_bits(), (4.0 * wanted).to_bits(), "{}", kernels.name());
        }
    }
}

#[test]
fn exact_sums_pass_on_what_is_not_finite() {
    for kernels in supported_kernels() {
        for place in [0, 31, 40, 77] {
            let (mut query, row) = (vec![1.0; 78], vec![2.0; 78]);
            query[place] = f32::INFINITY;
            let results = |query: &[f32]| {
                let (dot, l2) = (kernels.dot(query, &row), kernels.l2(query, &row));
                [dot, l2, kernels.wide_dot(query, &row), kernels.wide_l2(query, &row)]
            };
            assert!(results(&query).into_iter().all(f64::is_infinite));
            query[place] = f32::NAN;
            assert!(results(&query).into_iter().all(f64::is_nan));
        }
    }
}

/// Arguments that do not match make wrong sums, never a panic; with debug assertions the methods say so, hence
/// the fields.
#[test]
fn lengths_that_do_not_match_do_not_panic() {
    let mut draw = TestRng::new(17);
    let bytes = block(&mut draw, 128, TestRng::float);
    let block = SignBlock::new(&bytes, 128).unwrap();
    for kernels in supported_kernels() {
        for padded in [0, 4, 60, 64, 192] {
            let query = draw.floats(padded);
            for wide in [false, true] {
                let table = SignTable::new(&query, wide);
                let scan = a_scan(&mut draw, &table);
                (kernels.scan)(&bytes, &table, &scan, &mut [0; 2]);
            }
            for bits in [0, 1, 5, 8, 9] {
                let table = LevelTable::new(&query, bits, false);
                (kernels.sign_dot)(&block, 40, &table);
                (kernels.level_dot)(&bytes[..99], &table);
            }
            (kernels.dot)(&query, &[1.0; 77]);
            (kernels.l2)(&[1.0; 77], &query);
            (kernels.wide_dot)(&query, &[1.0; 77]);
            (kernels.wide_l2)(&[1.0; 77], &query);
        }
    }
}

#[test]
fn the_chosen_kernels_are_the_fastest() {
    let names: Vec<_> = supported_kernels().into_iter().map(Kernels::name).collect();
    assert_eq!(names.first(), Some(&"portable"));
    assert_eq!(names.last(), Some(&kernels().name()));
}

#[test]
fn dot_products_of_integers_are_those_of_the_portable_kernel() {
    let mut random = Random::new(11);
    for length in [0, 1, 31, 64, 777, 4_096] {
        let mut number =
            |end: usize| i32::try_from(random.below(end)).unwrap() - i32::try_from(end / 2).unwrap();
        let codes: Vec<i8> = (0..length).map(|_| i8::try_from(number(255)).unwrap()).collect();
        let query: Vec<i16> = (0..length).map(|_| i16::try_from(number(8_191)).unwrap()).collect();
        let wanted: i32 = codes.iter().zip(&query).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
        for kernels in supported_kernels() {
            assert_eq!(kernels.byte_dot(&codes, &query), wanted, "{}: {length}", kernels.name());
        }
    }
}
