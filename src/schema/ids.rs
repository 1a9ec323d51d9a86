//! Ids in Arrow arrays: reading, searching and intersecting columns of ids, and building them.
//!
//! **Invariant:** the order of ids is that of [`DocumentId`] in every kind; a UUID compares by its bytes.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, FixedSizeBinaryArray, FixedSizeBinaryBuilder, RecordBatch, StringArray, StringBuilder,
    UInt64Array,
};
use uuid::Uuid;

use crate::error::{Error, OrInternal, Result};
use crate::types::{DocumentId, IdKind};

/// A column of ids, downcast once. The inner loops of lookups run on the array of one kind, without an enum per id.
#[derive(Clone, Debug)]
pub(crate) enum Ids {
    U64(UInt64Array),
    Uuid(FixedSizeBinaryArray),
    String(StringArray),
}

impl Ids {
    /// Takes an array in the Arrow type of `kind`, without nulls.
    pub(crate) fn new(kind: IdKind, array: &ArrayRef) -> Result<Self> {
        let any = array.as_any();
        let ids = match kind {
            IdKind::U64 => any.downcast_ref().cloned().map(Self::U64),
            IdKind::Uuid => any
                .downcast_ref::<FixedSizeBinaryArray>()
                .filter(|a| a.value_length() == 16)
                .cloned()
                .map(Self::Uuid),
            IdKind::String => any.downcast_ref().cloned().map(Self::String),
        };
        // Checked here once, since the loops below read values without looking at validity.
        if array.null_count() > 0 {
            return Err(Error::invalid("an id is null"));
        }
        ids.ok_or_else(|| {
            Error::invalid(format!("the id column is {}, the namespace uses {kind} ids", array.data_type()))
        })
    }

    /// The ids of a batch in the layout of `Schema::arrow` or a projection of it: the first column.
    pub(crate) fn from_batch(kind: IdKind, batch: &RecordBatch) -> Result<Self> {
        let column =
            batch.columns().first().ok_or_else(|| Error::internal("a batch without an id column"))?;
        Self::new(kind, column)
    }

    pub(crate) fn kind(&self) -> IdKind {
        match self {
            Self::U64(_) => IdKind::U64,
            Self::Uuid(_) => IdKind::Uuid,
            Self::String(_) => IdKind::String,
        }
    }

