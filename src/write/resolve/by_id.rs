//! Conditional writes by id: inserts, conditional upserts, patches and conditional deletes.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};

use super::id_bytes;
use super::resolver::Resolver;
use crate::codec::zip_equal;
use crate::error::{Error, OrInternal, Result};
use crate::filter::BoundFilter;
use crate::memtable::MemRows;
use crate::types::{Document, DocumentId};
use crate::view::RowAddr;
use crate::write::CheckedBatch;
use crate::write::batch::IfMissing;
use crate::write::check::{Change, ConditionalWrites};

/// The puts and deletes of the writes by id of a batch, before they are sorted by id.
#[derive(Default)]
struct UnsortedWrites {
    rows: Vec<RecordBatch>,
    deletes: Vec<DocumentId>,
}

impl Resolver<'_> {
    /// All conditional writes by id. Ids are unique in a batch, so no write sees another: all are resolved against the
    /// same state, and become visible together.
    pub(super) async fn write_by_id(&mut self, batch: &CheckedBatch) -> Result<()> {
        let schema = Arc::clone(&self.view.schema);
        let mut out = UnsortedWrites::default();
        for writes in &batch.conditional {
            self.resolve_writes(writes, &mut out).await?;
        }
        let rows = concat_batches(&schema.arrow(), &out.rows).or_internal()?;
        self.apply_step(MemRows::from_unsorted(&schema, &rows, out.deletes)?);
        Ok(())
    }

    async fn resolve_writes(&mut self, writes: &ConditionalWrites, out: &mut UnsortedWrites) -> Result<()> {
        let condition = writes.condition.as_ref();
        match &writes.change {
            Change::Insert(documents) => {
                self.insert_documents(&self.select_in_scope(documents, Document::id), out).await
            }
            Change::Upsert(documents, missing) => {
                let documents = self.select_in_scope(documents, Document::id);
                self.upsert_documents_if(&documents, condition, *missing, out).await
            }
            Change::Patch(patches) => {
                self.patch_documents(&self.select_in_scope(patches, Document::id), condition, out).await
            }
            Change::Delete(ids) => {
                self.delete_ids_if(&self.select_in_scope(ids, |id| id), condition, out).await
            }
        }
    }

    fn select_in_scope<'t, T>(&self, items: &'t [T], id: impl Fn(&T) -> &DocumentId) -> Vec<&'t T> {
        items.iter().filter(|item| self.scope.only.is_none_or(|only| only.contains(id(item)))).collect()
    }

    async fn insert_documents(&mut self, documents: &[&Document], out: &mut UnsortedWrites) -> Result<()> {
        let addrs = self.locate_documents(documents).await?;
        let (missing, existing) = partition(documents, addrs.iter().map(Option::is_none))?;
        self.record_skipped(&existing);
        self.put_documents(&missing, out)
    }

    async fn upsert_documents_if(
        &mut self,
        documents: &[&Document],
        condition: Option<&BoundFilter>,
        missing: IfMissing,
        out: &mut UnsortedWrites,
    ) -> Result<()> {
        let addrs = self.locate_documents(documents).await?;
        let (existing, _) = partition(documents, addrs.iter().map(Option::is_some))?;
        let new = self.view.schema.encode(&existing)?;
        let met = self.evaluate_condition(condition, &existing_addrs(&addrs), Some(&new)).await?;
        let met = spread_outcomes(&addrs, &met, missing == IfMissing::Insert)?;
        let (written, skipped) = partition(documents, met)?;
        self.record_skipped(&skipped);
        self.put_documents(&written, out)
    }

    fn put_documents(&mut self, documents: &[&Document], out: &mut UnsortedWrites) -> Result<()> {
        self.effects.upserted.extend(documents.iter().map(|d| d.id().clone()));
        out.rows.push(self.view.schema.encode(documents)?);
        Ok(())
    }

    fn record_skipped(&mut self, documents: &[&Document]) {
        self.effects.skipped.extend(documents.iter().map(|d| d.id().clone()));
    }

    async fn patch_documents(
        &mut self,
        patches: &[&Document],
        condition: Option<&BoundFilter>,
        out: &mut UnsortedWrites,
    ) -> Result<()> {
        let addrs = self.locate_documents(patches).await?;
        let (patches, missing) = partition(patches, addrs.iter().map(Option::is_some))?;
        self.record_skipped(&missing);
        let addrs = existing_addrs(&addrs);
        for piece in self.split_into_pieces(&addrs)? {
            let outside = || Error::internal("a piece outside the documents to patch");
            let addrs = addrs.get(piece.clone()).ok_or_else(outside)?;
            let patches = patches.get(piece).ok_or_else(outside)?;
            self.patch_piece(patches, addrs, condition, out).await?;
        }
        Ok(())
    }

    /// Patches the documents at these addresses.
    async fn patch_piece(
        &mut self,
        patches: &[&Document],
        addrs: &[RowAddr],
        condition: Option<&BoundFilter>,
        out: &mut UnsortedWrites,
    ) -> Result<()> {
        let apply = |(mut document, patch): (Document, &&Document)| {
            for (column, value) in patch.iter() {
                document.set(column, value.clone());
            }
            self.view.schema.check(document)
        };
        let old = self.fetch_documents(addrs).await?;
        let pairs = zip_equal(old, patches, "documents and patches")?;
        let documents = pairs.map(apply).collect::<Result<Vec<_>>>()?;
        // A condition may compare old values with new ones: those of the document as it would become, not of the patch.
        let new = self.view.schema.encode(&documents)?;
        let met = self.evaluate_condition(condition, addrs, Some(&new)).await?;
        let (written, skipped) = partition(patches, met.values().iter())?;
        self.effects.patched.extend(written.iter().map(|d| d.id().clone()));
        self.record_skipped(&skipped);
        let rows = filter_record_batch(&new, &met).or_internal()?;
        // Never in part, whatever the batch allows: the caller named each of these documents.
        self.reserve_row_bytes(&rows, false)?;
        out.rows.push(rows);
        Ok(())
    }

    async fn delete_ids_if(
        &mut self,
        ids: &[&DocumentId],
        condition: Option<&BoundFilter>,
        out: &mut UnsortedWrites,
    ) -> Result<()> {
        let ids: Vec<DocumentId> = ids.iter().copied().cloned().collect();
        let addrs = self.view.locate_documents(&ids).await?;
        let met = self.evaluate_condition(condition, &existing_addrs(&addrs), None).await?;
        let met = spread_outcomes(&addrs, &met, false)?;
        for (id, met) in zip_equal(ids, met, "ids and outcomes of a condition")? {
            if met {
                self.scope.delete_bytes += id_bytes(&id);
                out.deletes.push(id.clone());
                self.effects.deleted.push(id);
            } else {
                self.effects.skipped.push(id);
            }
        }
        Ok(())
    }

    async fn locate_documents(&self, documents: &[&Document]) -> Result<Vec<Option<RowAddr>>> {
        let ids: Vec<DocumentId> = documents.iter().map(|d| d.id().clone()).collect();
        self.view.locate_documents(&ids).await
    }

    /// Whether the condition is met by each of the documents at some addresses; without a condition it is. `new` are
    /// the same documents as they would become.
    async fn evaluate_condition(
        &self,
        condition: Option<&BoundFilter>,
        addrs: &[RowAddr],
        new: Option<&RecordBatch>,
    ) -> Result<BooleanArray> {
        let Some(condition) = condition else { return Ok(BooleanArray::from(vec![true; addrs.len()])) };
        // Only the columns of the condition are read: vectors, which are most of a document, hardly ever.
        let needed: BTreeSet<&str> = condition.columns().collect();
        let columns = self.view.schema.columns().iter().enumerate();
        let columns: Vec<usize> =
            columns.filter(|(_, c)| needed.contains(c.name.as_str())).map(|(index, _)| index).collect();
        let old = self.view.fetch_documents(addrs, &columns).await?;
        condition.evaluate(&old, new)
    }
}

