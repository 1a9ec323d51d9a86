//! Sections of files: their names, and files that are put together of them.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::meta::{FileMeta, FileSection};
use crate::codec::{checksum, u64_of};
use crate::storage::Payload;
use crate::types::ColumnId;

/// How the names of sections end that are read in parts, where a query needs them.
pub(super) const BLOCKS_SUFFIX: &str = ".blocks";
// The blocks of `index`.
pub(super) const COLUMNS_BLOCKS: &str = "columns.blocks";
pub(super) const ROW_ID_BLOCKS: &str = "row_id.blocks";
pub(super) const ID_BLOCKS: &str = "id.blocks";

// The heads behind them: all that is read when a segment is opened.
pub(super) const ID_HEAD: &str = "id.head";
pub(super) const ROW_ID_HEAD: &str = "row_id.head";
pub(super) const ROW_SIZES: &str = "row_sizes";
pub(super) const COLUMNS_HEAD: &str = "columns.head";
/// The checksums of the blocks of `rows.parquet`.
pub(super) const ROWS_CHECKSUMS: &str = "rows.checksums";
/// The end of `rows.parquet`, from its first offset index on.
pub(super) const ROWS_FOOTER: &str = "rows.footer";
pub(super) const TEXT_HEAD: &str = "text.head";

/// The head of a vector column.
pub(super) fn vector_head(column: ColumnId) -> String {
    format!("vector.{column}.head")
}

/// The checksums of its rows, if they are few enough to keep in memory.
pub(super) fn vector_checksums(column: ColumnId) -> String {
    format!("vector.{column}.checksums")
}

/// Finds the records of its index, if there is one.
pub(super) fn vector_index(column: ColumnId) -> String {
    format!("vector.{column}.index")
}

/// A file in memory.
#[derive(Debug)]
pub(super) struct BuiltFile {
    pub(super) body: Payload,
    pub(super) meta: FileMeta,
}

/// Puts a file together of parts, which are not copied, and notes its sections for the meta.
#[derive(Debug, Default)]
pub(super) struct SectionFileBuilder {
    parts: Vec<Bytes>,
    size: usize,
    sections: BTreeMap<String, FileSection>,
}

impl SectionFileBuilder {
    /// Appends bytes that are in no section.
    pub(super) fn push_bytes(&mut self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        self.size += bytes.len();
        self.parts.push(bytes);
    }

    /// Appends zeros until the size is a multiple of `unit`.
    pub(super) fn pad_to_multiple(&mut self, unit: usize) {
        self.push_bytes(vec![0; self.size.next_multiple_of(unit) - self.size]);
    }

    /// Appends a section.
    pub(super) fn push_section(&mut self, name: impl Into<String>, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        let (offset, length) = (u64_of(self.size), u64_of(bytes.len()));
        let section = FileSection { offset, length, checksum: checksum(&bytes) };
        self.sections.insert(name.into(), section);
        self.push_bytes(bytes);
    }

    pub(super) fn finish(self) -> BuiltFile {
        let meta = FileMeta::new(u64_of(self.size), self.sections);
        BuiltFile { body: self.parts.into_iter().collect(), meta }
    }
}