    /// The rows in ascending order of their ids. Equal ids, of which a batch has none, may come in any order.
    pub(crate) fn sorted_rows(&self) -> Vec<usize> {
        // Row numbers are sorted, not ids: strings would be moved or copied otherwise.
        let mut order: Vec<usize> = (0..self.len()).collect();
        match self {
            Self::U64(a) => order.sort_unstable_by_key(|row| a.value(*row)),
            Self::Uuid(a) => order.sort_unstable_by_key(|row| a.value(*row)),
            Self::String(a) => order.sort_unstable_by_key(|row| a.value(*row)),
        }
        order
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::U64(a) => a.len(),
            Self::Uuid(a) => a.len(),
            Self::String(a) => a.len(),
        }
    }

    /// The id of a row. `row` must be below [`Self::len`].
    pub(crate) fn get(&self, row: usize) -> DocumentId {
        match self {
            Self::U64(a) => DocumentId::U64(a.value(row)),
            // invariant: every constructor checks the width of 16 bytes.
            Self::Uuid(a) => DocumentId::Uuid(Uuid::from_slice(a.value(row)).unwrap_or_default()),
            Self::String(a) => DocumentId::String(a.value(row).into()),
        }
    }

    /// Compares the id of a row with `id`, which is of the same kind.
    pub(crate) fn compare(&self, row: usize, id: &DocumentId) -> Ordering {
        match (self, id) {
            (Self::U64(a), DocumentId::U64(id)) => a.value(row).cmp(id),
            (Self::Uuid(a), DocumentId::Uuid(id)) => a.value(row).cmp(id.as_bytes().as_slice()),
            (Self::String(a), DocumentId::String(id)) => a.value(row).cmp(id),
            // Another kind: a caller's mistake, which still gets a total order.
            _ => self.get(row).cmp(id),
        }
    }

    /// Whether every id is greater than the one before it.
    pub(crate) fn is_ascending(&self) -> bool {
        match self {
            Self::U64(a) => a.values().is_sorted_by(|x, y| x < y),
            // The arrays of bytes have no slice of values to compare.
            Self::Uuid(a) => (1..a.len()).all(|row| a.value(row - 1) < a.value(row)),
            Self::String(a) => (1..a.len()).all(|row| a.value(row - 1) < a.value(row)),
        }
    }

    pub(crate) fn to_vec(&self) -> Vec<DocumentId> {
        (0..self.len()).map(|row| self.get(row)).collect()
    }

    /// Binary search in an ascending column: the row of `id`, or the row to insert it at.
    pub(crate) fn search(&self, id: &DocumentId) -> Result<usize, usize> {
        // By hand, since Arrow arrays are not slices of ids; the result is that of `slice::binary_search`.
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.compare(middle, id) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// A range of rows, which must exist.
    pub(crate) fn slice(&self, rows: Range<usize>) -> Self {
        match self {
            Self::U64(a) => Self::U64(a.slice(rows.start, rows.len())),
            Self::Uuid(a) => Self::Uuid(a.slice(rows.start, rows.len())),
            Self::String(a) => Self::String(a.slice(rows.start, rows.len())),
        }
    }

    /// Concatenates columns of one kind.
    pub(crate) fn concat(kind: IdKind, columns: &[&Self]) -> Result<Self> {
        let column = |ids: &&Self| -> ArrayRef {
            match ids {
                Self::U64(a) => Arc::new(a.clone()),
                Self::Uuid(a) => Arc::new(a.clone()),
                Self::String(a) => Arc::new(a.clone()),
            }
        };
        let arrays: Vec<ArrayRef> = columns.iter().map(column).collect();
        match arrays.as_slice() {
            [] => Self::new(kind, &Self::build_array(kind, [])?),
            // Arrow's `concat` would copy a single column.
            [single] => Self::new(kind, single),
            several => {
                let several: Vec<&dyn Array> = several.iter().map(AsRef::as_ref).collect();
                Self::new(kind, &arrow::compute::concat(&several).or_internal()?)
            }
        }
    }

    /// In an ascending column: the rows with ids from `min` to `max`, both included. Empty if `min` is above `max`.
    pub(crate) fn rows_between(&self, min: &DocumentId, max: &DocumentId) -> Range<usize> {
        let start = self.search(min).unwrap_or_else(|insertion| insertion);
        let end = self.search(max).map_or_else(|insertion| insertion, |row| row + 1);
        // With `min` above `max` the end lies before the start.
        start..end.max(start)
    }

    /// Calls `found` with the rows of every id that is in both columns, which ascend and have one kind. Takes time in the
    /// length of the shorter column times the logarithm of the gaps in the longer.
    pub(crate) fn intersect(&self, other: &Self, found: impl FnMut(usize, usize)) {
        match (self, other) {
            (Self::U64(a), Self::U64(b)) => {
                intersect_sorted(a.len(), b.len(), |x, y| a.value(x).cmp(&b.value(y)), found);
            }
            (Self::Uuid(a), Self::Uuid(b)) => {
                intersect_sorted(a.len(), b.len(), |x, y| a.value(x).cmp(b.value(y)), found);
            }
            (Self::String(a), Self::String(b)) => {
                intersect_sorted(a.len(), b.len(), |x, y| a.value(x).cmp(b.value(y)), found);
            }
            // A namespace has one kind of id, checked by every constructor against its schema.
            _ => debug_assert!(false, "columns of different kinds of id"),
        }
    }

    /// Builds the array of ids that are all of `kind`.
    pub(crate) fn build_array<'a>(
        kind: IdKind,
        ids: impl IntoIterator<Item = &'a DocumentId>,
    ) -> Result<ArrayRef> {
        let ids = ids.into_iter();
        let wrong_kind = |id: &DocumentId| Error::invalid(format!("an id is not {kind}. id=`{id}`"));
        Ok(match kind {
            IdKind::U64 => {
                let values =
                    ids.map(|id| if let DocumentId::U64(x) = id { Ok(*x) } else { Err(wrong_kind(id)) });
                Arc::new(UInt64Array::from(values.collect::<Result<Vec<_>>>()?))
            }
            // Arrow's `try_from_iter` refuses an empty list, from which it cannot tell the width.
            IdKind::Uuid => {
                let mut builder = FixedSizeBinaryBuilder::new(16);
                for id in ids {
                    let DocumentId::Uuid(x) = id else { return Err(wrong_kind(id)) };
                    builder.append_value(x.as_bytes()).or_internal()?;
                }
                Arc::new(builder.finish())
            }
            IdKind::String => {
                let mut builder = StringBuilder::new();
                for id in ids {
                    let DocumentId::String(x) = id else { return Err(wrong_kind(id)) };
                    builder.append_value(x);
                }
                Arc::new(builder.finish())
            }
        })
    }
}

