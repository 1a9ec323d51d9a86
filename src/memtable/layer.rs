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
use crate::types::{DocumentId, SegmentId, Sequence};

/// Pages of ids of a linked segment that are read at a time: requests overlap, and few pages are in memory.
const PAGES: usize = 4;

/// The identity of a part of a snapshot: rows in memory by an id of their own, a segment by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PartId {
    Memory(Uuid),
    Segment(SegmentId),
}

/// Where the rows of a part lie.
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
    /// Rows of a linked segment that do not count: they neither answer nor hide.
    dead: Arc<RoaringBitmap>,
    first: Sequence,
    last: Sequence,
    /// Which rows of older parts this layer hides: found once, kept as long as the layer.
    masks: Mutex<BTreeMap<PartId, Arc<RoaringBitmap>>>,
}

impl Layer {
    /// Rows and deletes of the entries from `first` to `last`. `id` must be unique in the process.
    pub(crate) fn from_rows(id: Uuid, rows: MemRows, first: Sequence, last: Sequence) -> Self {
        let source = PartSource::Memory(Arc::new(rows));
        let (id, dead) = (PartId::Memory(id), Arc::default());
        Self { id, source, dead, first, last, masks: Mutex::default() }
    }

    /// A segment that the entry `sequence` links, but for its dead rows.
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

    /// The rows that do not count.
    pub(crate) fn dead(&self) -> &Arc<RoaringBitmap> {
        &self.dead
    }

    /// Whether this layer deletes `id`.
    pub(crate) fn has_deleted(&self, id: &DocumentId) -> bool {
        match &self.source {
            PartSource::Memory(run) => run.has_deleted(id),
            PartSource::Segment(_) => false,
        }
    }

    pub(crate) fn last(&self) -> Sequence {
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

    /// This layer and then `newer` as one layer, if both are in memory, the newer is not much smaller, and
    /// the whole stays below `bytes_max`.
    pub(super) fn merge(&self, newer: &Self, bytes_max: usize) -> Result<Option<Self>> {
        let (PartSource::Memory(old), PartSource::Memory(new), PartId::Memory(id)) =
            (&self.source, &newer.source, newer.id)
        else {
            return Ok(None);
        };
        let (old_bytes, new_bytes) = (old.bytes(), new.bytes());
        if new_bytes < old_bytes / 2 || old_bytes + new_bytes > bytes_max {
            return Ok(None);
        }
        let merged = Self::from_rows(id, old.then(new)?, self.first, newer.last);
        // What both hid of a segment, the merged layer hides. A mask that only one of them has is left out: it is found
        // again when it is needed.
        let (old_masks, new_masks) = (self.masks(), newer.masks());
        let both = old_masks.iter().filter_map(|(part, old)| {
            let new = new_masks.get(part)?;
            Some((*part, Arc::new(old.as_ref() | new.as_ref())))
        });
        *merged.masks() = both.collect();
        drop((old_masks, new_masks));
        Ok(Some(merged))
    }

    fn masks(&self) -> std::sync::MutexGuard<'_, BTreeMap<PartId, Arc<RoaringBitmap>>> {
        self.masks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows of an older part whose ids this layer puts or deletes.
    pub(crate) async fn find_hidden_rows(
        &self,
        env: &Env,
        part: PartId,
        source: &PartSource,
    ) -> Result<Arc<RoaringBitmap>> {
        if let Some(mask) = self.masks().get(&part) {
            return Ok(Arc::clone(mask));
        }
        let mask = match &self.source {
            PartSource::Memory(run) => {
                let gone = run.deleted()?;
                let found = try_join(source.find_all(env, run.ids()), source.find_all(env, &gone)).await?;
                found.0.into_iter().chain(found.1).map(|(_, row)| row).collect()
            }
            PartSource::Segment(segment) => hidden_by(env, segment, &self.dead, source).await?,
        };
        let mask = Arc::new(mask);
        self.masks().insert(part, Arc::clone(&mask));
        Ok(mask)
    }
}

/// The rows of an older part whose ids a linked segment has in a row that counts. The ids of whichever has fewer rows
/// are walked, and only where both may have some, a few pages at a time.
async fn hidden_by(
    env: &Env,
    segment: &Arc<Segment>,
    dead: &RoaringBitmap,
    older: &PartSource,
) -> Result<RoaringBitmap> {
    let newer = PartSource::Segment(Arc::clone(segment));
    let (Some((least, greatest)), Some((min, max))) = (newer.bounds(), older.bounds()) else {
        return Ok(RoaringBitmap::new());
    };
    let (least, greatest) = (least.max(min), greatest.min(max));
    let walks_older = older.rows() < newer.rows();
    let (walked, asked) = if walks_older { (older, &newer) } else { (&newer, older) };
    stream::iter(walked.pages(&least, &greatest))
        .map(|page| async move {
            let mut mask = RoaringBitmap::new();
            let block = walked.page(page).await?;
            for (at, found) in asked.find_all(env, block.ids()).await? {
                let walked = block.row_at(at)?;
                let (old, new) = if walks_older { (walked, found) } else { (found, walked) };
                if !dead.contains(new) {
                    mask.insert(old);
                }
            }
            Ok(mask)
        })
        .buffer_unordered(PAGES)
        .try_fold(RoaringBitmap::new(), |all, some| async move { Ok(all | some) })
        .await
}

impl PartSource {
    /// The rows of these ids, if they are here.
    pub(crate) async fn find(&self, ids: &[DocumentId]) -> Result<Vec<Option<u32>>> {
        match self {
            Self::Memory(run) => Ok(ids.iter().map(|id| run.find(id)).collect()),
            Self::Segment(segment) => segment.find_rows(ids).await,
        }
    }

