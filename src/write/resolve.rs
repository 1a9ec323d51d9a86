//! What a batch does in a given state: rows to put, ids to delete, and which documents each step took.
//!
//! What becomes of a document hangs on nothing but the batch and what the state says of that document, limits
//! aside. So in a later state only those documents are looked at again that were touched in between.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::concat_batches;

use super::Checked;
use super::batch::IfMissing;
use super::check::{Change, Guarded};
use super::effects::Effects;
use crate::error::{Error, OrInternal, Result};
use crate::filter::BoundFilter;
use crate::memtable::{MemRows, batch_bytes};
use crate::schema::{Ids, Schema};
use crate::types::{Document, DocumentId, Value};
use crate::view::{RowAddr, View};

/// Ids of documents to delete that are read at a time.
const IDS: usize = 65_536;
/// Bytes of documents to patch that are read at a time.
const PIECE_BYTES: usize = 32 << 20;
/// The most bytes that the ids of deletes may take in an entry: 5,000,000 UUIDs, or 1,200,000 of the longest strings.
pub(super) const DELETES_BYTES_MAX: usize = 80 << 20;

/// Which documents a resolution looks at, and what is left of the limits for it.
#[derive(Debug, Default)]
pub(super) struct Scope<'a> {
    /// None but these; what a filter matches is one of them by the choice of the view.
    pub(super) only: Option<&'a HashSet<DocumentId>>,
    /// How many documents each filter has taken already.
    pub(super) taken: Vec<usize>,
    /// How many bytes there are already: of rows, and of the ids of deletes.
    pub(super) rows: usize,
    pub(super) deletes: usize,
}

/// What a batch does to the documents of a scope, but for what it does whatever the state.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) run: MemRows,
    pub(super) effects: Effects,
}

/// Resolves a batch against a view.
pub(super) async fn resolve(view: &View, batch: &Checked, scope: Scope<'_>) -> Result<Found> {
    let mut resolution = Resolution {
        view: view.clone(),
        runs: Vec::new(),
        effects: Effects::default(),
        partial: batch.partial,
        scope,
    };
    for filter in &batch.delete_filters {
        resolution.delete_by_filter(filter).await?;
    }
    for (filter, values) in &batch.patch_filters {
        resolution.patch_by_filter(filter, values).await?;
    }
    resolution.by_id(batch).await?;
    resolution.finish()
}

/// The bytes that an id takes in an entry.
pub(super) fn id_bytes(id: &DocumentId) -> usize {
    match id {
        DocumentId::U64(_) => 8,
        DocumentId::Uuid(_) => 16,
        DocumentId::String(id) => 4 + id.len(),
    }
}

/// A batch, resolved in part.
struct Resolution<'a> {
    /// The state with everything of the batch so far.
    view: View,
    runs: Vec<MemRows>,
    effects: Effects,
    partial: bool,
    scope: Scope<'a>,
}

/// Rows to put and ids to delete of one step, before they are sorted.
#[derive(Default)]
struct Step {
    rows: Vec<RecordBatch>,
    deletes: Vec<DocumentId>,
}

