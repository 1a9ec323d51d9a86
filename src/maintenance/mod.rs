//! Upkeep: from the tail to segments, and from many segments to few.
//!
//! Any number of processes may do it at any time. They compete for the number of the next manifest: who
//! loses has wasted work, never data. What is uploaded and not committed is garbage for collection.

mod centroids;
mod compact;
mod flush;

pub use centroids::IndexProgress;
pub(crate) use centroids::index_progress;
pub use compact::CompactReport;
pub(crate) use compact::compact;
pub use flush::FlushReport;
pub(crate) use flush::{flush, flush_while};

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::try_join_all;
use roaring::RoaringBitmap;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::segment::{Deletes, SegmentMeta};
use crate::types::SegmentId;

/// How often a commit is tried on top of what others committed meanwhile.
const ATTEMPTS: usize = 16;
/// Rows that are put into a segment at a time.
const BATCH_ROWS: usize = 4_096;

/// The metas of segments for manifest `number`, with the dead rows as `dead` says. Segments whose dead rows
/// grew get a new file, and those without a live row are left out.
async fn with_deletes(
    engine: &Arc<Engine>,
    number: u64,
    segments: Vec<SegmentMeta>,
    dead: &BTreeMap<SegmentId, RoaringBitmap>,
) -> Result<Vec<SegmentMeta>> {
    let updates = segments.into_iter().map(|mut meta| async move {
        let Some(dead) = dead.get(&meta.id) else { return Ok::<_, Error>(Some(meta)) };
        if dead.len() == u64::from(meta.rows) {
            return Ok(None);
        }
        if dead.len() > u64::from(meta.rows - meta.live_rows()) {
            let files = engine.keys.segment(meta.id);
            let nonce = engine.context.env.uuid();
            let backend = &engine.context.backend;
            meta.deletes = Some(Deletes::write(backend, &files, number, nonce, dead).await?);
        }
        Ok(Some(meta))
    });
    let updates: Vec<Option<SegmentMeta>> = try_join_all(updates).await?;
    Ok(updates.into_iter().flatten().collect())
}
