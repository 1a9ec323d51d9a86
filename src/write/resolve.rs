//! What a batch comes to in a given state: rows to put and ids to delete.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::concat_batches;

use super::Checked;
use super::batch::IfMissing;
use super::check::{Change, Guarded};
use crate::error::{Error, OrInternal, Result};
use crate::memtable::{Layer, Run};
use crate::query::{Bound, Place, View};
use crate::schema::{Ids, Schema};
use crate::types::{AffectedIds, Document, DocumentId, Value, WriteReceipt};

/// What a batch comes to.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) run: Run,
    pub(super) receipt: WriteReceipt,
}

/// Resolves a batch against a view, and says what it does to it.
pub(super) async fn resolve(view: &View, batch: &Checked) -> Result<Resolved> {
    let mut resolution = Resolution {
        view: view.clone(),
        runs: Vec::new(),
        ids: AffectedIds::default(),
        skipped: 0,
        remaining: false,
        partial: batch.partial,
    };
    for filter in &batch.delete_filters {
        resolution.delete_by_filter(filter).await?;
    }
    for (filter, values) in &batch.patch_filters {
        resolution.patch_by_filter(filter, values).await?;
    }
    resolution.by_id(batch).await?;
    resolution.finish(batch.ids)
}

/// A batch, resolved in part.
struct Resolution {
    /// The state with everything of the batch so far.
    view: View,
    runs: Vec<Run>,
    ids: AffectedIds,
    skipped: u64,
    remaining: bool,
    partial: bool,
}

/// Rows to put and ids to delete of one step, before they are sorted.
#[derive(Default)]
struct Effects {
    rows: Vec<RecordBatch>,
    deletes: Vec<DocumentId>,
}

impl Resolution {
    /// Makes an effect visible to the steps after it.
    fn add(&mut self, run: Run) {
        if !run.is_empty() {
            self.view = self.view.with(run.clone());
            self.runs.push(run);
        }
    }

    fn finish(mut self, ids: bool) -> Result<Resolved> {
        // Several patches of a document are one patched document.
        self.ids.patched.sort_unstable();
        self.ids.patched.dedup();
        let schema = Arc::clone(&self.view.schema);
        let mut stack = Vec::new();
        for run in self.runs {
            Run::stack(&mut stack, run)?;
        }
        let receipt = WriteReceipt {
            upserted: self.ids.upserted.len() as u64,
            patched: self.ids.patched.len() as u64,
            deleted: self.ids.deleted.len() as u64,
            skipped: self.skipped,
            rows_remaining: self.remaining,
            ids: ids.then_some(self.ids),
            ..WriteReceipt::default()
        };
        Ok(Resolved { run: Run::unstack(&schema, stack)?, receipt })
    }

    async fn delete_by_filter(&mut self, filter: &Arc<Bound>) -> Result<()> {
        let most = self.view.settings.delete_by_filter_rows_max;
        let places = self.matches(filter, most, "delete").await?;
        let ids = self.view.fetch(&places, &[]).await?;
        let ids = ids_of(&self.view.schema, &ids)?;
        self.ids.deleted.extend(ids.iter().cloned());
        let nothing = RecordBatch::new_empty(self.view.schema.arrow());
        self.add(Run::sort(&self.view.schema, &nothing, ids)?);
        Ok(())
    }

    async fn patch_by_filter(&mut self, filter: &Arc<Bound>, values: &[(String, Value)]) -> Result<()> {
        let most = self.view.settings.patch_by_filter_rows_max;
        let places = self.matches(filter, most, "patch").await?;
        let mut documents = self.whole(&places).await?;
        for document in &mut documents {
            for (column, value) in values {
                document.set(column, value.clone());
            }
        }
        let documents =
            documents.into_iter().map(|d| self.view.schema.check(d)).collect::<Result<Vec<_>>>()?;
        self.ids.patched.extend(documents.iter().map(|d| d.id().clone()));
        let rows = self.view.schema.encode(&documents)?;
        self.add(Run::sort(&self.view.schema, &rows, Vec::new())?);
        Ok(())
    }

    /// Where the documents lie that a filter matches.
    async fn matches(&mut self, filter: &Arc<Bound>, most: usize, what: &str) -> Result<Vec<Place>> {
        let parts = self.view.matching(Some(filter)).await?;
        let count: u64 = parts.iter().map(|(_, rows)| rows.len()).sum();
        let over = count > most as u64;
        if over && !self.partial {
            return Err(Error::limit(format!(
                "{what} by filter of {count} rows: at most {most} are allowed, unless the batch allows a part"
            )));
        }
        self.remaining |= over;
        let places = parts
            .iter()
            .enumerate()
            .flat_map(|(part, (_, rows))| rows.iter().map(move |row| Place { part, row }));
        Ok(places.take(most).collect())
    }

    async fn whole(&self, places: &[Place]) -> Result<Vec<Document>> {
        let batch = self.view.fetch(places, &self.view.all_columns()).await?;
        self.view.schema.documents(&batch)
    }

    /// Everything by id. Ids are unique, so all of it is asked of one state.
    async fn by_id(&mut self, batch: &Checked) -> Result<()> {
        let schema = Arc::clone(&self.view.schema);
        let mut effects = Effects { rows: vec![batch.upserts.clone()], deletes: batch.deletes.clone() };
        self.ids.upserted.extend(ids_of(&schema, &batch.upserts)?);
        self.ids.deleted.extend(batch.deletes.iter().cloned());
        for guarded in &batch.guarded {
            self.guarded(guarded, &mut effects).await?;
        }
        let rows = match effects.rows.as_slice() {
            [one] => one.clone(),
            several => concat_batches(&schema.arrow(), several).or_internal()?,
        };
        self.add(Run::sort(&schema, &rows, effects.deletes)?);
        Ok(())
    }

