//! RaBitQ: a few bits for every dimension of a rotated residual, and factors that make estimates unbiased.
//!
//! The residual r = x' − c' of a vector from its cluster's centre, rotated, becomes a direction y on a grid:
//! yᵢ = sgn(rᵢ)·(mᵢ + ½) with levels m below 2^(bits−1), chosen to point along r as well as they can. As an
//! unsigned code, y + (2^bits − 1)/2 = 2^(bits−1)·b + e: the sign bit b = \[r ≥ 0\], which alone is the 1-bit
//! code, and the low bits e, which are m or, where r is negative, its complement.
//!
//! With n = ‖r‖, a = ⟨r,y⟩, g = ⟨y,y⟩, ⟨r,v⟩ ≈ (n²/a)·⟨y,v⟩ for any v, without bias, with an error that is
//! normally distributed with deviation n·κ·‖v‖, κ² = (n²g/a² − 1)/(D − 1). From that come [`Factors`].
//!
//! **Invariant:** an estimate is off by a normally distributed error of the deviation it states, besides the
//! rounding of its own sums and of the query, for which who makes it answers. That of a residual of zero is
//! exact; what a stored factor loses, and what the vector itself is off by, is in the deviation; of numbers that
//! are not finite there is no bound, rather than a wrong one.

#[cfg(test)]
pub(crate) mod reference;
mod step;

use half::f16;

use step::{StepSearch, level, level_f32, shifted};

/// Independent sums in f64: what two of the widest registers of AVX2 hold.
const LANES: usize = 8;
/// Residuals shorter than this are taken for zero: below, f32 loses the digits of their direction.
const LENGTH_MIN: f64 = 1e-30;

/// What estimates are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The squared distance; of vectors of length 1, twice the cosine distance.
    L2,
    /// The inner product, negated.
    Dot,
}

/// What an estimate is made of: `g_add + weight·add + mul·⟨y,q'⟩`, with a deviation of `err·g_err`.
///
/// For [`Form::L2`], q' is the rotated query, `g_add` = ‖q' − c'‖², `g_err` its root, and the weight is 1. For
/// [`Form::Dot`], the weight is α = ⟨c,q⟩/‖c‖², `g_add` = −⟨c,q⟩, and `g_err` = ‖q − αc‖.
///
/// `add` is [`Code::base`] less mul·⟨y,c'⟩, so that q' may be the same for all clusters. Where q' is far longer
/// than q' − αc', that cancels; then `base` is taken with ⟨y,q' − αc'⟩.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Factors {
    pub(crate) add: f32,
    pub(crate) mul: f32,
    pub(crate) err: f32,
}

/// The code of one vector, to be used again for the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Code {
    /// A bit for every dimension: bit i % 8 of byte i / 8.
    pub(crate) signs: Vec<u8>,
    /// The low bits e of every dimension, a byte each.
    pub(crate) levels: Vec<u8>,
    /// What the residual alone adds: its squared length, or its inner product with the centroid, negated.
    pub(crate) base: f32,
    /// For the signs alone. `mul` is a number that an [`f16`] holds.
    pub(crate) coarse: Factors,
    /// For signs and levels.
    pub(crate) fine: Factors,
}

/// What is known of a residual besides its components in f32.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ResidualTerms {
    /// For [`Form::Dot`]: its inner product with the centroid, which may be far less than their lengths allow.
    pub(crate) product: f64,
    /// The deviation of its components along any direction.
    pub(crate) noise: f64,
}

/// Makes codes of one dimension and number of bits.
#[derive(Clone, Debug)]
pub(crate) struct Quantizer {
    padded: usize,
    bits: u8,
    form: Form,
    steps: StepSearch,
}

impl Quantizer {
    /// `padded` is a multiple of 64; `bits` is from 1 to 8. Takes a few milliseconds: make one for many vectors.
    pub(crate) fn new(padded: usize, bits: u8, form: Form) -> Self {
        debug_assert!(padded > 0 && padded.is_multiple_of(64) && (1..=8).contains(&bits), "{padded}, {bits}");
        let bits = bits.clamp(1, 8);
        Self { padded, bits, form, steps: StepSearch::new(padded, (1 << (bits - 1)) - 1) }
    }

