//! Linked rows: a batch that is too large for an entry is uploaded as a segment, which the entry links.
//!
//! Every reader of the log fetches whole entries, so they have to stay small. A linked segment is fetched in ranges and
//! only where a query needs it, and a flush hands it over to the manifest without rewriting it.

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::engine::{Birth, Engine};
use crate::error::{Error, Result};
use crate::memtable::batch_bytes;
use crate::segment::{Segment, SegmentBuilder, VectorIndexing};
use crate::types::ObjectId;

/// Rows of at least this many bytes are linked whatever the settings say: every reader has to fetch an entry whole.
const INLINE_ROWS_BYTES_MAX: usize = 32 << 20;

/// The same for a batch that has lost several numbers of the log: the smaller its entry, the sooner the put lands. Below
/// a megabyte the latency of a request outweighs its bytes.
const HURRIED_ROWS_BYTES_MAX: usize = 1 << 20;

/// How often rows are uploaded that collection takes before they can be opened. Each time takes a process that sleeps for the
/// grace, so even once is rare.
const UPLOADS_MAX: u32 = 4;

/// Whether rows are linked, if that begins at `bytes_min`.
pub(super) fn should_link(rows: &RecordBatch, bytes_min: usize) -> bool {
    // Checked even for a limit of 0: a segment has at least one row.
    rows.num_rows() > 0 && batch_bytes(rows) >= bytes_min
}

/// The size in bytes from which rows are linked. `hurried`: the batch has lost several numbers.
pub(super) fn linked_bytes_min(engine: &Engine, hurried: bool) -> usize {
    let bytes_max = if hurried { HURRIED_ROWS_BYTES_MAX } else { INLINE_ROWS_BYTES_MAX };
    engine.context.settings.reference_bytes_min.min(bytes_max)
}

/// Rows that are uploaded, and which an entry may link.
#[derive(Debug)]
pub(super) struct LinkedRows {
    pub(super) segment: Arc<Segment>,
    birth: Birth,
}

impl LinkedRows {
    /// Whether an entry that follows the known state may link them: otherwise collection may have taken them.
    pub(super) async fn may_be_linked(&self, engine: &Engine) -> Result<bool> {
        engine.allows_birth(self.birth).await
    }
}

/// Uploads rows, which are in ascending order of their ids, as a segment in the same order. So the row numbers of the
/// batch are those of the segment.
pub(super) async fn upload_rows(engine: &Engine, rows: &RecordBatch) -> Result<LinkedRows> {
    for _ in 0..UPLOADS_MAX {
        match upload_once(engine, rows).await {
            // Nothing names the segment yet. After a long sleep collection may have passed its birth, and have taken it.
            Err(gone) if gone.is_missing() => {
                tracing::debug!(namespace = %engine.name, error = %gone, "uploaded rows were collected before their entry");
            }
            outcome => return outcome,
        }
    }
    Err(engine.overtaken_error())
}

async fn upload_once(engine: &Engine, rows: &RecordBatch) -> Result<LinkedRows> {
    let base = engine.base_state()?;
    // The append would refuse it, and leave the segment behind.
    engine.check_writable()?;
    let birth = engine.take_birth().await?;
    let id = ObjectId { birth: birth.number, uuid: engine.context.env.uuid() };
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
    let segment = engine.open_segment(&written.meta).await?;
    Ok(LinkedRows { segment, birth })
}
