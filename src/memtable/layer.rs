//! A layer of the memtable, and the rows of older parts that it hides.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::try_join;
use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringBitmap;
use uuid::Uuid;

use super::mem_rows::MemRows;
use crate::codec::to_u32;
use crate::env::{Cost, Env};
use crate::error::Result;
use crate::schema::Ids;
use crate::segment::{IdBlock, Segment};
use crate::types::{DocumentId, ObjectId, Sequence};

/// Pages of ids of a linked segment that are read at a time: requests overlap, and few pages are in memory.
const PAGES_IN_FLIGHT: usize = 4;

/// The identity of a part of a snapshot: rows in memory by an id of their own, a segment by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PartId {
    Memory(Uuid),
    Segment(ObjectId),
}

/// The rows of a part: in memory, or in a segment.
#[derive(Clone, Debug)]
pub(crate) enum PartSource {
    Memory(Arc<MemRows>),
    Segment(Arc<Segment>),
}

/// Some entries of the log, as rows and deletes that hide older ones.
#[derive(Debug)]
pub(crate) struct Layer {
    id: PartId,
    source: PartSource,
    /// Rows of a linked segment that were overwritten before its entry was appended: they neither answer nor hide.
    dead: Arc<RoaringBitmap>,
    first: Sequence,
    last: Sequence,
    /// Which rows of each older part this layer hides. Finding them takes a lookup of every id in the part's id index,
    /// so they are cached as long as the layer lives. Parts never change, so a mask is never stale.
    masks: Mutex<BTreeMap<PartId, Arc<RoaringBitmap>>>,
}

impl Layer {
    /// Rows and deletes of the entries from `first` to `last`. `id` must be unique in the process: masks are cached by
    /// it.
    pub(crate) fn from_rows(id: Uuid, rows: MemRows, first: Sequence, last: Sequence) -> Self {
        let source = PartSource::Memory(Arc::new(rows));
        let (id, dead) = (PartId::Memory(id), Arc::default());
        Self { id, source, dead, first, last, masks: Mutex::default() }
    }

    /// A segment that the entry `sequence` links, without its dead rows.
    pub(crate) fn from_segment(segment: Arc<Segment>, dead: Arc<RoaringBitmap>, sequence: Sequence) -> Self {
        let id = PartId::Segment(segment.meta().id);
        let source = PartSource::Segment(segment);
        Self { id, source, dead, first: sequence, last: sequence, masks: Mutex::default() }
    }

    pub(crate) fn id(&self) -> PartId {
        self.id
    }

    pub(crate) fn source(&self) -> &PartSource {
        &self.source
    }

    /// The rows that neither answer nor hide.
    pub(crate) fn dead_rows(&self) -> &Arc<RoaringBitmap> {
        &self.dead
    }

    /// Whether this layer deletes `id`.
    pub(crate) fn has_deleted(&self, id: &DocumentId) -> bool {
        match &self.source {
            PartSource::Memory(run) => run.has_deleted(id),
            PartSource::Segment(_) => false,
        }
    }

    pub(crate) fn last_sequence(&self) -> Sequence {
        self.last
    }

    pub(crate) fn bytes(&self) -> usize {
        match &self.source {
            PartSource::Memory(run) => run.bytes(),
            // invariant: bounds an estimate: what is beyond `usize` is above every limit.
            PartSource::Segment(segment) => {
                usize::try_from(segment.meta().total_bytes()).unwrap_or(usize::MAX)
            }
        }
    }

    /// This layer followed by `newer` as one layer, if both are in memory, the newer has at least half the bytes, and
    /// the result stays below `bytes_max`.
    pub(super) fn merge(&self, newer: &Self, bytes_max: usize) -> Result<Option<Self>> {
        let (PartSource::Memory(old), PartSource::Memory(new), PartId::Memory(id)) =
            (&self.source, &newer.source, newer.id)
        else {
            return Ok(None);
        };
        // A factor of two between neighbours bounds their number by the logarithm of the bytes, as size-tiered
        // compaction does, and copies each row only that often. Every read visits every layer.
        let (old_bytes, new_bytes) = (old.bytes(), new.bytes());
        if new_bytes < old_bytes / 2 || old_bytes + new_bytes > bytes_max {
            return Ok(None);
        }
        let merged = Self::from_rows(id, old.merge_newer(new)?, self.first, newer.last);
        // The merged layer hides what either hid: a put or a delete of an id hides older rows of it alike. A mask that
        // only one of them has would be incomplete, so it is left out and found again when it is needed.
        let (old_masks, new_masks) = (self.lock_masks(), newer.lock_masks());
        let both = old_masks.iter().filter_map(|(part, old)| {
            let new = new_masks.get(part)?;
            Some((*part, Arc::new(old.as_ref() | new.as_ref())))
        });
        *merged.lock_masks() = both.collect();
        drop((old_masks, new_masks));
        Ok(Some(merged))
    }

