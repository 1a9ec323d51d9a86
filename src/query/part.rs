//! A part of a snapshot: a segment or a layer of the tail behind one small surface.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringBitmap;

use super::distance::Prepared;
use super::filter::{Bound, Indexes, Plan, Rules};
use super::probe::Effort;
use super::room::Room;
use super::ties::Ranked;
use super::topk::TopK;
use crate::env::Env;
use crate::error::{Error, OrInternal, Result};
use crate::index::attributes::Candidates;
use crate::memtable::{PartId, Source};
use crate::schema::Schema;
use crate::segment::Segment;
use crate::types::{DocumentId, Metric};

/// Windows of a segment that are fetched at a time.
const PARALLEL: usize = 4;
/// Rows whose filter is evaluated where we are: fewer than this cost less than a change of threads.
const INLINE_ROWS: usize = 2_048;
/// Bytes of vectors that are scanned at a time.
const VECTOR_WINDOW_BYTES: usize = 8 << 20;
/// Vectors of so many bytes are compared where we are: a change of threads takes longer.
const INLINE_BYTES: usize = 256 << 10;
/// Below one allowed row in this many, vectors are read row by row instead of in whole windows.
pub(super) const SPARSE: u64 = 8;

/// Rows with some of them dead already, whatever newer layers hide.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) id: PartId,
    pub(crate) source: Source,
    pub(crate) deletes: Arc<RoaringBitmap>,
}

/// A nearest-neighbour search of one column.
#[derive(Clone, Debug)]
pub(super) struct Nearest {
    /// The place of the column in the schema.
    pub(super) column: usize,
    pub(super) prepared: Arc<Prepared>,
    pub(super) row_bytes: usize,
    pub(super) limit: usize,
    /// How many of these only tell whether there are more: no recall is promised of them.
    pub(super) beyond: usize,
    /// How many more rows are kept for being as near as the last: those with the least ids.
    pub(super) ties: usize,
    pub(super) metric: Metric,
    /// The query's components, and how thoroughly to search.
    pub(super) vector: Vec<f32>,
    pub(super) effort: Effort,
    /// For what is read.
    pub(super) room: Arc<Room>,
}

impl Part {
    /// Rows that lie in the tail.
    pub(super) fn tail_rows(&self) -> u64 {
        if matches!(self.source, Source::Run(_)) { self.source.rows().into() } else { 0 }
    }

    /// Whether statistics tell that a filter matches no row. Of layers in memory there are none.
    pub(super) fn is_ruled_out(&self, rules: &Rules<'_>) -> bool {
        matches!(&self.source, Source::Segment(segment) if rules.rule_out(segment.meta()))
    }

    /// The rows of `among` that a filter matches. Nothing is read for none.
    pub(super) async fn matching(
        &self,
        env: &Env,
        schema: &Schema,
        bound: &Arc<Bound>,
        among: &RoaringBitmap,
    ) -> Result<RoaringBitmap> {
        if among.is_empty() {
            return Ok(RoaringBitmap::new());
        }
        let candidates = self.candidates(env, bound, u64::MAX).await?;
        self.settle(env, schema, bound, candidates.as_ref(), among).await
    }

    /// The candidates of a filter by the indexes, if finding them reads at most `bytes_max` bytes.
    pub(super) async fn candidates(
        &self,
        env: &Env,
        bound: &Bound,
        bytes_max: u64,
    ) -> Result<Option<Candidates>> {
        let Source::Segment(segment) = &self.source else { return Ok(None) };
        if bound.constant().is_some() {
            return Ok(None);
        }
        let indexes = Indexes {
            attributes: segment.attributes().map(Arc::clone),
            text: segment.text().map(Arc::clone),
            rows: segment.meta().rows,
        };
        let plan = Plan::new(bound, &indexes);
        if plan.is_unknown() || plan.bytes() > bytes_max {
            return Ok(None);
        }
        tracing::trace!(segment = ?segment, %plan, "filter");
        plan.run(env, &indexes).await.map(Some)
    }

