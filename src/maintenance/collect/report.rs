//! What a collection found and deleted.

use std::fmt;

use crate::maintenance::objects::ObjectsByKind;
use crate::storage::{IncarnationObject, ObjectKey};

/// What a collection deleted.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::*;
/// # let schema = Schema::builder(IdKind::U64).build()?;
/// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
/// docs.write(Document::new(1)).await?;
/// docs.flush().await?;
/// docs.compact().await?;
/// // Everything is younger than the grace.
/// let report = docs.collect().await?;
/// assert_eq!(report.to_string(), "deleted nothing");
/// assert_eq!(report.deleted.total().objects, 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CollectReport {
    /// Objects that were deleted.
    pub deleted: ObjectsByKind,
}

/// An object that nothing needs any more.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::*;
/// # let schema = Schema::builder(IdKind::U64).build()?;
/// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
/// for garbage in docs.garbage().await? {
///     println!("{garbage}"); // the key, its size, and why
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Garbage {
    /// Its key, relative to the root of the database.
    pub key: ObjectKey,
    /// Its size in bytes.
    pub bytes: u64,
    /// Why nothing needs it.
    pub reason: GarbageReason,
}

/// Why an object is garbage.
///
/// ```
/// # use elacsym::GarbageReason;
/// assert_eq!(GarbageReason::Flushed.to_string(), "every living manifest covers it");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GarbageReason {
    /// An entry of the log: its rows are in the segments of every living manifest.
    Flushed,
    /// A manifest that was replaced for longer than the grace.
    Replaced,
    /// A file that no living manifest and no entry of the log names: it was replaced, or never came to be used.
    Unnamed,
}

/// Garbage, and what its name says.
pub(super) struct GarbageObject {
    pub(super) garbage: Garbage,
    pub(super) object: IncarnationObject,
}

impl fmt::Display for CollectReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.deleted.total().objects == 0 {
            return f.write_str("deleted nothing");
        }
        write!(f, "deleted {}", self.deleted)
    }
}

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} bytes: {}", self.key, self.bytes, self.reason)
    }
}

impl fmt::Display for GarbageReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flushed => "every living manifest covers it",
            Self::Replaced => "it was replaced for longer than the grace",
            Self::Unnamed => "no living manifest and no entry of the log names it",
        })
    }
}
