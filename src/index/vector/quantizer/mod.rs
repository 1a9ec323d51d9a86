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
//! **Invariant:** factors bound the error of what they estimate, whatever the residual: one that is zero has no
//! error, and where a factor cannot be represented its loss is added to the error. What is not finite yields
//! factors that are not finite, and so no bound.

#[cfg(test)]
pub(crate) mod reference;
mod step;

use half::f16;

use step::{Steps, level, level_f32, shifted};

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
/// For [`Form::L2`], q' is the rotated query, g_add = ‖q' − c'‖², g_err its root, and the weight is 1. For
/// [`Form::Dot`], the weight is α = ⟨c,q⟩/‖c‖², g_add = −⟨c,q⟩, and g_err = ‖q − αc‖.
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
    /// For the signs alone. `mul` is a number that an [`f16`] holds.
    pub(crate) coarse: Factors,
    /// For signs and levels.
    pub(crate) fine: Factors,
}

/// Makes codes of one dimension and number of bits.
#[derive(Clone, Debug)]
pub(crate) struct Quantizer {
    padded: usize,
    bits: u8,
    form: Form,
    steps: Steps,
}

impl Quantizer {
    /// `padded` is a multiple of 64; `bits` is from 1 to 8. Takes a few milliseconds: make one for many vectors.
    pub(crate) fn new(padded: usize, bits: u8, form: Form) -> Self {
        debug_assert!(padded > 0 && padded.is_multiple_of(64) && (1..=8).contains(&bits), "{padded}, {bits}");
        let bits = bits.clamp(1, 8);
        Self { padded, bits, form, steps: Steps::new(padded, (1 << (bits - 1)) - 1) }
    }

    pub(crate) fn padded(&self) -> usize {
        self.padded
    }

    pub(crate) fn bits(&self) -> u8 {
        self.bits
    }

    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// Encodes a rotated residual. `centroid` is that of its cluster, rotated: less the mean of the index like
    /// the residual for [`Form::L2`], whole for [`Form::Dot`].
    pub(crate) fn encode(&self, residual: &[f32], centroid: &[f32], out: &mut Code) {
        debug_assert_eq!((residual.len(), centroid.len()), (self.padded, self.padded), "dimensions");
        out.signs.resize(self.padded / 8, 0);
        out.levels.resize(self.padded, 0);
        let size = Size::of(residual);
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
            Form::Dot => -products(residual, centroid),
        };
        let (coarse, fine) = lanes.projections(&size, self.padded);
        out.coarse = self.factors(size.square, base, &coarse, |mul| {
            f64::from(f16::from_f64(mul.clamp(f16::MIN.into(), f16::MAX.into())))
        });
        out.fine = self.factors(size.square, base, &fine, |mul| f64::from(narrow(mul)));
    }

    /// Writes signs and levels, and sums what the factors need.
    fn write(&self, residual: &[f32], centroid: &[f32], step: f32, out: &mut Code) -> Lanes {
        let mut lanes = Lanes::default();
        let inputs = residual.as_chunks::<LANES>().0.iter().zip(centroid.as_chunks::<LANES>().0);
        let outputs = out.signs.iter_mut().zip(out.levels.as_chunks_mut::<LANES>().0);
        for ((residual, centroid), (signs, levels)) in inputs.zip(outputs) {
            *signs = sign_bits(residual);
            *levels = lanes.add(residual, centroid, step, self.steps.top());
        }
        lanes
    }

    fn factors(&self, square: f64, base: f64, code: &Projection, stored: impl Fn(f64) -> f64) -> Factors {
        let times = match self.form {
            Form::L2 => 2.0,
            Form::Dot => 1.0,
        };
        if square.sqrt() < LENGTH_MIN {
            return Factors { add: narrow(base), mul: 0.0, err: narrow(times * square.sqrt()) };
        }
        let exact = -times * square / code.along;
        let mul = stored(exact);
        let tangent_square = (square * code.square / (code.along * code.along) - 1.0).max(0.0);
        let of_direction = times * times * square * tangent_square / (as_f64(self.padded) - 1.0);
        let of_storage = (mul - exact) * (mul - exact) * code.square;
        Factors {
            add: narrow(base - mul * code.centroid),
            mul: narrow(mul),
            err: narrow((of_direction + of_storage).sqrt()),
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
struct Size {
    square: f64,
    sum: f64,
    largest: f32,
}

impl Size {
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

/// What a code y is to its residual: ⟨r,y⟩, ⟨y,y⟩ and ⟨c,y⟩.
#[derive(Clone, Copy, Debug)]
struct Projection {
    along: f64,
    square: f64,
    centroid: f64,
}

/// The sums of the fine code's [`Projection`], and Σ ±c for the coarse one.
#[derive(Debug, Default)]
struct Lanes {
    along: [f64; LANES],
    square: [f64; LANES],
    centroid: [f64; LANES],
    centroid_signs: [f64; LANES],
}

impl Lanes {
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
    fn projections(&self, size: &Size, padded: usize) -> (Projection, Projection) {
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

fn products(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0; LANES];
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f64::from(*a) * f64::from(*b);
        }
    }
    lanes.iter().sum()
}

#[expect(clippy::cast_possible_truncation, reason = "rounding is the point; what is too large is infinite")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[expect(clippy::cast_precision_loss, reason = "a dimension is far below 2^52")]
fn as_f64(dimension: usize) -> f64 {
    dimension as f64
}
