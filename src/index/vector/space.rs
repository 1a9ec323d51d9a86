//! The space that codes are taken in: vectors of a column, brought to one metric, scaled and rotated.
//!
//! A vector is first made what its metric compares: of length 1 for the cosine, itself for the others. What is
//! coded is its residual from the centroid of its cluster, scaled by a power of two of the cluster's own (see
//! [`super::record`]) and rotated (see [`super::rotation`]). The difference is taken before all else: a cluster far
//! from everything, or far narrower than its distance from the others, costs no digits.
//!
//! A query is rotated once and compared with all clusters. For that, a point amid the data is taken from vectors
//! first, so that what they have in common costs few digits, and they are scaled by a power of two that brings
//! residuals to about length 1. For the inner product the point is taken from centroids alone: by how much it
//! changes a product is the same for all of them.
//!
//! On storage: form u8, bits u8, scale f32, point f32 × dimension, signs of the rotation.

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
    /// A power of two.
    scale: f32,
    mean: Vec<f32>,
    rotation: Rotation,
}

/// Components in the scale of a space are kept below this, so that their squares are numbers.
const COMPONENT_LOG2_MAX: f64 = 50.0;

impl Space {
    /// `mean` and `spread` are those of the vectors after [`Space::normalized`]: where they lie, and how far from
    /// their centroids. No component of a centroid lies farther than `reach` from the mean. `random` gives 64
    /// random bits a call.
    pub(crate) fn new(
        metric: Metric,
        bits: u8,
        mean: Vec<f32>,
        spread: f64,
        reach: f64,
        random: &mut impl FnMut() -> u64,
    ) -> Self {
        let rotation = Rotation::random(mean.len(), random);
        let most = if reach > 0.0 { power_of_two(reach / COMPONENT_LOG2_MAX.exp2()) } else { f64::INFINITY };
        Self { metric, bits, scale: narrow(power_of_two(spread).min(most)), mean, rotation }
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
        out.extend(Self::exact(metric, vector).map(narrow));
    }

    /// The components of a vector as its metric compares it, before they are rounded to f32.
    pub(super) fn exact(metric: Metric, vector: &[f32]) -> impl Iterator<Item = f64> {
        let factor = match metric {
            Metric::Cosine => {
                let square: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
                if square > 0.0 { square.sqrt().recip() } else { 0.0 }
            }
            Metric::L2Squared | Metric::Dot => 1.0,
        };
        vector.iter().map(move |x| f64::from(*x) * factor)
    }

    /// The scale in which centroids are compared with queries.
    pub(super) fn scale(&self) -> f64 {
        f64::from(self.scale)
    }

    /// How far the components of a normalized vector may be off, as the length of all of them together.
    pub(super) fn rounding(&self) -> f64 {
        match self.metric {
            // Of length 1, each rounded to an f32.
            Metric::Cosine => (-25_f64).exp2(),
            Metric::L2Squared | Metric::Dot => 0.0,
        }
    }

    /// The point amid the data.
    pub(super) fn mean(&self) -> impl Iterator<Item = f64> {
        self.mean.iter().map(|x| f64::from(*x))
    }

    /// What a query that is rotated once for all clusters is less: that point, or zeros where it is taken from
    /// centroids alone.
    pub(super) fn origin(&self) -> impl Iterator<Item = f64> {
        let form = self.form();
        self.mean().map(move |mean| if form == Form::L2 { mean } else { 0.0 })
    }

    /// Rotates `components`, as many as the space has dimensions, times `scale`. `out` is of length
    /// [`Space::padded`].
    pub(super) fn rotated(
        &self,
        components: impl Iterator<Item = f64>,
        scale: f64,
        scratch: &mut Vec<f32>,
        out: &mut [f32],
    ) {
        scratch.clear();
        scratch.extend(components.map(|x| narrow(x * scale)));
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
        if !is_power_of_two(scale) || mean.iter().any(|x| !x.is_finite()) {
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

/// The power of two that brings `size` to between 1 and 2, as far as an f32 holds it; 1 for no size.
pub(super) fn power_of_two(size: f64) -> f64 {
    if !(size.is_finite() && size > 0.0) {
        return 1.0;
    }
    (-size.log2().floor()).clamp(-126.0, 126.0).exp2()
}

/// Whether a product with it is exact.
pub(super) fn is_power_of_two(scale: f32) -> bool {
    scale.is_normal() && scale > 0.0 && scale.to_bits().trailing_zeros() >= f32::MANTISSA_DIGITS - 1
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
