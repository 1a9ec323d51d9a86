//! What maintenance did that did what was due.

use std::fmt;

use super::{CollectReport, CompactReport, FlushReport};

/// What maintenance did.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::*;
/// # let schema = Schema::builder(IdKind::U64).build()?;
/// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
/// docs.write(Document::new(1)).await?;
/// let report = docs.maintain().await?;
/// // One row is no reason for a flush.
/// assert_eq!(report.to_string(), "nothing was due");
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MaintainReport {
    /// The last flush; `None` if none was due.
    pub flushed: Option<FlushReport>,
    /// All merges together.
    pub merged: CompactReport,
    /// The collection; nothing if none was due.
    pub collected: CollectReport,
}

impl fmt::Display for MaintainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flushed, merged, collected } = self;
        if *self == Self::default() {
            return f.write_str("nothing was due");
        }
        if let Some(flushed) = flushed {
            write!(f, "{flushed}; ")?;
        }
        write!(f, "{merged}; {collected}")
    }
}
