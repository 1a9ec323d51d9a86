//! The space that codes are taken in: vectors of a column, brought to one metric, scaled and rotated.
//!
//! A vector is first normalized for its metric: to length 1 for the cosine, not at all for the others. What is
//! coded is its residual from the centroid of its cluster, scaled by a power of two of the cluster's own (see
//! [`super::record`]) and rotated (see [`super::rotation`]). The difference is taken before all else: a cluster far
//! from all others, or narrow compared with its distance from them, loses no digits.
//!
//! A query is rotated once and compared with all clusters. For that, a mean of the data is subtracted from vectors
//! first, so that a common offset costs few digits, and they are scaled by a power of two that brings
//! residuals to about length 1. For the inner product the mean is subtracted from centroids alone: that changes all
//! products with one query by the same amount.
//!
//! On storage: form u8, bits u8, scale f32, point f32 × dimension, signs of the rotation.

use super::numeric::{is_power_of_two, power_of_two, round_to_f32};
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

/// Components in the scale of a space are kept below this power of two.
// Scores of clusters are sums of squares in f32, which ends at 2^128: 2^100 leaves room for any dimension.
const COMPONENT_LOG2_MAX: f64 = 50.0;

impl Space {
    /// `mean` and `spread` are those of normalized vectors: where they lie, and how far from
    /// their centroids. No component of a centroid lies farther than `reach` from the mean. `random` returns 64
    /// random bits per call.
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
        // The scale of residuals, unless one centroid far off would overflow by it.
        Self { metric, bits, scale: round_to_f32(power_of_two(spread).min(most)), mean, rotation }
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
        form_of(self.metric)
    }

    /// Appends a vector as its metric compares it.
    pub(crate) fn push_normalized(metric: Metric, vector: &[f32], out: &mut Vec<f32>) {
        out.extend(Self::exact_components(metric, vector).map(round_to_f32));
    }

    /// The components of a vector as its metric compares it, before they are rounded to f32.
    pub(super) fn exact_components(metric: Metric, vector: &[f32]) -> impl Iterator<Item = f64> {
        let factor = match metric {
            Metric::Cosine => {
                let square: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
                // A vector without a direction stays one of zeros, at cosine distance 1 from all others.
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

    /// The length of the vector of rounding errors of a normalized vector, at most.
    // Residuals of near duplicates are as short as this rounding, and it then is a part of the stated deviation.
    pub(super) fn rounding_error(&self) -> f64 {
        match self.metric {
            // Of length 1, each rounded to an f32.
            Metric::Cosine => (-25_f64).exp2(),
            Metric::L2Squared | Metric::Dot => 0.0,
        }
    }

    /// The mean of the data.
    pub(super) fn mean(&self) -> impl Iterator<Item = f64> {
        self.mean.iter().map(|x| f64::from(*x))
    }

    /// What is subtracted from a query that is rotated once for all clusters: the mean, or zeros where it is subtracted
    /// from centroids alone.
    pub(super) fn origin(&self) -> impl Iterator<Item = f64> {
        let form = self.form();
        self.mean().map(move |mean| if form == Form::L2 { mean } else { 0.0 })
    }

    /// Rotates `components`, as many as the space has dimensions, times `scale`. `out` is of length
    /// [`Space::padded`].
    pub(super) fn rotate(
        &self,
        components: impl Iterator<Item = f64>,
        scale: f64,
        scratch: &mut Vec<f32>,
        out: &mut [f32],
    ) {
        scratch.clear();
        // Scaled before it is rounded: components too large for an f32 may fit in the scale.
        scratch.extend(components.map(|x| round_to_f32(x * scale)));
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
        let [dot, bits] = *reader.take(2)? else { return Err(bad("it ends before its form")) };
        if (dot == 1) != (form_of(metric) == Form::Dot) || !(1..=8).contains(&bits) {
            return Err(bad("it belongs to a column of another shape"));
        }
        let scale = f32::from_bits(reader.u32()?);
        let mean = read_floats(reader, dimension)?;
        if !is_power_of_two(scale) || mean.iter().any(|x| !x.is_finite()) {
            return Err(bad("the scale or the mean is not valid"));
        }
        let signs = reader.take(dimension.next_multiple_of(64) / 2)?;
        Ok(Self { metric, bits, scale, mean, rotation: Rotation::decode(dimension, signs)? })
    }
}

fn form_of(metric: Metric) -> Form {
    match metric {
        Metric::Cosine | Metric::L2Squared => Form::L2,
        Metric::Dot => Form::Dot,
    }
}

/// Reads `count` floats.
pub(super) fn read_floats(reader: &mut Reader<'_>, count: usize) -> Result<Vec<f32>, CodecError> {
    // Saturating: a length that overflows is longer than any input, and is refused as such.
    let bytes = reader.take(count.saturating_mul(4))?;
    Ok(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}
