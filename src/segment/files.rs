//! The files of a segment that is built, and their upload.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join_all;

use super::meta::SegmentMeta;
use crate::error::Result;
use crate::index::vector::NamedCentroids;
use crate::storage::{IncarnationKeys, ObjectKey, Payload, PutMode, StorageBackend};
use crate::types::ColumnId;

/// The files of a segment, not yet on the store.
#[derive(Debug)]
pub(crate) struct SegmentFiles {
    pub(super) meta: SegmentMeta,
    pub(super) parquet: Payload,
    pub(super) index: Payload,
    /// By the number of the column.
    pub(super) vectors: Vec<(ColumnId, Payload)>,
    pub(super) text: Option<Payload>,
    /// Centroid sets that were trained for this segment, by column.
    pub(super) new_centroids: BTreeMap<ColumnId, NewCentroids>,
    /// For each row, as they were pushed, its position in the segment.
    pub(super) positions: Vec<u32>,
}

/// A segment whose files are on the store. It exists once a manifest or an entry names it; until then it is garbage that
/// collection may take after the grace.
#[derive(Debug)]
pub(crate) struct WrittenSegment {
    pub(crate) meta: SegmentMeta,
    /// For each row, in the order of the builder, the row of the segment that it became.
    pub(crate) row_order: Vec<u32>,
    /// The centroid sets that were trained for it, by column.
    pub(crate) new_centroids: Vec<(ColumnId, NamedCentroids)>,
}

/// A centroid set that no manifest names yet, and its file.
#[derive(Debug)]
pub(crate) struct NewCentroids {
    pub(crate) named: NamedCentroids,
    pub(super) bytes: Bytes,
}

impl NewCentroids {
    /// Writes the file.
    pub(crate) async fn upload(
        &self,
        backend: &Arc<dyn StorageBackend>,
        keys: &IncarnationKeys,
    ) -> Result<()> {
        // The name is unique, so an overwrite can only repeat an earlier attempt.
        let (key, body) = self.object(keys);
        backend.put(&key, body, PutMode::Overwrite).await
    }

    fn object(&self, keys: &IncarnationKeys) -> (ObjectKey, Payload) {
        (keys.centroids(self.named.meta.id), self.bytes.clone().into())
    }
}

impl SegmentFiles {
    /// Writes all files, together.
    pub(crate) async fn upload(
        self,
        backend: &Arc<dyn StorageBackend>,
        keys: &IncarnationKeys,
    ) -> Result<WrittenSegment> {
        // The names of the segment and of sets are unique, so an overwrite can only repeat an earlier attempt. In which
        // order the files arrive does not matter: nothing reads them before the manifest or the entry that names them.
        let puts = self
            .objects(keys)
            .into_iter()
            .map(|(key, body)| async move { backend.put(&key, body, PutMode::Overwrite).await });
        try_join_all(puts).await?;
        let new_centroids = self.new_centroids.into_iter().map(|(column, new)| (column, new.named));
        Ok(WrittenSegment {
            meta: self.meta,
            row_order: self.positions,
            new_centroids: new_centroids.collect(),
        })
    }

    fn objects(&self, keys: &IncarnationKeys) -> Vec<(ObjectKey, Payload)> {
        let segment = keys.segment(self.meta.id);
        let mut objects = vec![(segment.rows(), self.parquet.clone()), (segment.index(), self.index.clone())];
        objects.extend(self.vectors.iter().map(|(column, body)| (segment.vector(*column), body.clone())));
        objects.extend(self.text.iter().map(|body| (segment.text(), body.clone())));
        let sets = self.new_centroids.values();
        objects.extend(sets.map(|new| new.object(keys)));
        objects
    }
}