    /// Of these ids, which are in ascending order, those that are here: the place among them, and the row.
    pub(crate) async fn find_all(&self, env: &Env, ids: &Ids) -> Result<Vec<(usize, u32)>> {
        let run = match self {
            Self::Memory(run) => run,
            Self::Segment(segment) => return segment.find_sorted_ids(ids).await,
        };
        let (ours, theirs) = (run.ids().clone(), ids.clone());
        let cost = Cost::ids(ours.len().min(theirs.len()));
        let work = move || {
            let mut found = Vec::new();
            theirs.intersect(&ours, |at, row| found.push((at, row)));
            let numbered = found.into_iter().map(|(at, row)| Ok((at, to_u32(row, "a row in memory")?)));
            numbered.collect::<Result<Vec<_>>>()
        };
        env.compute(cost, work).await?
    }

    /// The least and the greatest id.
    fn bounds(&self) -> Option<(DocumentId, DocumentId)> {
        match self {
            Self::Memory(run) => {
                let last = run.ids().len().checked_sub(1)?;
                Some((run.ids().get(0), run.ids().get(last)))
            }
            Self::Segment(segment) => Some((segment.meta().id_min.clone(), segment.meta().id_max.clone())),
        }
    }

    /// The ids between two, and perhaps some more, as pages.
    fn pages(&self, least: &DocumentId, greatest: &DocumentId) -> Vec<Range<usize>> {
        match self {
            Self::Memory(run) => Some(run.ids().rows_between(least, greatest))
                .filter(|rows| !rows.is_empty())
                .into_iter()
                .collect(),
            Self::Segment(segment) => segment.id_pages(least, greatest),
        }
    }

    /// The ids of a page with their rows.
    async fn page(&self, page: Range<usize>) -> Result<IdBlock> {
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
            // invariant: a layer has the rows of few entries, each limited to far fewer than 32 bits count.
            Self::Memory(run) => u32::try_from(run.rows().num_rows()).unwrap_or(u32::MAX),
            Self::Segment(segment) => segment.meta().rows,
        }
    }
}
