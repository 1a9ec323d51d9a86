//! Sections of files: their names, and files that are put together of them.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use super::meta::{FileMeta, FileSection};
use crate::codec::{checksum, u64_of};
use crate::error::{Error, Result};
use crate::storage::Payload;

// Of `attributes`.
pub(super) const ID_HEAD: &str = "id.head";
pub(super) const ID_BLOCKS: &str = "id.blocks";
pub(super) const ROW_ID_HEAD: &str = "row_id.head";
pub(super) const ROW_ID_BLOCKS: &str = "row_id.blocks";
pub(super) const COLUMNS_HEAD: &str = "columns.head";
pub(super) const COLUMNS_BLOCKS: &str = "columns.blocks";
/// Also of `vector.<column>`: there they are those of its rows.
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
    pub(super) fn push_section(&mut self, name: &str, bytes: impl Into<Bytes>) -> Result<()> {
        let bytes = bytes.into();
        let length = 0..bytes.len();
        self.push_with_section(bytes, name, length)
    }

    /// Appends bytes of which a range is a section.
    pub(super) fn push_with_section(&mut self, bytes: Bytes, name: &str, range: Range<usize>) -> Result<()> {
        let offset = u64_of(self.size + range.start);
        let section =
            bytes.get(range).ok_or_else(|| Error::internal("a section beyond the end of its file"))?;
        let section = FileSection { offset, length: u64_of(section.len()), checksum: checksum(section) };
        self.sections.insert(name.to_owned(), section);
        self.push_bytes(bytes);
        Ok(())
    }

    pub(super) fn finish(self) -> BuiltFile {
        let meta = FileMeta { size: u64_of(self.size), sections: self.sections };
        BuiltFile { body: self.parts.into_iter().collect(), meta }
    }
}
