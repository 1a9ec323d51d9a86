//! A consistent set of parts at one sequence.

mod least_ids;
mod part;
mod scope;

pub(crate) use part::{Part, rows_in_range, rows_to_mask};
pub(crate) use scope::{Scope, Scopes};

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{concat_batches, interleave_record_batch};
use arrow::datatypes::SchemaRef;
use futures::future::BoxFuture;
use futures::future::try_join_all;
use roaring::RoaringBitmap;

use crate::env::Env;
use crate::error::{Error, OrInternal, Result};
use crate::filter::{BoundFilter, Filter, ZoneMapFilter};
use crate::memtable::{Layer, MemRows, PartSource};
use crate::schema::Schema;
use crate::settings::Settings;
use crate::types::{Document, DocumentId, Sequence};

/// The rows of a namespace at one sequence: segments, and above them the layers of the tail in the order of
/// the log. It shares everything with the views before and after it, and is cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) env: Env,
    pub(crate) schema: Arc<Schema>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) segments: Arc<Vec<Part>>,
    pub(crate) layers: Vec<Arc<Layer>>,
    pub(crate) sequence: Sequence,
    /// The number of the manifest that names the segments.
    pub(crate) manifest: u64,
}

/// What documents that are read together take, about, in bytes.
const TOGETHER_BYTES: u64 = 64 << 20;
/// What an answer may take besides its documents: buffers are reserved with room to spare.
const SLACK_BYTES: usize = 64 << 10;

/// Where a document lies: the part, and the row in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RowAddr {
    pub(crate) part: usize,
    pub(crate) row: u32,
}

