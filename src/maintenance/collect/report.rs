//! What a collection found and deleted.

use std::fmt;

use crate::storage::{IncarnationObject, ObjectKey, SegmentFile};

/// What a collection deleted, by kind.
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
/// assert_eq!(report.total().objects, 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CollectReport {
    /// Entries of the log that every living manifest covers.
    pub log_entries: CollectedObjects,
    /// Manifests.
    pub manifests: CollectedObjects,
    /// Files of segments.
    pub segment_files: CollectedObjects,
    /// Files of dead rows, of which a segment has another after each flush that hides some.
    pub dead_row_files: CollectedObjects,
    /// Centroid sets.
    pub centroid_sets: CollectedObjects,
    /// Lists of idempotency tokens.
    pub token_lists: CollectedObjects,
}

/// How many objects were deleted, and their size.
///
/// ```
/// # use elacsym::CollectedObjects;
/// assert_eq!(CollectedObjects::default().to_string(), "0 objects of 0 bytes");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CollectedObjects {
    /// How many.
    pub objects: u64,
    /// Their size in bytes.
    pub bytes: u64,
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

impl CollectReport {
    /// All kinds together.
    #[must_use]
    pub fn total(&self) -> CollectedObjects {
        let mut total = CollectedObjects::default();
        for (_, some) in self.by_kind() {
            total.objects += some.objects;
            total.bytes += some.bytes;
        }
        total
    }

    fn by_kind(&self) -> [(&'static str, CollectedObjects); 6] {
        let Self { log_entries, manifests, segment_files, dead_row_files, centroid_sets, token_lists } =
            *self;
        [
            ("log entries", log_entries),
            ("manifests", manifests),
            ("segment files", segment_files),
            ("files of dead rows", dead_row_files),
            ("centroid sets", centroid_sets),
            ("token lists", token_lists),
        ]
    }

    /// Adds an object that was deleted.
    pub(super) fn add(&mut self, found: &GarbageObject) {
        let kind = match found.object {
            // Markers are never garbage.
            IncarnationObject::Open | IncarnationObject::Closed => return,
            IncarnationObject::Manifest(_) => &mut self.manifests,
            IncarnationObject::Entry(_) => &mut self.log_entries,
            IncarnationObject::SegmentFile(_, SegmentFile::Deletes { .. }) => &mut self.dead_row_files,
            IncarnationObject::SegmentFile(
                _,
                SegmentFile::Rows | SegmentFile::Index | SegmentFile::Text | SegmentFile::Vector(_),
            ) => &mut self.segment_files,
            IncarnationObject::Centroids(_) => &mut self.centroid_sets,
            IncarnationObject::Tokens(_) => &mut self.token_lists,
        };
        kind.objects += 1;
        // invariant: sizes are what a store says; a sum beyond 64 bits is only shown.
        kind.bytes = kind.bytes.saturating_add(found.garbage.bytes);
    }
}

impl fmt::Display for CollectReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total();
        if total.objects == 0 {
            return f.write_str("deleted nothing");
        }
        write!(f, "deleted {total}:")?;
        let kinds = self.by_kind().into_iter().filter(|(_, some)| some.objects > 0);
        for (at, (kind, some)) in kinds.enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma} {} {kind}", some.objects)?;
        }
        Ok(())
    }
}

impl fmt::Display for CollectedObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} objects of {} bytes", self.objects, self.bytes)
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
