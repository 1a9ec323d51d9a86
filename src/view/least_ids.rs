//! Which of many rows have the least ids: the order of rows that are otherwise equal.

use std::collections::BinaryHeap;

use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringBitmap;

use super::Part;
use crate::error::{Error, Result};
use crate::memtable::PartSource;
use crate::schema::{Ids, Schema};
use crate::segment::RowOrder;
use crate::types::DocumentId;

/// Ids that are read and compared at a time.
const PAGE: usize = 8_192;
/// Pages of ids that are read ahead.
const PARALLEL: usize = 4;

impl Part {
    /// The `count` of some rows that have the least ids; all of them if there are no more.
    pub(crate) async fn select_smallest_ids(
        &self,
        schema: &Schema,
        rows: &RoaringBitmap,
        count: usize,
    ) -> Result<RoaringBitmap> {
        if rows.len() <= count as u64 {
            return Ok(rows.clone());
        }
        let in_order = match &self.source {
            PartSource::Segment(segment) => segment.meta().order == RowOrder::Id,
            PartSource::Memory(_) => true,
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
            Ok::<_, Error>((self.fetch_rows(schema, &[], &page).await?, page))
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
