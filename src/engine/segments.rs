//! Writing segments: the one place where files are built on the blocking pool and uploaded.

use std::sync::Arc;

use super::Engine;
use crate::error::Result;
use crate::index::vector::NamedCentroids;
use crate::segment::{Segment, SegmentBuilder, SegmentMeta, VectorIndexing};

/// A segment whose files are on the store. It exists once a manifest or an entry names it; until then it is garbage
/// that collection may take after the grace.
#[derive(Debug)]
pub(crate) struct WrittenSegment {
    pub(crate) meta: SegmentMeta,
    /// For each row, in the order of the builder, the row of the segment that it became.
    pub(crate) row_order: Vec<u32>,
    /// The centroid sets that were made for it, by column.
    pub(crate) new_centroids: Vec<(String, NamedCentroids)>,
}

impl Engine {
    /// Builds a segment and uploads its files. `None` if `build` finds that there is nothing to write.
    ///
    /// The build takes seconds of CPU for a large segment, so it never runs on a task of the runtime.
    pub(crate) async fn write_segment(
        &self,
        indexing: Arc<VectorIndexing>,
        build: impl FnOnce() -> Result<Option<SegmentBuilder>> + Send + 'static,
    ) -> Result<Option<WrittenSegment>> {
        let finish = move || build()?.map(|builder| builder.finish(&indexing)).transpose();
        let Some(files) = self.context.env.blocking(finish).await?? else { return Ok(None) };
        let row_order = files.positions().to_vec();
        let new_centroids =
            files.new_centroids().map(|(column, named)| (column.clone(), named.clone())).collect();
        let meta = files.upload(&self.context.backend, &self.keys).await?;
        Ok(Some(WrittenSegment { meta, row_order, new_centroids }))
    }

    pub(crate) async fn open_segment(&self, meta: &SegmentMeta) -> Result<Arc<Segment>> {
        self.reader().open_segment(meta).await
    }
}