impl Resolution<'_> {
    /// Ranges of addresses whose documents are read together.
    fn pieces(&self, addrs: &[RowAddr]) -> Vec<Range<usize>> {
        // A small limit is not to be passed by the first piece already.
        let most = PIECE_BYTES.min(self.view.settings.batch_bytes_max / 8) as u64;
        self.view.split_by_bytes(addrs, &self.view.all_columns(), most)
    }

    /// Makes an effect visible to the steps after it.
    fn add(&mut self, run: MemRows) {
        if !run.is_empty() {
            self.view = self.view.with_run(run.clone());
            self.runs.push(run);
        }
    }

    fn finish(self) -> Result<Found> {
        let mut stack = Vec::new();
        for run in self.runs {
            MemRows::push_on_stack(&mut stack, run)?;
        }
        Ok(Found { run: MemRows::merge_stack(&self.view.schema, stack)?, effects: self.effects })
    }

    async fn delete_by_filter(&mut self, filter: &Arc<BoundFilter>) -> Result<()> {
        let most = self.view.settings.delete_by_filter_rows_max;
        let places = self.matches(filter, most, "delete").await?;
        let mut deletes = Vec::new();
        for places in places.chunks(IDS) {
            let ids = ids_of(&self.view.schema, &self.view.fetch_documents(places, &[]).await?)?;
            for id in ids {
                self.scope.deletes += id_bytes(&id);
                if self.scope.deletes > DELETES_BYTES_MAX {
                    let over = "delete by filter of more ids than a log entry takes, in bytes";
                    self.stop(over, DELETES_BYTES_MAX)?;
                    break;
                }
                deletes.push(id);
            }
            if self.scope.deletes > DELETES_BYTES_MAX {
                break;
            }
        }
        self.effects.taken.push(deletes.clone());
        let nothing = RecordBatch::new_empty(self.view.schema.arrow());
        self.add(MemRows::sort(&self.view.schema, &nothing, deletes)?);
        Ok(())
    }

    async fn patch_by_filter(&mut self, filter: &Arc<BoundFilter>, values: &[(String, Value)]) -> Result<()> {
        let schema = Arc::clone(&self.view.schema);
        let most = self.view.settings.patch_by_filter_rows_max;
        let places = self.matches(filter, most, "patch").await?;
        let (mut rows, mut taken) = (Vec::new(), Vec::new());
        for piece in self.pieces(&places) {
            let mut documents = self.whole(places.get(piece).unwrap_or_default()).await?;
            for document in &mut documents {
                for (column, value) in values {
                    document.set(column, value.clone());
                }
            }
            let documents = documents.into_iter().map(|d| schema.check(d)).collect::<Result<Vec<_>>>()?;
            let batch = schema.encode(&documents)?;
            if !self.has_room(&batch)? {
                break;
            }
            taken.extend(documents.iter().map(|d| d.id().clone()));
            rows.push(batch);
        }
        self.effects.taken.push(taken);
        let rows = concat_batches(&schema.arrow(), &rows).or_internal()?;
        self.add(MemRows::sort(&schema, &rows, Vec::new())?);
        Ok(())
    }

    /// Whether the documents that patches come to are still within the size of a batch. If not, the batch has to
    /// allow a part.
    fn has_room(&mut self, rows: &RecordBatch) -> Result<bool> {
        let most = self.view.settings.batch_bytes_max;
        let nothing = self.scope.rows == 0;
        self.scope.rows = self.scope.rows.saturating_add(batch_bytes(rows));
        let over = self.scope.rows > most;
        if over && nothing {
            return Err(Error::limit(format!("a patched document of more than {most} bytes")));
        }
        if over {
            self.stop("patches of documents that take more bytes than a batch may", most)?;
        }
        Ok(!over)
    }

    /// Notes that more matches than is taken, if the batch allows a part.
    fn stop(&mut self, what: &str, most: usize) -> Result<()> {
        if !self.partial {
            return Err(Error::limit(format!(
                "{what}: at most {most} are allowed, unless the batch allows a part"
            )));
        }
        self.effects.remaining = true;
        Ok(())
    }

    /// Where the documents lie that a filter matches.
    async fn matches(&mut self, filter: &Arc<BoundFilter>, most: usize, what: &str) -> Result<Vec<RowAddr>> {
        let parts = self.view.find_matching_rows(Some(filter)).await?;
        let taken = self.scope.taken.get(self.effects.taken.len()).copied().unwrap_or(0);
        let count = parts.iter().map(|(_, rows)| rows.len()).fold(taken as u64, u64::saturating_add);
        if count > most as u64 {
            self.stop(&format!("{what} by filter of {count} rows"), most)?;
        }
        let places = parts
            .iter()
            .enumerate()
            .flat_map(|(part, (_, rows))| rows.iter().map(move |row| RowAddr { part, row }));
        Ok(places.take(most.saturating_sub(taken)).collect())
    }

    async fn whole(&self, places: &[RowAddr]) -> Result<Vec<Document>> {
        let batch = self.view.fetch_documents(places, &self.view.all_columns()).await?;
        self.view.schema.documents(&batch)
    }

    /// Everything by id that asks for the state. Ids are unique, so all of it is asked of one state.
    async fn by_id(&mut self, batch: &Checked) -> Result<()> {
        let schema = Arc::clone(&self.view.schema);
        let mut step = Step::default();
        for guarded in &batch.guarded {
            self.guarded(guarded, &mut step).await?;
        }
        let rows = concat_batches(&schema.arrow(), &step.rows).or_internal()?;
        self.add(MemRows::sort(&schema, &rows, step.deletes)?);
        Ok(())
    }

    async fn guarded(&mut self, guarded: &Guarded, step: &mut Step) -> Result<()> {
        let condition = guarded.condition.as_ref();
        match &guarded.change {
            Change::Insert(documents) => self.insert(&self.chosen(documents, Document::id), step).await,
            Change::Upsert(documents, missing) => {
                self.upsert_if(&self.chosen(documents, Document::id), condition, *missing, step).await
            }
            Change::Patch(documents) => {
                self.patch(&self.chosen(documents, Document::id), condition, step).await
            }
            Change::Delete(ids) => self.delete_if(&self.chosen(ids, |id| id), condition, step).await,
        }
    }

    /// The items of the scope.
    fn chosen<'t, T>(&self, items: &'t [T], id: impl Fn(&T) -> &DocumentId) -> Vec<&'t T> {
        items.iter().filter(|item| self.scope.only.is_none_or(|only| only.contains(id(item)))).collect()
    }

    async fn insert(&mut self, documents: &[&Document], step: &mut Step) -> Result<()> {
        let places = self.locate(documents).await?;
        let (missing, there) = split(documents, places.iter().map(Option::is_none));
        self.skip(&there);
        self.put(&missing, step)
    }

    async fn upsert_if(
        &mut self,
        documents: &[&Document],
        condition: Option<&BoundFilter>,
        missing: IfMissing,
        step: &mut Step,
    ) -> Result<()> {
        let places = self.locate(documents).await?;
        let (found, _) = split(documents, places.iter().map(Option::is_some));
        let new = self.view.schema.encode(&found)?;
        let holds = self.holds(condition, &present(&places), Some(&new)).await?;
        let mut holds = holds.values().iter();
        let insert = missing == IfMissing::Insert;
        let chosen =
            places.iter().map(|place| if place.is_some() { holds.next() == Some(true) } else { insert });
        let (chosen, skipped) = split(documents, chosen);
        self.skip(&skipped);
        self.put(&chosen, step)
    }

    fn put(&mut self, documents: &[&Document], step: &mut Step) -> Result<()> {
        self.effects.upserted.extend(documents.iter().map(|d| d.id().clone()));
        step.rows.push(self.view.schema.encode(documents)?);
        Ok(())
    }

    fn skip(&mut self, documents: &[&Document]) {
        self.effects.skipped.extend(documents.iter().map(|d| d.id().clone()));
    }

    async fn patch(
        &mut self,
        patches: &[&Document],
        condition: Option<&BoundFilter>,
        step: &mut Step,
    ) -> Result<()> {
        let places = self.locate(patches).await?;
        let (found, missing) = split(patches, places.iter().map(Option::is_some));
        self.skip(&missing);
        let places = present(&places);
        for piece in self.pieces(&places) {
            let (patches, places) = (found.get(piece.clone()), places.get(piece));
            let (Some(patches), Some(places)) = (patches, places) else { continue };
            self.patch_some(patches, places, condition, step).await?;
        }
        Ok(())
    }

    /// Patches the documents at these places.
    async fn patch_some(
        &mut self,
        patches: &[&Document],
        places: &[RowAddr],
        condition: Option<&BoundFilter>,
        step: &mut Step,
    ) -> Result<()> {
        let merge = |(mut document, patch): (Document, &&Document)| {
            for (column, value) in patch.iter() {
                document.set(column, value.clone());
            }
            self.view.schema.check(document)
        };
        let old = self.whole(places).await?;
        let documents = old.into_iter().zip(patches).map(merge).collect::<Result<Vec<_>>>()?;
        let new = self.view.schema.encode(&documents)?;
        let holds = self.holds(condition, places, Some(&new)).await?;
        let (chosen, skipped) = split(patches, holds.values().iter());
        self.effects.patched.extend(chosen.iter().map(|d| d.id().clone()));
        self.skip(&skipped);
        let chosen = arrow::compute::filter_record_batch(&new, &holds).or_internal()?;
        // Of what is named by id there is no part to stop at.
        let partial = std::mem::take(&mut self.partial);
        let room = self.has_room(&chosen);
        self.partial = partial;
        room?;
        step.rows.push(chosen);
        Ok(())
    }

    async fn delete_if(
        &mut self,
        ids: &[&DocumentId],
        condition: Option<&BoundFilter>,
        step: &mut Step,
    ) -> Result<()> {
        let ids: Vec<DocumentId> = ids.iter().copied().cloned().collect();
        let places = self.view.locate_documents(&ids).await?;
        let holds = self.holds(condition, &present(&places), None).await?;
        let mut holds = holds.values().iter();
        let chosen = places.iter().map(|place| place.is_some() && holds.next() == Some(true));
        for (id, chosen) in ids.iter().zip(chosen) {
            if chosen {
                self.scope.deletes += id_bytes(id);
                step.deletes.push(id.clone());
                self.effects.deleted.push(id.clone());
            } else {
                self.effects.skipped.push(id.clone());
            }
        }
        Ok(())
    }

    async fn locate(&self, documents: &[&Document]) -> Result<Vec<Option<RowAddr>>> {
        let ids: Vec<DocumentId> = documents.iter().map(|d| d.id().clone()).collect();
        self.view.locate_documents(&ids).await
    }

    /// Whether the condition holds of the documents at some places.
    async fn holds(
        &self,
        condition: Option<&BoundFilter>,
        places: &[RowAddr],
        new: Option<&RecordBatch>,
    ) -> Result<BooleanArray> {
        let Some(condition) = condition else { return Ok(BooleanArray::from(vec![true; places.len()])) };
        let needed: BTreeSet<&str> = condition.columns().collect();
        let columns = self.view.schema.columns().iter().enumerate();
        let columns: Vec<usize> =
            columns.filter(|(_, c)| needed.contains(c.name.as_str())).map(|(at, _)| at).collect();
        let old = self.view.fetch_documents(places, &columns).await?;
        condition.evaluate(&old, new)
    }
}

fn present(places: &[Option<RowAddr>]) -> Vec<RowAddr> {
    places.iter().flatten().copied().collect()
}

/// The items that are wanted, and the others.
fn split<'a, T>(items: &[&'a T], wanted: impl Iterator<Item = bool>) -> (Vec<&'a T>, Vec<&'a T>) {
    let (mut yes, mut no) = (Vec::new(), Vec::new());
    for (item, wanted) in items.iter().zip(wanted) {
        if wanted { yes.push(*item) } else { no.push(*item) }
    }
    (yes, no)
}

fn ids_of(schema: &Schema, batch: &RecordBatch) -> Result<Vec<DocumentId>> {
    let column = batch.columns().first().ok_or_else(|| Error::internal("a batch without ids"))?;
    debug_assert_eq!(column.len(), batch.num_rows(), "arrow holds this");
    Ok(Ids::new(schema.id(), column)?.to_vec())
}
