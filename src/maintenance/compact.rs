//! Compaction: many segments become few, without their dead rows.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::merge::{MergedSegments, SEGMENT_BYTES_MAX};
use super::{CommitAttempts, STARTS_MAX, write_dead_rows};
use crate::codec::{u64_of, usize_of};
use crate::engine::{BaseState, Engine};
use crate::error::{Error, Result};
use crate::memtable::{PartId, PartSource};
use crate::segment::Segment;
use crate::types::ObjectId;
use crate::view::Part;

/// What a compaction did.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::*;
/// # let schema = Schema::builder(IdKind::U64).build()?;
/// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
/// for id in [1, 2] {
///     docs.write(Document::new(id)).await?;
///     docs.flush().await?;
/// }
/// let report = docs.compact().await?;
/// assert_eq!(report.to_string(), "merged 2 segments into 1 of 2 rows");
/// // As few as possible already.
/// assert_eq!(docs.compact().await?.merged, 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactReport {
    /// Segments that were merged; 0 if there was nothing to do or another process was quicker.
    pub merged: usize,
    /// Segments that they became.
    pub written: usize,
    /// Rows in these.
    pub rows: u64,
}

impl fmt::Display for CompactReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "merged {} segments into {} of {} rows", self.merged, self.written, self.rows)
    }
}

/// Merges all segments of the newest manifest, and indexes vectors that are not indexed yet.
///
/// There are no levels: a query visits every segment, at the price of several requests each, so one merge of everything
/// is what makes it cheap. When that is worth its price the caller knows best, and calls it.
pub(super) async fn compact(engine: &Arc<Engine>) -> Result<CompactReport> {
    for _ in 0..STARTS_MAX {
        engine.refresh_for_commit().await?;
        let base = engine.base_state()?;
        match compact_once(engine, &base).await {
            // Another process merged a segment that is being read, and collection took it.
            Err(e) if e.is_missing() => engine.explain_missing_file(base.manifest.number, &e).await?,
            outcome => return outcome,
        }
    }
    Err(engine.overtaken_error())
}

async fn compact_once(engine: &Arc<Engine>, base: &BaseState) -> Result<CompactReport> {
    let inputs = &base.view.segments;
    if is_compact(engine, inputs)? {
        return Ok(CompactReport::default());
    }
    let merged = MergedSegments::merge(engine, base).await?;
    let mut attempts = CommitAttempts::new(engine);
    loop {
        engine.refresh_for_commit().await?;
        let newest = engine.base_state()?;
        let is_there = |input: &Part| newest.view.segments.iter().any(|part| part.id == input.id);
        if !inputs.iter().all(is_there) {
            // Another process merged some of these: its outputs stand, and ours are garbage.
            return Ok(CompactReport::default());
        }
        if commit_merge(engine, inputs, &merged, &newest).await? {
            let rows = merged.outputs.iter().map(|output| u64::from(output.meta.rows)).sum();
            return Ok(CompactReport { merged: inputs.len(), written: merged.outputs.len(), rows });
        }
        attempts.record_loss().await?;
    }
}

fn segment_of(part: &Part) -> Result<&Arc<Segment>> {
    match &part.source {
        PartSource::Segment(segment) => Ok(segment),
        PartSource::Memory(_) => Err(Error::internal("a manifest names rows in memory")),
    }
}

/// Whether a merge would give the same segments again: no row is dead, indexes are there, ranges of ids are disjoint, and
/// no two neighbours fit into one segment.
fn is_compact(engine: &Engine, inputs: &[Part]) -> Result<bool> {
    let mut segments = inputs.iter().map(segment_of).collect::<Result<Vec<_>>>()?;
    segments.sort_unstable_by(|a, b| a.meta().id_min.cmp(&b.meta().id_min));
    let are_apart = segments.iter().zip(segments.iter().skip(1)).all(|(a, b)| {
        let bytes = a.uncompressed_bytes().saturating_add(b.uncompressed_bytes());
        // Half the size suffices: sizes are estimates, and outputs vary by a round of pages. A merge of everything is
        // not worth half a segment, and a caller in a loop must come to an end.
        a.meta().id_max < b.meta().id_min && bytes > u64_of(SEGMENT_BYTES_MAX) / 2
    });
    // Centroids that do not fit are trained again only for a single segment: all segments of a merge share those of the
    // first, so with several they would not fit the others any better.
    let fit = segments.len() > 1 || segments.iter().all(|segment| segment.meta().unfit.is_empty());
    let are_clean = inputs.iter().all(|part| part.deletes.is_empty());
    Ok(are_clean && segments.iter().all(|segment| is_indexed(engine, segment)) && are_apart && fit)
}

/// Whether a segment has the vector indexes that it would get if it were written now.
fn is_indexed(engine: &Engine, segment: &Segment) -> bool {
    let rows_min = engine.context.settings.index_rows_min.max(1);
    engine.schema.columns().iter().enumerate().all(|(index, column)| {
        let is_small = usize_of(segment.vector_count(index)) < rows_min;
        is_small || segment.meta().centroids.contains_key(&column.id)
    })
}

/// Commits the outputs of a merge in place of its inputs, on top of the newest manifest. Rows that have died since the
/// merge began are dead in the outputs. `false`: another process took the number of the manifest.
async fn commit_merge(
    engine: &Arc<Engine>,
    inputs: &[Part],
    merged: &MergedSegments,
    newest: &BaseState,
) -> Result<bool> {
    let env = &engine.context.env;
    let mut dead: BTreeMap<ObjectId, RoaringBitmap> = BTreeMap::new();
    for (index, input) in inputs.iter().enumerate() {
        let now = newest.view.segments.iter().find(|part| part.id == input.id);
        let now = now.ok_or_else(|| Error::internal("an input of a merge has left the manifest"))?;
        for row in &(now.deletes.as_ref() - input.deletes.as_ref()) {
            let (segment, row) = merged.find_row(index, row)?;
            dead.entry(segment).or_default().insert(row);
        }
    }
    let mut next = newest.manifest.successor(env.uuid(), env.wall_ms());
    // Segments that were flushed meanwhile stay. They are newer than the inputs, but the order of segments does not
    // matter: each manifest names the dead rows of every segment.
    next.segments.retain(|meta| inputs.iter().all(|input| input.id != PartId::Segment(meta.id)));
    next.add_segments(merged.outputs.iter().map(|output| output.meta.clone()));
    // Centroids that were trained anew replace older ones even if those were trained on more rows: they fit the rows
    // that are there now.
    let sets = merged.outputs.iter().flat_map(|output| &output.meta.centroids);
    next.centroids.extend(sets.map(|(column, set)| (*column, *set)));
    next.segments = write_dead_rows(engine, next.number, next.segments, &dead).await?;
    engine.commit_manifest(next).await
}
