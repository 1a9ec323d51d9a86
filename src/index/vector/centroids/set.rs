//! A centroid set: the clusters of a vector column, shared by all segments that are coded against it.
//!
//! ```text
//! header (see `header`) | space (see `space`) | numbers of the clusters (see `numbers`)
//! | centroid f32 × dimension, cluster by cluster, as the metric compares them, not centred | XXH3-64 of all before
//! ```
//! A cluster is known by its position here. Neighbours in position are neighbours in space.
//!
//! **Invariant:** the object of a set never changes: codes mean nothing without the centroids they were made with.

use bytes::Bytes;

use super::coded::{CodedCentroids, CodedProduct, CodedQuery};
use super::header::{ClusterFit, SetHeader, SetShape};
use super::numbers::ClusterNumbers;
use super::space::{Space, read_floats};
use crate::codec::{CodecError, Reader, check_trailer, push_trailer, usize_of};
use crate::error::Result;
use crate::index::vector::kernels::kernels;
use crate::index::vector::kmeans;
use crate::index::vector::numeric::round_to_f32;
use crate::index::vector::quantizer::Form;
use crate::types::ObjectId;

const WHAT: &str = "centroid set";
/// No set has more clusters.
// At 512 rows each that is eight billion rows. A larger number is refused before memory is allocated by it.
const CLUSTERS_MAX: usize = 1 << 24;
/// A distance below this many deviations of its estimate is computed again in f64.
// Both points are then close, compared with their distance from the mean, and the estimate is off by a hundredth or more:
// clusters would be probed in a random order.
const DEVIATIONS_MIN: f32 = 100.0;
/// Components of a query, in the scale of the space, whose squares an f32 holds.
const COMPONENT_MAX: f32 = 1e15;

/// The clusters of a column.
#[derive(Debug)]
pub(crate) struct CentroidSet {
    header: SetHeader,
    space: Space,
    numbers: ClusterNumbers,
    /// As the metric compares them, ready to find the nearest of a row.
    plain: kmeans::Centroids,
    /// In the space, less its mean, [`Space::padded`] components each.
    inner: CodedCentroids,
    /// The square of each one's length as the metric compares it.
    squared_norms: Vec<f64>,
}

impl CentroidSet {
    /// A set of as many centroids as there are numbers.
    pub(in crate::index::vector) fn new(
        header: SetHeader,
        space: Space,
        numbers: ClusterNumbers,
        plain: kmeans::Centroids,
    ) -> Self {
        let padded = space.padded();
        let mut inner = CodedCentroids::new(padded);
        let (mut rotated, mut scratch) = (vec![0.0; padded], Vec::new());
        let mut squared_norms = Vec::with_capacity(plain.len());
        let kernels = kernels();
        for cluster in 0..plain.len() {
            let centroid = plain.points().row(cluster);
            let centred = centroid.iter().zip(space.mean()).map(|(c, mean)| f64::from(*c) - mean);
            space.rotate(centred, space.scale(), &mut scratch, &mut rotated);
            inner.push(&rotated);
            squared_norms.push(kernels.wide_dot(centroid, centroid));
        }
        Self { header, space, numbers, plain, inner, squared_norms }
    }

    pub(crate) fn space(&self) -> &Space {
        &self.space
    }

    pub(crate) fn len(&self) -> usize {
        self.squared_norms.len()
    }

    /// The name of its object.
    pub(in crate::index::vector) fn id(&self) -> ObjectId {
        self.header.id
    }

    /// The set that it goes on from.
    #[cfg(test)]
    pub(in crate::index::vector) fn before(&self) -> Option<ObjectId> {
        self.header.before
    }

    /// The numbers by which the indexes of segments name its clusters.
    pub(in crate::index::vector) fn numbers(&self) -> &ClusterNumbers {
        &self.numbers
    }

    /// The rows it was trained on.
    pub(crate) fn trained(&self) -> u64 {
        self.header.trained
    }

    /// The centroids as the metric compares them.
    pub(crate) fn plain(&self) -> &kmeans::Centroids {
        &self.plain
    }

    /// How well it fits the rows it was trained on.
    pub(in crate::index::vector) fn fit(&self) -> ClusterFit {
        self.header.fit
    }

    /// Checks that it is this set, of vectors of this shape.
    pub(in crate::index::vector) fn check(&self, id: ObjectId, shape: SetShape) -> Result<(), CodecError> {
        self.header.check(id, shape)
    }

    /// A centroid as the metric compares it.
    ///
    /// # Panics
    /// If there is no such cluster.
    pub(in crate::index::vector) fn centroid(&self, cluster: u32) -> &[f32] {
        self.plain.points().row(usize_of(cluster))
    }

    /// The square of the length of a centroid.
    ///
    /// # Panics
    /// If there is no such cluster.
    #[expect(clippy::indexing_slicing, reason = "sections are checked against the set when they are decoded")]
    pub(in crate::index::vector) fn squared_norm(&self, cluster: u32) -> f64 {
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
    pub(in crate::index::vector) fn score_clusters(&self, vector: &[f32], inner: &[f32]) -> Vec<f32> {
        if !inner.iter().all(|x| x.abs() < COMPONENT_MAX) {
            return self.score_far_vector(vector);
        }
        let (kernels, query) = (kernels(), CodedQuery::new(inner));
        let compared = self.inner.compare(&query);
        match self.space.form() {
            Form::L2 => {
                let square = self.space.scale() * self.space.scale();
                let score = |(cluster, compared): (u32, CodedProduct)| {
                    let score = compared.squares - 2.0 * compared.product;
                    let again = || round_to_f32(kernels.wide_l2(vector, self.centroid(cluster)) * square);
                    if score < DEVIATIONS_MIN * 2.0 * compared.deviation { again() } else { score }
                };
                (0..).zip(compared).map(score).collect()
            }
            Form::Dot => compared.map(|compared| -compared.product).collect(),
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
        self.header.encode(&mut out)?;
        self.space.encode(&mut out);
        self.numbers.encode(&mut out)?;
        out.extend(self.plain.points().values().iter().flat_map(|x| x.to_le_bytes()));
        push_trailer(&mut out);
        Ok(out.into())
    }

    /// Reads a set, which must be this one and of vectors of this shape.
    pub(in crate::index::vector) fn decode(
        id: ObjectId,
        shape: SetShape,
        bytes: &[u8],
    ) -> Result<Self, CodecError> {
        let bad = |why: &str| CodecError::malformed(WHAT, why);
        let (body, _) = check_trailer(WHAT, bytes)?;
        let mut reader = Reader::new(WHAT, body);
        let header = SetHeader::decode(&mut reader)?;
        header.check(id, shape)?;
        let space = Space::decode(shape, &mut reader)?;
        let numbers = ClusterNumbers::decode(&mut reader)?;
        let clusters = usize_of(numbers.len());
        if clusters == 0 || clusters > CLUSTERS_MAX {
            return Err(bad("it has no clusters, or too many"));
        }
        let values = read_floats(&mut reader, clusters.saturating_mul(shape.dimension))?;
        reader.end()?;
        if values.iter().any(|x| !x.is_finite()) {
            return Err(bad("a centroid is not finite"));
        }
        let plain = kmeans::Centroids::new(values, shape.dimension).map_err(|e| bad(&e.to_string()))?;
        Ok(Self::new(header, space, numbers, plain))
    }

    /// The same with other numbers.
    #[cfg(test)]
    pub(in crate::index::vector) fn with_numbers(self, numbers: ClusterNumbers) -> Self {
        assert_eq!(usize_of(numbers.len()), self.len());
        Self { numbers, ..self }
    }
}
