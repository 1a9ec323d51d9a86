//! Rows and deletes in memory, sorted by id.

use std::cmp::Ordering;
use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, interleave_record_batch};
use roaring::RoaringBitmap;

use crate::error::{Error, OrInternal, Result};
use crate::index::text::MemoryTextIndex;
use crate::schema::{Ids, Schema};
use crate::types::DocumentId;

/// The overhead of one id in a list, for accounts of memory.
const ID_BYTES: usize = 40;

/// Rows to put and ids to delete, as one step of the log or several.
#[derive(Clone)]
pub(crate) struct MemRows {
    /// In the layout of `Schema::arrow`, in ascending order of unique ids.
    rows: RecordBatch,
    ids: Ids,
    /// In ascending order, none of them in `rows`.
    deletes: Arc<Vec<DocumentId>>,
    bytes: usize,
    /// The index of the text columns, once it was asked for.
    text: Arc<OnceLock<Arc<MemoryTextIndex>>>,
}

/// Values of documents are not shown: handles show their state, and may be logged.
impl fmt::Debug for MemRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemRows({} rows, {} deletes)", self.rows.num_rows(), self.deletes.len())
    }
}

impl MemRows {
    /// `rows` and `deletes` must be sorted, unique and disjoint.
    pub(crate) fn new(schema: &Schema, rows: RecordBatch, deletes: Vec<DocumentId>) -> Result<Self> {
        let column = rows.columns().first().ok_or_else(|| Error::internal("a batch without ids"))?;
        let ids = Ids::new(schema.id(), column)?;
        debug_assert!(
            ids.is_ascending() && deletes.is_sorted_by(|a, b| a < b),
            "rows and deletes are sorted"
        );
        let bytes = batch_bytes(&rows) + deletes.len() * ID_BYTES;
        Ok(Self { rows, ids, deletes: Arc::new(deletes), bytes, text: Arc::default() })
    }

    /// Rows in any order with unique ids, and deletes in any order, none of them among the rows.
    pub(crate) fn sort(schema: &Schema, rows: &RecordBatch, mut deletes: Vec<DocumentId>) -> Result<Self> {
        let column = rows.columns().first().ok_or_else(|| Error::internal("a batch without ids"))?;
        let ids = Ids::new(schema.id(), column)?;
        deletes.sort_unstable();
        deletes.dedup();
        if ids.is_ascending() {
            return Self::new(schema, rows.clone(), deletes);
        }
        let order = ids.sorted_rows();
        let rows = interleave_record_batch(&[rows], &order.iter().map(|r| (0, *r)).collect::<Vec<_>>())
            .or_internal()?;
        Self::new(schema, rows, deletes)
    }

    pub(crate) fn empty(schema: &Schema) -> Result<Self> {
        Self::new(schema, RecordBatch::new_empty(schema.arrow()), Vec::new())
    }

    pub(crate) fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    pub(crate) fn ids(&self) -> &Ids {
        &self.ids
    }

    pub(crate) fn deletes(&self) -> &Arc<Vec<DocumentId>> {
        &self.deletes
    }

    /// The same rows, and these deletes, which are in ascending order and none of them among the rows.
    pub(crate) fn with_deletes(&self, deletes: impl IntoIterator<Item = DocumentId>) -> Self {
        let deletes: Vec<DocumentId> = deletes.into_iter().collect();
        let bytes = self.bytes - self.deletes.len() * ID_BYTES + deletes.len() * ID_BYTES;
        let (rows, ids, text) = (self.rows.clone(), self.ids.clone(), Arc::clone(&self.text));
        Self { rows, ids, deletes: Arc::new(deletes), bytes, text }
    }

    /// The same without some rows.
    pub(crate) fn without(&self, gone: &RoaringBitmap) -> Result<Self> {
        if gone.is_empty() {
            return Ok(self.clone());
        }
        let keep = (0u32..).take(self.ids.len()).map(|row| Some(!gone.contains(row)));
        let rows = filter_record_batch(&self.rows, &keep.collect::<BooleanArray>()).or_internal()?;
        let column = rows.columns().first().ok_or_else(|| Error::internal("a batch without ids"))?;
        let ids = Ids::new(self.ids.kind(), column)?;
        let bytes = batch_bytes(&rows) + self.deletes.len() * ID_BYTES;
        Ok(Self { rows, ids, deletes: Arc::clone(&self.deletes), bytes, text: Arc::default() })
    }

