//! The opened index of a segment: its columns, and the reads of their blocks.

use std::collections::HashMap;

use bytes::Bytes;

use super::column::AttributeColumn;
use super::format::{AttributeColumnHead, decode_head};
use super::trigram::TrigramIndex;
use crate::cache::{Blob, Span};
use crate::codec::CodecError;
use crate::error::{Error, Result};
use crate::types::ColumnId;

/// The attribute index of a segment.
#[derive(Debug)]
pub(crate) struct AttributeIndex {
    blob: Blob,
    columns: HashMap<ColumnId, AttributeColumn>,
}

impl AttributeIndex {
    /// Opens the index of `rows` rows by its head; its blocks are in `section` of the file.
    pub(crate) fn open(rows: u32, blob: Blob, section: &Span, head: &[u8]) -> Result<Self, CodecError> {
        let mut columns = HashMap::new();
        for AttributeColumnHead { id, keys, trigrams } in decode_head(rows, section, head)? {
            let trigrams = trigrams.map(TrigramIndex::open).transpose()?;
            if columns.insert(id, AttributeColumn::open(keys, trigrams)).is_some() {
                return Err(CodecError::malformed("attribute index", "a column twice"));
            }
        }
        Ok(Self { blob, columns })
    }

    /// The index of a column, if it has one.
    pub(crate) fn column(&self, id: ColumnId) -> Option<&AttributeColumn> {
        self.columns.get(&id)
    }

    /// Reads blocks, and returns them in the order of `spans`. One round trip.
    pub(crate) async fn read_blocks(&self, spans: &[Span]) -> Result<Vec<Bytes>> {
        self.blob.read_many(spans).await
    }

    /// The public error of a block that cannot be decoded.
    pub(crate) fn corrupt_block(&self, error: CodecError) -> Error {
        error.at(self.blob.key())
    }
}
