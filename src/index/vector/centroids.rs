//! A centroid set: the leaves of a vector column, shared by all segments that are coded against it.
//!
//! ```text
//! "ECEN" | version u16 | zero u16 | dimension u32 | leaves u32 | rows trained on u64 | space (see `space`)
//! centroid f32 × dimension, leaf by leaf, as the metric compares them, not centred | XXH3-64 of all before
//! ```
//! The number of a leaf is its place here. Neighbours in number are neighbours in space.
//!
//! **Invariant:** an object of the set never changes: codes mean nothing without the centroids they are of.

use bytes::Bytes;

use super::kernels::{Kernels, kernels};
use super::kmeans;
use super::quantizer::Form;
use super::space::{Space, floats, narrow};
use crate::codec::{CodecError, Reader, checksum};
use crate::types::Metric;

const WHAT: &str = "centroid set";
const MAGIC: [u8; 4] = *b"ECEN";
const VERSION: u16 = 1;
/// Memory for centroids is asked for up to here before their bytes have been seen: none.
const LEAVES_MAX: usize = 1 << 24;

/// The leaves of a column.
#[derive(Debug)]
pub(crate) struct CentroidSet {
    space: Space,
    /// The rows it was trained on.
    trained: u64,
    /// As the metric compares them, ready to find the nearest of a row.
    plain: kmeans::Centroids,
    /// In the space, [`Space::padded`] components each.
    inner: Vec<f32>,
    /// The square of each one's length in the space.
    squares: Vec<f32>,
}

impl CentroidSet {
    pub(crate) fn new(space: Space, trained: u64, plain: kmeans::Centroids) -> Self {
        let padded = space.padded();
        let mut inner = vec![0.0; plain.len() * padded];
        let mut scratch = Vec::new();
        for (leaf, out) in inner.chunks_exact_mut(padded).enumerate() {
            space.enter(plain.points().row(leaf), &mut scratch, out);
        }
        let kernels = kernels();
        let squares = inner.chunks_exact(padded).map(|c| narrow(kernels.dot(c, c))).collect();
        Self { space, trained, plain, inner, squares }
    }

    pub(crate) fn space(&self) -> &Space {
        &self.space
    }

    pub(crate) fn len(&self) -> usize {
        self.squares.len()
    }

    /// The rows it was trained on.
    pub(crate) fn trained(&self) -> u64 {
        self.trained
    }

    /// The centroids as the metric compares them.
    pub(crate) fn plain(&self) -> &kmeans::Centroids {
        &self.plain
    }

    /// A centroid in the space.
    pub(crate) fn inner(&self, leaf: usize) -> &[f32] {
        let padded = self.space.padded();
        self.inner.get(leaf * padded..(leaf + 1) * padded).unwrap_or_default()
    }

    /// The square of the length of a centroid in the space.
    pub(crate) fn square(&self, leaf: usize) -> f32 {
        self.squares.get(leaf).copied().unwrap_or_default()
    }

    /// How near each leaf is to a query in the space: the squared distance of its centroid, or its inner
    /// product negated. Smaller is nearer.
    pub(crate) fn scores(&self, query: &[f32]) -> Vec<f32> {
        let kernels: &Kernels = kernels();
        let centroids = self.inner.chunks_exact(self.space.padded());
        match self.space.form() {
            Form::L2 => centroids.map(|c| narrow(kernels.l2(query, c))).collect(),
            Form::Dot => centroids.map(|c| narrow(-kernels.dot(query, c))).collect(),
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend([0; 2]);
        out.extend(number(self.space.dimension()));
        out.extend(number(self.len()));
        out.extend(self.trained.to_le_bytes());
        self.space.encode(&mut out);
        for leaf in 0..self.len() {
            out.extend(self.plain.points().row(leaf).iter().flat_map(|x| x.to_le_bytes()));
        }
        let sum = checksum(&out);
        out.extend(sum.to_le_bytes());
        out.into()
    }

    /// Reads a set, which must be of a column of this metric and dimension.
    pub(crate) fn decode(metric: Metric, dimension: usize, bytes: &[u8]) -> Result<Self, CodecError> {
        let bad = |why: &str| CodecError::malformed(WHAT, why);
        let (body, sum) = bytes.split_last_chunk().ok_or(CodecError::Truncated { what: WHAT })?;
        if checksum(body) != u64::from_le_bytes(*sum) {
            return Err(CodecError::Checksum { what: WHAT });
        }
        let mut reader = Reader::new(WHAT, body);
        reader.magic(MAGIC)?;
        reader.version(VERSION)?;
        reader.u16()?;
        let (found, leaves, trained) = (reader.u32()? as usize, reader.u32()? as usize, reader.u64()?);
        if found != dimension || leaves == 0 || leaves > LEAVES_MAX {
            return Err(bad("it is not of this column"));
        }
        let space = Space::decode(metric, dimension, &mut reader)?;
        let values = floats(&mut reader, leaves.saturating_mul(dimension))?;
        reader.end()?;
        if values.iter().any(|x| !x.is_finite()) {
            return Err(bad("a centroid is no number"));
        }
        let plain = kmeans::Centroids::new(values, dimension).map_err(|e| bad(&e.to_string()))?;
        Ok(Self::new(space, trained, plain))
    }
}
