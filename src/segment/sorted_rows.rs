//! The rows that a segment is built of, in the order of their ids, wherever they are in memory.
//!
//! **Invariant:** vectors take most of the memory there is, so they are not copied before they are written.

use arrow::compute::interleave_record_batch;
use arrow::record_batch::RecordBatch;

use crate::codec::usize_of;
use crate::error::{Error, OrInternal, Result};
use crate::schema::Ids;
use crate::types::{DocumentId, IdKind};

/// Rows that are brought together at a time. A column of an Arrow batch counts bytes in `i32`, and a value may be
/// large: all rows at once could pass 2 GiB.
const CHUNK_ROWS: usize = 4_096;

/// Rows in the order of their ids.
#[derive(Debug, Default)]
pub(super) struct SortedRows {
    batches: Vec<RecordBatch>,
    rows: Vec<RowAddress>,
    bounds: Option<IdBounds>,
}

/// A row of a batch, by numbers. Eight bytes, for there is one for each row of the segment.
#[derive(Clone, Copy, Debug)]
struct RowAddress {
    batch: u32,
    row: u32,
}

/// The least id and the greatest.
#[derive(Clone, Debug)]
pub(super) struct IdBounds {
    pub(super) min: DocumentId,
    pub(super) max: DocumentId,
}

impl SortedRows {
    /// Adds all rows of a batch.
    pub(super) fn push_batch(&mut self, kind: IdKind, batch: RecordBatch) -> Result<()> {
        let ids = Ids::new(kind, batch.column(0))?;
        if ids.len() == 0 {
            return Ok(());
        }
        if !ids.is_ascending() {
            return Err(not_ascending());
        }
        self.extend_bounds(ids.get(0), ids.get(ids.len() - 1))?;
        let number = row_number(self.batches.len())?;
        self.rows.extend((0..row_number(ids.len())?).map(|row| RowAddress { batch: number, row }));
        self.batches.push(batch);
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
        // Batches are kept, rows are only named: the caller picks rows that live, and nothing is copied until the write.
        let first = self.batches.len();
        for (batch, row) in rows {
            let ids = ids.get(*batch).filter(|ids| *row < ids.len());
            let id = ids.ok_or_else(|| Error::internal("a row that its batch does not have"))?.get(*row);
            self.extend_bounds(id.clone(), id)?;
            self.rows.push(RowAddress { batch: row_number(first + batch)?, row: row_number(*row)? });
        }
        self.batches.extend(batches);
        row_number(self.rows.len()).map(drop)
    }

    /// Rows with ids from `min` to `max` follow those that are here.
    fn extend_bounds(&mut self, min: DocumentId, max: DocumentId) -> Result<()> {
        // The id index is searched by halves: a segment whose ids do not ascend would lose documents.
        let min = match self.bounds.take() {
            Some(bounds) if bounds.max >= min => {
                self.bounds = Some(bounds);
                return Err(not_ascending());
            }
            Some(bounds) => bounds.min,
            None => min,
        };
        self.bounds = Some(IdBounds { min, max });
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// `None` without rows.
    pub(super) fn bounds(&self) -> Option<&IdBounds> {
        self.bounds.as_ref()
    }

    pub(super) fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// The batch of each row, and which of its rows it is.
    pub(super) fn rows(&self) -> impl ExactSizeIterator<Item = (usize, usize)> + '_ {
        self.rows.iter().map(|address| (usize_of(address.batch), usize_of(address.row)))
    }

    /// Passes all rows to `visit`, a chunk at a time: in `order`, which is a permutation of the rows, or without it in
    /// the order of their ids.
    pub(super) fn visit_chunks(
        &self,
        order: Option<&[u32]>,
        mut visit: impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let mut chunk = Vec::with_capacity(CHUNK_ROWS);
        for start in (0..self.rows.len()).step_by(CHUNK_ROWS) {
            chunk.clear();
            for position in start..(start + CHUNK_ROWS).min(self.rows.len()) {
                chunk.push(self.row_at(position, order)?);
            }
            visit(gather_rows(&batches, &chunk)?)?;
        }
        Ok(())
    }

    /// The batch and row of what comes at `position`.
    fn row_at(&self, position: usize, order: Option<&[u32]>) -> Result<(usize, usize)> {
        let row = match order {
            Some(order) => order.get(position).map(|row| usize_of(*row)),
            None => Some(position),
        };
        let address = row.and_then(|row| self.rows.get(row));
        let address = address.ok_or_else(|| Error::internal("the order of rows is not one of all rows"))?;
        Ok((usize_of(address.batch), usize_of(address.row)))
    }
}

/// All rows of some batches, by batch and row, in the order of their ids.
pub(crate) fn sort_by_id(kind: IdKind, batches: &[RecordBatch]) -> Result<Vec<(usize, usize)>> {
    let mut rows: Vec<(DocumentId, (usize, usize))> = Vec::new();
    for (number, batch) in batches.iter().enumerate() {
        let ids = Ids::from_batch(kind, batch)?;
        rows.extend((0..ids.len()).map(|row| (ids.get(row), (number, row))));
    }
    rows.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Ok(rows.into_iter().map(|(_, address)| address).collect())
}

/// The rows as one batch.
fn gather_rows(batches: &[&RecordBatch], rows: &[(usize, usize)]) -> Result<RecordBatch> {
    let consecutive = |pair: &[(usize, usize)]| matches!(pair, [a, b] if a.0 == b.0 && a.1 + 1 == b.1);
    match rows.first() {
        // Rows that follow each other in one batch, as those of a flush without an index do, need no copy.
        Some((batch, row)) if rows.windows(2).all(consecutive) => {
            let batch = batches.get(*batch).ok_or_else(|| Error::internal("a row of no batch"))?;
            Ok(batch.slice(*row, rows.len()))
        }
        _ => interleave_record_batch(batches, rows).or_internal(),
    }
}

fn row_number(count: usize) -> Result<u32> {
    u32::try_from(count).map_err(|_| Error::limit("a segment of too many rows"))
}

fn not_ascending() -> Error {
    Error::internal("ids of a segment do not ascend")
}
