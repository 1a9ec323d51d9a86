//! A caller's batch.

use arrow::array::RecordBatch;

use crate::filter::Filter;
use crate::types::{Document, DocumentId, Value};

/// What a conditional upsert does where the document does not exist.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::{schema::AttributeType, *};
/// # let schema = Schema::builder(IdKind::U64).attribute("version", AttributeType::Int).build()?;
/// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
/// let newer = Condition::new(Filter::lt("version", Operand::new_value("version")));
/// // Replaces what is there, and brings nothing back that was deleted.
/// let update = newer.if_missing(IfMissing::Skip);
/// let batch = WriteBatch::new().upsert_if(Document::new(1).with("version", 2), update);
/// assert_eq!(docs.write(batch).await?.skipped, 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfMissing {
    /// It inserts the document, whatever the condition.
    #[default]
    Insert,
    /// It does nothing.
    Skip,
}

/// When a write by id is to take effect.
///
/// The filter is evaluated on the document as it is. [`Operand::New`](crate::Operand::New) stands for a value of
/// the document as it would become; for deletes every new value is null.
///
/// | write | document exists, condition true | exists, false | does not exist |
/// |---|---|---|---|
/// | upsert | overwritten | skipped | inserted, or skipped with [`IfMissing::Skip`] |
/// | patch | patched | skipped | skipped |
/// | delete | deleted | skipped | skipped |
///
/// ```
/// use elacsym::{Condition, Filter, Operand};
///
/// // The later version wins, whichever order they arrive in.
/// let newer = Condition::new(Filter::lt("version", Operand::new_value("version")));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub(crate) filter: Filter,
    pub(crate) missing: IfMissing,
}

impl Condition {
    /// A condition; an upsert of a document that does not exist inserts it.
    #[must_use]
    pub fn new(filter: Filter) -> Self {
        Self { filter, missing: IfMissing::default() }
    }

    /// What an upsert does where the document does not exist. Patches and deletes do nothing there.
    #[must_use]
    pub fn if_missing(mut self, missing: IfMissing) -> Self {
        self.missing = missing;
        self
    }
}

impl From<Filter> for Condition {
    fn from(filter: Filter) -> Self {
        Self::new(filter)
    }
}

/// Changes that happen together or not at all.
///
/// Whatever the order of the calls, deletes by filter come first, then patches by filter in the order they
/// were given, then everything by id. An id may occur once: twice is an error.
///
/// So one batch can replace all documents of a source: the delete by filter does not see the new ones.
///
/// ```
/// use elacsym::{Document, Filter, WriteBatch};
///
/// let batch = WriteBatch::new()
///     .delete_by_filter(Filter::eq("source", "old"))
///     .upsert(Document::new(1).with("title", "One"))
///     .insert(Document::new(2).with("title", "Two, if it is not there yet"))
///     .patch(Document::new(3).with("title", "Only the title of three"))
///     .delete(4);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct WriteBatch {
    pub(super) operations: Vec<Operation>,
    pub(super) delete_filters: Vec<Filter>,
    pub(super) patch_filters: Vec<(Filter, Vec<(String, Value)>)>,
    pub(super) token: Option<u128>,
    pub(super) ids: bool,
    pub(super) partial: bool,
}

/// An upsert.
impl From<Document> for WriteBatch {
    fn from(document: Document) -> Self {
        Self::new().upsert(document)
    }
}

/// Upserts.
impl From<Vec<Document>> for WriteBatch {
    fn from(documents: Vec<Document>) -> Self {
        documents.into_iter().collect()
    }
}

/// Upserts.
impl<const N: usize> From<[Document; N]> for WriteBatch {
    fn from(documents: [Document; N]) -> Self {
        documents.into_iter().collect()
    }
}

/// A copy, for a batch that may be sent again.
impl From<&Self> for WriteBatch {
    fn from(batch: &Self) -> Self {
        batch.clone()
    }
}

/// Upserts of all rows: see [`WriteBatch::upsert_batch`].
impl From<RecordBatch> for WriteBatch {
    fn from(rows: RecordBatch) -> Self {
        Self::new().upsert_batch(rows)
    }
}

/// Upserts.
impl FromIterator<Document> for WriteBatch {
    fn from_iter<I: IntoIterator<Item = Document>>(documents: I) -> Self {
        Self::new().upsert_all(documents)
    }
}

