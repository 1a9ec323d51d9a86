//! Sorted lists of keys to look for.

use std::ops::Range;

use arrow::array::ArrayRef;

use super::key::each_key;
use super::search::seek_forward;
use crate::error::Result;

/// Distinct keys in ascending order.
///
/// A filter may list hundreds of thousands of values, so all keys share one buffer: a `Vec` for each would cost an
/// allocation a key.
#[derive(Debug)]
pub(crate) struct KeyList {
    bytes: Vec<u8>,
    /// The end of each key in `bytes`.
    ends: Vec<usize>,
}

impl KeyList {
    /// The keys of the values of an array. Nulls have none.
    pub(crate) fn new(values: &ArrayRef) -> Result<Self> {
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        each_key(values, |_, key| {
            let start = bytes.len();
            bytes.extend(key);
            spans.push(start..bytes.len());
        })?;
        Ok(sort_words(&bytes, &spans).unwrap_or_else(|| sort_keys(&bytes, spans)))
    }

    /// A list of one key.
    pub(crate) fn single(key: &[u8]) -> Self {
        Self { bytes: key.to_vec(), ends: vec![key.len()] }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The key at an index; `None` past the end.
    pub(crate) fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(previous) => *self.ends.get(previous)?,
            None => 0,
        };
        self.bytes.get(start..end)
    }

    /// The index of the first key from `from` on that is not less than `key`.
    pub(crate) fn seek_key(&self, from: usize, key: &[u8]) -> usize {
        seek_forward(from, self.len(), |index| self.get(index).is_some_and(|listed| listed < key))
    }
}

/// The list of keys of 8 bytes each; `None` if one has another length.
#[expect(clippy::indexing_slicing, reason = "each span was made with the bytes it names")]
fn sort_words(bytes: &[u8], spans: &[Range<usize>]) -> Option<KeyList> {
    let word = |span: &Range<usize>| bytes[span.clone()].try_into().ok().map(u64::from_be_bytes);
    // Numbers are the common case, and are sorted several times as fast as slices: as big-endian words they have
    // the order of their bytes.
    let mut words = spans.iter().map(word).collect::<Option<Vec<u64>>>()?;
    words.sort_unstable();
    words.dedup();
    let ends = (1..=words.len()).map(|count| count * size_of::<u64>()).collect();
    Some(KeyList { bytes: words.into_iter().flat_map(u64::to_be_bytes).collect(), ends })
}

/// The list of keys of any lengths.
#[expect(clippy::indexing_slicing, reason = "each span was made with the bytes it names")]
fn sort_keys(bytes: &[u8], mut spans: Vec<Range<usize>>) -> KeyList {
    let key = |span: &Range<usize>| &bytes[span.clone()];
    spans.sort_unstable_by(|a, b| key(a).cmp(key(b)));
    spans.dedup_by(|a, b| key(a) == key(b));
    let mut sorted =
        KeyList { bytes: Vec::with_capacity(bytes.len()), ends: Vec::with_capacity(spans.len()) };
    for span in &spans {
        sorted.bytes.extend(key(span));
        sorted.ends.push(sorted.bytes.len());
    }
    sorted
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    #[test]
    fn keys_are_in_order_and_each_there_once() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(3), None, Some(-1), Some(3)]));
        let keys = KeyList::new(&numbers).unwrap();
        assert_eq!(keys.len(), 2);
        assert!(keys.get(0) < keys.get(1) && keys.get(2).is_none());
        let strings: ArrayRef = Arc::new(StringArray::from(vec!["b", "", "abcdefgh", "b"]));
        let keys = KeyList::new(&strings).unwrap();
        let found: Vec<&[u8]> = (0..keys.len()).filter_map(|at| keys.get(at)).collect();
        assert_eq!(found, [&b""[..], b"abcdefgh", b"b"]);
        assert_eq!((keys.seek_key(0, b"a"), keys.seek_key(1, b"b"), keys.seek_key(3, b"")), (1, 2, 3));
    }
}
