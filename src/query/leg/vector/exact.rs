//! Exact comparison: the distance of every allowed row, whatever index there is.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::buffer::BooleanBuffer;
use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringBitmap;

use super::VectorSearch;
use super::distance::{Distance, ExactVector};
use super::top_k::TopK;
use crate::codec::{to_u32, to_usize, usize_of};
use crate::env::{Cost, Env};
use crate::error::{Error, Result};
use crate::memtable::PartSource;
use crate::query::leg::ranking::PartRanking;
use crate::segment::Segment;
use crate::view::{Part, View, rows_to_mask};

/// Windows of a segment that are read ahead. The room of the search bounds their bytes; this hides the latency of the
/// store behind the comparison.
const WINDOWS_AHEAD: usize = 4;
/// Bytes of vectors that are read and compared at a time: large enough that a request is mostly transfer, small
/// enough that several windows fit into the room of a search.
const WINDOW_BYTES: usize = 8 << 20;
/// If fewer than one row in this many is allowed, vectors are read row by row: whole windows would mostly bring
/// vectors that are not compared.
pub(super) const SPARSE: u64 = 8;

impl VectorSearch {
    /// The nearest of the `allowed` rows of a part, with their distances, nearest first: up to the limit, and ties of
    /// the last with the least ids.
    pub(super) async fn compare_part(
        &self,
        view: &View,
        part: &Part,
        allowed: &RoaringBitmap,
    ) -> Result<Vec<(Distance, u32)>> {
        if allowed.is_empty() {
            return Ok(Vec::new());
        }
        let ranking = match &part.source {
            PartSource::Memory(run) => {
                // The id is the first column of a run.
                let array = run.rows().columns().get(self.column + 1).cloned();
                let array = array.ok_or_else(|| Error::internal("a run lacks a column"))?;
                self.compare_array(&view.env, array, allowed).await?
            }
            PartSource::Segment(segment) if allowed.len() < u64::from(segment.meta().rows) / SPARSE => {
                self.compare_rows(&view.env, segment, allowed, &BTreeMap::new()).await?
            }
            PartSource::Segment(segment) => self.compare_windows(segment, allowed).await?,
        };
        self.cut_ties(view, part, ranking.into_ranking()).await
    }

    /// The rows of a part up to the limit, and ties of the last with the least ids.
    pub(super) async fn cut_ties(
        &self,
        view: &View,
        part: &Part,
        ranking: PartRanking<Distance>,
    ) -> Result<Vec<(Distance, u32)>> {
        ranking.into_first(part, &view.schema, self.limit.saturating_add(self.ties)).await
    }

    /// Compares the allowed rows of a segment, reading all vectors window by window. Windows are compared on the pool, as
    /// many at once as are read ahead.
    async fn compare_windows(&self, segment: &Segment, allowed: &RoaringBitmap) -> Result<TopK> {
        let rows = segment.meta().rows;
        let window = to_u32((WINDOW_BYTES / self.row_bytes.max(1)).clamp(1, 1 << 20), "rows of a window")?;
        let windows =
            (0..rows).step_by(window as usize).map(|start| start..rows.min(start.saturating_add(window)));
        let compare = |rows: Range<u32>| async move {
            let _room = self.room.take(rows.len() as u64 * self.row_bytes as u64).await?;
            let (first, query) = (rows.start, Arc::clone(&self.exact));
            let selected = rows_to_mask(rows.clone(), allowed);
            let compare_piece = move |mut top: TopK, start: u32, vectors: ArrayRef| {
                // Pieces lie within the run, and its mask.
                let selected = selected.slice(usize_of(start - first), vectors.len());
                query.push_distances(&vectors, &selected, start, &mut top)?;
                Ok(top)
            };
            segment.fold_vectors(self.column, rows, TopK::new(self.limit), compare_piece).await
        };
        let mut top = TopK::new(self.limit);
        let mut compared = stream::iter(windows).map(compare).buffered(WINDOWS_AHEAD);
        while let Some(found) = compared.try_next().await? {
            top.merge(found);
        }
        Ok(top)
    }

    /// Compares the allowed rows of an array that holds the rows of a part.
    async fn compare_array(&self, env: &Env, array: ArrayRef, allowed: &RoaringBitmap) -> Result<TopK> {
        let (query, mut top) = (Arc::clone(&self.exact), TopK::new(self.limit));
        let compared = to_usize(allowed.len(), "rows that are compared")?.saturating_mul(self.row_bytes);
        let rows = to_u32(array.len(), "rows of a part")?;
        let allowed = allowed.clone();
        let work = move || {
            let selected = rows_to_mask(0..rows, &allowed);
            query.push_distances(&array, &selected, 0, &mut top).map(|()| top)
        };
        // Short vectors cost more by the row than by the byte.
        env.compute(Cost::compared_bytes(compared) + Cost::masked_rows(rows.into()), work).await?
    }

    /// Compares some rows of a segment, page by page. A row in `copies` stands for all rows of its bitmap, which have
    /// the same vector.
    pub(super) async fn compare_rows(
        &self,
        env: &Env,
        segment: &Segment,
        rows: &RoaringBitmap,
        copies: &BTreeMap<u32, RoaringBitmap>,
    ) -> Result<TopK> {
        let mut top = TopK::new(self.limit);
        let page = (WINDOW_BYTES / self.row_bytes.max(1)).max(1);
        let rows: Vec<u32> = rows.iter().collect();
        for rows in rows.chunks(page) {
            let bytes = rows.len() * self.row_bytes;
            let _room = self.room.take(bytes as u64).await?;
            let array = segment.fetch_vectors(self.column, &rows.iter().copied().collect()).await?;
            let query = Arc::clone(&self.exact);
            let work = move || {
                let mut distances = Vec::with_capacity(array.len());
                query.for_each_distance(&array, None, |at, distance| distances.push((at, distance)))?;
                Ok::<_, Error>(distances)
            };
            let distances = env.compute(Cost::compared_bytes(bytes), work).await??;
            for (at, distance) in distances {
                let row = rows.get(at).copied();
                let row = row.ok_or_else(|| Error::internal("more vectors were read than rows"))?;
                match copies.get(&row) {
                    Some(copies) => top.push_all(distance, copies),
                    None => top.push(distance, row),
                }
            }
        }
        Ok(top)
    }
}

impl ExactVector {
    /// Offers the selected rows of an array, whose first has the number `start`.
    fn push_distances(
        &self,
        vectors: &ArrayRef,
        selected: &BooleanBuffer,
        start: u32,
        top: &mut TopK,
    ) -> Result<()> {
        let mut outside = false;
        self.for_each_distance(vectors, Some(selected), |at, distance| {
            match u32::try_from(at).ok().and_then(|at| start.checked_add(at)) {
                Some(row) => top.push(distance, row),
                None => outside = true,
            }
        })?;
        if outside { Err(Error::internal("more vectors were read than rows")) } else { Ok(()) }
    }
}
