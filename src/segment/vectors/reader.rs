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
use crate::codec::{CodecError, Reader, rows_bitmap, to_u32, u64_of, usize_of};
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

/// The bytes of rows that are read and cached together where single rows are wanted.
///
/// Hits of two queries are seldom the same rows, but neighbours, since a segment with an index lies in the order of its
/// clusters. A range of just the rows that one query wants would be of no use to the next, and every new query would go to
/// the store. A block is transferred in much less time than a request takes.
const BLOCK_BYTES: usize = 16 << 10;

/// Rows of a run that are checked and worked on at a time: they stay in the second cache of a core in between, so that memory
/// is read once.
const PIECE_BYTES: usize = 256 << 10;

/// Rows between those that are wanted are read with them, up to so many bytes, where much is read: a request costs as much.
const BULK_GAP_BYTES: usize = 64 << 10;
/// One read of much, at most: several of them go on at once.
const BULK_READ_BYTES: usize = 8 << 20;

/// Rows that are wanted, and what is read for them.
struct RowSelection {
    runs: Vec<Range<u32>>,
    /// The rows of each range that is read, ascending and apart: every run lies in some that follow each other.
    reads: Vec<Range<u32>>,
    /// The blocks of the checksums.
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

    /// Folds over the vectors of a run of rows, in one round trip: `fold` is given pieces of the run, in their order, each
    /// with the number of its first row. Their arrays share the memory of what arrived. Bytes that were damaged in transit are
    /// read anew, and folded from `init` on.
    pub(in crate::segment) async fn fold_range<T, F>(
        &self,
        env: &Env,
        rows: Range<u32>,
        init: T,
        fold: F,
    ) -> Result<T>
    where
        T: Clone + Send + Sync + 'static,
        F: Fn(T, u32, ArrayRef) -> Result<T> + Clone + Send + Sync + 'static,
    {
        let (spans, blocks) = self.plan_spans(std::slice::from_ref(&rows), std::slice::from_ref(&rows))?;
        let decode = |bytes: Vec<Bytes>| {
            let cost = Cost::vector_bytes(rows.len().saturating_mul(row_bytes(self.shape)));
            let (this, rows, blocks) = (self.clone(), rows.clone(), blocks.clone());
            let (init, fold) = (init.clone(), fold.clone());
            let folded = env.compute(cost, move || this.fold_pieces(rows, &blocks, &bytes, init, fold));
            async { folded.await? }
        };
        self.blob.read_decoded(&spans, decode).await
    }

    /// Checks the rows of a run and folds over them, piece by piece. `bytes` are those of the run, and behind them those of the
    /// blocks.
    fn fold_pieces<T>(
        &self,
        rows: Range<u32>,
        blocks: &[u32],
        bytes: &[Bytes],
        init: T,
        fold: impl Fn(T, u32, ArrayRef) -> Result<T>,
    ) -> Result<T> {
        let malformed = |e: CodecError| e.at(self.blob.key());
        let width = row_bytes(self.shape);
        let (run, block_bytes) =
            bytes.split_first().ok_or(CodecError::Truncated { what: WHAT }).map_err(malformed)?;
        if run.len() != rows.len() * width {
            return Err(malformed(CodecError::Truncated { what: WHAT }));
        }
        let checksums = self.checksums.loaded(blocks, block_bytes);
        let step = to_u32((PIECE_BYTES / width.max(1)).max(1), "rows of a piece")?;
        let mut folded = init;
        for start in rows.clone().step_by(usize_of(step)) {
            let piece = start..rows.end.min(start.saturating_add(step));
            let offset = |row: u32| usize_of(row - rows.start) * width;
            let components = run.slice(offset(piece.start)..offset(piece.end));
            checksums.verify_run(&piece, &components, width).map_err(malformed)?;
            let vectors = self.make_array(std::slice::from_ref(&piece), &[components]).map_err(malformed)?;
            folded = fold(folded, start, vectors)?;
        }
        Ok(folded)
    }

    /// The vectors of `rows`, in one round trip. The blocks that they lie in are read and cached.
    pub(in crate::segment) async fn fetch(&self, env: &Env, rows: &RoaringBitmap) -> Result<ArrayRef> {
        let block_rows = to_u32((BLOCK_BYTES / row_bytes(self.shape).max(1)).max(1), "rows of a block")?;
        let mut reads: Vec<Range<u32>> = Vec::new();
        for row in rows {
            if reads.last().is_none_or(|read| read.end <= row) {
                let start = row - row % block_rows;
                reads.push(start..start.saturating_add(block_rows).min(self.rows));
            }
        }
        self.fetch_runs(env, row_runs(rows), reads).await
    }

    /// The vectors of many `rows`, in one round trip and past the cache.
    pub(in crate::segment) async fn fetch_bulk(&self, env: &Env, rows: &RoaringBitmap) -> Result<ArrayRef> {
        let width = row_bytes(self.shape).max(1);
        let gap = to_u32(BULK_GAP_BYTES / width, "rows of a gap")?;
        let most = to_u32((BULK_READ_BYTES / width).max(1), "rows of a read")?;
        let runs = row_runs(rows);
        let mut reads: Vec<Range<u32>> = Vec::new();
        for run in &runs {
            match reads.last_mut() {
                Some(read) if run.start - read.end <= gap => read.end = run.end,
                _ => reads.push(run.clone()),
            }
        }
        let pieces = reads.into_iter().flat_map(|read| {
            let starts = read.clone().step_by(usize_of(most));
            starts.map(move |start| start..read.end.min(start.saturating_add(most)))
        });
        let uncached = Self { blob: self.blob.uncached(), ..self.clone() };
        uncached.fetch_runs(env, runs, pieces.collect()).await
    }