    /// The rows of `among` that a filter matches, by its candidates, and else by their values.
    pub(super) async fn settle(
        &self,
        env: &Env,
        schema: &Schema,
        bound: &Arc<Bound>,
        candidates: Option<&Candidates>,
        among: &RoaringBitmap,
    ) -> Result<RoaringBitmap> {
        if let Some(constant) = bound.constant() {
            return Ok(if constant { among.clone() } else { RoaringBitmap::new() });
        }
        let segment = match &self.source {
            Source::Run(run) => {
                let all: RoaringBitmap = (0..self.source.rows()).collect();
                return Ok(evaluate(env, bound, run.rows().clone(), all).await? & among);
            }
            Source::Segment(segment) => segment,
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
        bound: &Arc<Bound>,
        segment: &Segment,
        among: &RoaringBitmap,
    ) -> Result<RoaringBitmap> {
        let columns = places(schema, bound.columns());
        let windows = windows(segment, &columns, among);
        let columns = &columns;
        let one = |picked: RoaringBitmap| async move {
            let batch = segment.fetch(columns, &picked).await?;
            evaluate(env, bound, batch, picked).await
        };
        stream::iter(windows)
            .map(one)
            .buffered(PARALLEL)
            .try_fold(RoaringBitmap::new(), |all, some| async move { Ok(all | some) })
            .await
    }

    /// Some rows in ascending order, cut so that each piece is worth one fetch of these columns.
    pub(super) fn windows(&self, columns: &[usize], rows: &RoaringBitmap) -> Vec<RoaringBitmap> {
        match &self.source {
            Source::Segment(segment) => windows(segment, columns, rows),
            Source::Run(_) => vec![rows.clone()],
        }
    }

    /// What a row takes in these columns, in bytes, about.
    pub(crate) fn row_bytes(&self, columns: &[usize], row: u32) -> u64 {
        match &self.source {
            Source::Segment(segment) => segment.row_bytes(columns, row),
            Source::Run(run) => (run.bytes() / run.len().max(1)) as u64,
        }
    }

    /// The id and these columns of some rows, in ascending order of the rows.
    pub(super) async fn fetch(
        &self,
        schema: &Schema,
        columns: &[usize],
        rows: &RoaringBitmap,
    ) -> Result<RecordBatch> {
        match &self.source {
            Source::Segment(segment) => segment.fetch(columns, rows).await,
            Source::Run(run) => {
                let picked: BooleanBuffer = mask(0..self.source.rows(), rows);
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
    pub(super) async fn next_ids(
        &self,
        after: Option<&DocumentId>,
        limit: usize,
    ) -> Result<Vec<(DocumentId, u32)>> {
        match &self.source {
            Source::Segment(segment) => segment.next_ids(after, limit).await,
            Source::Run(run) => {
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

    /// The nearest of the `allowed` rows: distance and row, nearest first. Of those that are as near as the last, the
    /// ones with the least ids.
    pub(super) async fn nearest(
        &self,
        env: &Env,
        schema: &Schema,
        search: &Nearest,
        allowed: &RoaringBitmap,
    ) -> Result<Vec<(f64, u32)>> {
        let ranked = self.compare(env, search, allowed).await?;
        self.cut(schema, ranked, search.limit.saturating_add(search.ties)).await
    }

    /// The nearest of the `allowed` rows, each compared, and all that are as near as the last.
    async fn compare(&self, env: &Env, search: &Nearest, allowed: &RoaringBitmap) -> Result<Ranked> {
        let mut top = TopK::new(search.limit);
        if allowed.is_empty() {
            return Ok(Ranked::default());
        }
        let segment = match &self.source {
            Source::Run(run) => {
                let place = search.column + 1;
                let array = run.rows().columns().get(place).cloned();
                let array = array.ok_or_else(|| Error::internal("a run lacks a column"))?;
                let rows = 0..self.source.rows();
                return Ok(score(env, search, array, rows, allowed.clone(), top).await?.finish());
            }
            Source::Segment(segment) => segment,
        };
        if allowed.len() < u64::from(segment.meta().rows) / SPARSE {
            return self.nearest_of_few(env, search, allowed).await;
        }
        let window = (VECTOR_WINDOW_BYTES / search.row_bytes.max(1)).clamp(1, 1 << 20);
        let rows = segment.meta().rows;
        let window = u32::try_from(window).unwrap_or(u32::MAX);
        let windows =
            (0..rows).step_by(window as usize).map(|start| start..rows.min(start.saturating_add(window)));
        let read = |rows: Range<u32>| async move {
            let room = search.room.take(rows.len() as u64 * search.row_bytes as u64).await?;
            Ok::<_, Error>((segment.vectors(search.column, rows.clone()).await?, rows, room))
        };
        let mut arrays = stream::iter(windows).map(read).buffered(PARALLEL);
        while let Some((array, rows, _room)) = arrays.try_next().await? {
            let picked = within(allowed, rows.clone());
            top = score(env, search, array, rows, picked, top).await?;
        }
        Ok(top.finish())
    }

    /// The same where few rows are allowed: only theirs are read.
    async fn nearest_of_few(&self, env: &Env, search: &Nearest, allowed: &RoaringBitmap) -> Result<Ranked> {
        let Source::Segment(segment) = &self.source else { return Ok(Ranked::default()) };
        Ok(search.compare(env, segment, allowed, &BTreeMap::new()).await?.finish())
    }
}

impl Nearest {
    /// How many of the nearest the recall is promised of.
    pub(super) fn promised(&self) -> usize {
        self.limit.saturating_sub(self.beyond).max(1)
    }

    /// Compares some rows of a segment, in pages. A row among `copies` stands for all rows of its bitmap.
    pub(super) async fn compare(
        &self,
        env: &Env,
        segment: &Segment,
        rows: &RoaringBitmap,
        copies: &BTreeMap<u32, RoaringBitmap>,
    ) -> Result<TopK> {
        let mut top = TopK::new(self.limit);
        let page = (VECTOR_WINDOW_BYTES / self.row_bytes.max(1)).max(1);
        let rows: Vec<u32> = rows.iter().collect();
        for rows in rows.chunks(page) {
            let bytes = rows.len() * self.row_bytes;
            let _room = self.room.take(bytes as u64).await?;
            let picked: RoaringBitmap = rows.iter().copied().collect();
            let array = segment.vectors_of(self.column, &picked).await?;
            let mut near = Vec::with_capacity(rows.len());
            if bytes <= INLINE_BYTES {
                self.prepared.each(&array, None, |at, distance| near.push((distance, at)))?;
            } else {
                let prepared = Arc::clone(&self.prepared);
                let work = move || {
                    prepared.each(&array, None, |at, distance| near.push((distance, at)))?;
                    Ok::<_, Error>(near)
                };
                near = env.blocking(work).await??;
            }
            for (distance, at) in near {
                let row = rows.get(at).copied().ok_or_else(|| Error::internal("more vectors than rows"))?;
                match copies.get(&row) {
                    Some(copies) => top.push_all(distance, copies),
                    None => top.push(distance, row),
                }
            }
        }
        Ok(top)
    }
}

/// Scores the allowed rows of an array that holds the rows of a range.
async fn score(
    env: &Env,
    search: &Nearest,
    array: arrow::array::ArrayRef,
    rows: Range<u32>,
    allowed: RoaringBitmap,
    mut top: TopK,
) -> Result<TopK> {
    let prepared = Arc::clone(&search.prepared);
    let work = move || {
        let picked = mask(rows.clone(), &allowed);
        prepared.each(&array, Some(&picked), |at, distance| {
            if let Ok(at) = u32::try_from(at) {
                top.push(distance, rows.start + at);
            }
        })?;
        Ok(top)
    };
    env.blocking(work).await?
}

fn windows(segment: &Segment, columns: &[usize], rows: &RoaringBitmap) -> Vec<RoaringBitmap> {
    let (mut windows, mut from) = (Vec::new(), 0);
    while from < segment.meta().rows {
        let window = segment.window(columns, from);
        from = window.end.max(from + 1);
        let picked = within(rows, window);
        if !picked.is_empty() {
            windows.push(picked);
        }
    }
    windows
}

/// Evaluates a filter on the batch of these rows: which of them match.
async fn evaluate(
    env: &Env,
    bound: &Arc<Bound>,
    batch: RecordBatch,
    rows: RoaringBitmap,
) -> Result<RoaringBitmap> {
    let bound = Arc::clone(bound);
    let inline = batch.num_rows() < INLINE_ROWS;
    let work = move || {
        let matches = bound.evaluate(&batch, None)?;
        let picked = rows.iter().zip(matches.values().iter()).filter(|(_, matches)| *matches);
        Ok(picked.map(|(row, _)| row).collect())
    };
    if inline { work() } else { env.blocking(work).await? }
}

/// The places of columns in the schema; the id has none.
fn places<'a>(schema: &Schema, names: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let mut places: Vec<usize> =
        names.filter_map(|name| schema.columns().iter().position(|c| c.name == name)).collect();
    places.sort_unstable();
    places
}

/// The rows of a range that are in a bitmap, as bits from the start of the range.
fn mask(range: Range<u32>, rows: &RoaringBitmap) -> BooleanBuffer {
    let len = range.len();
    let mut builder = arrow::array::BooleanBufferBuilder::new(len);
    builder.append_n(len, false);
    for row in rows.range(range.clone()) {
        builder.set_bit((row - range.start) as usize, true);
    }
    builder.finish()
}

fn within(rows: &RoaringBitmap, range: Range<u32>) -> RoaringBitmap {
    rows.range(range).collect()
}