    /// The deletes as a column.
    pub(crate) fn deleted(&self) -> Result<Ids> {
        let kind = self.ids.kind();
        Ids::new(kind, &Ids::build_array(kind, self.deletes.iter())?)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.len() == 0 && self.deletes.is_empty()
    }

    /// The row of an id that is put here.
    pub(crate) fn find(&self, id: &DocumentId) -> Option<u32> {
        self.ids.search(id).ok().and_then(|row| u32::try_from(row).ok())
    }

    /// Whether an id is deleted here.
    pub(crate) fn has_deleted(&self, id: &DocumentId) -> bool {
        self.deletes.binary_search(id).is_ok()
    }

    /// Memory held, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

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
        let index = Arc::new(MemoryTextIndex::new(schema, &self.rows)?);
        Ok(Arc::clone(self.text.get_or_init(|| index)))
    }

    /// These rows and deletes, and then those of `newer`, as one step.
    pub(crate) fn then(&self, newer: &Self) -> Result<Self> {
        // A merge of two sorted lists: of an id that both have, the newer row is taken.
        let mut picks = Vec::with_capacity(self.ids.len() + newer.ids.len());
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
                    picks.push((0, old));
                }
                old += 1;
            } else {
                picks.push((1, new));
                new += 1;
                old += usize::from(order == Ordering::Equal);
            }
        }
        let rows = interleave_record_batch(&[&self.rows, &newer.rows], &picks).or_internal()?;
        // Deletes stay: they hide rows of older parts. An id that is put again is deleted no more.
        let mut deletes: Vec<DocumentId> =
            self.deletes.iter().filter(|id| newer.ids.search(id).is_err()).cloned().collect();
        deletes.extend(newer.deletes.iter().cloned());
        deletes.sort_unstable();
        deletes.dedup();
        let column = rows.columns().first().ok_or_else(|| Error::internal("a batch without ids"))?;
        let ids = Ids::new(self.ids.kind(), column)?;
        let bytes = batch_bytes(&rows) + deletes.len() * ID_BYTES;
        Ok(Self { rows, ids, deletes: Arc::new(deletes), bytes, text: Arc::default() })
    }

    /// Adds to a stack whose members shrink towards its end, so that adding n of them costs n log n.
    pub(crate) fn push_on_stack(runs: &mut Vec<Self>, newer: Self) -> Result<()> {
        let mut newer = newer;
        while let Some(last) = runs.last().filter(|last| newer.len() * 2 >= last.len()) {
            newer = last.then(&newer)?;
            runs.pop();
        }
        runs.push(newer);
        Ok(())
    }

    /// The members of a stack as one.
    pub(crate) fn merge_stack(schema: &Schema, mut runs: Vec<Self>) -> Result<Self> {
        let Some(mut whole) = runs.pop() else { return Self::empty(schema) };
        while let Some(older) = runs.pop() {
            whole = older.then(&whole)?;
        }
        Ok(whole)
    }
}

/// The bytes of the rows themselves: the buffers they lie in may be larger and shared.
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
    use crate::types::{Document, IdKind, Value};

    fn schema() -> Schema {
        Schema::builder(IdKind::U64).attribute("a", AttributeType::Int).build().unwrap()
    }

    type Ops = BTreeMap<u64, Option<i64>>;

    fn run(ops: &Ops) -> MemRows {
        let put = |(id, a): (&u64, &Option<i64>)| a.map(|a| Document::new(*id).with("a", a));
        let documents: Vec<_> = ops.iter().filter_map(put).collect();
        let deletes = ops.iter().filter(|(_, a)| a.is_none()).map(|(id, _)| (*id).into()).collect();
        MemRows::sort(&schema(), &schema().to_batch(&documents).unwrap(), deletes).unwrap()
    }

    proptest! {
        #[test]
        fn two_runs_as_one_say_what_the_newer_says_and_else_the_older(
            old in proptest::collection::btree_map(0u64..30, proptest::option::of(0i64..9), 0..20),
            new in proptest::collection::btree_map(0u64..30, proptest::option::of(0i64..9), 0..20),
        ) {
            let merged = run(&old).then(&run(&new)).unwrap();
            let mut model: Ops = old.clone();
            model.extend(new.clone());
            for id in 0..30 {
                let found = merged.find(&id.into());
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
