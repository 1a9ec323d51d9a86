//! Opening a vector column of a segment: its exact vectors, and the index if there is one.

use super::heads::SegmentHeads;
use super::sections::{vector_checksums, vector_head, vector_index};
use super::vectors::ExactVectors;
use crate::cache::{Blob, SharedObjects};
use crate::codec::CodecError;
use crate::env::Env;
use crate::error::Result;
use crate::index::vector::{CentroidsMeta, NamedCentroids, VectorIndex};
use crate::schema::VectorColumn;
use crate::types::ColumnId;

/// The vectors of a column that an open segment has.
#[derive(Clone)]
pub(super) struct StoredVectors {
    pub(super) exact: ExactVectors,
    pub(super) index: Option<VectorIndex>,
}

/// The file of a vector column, and the centroids of its index if it has one.
pub(super) struct VectorColumnLayout {
    pub(super) id: ColumnId,
    pub(super) shape: VectorColumn,
    pub(super) blob: Blob,
    /// That of the checksums of its rows.
    pub(super) seed: u32,
    pub(super) set: Option<(Blob, CentroidsMeta)>,
}

impl VectorColumnLayout {
    /// Reads the centroids of the index, if it has one. One round trip, or none.
    pub(super) async fn load_centroids(
        &self,
        env: &Env,
        shared: &SharedObjects,
    ) -> Result<Option<NamedCentroids>> {
        let Some((blob, meta)) = &self.set else { return Ok(None) };
        // Segments share centroid sets: most are in memory already, and then nothing is read.
        NamedCentroids::load(env, blob, shared, *meta, self.shape.into()).await.map(Some)
    }

    /// Decodes the heads of a segment of `rows` rows.
    pub(super) fn decode(
        self,
        rows: u32,
        heads: &SegmentHeads,
        centroids: Option<NamedCentroids>,
    ) -> Result<StoredVectors, CodecError> {
        let index = centroids.map(|centroids| {
            let section = heads.head(&vector_index(self.id))?;
            VectorIndex::decode(self.blob.clone(), centroids.set, rows, section)
        });
        let index = index.transpose()?;
        let (head, checksums) =
            (heads.head(&vector_head(self.id))?, heads.find_head(&vector_checksums(self.id)));
        let exact = ExactVectors::decode(self.blob, (self.shape, self.seed), rows, head, checksums)?;
        Ok(StoredVectors { exact, index })
    }
}
