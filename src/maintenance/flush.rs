//! Flush: the memtable becomes a segment, and the manifest moves on to the entry at which it ended.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::future::try_join_all;
use roaring::RoaringBitmap;

use super::indexing::IndexingJob;
use super::{CommitAttempts, STARTS_MAX, write_dead_rows};
use crate::codec::usize_of;
use crate::engine::{BaseState, Engine};
use crate::error::{Error, Result};
use crate::index::vector::CentroidsMeta;
use crate::manifest::{Manifest, TokensMeta, extend_tokens};
use crate::memtable::{MemRows, PartId, PartSource};
use crate::schema::Schema;
use crate::segment::{SegmentBuilder, SegmentMeta};
use crate::types::{ColumnId, DocumentId, ObjectId, Sequence, TokenLog, TokenRecord};

/// What a flush did.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::*;
/// # let schema = Schema::builder(IdKind::U64).build()?;
/// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
/// let receipt = docs.write([1, 2, 3].map(Document::new)).await?;
/// let report = docs.flush().await?;
/// assert_eq!((report.rows, report.flushed_through), (3, receipt.sequence));
/// assert_eq!(docs.flush().await?.rows, 0); // nothing new
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlushReport {
    /// All entries up to this one are in segments.
    pub flushed_through: Sequence,
    /// Rows that this flush wrote, or took over from linked segments; 0 if there was nothing to do or another process was
    /// quicker.
    pub rows: u64,
}

impl fmt::Display for FlushReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flushed {} rows, all entries up to {} are in segments", self.rows, self.flushed_through)
    }
}

/// Flushes everything that was acknowledged before this call.
pub(super) async fn flush(engine: &Arc<Engine>) -> Result<FlushReport> {
    engine.catch_up().await?;
    let through = engine.sequence();
    let mut attempts = CommitAttempts::new(engine);
    let mut starts = 1;
    loop {
        engine.refresh_for_commit().await?;
        let (tail, tokens) = engine.begin_flush()?;
        match flush_once(engine, &tail, &tokens, &mut attempts).await {
            Ok(Some(report)) if report.flushed_through >= through => return Ok(report),
            Ok(_) => attempts.record_loss().await?,
            Err(e) if e.is_missing() && starts < STARTS_MAX => {
                engine.explain_missing_file(tail.manifest.number, &e).await?;
                starts += 1;
            }
            Err(e) if e.is_missing() => return Err(engine.overtaken_error()),
            Err(e) => return Err(e),
        }
    }
}

/// A segment that a flush adds to the manifest, and its dead rows.
struct FlushedSegment {
    meta: SegmentMeta,
    dead: RoaringBitmap,
}

/// The segments of a tail.
struct FlushedTail {
    segments: Vec<FlushedSegment>,
    /// The centroid sets that were made for them.
    new_centroids: BTreeMap<ColumnId, CentroidsMeta>,
}

/// Flushes a tail; `None` if another process was quicker.
async fn flush_once(
    engine: &Arc<Engine>,
    tail: &BaseState,
    tokens: &[TokenRecord],
    attempts: &mut CommitAttempts<'_>,
) -> Result<Option<FlushReport>> {
    let (flushed, through) = (tail.manifest.flushed_through, tail.view.sequence);
    if through <= flushed {
        return Ok(Some(FlushReport { flushed_through: flushed, rows: 0 }));
    }
    // Before the tail, which may be large: if the list that is to be extended is damaged, nothing else is left behind.
    let list = write_tokens(engine, tail, tokens).await?;
    let written = write_tail(engine, tail).await?;
    let rows = written.segments.iter().map(|segment| u64::from(segment.meta.rows) - segment.dead.len()).sum();
    loop {
        engine.refresh_for_commit().await?;
        let newest = engine.base_state()?;
        // The log must be covered exactly as far as when the flush began: further, and the rows would be in two
        // segments. A manifest that covers less is older and never the newest.
        if newest.manifest.flushed_through != flushed || newest.manifest.tokens != tail.manifest.tokens {
            // Another process flushed: its segment stands, and ours is garbage.
            return Ok(None);
        }
        if !engine.allows_build(&tail.manifest, &newest.manifest) {
            // It took so long that collection may have taken what was written.
            return Ok(None);
        }
        let mut next = next_manifest(engine, &newest, tail, &written).await?;
        if let Some((meta, _)) = &list {
            next.tokens = Some(meta.clone());
        }
        if engine.commit_manifest(next).await? {
            if let Some((meta, list)) = list {
                engine.keep_token_list(&meta, list);
            }
            return Ok(Some(FlushReport { flushed_through: through, rows }));
        }
        // Lost to a compaction, mostly. What was written is still good: it goes on top of the newer manifest.
        attempts.record_loss().await?;
    }
}

