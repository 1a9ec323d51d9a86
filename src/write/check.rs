//! A batch against the schema and the limits: everything that can be refused is refused here.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use uuid::Uuid;

use super::batch::{IfMissing, Operation};
use super::{Condition, WriteBatch};
use crate::error::{Error, OrInternal, Result};
use crate::filter::{BoundFilter, Filter};
use crate::memtable::{MemRows, batch_bytes};
use crate::schema::{ID_COLUMN, Ids, Schema};
use crate::settings::Settings;
use crate::types::{Document, DocumentId, Value};

/// What an operation is accounted for besides its values.
const OPERATION_BYTES: usize = 64;

/// A batch in which nothing can be refused any more but by the state.
#[derive(Debug)]
pub(crate) struct Checked {
    /// Rows to put and ids to delete whatever the state.
    pub(super) blind: MemRows,
    pub(super) guarded: Vec<Guarded>,
    pub(super) delete_filters: Vec<Arc<BoundFilter>>,
    pub(super) patch_filters: Vec<PatchFilter>,
    pub(crate) token: Option<Uuid>,
    pub(super) ids: bool,
    pub(super) partial: bool,
}

/// Which rows to patch, and with what.
pub(super) type PatchFilter = (Arc<BoundFilter>, Vec<(String, Value)>);

/// Operations of one kind under one condition: they are resolved together.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) change: Change,
    pub(super) condition: Option<BoundFilter>,
    /// The condition as it was given, by which the next operation is found to share it.
    source: Option<Condition>,
}

#[derive(Debug)]
pub(super) enum Change {
    /// Rows for ids that do not exist.
    Insert(Vec<Document>),
    Upsert(Vec<Document>, IfMissing),
    Patch(Vec<Document>),
    Delete(Vec<DocumentId>),
}

impl Change {
    fn inserts(&mut self) -> Option<&mut Vec<Document>> {
        if let Self::Insert(documents) = self { Some(documents) } else { None }
    }

    fn upserts(&mut self) -> Option<&mut Vec<Document>> {
        if let Self::Upsert(documents, _) = self { Some(documents) } else { None }
    }

    fn patches(&mut self) -> Option<&mut Vec<Document>> {
        if let Self::Patch(documents) = self { Some(documents) } else { None }
    }

    fn deletes(&mut self) -> Option<&mut Vec<DocumentId>> {
        if let Self::Delete(ids) = self { Some(ids) } else { None }
    }
}

impl Checked {
    pub(crate) fn new(schema: &Schema, settings: &Settings, batch: WriteBatch) -> Result<Self> {
        // First of all: nothing else may touch a filter that is deeper than the stack.
        let conditions = batch.operations.iter().filter_map(Operation::condition);
        let filters = conditions.map(|condition| &condition.filter).chain(&batch.delete_filters);
        let mut filters = filters.chain(batch.patch_filters.iter().map(|(filter, _)| filter));
        filters.try_for_each(|filter| filter.check_size(settings))?;
        let mut check = Check::new(schema, settings);
        for operation in batch.operations {
            check.operation(operation)?;
        }
        let bind = |filter: &Filter| BoundFilter::new(filter, schema, settings, false).map(Arc::new);
        let delete_filters = batch.delete_filters.iter().map(bind).collect::<Result<_>>()?;
        let patch_filters = batch.patch_filters.into_iter().map(|(filter, values)| {
            let values = check_values(schema, values)?;
            check.bytes += values.iter().map(|(_, value)| value.size()).sum::<usize>();
            Ok((bind(&filter)?, values))
        });
        let patch_filters = patch_filters.collect::<Result<_>>()?;
        let upserts = check.rows()?;
        let bytes = check.bytes + batch_bytes(&upserts) + check.seen.len() * OPERATION_BYTES;
        if bytes > settings.batch_bytes_max {
            return Err(Error::limit(format!(
                "batch of {bytes} bytes: at most {} are allowed",
                settings.batch_bytes_max
            )));
        }
        Ok(Self {
            blind: MemRows::sort(schema, &upserts, check.deletes)?,
            guarded: check.guarded,
            delete_filters,
            patch_filters,
            token: batch.token.map(Uuid::from_u128),
            ids: batch.ids,
            partial: batch.partial,
        })
    }

    /// Whether the outcome is the same in every state.
    pub(crate) fn is_blind(&self) -> bool {
        self.guarded.is_empty() && self.delete_filters.is_empty() && self.patch_filters.is_empty()
    }
}

/// The check of a batch, half done.
struct Check<'a> {
    schema: &'a Schema,
    settings: &'a Settings,
    seen: HashSet<DocumentId>,
    upserts: Vec<Document>,
    batches: Vec<RecordBatch>,
    deletes: Vec<DocumentId>,
    guarded: Vec<Guarded>,
    bytes: usize,
}

