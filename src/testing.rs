//! What tests of the crate need and users of it do not (feature `testing`).

use uuid::Uuid;

pub use crate::index::vector::ScanTrial;
pub use crate::safeguard::Safeguard;

use crate::error::Result;
use crate::schema::Schema;
use crate::types::{Document, DocumentId};
use crate::wal::{Entry, EntryKind};

/// A log entry as a test sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryView {
    /// Its number.
    pub sequence: u64,
    /// Its batch.
    pub batch: Uuid,
    /// The batch before it.
    pub previous: Uuid,
    /// Documents it puts.
    pub puts: Vec<Document>,
    /// Ids it deletes.
    pub deletes: Vec<DocumentId>,
    /// Segments it links.
    pub linked: usize,
    /// Whether it is the last of its life.
    pub sealed: bool,
}

/// Reads a log entry.
///
/// # Errors
/// As for any bytes from a store.
pub fn decode_entry(schema: &Schema, bytes: &[u8]) -> Result<EntryView> {
    let entry = Entry::decode(schema, &bytes.to_vec().into()).map_err(|e| e.at("entry"))?;
    Ok(EntryView {
        sequence: entry.head.sequence.0,
        batch: entry.head.batch,
        previous: entry.head.previous,
        puts: schema.documents(&entry.body.rows)?,
        deletes: entry.body.deletes,
        linked: entry.body.segments.len(),
        sealed: entry.head.kind == EntryKind::Seal,
    })
}
