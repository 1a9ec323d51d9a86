//! Counts of the objects of a namespace, by kind.

use std::fmt;

use crate::storage::{IncarnationObject, SegmentFile};

/// A number of objects on the store, and their size together.
///
/// ```
/// # use elacsym::ObjectCount;
/// assert_eq!(ObjectCount::default().to_string(), "0 objects of 0 bytes");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectCount {
    /// How many.
    pub objects: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// Objects of a namespace, by kind.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::*;
/// # let schema = Schema::builder(IdKind::U64).build()?;
/// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
/// docs.write(Document::new(1)).await?;
/// let stored = docs.stats().await?.stored;
/// // Rows are in the log until they are flushed.
/// assert_eq!((stored.log_entries.objects, stored.row_files.objects), (1, 0));
/// assert!(stored.total().bytes >= stored.log_entries.bytes);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectsByKind {
    /// Entries of the log.
    pub log_entries: ObjectCount,
    /// Manifests.
    pub manifests: ObjectCount,
    /// Files of the rows of segments, in Parquet.
    pub row_files: ObjectCount,
    /// Files of the indexes of segments: of ids, attributes and the codes of vectors.
    pub index_files: ObjectCount,
    /// Files of the full-text indexes of segments.
    pub text_files: ObjectCount,
    /// Files of the exact vectors of segments.
    pub vector_files: ObjectCount,
    /// Files of dead rows, of which a segment has another after each flush that hides some.
    pub dead_row_files: ObjectCount,
    /// Centroid sets.
    pub centroid_sets: ObjectCount,
    /// Lists of idempotency tokens.
    pub token_lists: ObjectCount,
    /// Markers of the namespace, and objects whose names this version does not know. These are never deleted.
    pub others: ObjectCount,
}

impl ObjectCount {
    fn add(&mut self, other: Self) {
        self.objects += other.objects;
        // invariant: sizes are what a store says; a sum beyond 64 bits is only shown.
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

impl ObjectsByKind {
    /// All kinds together.
    #[must_use]
    pub fn total(&self) -> ObjectCount {
        let mut total = ObjectCount::default();
        self.by_kind().into_iter().for_each(|(_, some)| total.add(some));
        total
    }

    /// Every kind with what it is called.
    #[must_use]
    pub fn by_kind(&self) -> Vec<(&'static str, ObjectCount)> {
        // Taken apart, so that a kind that is added is counted and shown.
        let Self {
            log_entries,
            manifests,
            row_files,
            index_files,
            text_files,
            vector_files,
            dead_row_files,
            centroid_sets,
            token_lists,
            others,
        } = *self;
        vec![
            ("log entries", log_entries),
            ("manifests", manifests),
            ("row files", row_files),
            ("index files", index_files),
            ("text files", text_files),
            ("vector files", vector_files),
            ("files of dead rows", dead_row_files),
            ("centroid sets", centroid_sets),
            ("token lists", token_lists),
            ("others", others),
        ]
    }

    /// Counts an object; `None` for one whose name is not known.
    pub(super) fn add(&mut self, object: Option<IncarnationObject>, bytes: u64) {
        let kind = match object {
            None | Some(IncarnationObject::Open | IncarnationObject::Closed) => &mut self.others,
            Some(IncarnationObject::Manifest(_)) => &mut self.manifests,
            Some(IncarnationObject::Entry(_)) => &mut self.log_entries,
            Some(IncarnationObject::SegmentFile(_, file)) => match file {
                SegmentFile::Rows => &mut self.row_files,
                SegmentFile::Index => &mut self.index_files,
                SegmentFile::Text => &mut self.text_files,
                SegmentFile::Vector(_) => &mut self.vector_files,
                SegmentFile::Deletes { .. } => &mut self.dead_row_files,
            },
            Some(IncarnationObject::Centroids(_)) => &mut self.centroid_sets,
            Some(IncarnationObject::Tokens(_)) => &mut self.token_lists,
        };
        kind.add(ObjectCount { objects: 1, bytes });
    }
}

impl fmt::Display for ObjectCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} objects of {} bytes", self.objects, self.bytes)
    }
}

/// The total, and how many objects there are of each kind that has any.
impl fmt::Display for ObjectsByKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total();
        write!(f, "{total}")?;
        let kinds = self.by_kind().into_iter().filter(|(_, some)| some.objects > 0);
        for (at, (kind, some)) in kinds.enumerate() {
            let separator = if at == 0 { ": " } else { ", " };
            write!(f, "{separator}{} {kind}", some.objects)?;
        }
        Ok(())
    }
}