    pub(crate) fn padded(&self) -> usize {
        self.padded
    }

    pub(crate) fn bits(&self) -> u8 {
        self.bits
    }

    #[cfg(test)]
    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// Encodes a rotated residual. `centroid` is that of its cluster, rotated: less the mean of the index like
    /// the residual for [`Form::L2`], whole for [`Form::Dot`].
    pub(crate) fn encode(&self, residual: &[f32], centroid: &[f32], known: ResidualTerms, out: &mut Code) {
        debug_assert_eq!((residual.len(), centroid.len()), (self.padded, self.padded), "dimensions");
        out.signs.resize(self.padded / 8, 0);
        out.levels.resize(self.padded, 0);
        let size = ResidualNorms::of(residual);
        let length = size.square.sqrt();
        let (scale, step) = if length < LENGTH_MIN {
            (0.0, 0.0)
        } else {
            let scale = narrow(length.recip());
            (scale, self.steps.choose(residual, scale, size.largest * scale))
        };
        let lanes = self.write(residual, centroid, scale * step, out);
        let base = match self.form {
            Form::L2 => size.square,
            Form::Dot => -known.product,
        };
        out.base = narrow(base);
        let (coarse, fine) = lanes.projections(&size, self.padded);
        let given = FactorInputs { square: size.square, base, noise: known.noise };
        out.coarse = self.factors(given, &coarse, |mul| {
            f64::from(f16::from_f64(mul.clamp(f16::MIN.into(), f16::MAX.into())))
        });
        out.fine = self.factors(given, &fine, |mul| f64::from(narrow(mul)));
    }

    /// Writes signs and levels, and sums what the factors need.
    fn write(&self, residual: &[f32], centroid: &[f32], step: f32, out: &mut Code) -> ProjectionSums {
        let mut lanes = ProjectionSums::default();
        let inputs = residual.as_chunks::<LANES>().0.iter().zip(centroid.as_chunks::<LANES>().0);
        let outputs = out.signs.iter_mut().zip(out.levels.as_chunks_mut::<LANES>().0);
        for ((residual, centroid), (signs, levels)) in inputs.zip(outputs) {
            *signs = sign_bits(residual);
            *levels = lanes.add(residual, centroid, step, self.steps.top());
        }
        lanes
    }

    fn factors(&self, given: FactorInputs, code: &Projection, stored: impl Fn(f64) -> f64) -> Factors {
        let FactorInputs { square, base, noise } = given;
        let times = match self.form {
            Form::L2 => 2.0,
            Form::Dot => 1.0,
        };
        if square.sqrt() < LENGTH_MIN {
            return Factors { add: narrow(base), mul: 0.0, err: narrow(times * (square.sqrt() + noise)) };
        }
        let exact = -times * square / code.along;
        let mul = stored(exact);
        let tangent_square = (square * code.square / (code.along * code.along) - 1.0).max(0.0);
        let of_direction = times * times * square * tangent_square / (as_f64(self.padded) - 1.0);
        let of_storage = (mul - exact) * (mul - exact) * code.square;
        Factors {
            add: narrow(base - mul * code.centroid),
            mul: narrow(mul),
            err: narrow((of_direction + of_storage + (times * noise).powi(2)).sqrt()),
        }
    }
}

/// The smallest [`f16`] that is not below `value`: errors are stored so, lest a bound becomes too tight.
pub(crate) fn f16_up(value: f32) -> f16 {
    let nearest = f16::from_f32(value);
    if nearest.to_f32() >= value || nearest.is_nan() {
        return nearest;
    }
    let bits = nearest.to_bits();
    f16::from_bits(if nearest.is_sign_negative() { bits - 1 } else { bits + 1 })
}

/// What a residual is without a code: the square of its length, the sum of its magnitudes, and the largest.
#[derive(Clone, Copy, Debug)]
struct ResidualNorms {
    square: f64,
    sum: f64,
    largest: f32,
}

