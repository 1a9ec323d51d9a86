//! Which documents a batch did what to.

use super::Checked;
use crate::error::Result;
use crate::schema::{Ids, Schema};
use crate::types::{AffectedIds, DocumentId, WriteReceipt};

/// Which documents a batch did what to, but for what it does whatever the state.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Those that each filter took: of deletes, then of patches.
    pub(super) taken: Vec<Vec<DocumentId>>,
    pub(super) upserted: Vec<DocumentId>,
    pub(super) patched: Vec<DocumentId>,
    pub(super) deleted: Vec<DocumentId>,
    pub(super) skipped: Vec<DocumentId>,
    /// A filter stopped at a limit, and more documents match.
    pub(super) remaining: bool,
}

impl Effects {
    fn lists(&self) -> impl Iterator<Item = &Vec<DocumentId>> {
        self.taken.iter().chain([&self.upserted, &self.patched, &self.deleted, &self.skipped])
    }

    pub(super) fn len(&self) -> usize {
        self.lists().map(Vec::len).sum()
    }

    /// All documents, in ascending order and each once.
    pub(super) fn ids(&self, schema: &Schema) -> Result<Ids> {
        let mut ids: Vec<&DocumentId> = self.lists().flatten().collect();
        ids.sort_unstable();
        ids.dedup();
        Ids::new(schema.id(), &Ids::build_array(schema.id(), ids)?)
    }

    /// Forgets some documents.
    pub(super) fn retain(&mut self, keep: impl Fn(&DocumentId) -> bool) {
        let Self { taken, upserted, patched, deleted, skipped, .. } = self;
        for list in taken.iter_mut().chain([upserted, patched, deleted, skipped]) {
            list.retain(&keep);
        }
    }

    /// Adds what the same batch did to other documents.
    pub(super) fn add(&mut self, other: Self) {
        for (ours, theirs) in self.taken.iter_mut().zip(other.taken) {
            ours.extend(theirs);
        }
        self.upserted.extend(other.upserted);
        self.patched.extend(other.patched);
        self.deleted.extend(other.deleted);
        self.skipped.extend(other.skipped);
        // Of what was left then, some may be gone: who asks again will see.
        self.remaining |= other.remaining;
    }

    /// What the batch did, with what it does whatever the state.
    pub(super) fn receipt(&self, batch: &Checked) -> WriteReceipt {
        let (deletes, patches) = self.taken.split_at(self.taken.len().min(batch.delete_filters.len()));
        // Several patches of a document are one patched document.
        let mut changed: Vec<&DocumentId> = patches.iter().flatten().chain(&self.patched).collect();
        changed.sort_unstable();
        changed.dedup();
        let gone = deletes.iter().map(Vec::len).sum::<usize>() + self.deleted.len();
        let ids = batch.ids.then(|| AffectedIds {
            upserted: batch.blind.ids().to_vec().into_iter().chain(self.upserted.iter().cloned()).collect(),
            patched: changed.iter().copied().cloned().collect(),
            deleted: deletes
                .iter()
                .flatten()
                .chain(batch.blind.deletes().iter())
                .chain(&self.deleted)
                .cloned()
                .collect(),
        });
        WriteReceipt {
            upserted: (batch.blind.ids().len() + self.upserted.len()) as u64,
            patched: changed.len() as u64,
            deleted: (gone + batch.blind.deletes().len()) as u64,
            skipped: self.skipped.len() as u64,
            rows_remaining: self.remaining,
            ids,
            ..WriteReceipt::default()
        }
    }
}
