//! The packed text index of a segment, opened from its head.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use roaring::RoaringBitmap;
use tantivy::directory::{FileHandle, OwnedBytes};
use tantivy::postings::TermInfo;
use tantivy::schema::Field;

use super::block_postings::BlockPostings;
use super::dictionary::{DictionaryMatches, TextField};
use super::directory::{MissRecorder, PackedDirectory, open_segment};
use super::head::{ColumnHead, FILE_HEADER, PACKED_BLOCK_BYTES, TextHead, malformed};
use super::packed_file::{BlockLayout, NotFetched, PackedFile, RangePins};
use super::position_reader::PositionReader;
use crate::cache::Blob;
use crate::codec::{CodecError, guarded, usize_of};
use crate::env::{Cost, Env};
use crate::error::{Error, Result};
use crate::index::text::terms::{LevenshteinAutomaton, TermSpec};
use crate::index::text::totals::FieldTotals;
use crate::schema::Schema;

/// The text columns of a segment.
pub(crate) struct TextIndex {
    file: Arc<PackedFile>,
    /// For each text column of the reader's schema, what the segment has of it.
    fields: Vec<Option<TextField>>,
    rows: u32,
    /// For a second reader over the same files, see [`Self::survey_missing`].
    files: Arc<HashMap<PathBuf, Range<usize>>>,
}

/// What is looked up in the dictionary of a column, and how many terms may stand for it.
#[derive(Clone, Copy, Debug)]
pub(in crate::index::text) struct TermLookup<'a> {
    pub(in crate::index::text) field: usize,
    pub(in crate::index::text) spec: &'a TermSpec,
    pub(in crate::index::text) terms_max: usize,
}

/// Terms whose postings are fetched as one range: they are adjacent in the dictionary, so in the file as well.
#[derive(Debug)]
pub(in crate::index::text) struct PostingsRequest<'a> {
    pub(in crate::index::text) field: usize,
    pub(in crate::index::text) terms: Vec<&'a TermInfo>,
    pub(in crate::index::text) positions: bool,
}

/// The outcome of a lookup with the bytes at hand.
enum LookupAttempt {
    Found(Arc<DictionaryMatches>),
    /// Ranges to fetch before the next attempt.
    Missing(Vec<Range<u64>>),
}

impl TextIndex {
    /// Opens the index of a segment of `rows` rows from its head, whose checksum was verified, for readers with `schema`.
    /// Takes tens of microseconds of CPU, and reads nothing.
    pub(crate) fn decode(
        blob: Blob,
        schema: &Schema,
        written: &Schema,
        rows: u32,
        head: &[u8],
    ) -> Result<Self, CodecError> {
        let head = TextHead::decode(written, blob.size(), head)?;
        if head.rows != rows {
            return Err(malformed("it is not of this segment"));
        }
        let layout = BlockLayout {
            base: FILE_HEADER.len() as u64,
            length: head.length,
            block_bytes: PACKED_BLOCK_BYTES as u64,
            checksums: head.checksums,
        };
        let file = Arc::new(PackedFile::new(blob, layout, head.hot_pieces));
        let handle: Arc<dyn FileHandle> = Arc::<PackedFile>::clone(&file);
        let files = Arc::new(head.files);
        let directory = PackedDirectory { files: Arc::clone(&files), handle };
        // tantivy trusts its files and panics on forged ones.
        let unreadable = || malformed("the index cannot be read");
        let reader = guarded(|| open_segment(directory)).ok_or_else(unreadable)?.map_err(malformed)?;
        if reader.max_doc() != rows || reader.schema().fields().count() != head.columns.len() {
            return Err(malformed("the index is not of this segment"));
        }
        let open_field = |(number, column): (u32, ColumnHead)| {
            let inverted = guarded(|| reader.inverted_index(Field::from_field_id(number)));
            let inverted = inverted.ok_or_else(unreadable)?.map_err(malformed)?;
            Ok(Some(TextField::new(number, inverted, column, rows)))
        };
        let stored = (0..).zip(head.columns).map(open_field);
        let mut stored = stored.collect::<Result<Vec<_>, CodecError>>()?;
        let fields = schema.text_columns().map(|column| {
            let number = written.text_columns().position(|other| other.id == column.id)?;
            stored.get_mut(number).and_then(Option::take)
        });
        let fields = fields.collect();
        Ok(Self { file, fields, rows, files })
    }

    pub(in crate::index::text) fn rows(&self) -> u32 {
        self.rows
    }

