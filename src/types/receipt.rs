//! The results of writes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{DocumentId, Sequence};

/// The effects of a durable write.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::*;
/// # let schema = Schema::builder(IdKind::U64).build()?;
/// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
/// docs.write(Document::new(1)).await?;
/// let receipt = docs.write(WriteBatch::new().insert(Document::new(1)).insert(Document::new(2))).await?;
/// assert_eq!((receipt.upserted, receipt.skipped), (1, 1));
/// assert_eq!(receipt.to_string(), "entry 2: 1 upserted 1 skipped");
/// # Ok(()) }
/// ```
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

/// One line: the entry, and the counts that are not zero.
impl fmt::Display for WriteReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {}:", self.sequence)?;
        let counts = [
            (self.upserted, "upserted"),
            (self.patched, "patched"),
            (self.deleted, "deleted"),
            (self.skipped, "skipped"),
        ];
        for (count, what) in counts.iter().filter(|(count, _)| *count > 0) {
            write!(f, " {count} {what}")?;
        }
        if counts.iter().all(|(count, _)| *count == 0) {
            f.write_str(" nothing changed")?;
        }
        if self.rows_remaining {
            f.write_str(", stopped at a limit")?;
        }
        if self.replayed {
            f.write_str(", replayed")?;
        }
        Ok(())
    }
}

/// The ids of the documents that a write changed.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::*;
/// # let schema = Schema::builder(IdKind::U64).build()?;
/// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
/// docs.write([1, 2, 3].map(Document::new)).await?;
/// let receipt = docs.write(WriteBatch::new().delete_by_filter(Filter::lte("id", 1)).return_ids()).await?;
/// assert_eq!(receipt.ids.unwrap().deleted, [DocumentId::from(1)]);
/// # Ok(()) }
/// ```
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
