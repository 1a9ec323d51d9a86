//! Keys that are looked for, in order.

use arrow::array::ArrayRef;

use super::key::each_key;
use crate::error::Result;

/// Different keys, ascending. They may be many, so they lie in one piece.
#[derive(Debug)]
pub(crate) struct KeyList {
    bytes: Vec<u8>,
    /// Where each ends.
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
        let key = |span: &std::ops::Range<usize>| bytes.get(span.clone()).unwrap_or_default();
        let words: Option<Vec<u64>> =
            spans.iter().map(|span| key(span).try_into().ok().map(u64::from_be_bytes)).collect();
        if let Some(mut words) = words {
            // Numbers are brought in order several times as fast as bytes.
            words.sort_unstable();
            words.dedup();
            let ends = (1..=words.len()).map(|count| count * 8).collect();
            return Ok(Self { bytes: words.into_iter().flat_map(u64::to_be_bytes).collect(), ends });
        }
        spans.sort_unstable_by(|a, b| key(a).cmp(key(b)));
        spans.dedup_by(|a, b| key(a) == key(b));
        let mut sorted =
            Self { bytes: Vec::with_capacity(bytes.len()), ends: Vec::with_capacity(spans.len()) };
        for span in &spans {
            sorted.bytes.extend(key(span));
            sorted.ends.push(sorted.bytes.len());
        }
        Ok(sorted)
    }

    /// This key alone.
    pub(crate) fn single(key: &[u8]) -> Self {
        Self { bytes: key.to_vec(), ends: vec![key.len()] }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The key at a place.
    pub(crate) fn get(&self, at: usize) -> Option<&[u8]> {
        let start = at.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.bytes.get(start..*self.ends.get(at)?)
    }

    /// The first key, not before that at `from`, which is not less than `key`.
    pub(crate) fn seek(&self, from: usize, key: &[u8]) -> usize {
        seek(from, self.len(), |at| self.get(at).is_some_and(|wanted| wanted < key))
    }
}

/// The first place of `from..to` where `before` is no longer true, by steps that double: fast if it is near.
pub(super) fn seek(from: usize, to: usize, before: impl Fn(usize) -> bool) -> usize {
    let mut step = 1;
    while from + step <= to && before(from + step - 1) {
        step *= 2;
    }
    // All that was tried before the last step is before it.
    let (mut low, mut high) = (from + step / 2, (from + step - 1).min(to).max(from + step / 2));
    while low < high {
        let middle = low.midpoint(high);
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    #[test]
    fn a_place_is_found_from_anywhere() {
        for length in 0..40 {
            for from in 0..=length {
                for wanted in from..=length {
                    assert_eq!(seek(from, length, |at| at < wanted), wanted, "{from} {length}");
                }
            }
        }
    }

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
        assert_eq!((keys.seek(0, b"a"), keys.seek(1, b"b"), keys.seek(3, b"")), (1, 2, 3));
    }
}
