//! Resolving a batch: its conditions, patches and filters become rows to put and ids to delete in a given state.
//!
//! The effect on a document depends only on the batch and on what the state holds of that document, limits aside. So in
//! a later state only the documents that were touched in between are resolved again: the [`ResolveScope`].

mod by_filter;
mod by_id;
mod resolver;

use std::collections::HashSet;

use self::resolver::Resolver;
use super::CheckedBatch;
use super::effects::Effects;
use crate::codec::zip_equal;
use crate::error::Result;
use crate::memtable::MemRows;
use crate::types::DocumentId;
use crate::view::View;

/// The most bytes that the ids of deletes may take in an entry: 5,000,000 UUIDs, or 1,200,000 of the longest strings.
/// With 32 MiB of rows that leaves room in an entry, which has 128 MiB because every reader has to fetch it whole.
pub(super) const DELETES_BYTES_MAX: usize = 80 << 20;

/// Which documents a resolution looks at, and how much of the limits is used up already.
#[derive(Debug)]
pub(super) struct ResolveScope<'a> {
    /// Only these documents. What a filter matches is among them already, by the choice of the view.
    pub(super) only: Option<&'a HashSet<DocumentId>>,
    /// How many documents each delete by filter has matched already.
    pub(super) delete_matches: Vec<usize>,
    /// How many documents each patch by filter has matched already.
    pub(super) patch_matches: Vec<usize>,
    /// The bytes of patched rows so far.
    pub(super) row_bytes: usize,
    /// The bytes of the ids of deletes so far.
    pub(super) delete_bytes: usize,
}

impl ResolveScope<'_> {
    /// All documents, with the limits unused.
    pub(super) fn unlimited(batch: &CheckedBatch) -> Self {
        Self {
            only: None,
            delete_matches: vec![0; batch.delete_filters.len()],
            patch_matches: vec![0; batch.patch_filters.len()],
            row_bytes: 0,
            delete_bytes: 0,
        }
    }
}

/// What a batch does to the documents of a scope, without its blind writes.
#[derive(Debug)]
pub(super) struct Resolution {
    pub(super) run: MemRows,
    pub(super) effects: Effects,
}

/// Resolves a batch against a view.
pub(super) async fn resolve(
    view: &View,
    batch: &CheckedBatch,
    scope: ResolveScope<'_>,
) -> Result<Resolution> {
    let delete_filters = zip_equal(&batch.delete_filters, scope.delete_matches.clone(), "deletes by filter")?;
    let patch_filters = zip_equal(&batch.patch_filters, scope.patch_matches.clone(), "patches by filter")?;
    let mut resolver = Resolver::new(view, batch.partial, scope);
    // The order is part of the API. Deletes come first, so that no document is patched only to be deleted. Writes by id
    // come last, so that a batch can delete everything of a source and put its new documents: were the filters last,
    // they would match the new documents too.
    for (filter, matched) in delete_filters {
        resolver.delete_by_filter(filter, matched).await?;
    }
    for ((filter, values), matched) in patch_filters {
        resolver.patch_by_filter(filter, values, matched).await?;
    }
    resolver.write_by_id(batch).await?;
    resolver.finish()
}

/// The bytes that an id takes in an entry.
pub(super) fn id_bytes(id: &DocumentId) -> usize {
    match id {
        DocumentId::U64(_) | DocumentId::Negative(_) => 8,
        DocumentId::Uuid(_) => 16,
        // Arrow has an offset of four bytes for each string.
        DocumentId::String(id) => 4 + id.len(),
    }
}
