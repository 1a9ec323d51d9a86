//! Rows and deletes in memory, sorted by id.

use std::cmp::Ordering;
use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, interleave_record_batch};
use roaring::RoaringBitmap;

use crate::codec::to_u32;
use crate::error::{Error, OrInternal, Result};
use crate::index::text::MemoryTextIndex;
use crate::schema::{Ids, Schema};
use crate::types::{DocumentId, IdKind};

/// What one delete counts for in estimates of memory: 24 bytes in the list, and a share of the heap that a string takes.
const DELETE_BYTES: usize = 40;

/// Rows to put and ids to delete: the net effect of one entry of the log or of several.
#[derive(Clone)]
pub(crate) struct MemRows {
    /// In the layout of `Schema::arrow`, in ascending order of unique ids.
    rows: RecordBatch,
    row_count: u32,
    ids: Ids,
    /// In ascending order, none of them in `rows`.
    deletes: Arc<Vec<DocumentId>>,
    bytes: usize,
    /// The index of the text columns, built by the first query that needs it: most entries are flushed before any
    /// does.
    text: Arc<OnceLock<Arc<MemoryTextIndex>>>,
}

/// Values of documents are not shown: handles may be logged with their state.
impl fmt::Debug for MemRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemRows({} rows, {} deletes)", self.rows.num_rows(), self.deletes.len())
    }
}

impl MemRows {
    /// `rows` and `deletes` must be sorted, unique and disjoint.
    pub(crate) fn new(schema: &Schema, rows: RecordBatch, deletes: Vec<DocumentId>) -> Result<Self> {
        Self::with_kind(schema.id(), rows, Arc::new(deletes))
    }

    fn with_kind(kind: IdKind, rows: RecordBatch, deletes: Arc<Vec<DocumentId>>) -> Result<Self> {
        let ids = Ids::from_batch(kind, &rows)?;
        debug_assert!(
            ids.is_ascending() && deletes.is_sorted_by(|a, b| a < b),
            "rows and deletes are sorted"
        );
        // Row numbers have 32 bits in every index and bitmap. Checked once here, so that lookups need not.
        let row_count = to_u32(rows.num_rows(), "the number of rows in memory")?;
        let bytes = batch_bytes(&rows).saturating_add(delete_bytes(&deletes));
        Ok(Self { rows, row_count, ids, deletes, bytes, text: Arc::default() })
    }

    /// Rows in any order with unique ids, and deletes in any order, none of them among the rows.
    pub(crate) fn from_unsorted(
        schema: &Schema,
        rows: &RecordBatch,
        mut deletes: Vec<DocumentId>,
    ) -> Result<Self> {
        let ids = Ids::from_batch(schema.id(), rows)?;
        deletes.sort_unstable();
        deletes.dedup();
        // A bulk load often comes sorted already. Copying its vectors would cost more than this look at its ids.
        if ids.is_ascending() {
            return Self::new(schema, rows.clone(), deletes);
        }
        let order: Vec<(usize, usize)> = ids.sorted_rows().into_iter().map(|row| (0, row)).collect();
        Self::new(schema, interleave_record_batch(&[rows], &order).or_internal()?, deletes)
    }

    pub(crate) fn empty(schema: &Schema) -> Result<Self> {
        Self::new(schema, RecordBatch::new_empty(schema.arrow()), Vec::new())
    }

    pub(crate) fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    pub(crate) fn row_count(&self) -> u32 {
        self.row_count
    }

    pub(crate) fn ids(&self) -> &Ids {
        &self.ids
    }

    pub(crate) fn deletes(&self) -> &Arc<Vec<DocumentId>> {
        &self.deletes
    }

    /// The same rows with other deletes, which must be ascending and disjoint from the rows.
    pub(crate) fn with_deletes(&self, deletes: impl IntoIterator<Item = DocumentId>) -> Self {
        let deletes: Vec<DocumentId> = deletes.into_iter().collect();
        let bytes = (self.bytes - delete_bytes(&self.deletes)).saturating_add(delete_bytes(&deletes));
        Self { deletes: Arc::new(deletes), bytes, ..self.clone() }
    }

    /// The same without the rows in `removed`.
    pub(crate) fn without_rows(&self, removed: &RoaringBitmap) -> Result<Self> {
        if removed.is_empty() {
            return Ok(self.clone());
        }
        let retained = (0..self.row_count).map(|row| Some(!removed.contains(row)));
        let rows = filter_record_batch(&self.rows, &retained.collect::<BooleanArray>()).or_internal()?;
        Self::with_kind(self.ids.kind(), rows, Arc::clone(&self.deletes))
    }

