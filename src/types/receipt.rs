//! The results of writes.

use serde::{Deserialize, Serialize};

use super::{DocumentId, Sequence};

/// The effects of a durable write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WriteReceipt {
    /// The log entry of the write, or the newest entry it saw if it changed nothing.
    pub sequence: Sequence,
    /// Documents written as a whole.
    pub upserted: u64,
    /// Documents of which only some columns were written.
    pub patched: u64,
    /// Documents deleted. Unconditional deletes by id count the given ids, whether or not the documents existed.
    pub deleted: u64,
    /// Operations without effect: false conditions, inserts of ids that exist, patches and conditional deletes of ids
    /// that do not.
    pub skipped: u64,
    /// Whether a write by filter stopped at one of its limits, so that more rows may match.
    pub rows_remaining: bool,
    /// Whether the write had already been applied under the same idempotency token. This is then its original receipt.
    // Not stored: it describes the answer, not the write.
    #[serde(skip)]
    pub replayed: bool,
    /// The ids that changed, if the batch requested them. A replay has none.
    // Not stored: the receipts of 10,000 tokens are in every manifest, and a batch may have a million ids.
    #[serde(skip)]
    pub ids: Option<AffectedIds>,
}

/// The ids of the documents that a write changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AffectedIds {
    /// Documents written as a whole.
    pub upserted: Vec<DocumentId>,
    /// Documents written in part.
    pub patched: Vec<DocumentId>,
    /// Documents deleted.
    pub deleted: Vec<DocumentId>,
}
