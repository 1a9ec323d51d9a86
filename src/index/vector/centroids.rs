//! A centroid set: the clusters of a vector column, shared by all segments that are coded against it.
//!
//! ```text
//! "ECEN" | version u16 | zero u16 | dimension u32 | clusters u32 | rows trained on u64 | fit | space (see `space`)
//! fit:     median distance of a row from its centroid f32 | chance that two rows share a cluster f32
//! centroid f32 × dimension, cluster by cluster, as the metric compares them, not centred | XXH3-64 of all before
//! ```
//! The number of a cluster is its place here. Neighbours in number are neighbours in space.
//!
//! **Invariant:** an object of the set never changes: codes mean nothing without the centroids they are of.

use bytes::Bytes;

use super::kernels::{Kernels, kernels};
use super::kmeans;
use super::quantizer::Form;
use super::space::{Space, floats, narrow};
use crate::codec::{CodecError, Reader, checksum, put_len_u32};
use crate::error::Result;
use crate::types::Metric;

const WHAT: &str = "centroid set";
const MAGIC: [u8; 4] = *b"ECEN";
const VERSION: u16 = 1;
/// Memory for centroids is asked for up to here before their bytes have been seen: none.
const CLUSTERS_MAX: usize = 1 << 24;
/// Where a score is this small a part of the lengths it is the difference of, f32 has lost its digits.
const CANCELLED: f32 = 1e-6;
/// Components of a query, in the scale of the space, whose squares f32 holds.
const COMPONENT_MAX: f32 = 1e15;

/// How well clusters fit some rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ClusterFit {
    /// The median distance of a row from its centroid.
    pub(crate) spread: f32,
    /// The chance that two rows share a cluster.
    pub(crate) crowding: f32,
}

/// The clusters of a column.
#[derive(Debug)]
pub(crate) struct CentroidSet {
    space: Space,
    /// The rows it was trained on.
    trained: u64,
    /// How well it fits them.
    fit: ClusterFit,
    /// As the metric compares them, ready to find the nearest of a row.
    plain: kmeans::Centroids,
    /// In the space, less its mean, [`Space::padded`] components each.
    inner: Vec<f32>,
    /// The square of each one's length as the metric compares it.
    squares: Vec<f64>,
}

