//! Encoding: signs, levels and factors of a residual.

use half::f16;

use super::code::{Code, Factors, Form, ResidualTerms};
use super::projection::{LANES, Projection, ProjectionSums, ResidualNorms, sign_bits};
use super::step::StepSearch;
use crate::index::vector::numeric::{count_to_f64, round_to_f32};

/// Residuals shorter than this are treated as zero.
// Squares of their components underflow an f32, and their direction has no digits. The length itself becomes the error.
const LENGTH_MIN: f64 = 1e-30;

/// Makes codes of one dimension and number of bits.
#[derive(Clone, Debug)]
pub(crate) struct Quantizer {
    padded: usize,
    bits: u8,
    form: Form,
    steps: StepSearch,
}

/// What both factors of a residual are made of: the square of its length, [`Code::base`], and what else is known of it.
#[derive(Clone, Copy, Debug)]
struct FactorInputs {
    square: f64,
    base: f64,
    terms: ResidualTerms,
}

impl Quantizer {
    /// `padded` is a multiple of 64; `bits` is from 1 to 8. Takes a few milliseconds: make one for many vectors.
    pub(crate) fn new(padded: usize, bits: u8, form: Form) -> Self {
        assert!(padded > 0 && padded.is_multiple_of(64) && (1..=8).contains(&bits), "{padded}, {bits}");
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
    pub(crate) fn encode(&self, residual: &[f32], centroid: &[f32], terms: ResidualTerms, out: &mut Code) {
        debug_assert_eq!((residual.len(), centroid.len()), (self.padded, self.padded), "dimensions");
        out.signs.resize(self.padded / 8, 0);
        out.levels.resize(self.padded, 0);
        let norms = ResidualNorms::new(residual);
        let length = norms.square.sqrt();
        // The step is searched for the unit vector: it then does not depend on how long residuals are.
        let (scale, step) = if length < LENGTH_MIN {
            (0.0, 0.0)
        } else {
            let scale = round_to_f32(length.recip());
            (scale, self.steps.choose_step(residual, scale, norms.largest * scale))
        };
        let sums = self.write_code(residual, centroid, scale * step, out);
        let base = match self.form {
            Form::L2 => norms.square,
            Form::Dot => -terms.product,
        };
        out.base = round_to_f32(base);
        let (coarse, fine) = sums.projections(&norms, self.padded);
        let inputs = FactorInputs { square: norms.square, base, terms };
        // Factors are derived from `mul` as it will be stored. What that rounding costs is known exactly, and goes into
        // `add` and `err`, instead of being an error that nothing states.
        out.coarse = self.derive_factors(inputs, &coarse, |mul| {
            f64::from(f16::from_f64(mul.clamp(f16::MIN.into(), f16::MAX.into())))
        });
        out.fine = self.derive_factors(inputs, &fine, |mul| f64::from(round_to_f32(mul)));
    }

    /// Writes signs and levels, and sums what the factors need in the same pass.
    fn write_code(&self, residual: &[f32], centroid: &[f32], step: f32, out: &mut Code) -> ProjectionSums {
        let mut sums = ProjectionSums::default();
        let inputs = residual.as_chunks::<LANES>().0.iter().zip(centroid.as_chunks::<LANES>().0);
        let outputs = out.signs.iter_mut().zip(out.levels.as_chunks_mut::<LANES>().0);
        for ((residual, centroid), (signs, levels)) in inputs.zip(outputs) {
            *signs = sign_bits(residual);
            *levels = sums.add_lanes(residual, centroid, step, self.steps.top_level());
        }
        sums
    }

    /// The factors of a code, with `mul` as `stored` rounds it.
    fn derive_factors(
        &self,
        inputs: FactorInputs,
        code: &Projection,
        stored: impl Fn(f64) -> f64,
    ) -> Factors {
        let FactorInputs { square, base, terms: ResidualTerms { noise, widening, .. } } = inputs;
        let times = match self.form {
            Form::L2 => 2.0,
            Form::Dot => 1.0,
        };
        // A residual of zero has no direction to divide by, and none is needed: its estimate is that of the centroid.
        if square.sqrt() < LENGTH_MIN {
            let err = round_to_f32(times * (square.sqrt() + noise));
            return Factors { add: round_to_f32(base), mul: 0.0, err };
        }
        // The division by ⟨r,y⟩ is what makes the estimate unbiased; scaling y to the length of r would not.
        let exact = -times * square / code.along;
        let mul = stored(exact);
        // Below 0 only by rounding: the code then points along the residual as exactly as f64 can tell.
        let tangent_square = (square * code.square / (code.along * code.along) - 1.0).max(0.0);
        let of_direction =
            (times * widening).powi(2) * square * tangent_square / (count_to_f64(self.padded) - 1.0);
        let of_storage = (mul - exact) * (mul - exact) * code.square;
        Factors {
            add: round_to_f32(base - mul * code.centroid),
            mul: round_to_f32(mul),
            err: round_to_f32((of_direction + of_storage + (times * noise).powi(2)).sqrt()),
        }
    }
}

/// The smallest `f16` that is not below `value`.
// Errors are stored so: rounded down, a bound would be tighter than the invariant allows.
pub(crate) fn f16_up(value: f32) -> f16 {
    let nearest = f16::from_f32(value);
    if nearest.to_f32() >= value || nearest.is_nan() {
        return nearest;
    }
    let bits = nearest.to_bits();
    f16::from_bits(if nearest.is_sign_negative() { bits - 1 } else { bits + 1 })
}
