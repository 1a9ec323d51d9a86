//! Which documents a batch changed, and how: what its receipt reports.

use super::CheckedBatch;
use crate::codec::{u64_of, zip_equal};
use crate::error::Result;
use crate::schema::{Ids, Schema};
use crate::types::{AffectedIds, DocumentId, WriteReceipt};

/// Which documents a batch changed, and how. Its blind writes are not among them: they are the same in every state.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// What each delete by filter deleted.
    pub(super) delete_matches: Vec<Vec<DocumentId>>,
    /// What each patch by filter patched. A document may match several.
    pub(super) patch_matches: Vec<Vec<DocumentId>>,
    pub(super) upserted: Vec<DocumentId>,
    pub(super) patched: Vec<DocumentId>,
    pub(super) deleted: Vec<DocumentId>,
    pub(super) skipped: Vec<DocumentId>,
    /// A filter stopped at a limit, and more documents match.
    pub(super) remaining: bool,
}

impl Effects {
    fn lists(&self) -> impl Iterator<Item = &Vec<DocumentId>> {
        let Self { delete_matches, patch_matches, upserted, patched, deleted, skipped, .. } = self;
        delete_matches.iter().chain(patch_matches).chain([upserted, patched, deleted, skipped])
    }

    /// The number of effects. A document may have several.
    pub(super) fn len(&self) -> usize {
        self.lists().map(Vec::len).sum()
    }

    /// The documents, in ascending order and each once.
    pub(super) fn to_ids(&self, schema: &Schema) -> Result<Ids> {
        let mut ids: Vec<&DocumentId> = self.lists().flatten().collect();
        ids.sort_unstable();
        ids.dedup();
        Ids::new(schema.id(), &Ids::build_array(schema.id(), ids)?)
    }

    /// Forgets the effects on some documents.
    pub(super) fn retain(&mut self, retained: impl Fn(&DocumentId) -> bool) {
        let Self { delete_matches, patch_matches, upserted, patched, deleted, skipped, .. } = self;
        let by_filter = delete_matches.iter_mut().chain(patch_matches);
        for list in by_filter.chain([upserted, patched, deleted, skipped]) {
            list.retain(&retained);
        }
    }

    /// Adds the effects of the same batch on other documents.
    pub(super) fn extend(&mut self, other: Self) -> Result<()> {
        let deletes = zip_equal(&mut self.delete_matches, other.delete_matches, "deletes by filter")?;
        let patches = zip_equal(&mut self.patch_matches, other.patch_matches, "patches by filter")?;
        for (ours, theirs) in deletes.chain(patches) {
            ours.extend(theirs);
        }
        self.upserted.extend(other.upserted);
        self.patched.extend(other.patched);
        self.deleted.extend(other.deleted);
        self.skipped.extend(other.skipped);
        // It stays set even if what remained is gone by now. A caller who is told that something remains writes again and
        // finds nothing; one who is told that nothing remains would stop too early.
        self.remaining |= other.remaining;
        Ok(())
    }

    /// The receipt of the batch, its blind writes included. The sequence is not known yet.
    pub(super) fn receipt(&self, batch: &CheckedBatch) -> WriteReceipt {
        let blind = &batch.blind;
        // A document that several filters patched counts once.
        let mut patched: Vec<&DocumentId> =
            self.patch_matches.iter().flatten().chain(&self.patched).collect();
        patched.sort_unstable();
        patched.dedup();
        // A document cannot be deleted twice: a later step does not find it any more.
        let deleted = || self.delete_matches.iter().flatten().chain(&self.deleted);
        // Blind deletes count even where no document existed: to find out would cost a read of the id index.
        let ids = batch.ids.then(|| AffectedIds {
            upserted: blind.ids().to_vec().into_iter().chain(self.upserted.iter().cloned()).collect(),
            patched: patched.iter().copied().cloned().collect(),
            deleted: deleted().chain(blind.deletes().iter()).cloned().collect(),
        });
        WriteReceipt {
            upserted: u64_of(blind.ids().len() + self.upserted.len()),
            patched: u64_of(patched.len()),
            deleted: u64_of(deleted().count() + blind.deletes().len()),
            skipped: u64_of(self.skipped.len()),
            rows_remaining: self.remaining,
            ids,
            ..WriteReceipt::default()
        }
    }
}
