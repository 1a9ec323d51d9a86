//! Sections of files: their names, and files that are put together of them.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use super::meta::{FileMeta, FileSection};
use crate::codec::{checksum, u64_of};
use crate::error::{Error, Result};

// Of `attributes`.
pub(super) const ID_HEAD: &str = "id.head";
pub(super) const ID_BLOCKS: &str = "id.blocks";
pub(super) const ROW_ID_HEAD: &str = "row_id.head";
pub(super) const ROW_ID_BLOCKS: &str = "row_id.blocks";
pub(super) const COLUMNS_HEAD: &str = "columns.head";
pub(super) const COLUMNS_BLOCKS: &str = "columns.blocks";
pub(super) const CHECKSUMS: &str = "checksums";
pub(super) const ROW_SIZES: &str = "row_sizes";

/// Of `rows.parquet`: what a reader needs first.
pub(super) const FOOTER: &str = "footer";

/// Of `vector.<column>` and `text`: what a reader needs first.
pub(super) const HEAD: &str = "head";
/// Of `vector.<column>`: finds the records of the index, if there is one.
pub(super) const INDEX: &str = "index";

/// A file in memory.
#[derive(Debug)]
pub(super) struct BuiltFile {
    pub(super) bytes: Bytes,
    pub(super) meta: FileMeta,
}

/// Puts a file together and notes its sections for the meta.
#[derive(Debug)]
pub(super) struct SectionFileBuilder {
    bytes: Vec<u8>,
    sections: BTreeMap<String, FileSection>,
}

impl SectionFileBuilder {
    /// A file that begins with `bytes`.
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, sections: BTreeMap::new() }
    }

    /// Appends a section.
    pub(super) fn push_section(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let start = self.bytes.len();
        self.bytes.extend(bytes);
        self.mark_section(name, start..self.bytes.len())
    }

    /// Makes a section of bytes that are in the file already.
    pub(super) fn mark_section(&mut self, name: &str, range: Range<usize>) -> Result<()> {
        let offset = u64_of(range.start);
        let bytes =
            self.bytes.get(range).ok_or_else(|| Error::internal("a section beyond the end of its file"))?;
        let section = FileSection { offset, length: u64_of(bytes.len()), checksum: checksum(bytes) };
        self.sections.insert(name.to_owned(), section);
        Ok(())
    }

    pub(super) fn finish(self) -> BuiltFile {
        let meta = FileMeta { size: u64_of(self.bytes.len()), sections: self.sections };
        BuiltFile { bytes: self.bytes.into(), meta }
    }
}
