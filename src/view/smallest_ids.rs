//! The rows with the smallest ids among many: the order of rows that are otherwise equal.

use std::collections::BinaryHeap;

use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringBitmap;

use super::Part;
use crate::codec::{to_usize, u64_of, zip_equal};
use crate::error::{Error, Result};
use crate::memtable::PartSource;
use crate::schema::{Ids, Schema};
use crate::segment::RowOrder;
use crate::types::DocumentId;

/// Ids that are read and compared at a time: some hundred KiB of them, a fraction of a round trip's worth.
const PAGE: usize = 8_192;
/// The smallest page of the id index: smaller ones save no bytes, since ids are stored in blocks.
const PAGE_MIN: usize = 256;
/// Pages of ids that are read ahead.
const PARALLEL: usize = 4;

impl Part {
    /// The `count` rows with the smallest ids among `rows`, or all of them if they are fewer.
    pub(crate) async fn select_smallest_ids(
        &self,
        schema: &Schema,
        rows: &RoaringBitmap,
        count: usize,
    ) -> Result<RoaringBitmap> {
        let wanted = u64_of(count);
        if rows.len() <= wanted {
            return Ok(rows.clone());
        }
        let in_order = match &self.source {
            PartSource::Segment(segment) => segment.meta().order == RowOrder::Id,
            PartSource::Memory(_) => true,
        };
        if in_order || count == 0 {
            return Ok(rows.iter().take(count).collect());
        }
        // Two ways, of which the one that is expected to look at fewer ids is taken: walking all ids in ascending order
        // until enough of them belong to `rows`, or reading the ids of `rows`. The first assumes that `rows` are spread
        // evenly over the ids.
        let walk = wanted.saturating_mul(self.source.rows().into()) / rows.len();
        let mut smallest = if walk < rows.len() {
            self.walk_smallest_ids(rows, wanted, walk).await?
        } else {
            RoaringBitmap::new()
        };
        // The walk stops early only once it has enough.
        if smallest.len() < wanted {
            let missing = to_usize(wanted - smallest.len(), "a number of rows")?;
            smallest |= self.compare_smallest_ids(schema, &(rows - &smallest), missing).await?;
        }
        Ok(smallest)
    }

    /// Walks the ids in ascending order for the first `count` of `rows`. About `walk` ids are expected.
    async fn walk_smallest_ids(&self, rows: &RoaringBitmap, count: u64, walk: u64) -> Result<RoaringBitmap> {
        // Twice the expected number, so that one page is mostly enough.
        let page = walk.saturating_mul(2).clamp(u64_of(PAGE_MIN), u64_of(PAGE));
        let page = to_usize(page, "a page of ids")?;
        // Gives up after as many ids as comparing all of `rows` reads.
        let (mut smallest, mut after, mut budget) = (RoaringBitmap::new(), None, rows.len());
        while budget > 0 {
            let ids = self.next_ids(after.as_ref(), page).await?;
            for (_, row) in ids.iter().filter(|(_, row)| rows.contains(*row)) {
                smallest.insert(*row);
                if smallest.len() == count {
                    return Ok(smallest);
                }
            }
            budget = budget.saturating_sub(u64_of(ids.len()));
            match ids.into_iter().next_back() {
                Some((id, _)) => after = Some(id),
                None => return Err(Error::internal("rows without an id")),
            }
        }
        Ok(smallest)
    }

    /// Reads the ids of `rows` and keeps the `count` smallest.
    async fn compare_smallest_ids(
        &self,
        schema: &Schema,
        rows: &RoaringBitmap,
        count: usize,
    ) -> Result<RoaringBitmap> {
        let rows: Vec<u32> = rows.iter().collect();
        let pages: Vec<RoaringBitmap> =
            rows.chunks(PAGE).map(|page| page.iter().copied().collect()).collect();
        let read = |page: RoaringBitmap| async move {
            Ok::<_, Error>((self.fetch_rows(schema, &[], &page).await?, page))
        };
        let mut batches = stream::iter(pages).map(read).buffered(PARALLEL);
        // A max-heap: the largest of the smallest is the one to replace.
        let mut smallest: BinaryHeap<(DocumentId, u32)> = BinaryHeap::new();
        while let Some((batch, page)) = batches.try_next().await? {
            let ids = Ids::new(schema.id(), batch.column(0))?;
            for (index, row) in zip_equal(0..ids.len(), page.iter(), "ids and their rows")? {
                if smallest.len() < count {
                    smallest.push((ids.get(index), row));
                } else if let Some(mut largest) = smallest.peek_mut()
                    && ids.compare(index, &largest.0).is_lt()
                {
                    *largest = (ids.get(index), row);
                }
            }
        }
        Ok(smallest.into_iter().map(|(_, row)| row).collect())
    }
}
