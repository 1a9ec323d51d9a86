//! Rows that are as good as each other: which of them come first when more tie than are wanted.
//!
//! Rows of an indexed segment lie in the order of its clusters, so a cut by row would keep any of them, and others
//! after the next compaction. Here ties are cut by the ids of the documents, of which there is one order.

use std::collections::BinaryHeap;

use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringBitmap;

use super::{Part, Place, View};
use crate::error::{Error, Result};
use crate::memtable::Source;
use crate::schema::{Ids, Schema};
use crate::segment::RowOrder;
use crate::types::DocumentId;

/// How many more rows than its depth a leg of several keeps for being as good as the last: those with the least ids.
pub(super) const TIES_MAX: usize = 4_096;
/// Ids that are read and compared at a time.
const PAGE: usize = 8_192;
/// Pages of ids that are read ahead.
const PARALLEL: usize = 4;

/// The number of a part, and rows of it that tie under a key.
pub(super) type Tied = (usize, f64, RoaringBitmap);

/// Rows of a part with what ranks them, before ties are cut.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranked {
    /// Those that are better than the last that is wanted, best first.
    pub(super) sure: Vec<(f64, u32)>,
    /// Those that are as good as the last, with their key: more than are wanted, perhaps.
    pub(super) tied: Option<(f64, RoaringBitmap)>,
}

impl Ranked {
    /// Of rows in order of their keys, all that tie with the last of the first `limit` among them.
    pub(super) fn of(mut rows: Vec<(f64, u32)>, limit: usize) -> Self {
        let Some(last) = limit.min(rows.len()).checked_sub(1).and_then(|last| rows.get(last)) else {
            return Self::default();
        };
        let key = last.0;
        let start = rows.iter().position(|(other, _)| other.total_cmp(&key).is_eq()).unwrap_or_default();
        let tied = rows.split_off(start).into_iter().take_while(|(other, _)| other.total_cmp(&key).is_eq());
        let tied = tied.map(|(_, row)| row).collect();
        Self { sure: rows, tied: Some((key, tied)) }
    }

    /// The rows that tie, with their key, if a cut after `count` leaves some of them out.
    pub(super) fn parted(&self, count: usize) -> Option<(f64, RoaringBitmap)> {
        let left = count.saturating_sub(self.sure.len()) as u64;
        self.tied.as_ref().filter(|(_, tied)| tied.len() > left).cloned()
    }

    /// With more rows that tie with the last.
    pub(super) fn with(mut self, more: RoaringBitmap) -> Self {
        if let Some((_, tied)) = &mut self.tied {
            *tied |= more;
        }
        self
    }
}

impl Part {
    /// The first `count` of some rows: of those that tie, the ones with the least ids. Best first, ties by row.
    pub(super) async fn cut(&self, schema: &Schema, ranked: Ranked, count: usize) -> Result<Vec<(f64, u32)>> {
        let Ranked { sure: mut rows, tied } = ranked;
        rows.truncate(count);
        if let Some((key, tied)) = tied {
            let tied = self.least_ids(schema, &tied, count - rows.len()).await?;
            rows.extend(tied.into_iter().map(|row| (key, row)));
        }
        Ok(rows)
    }

    /// The `count` of some rows that have the least ids; all of them if there are no more.
    pub(super) async fn least_ids(
        &self,
        schema: &Schema,
        rows: &RoaringBitmap,
        count: usize,
    ) -> Result<RoaringBitmap> {
        if rows.len() <= count as u64 {
            return Ok(rows.clone());
        }
        let in_order = match &self.source {
            Source::Segment(segment) => segment.meta().order == RowOrder::Id,
            Source::Run(_) => true,
        };
        if in_order || count == 0 {
            return Ok(rows.iter().take(count).collect());
        }
        // Whichever looks at fewer ids: all ids from the least on, or those of the rows.
        let walk = (count as u64).saturating_mul(self.source.rows().into()) / rows.len();
        let mut least =
            if walk < rows.len() { self.walk(rows, count, walk).await? } else { RoaringBitmap::new() };
        let left = count.saturating_sub(usize::try_from(least.len()).unwrap_or(usize::MAX));
        if left > 0 {
            least |= self.least_of(schema, &(rows - &least), left).await?;
        }
        Ok(least)
    }

