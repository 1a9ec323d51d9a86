//! Maintenance: from the tail to segments, from many segments to few, and what is left over off the store.
//!
//! Any number of processes may do it at any time, without a lock or a leader. They compete for the number of the next
//! manifest: the loser has wasted work, never data. Files that were uploaded and not committed are garbage for collection.

mod background;
mod collect;
mod collect_scheduler;
mod compact;
mod damaged;
mod flush;
mod indexing;
mod maintain_report;
mod merge;
mod merge_clusters;
mod merge_input;
mod merge_partition;
mod merge_scheduler;
mod merge_source;
mod objects;
mod policy;
mod scheduler;
mod stats;

pub use collect::{CollectReport, Garbage, GarbageReason};
pub use compact::CompactReport;
pub use flush::FlushReport;
use flush::flush;
pub use indexing::IndexProgress;
pub(crate) use indexing::index_progress;
pub use maintain_report::MaintainReport;
pub use objects::{ObjectCount, ObjectsByKind};
pub(crate) use scheduler::MaintenanceScheduler;
pub use stats::{DueWork, NamespaceStats, SegmentStats, TailStats};

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
use crate::types::ObjectId;

/// How long a commit is tried on top of what others commit, after the first attempt that failed. What was built may have
/// taken many minutes of CPU, so it is worth that long.
const COMMIT_PATIENCE: Duration = Duration::from_mins(5);
/// How often work starts over because a file that it reads was collected. Files outlive the manifest that names them by
/// the grace, so even once is rare.
const STARTS_MAX: u32 = 4;
/// How many rows are pushed to a segment builder at a time.
const BATCH_ROWS: usize = 4_096;

/// Attempts to commit a manifest, each of which another process may win.
struct CommitAttempts<'a> {
    engine: &'a Engine,
    first_loss: Option<Moment>,
    backoff: Backoff,
}

impl<'a> CommitAttempts<'a> {
    fn new(engine: &'a Engine) -> Self {
        Self { engine, first_loss: None, backoff: Backoff::new(RetryPolicy::COMMIT_MANIFEST) }
    }

    /// Records that another process won, and waits before the next attempt.
    ///
    /// # Errors
    /// `Unavailable` when it has taken too long.
    async fn record_loss(&mut self) -> Result<()> {
        let env = &self.engine.context.env;
        let first = *self.first_loss.get_or_insert_with(|| env.moment());
        if env.elapsed(first) > COMMIT_PATIENCE {
            let why = "other processes keep committing manifests: try again later";
            return Err(Error::new(ErrorKind::Unavailable, why));
        }
        // Gives up by `COMMIT_PATIENCE` above, not by count.
        self.backoff.pause(env).await;
        Ok(())
    }
}

/// Writes the dead rows of segments for manifest `number`, and returns the metas of these segments. A segment has a new
/// file if it has more dead rows than before, and is left out if it has no live row any more.
async fn write_dead_rows(
    engine: &Arc<Engine>,
    number: u64,
    segments: Vec<SegmentMeta>,
    dead: &BTreeMap<ObjectId, RoaringBitmap>,
) -> Result<Vec<SegmentMeta>> {
    let updates = segments.into_iter().map(|mut meta| async move {
        let Some(dead) = dead.get(&meta.id) else { return Ok::<_, Error>(Some(meta)) };
        if dead.len() == u64::from(meta.rows) {
            return Ok(None);
        }
        // Rows never come back to life, so as many dead rows as before are the same rows.
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
