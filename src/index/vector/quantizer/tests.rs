//! Codes and factors against the formulas they come from.

use half::f16;

use super::code::Factors;
use super::reference::{Estimate, ExactRelation, Stage, direction, estimate, known, truth};
use super::*;
use crate::index::vector::random::Random;

const FORMS: [Form; 2] = [Form::L2, Form::Dot];

fn vector(random: &mut Random, padded: usize, length: f64) -> Vec<f32> {
    let vector: Vec<f32> = (0..padded).map(|_| random.next_normal()).collect();
    let scale = length / dot(&vector, &vector).sqrt();
    vector.iter().map(|x| (f64::from(*x) * scale) as f32).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn encoded(quantizer: &Quantizer, residual: &[f32], centroid: &[f32]) -> Code {
    let mut code = Code::default();
    quantizer.encode(residual, centroid, known(residual, centroid), &mut code);
    code
}

fn near(found: f32, expected: f64, tolerance: f64) {
    assert!((f64::from(found) - expected).abs() <= tolerance, "{found} for {expected}");
}

/// The factors as the formulas are written, from the code itself.
#[test]
fn factors_follow_the_formulas() {
    for (form, bits, padded) in FORMS
        .into_iter()
        .flat_map(|form| (1..=8).flat_map(move |bits| [64, 128, 768].map(|padded| (form, bits, padded))))
    {
        let mut random = Random::new(u64::from(bits));
        let quantizer = Quantizer::new(padded, bits, form);
        assert_eq!((quantizer.padded(), quantizer.bits(), quantizer.form()), (padded, bits, form));
        let (r, c) = (vector(&mut random, padded, 0.6), vector(&mut random, padded, 2.0));
        let code = encoded(&quantizer, &r, &c);
        assert_eq!((code.signs.len(), code.levels.len()), (padded / 8, padded));
        for (stage, factors) in [(Stage::Coarse, code.coarse), (Stage::Fine, code.fine)] {
            let y: Vec<f32> = direction(&code, bits, stage).iter().map(|y| *y as f32).collect();
            assert!(y.iter().zip(&r).all(|(y, r)| y.signum() == r.signum()));
            let (n, a, g, h) = (dot(&r, &r), dot(&r, &y), dot(&y, &y), dot(&c, &y));
            let (s, mul) = (n / a, f64::from(factors.mul));
            let kappa = ((n * g / (a * a) - 1.0) / (padded as f64 - 1.0)).sqrt();
            let (times, base) = if form == Form::L2 { (2.0, n) } else { (1.0, -dot(&c, &r)) };
            near(factors.mul, -times * s, times * s * if stage == Stage::Coarse { 5e-4 } else { 1e-7 });
            near(factors.add, base - mul * h, 1e-6);
            near(factors.err, times * n.sqrt() * kappa, times * n.sqrt() * kappa * 0.001);
        }
        assert_eq!(f16::from_f32(code.coarse.mul).to_f32(), code.coarse.mul, "it is stored as it is");
    }
}

/// Of the published table, at 768 dimensions.
#[test]
fn the_error_halves_with_every_bit() {
    let table = [0.757, 0.366, 0.196, 0.106, 0.057, 0.030, 0.0150, 0.0075];
    for (bits, expected) in (1..).zip(table) {
        let mut random = Random::new(23);
        let quantizer = Quantizer::new(768, bits, Form::Dot);
        let zero = vec![0.0; 768];
        let (mut fine, mut coarse) = (0.0, 0.0);
        for _ in 0..32 {
            let code = encoded(&quantizer, &vector(&mut random, 768, 1.0), &zero);
            fine += f64::from(code.fine.err) * 767_f64.sqrt() / 32.0;
            coarse += f64::from(code.coarse.err) * 767_f64.sqrt() / 32.0;
        }
        assert!((fine / expected - 1.0).abs() < 0.05, "{bits} bits: {fine}");
        assert!((coarse / 0.757 - 1.0).abs() < 0.02, "signs: {coarse}");
    }
}

#[test]
fn no_residual_is_no_error() {
    let mut random = Random::new(29);
    let (c, q) = (vector(&mut random, 128, 3.0), vector(&mut random, 128, 1.0));
    for (form, bits) in FORMS.into_iter().flat_map(|form| (1..=8).map(move |bits| (form, bits))) {
        for zero in [0.0, -0.0] {
            let r = [zero; 128];
            let code = encoded(&Quantizer::new(128, bits, form), &r, &c);
            assert_eq!((code.coarse, code.fine), (Factors::default(), Factors::default()));
            assert_eq!((&code.signs[..], &code.levels[..]), (&[255; 16][..], &[0; 128][..]));
            let relation = ExactRelation::new(form, &q, &c);
            for stage in [Stage::Coarse, Stage::Fine] {
                let found = estimate(&code, bits, stage, &relation, &q);
                assert!((found.est - truth(form, &r, &c, &q)).abs() < 1e-12);
                assert_eq!(found.std, 0.0);
            }
        }
    }
}

#[test]
fn a_residual_too_short_to_encode_has_its_length_for_error() {
    for (form, times) in FORMS.into_iter().zip([2.0, 1.0]) {
        let r = vector(&mut Random::new(43), 64, 1e-31);
        let code = encoded(&Quantizer::new(64, 5, form), &r, &[1.0; 64]);
        for factors in [code.coarse, code.fine] {
            assert_eq!(factors.mul, 0.0);
            near(factors.err, times * 1e-31, 1e-36);
        }
    }
}

/// From where f16 holds nothing to where it overflows: a bound of 2.5 deviations is kept.
#[test]
fn bounds_hold_at_any_scale() {
    for (form, bits) in FORMS.into_iter().flat_map(|form| [1, 5, 8].map(|bits| (form, bits))) {
        let quantizer = Quantizer::new(64, bits, form);
        let mut random = Random::new(31);
        for exponent in -44..19 {
            let (scale, mut beyond) = (10_f64.powi(exponent), 0);
            for _ in 0..20 {
                let (r, c) = (vector(&mut random, 64, scale), vector(&mut random, 64, 2.0 * scale));
                let q = vector(&mut random, 64, 2.0 * scale);
                let code = encoded(&quantizer, &r, &c);
                let relation = ExactRelation::new(form, &q, &c);
                for stage in [Stage::Coarse, Stage::Fine] {
                    let Estimate { est, std } = estimate(&code, bits, stage, &relation, &q);
                    // The sum is rounded to the f32 that a factor is.
                    let rounding = 1e-6 * scale * scale + 1e-44;
                    beyond += u32::from((est - truth(form, &r, &c, &q)).abs() > 2.5 * std + rounding);
                }
            }
            assert!(beyond <= 3, "{form:?}, {bits} bits, 1e{exponent}: {beyond} of 40");
        }
    }
}

#[test]
fn a_scale_by_a_power_of_two_changes_no_code() {
    let mut random = Random::new(37);
    let (r, c) = (vector(&mut random, 192, 0.3), vector(&mut random, 192, 1.0));
    for bits in 1..=8 {
        let quantizer = Quantizer::new(192, bits, Form::L2);
        let code = encoded(&quantizer, &r, &c);
        let times = |v: &[f32]| v.iter().map(|x| x * 1024.0).collect::<Vec<_>>();
        let scaled = encoded(&quantizer, &times(&r), &times(&c));
        assert_eq!((&code.signs, &code.levels), (&scaled.signs, &scaled.levels));
        near(scaled.fine.add, f64::from(code.fine.add) * 2_f64.powi(20), 0.1);
        near(scaled.fine.mul, f64::from(code.fine.mul) * 1024.0, 1e-3);
    }
}

#[test]
fn codes_are_written_over_and_minus_zero_is_not_negative() {
    let mut random = Random::new(41);
    let quantizer = Quantizer::new(64, 5, Form::L2);
    let mut code = encoded(&Quantizer::new(128, 8, Form::Dot), &[-1.0; 128], &[1.0; 128]);
    let mut r = vector(&mut random, 64, 1.0);
    (r[0], r[1], r[9]) = (-0.0, 0.0, -0.5);
    quantizer.encode(&r, &[0.0; 64], ResidualTerms::default(), &mut code);
    assert_eq!(code.signs[0] & 3, 3);
    assert_eq!(code.signs[1] & 2, 0);
    let fresh = encoded(&quantizer, &r, &[0.0; 64]);
    assert_eq!((&code.signs, &code.levels), (&fresh.signs, &fresh.levels));
    assert_eq!((code.coarse, code.fine), (fresh.coarse, fresh.fine));
}

#[test]
fn what_is_not_finite_gives_no_bound() {
    for (form, bits) in FORMS.into_iter().flat_map(|form| (1..=8).map(move |bits| (form, bits))) {
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut r = [0.1; 64];
            r[5] = odd;
            let code = encoded(&Quantizer::new(64, bits, form), &r, &[1.0; 64]);
            let bound = |f: Factors| f64::from(f.add) - 2.5 * f64::from(f.err);
            for factors in [code.coarse, code.fine] {
                assert!(!bound(factors).is_finite() || factors.mul.is_nan(), "{factors:?}");
                assert!(bound(factors) != f64::INFINITY, "{factors:?} would be left out");
            }
            assert!(code.levels.iter().all(|e| u32::from(*e) < 1 << (bits - 1)));
        }
    }
}

#[test]
fn halves_are_rounded_up() {
    for bits in 0..u16::MAX {
        let half = f16::from_bits(bits);
        let value = half.to_f32();
        assert!(f16_up(value) == half || half.is_nan());
        if half.is_finite() {
            let above = f32::from_bits(if value > 0.0 { value.to_bits() + 1 } else { 1 });
            assert!(value < 0.0 || (f16_up(above).to_f32() > value && f16_up(above) == half_after(half)));
            let below = f32::from_bits(if value < 0.0 { value.to_bits() + 1 } else { 0x8000_0001 });
            assert!(value > 0.0 || f16_up(below) == half);
        }
    }
    assert_eq!(f16_up(1e-30).to_bits(), 1);
    assert_eq!(f16_up(65_505.0), f16::INFINITY);
    assert!(f16_up(f32::NAN).is_nan());
}

fn half_after(half: f16) -> f16 {
    f16::from_bits(if half == f16::ZERO { 1 } else { half.to_bits() + 1 })
}