/// Intersects two ascending columns of these lengths by galloping: whichever column is behind skips ahead to the first
/// id that is not below the other's. A plain merge would read all of a large segment for a small batch of ids, and a
/// binary search per id would restart each time.
fn intersect_sorted(
    left: usize,
    right: usize,
    compare: impl Fn(usize, usize) -> Ordering,
    mut found: impl FnMut(usize, usize),
) {
    let (mut x, mut y) = (0, 0);
    while x < left && y < right {
        match compare(x, y) {
            Ordering::Less => x = gallop_to(x, left, |x| compare(x, y).is_lt()),
            Ordering::Greater => y = gallop_to(y, right, |y| compare(x, y).is_gt()),
            Ordering::Equal => {
                found(x, y);
                (x, y) = (x + 1, y + 1);
            }
        }
    }
}

/// The first row behind `from` for which `is_before` is false, or `end`. `is_before` must hold at `from`.
fn gallop_to(from: usize, end: usize, is_before: impl Fn(usize) -> bool) -> usize {
    // Exponential search: double the step until it passes the target…
    let (mut low, mut step) = (from, 1);
    while low + step < end && is_before(low + step) {
        low += step;
        step *= 2;
    }
    // … then binary search inside the last step. `low` itself is known to be before.
    let mut high = end.min(low + step);
    low += 1;
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_two_columns_share_is_their_intersection(
            one in proptest::collection::btree_set(0u64..400, 0..120),
            other in proptest::collection::btree_set(0u64..400, 0..40),
        ) {
            #[expect(clippy::type_complexity, reason = "used once")]
            let kinds: [(IdKind, fn(u64) -> DocumentId); 3] = [
                (IdKind::U64, DocumentId::U64),
                (IdKind::Uuid, |n| Uuid::from_u128(u128::from(n) << 90).into()),
                (IdKind::String, |n| format!("{n:03}").into()),
            ];
            for (kind, id) in kinds {
                let column = |some: &BTreeSet<u64>| {
                    let ids: Vec<_> = some.iter().copied().map(id).collect();
                    Ids::new(kind, &Ids::build_array(kind, &ids).unwrap()).unwrap()
                };
                let (a, b) = (column(&one), column(&other));
                let mut found = Vec::new();
                a.intersect(&b, |x, y| found.push((a.get(x), b.get(y))));
                let expected: Vec<_> = one.intersection(&other).map(|n| (id(*n), id(*n))).collect();
                prop_assert_eq!(found, expected);
                let within: Vec<_> = one.iter().filter(|n| (100..=200).contains(*n)).map(|n| id(*n)).collect();
                prop_assert_eq!(a.slice(a.rows_between(&id(100), &id(200))).to_vec(), within);
                prop_assert!(a.rows_between(&id(200), &id(100)).is_empty());
            }
        }
    }

    #[test]
    fn ids_of_every_kind_go_in_and_out_and_are_found() {
        let uuids: Vec<DocumentId> = (1..9u128).map(|n| Uuid::from_u128(n << 100).into()).collect();
        let kinds: [(IdKind, Vec<DocumentId>); 3] = [
            (IdKind::U64, [1u64, 5, 9].map(Into::into).to_vec()),
            (IdKind::Uuid, uuids),
            (IdKind::String, ["a", "b", "é"].map(Into::into).to_vec()),
        ];
        for (kind, ids) in kinds {
            let array = Ids::build_array(kind, &ids).unwrap();
            let read = Ids::new(kind, &array).unwrap();
            assert_eq!((0..read.len()).map(|row| read.get(row)).collect::<Vec<_>>(), ids);
            for (row, id) in ids.iter().enumerate() {
                assert_eq!(read.search(id), Ok(row));
            }
        }
        assert!(Ids::build_array(IdKind::U64, &[DocumentId::from("x")]).is_err());
    }
}