    /// The deletes as a column of ids.
    pub(crate) fn deleted_ids(&self) -> Result<Ids> {
        let kind = self.ids.kind();
        Ids::new(kind, &Ids::build_array(kind, self.deletes.iter())?)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row that puts an id.
    pub(crate) fn find_row(&self, id: &DocumentId) -> Option<u32> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the constructor checks that row numbers have 32 bits"
        )]
        self.ids.search(id).ok().map(|row| row as u32)
    }

    /// Whether an id is deleted here.
    pub(crate) fn has_deleted(&self, id: &DocumentId) -> bool {
        self.deletes.binary_search(id).is_ok()
    }

    /// An estimate of the memory held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of operations: puts and deletes.
    pub(crate) fn len(&self) -> usize {
        self.ids.len() + self.deletes.len()
    }

    /// The index of the text columns, if it was built.
    pub(crate) fn text(&self) -> Option<&Arc<MemoryTextIndex>> {
        self.text.get()
    }

    /// Builds the index of the text columns, unless it is there. CPU work.
    pub(crate) fn index_text(&self, schema: &Schema) -> Result<Arc<MemoryTextIndex>> {
        if let Some(index) = self.text.get() {
            return Ok(Arc::clone(index));
        }
        // Two queries may build it at once: the second index is dropped. A lock would block a thread of the runtime.
        let index = Arc::new(MemoryTextIndex::new(schema, &self.rows)?);
        Ok(Arc::clone(self.text.get_or_init(|| index)))
    }

    /// These operations followed by those of `newer`, as one set.
    pub(crate) fn merge_newer(&self, newer: &Self) -> Result<Self> {
        // A merge of two sorted lists: for an id in both, the newer row wins.
        let mut selected = Vec::with_capacity(self.ids.len() + newer.ids.len());
        let (mut old, mut new) = (0, 0);
        while old < self.ids.len() || new < newer.ids.len() {
            let order = if old == self.ids.len() {
                Ordering::Greater
            } else if new == newer.ids.len() {
                Ordering::Less
            } else {
                self.ids.compare(old, &newer.ids.get(new))
            };
            if order == Ordering::Less {
                if !newer.has_deleted(&self.ids.get(old)) {
                    selected.push((0, old));
                }
                old += 1;
            } else {
                selected.push((1, new));
                new += 1;
                old += usize::from(order == Ordering::Equal);
            }
        }
        let rows = interleave_record_batch(&[&self.rows, &newer.rows], &selected).or_internal()?;
        // Deletes are tombstones: they stay, for they hide rows of older parts. A later put of the id replaces one.
        let mut deletes: Vec<DocumentId> =
            self.deletes.iter().filter(|id| newer.ids.search(id).is_err()).cloned().collect();
        deletes.extend(newer.deletes.iter().cloned());
        deletes.sort_unstable();
        deletes.dedup();
        Self::with_kind(self.ids.kind(), rows, Arc::new(deletes))
    }

    /// Pushes onto a stack in which each member has more than twice the operations of the next, by merging members
    /// that would break this. So each operation is copied O(log n) times, where merging one by one would copy it n
    /// times.
    ///
    /// # Errors
    /// Rows of another layout. The stack is as before then.
    pub(crate) fn push_on_stack(stack: &mut Vec<Self>, newest: Self) -> Result<()> {
        // Rows that do not fit would otherwise be found by a later merge, and blamed on rows that do.
        let fits = |last: &Self| {
            let types = last.rows.columns().iter().map(Array::data_type);
            types.eq(newest.rows.columns().iter().map(Array::data_type))
        };
        if stack.last().is_some_and(|last| !fits(last)) {
            return Err(Error::internal("rows of different layouts cannot be merged"));
        }
        let mut newest = newest;
        let mut kept = stack.len();
        while let Some(last) =
            kept.checked_sub(1).and_then(|last| stack.get(last)).filter(|last| newest.len() * 2 >= last.len())
        {
            newest = last.merge_newer(&newest)?;
            kept -= 1;
        }
        stack.truncate(kept);
        stack.push(newest);
        Ok(())
    }

    /// The members of a stack as one.
    pub(crate) fn merge_stack(schema: &Schema, mut stack: Vec<Self>) -> Result<Self> {
        let Some(mut merged) = stack.pop() else { return Self::empty(schema) };
        while let Some(older) = stack.pop() {
            merged = older.merge_newer(&merged)?;
        }
        Ok(merged)
    }
}

fn delete_bytes(deletes: &[DocumentId]) -> usize {
    deletes.len() * DELETE_BYTES
}

/// The bytes of the rows themselves. A slice of a batch shares the buffers of all of it, which may be much larger.
pub(crate) fn batch_bytes(batch: &RecordBatch) -> usize {
    // invariant: bounds an account of memory: a size that Arrow cannot give is as large as can be.
    let size =
        |column: &arrow::array::ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(usize::MAX);
    batch.columns().iter().map(size).fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::schema::AttributeType;
    use crate::types::{Document, Value};

    fn schema() -> Schema {
        Schema::builder(IdKind::U64).attribute("a", AttributeType::Int).build().unwrap()
    }

    type Ops = BTreeMap<u64, Option<i64>>;

    fn mem_rows(ops: &Ops) -> MemRows {
        let put = |(id, a): (&u64, &Option<i64>)| a.map(|a| Document::new(*id).with("a", a));
        let documents: Vec<_> = ops.iter().filter_map(put).collect();
        let deletes = ops.iter().filter(|(_, a)| a.is_none()).map(|(id, _)| (*id).into()).collect();
        MemRows::from_unsorted(&schema(), &schema().to_batch(&documents).unwrap(), deletes).unwrap()
    }

    proptest! {
        #[test]
        fn two_runs_as_one_say_what_the_newer_says_and_else_the_older(
            old in proptest::collection::btree_map(0u64..30, proptest::option::of(0i64..9), 0..20),
            new in proptest::collection::btree_map(0u64..30, proptest::option::of(0i64..9), 0..20),
        ) {
            let merged = mem_rows(&old).merge_newer(&mem_rows(&new)).unwrap();
            let mut model: Ops = old.clone();
            model.extend(new.clone());
            for id in 0..30 {
                let found = merged.find_row(&id.into());
                prop_assert_eq!(merged.has_deleted(&id.into()), model.get(&id) == Some(&None));
                match model.get(&id) {
                    None | Some(None) => prop_assert_eq!(found, None),
                    Some(Some(a)) => {
                        let row = found.unwrap() as usize;
                        let document = &schema().documents(&merged.rows().slice(row, 1)).unwrap()[0];
                        prop_assert_eq!(document.get("a"), Some(&Value::Int(*a)));
                    }
                }
            }
            prop_assert_eq!(merged.len(), model.len());
        }
    }
}
