//! A resolved batch, and how it is brought up to date when the state has moved on.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use roaring::RoaringBitmap;

use super::CheckedBatch;
use super::effects::Effects;
use super::resolve::{DELETES_BYTES_MAX, ResolveScope, id_bytes, resolve};
use crate::codec::{to_usize, usize_of};
use crate::env::{Cost, Env};
use crate::error::{Error, Result};
use crate::memtable::{MemRows, PartSource};
use crate::schema::{Ids, Schema};
use crate::types::{DocumentId, WriteReceipt};
use crate::view::View;

/// The outcome of a batch in some state: rows to put, ids to delete, and the effects that its receipt reports.
///
/// It is kept as a base, which never changes its rows and may have been uploaded as a segment, and an overlay with what
/// has changed since. So bringing a large batch up to date costs as much as the documents that others touched.
#[derive(Debug)]
pub(super) struct ResolvedBatch {
    /// Rows and deletes as of the state in which the whole batch was resolved.
    base: MemRows,
    /// Rows of the base that are out of date: their documents were touched since.
    hidden: RoaringBitmap,
    /// The puts and deletes of these documents instead.
    overlay: MemRows,
    effects: Effects,
    /// The documents that the effects name, and perhaps more, each list ascending. A batch may touch documents outside
    /// these in a later state, but only documents that an entry touched in between.
    affected: Vec<Ids>,
}

impl ResolvedBatch {
    /// Resolves a batch against a state.
    pub(super) async fn new(view: &View, batch: &CheckedBatch) -> Result<Self> {
        let schema = &view.schema;
        let found = resolve(view, batch, ResolveScope::unlimited(batch)).await?;
        // Blind writes come last: an id occurs once in a batch, so a filter alone can have touched the same document,
        // and filters come before writes by id.
        let base =
            if found.run.is_empty() { batch.blind.clone() } else { found.run.merge_newer(&batch.blind)? };
        let (effects, affected) = sort_affected(&view.env, schema, found.effects).await?;
        let resolved = Self {
            base,
            hidden: RoaringBitmap::new(),
            overlay: MemRows::empty(schema)?,
            effects,
            affected: vec![affected],
        };
        resolved.check_size()?;
        Ok(resolved)
    }

    /// A batch of blind writes only, whose outcome is the same in every state.
    pub(super) fn from_blind(schema: &Schema, batch: &CheckedBatch) -> Result<Self> {
        let resolved = Self {
            base: batch.blind.clone(),
            hidden: RoaringBitmap::new(),
            overlay: MemRows::empty(schema)?,
            effects: Effects::default(),
            affected: Vec::new(),
        };
        resolved.check_size()?;
        Ok(resolved)
    }

    /// Brings it up to a later state. `delta` is what that state has on top of the last one: layers that hold, for every
    /// document in them, its newest version or its delete. Only these documents are resolved again, and against these
    /// layers alone, so nothing is read of older segments.
    pub(super) async fn update(&mut self, delta: &View, batch: &CheckedBatch) -> Result<()> {
        if batch.is_blind() || delta.layers.is_empty() {
            return Ok(());
        }
        let touched = self.find_touched(delta).await?;
        // First everything is forgotten that was resolved for a touched document, wherever it is: effects, rows of the
        // base, deletes of the base, the overlay. Blind writes stay, which do not depend on the document.
        self.effects.retain(|id| !touched.contains(id));
        for id in touched.iter().filter(|id| !has_operation(&batch.blind, id)) {
            self.hidden.extend(self.base.find_row(id));
        }
        let is_outdated = |id: &DocumentId| touched.contains(id) && !batch.blind.has_deleted(id);
        if self.base.deletes().iter().any(&is_outdated) {
            let deletes = self.base.deletes().iter().filter(|id| !is_outdated(id)).cloned();
            self.base = self.base.with_deletes(deletes);
        }
        let overlay = remove_documents(&self.overlay, |id| touched.contains(id))?;
        // What is left counts towards the limits, as if all had been resolved at once.
        let scope = ResolveScope {
            only: Some(&touched),
            delete_matches: self.effects.delete_matches.iter().map(Vec::len).collect(),
            patch_matches: self.effects.patch_matches.iter().map(Vec::len).collect(),
            row_bytes: self.estimate_dependent_bytes(batch)?.saturating_add(overlay.bytes()),
            delete_bytes: self.base.deletes().iter().chain(overlay.deletes().iter()).map(id_bytes).sum(),
        };
        let found = resolve(delta, batch, scope).await?;
        // Blind writes come after filters, and the base has them already.
        let run = remove_documents(&found.run, |id| has_operation(&batch.blind, id))?;
        self.overlay = overlay.merge_newer(&run)?;
        // A filter may match a document now that it did not match before.
        let affected = found.effects.to_ids(&delta.schema)?;
        if (0..affected.len()).any(|row| !touched.contains(&affected.get(row))) {
            self.affected.push(affected);
        }
        self.effects.extend(found.effects)?;
        self.check_size()
    }

