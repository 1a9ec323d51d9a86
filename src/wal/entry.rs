//! The contents of a log entry.

use arrow::record_batch::RecordBatch;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::codec::CodecError;
use crate::schema::SchemaVersions;
use crate::segment::SegmentMeta;
use crate::types::{DocumentId, Sequence, TokenRecord};

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// Puts and deletes.
    Data,
    /// The last entry of an incarnation of the namespace: it is deleted.
    Seal,
}

/// The place of an entry in the log, and its writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryHead {
    pub(crate) kind: EntryKind,
    /// The features that it requires of writers, as bits.
    pub(crate) write_features: u32,
    pub(crate) incarnation: Uuid,
    pub(crate) sequence: Sequence,
    /// Unique for each commit and the same in all its attempts: by it a writer recognises its own entry.
    pub(crate) batch: Uuid,
    /// The batch of the entry before; nil for the first. The chain reveals gaps, and entries that were put at a number
    /// that had been collected.
    pub(crate) previous: Uuid,
    pub(crate) writer: Uuid,
    pub(crate) created_ms: i64,
}

/// The changes of an entry.
#[derive(Clone, Debug)]
pub(crate) struct EntryBody {
    /// Whole rows in the layout of the current schema, in ascending order of unique ids.
    pub(crate) rows: RecordBatch,
    /// Ids in ascending order, none of them in `rows`.
    pub(crate) deletes: Vec<DocumentId>,
    /// Rows that were uploaded as segments before the entry. The ids of their live rows are neither in `rows` nor in
    /// `deletes`.
    pub(crate) segments: Vec<SegmentLink>,
    pub(crate) tokens: Vec<TokenRecord>,
}

/// A segment that an entry links.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SegmentLink {
    pub(crate) meta: SegmentMeta,
    /// Rows that are out of date: other entries touched their documents between the upload and this entry, whose own rows
    /// and deletes hold what they became.
    #[serde(default, skip_serializing_if = "RoaringBitmap::is_empty", with = "super::dead_rows")]
    pub(crate) dead: RoaringBitmap,
}

impl SegmentLink {
    /// Checks what can be checked without the files.
    pub(crate) fn check(&self, schemas: &SchemaVersions) -> Result<(), CodecError> {
        self.meta.check_version(schemas)?;
        // A link without a live row would add a layer that every query visits in vain; writers leave it out.
        let is_sound = self.dead.max().is_none_or(|row| row < self.meta.rows)
            && self.dead.len() < u64::from(self.meta.rows)
            && self.meta.deletes.is_none();
        if is_sound {
            Ok(())
        } else {
            Err(CodecError::malformed("log entry", "a link to a segment without live rows"))
        }
    }
}

/// One committed batch.
#[derive(Clone, Debug)]
pub(crate) struct LogEntry {
    pub(crate) head: EntryHead,
    pub(crate) body: EntryBody,
}
