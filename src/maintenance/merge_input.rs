//! An input of a merge: a segment that is read in the order of its ids, page by page.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use roaring::RoaringBitmap;

use super::BATCH_ROWS;
use crate::codec::to_usize;
use crate::error::{Error, Result};
use crate::memtable::PartSource;
use crate::segment::{RowOrder, Segment};
use crate::types::DocumentId;
use crate::view::Part;

/// How much of an input is read at a time if its rows are in the order of their ids: each block is read once whatever
/// the size of pages, so small ones cost nothing and save memory.
const ORDERED_PAGE_BYTES: u64 = 8 << 20;

/// A segment that is being merged.
pub(super) struct MergeInput {
    segment: Arc<Segment>,
    /// The dead rows when the merge began. Rows that die later are found when it commits.
    dead: Arc<RoaringBitmap>,
    /// About how many bytes a row has, as the policy of merges measures segments.
    row_bytes: u64,
    /// How many rows are read at a time.
    page_rows: usize,
    /// The last id that was read, of a live row or a dead one.
    read_to: Option<DocumentId>,
    /// Whether the last page was read.
    is_read: bool,
    /// Live rows of the page that are not merged yet, in the order of their ids.
    ready: VecDeque<(DocumentId, u32)>,
    /// The live rows of the page, merged or not. `batch` has them in this order.
    page: RoaringBitmap,
    batch: RecordBatch,
}

/// A row in the order of the output.
pub(super) struct MergeRow {
    id: DocumentId,
    /// The index of its input.
    pub(super) input: usize,
    /// Its row in the segment.
    pub(super) row: u32,
    /// Its row in the batch of its input.
    pub(super) batch_row: usize,
}

impl MergeInput {
    /// Reads a segment of which about `bytes` may be in memory.
    pub(super) fn new(part: &Part, bytes: u64) -> Result<Self> {
        let PartSource::Segment(segment) = &part.source else {
            return Err(Error::internal("a merge of rows that are not in a segment"));
        };
        let meta = segment.meta();
        let (bytes, rows_max) = match meta.order {
            RowOrder::Id => (bytes.min(ORDERED_PAGE_BYTES), BATCH_ROWS),
            RowOrder::Cluster => (bytes, usize::MAX),
        };
        let stored_row_bytes = (meta.total_bytes() / u64::from(meta.rows.max(1))).max(1);
        // One row more than there are, so that the only page is known to be the last.
        let page_rows = (bytes / stored_row_bytes).min(u64::from(meta.rows) + 1);
        Ok(Self {
            segment: Arc::clone(segment),
            dead: Arc::clone(&part.deletes),
            row_bytes: segment.uncompressed_row_bytes(),
            page_rows: to_usize(page_rows, "the rows of a page")?.clamp(1, rows_max),
            read_to: None,
            is_read: false,
            ready: VecDeque::new(),
            page: RoaringBitmap::new(),
            batch: RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty())),
        })
    }

    /// About how many bytes a row has, as the policy of merges measures segments.
    pub(super) fn row_bytes(&self) -> u64 {
        self.row_bytes
    }

    /// The live rows of the page.
    pub(super) fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// The last id that was read of an input that has more.
    fn end_of_page(&self) -> Result<&DocumentId> {
        self.read_to
            .as_ref()
            .ok_or_else(|| Error::internal("an input of a merge has rows, but none was read"))
    }

    /// Whether everything was merged.
    pub(super) fn is_done(&self) -> bool {
        self.is_read && self.ready.is_empty()
    }

    /// Reads the next page with a live row, if everything that was read is merged.
    pub(super) async fn fetch_page(&mut self, columns: &[usize]) -> Result<()> {
        // The batch starts without columns: even an input without a live row needs one in the layout of the others.
        let mut is_new = self.batch.num_columns() == 0;
        while self.ready.is_empty() && !self.is_read {
            let ids = self.segment.next_ids(self.read_to.as_ref(), self.page_rows).await?;
            self.is_read = ids.len() < self.page_rows;
            if let Some((last, _)) = ids.last() {
                self.read_to = Some(last.clone());
            }
            self.ready = ids.into_iter().filter(|(_, row)| !self.dead.contains(*row)).collect();
            is_new = true;
        }
        if is_new {
            self.page = self.ready.iter().map(|(_, row)| *row).collect();
            self.batch = self.segment.fetch_rows(columns, &self.page).await?;
        }
        Ok(())
    }

    /// Where a row of the page is in the batch.
    fn batch_row(&self, row: u32) -> Result<usize> {
        let rank = to_usize(self.page.rank(row), "a row of a page")?;
        rank.checked_sub(1).ok_or_else(|| Error::internal("a row is before its page"))
    }
}

/// Takes the rows whose order is known from all inputs, in the order of their ids.
pub(super) fn take_merged_rows(inputs: &mut [MergeInput]) -> Result<Vec<MergeRow>> {
    // Beyond the least of the ends of their pages, an input that has more may still have a smaller id.
    let ends = inputs.iter().filter(|input| !input.is_read).map(MergeInput::end_of_page);
    let known_to = ends.collect::<Result<Vec<_>>>()?.into_iter().min().cloned();
    // A sort, where a k-way merge would use a heap of its inputs: the pages are in memory in any case, and nearly all of
    // the time goes into fetching and encoding their rows.
    let mut rows = Vec::new();
    for (index, input) in inputs.iter_mut().enumerate() {
        let is_known = |(id, _): &(DocumentId, u32)| known_to.as_ref().is_none_or(|known_to| id <= known_to);
        let known = input.ready.partition_point(is_known);
        let page = input.ready.drain(..known).collect::<Vec<_>>();
        for (id, row) in page {
            rows.push(MergeRow { id, input: index, row, batch_row: input.batch_row(row)? });
        }
    }
    // Ids are unique among live rows: a newer row of an id hides the older ones.
    rows.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    Ok(rows)
}
