//! Compaction: many segments become few, without their dead rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::damaged::DamagedSegments;
use super::merge::{MergePlan, MergedSegments};
use super::policy::{MergePolicy, SegmentFacts};
use super::{CommitAttempts, STARTS_MAX, write_dead_rows};
use crate::codec::{all_rows, subtract_rows, u64_of, usize_of};
use crate::engine::{BaseState, Engine};
use crate::error::{Error, ErrorKind, Result};
use crate::index::vector::VectorIndex;
use crate::memtable::{PartId, PartSource};
use crate::schema::ColumnKind;
use crate::segment::{Segment, SegmentMeta, is_outgrown};
use crate::types::ObjectId;
use crate::view::Part;

/// All segments are merged by themselves, for more clusters, if they are at most as much as this many of the largest. A
/// larger namespace is left to whoever calls for it: that takes longer than other merges should wait.
const WHOLE_SEGMENTS_MAX: u64 = 8;

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

impl CompactReport {
    pub(super) fn add(&mut self, other: Self) {
        self.merged += other.merged;
        self.written += other.written;
        self.rows += other.rows;
    }
}

impl fmt::Display for CompactReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "merged {} segments into {} of {} rows", self.merged, self.written, self.rows)
    }
}

/// How much a compaction does, in the order of how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CompactionGoal {
    /// Nothing.
    #[default]
    None,
    /// One merge of segments that are not indexed, if there are any.
    Index,
    /// One merge that the policy says is due, if any is.
    Due,
    /// As few segments as possible, without dead rows.
    Whole,
}

/// How a compaction ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum CompactionOutcome {
    /// There was nothing to do.
    Nothing,
    /// Another process was quicker.
    Lost,
    Merged(CompactReport),
}

/// Merges segments of the newest manifest.
pub(super) async fn compact(
    engine: &Arc<Engine>,
    goal: CompactionGoal,
    damaged: &DamagedSegments,
) -> Result<CompactionOutcome> {
    for _ in 0..STARTS_MAX {
        engine.refresh_for_commit().await?;
        let base = engine.base_state()?;
        let Some(plan) = plan_merge(engine, &base, goal, damaged)? else {
            return Ok(CompactionOutcome::Nothing);
        };
        let merged = match MergedSegments::merge(engine, &plan).await {
            // Another process merged a segment that is being read, and collection took it; or it is lost.
            Err(e) if e.is_missing() => {
                engine.explain_missing_file(base.manifest.number, &e).await.map(|()| None)
            }
            merged => merged.map(Some),
        };
        if merged.as_ref().is_err_and(|e| e.is(ErrorKind::Corrupt)) {
            damaged.add(&plan);
        }
        let Some(merged) = merged? else { continue };
        match commit_outputs(engine, &plan, &merged).await {
            Err(e) if e.is_missing() => engine.explain_missing_file(base.manifest.number, &e).await?,
            outcome => return outcome,
        }
    }
    Err(engine.overtaken_error())
}

/// Commits the outputs of a merge, however often other processes are quicker, as long as they leave enough of it.
async fn commit_outputs(
    engine: &Arc<Engine>,
    plan: &MergePlan<'_>,
    merged: &MergedSegments,
) -> Result<CompactionOutcome> {
    let mut attempts = CommitAttempts::new(engine);
    loop {
        engine.refresh_for_commit().await?;
        let newest = engine.base_state()?;
        // Or it took so long that collection may have taken the outputs.
        if !is_worth_committing(plan, &newest) || !engine.allows_build(&plan.base.manifest, &newest.manifest)
        {
            return Ok(CompactionOutcome::Lost);
        }
        if let Some(report) = commit_merge(engine, plan, merged, &newest).await? {
            return Ok(CompactionOutcome::Merged(report));
        }
        attempts.record_loss().await?;
    }
}

/// Whether a compaction for a goal has something to do.
pub(super) fn is_compaction_due(
    engine: &Engine,
    goal: CompactionGoal,
    damaged: &DamagedSegments,
) -> Result<bool> {
    Ok(plan_merge(engine, &engine.base_state()?, goal, damaged)?.is_some())
}

/// The segments that lack the vector index that a merge would give them.
pub(super) fn unindexed_segments(engine: &Engine, damaged: &DamagedSegments) -> Result<BTreeSet<PartId>> {
    let base = engine.base_state()?;
    let (sound, facts) = sound_segments(engine, &base, damaged)?;
    let unindexed = sound.iter().zip(facts).filter(|(_, facts)| facts.lacks_index);
    Ok(unindexed.map(|(part, _)| part.id).collect())
}

/// The rows of the segments that lack the vector index that a merge would give them.
pub(super) fn unindexed_rows(engine: &Engine, base: &BaseState) -> Result<u64> {
    let facts = base.view.segments.iter().map(|part| segment_facts(engine, part));
    let rows = facts.map(|facts| facts.map(|facts| if facts.lacks_index { facts.rows } else { 0 }));
    rows.sum()
}

