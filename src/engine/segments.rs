//! Writing segments: the one place where files are built on the blocking pool and uploaded.

use std::sync::Arc;

use super::Engine;
use crate::error::Result;
use crate::segment::{Segment, SegmentBuilder, SegmentMeta, VectorIndexing, WrittenSegment};

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
        files.upload(&self.context.backend, &self.keys).await.map(Some)
    }

    pub(crate) async fn open_segment(&self, meta: &SegmentMeta) -> Result<Arc<Segment>> {
        self.reader().open_segment(meta).await
    }
}
