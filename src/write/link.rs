//! Rows that are too many for an entry: they are uploaded as a segment, which the entry links.

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::engine::Engine;
use crate::error::Result;
use crate::memtable::batch_bytes;
use crate::segment::{Indexing, Segment, SegmentBuilder};
use crate::types::SegmentId;

/// From how many bytes on rows are linked, whatever the settings say: every reader has to get an entry whole.
const ROWS_BYTES_MAX: usize = 32 << 20;

/// The same for a batch that others are quicker than again and again: a small entry is sooner there.
const HURRIED_BYTES_MAX: usize = 1 << 20;

/// Whether rows are so many that an entry links a segment of them, if it does so from `least` bytes on.
pub(super) fn is_linked(rows: &RecordBatch, least: usize) -> bool {
    rows.num_rows() > 0 && batch_bytes(rows) >= least
}

/// From how many bytes on rows are linked.
pub(super) fn least_bytes(engine: &Engine, hurried: bool) -> usize {
    let most = if hurried { HURRIED_BYTES_MAX } else { ROWS_BYTES_MAX };
    engine.context.settings.reference_bytes_min.min(most)
}

/// Uploads rows, which are in ascending order of their ids, as a segment that has them in this order.
pub(super) async fn upload(engine: &Engine, rows: &RecordBatch) -> Result<Arc<Segment>> {
    let (context, state) = (&engine.context, engine.base()?);
    let id = SegmentId { birth: state.manifest.number, uuid: context.env.uuid() };
    // What entry will link it is not known yet.
    let sequence = state.view.sequence.next();
    let (schema, rows) = (Arc::clone(&engine.schema), rows.clone());
    let build = move || {
        let mut builder = SegmentBuilder::new(schema, id, (sequence, sequence));
        builder.push(rows)?;
        // It has to be quick: compaction will index it.
        builder.finish(&Indexing::none())
    };
    let files = context.env.blocking(build).await??;
    let meta = files.upload(&context.backend, &engine.keys).await?;
    engine.open_segment(&meta).await
}
