//! Builds the packed file of a segment: tantivy's files one after another, and a head that says where.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::record_batch::RecordBatch;
use tantivy::directory::{Directory, RamDirectory};
use tantivy::schema::{Field, IndexRecordOption, TextFieldIndexing, TextOptions as TantivyTextOptions};
use tantivy::store::Compressor;
use tantivy::tokenizer::{PreTokenizedString, Token, TokenizerManager};
use tantivy::{Index, IndexSettings, SingleSegmentIndexWriter, TantivyDocument};

use super::head::{FILE_HEADER, HeadParts};
use super::survey::{FileSurvey, tantivy_failed};
use crate::error::{Error, Result};
use crate::index::text::analysis::Analyzer;
use crate::schema::Schema;
use crate::types::ColumnId;

/// tantivy sizes its first hash table by this. A writer of a single segment never spills, so it limits nothing.
const TANTIVY_MEMORY_BUDGET: usize = 32 << 20;

/// Indexes the text columns of a segment. Rows are pushed in the order of the segment.
pub(crate) struct TextIndexBuilder {
    writer: SingleSegmentIndexWriter,
    directory: RamDirectory,
    columns: Vec<BuilderColumn>,
    rows: u32,
}

struct BuilderColumn {
    id: ColumnId,
    /// Where it is in a batch: behind the id.
    index: usize,
    field: Field,
    /// For arrays alone: strings are analyzed by tantivy.
    analyzer: Analyzer,
}

impl fmt::Debug for TextIndexBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TextIndexBuilder({} rows)", self.rows)
    }
}

impl TextIndexBuilder {
    /// `None` for a schema without text.
    pub(crate) fn new(schema: &Schema) -> Result<Option<Self>> {
        let mut builder = tantivy::schema::Schema::builder();
        let tokenizers = TokenizerManager::new();
        let mut columns = Vec::new();
        for (index, column) in schema.arrow_columns() {
            let Some(options) = &column.text else { continue };
            let number = columns.len();
            let (tokenizer, analyzer) = (format!("analyzer{number}"), Analyzer::new(options)?);
            tokenizers.register(&tokenizer, analyzer.clone().into_tantivy());
            let indexing = TextFieldIndexing::default()
                .set_tokenizer(&tokenizer)
                .set_index_option(IndexRecordOption::WithFreqsAndPositions)
                .set_fieldnorms(true);
            let indexing = TantivyTextOptions::default().set_indexing_options(indexing);
            // Fields are named by number: names of columns allow more than tantivy's.
            let field = builder.add_text_field(&format!("text{number}"), indexing);
            columns.push(BuilderColumn { id: column.id, index, field, analyzer });
        }
        if columns.is_empty() {
            return Ok(None);
        }
        let directory = RamDirectory::create();
        // Documents are in Parquet; tantivy writes a document store all the same, which is empty but for its frame.
        let settings = IndexSettings {
            docstore_compression: Compressor::None,
            docstore_compress_dedicated_thread: false,
            ..IndexSettings::default()
        };
        // The writer of a single segment runs on this thread; tantivy's `IndexWriter` would start its own.
        let writer = Index::builder()
            .schema(builder.build())
            .tokenizers(tokenizers)
            .settings(settings)
            .single_segment_index_writer(directory.clone(), TANTIVY_MEMORY_BUDGET);
        Ok(Some(Self { writer: writer.map_err(tantivy_failed)?, directory, columns, rows: 0 }))
    }

    /// Adds the rows of a batch of [`Schema::arrow`].
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let arrays = self.columns.iter().map(|column| batch.columns().get(column.index));
        let arrays: Option<Vec<_>> = arrays.collect();
        let arrays = arrays.ok_or_else(|| Error::internal("a text column is missing"))?;
        for row in 0..batch.num_rows() {
            let mut document = TantivyDocument::new();
            for (array, column) in arrays.iter().zip(&mut self.columns) {
                match array.as_string_opt::<i32>() {
                    Some(texts) if texts.is_valid(row) => {
                        document.add_text(column.field, texts.value(row));
                    }
                    Some(_) => {}
                    None => {
                        let tokens = analyze_row(&mut column.analyzer, array, row);
                        document.add_pre_tokenized_text(column.field, tokens);
                    }
                }
            }
            // A document without text is added too: tantivy numbers documents as they come, and its number is the row.
            self.writer.add_document(document).map_err(tantivy_failed)?;
            self.rows += 1;
        }
        Ok(())
    }

    /// The file, and the range of its head.
    pub(crate) fn finish(self) -> Result<(Vec<u8>, Range<usize>)> {
        let index = self.writer.finalize().map_err(tantivy_failed)?;
        // In the order of their names, so that equal rows make equal files.
        let paths: BTreeSet<PathBuf> = index.directory().list_managed_files().into_iter().collect();
        let mut bytes = Vec::new();
        let mut files: BTreeMap<String, Range<usize>> = BTreeMap::new();
        for path in paths {
            let failed = |e: String| Error::internal(format!("reading a new text index: {e}"));
            let file = self.directory.open_read(&path).map_err(|e| failed(e.to_string()))?;
            let file = file.read_bytes().map_err(|e| failed(e.to_string()))?;
            let name = path.to_str().ok_or_else(|| Error::internal("a tantivy file name is not UTF-8"))?;
            files.insert(name.to_owned(), bytes.len()..bytes.len() + file.len());
            bytes.extend_from_slice(&file);
        }
        let fields: Vec<Field> = self.columns.iter().map(|column| column.field).collect();
        let survey = FileSurvey::run(&bytes, &files, &fields)?;
        let columns = self.columns.iter().map(|column| column.id).zip(&survey.columns);
        let columns = columns.collect();
        let (rows, pieces) = (self.rows, survey.pieces.as_slice());
        let head = HeadParts { rows, bytes: &bytes, files: &files, columns, pieces }.encode()?;
        let mut whole = FILE_HEADER.to_vec();
        whole.append(&mut bytes);
        let head_range = whole.len()..whole.len() + head.len();
        whole.extend(head);
        Ok((whole, head_range))
    }
}

/// The tokens of an array of strings. tantivy would leave a gap of a single position between two strings.
fn analyze_row(analyzer: &mut Analyzer, array: &ArrayRef, row: usize) -> PreTokenizedString {
    let mut tokens = Vec::new();
    analyzer.for_each_row_token(array, row, |text, position| {
        tokens.push(Token { text: text.to_owned(), position: position as usize, ..Token::default() });
    });
    PreTokenizedString { text: String::new(), tokens }
}