impl ResidualNorms {
    fn of(residual: &[f32]) -> Self {
        let (mut squares, mut sums, mut largest) = ([0.0; LANES], [0.0; LANES], [0.0_f32; LANES]);
        for chunk in residual.as_chunks::<LANES>().0 {
            let lanes = squares.iter_mut().zip(&mut sums).zip(&mut largest);
            for (((square, sum), largest), component) in lanes.zip(chunk) {
                let magnitude = component.abs();
                let wide = f64::from(magnitude);
                *square += wide * wide;
                *sum += wide;
                *largest = if magnitude > *largest { magnitude } else { *largest };
            }
        }
        let largest = largest.into_iter().fold(0.0, f32::max);
        Self { square: squares.iter().sum(), sum: sums.iter().sum(), largest }
    }
}

/// What both factors of a residual are made of: the square of its length, [`Code::base`], and [`ResidualTerms::noise`].
#[derive(Clone, Copy, Debug)]
struct FactorInputs {
    square: f64,
    base: f64,
    noise: f64,
}

/// What a code y is to its residual: ⟨r,y⟩, ⟨y,y⟩ and ⟨c,y⟩.
#[derive(Clone, Copy, Debug)]
struct Projection {
    along: f64,
    square: f64,
    centroid: f64,
}

/// The sums of the fine code's [`Projection`], and Σ ±c for the coarse one.
#[derive(Debug, Default)]
struct ProjectionSums {
    along: [f64; LANES],
    square: [f64; LANES],
    centroid: [f64; LANES],
    centroid_signs: [f64; LANES],
}

impl ProjectionSums {
    /// Adds some dimensions, and returns the low bits of their code.
    #[inline]
    fn add(&mut self, residual: &[f32; LANES], centroid: &[f32; LANES], step: f32, top: u8) -> [u8; LANES] {
        let highest = f32::from(top);
        let mut bits = [0; LANES];
        let lanes = self.along.iter_mut().zip(&mut self.square);
        let lanes = lanes.zip(self.centroid.iter_mut().zip(&mut self.centroid_signs)).zip(&mut bits);
        let inputs = residual.iter().zip(centroid);
        for ((((along, square), (centroid, centroid_signs)), bits), (r, c)) in lanes.zip(inputs) {
            let shifted = shifted(r.abs(), step, highest);
            let magnitude = f64::from(level_f32(shifted) + 0.5);
            let turned = f64::from(if *r >= 0.0 { *c } else { -*c });
            *along += f64::from(r.abs()) * magnitude;
            *square += magnitude * magnitude;
            *centroid += turned * magnitude;
            *centroid_signs += turned;
            *bits = level(shifted) ^ if *r >= 0.0 { 0 } else { top };
        }
        bits
    }

    /// Of the signs alone, y = ±½, and of the whole code.
    fn projections(&self, size: &ResidualNorms, padded: usize) -> (Projection, Projection) {
        let total = |lanes: &[f64; LANES]| lanes.iter().sum::<f64>();
        let coarse = Projection {
            along: size.sum / 2.0,
            square: as_f64(padded) / 4.0,
            centroid: total(&self.centroid_signs) / 2.0,
        };
        let fine = Projection {
            along: total(&self.along),
            square: total(&self.square),
            centroid: total(&self.centroid),
        };
        (coarse, fine)
    }
}

/// Eight sign bits. Minus zero is not negative.
#[inline]
fn sign_bits(residual: &[f32; LANES]) -> u8 {
    residual.iter().rev().fold(0, |byte, component| byte << 1 | u8::from(*component >= 0.0))
}

#[expect(clippy::cast_possible_truncation, reason = "rounding is the point; what is too large is infinite")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[expect(clippy::cast_precision_loss, reason = "a dimension is far below 2^52")]
fn as_f64(dimension: usize) -> f64 {
    dimension as f64
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "the numbers are small")]
#[expect(clippy::float_cmp, reason = "what is exact is compared exactly")]
#[expect(clippy::many_single_char_names, reason = "they are those of the formulas")]
mod tests {
    use super::reference::{Estimate, ExactRelation, Stage, direction, estimate, known, truth};
    use super::*;
    use crate::index::vector::random::Random;

    const FORMS: [Form; 2] = [Form::L2, Form::Dot];

    fn vector(random: &mut Random, padded: usize, length: f64) -> Vec<f32> {
        let vector: Vec<f32> = (0..padded).map(|_| random.normal()).collect();
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
}
