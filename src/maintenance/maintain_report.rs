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
    /// The flushes; `None` if none was due.
    pub flushed: Option<FlushReport>,
    /// The merges after them. Those that give vectors of large batches an index belong to the flush.
    pub merged: CompactReport,
    /// The collection; nothing if none was due.
    pub collected: CollectReport,
}

impl MaintainReport {
    pub(super) fn add_flush(&mut self, flush: FlushReport) {
        let rows = self.flushed.map_or(0, |before| before.rows);
        self.flushed = Some(FlushReport { rows: flush.rows + rows, ..flush });
    }
}

impl fmt::Display for MaintainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flushed, merged, collected } = self;
        if *self == Self::default() {
            return f.write_str("nothing was due");
        }
        let mut separator = "";
        if let Some(flushed) = flushed {
            write!(f, "{flushed}")?;
            separator = "; ";
        }
        if merged.merged > 0 {
            write!(f, "{separator}{merged}")?;
            separator = "; ";
        }
        if *collected != CollectReport::default() {
            write!(f, "{separator}{collected}")?;
        }
        Ok(())
    }
}
