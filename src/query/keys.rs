//! The values of a column of a batch as keys: bytes that compare as the values do.

use arrow::array::{Array, ArrayRef};

use crate::error::Result;
use crate::index::attributes::each_key;

/// Of each row of a column no key, one, or one for each element.
#[derive(Debug, Default)]
pub(super) struct Keys {
    bytes: Vec<u8>,
    /// The end of each key.
    ends: Vec<usize>,
    /// Of each row the number of its first key, and at last the number of all.
    starts: Vec<usize>,
}

impl Keys {
    pub(super) fn new(array: &ArrayRef) -> Result<Self> {
        let mut keys = Self::default();
        each_key(array, |row, key| {
            let number = keys.ends.len();
            // A row that has keys already keeps its start; those that have none get that of the next.
            keys.starts.resize(keys.starts.len().max(row + 1), number);
            keys.bytes.extend(key);
            keys.ends.push(keys.bytes.len());
        })?;
        let number = keys.ends.len();
        keys.starts.resize(array.len() + 1, number);
        Ok(keys)
    }

    pub(super) fn of(&self, row: usize) -> impl Iterator<Item = &[u8]> {
        let at = |row: usize| self.starts.get(row).copied().unwrap_or(self.ends.len());
        (at(row)..at(row + 1)).map(|number| {
            let start = number.checked_sub(1).and_then(|before| self.ends.get(before).copied());
            let end = self.ends.get(number).copied().unwrap_or_default();
            self.bytes.get(start.unwrap_or_default()..end).unwrap_or_default()
        })
    }
}
