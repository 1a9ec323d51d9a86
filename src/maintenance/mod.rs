//! Maintenance: from the tail to segments, and from many segments to few.
//!
//! Any number of processes may do it at any time. They compete for the number of the next manifest: who
//! loses has wasted work, never data. What is uploaded and not committed is garbage for collection.

mod compact;
mod flush;
mod indexing;
mod scheduler;

pub use compact::CompactReport;
use compact::compact;
pub use flush::FlushReport;
use flush::flush;
pub use indexing::IndexProgress;
pub(crate) use indexing::index_progress;
pub(crate) use scheduler::MaintenanceScheduler;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use roaring::RoaringBitmap;

use crate::engine::Engine;
use crate::env::Moment;
use crate::error::{Error, ErrorKind, Result};
use crate::retry::{Backoff, RetryPolicy};
use crate::segment::{Deletes, SegmentMeta};
use crate::types::SegmentId;

/// How long after the first lost attempt a commit is tried on top of what others commit.
const PATIENCE: Duration = Duration::from_mins(5);
/// How often work is begun again because a file that it reads was collected.
const STARTS: u32 = 4;
/// Rows that are put into a segment at a time.
const BATCH_ROWS: usize = 4_096;

/// Attempts at a commit that others are quicker than.
struct Attempts<'a> {
    engine: &'a Engine,
    first: Option<Moment>,
    backoff: Backoff,
}

impl<'a> Attempts<'a> {
    fn new(engine: &'a Engine) -> Self {
        Self { engine, first: None, backoff: Backoff::new(RetryPolicy::COMMIT_MANIFEST) }
    }

    /// Waits for a moment before the next attempt.
    ///
    /// # Errors
    /// `Unavailable` when it has taken too long.
    async fn lost(&mut self) -> Result<()> {
        let env = &self.engine.context.env;
        let first = *self.first.get_or_insert_with(|| env.moment());
        if env.elapsed(first) > PATIENCE {
            let why = "other processes keep committing manifests: try again later";
            return Err(Error::new(ErrorKind::Unavailable, why));
        }
        // Gives up by `PATIENCE` above, not by count.
        self.backoff.pause(env).await;
        Ok(())
    }
}

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
