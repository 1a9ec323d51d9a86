//! The rows of a segment that is built, wherever they lie in memory.
//!
//! **Invariant:** vectors take most of the memory there is, so they are not copied before they are written.

use arrow::compute::interleave_record_batch;
use arrow::record_batch::RecordBatch;

use super::ids::check_order;
use crate::error::{Error, OrInternal, Result};
use crate::schema::Ids;
use crate::types::{DocumentId, IdKind};

/// Rows that are brought together at a time: a column of an Arrow batch holds 2 GiB at most.
const TOGETHER: usize = 4_096;

/// Rows in the order of their ids.
#[derive(Debug, Default)]
pub(super) struct SortedRows {
    batches: Vec<RecordBatch>,
    /// Batch and row within it.
    rows: Vec<(u32, u32)>,
    bounds: Option<(DocumentId, DocumentId)>,
}

impl SortedRows {
    /// Adds all rows of a batch.
    pub(super) fn push(&mut self, kind: IdKind, batch: RecordBatch) -> Result<()> {
        let ids = Ids::new(kind, batch.column(0))?;
        check_order(&ids, self.bounds.as_ref().map(|(_, last)| last))?;
        if let Some(last) = ids.len().checked_sub(1) {
            self.extend_bounds(ids.get(0), ids.get(last));
            let number = row_number(self.batches.len())?;
            self.rows.extend((0..row_number(ids.len())?).map(|row| (number, row)));
            self.batches.push(batch);
        }
        row_number(self.rows.len()).map(drop)
    }

    /// Adds some rows of batches, given by batch and row.
    pub(super) fn push_rows(
        &mut self,
        kind: IdKind,
        batches: Vec<RecordBatch>,
        rows: &[(usize, usize)],
    ) -> Result<()> {
        let ids: Vec<Ids> =
            batches.iter().map(|batch| Ids::new(kind, batch.column(0))).collect::<Result<_>>()?;
        let id = |(batch, row): &(usize, usize)| {
            let ids = ids.get(*batch).filter(|ids| *row < ids.len());
            ids.map(|ids| ids.get(*row)).ok_or_else(|| Error::internal("a row that is not"))
        };
        let first = self.batches.len();
        for pick in rows {
            let id = id(pick)?;
            if self.bounds.as_ref().is_some_and(|(_, last)| *last >= id) {
                return Err(Error::internal("ids of a segment do not ascend"));
            }
            self.extend_bounds(id.clone(), id);
            self.rows.push((row_number(first + pick.0)?, row_number(pick.1)?));
        }
        self.batches.extend(batches);
        row_number(self.rows.len()).map(drop)
    }

    fn extend_bounds(&mut self, first: DocumentId, last: DocumentId) {
        let first = self.bounds.take().map_or(first, |(first, _)| first);
        self.bounds = Some((first, last));
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.rows.len()).unwrap_or(u32::MAX)
    }

    /// The least id and the greatest.
    pub(super) fn bounds(&self) -> Option<&(DocumentId, DocumentId)> {
        self.bounds.as_ref()
    }

    pub(super) fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// The batch of each row, and where in it the row lies.
    pub(super) fn rows(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.rows.iter().map(|(batch, row)| (*batch as usize, *row as usize))
    }

    /// All rows in an order, that of their ids without one, some at a time.
    pub(super) fn visit(
        &self,
        order: Option<&[u32]>,
        mut visit: impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let mut picks = Vec::with_capacity(TOGETHER);
        for start in (0..self.rows.len()).step_by(TOGETHER) {
            picks.clear();
            let chunk = start..(start + TOGETHER).min(self.rows.len());
            let place = |at: usize| order.map_or(Some(at), |order| order.get(at).map(|row| *row as usize));
            let rows = chunk.filter_map(place).filter_map(|row| self.rows.get(row));
            picks.extend(rows.map(|(batch, row)| (*batch as usize, *row as usize)));
            visit(
                match consecutive_start(&picks).and_then(|(batch, row)| Some((batches.get(batch)?, row))) {
                    Some((batch, row)) => batch.slice(row, picks.len()),
                    None => interleave_record_batch(&batches, &picks).or_internal()?,
                },
            )?;
        }
        Ok(())
    }
}

/// Where the run begins, if rows are one.
fn consecutive_start(picks: &[(usize, usize)]) -> Option<(usize, usize)> {
    let follows = |pair: &[(usize, usize)]| matches!(pair, [a, b] if a.0 == b.0 && a.1 + 1 == b.1);
    picks.first().copied().filter(|_| picks.windows(2).all(follows))
}

fn row_number(count: usize) -> Result<u32> {
    u32::try_from(count).map_err(|_| Error::limit("a segment of too many rows"))
}
