//! Building the packed file of a segment: tantivy's files behind one another, and a head that says where.
//!
//! ```text
//! "ETXT" | version u16 | zero u16 | the files of the index | head
//!
//! head:   "ETXH" | version u16 | zero u16 | rows u32 | block u32 | length of the files u64 | columns u32
//!         | column × columns | files u32 | file × files | pieces u32 | piece × pieces | checksums
//! column: name | documents with text u64 | their length in tokens u64 | norms: start u64, end u64
//!         | start of the postings u64 | start of the positions u64
//! file:   name | start u64 | end u64
//! piece:  start u64 | bytes
//! checksums: the XXH3-64 of each block of the files, u64 each
//! ```
//! Names and bytes have their length before them, as u64. Places are counted from behind the first eight bytes.
//! The pieces are what is read of the files to open them, so that opening takes the head alone. A file whole is
//! never needed: what a query reads is fetched in blocks, each checked by its checksum.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::record_batch::RecordBatch;
use tantivy::directory::{Directory, FileHandle, OwnedBytes, RamDirectory};
use tantivy::schema::{Field, IndexRecordOption, TextFieldIndexing, TextOptions as Indexed};
use tantivy::store::Compressor;
use tantivy::tokenizer::{PreTokenizedString, Token, TokenizerManager};
use tantivy::{HasLen, Index, IndexSettings, SingleSegmentIndexWriter, TantivyDocument, TantivyError};

use super::analyzer::Analyzer;
use super::bm25::Totals;
use super::pages::Files;
use super::stored::open;
use crate::codec::checksum;
use crate::error::{Error, Result};
use crate::schema::Schema;

/// What the file begins with.
pub(super) const HEADER: [u8; 8] = *b"ETXT\x01\0\0\0";
pub(super) const MAGIC: [u8; 4] = *b"ETXH";
pub(super) const VERSION: u16 = 2;
/// What is fetched and checked at once.
pub(super) const BLOCK: usize = 32 << 10;
/// Hints to tantivy how large its hash table begins; nothing is spilt.
const MEMORY_BUDGET: usize = 32 << 20;

/// Indexes the text columns of a segment whose rows come in their order.
pub(crate) struct TextWriter {
    writer: SingleSegmentIndexWriter,
    written: RamDirectory,
    /// The text columns: name and field.
    columns: Vec<(String, Field)>,
    analyzers: Vec<Analyzer>,
    rows: u32,
}

impl std::fmt::Debug for TextWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TextWriter({} rows)", self.rows)
    }
}

impl TextWriter {
    /// `None` for a schema without text.
    pub(crate) fn new(schema: &Schema) -> Result<Option<Self>> {
        let mut builder = tantivy::schema::Schema::builder();
        let tokenizers = TokenizerManager::new();
        let (mut columns, mut analyzers) = (Vec::new(), Vec::new());
        for (at, (name, options)) in schema.texts().enumerate() {
            let (tokenizer, analyzer) = (format!("analyzer{at}"), Analyzer::new(options)?);
            tokenizers.register(&tokenizer, analyzer.clone().into_inner());
            analyzers.push(analyzer);
            let indexing = TextFieldIndexing::default()
                .set_tokenizer(&tokenizer)
                .set_index_option(IndexRecordOption::WithFreqsAndPositions)
                .set_fieldnorms(true);
            let field = Indexed::default().set_indexing_options(indexing);
            columns.push((name.to_owned(), builder.add_text_field(&format!("text{at}"), field)));
        }
        if columns.is_empty() {
            return Ok(None);
        }
        let written = RamDirectory::create();
        let settings = IndexSettings {
            docstore_compression: Compressor::None,
            docstore_compress_dedicated_thread: false,
            ..IndexSettings::default()
        };
        let writer = Index::builder()
            .schema(builder.build())
            .tokenizers(tokenizers)
            .settings(settings)
            .single_segment_index_writer(written.clone(), MEMORY_BUDGET);
        Ok(Some(Self { writer: writer.map_err(failed)?, written, columns, analyzers, rows: 0 }))
    }

    /// Adds rows: a batch with the text columns.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let arrays = self.columns.iter().map(|(name, field)| Some((batch.column_by_name(name)?, *field)));
        let arrays: Option<Vec<_>> = arrays.collect();
        let arrays = arrays.ok_or_else(|| Error::internal("a text column is missing"))?;
        for row in 0..batch.num_rows() {
            let mut document = TantivyDocument::new();
            for ((array, field), analyzer) in arrays.iter().zip(&mut self.analyzers) {
                match array.as_string_opt::<i32>() {
                    Some(texts) if texts.is_valid(row) => document.add_text(*field, texts.value(row)),
                    Some(_) => {}
                    None => document.add_pre_tokenized_text(*field, tokens(analyzer, array, row)),
                }
            }
            self.writer.add_document(document).map_err(failed)?;
            self.rows += 1;
        }
        Ok(())
    }

    /// The file, and where in it its head lies.
    pub(crate) fn finish(self) -> Result<(Vec<u8>, Range<usize>)> {
        let index = self.writer.finalize().map_err(failed)?;
        // In order of their names.
        let paths: BTreeSet<PathBuf> = index.directory().list_managed_files().into_iter().collect();
        let mut bytes = Vec::new();
        let mut places: BTreeMap<String, Range<usize>> = BTreeMap::new();
        for path in paths {
            let lost = |e: String| Error::internal(format!("reading a new text index: {e}"));
            let file = self.written.open_read(&path).map_err(|e| lost(e.to_string()))?;
            let file = file.read_bytes().map_err(|e| lost(e.to_string()))?;
            let name = path.to_str().unwrap_or_default();
            places.insert(name.to_owned(), bytes.len()..bytes.len() + file.len());
            bytes.extend_from_slice(&file);
        }
        let survey = Survey::new(&bytes, &places, &self.columns)?;
        let head = encode(self.rows, &bytes, &places, &self.columns, &survey);
        let mut whole = HEADER.to_vec();
        whole.append(&mut bytes);
        let place = whole.len()..whole.len() + head.len();
        whole.extend(head);
        Ok((whole, place))
    }
}