    /// The first `count` of some rows in the order of all ids, or fewer, if these are not among the first of those.
    /// With rows that lie evenly it takes about `walk` ids.
    async fn walk(&self, rows: &RoaringBitmap, count: usize, walk: u64) -> Result<RoaringBitmap> {
        let page = usize::try_from(walk).unwrap_or(usize::MAX).saturating_mul(2).clamp(256, PAGE);
        let (mut least, mut after, mut left) = (RoaringBitmap::new(), None, rows.len());
        while left > 0 {
            let ids = self.next_ids(after.as_ref(), page).await?;
            for (_, row) in ids.iter().filter(|(_, row)| rows.contains(*row)) {
                least.insert(*row);
                if least.len() == count as u64 {
                    return Ok(least);
                }
            }
            left = left.saturating_sub(ids.len() as u64);
            match ids.into_iter().next_back() {
                Some((id, _)) => after = Some(id),
                None => return Err(Error::internal("rows without an id")),
            }
        }
        Ok(least)
    }

    /// The `count` of some rows that have the least ids, by the ids of all of them.
    async fn least_of(&self, schema: &Schema, rows: &RoaringBitmap, count: usize) -> Result<RoaringBitmap> {
        let all: Vec<u32> = rows.iter().collect();
        let pages: Vec<RoaringBitmap> = all.chunks(PAGE).map(|page| page.iter().copied().collect()).collect();
        let read = |page: RoaringBitmap| async move {
            Ok::<_, Error>((self.fetch(schema, &[], &page).await?, page))
        };
        let mut batches = stream::iter(pages).map(read).buffered(PARALLEL);
        // The greatest on top.
        let mut least: BinaryHeap<(DocumentId, u32)> = BinaryHeap::new();
        while let Some((batch, page)) = batches.try_next().await? {
            let ids = Ids::new(schema.id(), batch.column(0))?;
            for (at, row) in page.iter().enumerate() {
                if least.len() < count {
                    least.push((ids.get(at), row));
                } else if let Some(mut greatest) = least.peek_mut()
                    && ids.compare(at, &greatest.0).is_lt()
                {
                    *greatest = (ids.get(at), row);
                }
            }
        }
        Ok(least.into_iter().map(|(_, row)| row).collect())
    }
}

impl View {
    /// The first `count` of the places that parts found, which lie in order of their keys: of those that tie with the
    /// last, the ones with the least ids.
    pub(super) async fn cut(&self, mut found: Vec<(f64, Place)>, count: usize) -> Result<Vec<(f64, Place)>> {
        if found.len() <= count {
            return Ok(found);
        }
        let Some(last) = count.checked_sub(1).and_then(|last| found.get(last)).map(|(key, _)| *key) else {
            return Ok(Vec::new());
        };
        let equals_last = |other: &(f64, Place)| other.0.total_cmp(&last).is_eq();
        let start = found.iter().position(equals_last).unwrap_or_default();
        let mut tied = found.split_off(start);
        tied.truncate(tied.iter().take_while(|other| equals_last(other)).count());
        let wanted = count - start;
        if tied.len() > wanted {
            let places: Vec<Place> = tied.iter().map(|(_, place)| *place).collect();
            let batch = self.fetch(&places, &[]).await?;
            let ids = Ids::new(self.schema.id(), batch.column(0))?;
            let mut order: Vec<(DocumentId, Place)> =
                places.into_iter().enumerate().map(|(at, place)| (ids.get(at), place)).collect();
            order.sort_unstable();
            order.truncate(wanted);
            tied = order.into_iter().map(|(_, place)| (last, place)).collect();
            tied.sort_unstable_by_key(|(_, place)| *place);
        }
        found.append(&mut tied);
        Ok(found)
    }
}