    async fn fetch_runs(&self, env: &Env, runs: Vec<Range<u32>>, reads: Vec<Range<u32>>) -> Result<ArrayRef> {
        let (spans, blocks) = self.plan_spans(&runs, &reads)?;
        let selection = Arc::new(RowSelection { runs, reads, blocks });
        let decode = |bytes: Vec<Bytes>| {
            let wanted: usize = selection.runs.iter().map(Range::len).sum();
            let cost = Cost::vector_bytes(wanted.saturating_mul(row_bytes(self.shape)));
            let (this, selection) = (self.clone(), Arc::clone(&selection));
            let array = env.compute(cost, move || this.decode_runs(&selection, &bytes));
            async { array.await?.map_err(|e| e.at(self.blob.key())) }
        };
        self.blob.read_decoded(&spans, decode).await
    }

    /// What is read for the rows of some runs: `reads`, and behind them blocks of checksums, which are returned as well.
    fn plan_spans(&self, runs: &[Range<u32>], reads: &[Range<u32>]) -> Result<(Vec<Span>, Vec<u32>)> {
        if runs.iter().any(|run| run.end > self.rows) {
            return Err(Error::internal("vectors of rows that the segment does not have"));
        }
        let width = u64_of(row_bytes(self.shape));
        let at = |row: u32| self.components + u64::from(row) * width;
        // Without checksums of the spans: which rows are read together is not known when the file is written.
        let mut spans: Vec<Span> = reads.iter().map(|read| (at(read.start)..at(read.end)).into()).collect();
        let blocks = self.checksums.blocks(runs);
        spans.extend(blocks.iter().map(|first_row| self.checksums.block_span(*first_row)));
        Ok((spans, blocks))
    }

    /// Checks rows and makes them an array. `bytes` are those of the reads, and behind them those of the blocks.
    fn decode_runs(&self, selection: &RowSelection, bytes: &[Bytes]) -> Result<ArrayRef, CodecError> {
        let RowSelection { runs, reads, blocks } = selection;
        let (read, block_bytes) =
            bytes.split_at_checked(reads.len()).ok_or(CodecError::Truncated { what: WHAT })?;
        // Spans have no checksums of their own: each row is checked here, whatever it was read with.
        let checksums = self.checksums.loaded(blocks, block_bytes);
        let mut rows = Vec::with_capacity(runs.len());
        for (piece, bytes) in self.cut_runs(runs, reads, read) {
            let bytes = bytes.ok_or(CodecError::Truncated { what: WHAT })?;
            checksums.verify_run(&piece, &bytes, row_bytes(self.shape))?;
            rows.push(bytes);
        }
        self.make_array(runs, &rows)
    }

    /// An array of the rows of some runs, whose components these are.
    fn make_array(&self, runs: &[Range<u32>], components: &[Bytes]) -> Result<ArrayRef, CodecError> {
        let values = components_array(components, self.shape.element);
        // Most runs have no null, and are not looked through row by row.
        let has_nulls = runs.iter().any(|run| self.nulls.range_cardinality(run.clone()) > 0);
        let valid =
            || runs.iter().cloned().flatten().map(|row| !self.nulls.contains(row)).collect::<Vec<_>>();
        let nulls = has_nulls.then(|| NullBuffer::from(valid()));
        let DataType::FixedSizeList(field, dimension) = self.shape.arrow_type() else {
            return Err(CodecError::malformed(WHAT, "not a list"));
        };
        let list = FixedSizeListArray::try_new(field, dimension, values, nulls);
        list.map(|list| Arc::new(list) as ArrayRef).map_err(|e| CodecError::malformed(WHAT, e))
    }

    /// The runs, cut where what was read is, each piece with its bytes; `None` if fewer bytes arrived.
    fn cut_runs(
        &self,
        runs: &[Range<u32>],
        reads: &[Range<u32>],
        bytes: &[Bytes],
    ) -> impl Iterator<Item = (Range<u32>, Option<Bytes>)> {
        let width = row_bytes(self.shape);
        let offset = move |read: &Range<u32>, row: u32| usize_of(row - read.start) * width;
        runs.iter().flat_map(move |run| {
            let first = reads.partition_point(|read| read.end <= run.start);
            let overlapping = reads.iter().zip(bytes).skip(first);
            let overlapping = overlapping.take_while(|(read, _)| read.start < run.end);
            overlapping.map(move |(read, bytes)| {
                let piece = run.start.max(read.start)..run.end.min(read.end);
                let range = offset(read, piece.start)..offset(read, piece.end);
                let piece_bytes = (range.end <= bytes.len()).then(|| bytes.slice(range));
                (piece, piece_bytes)
            })
        })
    }
}