/// The merge that serves a goal; `None` if it is reached.
fn plan_merge<'a>(
    engine: &Engine,
    base: &'a BaseState,
    goal: CompactionGoal,
    damaged: &DamagedSegments,
) -> Result<Option<MergePlan<'a>>> {
    let segments = &base.view.segments;
    if goal == CompactionGoal::Whole {
        let plan = || MergePlan { base, inputs: segments.to_vec(), is_whole: true };
        return Ok((!is_compact(engine, segments)?).then(plan));
    }
    let (sound, facts) = sound_segments(engine, base, damaged)?;
    let chosen = match goal {
        CompactionGoal::None | CompactionGoal::Whole => Vec::new(),
        CompactionGoal::Index => policy_of(engine).choose_unindexed(&facts),
        CompactionGoal::Due => policy_of(engine).choose_merge(&facts),
    };
    let inputs = chosen.iter().filter_map(|position| sound.get(*position));
    let inputs: Vec<Part> = inputs.map(|part| (*part).clone()).collect();
    let may_be_whole = goal == CompactionGoal::Due && sound.len() == segments.len();
    if inputs.is_empty()
        && may_be_whole
        && !damaged.bars_whole_merges()
        && is_whole_merge_due(engine, segments, &facts)?
    {
        return Ok(Some(MergePlan { base, inputs: segments.to_vec(), is_whole: true }));
    }
    Ok((!inputs.is_empty()).then_some(MergePlan { base, inputs, is_whole: false }))
}

/// Whether all segments, of which these are the facts, are merged by themselves, for more clusters. In sum, a third of the
/// rows is written once more.
fn is_whole_merge_due(engine: &Engine, segments: &[Part], facts: &[SegmentFacts]) -> Result<bool> {
    let bytes = facts.iter().map(|facts| facts.bytes).fold(0, u64::saturating_add);
    // It holds up the other merges of the database, and one that fails has done nothing.
    if bytes > WHOLE_SEGMENTS_MAX * engine.context.settings.segment_bytes_max() {
        return Ok(false);
    }
    let rows: u64 = segments.iter().map(live_rows).sum();
    // A column that few rows have is no reason to write all rows.
    Ok(outgrown_columns(engine, segments)?.iter().any(|vectors| *vectors >= rows / 2))
}

fn policy_of(engine: &Engine) -> MergePolicy {
    MergePolicy { segment_bytes_max: engine.context.settings.segment_bytes_max() }
}

/// Whether at least half of the rows that were merged are still in the segments they came from. The others are in what
/// another process made of them, and dead in ours.
fn is_worth_committing(plan: &MergePlan<'_>, newest: &BaseState) -> bool {
    let left = || plan.inputs.iter().filter(|input| is_there(newest, input));
    let (rows, rows_left) =
        (plan.inputs.iter().map(live_rows).sum::<u64>(), left().map(live_rows).sum::<u64>());
    2 * rows_left >= rows && left().next().is_some()
}

fn live_rows(part: &Part) -> u64 {
    u64::from(part.source.rows()).saturating_sub(part.deletes.len())
}

/// The segments that the policy may choose, and what it knows of each.
fn sound_segments<'a>(
    engine: &Engine,
    base: &'a BaseState,
    damaged: &DamagedSegments,
) -> Result<(Vec<&'a Part>, Vec<SegmentFacts>)> {
    let sound: Vec<&Part> = base.view.segments.iter().filter(|part| !damaged.contains(part.id)).collect();
    let facts = sound.iter().map(|part| segment_facts(engine, part)).collect::<Result<_>>()?;
    Ok((sound, facts))
}

fn segment_facts(engine: &Engine, part: &Part) -> Result<SegmentFacts> {
    let segment = segment_of(part)?;
    Ok(SegmentFacts {
        bytes: segment.uncompressed_bytes(),
        rows: segment.meta().rows.into(),
        dead_rows: part.deletes.len(),
        lacks_index: !is_indexed(engine, segment),
    })
}

fn segment_of(part: &Part) -> Result<&Arc<Segment>> {
    match &part.source {
        PartSource::Segment(segment) => Ok(segment),
        PartSource::Memory(_) => Err(Error::internal("a manifest names rows in memory")),
    }
}

/// Whether a merge would give the same segments again: no row is dead, indexes are there, no two segments have a cluster or
/// a range of ids in common, and no two neighbours fit into one segment.
fn is_compact(engine: &Engine, inputs: &[Part]) -> Result<bool> {
    let segments = inputs.iter().map(segment_of).collect::<Result<Vec<_>>>()?;
    let fit = segments.iter().all(|segment| segment.meta().unfit.is_empty());
    let are_clean = inputs.iter().all(|part| part.deletes.is_empty());
    let are_indexed = segments.iter().all(|segment| is_indexed(engine, segment));
    let have_clusters = outgrown_columns(engine, inputs)?.is_empty();
    Ok(are_clean && are_indexed && fit && have_clusters && are_apart(engine, segments))
}

