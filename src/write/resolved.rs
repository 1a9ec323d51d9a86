//! A resolved batch, and what it takes to tell the same of a later state.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use roaring::RoaringBitmap;

use super::Checked;
use super::effects::Effects;
use super::resolve::{DELETES_BYTES_MAX, Scope, id_bytes, resolve};
use crate::env::{Cost, Env};
use crate::error::{Error, Result};
use crate::memtable::{MemRows, PartSource};
use crate::schema::{Ids, Schema};
use crate::types::{DocumentId, WriteReceipt};
use crate::view::View;

/// What a batch comes to.
#[derive(Debug)]
pub(super) struct Resolved {
    /// Rows and deletes as they were when all of the state was asked.
    base: MemRows,
    /// Rows of it that do not count any more: their documents were touched since.
    hidden: RoaringBitmap,
    /// What became of those.
    overlay: MemRows,
    effects: Effects,
    /// At least the documents of the effects, in columns that ascend: what the batch does to others was not asked.
    known: Vec<Ids>,
}

impl Resolved {
    /// Resolves a batch against a state.
    pub(super) async fn new(view: &View, batch: &Checked) -> Result<Self> {
        let schema = &view.schema;
        let found = resolve(view, batch, Scope::default()).await?;
        let base = if found.run.is_empty() { batch.blind.clone() } else { found.run.then(&batch.blind)? };
        let (effects, known) = known(&view.env, schema, found.effects).await?;
        let (hidden, known) = (RoaringBitmap::new(), vec![known]);
        let resolved = Self { base, hidden, overlay: MemRows::empty(schema)?, effects, known };
        resolved.check()?;
        Ok(resolved)
    }

    /// A batch that does the same whatever the state.
    pub(super) fn blind(schema: &Schema, batch: &Checked) -> Result<Self> {
        let (effects, hidden) = (Effects::default(), RoaringBitmap::new());
        let (base, overlay) = (batch.blind.clone(), MemRows::empty(schema)?);
        let resolved = Self { base, hidden, overlay, effects, known: Vec::new() };
        resolved.check()?;
        Ok(resolved)
    }

    /// Resolves it against a later state. `delta` is what that one has and the last one had not: layers that say of
    /// every document in them what has become of it. Other documents are not asked about.
    pub(super) async fn amend(&mut self, delta: &View, batch: &Checked) -> Result<()> {
        if batch.is_blind() || delta.layers.is_empty() {
            return Ok(());
        }
        let touched = self.touched(delta).await?;
        self.effects.retain(|id| !touched.contains(id));
        for id in touched.iter().filter(|id| !holds(&batch.blind, id)) {
            self.hidden.extend(self.base.find(id));
        }
        let gone = |id: &DocumentId| touched.contains(id) && !batch.blind.has_deleted(id);
        if self.base.deletes().iter().any(&gone) {
            self.base = self.base.with_deletes(self.base.deletes().iter().filter(|id| !gone(id)).cloned());
        }
        let overlay = without(&self.overlay, |id| touched.contains(id))?;
        let scope = Scope {
            only: Some(&touched),
            taken: self.effects.taken.iter().map(Vec::len).collect(),
            rows: self.dependent_bytes(batch).saturating_add(overlay.bytes()),
            deletes: self.base.deletes().iter().chain(overlay.deletes().iter()).map(id_bytes).sum(),
        };
        let found = resolve(delta, batch, scope).await?;
        // What the batch does whatever the state comes last in it.
        let run = without(&found.run, |id| holds(&batch.blind, id))?;
        self.overlay = overlay.then(&run)?;
        let fresh = found.effects.ids(&delta.schema)?;
        if (0..fresh.len()).any(|row| !touched.contains(&fresh.get(row))) {
            self.known.push(fresh);
        }
        self.effects.add(found.effects);
        self.check()
    }

    /// The bytes of those rows of the base that count and hang on the state, about.
    fn dependent_bytes(&self, batch: &Checked) -> usize {
        let rows = self.base.ids().len();
        let live = rows.saturating_sub(usize::try_from(self.hidden.len()).unwrap_or(usize::MAX));
        let row = self.base.bytes() / rows.max(1);
        (row * live).saturating_sub(batch.blind.bytes())
    }

    /// Which documents of the batch a state touches.
    async fn touched(&self, delta: &View) -> Result<HashSet<DocumentId>> {
        let mut touched = HashSet::new();
        for layer in &delta.layers {
            let deleted = match layer.source() {
                PartSource::Memory(run) if !run.deletes().is_empty() => Some(run.deleted()?),
                PartSource::Memory(_) | PartSource::Segment(_) => None,
            };
            for known in &self.known {
                let found = layer.source().find_all(&delta.env, known).await?;
                let found = found.into_iter().filter(|(_, row)| !layer.dead().contains(*row));
                touched.extend(found.map(|(at, _)| known.get(at)));
                if let Some(deleted) = &deleted {
                    known.intersect(deleted, |at, _| {
                        touched.insert(known.get(at));
                    });
                }
            }
        }
        Ok(touched)
    }

