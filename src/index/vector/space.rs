//! The space that codes are taken in: vectors of a column, brought to one metric, centred and rotated.
//!
//! A vector is first made what its metric compares: of length 1 for the cosine, itself for the others. From it
//! the mean of the column is taken, it is scaled by a power of two, so that residuals are about of length 1 and
//! their factors fit an f16, and it is rotated (see [`super::rotation`]). For the inner product the mean stays:
//! it is no distance, and would not be the same without.
//!
//! On storage: form u8, bits u8, scale f32, mean f32 × dimension, signs of the rotation.

use super::quantizer::Form;
use super::rotation::Rotation;
use crate::codec::{CodecError, Reader};
use crate::types::Metric;

const WHAT: &str = "centroid set";

/// How vectors of a column become what is coded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Space {
    metric: Metric,
    bits: u8,
    scale: f32,
    mean: Vec<f32>,
    rotation: Rotation,
}

impl Space {
    /// `mean` and `spread` are those of the vectors after [`Space::normalized`]: where they lie, and the root of
    /// their mean squared distance from the centroids. `random` gives 64 random bits a call.
    pub(crate) fn new(
        metric: Metric,
        bits: u8,
        mean: Vec<f32>,
        spread: f64,
        random: &mut impl FnMut() -> u64,
    ) -> Self {
        let rotation = Rotation::random(mean.len(), random);
        Self { metric, bits, scale: power_of_two(spread), mean, rotation }
    }

    pub(crate) fn bits(&self) -> u8 {
        self.bits
    }

    pub(crate) fn dimension(&self) -> usize {
        self.mean.len()
    }

    pub(crate) fn padded(&self) -> usize {
        self.rotation.padded()
    }

    pub(crate) fn form(&self) -> Form {
        form(self.metric)
    }

    /// Appends a vector as its metric compares it.
    pub(crate) fn normalized(metric: Metric, vector: &[f32], out: &mut Vec<f32>) {
        let factor = match metric {
            Metric::Cosine => {
                let square: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
                if square > 0.0 { square.sqrt().recip() } else { 0.0 }
            }
            Metric::L2Squared | Metric::Dot => 1.0,
        };
        out.extend(vector.iter().map(|x| narrow(f64::from(*x) * factor)));
    }

    /// Brings a normalized vector into the space. `out` is of length [`Space::padded`].
    pub(crate) fn enter(&self, vector: &[f32], scratch: &mut Vec<f32>, out: &mut [f32]) {
        scratch.clear();
        match self.form() {
            Form::L2 => {
                scratch.extend(vector.iter().zip(&self.mean).map(|(x, mean)| (x - mean) * self.scale));
            }
            Form::Dot => scratch.extend(vector.iter().map(|x| x * self.scale)),
        }
        self.rotation.apply(scratch, out);
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend([u8::from(self.form() == Form::Dot), self.bits]);
        out.extend(self.scale.to_le_bytes());
        out.extend(self.mean.iter().flat_map(|x| x.to_le_bytes()));
        out.extend(self.rotation.encode());
    }

    pub(super) fn decode(
        metric: Metric,
        dimension: usize,
        reader: &mut Reader<'_>,
    ) -> Result<Self, CodecError> {
        let bad = |why: &str| CodecError::malformed(WHAT, why);
        let [dot, bits] = *reader.take(2)? else { return Err(bad("no form")) };
        if (dot == 1) != (form(metric) == Form::Dot) || !(1..=8).contains(&bits) {
            return Err(bad("it is not of this column"));
        }
        let scale = f32::from_bits(reader.u32()?);
        let mean = floats(reader, dimension)?;
        if !(scale.is_normal() && scale > 0.0) || mean.iter().any(|x| !x.is_finite()) {
            return Err(bad("the scale or the mean is no number"));
        }
        let signs = reader.take(dimension.next_multiple_of(64) / 2)?;
        Ok(Self { metric, bits, scale, mean, rotation: Rotation::decode(dimension, signs)? })
    }
}

fn form(metric: Metric) -> Form {
    match metric {
        Metric::Cosine | Metric::L2Squared => Form::L2,
        Metric::Dot => Form::Dot,
    }
}

/// The power of two that brings `spread` to between 1 and 2.
fn power_of_two(spread: f64) -> f32 {
    if !(spread.is_finite() && spread > 0.0) {
        return 1.0;
    }
    narrow((-spread.log2().floor()).clamp(-100.0, 100.0).exp2())
}

#[expect(clippy::cast_possible_truncation, reason = "rounding is the point; what is too large is infinite")]
pub(super) fn narrow(value: f64) -> f32 {
    value as f32
}

/// `count` floats.
pub(super) fn floats(reader: &mut Reader<'_>, count: usize) -> Result<Vec<f32>, CodecError> {
    let bytes = reader.take(count.saturating_mul(4))?;
    Ok(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}
