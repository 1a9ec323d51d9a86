//! One layer of the tail, and what it hides of older parts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use roaring::RoaringBitmap;
use uuid::Uuid;

use super::Run;
use crate::error::Result;
use crate::schema::Ids;
use crate::segment::Segment;
use crate::types::{DocumentId, SegmentId, Sequence};

/// Ids of a linked segment that are looked up in an older part at a time.
const PAGE: usize = 16_384;

/// Which part of a snapshot: a run by its own id, a segment by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PartId {
    Run(Uuid),
    Segment(SegmentId),
}

/// Where the rows of a part lie.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Run(Arc<Run>),
    Segment(Arc<Segment>),
}

/// Some entries of the log, as rows and deletes that hide older ones.
#[derive(Debug)]
pub(crate) struct Layer {
    id: PartId,
    source: Source,
    first: Sequence,
    last: Sequence,
    /// Which rows of older parts this layer hides: found once, kept as long as the layer.
    masks: Mutex<BTreeMap<PartId, Arc<RoaringBitmap>>>,
}

impl Layer {
    /// Rows and deletes of the entries from `first` to `last`. `id` must be unique in the process.
    pub(crate) fn run(id: Uuid, run: Run, first: Sequence, last: Sequence) -> Self {
        let source = Source::Run(Arc::new(run));
        Self { id: PartId::Run(id), source, first, last, masks: Mutex::default() }
    }

    /// A segment that the entry `sequence` links.
    pub(crate) fn linked(segment: Arc<Segment>, sequence: Sequence) -> Self {
        let id = PartId::Segment(segment.meta().id);
        let source = Source::Segment(segment);
        Self { id, source, first: sequence, last: sequence, masks: Mutex::default() }
    }

    pub(crate) fn id(&self) -> PartId {
        self.id
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// Whether this layer deletes `id`.
    pub(crate) fn deletes(&self, id: &DocumentId) -> bool {
        match &self.source {
            Source::Run(run) => run.has_deleted(id),
            Source::Segment(_) => false,
        }
    }

    pub(crate) fn last(&self) -> Sequence {
        self.last
    }

    pub(crate) fn bytes(&self) -> usize {
        match &self.source {
            Source::Run(run) => run.bytes(),
            Source::Segment(segment) => usize::try_from(segment.meta().bytes()).unwrap_or(usize::MAX),
        }
    }

    /// This layer and then `newer` as one layer, if both are runs, the newer one is not much smaller, and
    /// the whole stays below `bytes_max`.
    pub(super) fn merge(&self, newer: &Self, bytes_max: usize) -> Result<Option<Self>> {
        let (Source::Run(old), Source::Run(new), PartId::Run(id)) = (&self.source, &newer.source, newer.id)
        else {
            return Ok(None);
        };
        let (old_bytes, new_bytes) = (old.bytes(), new.bytes());
        if new_bytes < old_bytes / 2 || old_bytes + new_bytes > bytes_max {
            return Ok(None);
        }
        let merged = Self::run(id, old.then(new)?, self.first, newer.last);
        // What both hid of a segment, the merged layer hides. Other masks are found again when asked for.
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
    pub(crate) async fn hides(&self, part: PartId, source: &Source) -> Result<Arc<RoaringBitmap>> {
        if let Some(mask) = self.masks().get(&part) {
            return Ok(Arc::clone(mask));
        }
        let mut mask = RoaringBitmap::new();
        match &self.source {
            Source::Run(run) => {
                mask |= source.find_all(run.ids()).await?;
                mask.extend(source.find(run.deletes()).await?.into_iter().flatten());
            }
            Source::Segment(segment) => {
                let mut after = None;
                loop {
                    let page = segment.next_ids(after.as_ref(), PAGE).await?;
                    let ids: Vec<DocumentId> = page.into_iter().map(|(id, _)| id).collect();
                    mask.extend(source.find(&ids).await?.into_iter().flatten());
                    match ids.last() {
                        Some(last) if ids.len() == PAGE => after = Some(last.clone()),
                        _ => break,
                    }
                }
            }
        }
        let mask = Arc::new(mask);
        self.masks().insert(part, Arc::clone(&mask));
        Ok(mask)
    }
}

impl Source {
    /// The rows of these ids, if they are here.
    pub(crate) async fn find(&self, ids: &[DocumentId]) -> Result<Vec<Option<u32>>> {
        match self {
            Self::Run(run) => Ok(ids.iter().map(|id| run.find(id)).collect()),
            Self::Segment(segment) => segment.find(ids).await,
        }
    }

    /// The rows of these ids, which are in ascending order.
    async fn find_all(&self, ids: &Ids) -> Result<RoaringBitmap> {
        match self {
            Self::Run(run) => Ok((0..ids.len()).filter_map(|row| run.find(&ids.get(row))).collect()),
            Self::Segment(segment) => segment.find_all(ids).await,
        }
    }

    /// The number of rows, dead ones included.
    pub(crate) fn rows(&self) -> u32 {
        match self {
            // A run is smaller than memory, and batches are limited to far fewer rows.
            Self::Run(run) => u32::try_from(run.rows().num_rows()).unwrap_or(u32::MAX),
            Self::Segment(segment) => segment.meta().rows,
        }
    }
}