    /// An entry has to be of a size that every reader can get.
    fn check(&self) -> Result<()> {
        let deletes = self.base.deletes().iter().chain(self.overlay.deletes().iter());
        let bytes: usize = deletes.map(id_bytes).sum();
        if bytes <= DELETES_BYTES_MAX {
            return Ok(());
        }
        Err(Error::limit(format!(
            "deletes of {bytes} bytes of ids in one batch: at most {DELETES_BYTES_MAX} are allowed"
        )))
    }

    /// All of it.
    pub(super) fn run(&self) -> Result<MemRows> {
        if self.hidden.is_empty() && self.overlay.is_empty() {
            return Ok(self.base.clone());
        }
        self.base.without(&self.hidden)?.then(&self.overlay)
    }

    /// The same, all of it in the base.
    pub(super) fn rebase(&mut self, schema: &Schema) -> Result<()> {
        self.base = self.run()?;
        self.hidden.clear();
        self.overlay = MemRows::empty(schema)?;
        Ok(())
    }

    pub(super) fn base(&self) -> &MemRows {
        &self.base
    }

    /// What stands for the rows of the base that do not count.
    pub(super) fn overlay(&self) -> &MemRows {
        &self.overlay
    }

    /// Rows of the base that do not count.
    pub(super) fn hidden(&self) -> &RoaringBitmap {
        &self.hidden
    }

    /// All of it but for the rows of the base.
    pub(super) fn beside_rows(&self, schema: &Schema) -> Result<MemRows> {
        let rows = RecordBatch::new_empty(schema.arrow());
        MemRows::new(schema, rows, self.base.deletes().as_ref().clone())?.then(&self.overlay)
    }

    /// About how many bytes and operations it adds to an entry.
    pub(super) fn weight(&self) -> (usize, usize) {
        let operations = (self.base.len() + self.overlay.len()).max(self.effects.len());
        (self.base.bytes().saturating_add(self.overlay.bytes()), operations)
    }

    pub(super) fn receipt(&self, batch: &Checked) -> WriteReceipt {
        self.effects.receipt(batch)
    }
}

/// Whether a run puts or deletes a document.
fn holds(run: &MemRows, id: &DocumentId) -> bool {
    run.find(id).is_some() || run.has_deleted(id)
}

/// A run less some documents.
fn without(run: &MemRows, gone: impl Fn(&DocumentId) -> bool) -> Result<MemRows> {
    if run.is_empty() {
        return Ok(run.clone());
    }
    let rows = (0..run.ids().len()).filter(|row| gone(&run.ids().get(*row)));
    let rows: RoaringBitmap = rows.filter_map(|row| u32::try_from(row).ok()).collect();
    let deletes = run.deletes().iter().filter(|id| !gone(id)).cloned();
    Ok(run.without(&rows)?.with_deletes(deletes))
}

/// The documents of the effects, in ascending order.
async fn known(env: &Env, schema: &Arc<Schema>, effects: Effects) -> Result<(Effects, Ids)> {
    let schema = Arc::clone(schema);
    let cost = Cost::ids(effects.len());
    let work = move || {
        let ids = effects.ids(&schema)?;
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
        let nothing = View {
            env,
            schema: Arc::clone(&schema),
            settings,
            segments: Arc::default(),
            layers: Vec::new(),
            sequence: Sequence::ZERO,
            manifest: 0,
        };
        entries.iter().fold(nothing, |view, entry| {
            let put = |(id, a): (&u64, &Option<i64>)| a.map(|a| Document::new(*id).with("a", a));
            let rows = schema.to_batch(&entry.iter().filter_map(put).collect::<Vec<_>>()).unwrap();
            let deletes = entry.iter().filter(|(_, a)| a.is_none()).map(|(id, _)| (*id).into()).collect();
            view.with_run(MemRows::sort(&schema, &rows, deletes).unwrap())
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
            let start = filters.into_iter().fold(WriteBatch::new().with_ids(), |batch, (delete, a, b)| {
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

    /// The run and the receipt with its ids in order.
    fn told(resolved: &Resolved, batch: &Checked) -> (Vec<Document>, Vec<DocumentId>, WriteReceipt) {
        let run = resolved.run().unwrap();
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
                let batch = Checked::new(&schema(), &Settings::default(), batch).unwrap();
                let mut resolved = Resolved::new(&view(&before), &batch).await.unwrap();
                let mut all = before;
                for step in steps {
                    all.extend(step.iter().cloned());
                    resolved.amend(&view(&step), &batch).await.unwrap();
                    let at_last = Resolved::new(&view(&all), &batch).await.unwrap();
                    prop_assert_eq!(told(&resolved, &batch), told(&at_last, &batch));
                    // What is uploaded less what is hidden, and what rides beside it, is the same again.
                    let left = resolved.base().without(resolved.hidden()).unwrap();
                    let beside = resolved.beside_rows(&schema()).unwrap();
                    prop_assert!(left.ids().to_vec().iter().all(|id| !holds(&beside, id)));
                    let mut rows = schema().documents(left.rows()).unwrap();
                    rows.extend(schema().documents(beside.rows()).unwrap());
                    rows.sort_by(|x, y| x.id().cmp(y.id()));
                    prop_assert_eq!((rows, beside.deletes().as_ref().clone()), {
                        let (rows, deletes, _) = told(&at_last, &batch);
                        (rows, deletes)
                    });
                }
                Ok(())
            })?;
        }
    }
}
