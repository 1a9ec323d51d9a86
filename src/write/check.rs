//! Checking a batch against the schema and the limits: everything that can be refused without the state is refused here.

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
use crate::types::{Document, DocumentId, IdKind, Value};

/// What an operation counts for besides its values: its id, and its entries in the maps of this check and of the
/// resolution.
const OPERATION_BYTES: usize = 64;

/// A batch that only the state can still refuse.
#[derive(Debug)]
pub(crate) struct CheckedBatch {
    /// Blind writes: plain upserts and deletes by id, whose effect is the same in every state.
    pub(super) blind: MemRows,
    pub(super) conditional: Vec<ConditionalWrites>,
    pub(super) delete_filters: Vec<Arc<BoundFilter>>,
    pub(super) patch_filters: Vec<PatchFilter>,
    pub(crate) token: Option<Uuid>,
    /// Whether the receipt lists ids.
    pub(super) ids: bool,
    pub(super) partial: bool,
}

/// Which rows to patch, and with what.
pub(super) type PatchFilter = (Arc<BoundFilter>, Vec<(String, Value)>);

/// Writes by id of one kind and under one condition, whose effect depends on the state. They are resolved together: one
/// lookup of their ids and one read of their rows.
#[derive(Debug)]
pub(super) struct ConditionalWrites {
    pub(super) change: Change,
    pub(super) condition: Option<BoundFilter>,
    /// The condition as the caller gave it. The next operation joins these writes if its condition is equal.
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
    fn inserts_mut(&mut self) -> Option<&mut Vec<Document>> {
        if let Self::Insert(documents) = self { Some(documents) } else { None }
    }

    fn upserts_mut(&mut self) -> Option<&mut Vec<Document>> {
        if let Self::Upsert(documents, _) = self { Some(documents) } else { None }
    }

    fn patches_mut(&mut self) -> Option<&mut Vec<Document>> {
        if let Self::Patch(documents) = self { Some(documents) } else { None }
    }

    fn deletes_mut(&mut self) -> Option<&mut Vec<DocumentId>> {
        if let Self::Delete(ids) = self { Some(ids) } else { None }
    }
}

impl CheckedBatch {
    pub(crate) fn new(schema: &Schema, settings: &Settings, batch: WriteBatch) -> Result<Self> {
        // Before anything else: binding a filter recurses, and one that is too deep would overflow the stack.
        let conditions = batch.operations.iter().filter_map(Operation::condition);
        let filters = conditions.map(|condition| &condition.filter).chain(&batch.delete_filters);
        let mut filters = filters.chain(batch.patch_filters.iter().map(|(filter, _)| filter));
        filters.try_for_each(|filter| filter.check_size(settings))?;
        let mut checker = BatchChecker::new(schema, settings);
        for operation in batch.operations {
            checker.add_operation(operation)?;
        }
        let bind = |filter: &Filter| BoundFilter::new(filter, schema, settings, false).map(Arc::new);
        let delete_filters = batch.delete_filters.iter().map(bind).collect::<Result<_>>()?;
        let patch_filters = batch.patch_filters.into_iter().map(|(filter, values)| {
            let values = check_values(schema, values)?;
            checker.bytes += values.iter().map(|(_, value)| value.size()).sum::<usize>();
            Ok((bind(&filter)?, values))
        });
        let patch_filters = patch_filters.collect::<Result<_>>()?;
        let upserts = checker.encode_upserts()?;
        let bytes = checker.bytes + batch_bytes(&upserts) + checker.seen.len() * OPERATION_BYTES;
        if bytes > settings.batch_bytes_max {
            return Err(Error::limit(format!(
                "batch of {bytes} bytes: at most {} are allowed",
                settings.batch_bytes_max
            )));
        }
        Ok(Self {
            blind: MemRows::from_unsorted(schema, &upserts, checker.deletes)?,
            conditional: checker.conditional,
            delete_filters,
            patch_filters,
            token: batch.token.map(Uuid::from_u128),
            ids: batch.ids,
            partial: batch.partial,
        })
    }

    /// Whether the effect is the same in every state, so that the batch is never resolved again.
    pub(crate) fn is_blind(&self) -> bool {
        self.conditional.is_empty() && self.delete_filters.is_empty() && self.patch_filters.is_empty()
    }
}

/// A batch that is being checked, operation by operation.
struct BatchChecker<'a> {
    schema: &'a Schema,
    settings: &'a Settings,
    seen: HashSet<DocumentId>,
    upserts: Vec<Document>,
    batches: Vec<RecordBatch>,
    deletes: Vec<DocumentId>,
    conditional: Vec<ConditionalWrites>,
    /// The bytes of values outside `batches`.
    bytes: usize,
}

impl<'a> BatchChecker<'a> {
    fn new(schema: &'a Schema, settings: &'a Settings) -> Self {
        Self {
            schema,
            settings,
            seen: HashSet::new(),
            upserts: Vec::new(),
            batches: Vec::new(),
            deletes: Vec::new(),
            conditional: Vec::new(),
            bytes: 0,
        }
    }

