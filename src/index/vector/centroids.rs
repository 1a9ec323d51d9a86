//! A centroid set: the clusters of a vector column, shared by all segments that are coded against it.
//!
//! ```text
//! "ECEN" | version u16 | zero u16 | dimension u32 | clusters u32 | rows trained on u64 | fit | space (see `space`)
//! fit:     median distance of a row from its centroid f32 | chance that two rows share a cluster f32
//! centroid f32 × dimension, cluster by cluster, as the metric compares them, not centred | XXH3-64 of all before
//! ```
//! The number of a cluster is its position here. Neighbours in number are neighbours in space.
//!
//! **Invariant:** the object of a set never changes: codes mean nothing without the centroids they were made with.

use bytes::Bytes;

use super::kernels::{Kernels, kernels};
use super::kmeans;
use super::numeric::round_to_f32;
use super::quantizer::Form;
use super::space::{Space, read_floats};
use crate::codec::{CodecError, Reader, checksum, put_len_u32, usize_of};
use crate::error::Result;
use crate::types::Metric;

const WHAT: &str = "centroid set";
const MAGIC: [u8; 4] = *b"ECEN";
const VERSION: u16 = 1;
/// No set has more clusters.
// At 512 rows each that is beyond the rows of a segment. A larger number is refused before memory is allocated by it.
const CLUSTERS_MAX: usize = 1 << 24;
/// A distance below this share of the length of the query is computed again in f64.
// Both points are then so close, compared with their distance from the mean, that the difference of f32 has lost its
// digits: clusters would be probed in a random order.
const CANCELLED: f32 = 1e-6;
/// Components of a query, in the scale of the space, whose squares an f32 holds.
const COMPONENT_MAX: f32 = 1e15;

/// How well clusters fit the vectors of some rows.
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
    squared_norms: Vec<f64>,
}

impl CentroidSet {
    pub(crate) fn new(space: Space, trained: u64, fit: ClusterFit, plain: kmeans::Centroids) -> Self {
        let padded = space.padded();
        let mut inner = vec![0.0; plain.len() * padded];
        let mut scratch = Vec::new();
        let mut squared_norms = Vec::with_capacity(plain.len());
        let kernels = kernels();
        for (cluster, out) in inner.chunks_exact_mut(padded).enumerate() {
            let centroid = plain.points().row(cluster);
            let centred = centroid.iter().zip(space.mean()).map(|(c, mean)| f64::from(*c) - mean);
            space.rotate(centred, space.scale(), &mut scratch, out);
            squared_norms.push(kernels.wide_dot(centroid, centroid));
        }
        Self { space, trained, fit, plain, inner, squared_norms }
    }

    pub(crate) fn space(&self) -> &Space {
        &self.space
    }

    pub(crate) fn len(&self) -> usize {
        self.squared_norms.len()
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
    ///
    /// # Panics
    /// If there is no such cluster.
    pub(super) fn centroid(&self, cluster: u32) -> &[f32] {
        self.plain.points().row(usize_of(cluster))
    }

    /// The square of the length of a centroid.
    ///
    /// # Panics
    /// If there is no such cluster.
    #[expect(clippy::indexing_slicing, reason = "sections are checked against the set when they are decoded")]
    pub(super) fn squared_norm(&self, cluster: u32) -> f64 {
        self.squared_norms[usize_of(cluster)]
    }

    /// How near each cluster is to a normalized vector: smaller is nearer. See [`CentroidSet::score_clusters`].
    pub(crate) fn score_vector(&self, vector: &[f32]) -> Vec<f32> {
        let space = &self.space;
        let mut inner = vec![0.0; space.padded()];
        let components = vector.iter().zip(space.origin()).map(|(x, origin)| f64::from(*x) - origin);
        space.rotate(components, space.scale(), &mut Vec::new(), &mut inner);
        self.score_clusters(vector, &inner)
    }

    /// How near each cluster is to a query: the squared distance of its centroid in the space, or the inner product
    /// with it, negated, but for what is the same for all clusters. Smaller is nearer. `inner` is the query in the
    /// space, less its origin.
    pub(super) fn score_clusters(&self, vector: &[f32], inner: &[f32]) -> Vec<f32> {
        let kernels: &Kernels = kernels();
        if !inner.iter().all(|x| x.abs() < COMPONENT_MAX) {
            return self.score_far_vector(vector);
        }
        let centroids = self.inner.chunks_exact(self.space.padded());
        match self.space.form() {
            Form::L2 => {
                let square = self.space.scale() * self.space.scale();
                let lost = CANCELLED * round_to_f32(kernels.dot(inner, inner));
                let score = |(cluster, centroid): (u32, &[f32])| {
                    let score = round_to_f32(kernels.l2(inner, centroid));
                    let again = || round_to_f32(kernels.wide_l2(vector, self.centroid(cluster)) * square);
                    if score < lost { again() } else { score }
                };
                (0..).zip(centroids).map(score).collect()
            }
            Form::Dot => centroids.map(|c| round_to_f32(-kernels.dot(inner, c))).collect(),
        }
    }

    /// The same for a query so far away that an f32 does not hold its square: in units of the largest score.
    fn score_far_vector(&self, vector: &[f32]) -> Vec<f32> {
        let kernels = kernels();
        let centroids = self.plain.points();
        let centroids = (0..centroids.rows()).map(|cluster| centroids.row(cluster));
        let scores: Vec<f64> = match self.space.form() {
            Form::L2 => centroids.map(|centroid| kernels.wide_l2(vector, centroid)).collect(),
            Form::Dot => centroids.map(|centroid| -kernels.wide_dot(vector, centroid)).collect(),
        };
        let largest = scores.iter().fold(0.0, |largest: f64, score| largest.max(score.abs()));
        scores
            .into_iter()
            .map(|score| round_to_f32(if largest > 0.0 { score / largest } else { 0.0 }))
            .collect()
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
        out.extend(self.plain.points().values().iter().flat_map(|x| x.to_le_bytes()));
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
            return Err(bad("it belongs to a column of another shape"));
        }
        let [spread, crowding] = [f32::from_bits(reader.u32()?), f32::from_bits(reader.u32()?)];
        if !(spread >= 0.0 && (0.0..=1.0).contains(&crowding)) {
            return Err(bad("its fit is out of range"));
        }
        let space = Space::decode(metric, dimension, &mut reader)?;
        let values = read_floats(&mut reader, clusters.saturating_mul(dimension))?;
        reader.end()?;
        if values.iter().any(|x| !x.is_finite()) {
            return Err(bad("a centroid is not finite"));
        }
        let plain = kmeans::Centroids::new(values, dimension).map_err(|e| bad(&e.to_string()))?;
        Ok(Self::new(space, trained, ClusterFit { spread, crowding }, plain))
    }
}
