//! What a write did.

use serde::{Deserialize, Serialize};

use super::{DocumentId, Sequence};

/// What a write did, once it is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WriteReceipt {
    /// The log entry that holds the write, or for a write that changed nothing the newest entry it saw.
    pub sequence: Sequence,
    /// Documents written whole.
    pub upserted: u64,
    /// Documents of which some columns were written.
    pub patched: u64,
    /// Documents deleted. Plain deletes by id count the ids given, whether or not a document was there.
    pub deleted: u64,
    /// Operations that did nothing: a condition that was false, an insert of an id that exists, a patch or
    /// conditional delete of one that does not.
    pub skipped: u64,
    /// A write by filter stopped at one of its limits, and more rows may match.
    pub rows_remaining: bool,
    /// The write had been applied before under the same idempotency token: this is its first receipt.
    #[serde(skip)]
    pub replayed: bool,
    /// Which documents changed, if the batch asked for it; never for a replay.
    #[serde(skip)]
    pub ids: Option<AffectedIds>,
}

/// The documents that a write changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AffectedIds {
    /// Written whole.
    pub upserted: Vec<DocumentId>,
    /// Written in part.
    pub patched: Vec<DocumentId>,
    /// Deleted.
    pub deleted: Vec<DocumentId>,
}