    fn lock_masks(&self) -> std::sync::MutexGuard<'_, BTreeMap<PartId, Arc<RoaringBitmap>>> {
        self.masks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows of an older part whose ids this layer puts or deletes: those that it hides.
    pub(crate) async fn find_hidden_rows(
        &self,
        env: &Env,
        part: PartId,
        source: &PartSource,
    ) -> Result<Arc<RoaringBitmap>> {
        if let Some(mask) = self.lock_masks().get(&part) {
            return Ok(Arc::clone(mask));
        }
        let mask = match &self.source {
            PartSource::Memory(run) => {
                let tombstones = run.deleted_ids()?;
                let puts = source.find_sorted_ids(env, run.ids());
                let (puts, deletes) = try_join(puts, source.find_sorted_ids(env, &tombstones)).await?;
                puts.into_iter().chain(deletes).map(|(_, row)| row).collect()
            }
            PartSource::Segment(segment) => {
                find_rows_hidden_by_segment(env, segment, &self.dead, source).await?
            }
        };
        // Two reads may have found it at once: both masks are equal, so it does not matter which one stays.
        let mask = Arc::new(mask);
        self.lock_masks().insert(part, Arc::clone(&mask));
        Ok(mask)
    }
}

/// The rows of an older part whose ids a linked segment has in a live row: a join of two id indexes. The ids of the
/// smaller side are walked page by page, within the range that both cover, and looked up in the other.
async fn find_rows_hidden_by_segment(
    env: &Env,
    segment: &Arc<Segment>,
    dead: &RoaringBitmap,
    older: &PartSource,
) -> Result<RoaringBitmap> {
    let newer = PartSource::Segment(Arc::clone(segment));
    let (Some((newer_min, newer_max)), Some((older_min, older_max))) = (newer.id_bounds(), older.id_bounds())
    else {
        return Ok(RoaringBitmap::new());
    };
    let (min, max) = (newer_min.max(older_min), newer_max.min(older_max));
    let walks_older = older.rows() < newer.rows();
    let (walked, probed) = if walks_older { (older, &newer) } else { (&newer, older) };
    stream::iter(walked.id_pages(&min, &max))
        .map(|page| async move {
            let mut mask = RoaringBitmap::new();
            let block = walked.read_id_page(page).await?;
            for (position, probed_row) in probed.find_sorted_ids(env, block.ids()).await? {
                let walked_row = block.row_at(position)?;
                let (older_row, newer_row) =
                    if walks_older { (walked_row, probed_row) } else { (probed_row, walked_row) };
                if !dead.contains(newer_row) {
                    mask.insert(older_row);
                }
            }
            Ok(mask)
        })
        .buffer_unordered(PAGES_IN_FLIGHT)
        .try_fold(RoaringBitmap::new(), |mask, page| async move { Ok(mask | page) })
        .await
}

impl PartSource {
    /// For each of these ids its row, if it is here.
    pub(crate) async fn find_rows(&self, ids: &[DocumentId]) -> Result<Vec<Option<u32>>> {
        match self {
            Self::Memory(run) => Ok(ids.iter().map(|id| run.find_row(id)).collect()),
            Self::Segment(segment) => segment.find_rows(ids).await,
        }
    }

    /// Of these ids, which are in ascending order, those that are here: the position among them, and the row.
    pub(crate) async fn find_sorted_ids(&self, env: &Env, ids: &Ids) -> Result<Vec<(usize, u32)>> {
        let run = match self {
            Self::Memory(run) => run,
            Self::Segment(segment) => return segment.find_sorted_ids(ids).await,
        };
        let (rows, wanted) = (run.ids().clone(), ids.clone());
        // An intersection costs about as much as the shorter list, by galloping in the longer.
        let cost = Cost::ids(rows.len().min(wanted.len()));
        let work = move || {
            let mut found = Vec::new();
            wanted.intersect(&rows, |position, row| found.push((position, row)));
            let numbered =
                found.into_iter().map(|(position, row)| Ok((position, to_u32(row, "a row in memory")?)));
            numbered.collect::<Result<Vec<_>>>()
        };
        env.compute(cost, work).await?
    }

    /// The least and the greatest id; `None` if there are no rows.
    fn id_bounds(&self) -> Option<(DocumentId, DocumentId)> {
        match self {
            Self::Memory(run) => {
                let last = run.ids().len().checked_sub(1)?;
                Some((run.ids().get(0), run.ids().get(last)))
            }
            Self::Segment(segment) => Some((segment.meta().id_min.clone(), segment.meta().id_max.clone())),
        }
    }

    /// Pages of the id index that cover the ids from `min` to `max`, and perhaps some more.
    fn id_pages(&self, min: &DocumentId, max: &DocumentId) -> Vec<Range<usize>> {
        match self {
            Self::Memory(run) => {
                let rows = run.ids().rows_between(min, max);
                if rows.is_empty() { Vec::new() } else { vec![rows] }
            }
            Self::Segment(segment) => segment.id_pages(min, max),
        }
    }

    /// The ids of a page with their rows.
    async fn read_id_page(&self, page: Range<usize>) -> Result<IdBlock> {
        match self {
            Self::Memory(run) => {
                let rows = page.clone().map(|row| to_u32(row, "a row in memory")).collect::<Result<_>>()?;
                IdBlock::new(run.ids().slice(page), rows)
            }
            Self::Segment(segment) => segment.id_page(page).await,
        }
    }

    /// The number of rows, dead ones included.
    pub(crate) fn rows(&self) -> u32 {
        match self {
            Self::Memory(run) => run.row_count(),
            Self::Segment(segment) => segment.meta().rows,
        }
    }
}
