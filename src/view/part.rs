//! A part of a view: a segment or a layer of the tail, with one interface.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{BooleanBufferBuilder, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringBitmap;

use crate::codec::{to_u32, u64_of, usize_of, zip_equal};
use crate::env::{Cost, Env};
use crate::error::{Error, OrInternal, Result};
use crate::filter::{BoundFilter, IndexPlan, SegmentIndexes, ZoneMapFilter};
use crate::index::Candidates;
use crate::memtable::{PartId, PartSource};
use crate::schema::{ID_COLUMN, Schema};
use crate::segment::Segment;
use crate::types::DocumentId;

/// Windows of a segment that are fetched at a time: one is evaluated while the next are under way.
const PARALLEL: usize = 4;

/// Rows with their delete bitmap. Newer layers may hide further rows.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) id: PartId,
    pub(crate) source: PartSource,
    pub(crate) deletes: Arc<RoaringBitmap>,
}

impl Part {
    /// The rows that count as rows of the tail in statistics.
    pub(crate) fn tail_rows(&self) -> u64 {
        if matches!(self.source, PartSource::Memory(_)) { self.source.rows().into() } else { 0 }
    }

    /// Whether statistics prove that a filter matches no row. Layers in memory have no statistics.
    pub(crate) fn is_pruned(&self, zone_maps: &ZoneMapFilter) -> bool {
        matches!(&self.source, PartSource::Segment(segment) if zone_maps.can_prune(segment.meta()))
    }

    /// The rows of `among` that a filter matches. Nothing is read if `among` is empty.
    pub(crate) async fn find_matching_rows(
        &self,
        env: &Env,
        schema: &Schema,
        bound: &Arc<BoundFilter>,
        among: &RoaringBitmap,
    ) -> Result<RoaringBitmap> {
        if among.is_empty() {
            return Ok(RoaringBitmap::new());
        }
        let candidates = self.find_candidates(env, bound, u64::MAX).await?;
        self.verify_candidates(env, schema, bound, candidates.as_ref(), among).await
    }

    /// The candidates of a filter by the indexes. `None` if they have no answer, or would read more than `bytes_max`
    /// bytes for it.
    pub(crate) async fn find_candidates(
        &self,
        env: &Env,
        bound: &BoundFilter,
        bytes_max: u64,
    ) -> Result<Option<Candidates>> {
        let PartSource::Segment(segment) = &self.source else { return Ok(None) };
        if bound.constant().is_some() {
            return Ok(None);
        }
        let indexes = SegmentIndexes::new(segment);
        // Planning reads nothing: heads of indexes are in memory since the segment was opened.
        let plan = IndexPlan::new(bound, &indexes);
        if plan.is_unknown() || plan.bytes() > bytes_max {
            return Ok(None);
        }
        tracing::trace!(segment = ?segment, %plan, "filter");
        plan.run(env, &indexes).await.map(Some)
    }

    /// The rows of `among` that a filter matches: the definite candidates, and of the possible ones those whose values
    /// match. Without candidates all rows of `among` are verified by their values.
    pub(crate) async fn verify_candidates(
        &self,
        env: &Env,
        schema: &Schema,
        bound: &Arc<BoundFilter>,
        candidates: Option<&Candidates>,
        among: &RoaringBitmap,
    ) -> Result<RoaringBitmap> {
        if let Some(constant) = bound.constant() {
            return Ok(if constant { among.clone() } else { RoaringBitmap::new() });
        }
        let segment = match &self.source {
            PartSource::Memory(run) => {
                // Selecting rows first would copy them; kernels over all rows of a layer are cheaper.
                let all: RoaringBitmap = (0..self.source.rows()).collect();
                return Ok(evaluate_batch(env, bound, run.rows().clone(), all).await? & among);
            }
            PartSource::Segment(segment) => segment,
        };
        let Some(Candidates { definite, possible }) = candidates else {
            return scan_segment(env, schema, bound, segment, among).await;
        };
        // `possible` contains `definite`, so equal sizes mean equal sets. That is the common case, and a difference of
        // two large bitmaps is not free.
        let in_doubt = if definite.len() == possible.len() {
            RoaringBitmap::new()
        } else {
            (possible - definite) & among
        };
        if in_doubt.is_empty() {
            return Ok(if among.len() == u64::from(segment.meta().rows) {
                definite.clone()
            } else {
                definite & among
            });
        }
        Ok((definite & among) | scan_segment(env, schema, bound, segment, &in_doubt).await?)
    }

    /// Rows in ascending order, split so that each window is worth one fetch of these columns.
    pub(crate) fn split_into_windows(&self, columns: &[usize], rows: &RoaringBitmap) -> Vec<RoaringBitmap> {
        match &self.source {
            PartSource::Segment(segment) => segment_windows(segment, columns, rows),
            PartSource::Memory(_) => vec![rows.clone()],
        }
    }

    /// About how many bytes a row takes in these columns.
    pub(crate) fn row_bytes(&self, columns: &[usize], row: u32) -> u64 {
        match &self.source {
            PartSource::Segment(segment) => segment.row_bytes(columns, row),
            PartSource::Memory(run) => u64_of(run.bytes() / run.len().max(1)),
        }
    }