/// The tokens of an array of strings, for tantivy's own positions leave a gap of one place between them.
fn tokens(analyzer: &mut Analyzer, array: &ArrayRef, row: usize) -> PreTokenizedString {
    let mut tokens = Vec::new();
    analyzer.each_of_row(array, row, |text, position| {
        tokens.push(Token { text: text.to_owned(), position: position as usize, ..Token::default() });
    });
    PreTokenizedString { text: String::new(), tokens }
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to `map_err`")]
fn failed(error: TantivyError) -> Error {
    Error::internal(format!("tantivy: {error}"))
}

/// What was learnt of the files by reading them once.
struct Survey {
    /// What opening reads.
    pieces: Vec<Range<usize>>,
    columns: Vec<Surveyed>,
}

#[derive(Default)]
struct Surveyed {
    totals: Totals,
    norms: Range<usize>,
    postings: usize,
    positions: usize,
}

impl Survey {
    fn new(
        bytes: &[u8],
        places: &BTreeMap<String, Range<usize>>,
        columns: &[(String, Field)],
    ) -> Result<Self> {
        let recorder = Arc::new(Recorder { bytes: OwnedBytes::new(bytes.to_vec()), reads: Mutex::default() });
        let places: HashMap<_, _> = places.iter().map(|(name, place)| (name.into(), place.clone())).collect();
        let handle: Arc<dyn FileHandle> = Arc::<Recorder>::clone(&recorder);
        let reader = open(Files { places: Arc::new(places), handle }).map_err(failed)?;
        let fields = columns.iter().map(|(_, field)| reader.inverted_index(*field));
        let fields: Vec<_> = fields.collect::<tantivy::Result<_>>().map_err(failed)?;
        let mut pieces = recorder.take();
        pieces.sort_unstable_by_key(|range| (range.start, range.end));
        let pieces = joined(pieces);
        let lost = |e: io::Error| Error::internal(format!("reading a new text index: {e}"));
        let mut surveyed = Vec::new();
        for ((_, field), inverted) in columns.iter().zip(fields) {
            let mut column = Surveyed::default();
            let norms = reader.get_fieldnorms_reader(*field).map_err(failed)?;
            column.norms = recorder.take().last().cloned().unwrap_or_default();
            (0..norms.num_docs()).for_each(|row| column.totals.add(norms.fieldnorm_id(row)));
            let mut terms = inverted.terms().stream().map_err(lost)?;
            if terms.advance() {
                let info = terms.value().clone();
                recorder.take();
                let option = IndexRecordOption::WithFreqsAndPositions;
                inverted.read_postings_from_terminfo(&info, option).map_err(lost)?;
                let reads = recorder.take();
                let start = |at: usize, range: &Range<usize>| {
                    reads.get(at).map_or(0, |read: &Range<usize>| read.start.saturating_sub(range.start))
                };
                column.postings = start(0, &info.postings_range);
                column.positions = start(1, &info.positions_range);
            }
            surveyed.push(column);
        }
        Ok(Self { pieces, columns: surveyed })
    }
}

/// Ranges in ascending order, with those that touch as one.
fn joined(ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let mut joined: Vec<Range<usize>> = Vec::new();
    for range in ranges.into_iter().filter(|range| !range.is_empty()) {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

fn encode(
    rows: u32,
    bytes: &[u8],
    places: &BTreeMap<String, Range<usize>>,
    columns: &[(String, Field)],
    survey: &Survey,
) -> Vec<u8> {
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let large = |n: usize| (n as u64).to_le_bytes();
    let mut out = MAGIC.to_vec();
    let text = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.extend(large(bytes.len()));
        out.extend(bytes);
    };
    out.extend(VERSION.to_le_bytes());
    out.extend([0; 2]);
    out.extend(rows.to_le_bytes());
    out.extend(small(BLOCK));
    out.extend(large(bytes.len()));
    out.extend(small(columns.len()));
    for ((name, _), column) in columns.iter().zip(&survey.columns) {
        text(&mut out, name.as_bytes());
        out.extend(column.totals.documents.to_le_bytes());
        out.extend(column.totals.tokens.to_le_bytes());
        for number in [column.norms.start, column.norms.end, column.postings, column.positions] {
            out.extend(large(number));
        }
    }
    out.extend(small(places.len()));
    for (name, place) in places {
        text(&mut out, name.as_bytes());
        out.extend(large(place.start));
        out.extend(large(place.end));
    }
    out.extend(small(survey.pieces.len()));
    for piece in &survey.pieces {
        out.extend(large(piece.start));
        text(&mut out, bytes.get(piece.clone()).unwrap_or_default());
    }
    out.extend(bytes.chunks(BLOCK).flat_map(|block| checksum(block).to_le_bytes()));
    out
}

/// Remembers what is read.
#[derive(Debug)]
struct Recorder {
    bytes: OwnedBytes,
    reads: Mutex<Vec<Range<usize>>>,
}

impl Recorder {
    fn take(&self) -> Vec<Range<usize>> {
        std::mem::take(&mut *self.reads.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HasLen for Recorder {
    fn len(&self) -> usize {
        self.bytes.len()
    }
}

#[async_trait::async_trait]
impl FileHandle for Recorder {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).push(range.clone());
        Ok(self.bytes.slice(range))
    }
}
