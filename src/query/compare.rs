//! Exact comparison: a query vector against the vectors of rows, each for itself.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringBitmap;

use super::distance::Prepared;
use super::probe::Effort;
use super::room::Room;
use super::ties::Ranked;
use super::topk::TopK;
use crate::env::{Cost, Env};
use crate::error::{Error, Result};
use crate::memtable::PartSource;
use crate::segment::Segment;
use crate::types::Metric;
use crate::view::{Part, View, rows_in_range, rows_to_mask};

/// Windows of a segment that are fetched at a time.
const PARALLEL: usize = 4;
/// Bytes of vectors that are scanned at a time.
const VECTOR_WINDOW_BYTES: usize = 8 << 20;
/// Below one allowed row in this many, vectors are read row by row instead of in whole windows.
pub(super) const SPARSE: u64 = 8;

/// A nearest-neighbour search of one column.
#[derive(Clone, Debug)]
pub(super) struct VectorSearch {
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

impl VectorSearch {
    /// How many of the nearest the recall is promised of.
    pub(super) fn promised(&self) -> usize {
        self.limit.saturating_sub(self.beyond).max(1)
    }

    /// The nearest of the `allowed` rows: distance and row, nearest first. Of those that are as near as the last, the
    /// ones with the least ids.
    pub(super) async fn nearest_of(
        &self,
        view: &View,
        part: &Part,
        allowed: &RoaringBitmap,
    ) -> Result<Vec<(f64, u32)>> {
        let ranked = self.compare_part(&view.env, part, allowed).await?;
        ranked.cut(part, &view.schema, self.limit.saturating_add(self.ties)).await
    }

    /// The nearest of the `allowed` rows, each compared, and all that are as near as the last.
    async fn compare_part(&self, env: &Env, part: &Part, allowed: &RoaringBitmap) -> Result<Ranked> {
        let mut top = TopK::new(self.limit);
        if allowed.is_empty() {
            return Ok(Ranked::default());
        }
        let segment = match &part.source {
            PartSource::Memory(run) => {
                let place = self.column + 1;
                let array = run.rows().columns().get(place).cloned();
                let array = array.ok_or_else(|| Error::internal("a run lacks a column"))?;
                let rows = 0..part.source.rows();
                return Ok(score(env, self, array, rows, allowed.clone(), top).await?.finish());
            }
            PartSource::Segment(segment) => segment,
        };
        if allowed.len() < u64::from(segment.meta().rows) / SPARSE {
            // Few rows are allowed: only theirs are read.
            return Ok(self.compare(env, segment, allowed, &BTreeMap::new()).await?.finish());
        }
        let window = (VECTOR_WINDOW_BYTES / self.row_bytes.max(1)).clamp(1, 1 << 20);
        let rows = segment.meta().rows;
        let window = u32::try_from(window).unwrap_or(u32::MAX);
        let windows =
            (0..rows).step_by(window as usize).map(|start| start..rows.min(start.saturating_add(window)));
        let read = |rows: Range<u32>| async move {
            let room = self.room.take(rows.len() as u64 * self.row_bytes as u64).await?;
            Ok::<_, Error>((segment.fetch_vector_range(self.column, rows.clone()).await?, rows, room))
        };
        let mut arrays = stream::iter(windows).map(read).buffered(PARALLEL);
        while let Some((array, rows, _room)) = arrays.try_next().await? {
            let picked = rows_in_range(allowed, rows.clone());
            top = score(env, self, array, rows, picked, top).await?;
        }
        Ok(top.finish())
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
            let array = segment.fetch_vectors(self.column, &picked).await?;
            let mut near = Vec::with_capacity(rows.len());
            let prepared = Arc::clone(&self.prepared);
            let work = move || {
                prepared.each(&array, None, |at, distance| near.push((distance, at)))?;
                Ok::<_, Error>(near)
            };
            let near = env.compute(Cost::vector_bytes(bytes), work).await??;
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
    search: &VectorSearch,
    array: arrow::array::ArrayRef,
    rows: Range<u32>,
    allowed: RoaringBitmap,
    mut top: TopK,
) -> Result<TopK> {
    let prepared = Arc::clone(&search.prepared);
    let work = move || {
        let picked = rows_to_mask(rows.clone(), &allowed);
        prepared.each(&array, Some(&picked), |at, distance| {
            if let Ok(at) = u32::try_from(at) {
                top.push(distance, rows.start + at);
            }
        })?;
        Ok(top)
    };
    env.blocking(work).await?
}
