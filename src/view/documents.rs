//! Documents of a view: where they are, and their columns.

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::compute::{concat_batches, interleave_record_batch};
use arrow::datatypes::SchemaRef;
use futures::future::{BoxFuture, try_join_all};
use roaring::RoaringBitmap;

use super::{Part, View, no_such_part};
use crate::codec::{to_usize, zip_equal};
use crate::error::{Error, OrInternal, Result};
use crate::memtable::PartSource;
use crate::types::{Document, DocumentId};

/// About how many bytes of documents are read at a time. One read of all is fastest; this bounds the memory that the
/// parts' batches take besides the result.
const READ_BYTES_MAX: u64 = 64 << 20;
/// What an answer may take besides its documents: Arrow reserves buffers with room to spare.
const SLACK_BYTES: usize = 64 << 10;

/// The address of a row: its part and the row in it.
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
            let missing = || Error::internal("fewer documents were fetched than found");
            let take = |addr: Option<RowAddr>| addr.map(|_| documents.next().ok_or_else(missing)).transpose();
            addrs.into_iter().map(take).collect()
        })
    }

    /// The addresses of documents by their ids. All parts are searched concurrently.
    pub(crate) async fn locate_documents(&self, ids: &[DocumentId]) -> Result<Vec<Option<RowAddr>>> {
        let parts = self.parts();
        let found = try_join_all(parts.iter().map(|part| part.source.find_rows(ids))).await?;
        let mut addrs = vec![None; ids.len()];
        for (number, (part, rows)) in
            zip_equal(&parts, found, "parts and the rows found in them")?.enumerate()
        {
            let layer = number.checked_sub(self.segments.len()).and_then(|layer| self.layers.get(layer));
            let found = zip_equal(&mut addrs, rows, "ids and the rows found for them")?;
            for ((addr, row), id) in found.zip(ids) {
                match row {
                    // Parts are visited oldest first, so that the newest row of an id remains.
                    Some(row) if !part.deletes.contains(row) => *addr = Some(RowAddr { part: number, row }),
                    // A newer layer also decides if it only deletes the id.
                    None if layer.is_some_and(|layer| layer.has_deleted(id)) => *addr = None,
                    Some(_) | None => {}
                }
            }
        }
        Ok(addrs)
    }

    /// The id and these columns of the rows at some addresses, in the order of the addresses. Each part is read once,
    /// all parts concurrently, unless the documents are so large that they are read in several steps.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) for more bytes than
    /// [`Settings::answer_bytes_max`](crate::Settings).
    pub(crate) async fn fetch_documents(&self, addrs: &[RowAddr], columns: &[usize]) -> Result<RecordBatch> {
        let parts = self.parts();
        let declared = self.schema.columns();
        if let Some(column) = columns.iter().find(|column| **column >= declared.len()) {
            return Err(Error::internal(format!(
                "the schema has no column of this number. number=`{column}`"
            )));
        }
        let layout = self
            .schema
            .arrow_projection(|column| columns.iter().any(|number| declared.get(*number) == Some(column)));
        let (mut batches, mut bytes) = (Vec::new(), 0_usize);
        for addrs in split_by_read(&parts, addrs, columns)? {
            let batch = self.fetch_at_once(&parts, addrs, columns, &layout).await?;
            bytes = bytes.saturating_add(batch.get_array_memory_size());
            // After every step: what is too large is given up before all of it is in memory.
            if bytes > self.settings.answer_bytes_max.saturating_add(SLACK_BYTES) {
                let max = self.settings.answer_bytes_max;
                return Err(Error::limit(format!(
                    "the documents are too large together: at most {max} bytes of them are read at a time, ask for \
                     fewer of them or for fewer columns"
                )));
            }
            batches.push(batch);
        }
        match (batches.pop(), batches.is_empty()) {
            // The common case is not copied.
            (Some(only), true) => Ok(only),
            (last, _) => {
                batches.extend(last);
                concat_batches(&layout, &batches).or_internal()
            }
        }
    }

    async fn fetch_at_once(
        &self,
        parts: &[Part],
        addrs: &[RowAddr],
        columns: &[usize],
        layout: &SchemaRef,
    ) -> Result<RecordBatch> {
        let mut rows = vec![RoaringBitmap::new(); parts.len()];
        for addr in addrs {
            rows.get_mut(addr.part).ok_or_else(|| no_such_part(addr.part))?.insert(addr.row);
        }
        // Of each part that is read, its batch and the rows that the batch has, in this order.
        let (mut batch_of_part, mut reads) = (vec![None; parts.len()], Vec::new());
        let slots = zip_equal(&mut batch_of_part, &rows, "parts and their rows")?.zip(parts);
        for ((batch, rows), part) in slots.filter(|((_, rows), _)| !rows.is_empty()) {
            *batch = Some((reads.len(), rows));
            reads.push(part.fetch_rows(&self.schema, columns, rows));
        }
        if reads.is_empty() {
            return Ok(RecordBatch::new_empty(layout.clone()));
        }
        let batches = try_join_all(reads).await?;
        let picks = addrs.iter().map(|addr| {
            let (batch, rows) =
                batch_of_part.get(addr.part).copied().flatten().ok_or_else(|| no_such_part(addr.part))?;
            // `rank` counts the rows up to this one, itself included.
            let position = rows.rank(addr.row).checked_sub(1);
            let position = position.ok_or_else(|| Error::internal("a row that was not read"))?;
            Ok((batch, to_usize(position, "a position in a batch")?))
        });
        let picks = picks.collect::<Result<Vec<_>>>()?;
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        interleave_record_batch(&batches, &picks).or_internal()
    }

    /// Ranges of addresses whose documents take about `bytes_max` bytes each in these columns.
    pub(crate) fn split_by_bytes(
        &self,
        addrs: &[RowAddr],
        columns: &[usize],
        bytes_max: u64,
    ) -> Result<Vec<Range<usize>>> {
        let parts = self.parts();
        let (mut ranges, mut start, mut bytes) = (Vec::new(), 0, 0_u64);
        for (index, addr) in addrs.iter().enumerate() {
            let part = parts.get(addr.part).ok_or_else(|| no_such_part(addr.part))?;
            let row_bytes = part.row_bytes(columns, addr.row);
            bytes = bytes.saturating_add(row_bytes);
            // A range has at least one document, however large.
            if bytes > bytes_max && index > start {
                ranges.push(start..index);
                (start, bytes) = (index, row_bytes);
            }
        }
        ranges.extend((start < addrs.len()).then_some(start..addrs.len()));
        Ok(ranges)
    }
}

/// The addresses in runs whose documents are read together.
fn split_by_read<'a>(
    parts: &[Part],
    mut addrs: &'a [RowAddr],
    columns: &[usize],
) -> Result<Vec<&'a [RowAddr]>> {
    let mut runs = Vec::new();
    while !addrs.is_empty() {
        let (mut bytes, mut count) = (0_u64, 0);
        for addr in addrs {
            let part = parts.get(addr.part).ok_or_else(|| no_such_part(addr.part))?;
            bytes = bytes.saturating_add(match &part.source {
                PartSource::Segment(segment) => segment.row_bytes(columns, addr.row),
                // It is in memory already, whether it is copied in one step or in several.
                PartSource::Memory(_) => 0,
            });
            if bytes > READ_BYTES_MAX && count > 0 {
                break;
            }
            count += 1;
        }
        let (run, rest) = addrs.split_at(count);
        runs.push(run);
        addrs = rest;
    }
    Ok(runs)
}