/// Writes the list of tokens that the next manifest names, if the tail has any: that of the manifest of the tail, extended.
async fn write_tokens(
    engine: &Engine,
    tail: &BaseState,
    tokens: &[TokenRecord],
) -> Result<Option<(TokensMeta, TokenLog)>> {
    if tokens.is_empty() {
        return Ok(None);
    }
    let before = engine.token_list(tail.manifest.tokens.as_ref()).await?;
    let list = extend_tokens(&before, tokens.iter().cloned());
    let id = ObjectId { birth: tail.manifest.number, uuid: engine.context.env.uuid() };
    let meta = TokensMeta::write(&engine.context.backend, &engine.keys, id, &list).await?;
    Ok(Some((meta, list)))
}

/// The segments of the tail: one of all rows in memory, and those that entries link, which are taken over as they are.
async fn write_tail(engine: &Arc<Engine>, tail: &BaseState) -> Result<FlushedTail> {
    let view = &tail.view;
    let first_layer = view.segments.len();
    let layers = view.parts().into_iter().enumerate().skip(first_layer).map(|(index, part)| async move {
        let dead = view.find_dead_rows(index, &part).await?;
        Ok::<_, Error>((part, dead))
    });
    let (mut runs, mut segments) = (Vec::new(), Vec::new());
    for (part, dead) in try_join_all(layers).await? {
        match part.source {
            PartSource::Memory(run) => runs.push((run, dead)),
            PartSource::Segment(segment) => {
                segments.push(FlushedSegment { meta: segment.meta().clone(), dead });
            }
        }
    }
    let id = ObjectId { birth: tail.manifest.number, uuid: engine.context.env.uuid() };
    let sequences = (tail.manifest.flushed_through.next(), view.sequence);
    let schema = Arc::clone(&engine.schema);
    let build = move || build_segment(schema, id, sequences, &runs);
    let mut job = IndexingJob::new(engine, &tail.manifest).await?;
    if let Some(written) = job.write_segment(build).await? {
        segments.push(FlushedSegment { meta: written.meta, dead: RoaringBitmap::new() });
    }
    Ok(FlushedTail { segments, new_centroids: job.new_centroids() })
}

/// A segment of the live rows of runs in memory, in the order of their ids; `None` if there are none. Deletes are not
/// written: what they hide becomes dead rows of the older segments.
fn build_segment(
    schema: Arc<Schema>,
    id: ObjectId,
    sequences: (Sequence, Sequence),
    runs: &[(Arc<MemRows>, RoaringBitmap)],
) -> Result<Option<SegmentBuilder>> {
    let mut rows: Vec<(DocumentId, (usize, usize))> = Vec::new();
    for (index, (run, dead)) in runs.iter().enumerate() {
        let live = (0..run.row_count()).filter(|row| !dead.contains(*row)).map(usize_of);
        rows.extend(live.map(|row| (run.ids().get(row), (index, row))));
    }
    if rows.is_empty() {
        return Ok(None);
    }
    // Ids are unique among live rows: a newer row of an id hides the older ones.
    rows.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let rows: Vec<(usize, usize)> = rows.into_iter().map(|(_, addr)| addr).collect();
    let batches = runs.iter().map(|(run, _)| run.rows().clone()).collect();
    let mut builder = SegmentBuilder::new(schema, id, sequences);
    builder.push_rows(batches, &rows)?;
    Ok(Some(builder))
}

/// The successor of the newest manifest with the tail in it. Compaction may have replaced segments since the flush
/// began, so what the tail hides is looked up in the segments that are there now.
async fn next_manifest(
    engine: &Arc<Engine>,
    newest: &BaseState,
    tail: &BaseState,
    written: &FlushedTail,
) -> Result<Manifest> {
    let env = &engine.context.env;
    let mut next = newest.manifest.successor(env.uuid(), env.wall_ms());
    let below = tail.view.over_segments(Arc::clone(&newest.view.segments));
    let hidden = below.segments.iter().enumerate().map(|(index, part)| {
        let below = &below;
        async move {
            let PartId::Segment(id) = part.id else {
                return Err(Error::internal("a manifest names rows in memory"));
            };
            Ok((id, below.find_dead_rows(index, part).await?))
        }
    });
    let mut dead: BTreeMap<ObjectId, RoaringBitmap> = try_join_all(hidden).await?.into_iter().collect();
    dead.extend(written.segments.iter().map(|segment| (segment.meta.id, segment.dead.clone())));
    next.segments.extend(written.segments.iter().map(|segment| segment.meta.clone()));
    next.offer_centroids(&written.new_centroids);
    next.segments = write_dead_rows(engine, next.number, next.segments, &dead).await?;
    let is_named = |id: &ObjectId| next.segments.iter().any(|meta| meta.id == *id);
    next.dropped =
        written.segments.iter().map(|segment| segment.meta.id).filter(|id| !is_named(id)).collect();
    next.flushed_through = tail.view.sequence;
    // The next entry of the log names this batch: it ties the log to the manifest even when older entries are gone.
    next.flushed_batch = tail.last_batch;
    Ok(next)
}