    /// The id and these columns of some rows, in ascending order of the rows.
    pub(crate) async fn fetch_rows(
        &self,
        schema: &Schema,
        columns: &[usize],
        rows: &RoaringBitmap,
    ) -> Result<RecordBatch> {
        match &self.source {
            PartSource::Segment(segment) => segment.fetch_rows(columns, rows).await,
            PartSource::Memory(run) => {
                if run.rows().num_columns() != schema.columns().len() + 1 {
                    return Err(Error::internal("rows in memory lack columns of the schema"));
                }
                let selected: BooleanBuffer = rows_to_mask(0..self.source.rows(), rows);
                // The id is column 0 of a batch, and no column of the schema.
                let projection: Vec<usize> =
                    std::iter::once(0).chain(columns.iter().map(|column| column + 1)).collect();
                let batch = run.rows().project(&projection).or_internal()?;
                filter_record_batch(&batch, &selected.into()).or_internal()
            }
        }
    }

    /// Up to `limit` ids above `after` in ascending order, with their rows. Dead rows are included.
    pub(crate) async fn next_ids(
        &self,
        after: Option<&DocumentId>,
        limit: usize,
    ) -> Result<Vec<(DocumentId, u32)>> {
        match &self.source {
            PartSource::Segment(segment) => segment.next_ids(after, limit).await,
            PartSource::Memory(run) => {
                let ids = run.ids();
                let start = after.map_or(0, |after| match ids.search(after) {
                    Ok(row) => row + 1,
                    Err(row) => row,
                });
                let end = ids.len().min(start.saturating_add(limit));
                (start..end).map(|row| Ok((ids.get(row), to_u32(row, "a row number")?))).collect()
            }
        }
    }
}

/// The rows of `among` that a filter matches, by their values.
async fn scan_segment(
    env: &Env,
    schema: &Schema,
    bound: &Arc<BoundFilter>,
    segment: &Segment,
    among: &RoaringBitmap,
) -> Result<RoaringBitmap> {
    let columns = &find_columns(schema, bound.columns())?;
    let scan_window = |rows: RoaringBitmap| async move {
        let batch = segment.fetch_rows(columns, &rows).await?;
        evaluate_batch(env, bound, batch, rows).await
    };
    stream::iter(segment_windows(segment, columns, among))
        .map(scan_window)
        .buffered(PARALLEL)
        .try_fold(RoaringBitmap::new(), |matching, window| async move { Ok(matching | window) })
        .await
}

fn segment_windows(segment: &Segment, columns: &[usize], rows: &RoaringBitmap) -> Vec<RoaringBitmap> {
    let (mut windows, mut from) = (Vec::new(), 0);
    while from < segment.meta().rows {
        let window = segment.scan_window(columns, from);
        // Progress even if a window were empty.
        from = window.end.max(from + 1);
        let window = rows_in_range(rows, window);
        if !window.is_empty() {
            windows.push(window);
        }
    }
    windows
}

/// The rows that a filter matches; `batch` has their values.
async fn evaluate_batch(
    env: &Env,
    bound: &Arc<BoundFilter>,
    batch: RecordBatch,
    rows: RoaringBitmap,
) -> Result<RoaringBitmap> {
    let bound = Arc::clone(bound);
    let cost = Cost::filtered_rows(batch.num_rows());
    let work = move || {
        let matches = bound.evaluate(&batch, None)?;
        let answers = zip_equal(rows.iter(), matches.values().iter(), "rows and their answers")?;
        Ok(answers.filter(|(_, matches)| *matches).map(|(row, _)| row).collect())
    };
    env.compute(cost, work).await?
}

/// The indexes of columns in the schema, ascending. The id is part of every batch and is not among them.
fn find_columns<'a>(schema: &Schema, names: impl Iterator<Item = &'a str>) -> Result<Vec<usize>> {
    let find = |name| {
        let found = schema.find_column(name).map(|(index, _)| index);
        found.ok_or_else(|| Error::internal(format!("a filter on an unknown column. column=`{name}`")))
    };
    let mut columns = names.filter(|name| *name != ID_COLUMN).map(find).collect::<Result<Vec<_>>>()?;
    // Segments return columns in the order of the schema.
    columns.sort_unstable();
    Ok(columns)
}

/// The rows of a bitmap that are in a range, as one bit for each row of the range.
pub(crate) fn rows_to_mask(range: Range<u32>, rows: &RoaringBitmap) -> BooleanBuffer {
    let len = range.len();
    // A query without a filter allows all rows of most runs.
    if rows.contains_range(range.clone()) {
        return BooleanBuffer::new_set(len);
    }
    let mut builder = BooleanBufferBuilder::new(len);
    builder.append_n(len, false);
    for row in rows.range(range.clone()) {
        builder.set_bit(usize_of(row - range.start), true);
    }
    builder.finish()
}

/// The rows of a bitmap that are in a range.
fn rows_in_range(rows: &RoaringBitmap, range: Range<u32>) -> RoaringBitmap {
    rows.range(range).collect()
}
