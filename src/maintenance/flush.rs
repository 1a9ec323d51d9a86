//! Flush: the tail becomes a segment, and the manifest goes on to where the tail ended.

use std::sync::Arc;

use futures::future::try_join_all;
use roaring::RoaringBitmap;

use super::indexing::IndexingJob;
use super::{Attempts, STARTS, with_deletes};
use crate::engine::{BaseState, Engine};
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::memtable::{PartId, PartSource};
use crate::schema::Ids;
use crate::segment::{SegmentBuilder, SegmentMeta};
use crate::types::{SegmentId, Sequence, TokenRecord};
use crate::view::View;

/// What a flush did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlushReport {
    /// Everything up to here is in segments.
    pub flushed_through: Sequence,
    /// Rows that this flush wrote or adopted; 0 if there was nothing to do or another process was quicker.
    pub rows: u64,
}

/// Flushes everything that was acknowledged before this call.
pub(super) async fn flush(engine: &Arc<Engine>) -> Result<FlushReport> {
    engine.catch_up().await?;
    let through = engine.sequence();
    let mut attempts = Attempts::new(engine);
    let mut starts = 1;
    loop {
        engine.refresh_newest_manifest().await?;
        let (tail, tokens) = engine.begin_flush()?;
        match flush_once(engine, &tail, &tokens, &mut attempts).await {
            Ok(Some(report)) if report.flushed_through >= through => return Ok(report),
            Ok(_) => attempts.lost().await?,
            Err(e) if e.is_missing() && starts < STARTS => {
                engine.explain_missing_file(tail.manifest.number, &e).await?;
                starts += 1;
            }
            Err(e) if e.is_missing() => return Err(engine.overtaken_error()),
            Err(e) => return Err(e),
        }
    }
}

/// Flushes a tail; `None` if another process was quicker.
async fn flush_once(
    engine: &Arc<Engine>,
    tail: &BaseState,
    tokens: &[TokenRecord],
    attempts: &mut Attempts<'_>,
) -> Result<Option<FlushReport>> {
    let (flushed, through) = (tail.manifest.flushed_through, tail.view.sequence);
    if through <= flushed {
        return Ok(Some(FlushReport { flushed_through: flushed, rows: 0 }));
    }
    let written = write(engine, tail).await?;
    let rows = written.iter().map(|(meta, dead)| u64::from(meta.rows) - dead.len()).sum();
    loop {
        engine.refresh_newest_manifest().await?;
        let newest = engine.base_state()?;
        if newest.manifest.flushed_through != flushed {
            // Another flushed: what it did stands, and ours is garbage.
            return Ok(None);
        }
        let mut next = next_manifest(engine, &newest, tail, &written).await?;
        next.remember_tokens(tokens.iter().cloned());
        if engine.commit_manifest(next).await? {
            return Ok(Some(FlushReport { flushed_through: through, rows }));
        }
        attempts.lost().await?;
    }
}

/// The segments of the tail with their dead rows: one of all its runs, and those that entries link.
async fn write(engine: &Arc<Engine>, tail: &BaseState) -> Result<Vec<(SegmentMeta, RoaringBitmap)>> {
    let view = &tail.view;
    let first = view.segments.len();
    let layers = view.parts().into_iter().enumerate().skip(first).map(|(at, part)| async move {
        let dead = view.find_dead_rows(at, &part).await?;
        Ok::<_, Error>((part, dead))
    });
    let (mut runs, mut segments) = (Vec::new(), Vec::new());
    for (part, dead) in try_join_all(layers).await? {
        match part.source {
            PartSource::Memory(run) => runs.push((run, dead)),
            PartSource::Segment(segment) => segments.push((segment.meta().clone(), dead)),
        }
    }
    let (env, schema) = (&engine.context.env, Arc::clone(&engine.schema));
    let id = SegmentId { birth: tail.manifest.number, uuid: env.uuid() };
    let sequences = (tail.manifest.flushed_through.next(), view.sequence);
    let build = move || -> Result<_> {
        let mut picks: Vec<(usize, usize)> = Vec::new();
        for (at, (run, dead)) in runs.iter().enumerate() {
            let rows = 0..u32::try_from(run.rows().num_rows()).unwrap_or(u32::MAX);
            picks.extend(rows.filter(|row| !dead.contains(*row)).map(|row| (at, row as usize)));
        }
        if picks.is_empty() {
            return Ok(None);
        }
        let ids: Vec<&Ids> = runs.iter().map(|(run, _)| run.ids()).collect();
        picks.sort_by_cached_key(|(at, row)| ids.get(*at).map(|ids| ids.get(*row)));
        let batches = runs.iter().map(|(run, _)| run.rows().clone()).collect();
        let mut builder = SegmentBuilder::new(schema, id, sequences);
        builder.push_rows(batches, &picks)?;
        Ok(Some(builder))
    };
    let mut job = IndexingJob::new(engine, &tail.manifest).await?;
    if let Some(written) = job.write_segment(build).await? {
        segments.push((written.meta, RoaringBitmap::new()));
    }
    Ok(segments)
}

/// The manifest after the newest, with the tail in it. Compaction may have replaced segments since the flush
/// began: what the tail hides is asked of those that are there now.
async fn next_manifest(
    engine: &Arc<Engine>,
    newest: &BaseState,
    tail: &BaseState,
    written: &[(SegmentMeta, RoaringBitmap)],
) -> Result<Manifest> {
    let env = &engine.context.env;
    let mut next = newest.manifest.successor(env.uuid(), env.wall_ms());
    let below = View { segments: Arc::clone(&newest.view.segments), ..tail.view.clone() };
    let hidden = below.segments.iter().enumerate().map(|(at, part)| {
        let below = &below;
        async move { Ok::<_, Error>((part.id, below.find_dead_rows(at, part).await?)) }
    });
    let hidden = try_join_all(hidden).await?.into_iter();
    let own = written.iter().map(|(meta, dead)| (PartId::Segment(meta.id), dead.clone()));
    let dead = hidden.chain(own).filter_map(|(part, dead)| match part {
        PartId::Segment(id) => Some((id, dead)),
        PartId::Memory(_) => None,
    });
    next.add_segments(written.iter().map(|(meta, _)| meta.clone()));
    next.segments = with_deletes(engine, next.number, next.segments, &dead.collect()).await?;
    next.flushed_through = tail.view.sequence;
    next.flushed_batch = tail.last_batch;
    Ok(next)
}
