//! A part of a snapshot: a segment or a layer of the tail behind one small surface.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringBitmap;

use crate::env::{Cost, Env};
use crate::error::{OrInternal, Result};
use crate::filter::{BoundFilter, IndexPlan, SegmentIndexes, ZoneMapFilter};
use crate::index::Candidates;
use crate::memtable::{PartId, PartSource};
use crate::schema::Schema;
use crate::segment::Segment;
use crate::types::DocumentId;

/// Windows of a segment that are fetched at a time.
const PARALLEL: usize = 4;

/// Rows with some of them dead already, whatever newer layers hide.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) id: PartId,
    pub(crate) source: PartSource,
    pub(crate) deletes: Arc<RoaringBitmap>,
}

impl Part {
    /// Rows that lie in the tail.
    pub(crate) fn tail_rows(&self) -> u64 {
        if matches!(self.source, PartSource::Memory(_)) { self.source.rows().into() } else { 0 }
    }

    /// Whether statistics tell that a filter matches no row. Of layers in memory there are none.
    pub(crate) fn is_pruned(&self, rules: &ZoneMapFilter<'_>) -> bool {
        matches!(&self.source, PartSource::Segment(segment) if rules.can_prune(segment.meta()))
    }

    /// The rows of `among` that a filter matches. Nothing is read for none.
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

    /// The candidates of a filter by the indexes, if finding them reads at most `bytes_max` bytes.
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
        let indexes = SegmentIndexes {
            attributes: segment.attribute_index().map(Arc::clone),
            text: segment.text_index().map(Arc::clone),
            rows: segment.meta().rows,
        };
        let plan = IndexPlan::new(bound, &indexes);
        if plan.is_unknown() || plan.bytes() > bytes_max {
            return Ok(None);
        }
        tracing::trace!(segment = ?segment, %plan, "filter");
        plan.run(env, &indexes).await.map(Some)
    }

    /// The rows of `among` that a filter matches, by its candidates, and else by their values.
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
                let all: RoaringBitmap = (0..self.source.rows()).collect();
                return Ok(evaluate(env, bound, run.rows().clone(), all).await? & among);
            }
            PartSource::Segment(segment) => segment,
        };
        let Some(Candidates { definite, possible }) = candidates else {
            return Self::scan(env, schema, bound, segment, among).await;
        };
        // An answer that is whole is the common one.
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
        Ok((definite & among) | Self::scan(env, schema, bound, segment, &in_doubt).await?)
    }

    /// The rows of `among` that a filter matches, by their values.
    async fn scan(
        env: &Env,
        schema: &Schema,
        bound: &Arc<BoundFilter>,
        segment: &Segment,
        among: &RoaringBitmap,
    ) -> Result<RoaringBitmap> {
        let columns = places(schema, bound.columns());
        let windows = windows(segment, &columns, among);
        let columns = &columns;
        let one = |picked: RoaringBitmap| async move {
            let batch = segment.fetch_rows(columns, &picked).await?;
            evaluate(env, bound, batch, picked).await
        };
        stream::iter(windows)
            .map(one)
            .buffered(PARALLEL)
            .try_fold(RoaringBitmap::new(), |all, some| async move { Ok(all | some) })
            .await
    }

    /// Some rows in ascending order, cut so that each piece is worth one fetch of these columns.
    pub(crate) fn split_into_windows(&self, columns: &[usize], rows: &RoaringBitmap) -> Vec<RoaringBitmap> {
        match &self.source {
            PartSource::Segment(segment) => windows(segment, columns, rows),
            PartSource::Memory(_) => vec![rows.clone()],
        }
    }

    /// What a row takes in these columns, in bytes, about.
    pub(crate) fn row_bytes(&self, columns: &[usize], row: u32) -> u64 {
        match &self.source {
            PartSource::Segment(segment) => segment.row_bytes(columns, row),
            PartSource::Memory(run) => (run.bytes() / run.len().max(1)) as u64,
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
                let picked: BooleanBuffer = rows_to_mask(0..self.source.rows(), rows);
                let places: Vec<usize> =
                    std::iter::once(0).chain(columns.iter().map(|column| column + 1)).collect();
                debug_assert_eq!(
                    run.rows().num_columns(),
                    schema.columns().len() + 1,
                    "a run has all columns"
                );
                Ok(filter_record_batch(&run.rows().project(&places).or_internal()?, &picked.into())
                    .or_internal()?)
            }
        }
    }

    /// Up to `limit` ids above `after` in ascending order, with their rows; dead ones included.
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
                Ok((start..end).filter_map(|row| Some((ids.get(row), u32::try_from(row).ok()?))).collect())
            }
        }
    }
}

fn windows(segment: &Segment, columns: &[usize], rows: &RoaringBitmap) -> Vec<RoaringBitmap> {
    let (mut windows, mut from) = (Vec::new(), 0);
    while from < segment.meta().rows {
        let window = segment.scan_window(columns, from);
        from = window.end.max(from + 1);
        let picked = rows_in_range(rows, window);
        if !picked.is_empty() {
            windows.push(picked);
        }
    }
    windows
}

/// Evaluates a filter on the batch of these rows: which of them match.
async fn evaluate(
    env: &Env,
    bound: &Arc<BoundFilter>,
    batch: RecordBatch,
    rows: RoaringBitmap,
) -> Result<RoaringBitmap> {
    let bound = Arc::clone(bound);
    let cost = Cost::filtered_rows(batch.num_rows());
    let work = move || {
        let matches = bound.evaluate(&batch, None)?;
        let picked = rows.iter().zip(matches.values().iter()).filter(|(_, matches)| *matches);
        Ok(picked.map(|(row, _)| row).collect())
    };
    env.compute(cost, work).await?
}

/// The places of columns in the schema; the id has none.
fn places<'a>(schema: &Schema, names: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let mut places: Vec<usize> =
        names.filter_map(|name| schema.columns().iter().position(|c| c.name == name)).collect();
    places.sort_unstable();
    places
}

/// The rows of a range that are in a bitmap, as bits from the start of the range.
pub(crate) fn rows_to_mask(range: Range<u32>, rows: &RoaringBitmap) -> BooleanBuffer {
    let len = range.len();
    let mut builder = arrow::array::BooleanBufferBuilder::new(len);
    builder.append_n(len, false);
    for row in rows.range(range.clone()) {
        builder.set_bit((row - range.start) as usize, true);
    }
    builder.finish()
}

/// The rows of a bitmap that lie in a range.
pub(crate) fn rows_in_range(rows: &RoaringBitmap, range: Range<u32>) -> RoaringBitmap {
    rows.range(range).collect()
}
