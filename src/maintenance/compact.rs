//! Compaction: many segments become few, without their dead rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use futures::future::try_join_all;
use roaring::RoaringBitmap;

use super::indexing::IndexingJob;
use super::{Attempts, BATCH_ROWS, STARTS, with_deletes};
use crate::engine::{BaseState, Engine};
use crate::error::{OrInternal, Result};
use crate::memtable::{PartId, PartSource, batch_bytes};
use crate::schema::Column;
use crate::segment::{RowOrder, Segment, SegmentBuilder, SegmentMeta};
use crate::types::{DocumentId, SegmentId, Sequence};
use crate::view::Part;

/// Above this a segment is closed and the next begun: it is built in memory.
const SEGMENT_BYTES_MAX: usize = 512 << 20;
/// How much of all segments together is read at a time. Where rows do not lie in the order of their ids each
/// page of ids is spread over the whole segment, so the fewer pages, the better.
const PAGES_BYTES: u64 = 512 << 20;
const PAGE_BYTES_ORDERED: u64 = 8 << 20;

/// What a compaction did.
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

/// Merges all segments of the newest manifest, and indexes what is not.
pub(super) async fn compact(engine: &Arc<Engine>) -> Result<CompactReport> {
    for _ in 0..STARTS {
        engine.refresh_newest_manifest().await?;
        let start = engine.base_state()?;
        match compact_once(engine, &start).await {
            Err(e) if e.is_missing() => engine.explain_missing_file(start.manifest.number, &e).await?,
            outcome => return outcome,
        }
    }
    Err(engine.overtaken_error())
}

async fn compact_once(engine: &Arc<Engine>, start: &BaseState) -> Result<CompactReport> {
    let inputs = &start.view.segments;
    if is_compact(engine, inputs) {
        return Ok(CompactReport::default());
    }
    let merge = Merge::run(engine, start).await?;
    let mut attempts = Attempts::new(engine);
    loop {
        engine.refresh_newest_manifest().await?;
        let newest = engine.base_state()?;
        let there = |part: &Part| newest.view.segments.iter().any(|now| now.id == part.id);
        if !inputs.iter().all(there) {
            // Another merged some of these: what it did stands, and ours is garbage.
            return Ok(CompactReport::default());
        }
        if merge.commit(engine, inputs, &newest).await? {
            let rows = merge.outputs.iter().map(|output| u64::from(output.meta.rows)).sum();
            return Ok(CompactReport { merged: inputs.len(), written: merge.outputs.len(), rows });
        }
        attempts.lost().await?;
    }
}

/// Whether merging these would give the same again: nothing is dead, indexes are there, and what could be one segment is.
fn is_compact(engine: &Engine, inputs: &[Part]) -> bool {
    let clean = |part: &Part| part.deletes.is_empty() && is_indexed(engine, part);
    let segment =
        |part: &Part| if let PartSource::Segment(s) = &part.source { Some(Arc::clone(s)) } else { None };
    let Some(mut segments) = inputs.iter().map(segment).collect::<Option<Vec<_>>>() else { return false };
    segments.sort_unstable_by(|a, b| a.meta().id_min.cmp(&b.meta().id_min));
    let apart = segments.windows(2).all(|pair| match pair {
        [a, b] => {
            let both = a.uncompressed_bytes().saturating_add(b.uncompressed_bytes());
            // Both are estimates: half a segment is worth no merge of all.
            a.meta().id_max < b.meta().id_min && both > SEGMENT_BYTES_MAX as u64 / 2
        }
        _ => true,
    });
    // Of several, clusters made anew would fit the first of them only.
    let fits = segments.len() > 1 || segments.iter().all(|segment| segment.meta().unfit.is_empty());
    inputs.iter().all(clean) && apart && fits
}

/// Whether a segment has the indexes that it would get if it were written now.
fn is_indexed(engine: &Engine, part: &Part) -> bool {
    let PartSource::Segment(segment) = &part.source else { return false };
    let rows_min = engine.context.settings.index_rows_min.max(1);
    let columns = engine.schema.columns().iter().enumerate();
    let lacks = |(at, column): (usize, &Column)| {
        segment.vector_count(at) as usize >= rows_min && !segment.meta().centroids.contains_key(&column.name)
    };
    !columns.into_iter().any(lacks)
}