    pub(in crate::index::text) fn totals(&self, field: usize) -> Result<FieldTotals> {
        // invariant: a segment that was written before the column was declared has no text of it.
        Ok(self.field(field)?.map_or_else(FieldTotals::default, |field| field.head.totals))
    }

    /// The average length of a row that tantivy scored blocks by when it wrote the index.
    pub(in crate::index::text) fn average_length(&self, field: usize) -> Result<f32> {
        // invariant: as in `totals`.
        Ok(self.field(field)?.map_or(0.0, |field| field.average_length))
    }

    /// The bytes that were assembled for queries and are kept, besides the head.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.file.assembled_bytes()
    }

    /// Looks words up in the dictionaries. One round trip, or none; more if a block is known to be needed only after
    /// another was read.
    pub(in crate::index::text) async fn look_up(
        self: &Arc<Self>,
        env: &Env,
        lookups: &[TermLookup<'_>],
    ) -> Result<Vec<Arc<DictionaryMatches>>> {
        // Pins keep what one turn fetched readable in the next.
        let mut pins = self.file.fetch(&[], &[]).await?;
        loop {
            let mut missing = Vec::new();
            let mut found = Vec::with_capacity(lookups.len());
            for lookup in lookups {
                match self.attempt_on_pool(env, *lookup).await? {
                    LookupAttempt::Found(matches) => found.push(matches),
                    LookupAttempt::Missing(ranges) => missing.extend(ranges),
                }
            }
            if missing.is_empty() {
                return Ok(found);
            }
            // All lookups have been attempted: one fetch brings what any of them lacks.
            pins.merge(self.file.fetch(&missing, &[]).await?);
        }
    }

    /// [`Self::attempt`], on the blocking pool if it may take long.
    async fn attempt_on_pool(self: &Arc<Self>, env: &Env, lookup: TermLookup<'_>) -> Result<LookupAttempt> {
        let TermLookup { field, spec, terms_max } = lookup;
        let is_single_term = matches!(spec, TermSpec::Term(_));
        let terms = if is_single_term { 0 } else { self.field(field)?.map_or(0, TextField::term_count) };
        let (this, spec) = (Arc::clone(self), spec.clone());
        env.compute(Cost::dictionary_terms(terms), move || this.attempt(field, &spec, terms_max)).await?
    }

    /// Looks a word up in what was fetched. CPU work; for a misspelt word in proportion to the part of the dictionary
    /// that may hold terms near it.
    fn attempt(&self, field: usize, spec: &TermSpec, terms_max: usize) -> Result<LookupAttempt> {
        let Some(text_field) = self.field(field)? else {
            return Ok(LookupAttempt::Found(Arc::new(DictionaryMatches::none(terms_max))));
        };
        let unreadable = || self.file.corrupt("the dictionary cannot be read");
        let error = match guarded(|| text_field.look_up(spec, terms_max)).ok_or_else(unreadable)? {
            Ok(matches) => return Ok(LookupAttempt::Found(matches)),
            Err(error) => error,
        };
        match (NotFetched::range_of(&error), spec) {
            (None, _) => Err(self.file.corrupt(error)),
            // The error names the first missing block alone. A fuzzy search may need many more.
            (Some(_), TermSpec::Fuzzy(text, edits_max)) => {
                let automaton = LevenshteinAutomaton::new(text, *edits_max);
                let missing = guarded(|| self.survey_missing(text_field.number, &automaton))
                    .ok_or_else(unreadable)??;
                Ok(LookupAttempt::Missing(missing))
            }
            (Some(range), _) => Ok(LookupAttempt::Missing(vec![range])),
        }
    }

    /// The ranges of a dictionary that an automaton reads and that were not fetched. Blocks that cannot hold a match
    /// are not among them.
    fn survey_missing(&self, number: u32, automaton: &LevenshteinAutomaton) -> Result<Vec<Range<u64>>> {
        let recorder = Arc::new(MissRecorder::new(Arc::clone(&self.file)));
        let handle: Arc<dyn FileHandle> = Arc::<MissRecorder>::clone(&recorder);
        let directory = PackedDirectory { files: Arc::clone(&self.files), handle };
        let reader = open_segment(directory).map_err(|e| self.file.corrupt(e))?;
        let inverted =
            reader.inverted_index(Field::from_field_id(number)).map_err(|e| self.file.corrupt(e))?;
        TextField::touch_blocks(&inverted, automaton).map_err(|e| self.file.corrupt(e))?;
        Ok(recorder.take_missed())
    }

    /// Makes the postings of terms readable, and the lengths of the rows of columns. One round trip, or none.
    pub(in crate::index::text) async fn load(
        &self,
        requests: &[PostingsRequest<'_>],
        norm_fields: &[usize],
    ) -> Result<RangePins> {
        let (mut ranges, mut runs) = (Vec::new(), Vec::new());
        for PostingsRequest { field, terms, positions } in requests {
            let head = &self.stored_field(*field)?.head;
            let postings = terms.iter().map(|info| shift_range(&info.postings_range, head.postings_base));
            // Terms of a run are read one by one later. A single term is read just as it was fetched.
            let target = if terms.len() > 1 { &mut runs } else { &mut ranges };
            target.extend(enclosing_range(postings));
            if *positions {
                let positions =
                    terms.iter().map(|info| shift_range(&info.positions_range, head.positions_base));
                target.extend(enclosing_range(positions));
            }
        }
        for field in norm_fields {
            ranges.extend(self.field(*field)?.map(|field| field.head.norms.clone()));
        }
        self.file.fetch(&ranges, &runs).await
    }

    /// Opens the postings of a term that [`Self::load`] made readable.
    pub(in crate::index::text) fn open_postings(
        &self,
        field: usize,
        info: &TermInfo,
        positions: bool,
    ) -> Result<BlockPostings> {
        let read_failed = |e: std::io::Error| Error::internal(format!("reading postings: {e}"));
        let corrupt = || self.file.corrupt("postings that cannot be");
        let head = &self.stored_field(field)?.head;
        let open_positions = || {
            let range = shift_range(&info.positions_range, head.positions_base);
            PositionReader::open(self.file.read(&range).map_err(read_failed)?).ok_or_else(corrupt)
        };
        let positions = positions.then(open_positions).transpose()?;
        let range = shift_range(&info.postings_range, head.postings_base);
        let bytes = self.file.read(&range).map_err(read_failed)?;
        BlockPostings::open(bytes, info.doc_freq, positions).ok_or_else(corrupt)
    }

    /// Adds the rows of a term to a bitmap. Its postings were made readable.
    pub(in crate::index::text) fn collect_rows(
        &self,
        field: usize,
        info: &TermInfo,
        rows: &mut RoaringBitmap,
    ) -> Result<()> {
        let mut postings = self.open_postings(field, info, false)?;
        loop {
            rows.extend(postings.remaining().0);
            if !postings.advance_block() {
                return Ok(());
            }
        }
    }

    /// Checks the greatest of some rows that come from postings alone. What a forged block unpacks to is anything.
    pub(in crate::index::text) fn check_row(&self, greatest: Option<u32>) -> Result<()> {
        if greatest.is_some_and(|row| row >= self.rows) {
            return Err(self.file.corrupt("postings of a row that the segment does not have"));
        }
        Ok(())
    }

    /// The lengths of the rows of a column, as one byte each. They were made readable.
    pub(in crate::index::text) fn read_norms(&self, field: usize) -> Result<OwnedBytes> {
        let Some(field) = self.field(field)? else {
            return Ok(OwnedBytes::new(vec![0; usize_of(self.rows)]));
        };
        let norms = self.file.read(&field.head.norms);
        norms.map_err(|e| Error::internal(format!("reading lengths: {e}")))
    }

    /// What the segment has of a text column: nothing, if it was written before the column was declared.
    fn field(&self, field: usize) -> Result<Option<&TextField>> {
        self.fields.get(field).map(Option::as_ref).ok_or_else(|| Error::internal("no such text column"))
    }

    /// A column that terms were found in.
    fn stored_field(&self, field: usize) -> Result<&TextField> {
        self.field(field)?.ok_or_else(|| Error::internal("postings of a column without text"))
    }
}

/// The smallest range that encloses all ranges; `None` if there are none.
fn enclosing_range(ranges: impl Iterator<Item = Range<u64>>) -> Option<Range<u64>> {
    ranges.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
}

/// A range of a column as one of the file. Saturates for a forged dictionary; the range is then refused when fetched.
fn shift_range(range: &Range<usize>, base: u64) -> Range<u64> {
    base.saturating_add(range.start as u64)..base.saturating_add(range.end as u64)
}

impl fmt::Debug for TextIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TextIndex({} columns)", self.fields.len())
    }
}