impl View {
    /// The documents with these ids, in their order.
    pub(crate) fn get<'a>(
        &'a self,
        ids: &'a [DocumentId],
        columns: &'a [usize],
    ) -> BoxFuture<'a, Result<Vec<Option<Document>>>> {
        Box::pin(async move {
            let addrs = self.locate_documents(ids).await?;
            let found: Vec<RowAddr> = addrs.iter().flatten().copied().collect();
            let batch = self.fetch_documents(&found, columns).await?;
            let mut documents = self.schema.documents(&batch)?.into_iter();
            Ok(addrs.into_iter().map(|addr| addr.and_then(|_| documents.next())).collect())
        })
    }

    /// Checks a filter against the schema.
    pub(crate) fn bind(&self, filter: Option<&Filter>) -> Result<Option<Arc<BoundFilter>>> {
        filter.map(|f| BoundFilter::new(f, &self.schema, &self.settings, false).map(Arc::new)).transpose()
    }

    /// The parts, oldest first.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let layers = self.layers.iter().map(|layer| Part {
            id: layer.id(),
            source: layer.source().clone(),
            deletes: Arc::clone(layer.dead_rows()),
        });
        self.segments.iter().cloned().chain(layers).collect()
    }

    /// The dead rows of part number `at`: those of its delete bitmap and those that newer layers hide.
    pub(crate) async fn find_dead_rows(&self, at: usize, part: &Part) -> Result<RoaringBitmap> {
        let newer = (at + 1).saturating_sub(self.segments.len());
        let layers = self.layers.get(newer..).unwrap_or_default();
        let masks =
            try_join_all(layers.iter().map(|layer| layer.find_hidden_rows(&self.env, part.id, &part.source)))
                .await?;
        Ok(masks.iter().fold(part.deletes.as_ref().clone(), |dead, mask| dead | mask.as_ref()))
    }

    /// The live rows of part number `at`.
    pub(crate) async fn find_live_rows(&self, at: usize, part: &Part) -> Result<RoaringBitmap> {
        let mut live = RoaringBitmap::new();
        live.insert_range(0..part.source.rows());
        live -= self.find_dead_rows(at, part).await?;
        Ok(live)
    }

    /// Every part with its live rows, oldest first.
    pub(crate) fn find_all_live_rows(&self) -> BoxFuture<'_, Result<Vec<(Part, RoaringBitmap)>>> {
        Box::pin(async move { self.find_unpruned_rows(None).await })
    }

    /// Every part with its live rows, none of them where statistics tell that the filter matches none: of such a part
    /// nothing is read.
    pub(crate) async fn find_unpruned_rows(
        &self,
        bound: Option<&BoundFilter>,
    ) -> Result<Vec<(Part, RoaringBitmap)>> {
        let rules = bound.map(ZoneMapFilter::new);
        let parts = self.parts().into_iter().enumerate().map(|(at, part)| {
            let pruned = rules.as_ref().is_some_and(|rules| part.is_pruned(rules));
            async move {
                let live = if pruned { RoaringBitmap::new() } else { self.find_live_rows(at, &part).await? };
                Ok::<_, Error>((part, live))
            }
        });
        try_join_all(parts).await
    }

    /// Every part with the live rows that a filter matches; without a filter all live rows.
    pub(crate) fn find_matching_rows<'a>(
        &'a self,
        bound: Option<&'a Arc<BoundFilter>>,
    ) -> BoxFuture<'a, Result<Vec<(Part, RoaringBitmap)>>> {
        Box::pin(async move {
            let live = self.find_unpruned_rows(bound.map(Arc::as_ref)).await?;
            let Some(bound) = bound else { return Ok(live) };
            let parts = live.into_iter().map(|(part, live)| async move {
                let matching = part.find_matching_rows(&self.env, &self.schema, bound, &live).await?;
                Ok::<_, Error>((part, matching))
            });
            try_join_all(parts).await
        })
    }

    /// Where the documents of these ids lie. Every part is asked at once.
    pub(crate) async fn locate_documents(&self, ids: &[DocumentId]) -> Result<Vec<Option<RowAddr>>> {
        let parts = self.parts();
        let found = try_join_all(parts.iter().map(|part| part.source.find_rows(ids))).await?;
        let mut places = vec![None; ids.len()];
        for (at, (part, rows)) in parts.iter().zip(found).enumerate() {
            let layer = at.checked_sub(self.segments.len()).and_then(|layer| self.layers.get(layer));
            for ((id, place), row) in ids.iter().zip(&mut places).zip(rows) {
                match row {
                    Some(row) if !part.deletes.contains(row) => *place = Some(RowAddr { part: at, row }),
                    // A newer layer has the last word, be it a delete.
                    None if layer.is_some_and(|layer| layer.has_deleted(id)) => *place = None,
                    Some(_) | None => {}
                }
            }
        }
        Ok(places)
    }

    /// The id and these columns of the documents at some places, in the order of the places. Each part is
    /// read once, all parts at once, unless documents are so large that they are read some at a time.
    ///
    /// More bytes than [`Settings::answer_bytes_max`] are an error.
    pub(crate) async fn fetch_documents(&self, places: &[RowAddr], columns: &[usize]) -> Result<RecordBatch> {
        let parts = self.parts();
        let layout = self
            .schema
            .arrow_projection(|c| columns.iter().any(|at| self.schema.columns().get(*at) == Some(c)));
        let (mut batches, mut bytes) = (Vec::new(), 0_usize);
        for places in together(&parts, places, columns) {
            let batch = self.fetch_together(&parts, places, columns, &layout).await?;
            bytes = bytes.saturating_add(batch.get_array_memory_size());
            if bytes > self.settings.answer_bytes_max.saturating_add(SLACK_BYTES) {
                let most = self.settings.answer_bytes_max;
                return Err(Error::limit(format!(
                    "the documents are too large together: at most {most} bytes of them are read at a time, ask for \
                     fewer of them or for fewer columns"
                )));
            }
            batches.push(batch);
        }
        match (batches.pop(), batches.is_empty()) {
            (Some(only), true) => Ok(only),
            (last, _) => {
                batches.extend(last);
                concat_batches(&layout, &batches).or_internal()
            }
        }
    }

    async fn fetch_together(
        &self,
        parts: &[Part],
        places: &[RowAddr],
        columns: &[usize],
        layout: &SchemaRef,
    ) -> Result<RecordBatch> {
        let mut rows = vec![RoaringBitmap::new(); parts.len()];
        for place in places {
            let of = rows.get_mut(place.part).ok_or_else(|| Error::internal("a place in no part"))?;
            of.insert(place.row);
        }
        let wanted: Vec<_> = parts.iter().zip(&rows).filter(|(_, rows)| !rows.is_empty()).collect();
        if wanted.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(layout)));
        }
        let reads = wanted.iter().map(|(part, rows)| part.fetch_rows(&self.schema, columns, rows));
        let batches = try_join_all(reads).await?;
        let mut batch_of = vec![usize::MAX; parts.len()];
        let used = rows.iter().enumerate().filter(|(_, rows)| !rows.is_empty());
        for (batch, (part, _)) in used.enumerate() {
            if let Some(slot) = batch_of.get_mut(part) {
                *slot = batch;
            }
        }
        let picks = places.iter().map(|place| {
            let at = rows.get(place.part).map_or(0, |rows| rows.rank(place.row));
            let batch = batch_of.get(place.part).copied().unwrap_or_default();
            (batch, usize::try_from(at).unwrap_or(usize::MAX).saturating_sub(1))
        });
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        interleave_record_batch(&batches, &picks.collect::<Vec<_>>()).or_internal()
    }

    /// This view with a run on top, as if it were the next entry.
    pub(crate) fn with_run(&self, run: MemRows) -> Self {
        let mut view = self.clone();
        let layer = Layer::from_rows(self.env.uuid(), run, self.sequence.next(), self.sequence.next());
        view.layers.push(Arc::new(layer));
        view
    }

    /// Ranges of places so that the documents of each take about `most` bytes in these columns.
    pub(crate) fn split_by_bytes(
        &self,
        places: &[RowAddr],
        columns: &[usize],
        most: u64,
    ) -> Vec<Range<usize>> {
        let parts = self.parts();
        let (mut pieces, mut start, mut bytes) = (Vec::new(), 0, 0);
        for (at, place) in places.iter().enumerate() {
            let row = parts.get(place.part).map_or(0, |part| part.row_bytes(columns, place.row));
            bytes += row;
            if bytes > most && at > start {
                pieces.push(start..at);
                (start, bytes) = (at, row);
            }
        }
        pieces.extend((start < places.len()).then_some(start..places.len()));
        pieces
    }

    /// All columns.
    pub(crate) fn all_columns(&self) -> Vec<usize> {
        (0..self.schema.columns().len()).collect()
    }
}

/// Places cut so that the documents at each piece are worth one read of these columns.
fn together<'p>(parts: &[Part], mut places: &'p [RowAddr], columns: &[usize]) -> Vec<&'p [RowAddr]> {
    let weight = |place: &RowAddr| match parts.get(place.part).map(|part| &part.source) {
        Some(PartSource::Segment(segment)) => segment.row_bytes(columns, place.row),
        Some(PartSource::Memory(_)) | None => 0,
    };
    let mut pieces = Vec::new();
    while !places.is_empty() {
        let (mut bytes, mut count) = (0_u64, 0);
        for place in places {
            bytes = bytes.saturating_add(weight(place));
            if bytes > TOGETHER_BYTES && count > 0 {
                break;
            }
            count += 1;
        }
        let (piece, rest) = places.split_at(count);
        pieces.push(piece);
        places = rest;
    }
    pieces
}