/// Segments merged and uploaded, and where each old row went.
struct Merge {
    outputs: Vec<Output>,
    /// For each input, for each of its rows, the place among the rows of all outputs.
    moved: Vec<Vec<Option<u64>>>,
}

struct Output {
    meta: SegmentMeta,
    /// The place of its first row among the rows of all outputs.
    start: u64,
    /// The row of each of its places.
    rows: Vec<u32>,
}

impl Merge {
    async fn run(engine: &Arc<Engine>, start: &BaseState) -> Result<Self> {
        let parts = &start.view.segments;
        let share = PAGES_BYTES / (parts.len() as u64).max(1);
        let mut inputs: Vec<Input> = parts.iter().filter_map(|part| Input::new(part, share)).collect();
        let mut merge = Self {
            outputs: Vec::new(),
            moved: inputs.iter().map(|input| vec![None; input.segment.meta().rows as usize]).collect(),
        };
        let columns = start.view.all_columns();
        let mut job = IndexingJob::new(engine, &start.manifest).await?.renewing_sets();
        let (mut builder, mut bytes, mut place) = (None, 0, 0);
        loop {
            try_join_all(inputs.iter_mut().map(|input| input.fill(&columns))).await?;
            // Up to the least of the ends, the order of all inputs is known.
            let known = inputs.iter().filter(|i| !i.finished).filter_map(|i| i.after.clone()).min();
            let picks = take_through(&mut inputs, known.as_ref());
            if picks.is_empty() && inputs.iter().all(Input::is_done) {
                break;
            }
            for picks in picks.chunks(BATCH_ROWS) {
                let batch = merge.gather(&inputs, picks, &mut place)?;
                bytes += batch_bytes(&batch);
                let open = match builder.take() {
                    Some(open) => open,
                    None => SegmentBuilder::new(
                        Arc::clone(&engine.schema),
                        new_id(engine, start),
                        sequences(start),
                    ),
                };
                builder.insert(open).push(batch)?;
            }
            if bytes > SEGMENT_BYTES_MAX {
                bytes = 0;
                merge.close(&mut job, &mut builder, place).await?;
            }
        }
        merge.close(&mut job, &mut builder, place).await?;
        Ok(merge)
    }

    /// The picked rows as one batch, and a note of where each went.
    fn gather(&mut self, inputs: &[Input], picks: &[Pick], place: &mut u64) -> Result<RecordBatch> {
        for pick in picks {
            if let Some(slot) =
                self.moved.get_mut(pick.input).and_then(|rows| rows.get_mut(pick.row as usize))
            {
                *slot = Some(*place);
            }
            *place += 1;
        }
        let batches: Vec<&RecordBatch> = inputs.iter().map(|input| &input.batch).collect();
        let indices: Vec<(usize, usize)> = picks.iter().map(|pick| (pick.input, pick.at)).collect();
        interleave_record_batch(&batches, &indices).or_internal()
    }

    /// Finishes and uploads the open segment, whose rows end at `place`.
    async fn close(
        &mut self,
        job: &mut IndexingJob,
        builder: &mut Option<SegmentBuilder>,
        place: u64,
    ) -> Result<()> {
        let open = builder.take();
        let Some(written) = job.write_segment(move || Ok(open)).await? else { return Ok(()) };
        let start = place - u64::from(written.meta.rows);
        self.outputs.push(Output { meta: written.meta, start, rows: written.row_order });
        Ok(())
    }

    /// Commits the outputs in place of the inputs. Rows that died meanwhile are dead where they went.
    async fn commit(&self, engine: &Arc<Engine>, inputs: &[Part], newest: &BaseState) -> Result<bool> {
        let env = &engine.context.env;
        let mut dead: BTreeMap<SegmentId, RoaringBitmap> = BTreeMap::new();
        for (input, moved) in inputs.iter().zip(&self.moved) {
            let now = newest.view.segments.iter().find(|part| part.id == input.id);
            let now =
                now.map_or_else(RoaringBitmap::new, |part| part.deletes.as_ref() - input.deletes.as_ref());
            for place in now.iter().filter_map(|row| moved.get(row as usize).copied().flatten()) {
                let after = self.outputs.partition_point(|output| output.start <= place);
                if let Some(output) = after.checked_sub(1).and_then(|at| self.outputs.get(at))
                    && let Ok(within) = usize::try_from(place - output.start)
                    && let Some(row) = output.rows.get(within)
                {
                    dead.entry(output.meta.id).or_default().insert(*row);
                }
            }
        }
        let mut next = newest.manifest.successor(env.uuid(), env.wall_ms());
        next.segments.retain(|meta| inputs.iter().all(|input| input.id != PartId::Segment(meta.id)));
        next.add_segments(self.outputs.iter().map(|output| output.meta.clone()));
        // Clusters made anew are of what is there now, even if of fewer rows than those before.
        let sets = self.outputs.iter().flat_map(|output| &output.meta.centroids);
        next.centroids.extend(sets.map(|(column, set)| (column.clone(), *set)));
        next.segments = with_deletes(engine, next.number, next.segments, &dead).await?;
        engine.commit_manifest(next).await
    }
}

