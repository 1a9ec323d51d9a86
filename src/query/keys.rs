//! The values of a batch column as keys: bytes that compare as the values do.

use std::ops::Range;

use arrow::array::{Array, ArrayRef};

use crate::error::{Error, Result};
use crate::index::attributes::each_key;

/// The keys of a column, row by row: none for a null, one for a value, one for each element of an array.
///
/// One buffer for the whole column: a batch has up to a million rows, and a `Vec` for each of them would cost more
/// than the keys.
#[derive(Debug, Default)]
pub(super) struct ColumnKeys {
    bytes: Vec<u8>,
    /// The end of each key in `bytes`.
    ends: Vec<usize>,
    /// For each row the number of its first key, and at the end the number of keys.
    starts: Vec<usize>,
}

impl ColumnKeys {
    pub(super) fn new(array: &ArrayRef) -> Result<Self> {
        let mut keys = Self::default();
        each_key(array, |row, key| {
            let number = keys.ends.len();
            // A row that has keys already keeps its start; rows skipped before it, which are null, start where it does.
            keys.starts.resize(keys.starts.len().max(row + 1), number);
            keys.bytes.extend(key);
            keys.ends.push(keys.bytes.len());
        })?;
        let number = keys.ends.len();
        keys.starts.resize(array.len() + 1, number);
        Ok(keys)
    }

    /// The keys of a row, in the order of its elements.
    ///
    /// # Errors
    /// Internal, if the column has no such row.
    pub(super) fn row_keys(&self, row: usize) -> Result<impl Iterator<Item = &[u8]>> {
        let [first, end] =
            self.starts.get(row..row + 2).and_then(|bounds| bounds.first_chunk()).ok_or_else(|| {
                Error::internal(format!(
                    "no such row in a column of keys. row=`{row}` rows=`{}`",
                    self.starts.len()
                ))
            })?;
        Ok((*first..*end).map(|number| self.key(number)))
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "`starts` holds numbers of keys, and `ends` offsets that only grow"
    )]
    fn key(&self, number: usize) -> &[u8] {
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        let range: Range<usize> = start..self.ends[number];
        &self.bytes[range]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, ListBuilder, StringBuilder};

    use super::*;

    #[test]
    fn nulls_and_empty_arrays_have_no_key_and_elements_have_one_each() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        for elements in [Some(vec!["b", "a"]), None, Some(vec![]), Some(vec!["c"]), None] {
            for element in elements.iter().flatten() {
                lists.values().append_value(element);
            }
            lists.append(elements.is_some());
        }
        let keys = ColumnKeys::new(&(Arc::new(lists.finish()) as ArrayRef)).unwrap();
        let row = |row| keys.row_keys(row).unwrap().map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(row(0), [b"b".to_vec(), b"a".to_vec()]);
        assert_eq!(row(3), [b"c".to_vec()]);
        assert!([1, 2, 4].into_iter().all(|empty| row(empty).is_empty()));
        assert!(keys.row_keys(5).is_err(), "past the end is not the same as null");
        let keys = ColumnKeys::new(&(Arc::new(Int64Array::from(vec![None, Some(7)])) as ArrayRef)).unwrap();
        assert_eq!((keys.row_keys(0).unwrap().count(), keys.row_keys(1).unwrap().count()), (0, 1));
    }
}
