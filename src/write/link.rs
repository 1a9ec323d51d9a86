//! Linked rows: a batch that is too large for an entry is uploaded as a segment, which the entry links.

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::memtable::batch_bytes;
use crate::segment::{Segment, SegmentBuilder, VectorIndexing};
use crate::types::SegmentId;

/// Rows of at least this many bytes are linked whatever the settings say: every reader has to get an entry whole.
const ROWS_BYTES_MAX: usize = 32 << 20;

/// The same for a batch that has lost several numbers of the log: the smaller its entry, the sooner the put lands.
const HURRIED_BYTES_MAX: usize = 1 << 20;

/// Whether rows are linked if that begins at `bytes_min`.
pub(super) fn is_linked(rows: &RecordBatch, bytes_min: usize) -> bool {
    // A segment without rows would be a file that no query can learn anything from.
    rows.num_rows() > 0 && batch_bytes(rows) >= bytes_min
}

/// From how many bytes on rows are linked.
pub(super) fn linked_bytes_min(engine: &Engine, hurried: bool) -> usize {
    let most = if hurried { HURRIED_BYTES_MAX } else { ROWS_BYTES_MAX };
    engine.context.settings.reference_bytes_min.min(most)
}

/// Uploads rows, which are in ascending order of their ids, as a segment that has them in this order.
pub(super) async fn upload_rows(engine: &Engine, rows: &RecordBatch) -> Result<Arc<Segment>> {
    let base = engine.base_state()?;
    let id = SegmentId { birth: base.manifest.number, uuid: engine.context.env.uuid() };
    // Which entry will link it is not known yet: the layer takes the true number from its entry.
    let sequence = base.view.sequence.next();
    let (schema, rows) = (Arc::clone(&engine.schema), rows.clone());
    let build = move || {
        let mut builder = SegmentBuilder::new(schema, id, (sequence, sequence));
        builder.push(rows)?;
        Ok(Some(builder))
    };
    // Not indexed: a writer waits for this, and compaction will index the rows.
    let written = engine.write_segment(Arc::new(VectorIndexing::none()), build).await?;
    let written = written.ok_or_else(|| Error::internal("a segment was not built"))?;
    engine.open_segment(&written.meta).await
}