impl CentroidSet {
    pub(crate) fn new(space: Space, trained: u64, fit: ClusterFit, plain: kmeans::Centroids) -> Self {
        let padded = space.padded();
        let mut inner = vec![0.0; plain.len() * padded];
        let mut scratch = Vec::new();
        let mut squares = Vec::with_capacity(plain.len());
        let kernels = kernels();
        for (cluster, out) in inner.chunks_exact_mut(padded).enumerate() {
            let centroid = plain.points().row(cluster);
            let centred = centroid.iter().zip(space.mean()).map(|(c, mean)| f64::from(*c) - mean);
            space.rotated(centred, space.scale(), &mut scratch, out);
            squares.push(kernels.wide_dot(centroid, centroid));
        }
        Self { space, trained, fit, plain, inner, squares }
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

    /// How well it fits the rows it was trained on.
    pub(crate) fn fit(&self) -> ClusterFit {
        self.fit
    }

    /// A centroid as the metric compares it.
    pub(super) fn centroid(&self, cluster: usize) -> &[f32] {
        self.plain.points().row(cluster)
    }

    /// The square of the length of a centroid.
    pub(super) fn square(&self, cluster: usize) -> f64 {
        self.squares.get(cluster).copied().unwrap_or(f64::NAN)
    }

    /// How near each cluster is to a normalized vector: smaller is nearer. See [`CentroidSet::scores`].
    pub(crate) fn scores_of(&self, vector: &[f32]) -> Vec<f32> {
        let space = &self.space;
        let mut inner = vec![0.0; space.padded()];
        let components = vector.iter().zip(space.origin()).map(|(x, origin)| f64::from(*x) - origin);
        space.rotated(components, space.scale(), &mut Vec::new(), &mut inner);
        self.scores(vector, &inner)
    }

    /// How near each cluster is to a query: the squared distance of its centroid in the space, or the inner product
    /// with it, negated, less what is the same for all clusters. Smaller is nearer. `inner` is the query in the
    /// space, less its origin.
    pub(super) fn scores(&self, vector: &[f32], inner: &[f32]) -> Vec<f32> {
        let kernels: &Kernels = kernels();
        if !inner.iter().all(|x| x.abs() < COMPONENT_MAX) {
            return self.scores_of_far(vector);
        }
        let centroids = self.inner.chunks_exact(self.space.padded());
        match self.space.form() {
            Form::L2 => {
                let square = self.space.scale() * self.space.scale();
                // Of two points as far from the mean as that.
                let lost = CANCELLED * narrow(kernels.dot(inner, inner));
                let score = |(cluster, centroid): (usize, &[f32])| {
                    let score = narrow(kernels.l2(inner, centroid));
                    let again = || narrow(kernels.wide_l2(vector, self.centroid(cluster)) * square);
                    if score < lost { again() } else { score }
                };
                centroids.enumerate().map(score).collect()
            }
            Form::Dot => centroids.map(|c| narrow(-kernels.dot(inner, c))).collect(),
        }
    }

    /// The same where the query is so far away that f32 does not hold its square: in units of the largest.
    fn scores_of_far(&self, vector: &[f32]) -> Vec<f32> {
        let kernels = kernels();
        let clusters = 0..self.len();
        let scores: Vec<f64> = match self.space.form() {
            Form::L2 => clusters.map(|cluster| kernels.wide_l2(vector, self.centroid(cluster))).collect(),
            Form::Dot => clusters.map(|cluster| -kernels.wide_dot(vector, self.centroid(cluster))).collect(),
        };
        let largest = scores.iter().fold(0.0, |largest: f64, score| largest.max(score.abs()));
        scores.into_iter().map(|score| narrow(if largest > 0.0 { score / largest } else { 0.0 })).collect()
    }

    pub(crate) fn encode(&self) -> Result<Bytes> {
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend([0; 2]);
        put_len_u32(&mut out, self.space.dimension())?;
        put_len_u32(&mut out, self.len())?;
        out.extend(self.trained.to_le_bytes());
        out.extend([self.fit.spread, self.fit.crowding].iter().flat_map(|x| x.to_le_bytes()));
        self.space.encode(&mut out);
        for cluster in 0..self.len() {
            out.extend(self.plain.points().row(cluster).iter().flat_map(|x| x.to_le_bytes()));
        }
        let checksum = checksum(&out);
        out.extend(checksum.to_le_bytes());
        Ok(out.into())
    }

    /// Reads a set, which must be of a column of this metric and dimension.
    pub(crate) fn decode(metric: Metric, dimension: usize, bytes: &[u8]) -> Result<Self, CodecError> {
        let bad = |why: &str| CodecError::malformed(WHAT, why);
        let (body, trailer) = bytes.split_last_chunk().ok_or(CodecError::Truncated { what: WHAT })?;
        if checksum(body) != u64::from_le_bytes(*trailer) {
            return Err(CodecError::Checksum { what: WHAT });
        }
        let mut reader = Reader::new(WHAT, body);
        reader.magic(MAGIC)?;
        reader.version(VERSION)?;
        reader.u16()?;
        let (found, clusters, trained) = (reader.u32()? as usize, reader.u32()? as usize, reader.u64()?);
        if found != dimension || clusters == 0 || clusters > CLUSTERS_MAX {
            return Err(bad("it is not of this column"));
        }
        let [spread, crowding] = [f32::from_bits(reader.u32()?), f32::from_bits(reader.u32()?)];
        if !(spread >= 0.0 && (0.0..=1.0).contains(&crowding)) {
            return Err(bad("how it fits is no number"));
        }
        let space = Space::decode(metric, dimension, &mut reader)?;
        let values = floats(&mut reader, clusters.saturating_mul(dimension))?;
        reader.end()?;
        if values.iter().any(|x| !x.is_finite()) {
            return Err(bad("a centroid is no number"));
        }
        let plain = kmeans::Centroids::new(values, dimension).map_err(|e| bad(&e.to_string()))?;
        Ok(Self::new(space, trained, ClusterFit { spread, crowding }, plain))
    }
}
