//! Opening a vector column of a segment: its exact vectors, and the index if there is one.

use bytes::Bytes;
use futures::future::try_join;

use super::meta::{FileMeta, FileSection};
use super::sections::{CHECKSUMS, HEAD, INDEX};
use super::vectors::{ExactVectors, RowChecksums, are_resident};
use crate::cache::{Blob, SharedObjects, Span};
use crate::codec::{CodecError, u64_of};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::index::vector::{CentroidsMeta, NamedCentroids, VectorIndex};
use crate::schema::VectorColumn;

/// The vectors of a column that an open segment has.
#[derive(Clone)]
pub(super) struct StoredVectors {
    pub(super) exact: ExactVectors,
    pub(super) index: Option<VectorIndex>,
}

/// The file of a vector column, and its index.
pub(super) struct VectorColumnLayout {
    blob: Blob,
    shape: VectorColumn,
    /// That of the checksums of its rows.
    seed: u32,
    checksums: FileSection,
    head: FileSection,
    index: Option<VectorIndexLayout>,
}

/// The section of a vector index, and the file of its centroids.
struct VectorIndexLayout {
    section: FileSection,
    centroids: Blob,
    meta: CentroidsMeta,
}

/// The bytes that are read first.
pub(super) struct VectorColumnHeads {
    head: Bytes,
    /// The whole section, if it is small enough to keep.
    checksums: Option<Bytes>,
    index: Option<VectorIndexHeads>,
}

struct VectorIndexHeads {
    section: Bytes,
    centroids: NamedCentroids,
}

impl VectorColumnLayout {
    /// Finds the sections of a file, for a column of a shape and the seed of its checksums. `set` are the centroids of
    /// its index, if it has one.
    pub(super) fn locate(
        blob: Blob,
        file: &FileMeta,
        (shape, seed): (VectorColumn, u32),
        set: Option<(Blob, CentroidsMeta)>,
    ) -> Result<Self, CodecError> {
        let index = set.map(|(centroids, meta)| {
            Ok::<_, CodecError>(VectorIndexLayout { section: file.section(INDEX)?, centroids, meta })
        });
        let (checksums, head) = (file.section(CHECKSUMS)?, file.section(HEAD)?);
        Ok(Self { blob, shape, seed, checksums, head, index: index.transpose()? })
    }

    /// Reads the heads, and the checksums if they are few. One round trip.
    pub(super) async fn read_heads(&self, env: &Env, shared: &SharedObjects) -> Result<VectorColumnHeads> {
        let keep_checksums = are_resident(self.checksums.length);
        // The sections are next to each other: one request.
        let mut spans: Vec<Span> = vec![self.head.span()];
        spans.extend(keep_checksums.then(|| self.checksums.span()));
        spans.extend(self.index.as_ref().map(|index| index.section.span()));
        let centroids = async {
            let Some(index) = &self.index else { return Ok(None) };
            let space = (self.shape.metric, self.shape.dimension);
            // Segments share centroid sets: most are in memory already, and then nothing is read.
            NamedCentroids::load(env, &index.centroids, shared, index.meta, space).await.map(Some)
        };
        let (read, centroids) = try_join(self.blob.read_many(&spans), centroids).await?;
        let mut read = read.into_iter();
        // In the order of the spans.
        let mut next =
            || read.next().ok_or_else(|| Error::internal("fewer sections were read than requested"));
        Ok(VectorColumnHeads {
            head: next()?,
            checksums: keep_checksums.then(&mut next).transpose()?,
            index: centroids
                .map(|centroids| Ok::<_, Error>(VectorIndexHeads { section: next()?, centroids }))
                .transpose()?,
        })
    }

    /// Decodes the heads of a segment of `rows` rows.
    pub(super) fn decode(self, rows: u32, heads: VectorColumnHeads) -> Result<StoredVectors> {
        let key = self.blob.key().clone();
        let index = heads
            .index
            .map(|index| VectorIndex::decode(self.blob.clone(), index.centroids.set, rows, &index.section));
        let index = index.transpose().map_err(|e| e.at(&key))?;
        let checksums = RowChecksums::new(self.seed, self.checksums.range(), heads.checksums.as_ref());
        let exact = ExactVectors::decode(self.blob, self.shape, rows, checksums, &heads.head);
        Ok(StoredVectors { exact: exact.map_err(|e| e.at(&key))?, index })
    }
}

impl VectorColumnHeads {
    /// The size of what was read, on the store.
    pub(super) fn stored_bytes(&self) -> u64 {
        let section = self.index.as_ref().map(|index| &index.section);
        let all = [Some(&self.head), self.checksums.as_ref(), section];
        all.into_iter().flatten().map(|bytes| u64_of(bytes.len())).sum()
    }
}