fn new_id(engine: &Engine, start: &BaseState) -> SegmentId {
    SegmentId { birth: start.manifest.number, uuid: engine.context.env.uuid() }
}

fn sequences(start: &BaseState) -> (Sequence, Sequence) {
    let all = start.manifest.segments.iter().map(|meta| meta.sequences);
    all.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or_default()
}

/// A segment that is merged, read in order of its ids, some at a time.
struct Input {
    segment: Arc<Segment>,
    dead: Arc<RoaringBitmap>,
    page: usize,
    /// The last id that was looked at.
    after: Option<DocumentId>,
    finished: bool,
    /// Live rows in order of ids: id and row; `at` of them are taken. `batch` has them in row order.
    ready: Vec<(DocumentId, u32)>,
    at: usize,
    rows: RoaringBitmap,
    batch: RecordBatch,
}

/// A row in the order of the output.
struct Pick {
    id: DocumentId,
    input: usize,
    row: u32,
    /// Its place in the batch of its input.
    at: usize,
}

impl Input {
    fn new(part: &Part, bytes: u64) -> Option<Self> {
        let PartSource::Segment(segment) = &part.source else { return None };
        let meta = segment.meta();
        let (bytes, most) = match meta.order {
            RowOrder::Id => (bytes.min(PAGE_BYTES_ORDERED), BATCH_ROWS),
            RowOrder::Cluster => (bytes, usize::MAX),
        };
        let page = bytes / (meta.total_bytes() / u64::from(meta.rows.max(1))).max(1);
        Some(Self {
            segment: Arc::clone(segment),
            dead: Arc::clone(&part.deletes),
            page: usize::try_from(page).unwrap_or(BATCH_ROWS).clamp(1, most),
            after: None,
            finished: false,
            ready: Vec::new(),
            at: 0,
            rows: RoaringBitmap::new(),
            batch: RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty())),
        })
    }

    fn is_done(&self) -> bool {
        self.finished && self.at == self.ready.len()
    }

    async fn fill(&mut self, columns: &[usize]) -> Result<()> {
        let mut turned = self.batch.num_columns() == 0;
        while self.at == self.ready.len() && !self.finished {
            let ids = self.segment.next_ids(self.after.as_ref(), self.page).await?;
            self.finished = ids.len() < self.page;
            if let Some((last, _)) = ids.last() {
                self.after = Some(last.clone());
            }
            self.ready = ids.into_iter().filter(|(_, row)| !self.dead.contains(*row)).collect();
            self.at = 0;
            turned = true;
        }
        if turned {
            self.rows = self.ready.iter().map(|(_, row)| *row).collect();
            self.batch = self.segment.fetch_rows(columns, &self.rows).await?;
        }
        Ok(())
    }
}

/// Takes the ready rows of all inputs up to `known`, in order of ids; all if it is `None`.
fn take_through(inputs: &mut [Input], known: Option<&DocumentId>) -> Vec<Pick> {
    let mut picks = Vec::new();
    for (input, source) in inputs.iter_mut().enumerate() {
        let rest = source.ready.get(source.at..).unwrap_or_default();
        let taken = rest.iter().take_while(|(id, _)| known.is_none_or(|known| id <= known));
        let before = picks.len();
        picks.extend(taken.map(|(id, row)| {
            let at = usize::try_from(source.rows.rank(*row)).unwrap_or(usize::MAX).saturating_sub(1);
            Pick { id: id.clone(), input, row: *row, at }
        }));
        source.at += picks.len() - before;
    }
    picks.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    picks
}
