//! The space that codes are taken in: vectors of a column, brought to one metric, scaled and rotated.
//!
//! A vector is first normalized for its metric: to length 1 for the cosine, not at all for the others. What is
//! coded is its residual from the centroid of its cluster, scaled by a power of two of the cluster's own (see
//! [`crate::index::vector::record`]) and rotated (see [`crate::index::vector::rotation`]). The difference is taken
//! before all else: a cluster far from all others, or narrow compared with its distance from them, loses no digits.
//!
//! A query is rotated once and compared with all clusters. For that, a mean of the data is subtracted from vectors
//! first, so that a common offset costs few digits, and they are scaled by a power of two that brings
//! residuals to about length 1. For the inner product the mean is subtracted from centroids alone: that changes all
//! products with one query by the same amount.
//!
//! On storage: seed of the rotation u64, scale f32, mean f32 × dimension.

use super::header::SetShape;
use crate::codec::{CodecError, Reader};
use crate::index::vector::numeric::{is_power_of_two, power_of_two, round_to_f32};
use crate::index::vector::quantizer::Form;
use crate::index::vector::rotation::Rotation;
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
    /// `scale` is a power of two, see [`choose_scale`]; `mean` is where normalized vectors lie. `seed` is that of the
    /// rotation.
    pub(in crate::index::vector) fn new(shape: SetShape, seed: u64, scale: f32, mean: Vec<f32>) -> Self {
        let rotation = Rotation::new(shape.dimension, seed);
        Self { metric: shape.metric, bits: shape.bits, scale, mean, rotation }
    }

    /// What determines the rotation.
    pub(in crate::index::vector) fn seed(&self) -> u64 {
        self.rotation.seed()
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
    pub(in crate::index::vector) fn exact_components(
        metric: Metric,
        vector: &[f32],
    ) -> impl Iterator<Item = f64> {
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
    pub(in crate::index::vector) fn scale(&self) -> f64 {
        f64::from(self.scale)
    }

    /// The length of the vector of rounding errors of a normalized vector, at most.
    // Residuals of near duplicates are as short as this rounding, and it then is a part of the stated deviation.
    pub(in crate::index::vector) fn rounding_error(&self) -> f64 {
        match self.metric {
            // Of length 1, each rounded to an f32.
            Metric::Cosine => (-25_f64).exp2(),
            Metric::L2Squared | Metric::Dot => 0.0,
        }
    }

    /// The mean of the data.
    pub(in crate::index::vector) fn mean(&self) -> impl Iterator<Item = f64> {
        self.mean.iter().map(|x| f64::from(*x))
    }

    /// What is subtracted from a query that is rotated once for all clusters: the mean, or zeros where it is subtracted
    /// from centroids alone.
    pub(in crate::index::vector) fn origin(&self) -> impl Iterator<Item = f64> {
        let form = self.form();
        self.mean().map(move |mean| if form == Form::L2 { mean } else { 0.0 })
    }

    /// Rotates `components`, as many as the space has dimensions, times `scale`. `out` is of length
    /// [`Space::padded`].
    pub(in crate::index::vector) fn rotate(
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

    pub(in crate::index::vector) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.seed().to_le_bytes());
        out.extend(self.scale.to_le_bytes());
        out.extend(self.mean.iter().flat_map(|x| x.to_le_bytes()));
    }

    pub(in crate::index::vector) fn decode(
        shape: SetShape,
        reader: &mut Reader<'_>,
    ) -> Result<Self, CodecError> {
        let (seed, scale) = (reader.u64()?, f32::from_bits(reader.u32()?));
        let mean = read_floats(reader, shape.dimension)?;
        if !is_power_of_two(scale) || mean.iter().any(|x| !x.is_finite()) {
            return Err(CodecError::malformed(WHAT, "the scale or the mean is not valid"));
        }
        Ok(Self::new(shape, seed, scale, mean))
    }
}

/// The scale that brings residuals of length `spread` to about length 1. No component of a centroid lies farther than
/// `reach` from the mean.
pub(in crate::index::vector) fn choose_scale(spread: f64, reach: f64) -> f32 {
    let most = if reach > 0.0 { power_of_two(reach / COMPONENT_LOG2_MAX.exp2()) } else { f64::INFINITY };
    // The scale of residuals, unless one centroid far off would overflow by it.
    round_to_f32(power_of_two(spread).min(most))
}

fn form_of(metric: Metric) -> Form {
    match metric {
        Metric::Cosine | Metric::L2Squared => Form::L2,
        Metric::Dot => Form::Dot,
    }
}

/// Reads `count` floats.
pub(in crate::index::vector) fn read_floats(
    reader: &mut Reader<'_>,
    count: usize,
) -> Result<Vec<f32>, CodecError> {
    // Saturating: a length that overflows is longer than any input, and is refused as such.
    let bytes = reader.take(count.saturating_mul(4))?;
    Ok(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}