    fn add_operation(&mut self, operation: Operation) -> Result<()> {
        match operation {
            Operation::Upsert(document) => {
                let document = self.check_document(document)?;
                self.upserts.push(document);
            }
            Operation::Rows(rows) => {
                let rows = self.schema.check_batch(rows)?;
                for id in Ids::from_batch(self.schema.id(), &rows)?.to_vec() {
                    self.count_id(&id)?;
                }
                self.batches.push(rows);
            }
            Operation::UpsertIf(document, condition) => {
                let document = self.check_document(document)?;
                let missing = condition.missing;
                self.add_conditional(document, Some(condition), Change::upserts_mut, |first| {
                    Change::Upsert(vec![first], missing)
                })?;
            }
            Operation::Insert(document) => {
                let document = self.check_document(document)?;
                let start = |first| Change::Insert(vec![first]);
                self.add_conditional(document, None, Change::inserts_mut, start)?;
            }
            Operation::Patch(document, condition) => {
                let document = self.check_document(document)?;
                let start = |first| Change::Patch(vec![first]);
                self.add_conditional(document, condition, Change::patches_mut, start)?;
            }
            Operation::Delete(id) => {
                self.check_id(&id)?;
                self.deletes.push(id);
            }
            Operation::DeleteIf(id, condition) => {
                self.check_id(&id)?;
                let start = |first| Change::Delete(vec![first]);
                self.add_conditional(id, Some(condition), Change::deletes_mut, start)?;
            }
        }
        Ok(())
    }

    /// Adds to the last writes if they are of the same kind and condition, else starts new ones. Only the last are
    /// compared: callers send runs of equal conditions, and a search of all would be quadratic.
    fn add_conditional<T>(
        &mut self,
        item: T,
        condition: Option<Condition>,
        items_of_same_kind: impl Fn(&mut Change) -> Option<&mut Vec<T>>,
        start: impl FnOnce(T) -> Change,
    ) -> Result<()> {
        // Equal conditions include `if_missing`, so upserts of one group agree on it.
        if let Some(last) = self.conditional.last_mut()
            && last.source == condition
            && let Some(items) = items_of_same_kind(&mut last.change)
        {
            items.push(item);
            return Ok(());
        }
        let bind = |c: &Condition| BoundFilter::new(&c.filter, self.schema, self.settings, true);
        let bound = condition.as_ref().map(bind).transpose()?;
        self.conditional.push(ConditionalWrites { change: start(item), condition: bound, source: condition });
        Ok(())
    }

    fn check_document(&mut self, document: Document) -> Result<Document> {
        let document = self.schema.check(document)?;
        self.count_id(document.id())?;
        self.bytes = document.iter().map(|(_, value)| value.size()).fold(self.bytes, usize::saturating_add);
        // Checked per document and not only at the end: a batch that is too large is refused before all of it is converted.
        if self.bytes > self.settings.batch_bytes_max {
            let most = self.settings.batch_bytes_max;
            return Err(Error::limit(format!("batch of more than {most} bytes: write it in parts")));
        }
        Ok(document)
    }

    fn check_id(&mut self, id: &DocumentId) -> Result<()> {
        id.check(self.schema.id())?;
        self.count_id(id)
    }

    /// Counts an id, which may occur only once. So the operations by id of a batch are independent of each other and of
    /// their order, and can be resolved together.
    fn count_id(&mut self, id: &DocumentId) -> Result<()> {
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
    fn encode_upserts(&mut self) -> Result<RecordBatch> {
        let documents = std::mem::take(&mut self.upserts);
        // From here on they count with their size as rows.
        for document in &documents {
            self.bytes -= document.iter().map(|(_, value)| value.size()).sum::<usize>();
        }
        if !documents.is_empty() || self.batches.is_empty() {
            self.batches.push(self.schema.encode(&documents)?);
        }
        match self.batches.as_slice() {
            [only] => Ok(only.clone()),
            several => concat_batches(&self.schema.arrow(), several).or_internal(),
        }
    }
}

/// The values of a patch by filter, checked as those of a document.
fn check_values(schema: &Schema, values: Vec<(String, Value)>) -> Result<Vec<(String, Value)>> {
    if values.iter().any(|(column, _)| column == ID_COLUMN) {
        return Err(Error::invalid("a patch cannot change the id"));
    }
    // A document needs an id, and an error may show it.
    let id: DocumentId = match schema.id() {
        IdKind::U64 => 0.into(),
        IdKind::Uuid => Uuid::nil().into(),
        IdKind::String => "(every match)".into(),
    };
    let document =
        values.into_iter().fold(Document::new(id), |document, (column, value)| document.with(column, value));
    Ok(schema.check(document)?.into_parts().1.into_iter().collect())
}