impl<'a> Check<'a> {
    fn new(schema: &'a Schema, settings: &'a Settings) -> Self {
        Self {
            schema,
            settings,
            seen: HashSet::new(),
            upserts: Vec::new(),
            batches: Vec::new(),
            deletes: Vec::new(),
            guarded: Vec::new(),
            bytes: 0,
        }
    }

    fn operation(&mut self, operation: Operation) -> Result<()> {
        match operation {
            Operation::Upsert(document) => {
                let document = self.document(document)?;
                self.upserts.push(document);
            }
            Operation::Rows(rows) => {
                let rows = self.schema.check_batch(rows)?;
                let column = rows.columns().first().ok_or_else(|| Error::internal("a batch without ids"))?;
                for id in Ids::new(self.schema.id(), column)?.to_vec() {
                    self.once(&id)?;
                }
                self.batches.push(rows);
            }
            Operation::UpsertIf(document, condition) => {
                let document = self.document(document)?;
                let missing = condition.missing;
                self.guard(document, Some(condition), Change::upserts, |first| {
                    Change::Upsert(vec![first], missing)
                })?;
            }
            Operation::Insert(document) => {
                let document = self.document(document)?;
                self.guard(document, None, Change::inserts, |first| Change::Insert(vec![first]))?;
            }
            Operation::Patch(document, condition) => {
                let document = self.document(document)?;
                self.guard(document, condition, Change::patches, |first| Change::Patch(vec![first]))?;
            }
            Operation::Delete(id) => {
                self.id(&id)?;
                self.deletes.push(id);
            }
            Operation::DeleteIf(id, condition) => {
                self.id(&id)?;
                self.guard(id, Some(condition), Change::deletes, |first| Change::Delete(vec![first]))?;
            }
        }
        Ok(())
    }

    /// Adds to the last group if it is of the same kind and condition, else begins a new one.
    fn guard<T>(
        &mut self,
        item: T,
        condition: Option<Condition>,
        same: impl Fn(&mut Change) -> Option<&mut Vec<T>>,
        first: impl FnOnce(T) -> Change,
    ) -> Result<()> {
        if let Some(last) = self.guarded.last_mut()
            && last.source == condition
            && let Some(items) = same(&mut last.change)
        {
            items.push(item);
            return Ok(());
        }
        let bind = |c: &Condition| BoundFilter::new(&c.filter, self.schema, self.settings, true);
        let bound = condition.as_ref().map(bind).transpose()?;
        self.guarded.push(Guarded { change: first(item), condition: bound, source: condition });
        Ok(())
    }

    fn document(&mut self, document: Document) -> Result<Document> {
        let document = self.schema.check(document)?;
        self.once(document.id())?;
        self.bytes = document.iter().map(|(_, value)| value.size()).fold(self.bytes, usize::saturating_add);
        // Said before the rest is looked at: a stream of documents should not fill the memory first.
        if self.bytes > self.settings.batch_bytes_max {
            let most = self.settings.batch_bytes_max;
            return Err(Error::limit(format!("batch of more than {most} bytes: write it in parts")));
        }
        Ok(document)
    }

    fn id(&mut self, id: &DocumentId) -> Result<()> {
        id.check(self.schema.id())?;
        self.once(id)
    }

    fn once(&mut self, id: &DocumentId) -> Result<()> {
        if !self.seen.insert(id.clone()) {
            return Err(Error::invalid(format!("the same id twice in a batch. id=`{id}`")));
        }
        if self.seen.len() > self.settings.batch_operations_max {
            let most = self.settings.batch_operations_max;
            return Err(Error::limit(format!("batch of more than {most} operations: write it in parts")));
        }
        Ok(())
    }

    /// The rows of plain upserts.
    fn rows(&mut self) -> Result<RecordBatch> {
        let documents = std::mem::take(&mut self.upserts);
        // They are about to be counted as rows.
        for document in &documents {
            self.bytes -= document.iter().map(|(_, value)| value.size()).sum::<usize>();
        }
        if !documents.is_empty() || self.batches.is_empty() {
            self.batches.push(self.schema.encode(&documents)?);
        }
        match self.batches.as_slice() {
            [one] => Ok(one.clone()),
            several => Ok(concat_batches(&self.schema.arrow(), several).or_internal()?),
        }
    }
}

/// The values of a patch by filter, as if of a document.
fn check_values(schema: &Schema, values: Vec<(String, Value)>) -> Result<Vec<(String, Value)>> {
    use crate::types::IdKind;
    if values.iter().any(|(column, _)| column == ID_COLUMN) {
        return Err(Error::invalid("a patch cannot change the id"));
    }
    let id: DocumentId = match schema.id() {
        IdKind::U64 => 0.into(),
        IdKind::Uuid => Uuid::nil().into(),
        IdKind::String => "(every match)".into(),
    };
    let document =
        values.into_iter().fold(Document::new(id), |document, (column, value)| document.with(column, value));
    Ok(schema.check(document)?.into_parts().1.into_iter().collect())
}
