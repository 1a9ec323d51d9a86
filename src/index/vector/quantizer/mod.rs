//! RaBitQ: a few bits for every dimension of a rotated residual, and factors that make estimates unbiased.
//!
//! The residual r = x' − c' of a vector from its cluster's centroid, rotated, becomes a direction y on a grid:
//! yᵢ = sgn(rᵢ)·(mᵢ + ½) with levels m below 2^(bits−1), chosen to point along r as closely as possible. As an
//! unsigned code, y + (2^bits − 1)/2 = 2^(bits−1)·b + e: the sign bit b = \[r ≥ 0\], which alone is the 1-bit
//! code, and the low bits e, which are m or, where r is negative, its complement.
//!
//! With n = ‖r‖, a = ⟨r,y⟩, g = ⟨y,y⟩, ⟨r,v⟩ ≈ (n²/a)·⟨y,v⟩ for any v, without bias, with an error that is
//! normally distributed with deviation n·κ·‖v‖, κ² = (n²g/a² − 1)/(D − 1). From these come the factors of a [`Code`].
//!
//! **Invariant:** an estimate is off by a normally distributed error of the deviation it states, besides the
//! rounding of its own sums and of the query, which its caller accounts for. That of a residual of zero is
//! exact. The deviation includes what rounding to stored factors loses, and the error of the vector itself. Numbers that
//! are not finite give no bound rather than a wrong one.

mod code;
mod encode;
mod projection;
#[cfg(test)]
pub(crate) mod reference;
mod step;

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "the numbers are small")]
#[expect(clippy::float_cmp, reason = "what is exact is compared exactly")]
#[expect(clippy::many_single_char_names, reason = "they are those of the formulas")]
mod tests;

pub(crate) use code::{Code, Form, ResidualTerms};
pub(crate) use encode::{Quantizer, f16_up};