    async fn guarded(&mut self, guarded: &Guarded, effects: &mut Effects) -> Result<()> {
        let condition = guarded.condition.as_ref();
        match &guarded.change {
            Change::Insert(documents) => self.insert(documents, effects).await,
            Change::Upsert(documents, missing) => {
                self.upsert_if(documents, condition, *missing, effects).await
            }
            Change::Patch(documents) => self.patch(documents, condition, effects).await,
            Change::Delete(ids) => self.delete_if(ids, condition, effects).await,
        }
    }

    async fn insert(&mut self, documents: &[Document], effects: &mut Effects) -> Result<()> {
        let places = self.locate(documents).await?;
        let missing: Vec<&Document> = pick(documents, places.iter().map(Option::is_none));
        self.skipped += (documents.len() - missing.len()) as u64;
        self.put(&missing, effects)
    }

    async fn upsert_if(
        &mut self,
        documents: &[Document],
        condition: Option<&Bound>,
        missing: IfMissing,
        effects: &mut Effects,
    ) -> Result<()> {
        let places = self.locate(documents).await?;
        let found: Vec<&Document> = pick(documents, places.iter().map(Option::is_some));
        let new = self.view.schema.encode(&found)?;
        let holds = self.holds(condition, &places, Some(&new)).await?;
        let mut holds = holds.values().iter();
        let insert = missing == IfMissing::Insert;
        let chosen =
            places.iter().map(|place| if place.is_some() { holds.next() == Some(true) } else { insert });
        let chosen: Vec<&Document> = pick(documents, chosen);
        self.skipped += (documents.len() - chosen.len()) as u64;
        self.put(&chosen, effects)
    }

    fn put(&mut self, documents: &[&Document], effects: &mut Effects) -> Result<()> {
        self.ids.upserted.extend(documents.iter().map(|d| d.id().clone()));
        effects.rows.push(self.view.schema.encode(documents)?);
        Ok(())
    }

    async fn patch(
        &mut self,
        patches: &[Document],
        condition: Option<&Bound>,
        effects: &mut Effects,
    ) -> Result<()> {
        let places = self.locate(patches).await?;
        let found: Vec<&Document> = pick(patches, places.iter().map(Option::is_some));
        let old = self.whole(&places.iter().flatten().copied().collect::<Vec<_>>()).await?;
        let merge = |(mut document, patch): (Document, &&Document)| {
            for (column, value) in patch.iter() {
                document.set(column, value.clone());
            }
            self.view.schema.check(document)
        };
        let documents = old.into_iter().zip(&found).map(merge).collect::<Result<Vec<_>>>()?;
        let new = self.view.schema.encode(&documents)?;
        let holds = self.holds(condition, &places, Some(&new)).await?;
        let chosen = arrow::compute::filter_record_batch(&new, &holds).or_internal()?;
        self.skipped += (patches.len() - chosen.num_rows()) as u64;
        self.ids.patched.extend(ids_of(&self.view.schema, &chosen)?);
        effects.rows.push(chosen);
        Ok(())
    }

    async fn delete_if(
        &mut self,
        ids: &[DocumentId],
        condition: Option<&Bound>,
        effects: &mut Effects,
    ) -> Result<()> {
        let places = self.view.locate(ids).await?;
        let holds = self.holds(condition, &places, None).await?;
        let mut holds = holds.values().iter();
        let chosen = places.iter().map(|place| place.is_some() && holds.next() == Some(true));
        let chosen: Vec<DocumentId> = pick(ids, chosen).into_iter().cloned().collect();
        self.skipped += (ids.len() - chosen.len()) as u64;
        self.ids.deleted.extend(chosen.iter().cloned());
        effects.deletes.extend(chosen);
        Ok(())
    }

    async fn locate(&self, documents: &[Document]) -> Result<Vec<Option<Place>>> {
        let ids: Vec<DocumentId> = documents.iter().map(|d| d.id().clone()).collect();
        self.view.locate(&ids).await
    }

    /// For each place that is there: whether the condition holds of the document that lies in it.
    async fn holds(
        &self,
        condition: Option<&Bound>,
        places: &[Option<Place>],
        new: Option<&RecordBatch>,
    ) -> Result<BooleanArray> {
        let found: Vec<Place> = places.iter().flatten().copied().collect();
        let Some(condition) = condition else { return Ok(BooleanArray::from(vec![true; found.len()])) };
        let needed: BTreeSet<&str> = condition.columns().collect();
        let columns = self.view.schema.columns().iter().enumerate();
        let columns: Vec<usize> =
            columns.filter(|(_, c)| needed.contains(c.name.as_str())).map(|(at, _)| at).collect();
        let old = self.view.fetch(&found, &columns).await?;
        condition.evaluate(&old, new)
    }
}

impl View {
    /// This view with a run on top, as if it were the next entry.
    pub(super) fn with(&self, run: Run) -> Self {
        let mut view = self.clone();
        let layer = Layer::run(self.env.uuid(), run, self.sequence.next(), self.sequence.next());
        view.layers.push(Arc::new(layer));
        view
    }
}

fn pick<T>(items: &[T], wanted: impl Iterator<Item = bool>) -> Vec<&T> {
    items.iter().zip(wanted).filter(|(_, wanted)| *wanted).map(|(item, _)| item).collect()
}

fn ids_of(schema: &Schema, batch: &RecordBatch) -> Result<Vec<DocumentId>> {
    let column = batch.columns().first().ok_or_else(|| Error::internal("a batch without ids"))?;
    debug_assert_eq!(column.len(), batch.num_rows(), "arrow holds this");
    Ok(Ids::new(schema.id(), column)?.to_vec())
}
