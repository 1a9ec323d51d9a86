//! Offsets in a text, in the unit that the caller counts in.

use super::Offsets;
use crate::error::{Error, Result};

/// Converts offsets in bytes, in one pass over the text.
///
/// **Invariant:** offsets are asked for in ascending order. Counting from the start for each of them would take
/// quadratic time for a long text with many matches.
pub(super) struct OffsetCounter<'a> {
    text: &'a str,
    unit: Offsets,
    bytes: usize,
    counted: usize,
}

impl<'a> OffsetCounter<'a> {
    pub(super) fn new(text: &'a str, unit: Offsets) -> Self {
        Self { text, unit, bytes: 0, counted: 0 }
    }

    /// The offset `bytes` in the unit of this counter.
    ///
    /// # Errors
    /// Internal, if it lies before the last one, beyond the text, or within a character.
    pub(super) fn advance_to(&mut self, bytes: usize) -> Result<usize> {
        let passed = self.text.get(self.bytes..bytes);
        let passed = passed.ok_or_else(|| Error::internal("offsets of a text are not in order"))?;
        self.counted += match self.unit {
            Offsets::Bytes => passed.len(),
            Offsets::Characters => passed.chars().count(),
            Offsets::Utf16 => passed.chars().map(char::len_utf16).sum(),
        };
        self.bytes = bytes;
        Ok(self.counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_counted_in_one_pass_and_never_backwards() {
        let text = "é𝄞x";
        let units = [
            (Offsets::Bytes, [0, 2, 6, 7]),
            (Offsets::Characters, [0, 1, 2, 3]),
            (Offsets::Utf16, [0, 1, 3, 4]),
        ];
        for (unit, expected) in units {
            let mut counter = OffsetCounter::new(text, unit);
            assert_eq!([0, 2, 6, 7].map(|bytes| counter.advance_to(bytes).unwrap()), expected);
            assert!(counter.advance_to(2).is_err() && counter.advance_to(8).is_err());
        }
        assert!(OffsetCounter::new(text, Offsets::Bytes).advance_to(1).is_err(), "within a character");
    }
}