/// Whether segments are as few as their rows allow, each with clusters, or else ids, that no other has.
fn are_apart(engine: &Engine, mut segments: Vec<&Arc<Segment>>) -> bool {
    let bytes_max = engine.context.settings.segment_bytes_max();
    let column =
        engine.schema.columns().iter().position(|column| matches!(column.kind, ColumnKind::Vector(_)));
    let indexes = segments.iter().filter_map(|segment| segment.vector_index(column?));
    let indexes: Vec<&VectorIndex> = indexes.collect();
    let share_set = indexes.iter().zip(indexes.iter().skip(1)).all(|(a, b)| Arc::ptr_eq(a.set(), b.set()));
    let mut bounds: Vec<_> = indexes.iter().filter_map(|index| index.cluster_bounds()).collect();
    if bounds.is_empty() {
        segments.sort_unstable_by(|a, b| a.meta().id_min.cmp(&b.meta().id_min));
        return segments.iter().zip(segments.iter().skip(1)).all(|(a, b)| {
            let bytes = a.uncompressed_bytes().saturating_add(b.uncompressed_bytes());
            // Half the size suffices: sizes are estimates, and outputs vary by a round of pages. A merge of everything is
            // not worth half a segment, and a caller in a loop must come to an end.
            a.meta().id_max < b.meta().id_min && bytes > bytes_max / 2
        });
    }
    bounds.sort_unstable();
    let bytes = segments.iter().map(|segment| segment.uncompressed_bytes());
    let fewest = bytes.fold(0, u64::saturating_add).div_ceil(bytes_max);
    // A cluster that is too large for one segment is in two that follow each other.
    let are_in_order = bounds.iter().zip(bounds.iter().skip(1)).all(|(a, b)| a.1 <= b.0);
    u64_of(segments.len()) <= fewest.max(1) && share_set && are_in_order
}

/// The columns whose sets have fewer clusters than their vectors call for: how many live rows of each have a vector.
fn outgrown_columns(engine: &Engine, parts: &[Part]) -> Result<Vec<u64>> {
    let mut outgrown = Vec::new();
    for (index, column) in engine.schema.columns().iter().enumerate() {
        let mut trained: Option<u64> = None;
        for part in parts {
            trained = trained.max(segment_of(part)?.meta().centroids.get(&column.id).map(|set| set.trained));
        }
        let Some(trained) = trained else { continue };
        let count = count_vectors(parts, index)?;
        if is_outgrown(trained, count) {
            outgrown.push(count);
        }
    }
    Ok(outgrown)
}

/// How many live rows have a vector in a column; 0 if it is no vector column.
fn count_vectors(parts: &[Part], column: usize) -> Result<u64> {
    let mut count = 0;
    for part in parts {
        let segment = segment_of(part)?;
        if segment.vector_count(column) > 0 {
            let dead = subtract_rows(&part.deletes, segment.rows_without_vector(column)?);
            count += u64::from(segment.vector_count(column)).saturating_sub(dead.len());
        }
    }
    Ok(count)
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
/// merge began are dead in the outputs. `None`: another process took the number of the manifest.
async fn commit_merge(
    engine: &Arc<Engine>,
    plan: &MergePlan<'_>,
    merged: &MergedSegments,
    newest: &BaseState,
) -> Result<Option<CompactReport>> {
    let (env, inputs) = (&engine.context.env, &plan.inputs);
    let mut dead: BTreeMap<ObjectId, RoaringBitmap> = BTreeMap::new();
    for (index, input) in inputs.iter().enumerate() {
        // Of a segment that is no longer there, another process has merged the rows, or all of them have died.
        let now = newest.view.segments.iter().find(|part| part.id == input.id);
        let died = now.map_or_else(|| all_rows(input.source.rows()), |part| part.deletes.as_ref().clone());
        for row in &(died - input.deletes.as_ref()) {
            let (segment, row) = merged.find_row(index, row)?;
            dead.entry(segment).or_default().insert(row);
        }
    }
    let mut next = newest.manifest.successor(env.uuid(), env.wall_ms());
    // Segments that were flushed meanwhile stay. They are newer than the inputs, but the order of segments does not
    // matter: each manifest names the dead rows of every segment.
    next.segments.retain(|meta| inputs.iter().all(|input| input.id != PartId::Segment(meta.id)));
    next.segments.extend(merged.outputs.iter().map(|output| output.meta.clone()));
    if plan.is_whole {
        // Even if those before were trained on more rows: these fit the rows that are there now.
        next.centroids.extend(merged.new_centroids.iter().map(|(column, set)| (*column, *set)));
    } else {
        next.offer_centroids(&merged.new_centroids);
    }
    next.segments = write_dead_rows(engine, next.number, next.segments, &dead).await?;
    let is_output = |meta: &&SegmentMeta| merged.outputs.iter().any(|output| output.meta.id == meta.id);
    let outputs = || next.segments.iter().filter(is_output);
    let report = CompactReport {
        merged: inputs.iter().filter(|input| is_there(newest, input)).count(),
        written: outputs().count(),
        rows: outputs().map(|meta| u64::from(meta.rows)).sum(),
    };
    Ok(engine.commit_manifest(next).await?.then_some(report))
}

/// Whether a segment is one of a state.
fn is_there(state: &BaseState, part: &Part) -> bool {
    state.view.segments.iter().any(|known| known.id == part.id)
}
