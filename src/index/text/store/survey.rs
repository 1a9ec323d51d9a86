//! What a new index's head needs to know of its files, found out by opening them and recording what is read.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use tantivy::directory::{FileHandle, OwnedBytes};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{HasLen, InvertedIndexReader, SegmentReader, TantivyError};

use super::directory::{PackedDirectory, open_segment};
use super::head::ColumnHead;
use crate::error::{Error, Result};

/// What a survey of new files found.
pub(super) struct FileSurvey {
    /// What opening the index reads, in ascending order. Copies of these go into the head.
    pub(super) pieces: Vec<Range<usize>>,
    pub(super) columns: Vec<ColumnHead>,
}

impl FileSurvey {
    /// tantivy does not tell where in its files a column begins, so its readers are run over the new bytes and watched.
    pub(super) fn run(
        bytes: &[u8],
        files: &BTreeMap<String, Range<usize>>,
        fields: &[Field],
    ) -> Result<Self> {
        let recorder =
            Arc::new(ReadRecorder { bytes: OwnedBytes::new(bytes.to_vec()), reads: Mutex::default() });
        let files: HashMap<_, _> = files.iter().map(|(name, range)| (name.into(), range.clone())).collect();
        let handle: Arc<dyn FileHandle> = Arc::<ReadRecorder>::clone(&recorder);
        let reader =
            open_segment(PackedDirectory { files: Arc::new(files), handle }).map_err(tantivy_failed)?;
        let inverted = fields.iter().map(|field| reader.inverted_index(*field));
        let inverted: Vec<_> = inverted.collect::<tantivy::Result<_>>().map_err(tantivy_failed)?;
        let mut pieces = recorder.take_reads();
        pieces.sort_unstable_by_key(|range| (range.start, range.end));
        let columns = fields.iter().zip(inverted);
        let columns = columns.map(|(field, inverted)| survey_column(&recorder, &reader, *field, &inverted));
        Ok(Self { pieces: join_touching(pieces), columns: columns.collect::<Result<_>>()? })
    }
}

fn survey_column(
    recorder: &ReadRecorder,
    reader: &SegmentReader,
    field: Field,
    inverted: &InvertedIndexReader,
) -> Result<ColumnHead> {
    let mut column = ColumnHead::default();
    let norms = reader.get_fieldnorms_reader(field).map_err(tantivy_failed)?;
    let range = recorder.take_reads().pop();
    let range = range.ok_or_else(|| Error::internal("opening the lengths of a column read nothing"))?;
    column.norms = range.start as u64..range.end as u64;
    (0..norms.num_docs()).for_each(|row| column.totals.add_norm(norms.fieldnorm_id(row)));
    let mut terms = inverted.terms().stream().map_err(read_failed)?;
    // A column without terms has neither postings nor positions: nothing will count from its bases.
    if terms.advance() {
        let info = terms.value().clone();
        recorder.take_reads();
        let option = IndexRecordOption::WithFreqsAndPositions;
        inverted.read_postings_from_terminfo(&info, option).map_err(read_failed)?;
        // tantivy reads the postings first, then the positions. A range of the dictionary counts from the base of its
        // column, a read from the start of all files: the difference is the base.
        let reads = recorder.take_reads();
        column.postings_base = find_base(reads.first(), &info.postings_range)?;
        column.positions_base = find_base(reads.get(1), &info.positions_range)?;
    }
    Ok(column)
}

fn find_base(read: Option<&Range<usize>>, range: &Range<usize>) -> Result<u64> {
    let base = read.and_then(|read| read.start.checked_sub(range.start));
    base.map(|base| base as u64)
        .ok_or_else(|| Error::internal("reading a term read other bytes than its own"))
}

/// Merges ranges that touch. They come in ascending order.
fn join_touching(ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let mut joined: Vec<Range<usize>> = Vec::new();
    for range in ranges.into_iter().filter(|range| !range.is_empty()) {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to `map_err`")]
pub(super) fn tantivy_failed(error: TantivyError) -> Error {
    Error::internal(format!("tantivy: {error}"))
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to `map_err`")]
fn read_failed(error: io::Error) -> Error {
    Error::internal(format!("reading a new text index: {error}"))
}

/// A handle over bytes in memory that remembers what is read.
#[derive(Debug)]
struct ReadRecorder {
    bytes: OwnedBytes,
    reads: Mutex<Vec<Range<usize>>>,
}

impl ReadRecorder {
    fn take_reads(&self) -> Vec<Range<usize>> {
        // invariant: a list of ranges is whole after each push, whatever panicked.
        std::mem::take(&mut *self.reads.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HasLen for ReadRecorder {
    fn len(&self) -> usize {
        self.bytes.len()
    }
}

#[async_trait::async_trait]
impl FileHandle for ReadRecorder {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        // invariant: as in `take_reads`.
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).push(range.clone());
        Ok(self.bytes.slice(range))
    }
}