/// A change by id.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Upsert(Document),
    Rows(RecordBatch),
    UpsertIf(Document, Condition),
    Insert(Document),
    Patch(Document, Option<Condition>),
    Delete(DocumentId),
    DeleteIf(DocumentId, Condition),
}

impl Operation {
    pub(super) fn condition(&self) -> Option<&Condition> {
        match self {
            Self::UpsertIf(_, condition) | Self::DeleteIf(_, condition) => Some(condition),
            Self::Patch(_, condition) => condition.as_ref(),
            Self::Upsert(_) | Self::Rows(_) | Self::Insert(_) | Self::Delete(_) => None,
        }
    }
}

impl WriteBatch {
    /// No changes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many operations and rows a check goes over.
    pub(crate) fn item_count(&self) -> usize {
        let count_items = |operation: &Operation| match operation {
            Operation::Rows(rows) => rows.num_rows(),
            Operation::Upsert(_)
            | Operation::UpsertIf(..)
            | Operation::Insert(_)
            | Operation::Patch(..)
            | Operation::Delete(_)
            | Operation::DeleteIf(..) => 1,
        };
        self.operations.iter().map(count_items).sum()
    }

    fn with_operation(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    /// Writes a document whole: columns it does not name become null.
    pub fn upsert(self, document: Document) -> Self {
        self.with_operation(Operation::Upsert(document))
    }

    /// Writes many documents whole.
    pub fn upsert_all(mut self, documents: impl IntoIterator<Item = Document>) -> Self {
        self.operations.extend(documents.into_iter().map(Operation::Upsert));
        self
    }

    /// Writes the rows of an Arrow batch whole: columns by name, `id` among them, cast to the schema's types
    /// where nothing is lost. The fastest way to load data.
    pub fn upsert_batch(self, rows: RecordBatch) -> Self {
        self.with_operation(Operation::Rows(rows))
    }

    /// Writes a document whole if a condition on the existing one holds.
    pub fn upsert_if(self, document: Document, condition: impl Into<Condition>) -> Self {
        self.with_operation(Operation::UpsertIf(document, condition.into()))
    }

    /// Writes a document if its id does not exist yet.
    pub fn insert(self, document: Document) -> Self {
        self.with_operation(Operation::Insert(document))
    }

    /// Writes only the columns that the document names, vectors included; a null clears a column. A document that
    /// does not exist is skipped.
    pub fn patch(self, document: Document) -> Self {
        self.with_operation(Operation::Patch(document, None))
    }

    /// Patches a document under a condition.
    pub fn patch_if(self, document: Document, condition: impl Into<Condition>) -> Self {
        self.with_operation(Operation::Patch(document, Some(condition.into())))
    }

    /// Deletes a document, if it exists.
    pub fn delete(self, id: impl Into<DocumentId>) -> Self {
        self.with_operation(Operation::Delete(id.into()))
    }

    /// Deletes a document under a condition.
    pub fn delete_if(self, id: impl Into<DocumentId>, condition: impl Into<Condition>) -> Self {
        self.with_operation(Operation::DeleteIf(id.into(), condition.into()))
    }

    /// Deletes every document that matches.
    pub fn delete_by_filter(mut self, filter: Filter) -> Self {
        self.delete_filters.push(filter);
        self
    }

    /// Writes these columns of every document that matches; a null clears a column.
    pub fn patch_by_filter<C: Into<String>, V: Into<Value>>(
        mut self,
        filter: Filter,
        values: impl IntoIterator<Item = (C, V)>,
    ) -> Self {
        let values = values.into_iter().map(|(column, value)| (column.into(), value.into()));
        self.patch_filters.push((filter, values.collect()));
        self
    }

    /// Lets writes by filter stop at their limits instead of failing; the receipt says so.
    pub fn allow_partial(mut self) -> Self {
        self.partial = true;
        self
    }

    /// Sets an idempotency token, unique for the write: a batch that is sent again with the same token, after a
    /// failure of any kind, is applied once. The last 10,000 tokens of a namespace are remembered.
    pub fn token(mut self, token: u128) -> Self {
        self.token = Some(token);
        self
    }

    /// Lists the ids of the changed documents in the receipt.
    pub fn return_ids(mut self) -> Self {
        self.ids = true;
        self
    }
}
