//! Reading the vectors of a column: rows that follow each other become an array of the bytes that arrived.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use bytes::Bytes;
use roaring::RoaringBitmap;

use super::WHAT;
use super::checksums::RowChecksums;
use super::components::components_array;
use super::header::{HEADER_BYTES, Header, row_bytes};
use super::runs::row_runs;
use crate::cache::{Blob, Span};
use crate::codec::{CodecError, Reader, rows_bitmap, u64_of};
use crate::env::{Cost, Env};
use crate::error::{Error, Result};
use crate::schema::VectorColumn;

/// The exact vectors of a column: its nulls in memory, its rows on the store.
#[derive(Clone, Debug)]
pub(in crate::segment) struct ExactVectors {
    blob: Blob,
    shape: VectorColumn,
    rows: u32,
    /// Rows that have a vector.
    count: u32,
    /// The offset of the first row.
    components: u64,
    checksums: RowChecksums,
    nulls: Arc<RoaringBitmap>,
}

/// Which rows are read together, and the blocks of their checksums.
struct RowSelection {
    runs: Vec<Range<u32>>,
    blocks: Vec<u32>,
}

impl ExactVectors {
    /// Reads a head, which must be that of `rows` rows of `shape`. `seed` is that of
    /// [`row_checksum_seed`](super::row_checksum_seed); `resident` are the checksums, if they are a head too.
    pub(in crate::segment) fn decode(
        blob: Blob,
        (shape, seed): (VectorColumn, u32),
        rows: u32,
        head: &[u8],
        resident: Option<&Bytes>,
    ) -> Result<Self, CodecError> {
        let mut reader = Reader::new(WHAT, head);
        let header = Header::decode(shape, reader.take(HEADER_BYTES)?)?;
        if header.rows != rows {
            return Err(CodecError::malformed(WHAT, "the header is not of this segment"));
        }
        let checksums = RowChecksums::new(seed, rows, header.checksums, resident)?;
        // Rows that reached into their checksums would be read as both.
        // invariant: without checksums in the file, the components end with it.
        let components_max = header.checksums.unwrap_or(blob.size());
        let ends_early = header.components_end().is_none_or(|end| end > components_max);
        if ends_early || checksums.end().is_some_and(|end| end > blob.size()) {
            return Err(CodecError::Truncated { what: WHAT });
        }
        // It has no row beyond the last, and so no more than there are rows.
        let nulls = rows_bitmap(WHAT, reader.rest(), rows)?;
        let count = u32::try_from(nulls.len()).ok().and_then(|nulls| rows.checked_sub(nulls));
        let count = count.ok_or_else(|| CodecError::malformed(WHAT, "more nulls than rows"))?;
        let (components, nulls) = (header.components, Arc::new(nulls));
        Ok(Self { blob, shape, rows, count, components, checksums, nulls })
    }

    /// How many rows have a vector.
    pub(in crate::segment) fn count(&self) -> u32 {
        self.count
    }

    /// The rows without a vector.
    pub(in crate::segment) fn nulls(&self) -> &RoaringBitmap {
        &self.nulls
    }

    /// The vectors of a run of rows, in one round trip. The array shares the memory of what arrived.
    pub(in crate::segment) async fn fetch_range(&self, env: &Env, rows: Range<u32>) -> Result<ArrayRef> {
        self.fetch_runs(env, vec![rows]).await
    }

    /// The vectors of `rows`, in one round trip. If they are a run, the array shares the memory of what arrived.
    pub(in crate::segment) async fn fetch(&self, env: &Env, rows: &RoaringBitmap) -> Result<ArrayRef> {
        self.fetch_runs(env, row_runs(rows)).await
    }

    async fn fetch_runs(&self, env: &Env, runs: Vec<Range<u32>>) -> Result<ArrayRef> {
        if runs.iter().any(|run| run.end > self.rows) {
            return Err(Error::internal("vectors of rows that the segment does not have"));
        }
        let width = u64_of(row_bytes(self.shape));
        let at = |row: u32| self.components + u64::from(row) * width;
        // Without checksums of the spans: which rows are read together is not known when the file is written.
        let mut spans: Vec<Span> = runs.iter().map(|run| (at(run.start)..at(run.end)).into()).collect();
        let blocks = self.checksums.blocks(&runs);
        spans.extend(blocks.iter().map(|first_row| self.checksums.block_span(*first_row)));
        let selection = Arc::new(RowSelection { runs, blocks });
        let decode = |bytes: Vec<Bytes>| {
            let cost = Cost::vector_bytes(bytes.iter().take(selection.runs.len()).map(Bytes::len).sum());
            let (this, selection) = (self.clone(), Arc::clone(&selection));
            let array = env.compute(cost, move || this.decode_runs(&selection, &bytes));
            async { array.await?.map_err(|e| e.at(self.blob.key())) }
        };
        self.blob.read_decoded(&spans, decode).await
    }

    /// Checks rows and makes them an array. `bytes` are those of the runs, and behind them those of the blocks.
    fn decode_runs(&self, selection: &RowSelection, bytes: &[Bytes]) -> Result<ArrayRef, CodecError> {
        let RowSelection { runs, blocks } = selection;
        let (rows, block_bytes) =
            bytes.split_at_checked(runs.len()).ok_or(CodecError::Truncated { what: WHAT })?;
        // Spans have no checksums of their own: each row is checked here, whatever run it was read with.
        let checksums = self.checksums.loaded(blocks, block_bytes);
        for (run, bytes) in runs.iter().zip(rows) {
            checksums.verify_run(run, bytes, row_bytes(self.shape))?;
        }
        let values = components_array(rows, self.shape.element);
        let valid: Vec<bool> = runs.iter().cloned().flatten().map(|row| !self.nulls.contains(row)).collect();
        let nulls = Some(NullBuffer::from(valid)).filter(|nulls| nulls.null_count() > 0);
        let DataType::FixedSizeList(field, dimension) = self.shape.arrow_type() else {
            return Err(CodecError::malformed(WHAT, "not a list"));
        };
        let list = FixedSizeListArray::try_new(field, dimension, values, nulls);
        list.map(|list| Arc::new(list) as ArrayRef).map_err(|e| CodecError::malformed(WHAT, e))
    }
}