    /// An estimate of the bytes of live rows of the base that depend on the state: the share of the live rows, less
    /// the blind writes.
    fn estimate_dependent_bytes(&self, batch: &CheckedBatch) -> Result<usize> {
        let rows = usize_of(self.base.row_count());
        let live = rows - to_usize(self.hidden.len(), "the number of hidden rows")?;
        let row_bytes = self.base.bytes() / rows.max(1);
        // invariant: the average row may be smaller than that of blind writes; then nothing else is worth counting.
        Ok((row_bytes * live).saturating_sub(batch.blind.bytes()))
    }

    /// Which of the affected documents the layers of `delta` touch.
    async fn find_touched(&self, delta: &View) -> Result<HashSet<DocumentId>> {
        let mut touched = HashSet::new();
        for layer in &delta.layers {
            let deleted = match layer.source() {
                PartSource::Memory(run) if !run.deletes().is_empty() => Some(run.deleted_ids()?),
                PartSource::Memory(_) | PartSource::Segment(_) => None,
            };
            for affected in &self.affected {
                let found = layer.source().find_sorted_ids(&delta.env, affected).await?;
                let live = found.into_iter().filter(|(_, row)| !layer.dead_rows().contains(*row));
                touched.extend(live.map(|(position, _)| affected.get(position)));
                if let Some(deleted) = &deleted {
                    affected.intersect(deleted, |position, _| {
                        touched.insert(affected.get(position));
                    });
                }
            }
        }
        Ok(touched)
    }

    /// Checks that its deletes fit into an entry. Rows need no check: many rows are linked as a segment.
    fn check_size(&self) -> Result<()> {
        let deletes = self.base.deletes().iter().chain(self.overlay.deletes().iter());
        let bytes: usize = deletes.map(id_bytes).sum();
        if bytes <= DELETES_BYTES_MAX {
            return Ok(());
        }
        Err(Error::limit(format!(
            "deletes of {bytes} bytes of ids in one batch: at most {DELETES_BYTES_MAX} are allowed"
        )))
    }

    /// Base and overlay as one.
    pub(super) fn to_rows(&self) -> Result<MemRows> {
        if self.hidden.is_empty() && self.overlay.is_empty() {
            return Ok(self.base.clone());
        }
        self.base.without_rows(&self.hidden)?.merge_newer(&self.overlay)
    }

    /// Merges the overlay into the base.
    pub(super) fn merge_overlay(&mut self, schema: &Schema) -> Result<()> {
        self.base = self.to_rows()?;
        self.hidden.clear();
        self.overlay = MemRows::empty(schema)?;
        Ok(())
    }

    pub(super) fn base(&self) -> &MemRows {
        &self.base
    }

    /// What stands for the hidden rows of the base.
    pub(super) fn overlay(&self) -> &MemRows {
        &self.overlay
    }

    /// Rows of the base that are out of date.
    pub(super) fn hidden(&self) -> &RoaringBitmap {
        &self.hidden
    }

    /// Everything except the rows of the base: what an entry holds beside the segment that it links for these.
    pub(super) fn to_rows_beside_base(&self, schema: &Schema) -> Result<MemRows> {
        let rows = RecordBatch::new_empty(schema.arrow());
        MemRows::new(schema, rows, self.base.deletes().as_ref().clone())?.merge_newer(&self.overlay)
    }

    /// An estimate of the bytes and operations that it adds to an entry.
    pub(super) fn weight(&self) -> (usize, usize) {
        let operations = (self.base.len() + self.overlay.len()).max(self.effects.len());
        (self.base.bytes().saturating_add(self.overlay.bytes()), operations)
    }

    pub(super) fn receipt(&self, batch: &CheckedBatch) -> WriteReceipt {
        self.effects.receipt(batch)
    }
}

/// Whether a document is put or deleted.
fn has_operation(run: &MemRows, id: &DocumentId) -> bool {
    run.find_row(id).is_some() || run.has_deleted(id)
}

/// Removes the puts and deletes of some documents.
fn remove_documents(run: &MemRows, removed: impl Fn(&DocumentId) -> bool) -> Result<MemRows> {
    if run.is_empty() {
        return Ok(run.clone());
    }
    let rows = (0..run.row_count()).filter(|row| removed(&run.ids().get(usize_of(*row))));
    let rows: RoaringBitmap = rows.collect();
    let deletes = run.deletes().iter().filter(|id| !removed(id)).cloned();
    Ok(run.without_rows(&rows)?.with_deletes(deletes))
}