fn existing_addrs(addrs: &[Option<RowAddr>]) -> Vec<RowAddr> {
    addrs.iter().flatten().copied().collect()
}

/// The outcomes of a condition for all documents, from those of the documents that exist; `missing` is the outcome for
/// the others.
fn spread_outcomes(addrs: &[Option<RowAddr>], existing: &BooleanArray, missing: bool) -> Result<Vec<bool>> {
    let mut outcomes = existing.values().iter();
    let few = || Error::internal("a condition has fewer outcomes than documents");
    let spread =
        addrs.iter().map(|addr| if addr.is_some() { outcomes.next().ok_or_else(few) } else { Ok(missing) });
    let spread = spread.collect::<Result<Vec<bool>>>()?;
    if outcomes.next().is_some() {
        return Err(Error::internal("a condition has more outcomes than documents"));
    }
    Ok(spread)
}

/// The items for which `selected` holds, and the others.
fn partition<'a, T>(
    items: &[&'a T],
    selected: impl IntoIterator<Item = bool, IntoIter: ExactSizeIterator>,
) -> Result<(Vec<&'a T>, Vec<&'a T>)> {
    let (mut yes, mut no) = (Vec::new(), Vec::new());
    for (item, selected) in zip_equal(items, selected, "documents and outcomes")? {
        if selected { yes.push(*item) } else { no.push(*item) }
    }
    Ok((yes, no))
}