/// The documents that effects name, in ascending order.
async fn sort_affected(env: &Env, schema: &Arc<Schema>, effects: Effects) -> Result<(Effects, Ids)> {
    let schema = Arc::clone(schema);
    let cost = Cost::ids(effects.len());
    let work = move || {
        let ids = effects.to_ids(&schema)?;
        Ok((effects, ids))
    };
    env.compute(cost, work).await?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::filter::Filter;
    use crate::schema::AttributeType;
    use crate::settings::Settings;
    use crate::types::{Document, IdKind, Sequence};
    use crate::write::{Condition, IfMissing, WriteBatch};

    fn schema() -> Arc<Schema> {
        let builder = Schema::builder(IdKind::U64).attribute("a", AttributeType::Int);
        Arc::new(builder.attribute("b", AttributeType::Int).build().unwrap())
    }

    /// What an entry does to a document: puts it with a value, or deletes it.
    type Entry = std::collections::BTreeMap<u64, Option<i64>>;

    fn view(entries: &[Entry]) -> View {
        let (schema, env) = (schema(), Env::current().unwrap());
        let settings = Arc::new(Settings::default());
        let nothing =
            View::new(env, Arc::clone(&schema), settings, Arc::default(), Vec::new(), (Sequence::ZERO, 0));
        entries.iter().fold(nothing, |view, entry| {
            let put = |(id, a): (&u64, &Option<i64>)| a.map(|a| Document::new(*id).with("a", a));
            let rows = schema.to_batch(&entry.iter().filter_map(put).collect::<Vec<_>>()).unwrap();
            let deletes = entry.iter().filter(|(_, a)| a.is_none()).map(|(id, _)| (*id).into()).collect();
            view.with_run(MemRows::from_unsorted(&schema, &rows, deletes).unwrap())
        })
    }

    fn entries(most: usize) -> impl Strategy<Value = Vec<Entry>> {
        let entry = proptest::collection::btree_map(0u64..12, proptest::option::of(0i64..6), 0..8);
        proptest::collection::vec(entry, 0..most)
    }

    /// One operation an id, and filters before them.
    fn batches() -> impl Strategy<Value = WriteBatch> {
        let operations = proptest::collection::btree_map(0u64..12, (0..8u8, 0i64..6), 0..8);
        let filters = proptest::collection::vec((any::<bool>(), 0i64..6, 0i64..6), 0..3);
        (operations, filters).prop_map(|(operations, filters)| {
            let start = filters.into_iter().fold(WriteBatch::new().return_ids(), |batch, (delete, a, b)| {
                let some = Filter::eq("a", a);
                if delete { batch.delete_by_filter(some) } else { batch.patch_by_filter(some, [("a", b)]) }
            });
            operations.into_iter().fold(start, |batch, (id, (kind, a))| {
                let whole = Document::new(id).with("a", a).with("b", 1i64);
                let condition = || Condition::new(Filter::lt("a", a));
                match kind {
                    0 => batch.upsert(whole),
                    1 => batch.insert(whole),
                    2 => batch.upsert_if(whole, condition()),
                    3 => batch.upsert_if(whole, condition().if_missing(IfMissing::Skip)),
                    4 => batch.patch(Document::new(id).with("b", a)),
                    5 => batch.patch_if(Document::new(id).with("b", a), condition()),
                    6 => batch.delete(id),
                    _ => batch.delete_if(id, condition()),
                }
            })
        })
    }

    /// Rows, deletes and the receipt with its ids in order.
    fn contents_of(
        resolved: &ResolvedBatch,
        batch: &CheckedBatch,
    ) -> (Vec<Document>, Vec<DocumentId>, WriteReceipt) {
        let run = resolved.to_rows().unwrap();
        let mut receipt = resolved.receipt(batch);
        let ids = receipt.ids.as_mut().unwrap();
        for list in [&mut ids.upserted, &mut ids.patched, &mut ids.deleted] {
            list.sort_unstable();
        }
        (schema().documents(run.rows()).unwrap(), run.deletes().as_ref().clone(), receipt)
    }

    proptest! {
        #[test]
        fn brought_up_to_date_in_any_steps_it_is_as_if_resolved_at_last(
            before in entries(5),
            steps in proptest::collection::vec(entries(4), 1..4),
            batch in batches(),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let batch = CheckedBatch::new(&schema(), &Settings::default(), batch).unwrap();
                let mut resolved = ResolvedBatch::new(&view(&before), &batch).await.unwrap();
                let mut all = before;
                for step in steps {
                    all.extend(step.iter().cloned());
                    resolved.update(&view(&step), &batch).await.unwrap();
                    let at_last = ResolvedBatch::new(&view(&all), &batch).await.unwrap();
                    prop_assert_eq!(contents_of(&resolved, &batch), contents_of(&at_last, &batch));
                    // What is uploaded less what is hidden, and what rides beside it, is the same again.
                    let left = resolved.base().without_rows(resolved.hidden()).unwrap();
                    let beside = resolved.to_rows_beside_base(&schema()).unwrap();
                    prop_assert!(left.ids().to_vec().iter().all(|id| !has_operation(&beside, id)));
                    let mut rows = schema().documents(left.rows()).unwrap();
                    rows.extend(schema().documents(beside.rows()).unwrap());
                    rows.sort_by(|x, y| x.id().cmp(y.id()));
                    prop_assert_eq!((rows, beside.deletes().as_ref().clone()), {
                        let (rows, deletes, _) = contents_of(&at_last, &batch);
                        (rows, deletes)
                    });
                }
                Ok(())
            })?;
        }
    }
}
