//! Reading a block: keys in ascending order, each with its rows.
//!
//! ```text
//! keys u32
//! where each key ends u16 × keys, if keys of the column differ in length
//! bytes of the keys
//! rows of each key u8 × keys: 1 to 255, or 0 if they are a bitmap
//! row u32 × their sum, those of a key ascending
//! bitmap × keys that have one: length u32 | roaring bitmap in the portable format
//! ```
//! Fields of one kind are stored together: a key is found by binary search, and the rows of neighbouring keys are one
//! list. The checksum of a block is in the head. The order of keys is not checked again: with a right checksum and a
//! wrong order an answer would be wrong, and nothing worse.

use std::ops::Range;

use roaring::RoaringBitmap;

use super::portable::decode_bitmap;
use super::row_gatherer::RowGatherer;
use super::search::seek_forward;
use crate::codec::{CodecError, Reader, usize_of};

const WHAT: &str = "attribute block";

/// A block: its keys and their rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyBlock<'a> {
    pub(crate) keys: BlockKeys<'a>,
    pub(crate) postings: KeyPostings<'a>,
}

impl<'a> KeyBlock<'a> {
    /// Reads a block whose keys have `width` bytes each, or lengths of their own. It has at least one key.
    pub(crate) fn open(width: Option<usize>, bytes: &'a [u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(WHAT, bytes);
        let count = usize_of(reader.u32()?);
        if count == 0 {
            return Err(CodecError::malformed(WHAT, "a block without keys"));
        }
        // Products saturate: no input is as long, so `take` refuses them.
        let keys = if let Some(width) = width {
            BlockKeys::Fixed { width, count, bytes: reader.take(count.saturating_mul(width))? }
        } else {
            let ends = reader.take(count.saturating_mul(2))?.as_chunks().0;
            // From here on every key is a range within `bytes`, so that keys are read without checks.
            if !ends.is_sorted_by_key(|end| u16::from_le_bytes(*end)) {
                return Err(CodecError::malformed(WHAT, "a key that ends before it begins"));
            }
            let end = ends.last().ok_or(CodecError::Truncated { what: WHAT })?;
            BlockKeys::Varying { ends, bytes: reader.take(u16::from_le_bytes(*end).into())? }
        };
        let counts = reader.take(count)?;
        let rows = reader.take(count_listed(counts).saturating_mul(4))?.as_chunks().0;
        Ok(Self { keys, postings: KeyPostings { counts, rows, bitmaps: reader.rest() } })
    }
}

/// The rows that are listed of keys with these counts.
fn count_listed(counts: &[u8]) -> usize {
    counts.iter().map(|count| usize::from(*count)).sum()
}

/// The keys of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BlockKeys<'a> {
    Fixed {
        width: usize,
        count: usize,
        bytes: &'a [u8],
    },
    /// `ends` has the end of each key in `bytes`.
    Varying {
        ends: &'a [[u8; 2]],
        bytes: &'a [u8],
    },
}

impl<'a> BlockKeys<'a> {
    pub(crate) fn len(self) -> usize {
        match self {
            BlockKeys::Fixed { count, .. } => count,
            BlockKeys::Varying { ends, .. } => ends.len(),
        }
    }

    /// Where the bytes of a key are among those of all.
    #[expect(clippy::indexing_slicing, reason = "a search asks for this of every key it visits")]
    pub(crate) fn byte_range(self, index: usize) -> Range<usize> {
        debug_assert!(index < self.len(), "a key of the block");
        match self {
            BlockKeys::Fixed { width, .. } => index * width..(index + 1) * width,
            BlockKeys::Varying { ends, .. } => {
                let end = |index: usize| usize::from(u16::from_le_bytes(ends[index]));
                let start = if index == 0 { 0 } else { end(index - 1) };
                start..end(index)
            }
        }
    }

    /// The bytes of all keys.
    pub(crate) fn all_bytes(self) -> &'a [u8] {
        let (BlockKeys::Fixed { bytes, .. } | BlockKeys::Varying { bytes, .. }) = self;
        bytes
    }

    /// A key, by an index below [`len`](Self::len).
    #[expect(clippy::indexing_slicing, reason = "`KeyBlock::open` checks that every key is within the bytes")]
    pub(crate) fn key(self, index: usize) -> &'a [u8] {
        &self.all_bytes()[self.byte_range(index)]
    }

    /// The first index from `from` on for which `is_before` no longer holds, by binary search.
    pub(crate) fn partition_point(self, mut from: usize, is_before: impl Fn(&[u8]) -> bool) -> usize {
        let mut to = self.len();
        while from < to {
            let middle = from.midpoint(to);
            if is_before(self.key(middle)) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from
    }

    /// As [`partition_point`](Self::partition_point), fast if the answer is near `from`.
    pub(crate) fn seek_key(self, from: usize, is_before: impl Fn(&[u8]) -> bool) -> usize {
        seek_forward(from, self.len(), |index| is_before(self.key(index)))
    }
}

/// The rows of the keys of a block, as a cursor: it only moves forward, because where the rows of a key begin is the
/// sum of the counts before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyPostings<'a> {
    counts: &'a [u8],
    rows: &'a [[u8; 4]],
    bitmaps: &'a [u8],
}

/// The rows of a key, not yet decoded.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RowPosting<'a> {
    Listed(&'a [[u8; 4]]),
    Bitmap(&'a [u8]),
}

/// What [`KeyPostings`] passes with some keys.
struct PassedKeys<'a> {
    listed: &'a [[u8; 4]],
    /// Keys whose rows are a bitmap.
    bitmaps: usize,
}

impl<'a> KeyPostings<'a> {
    /// Moves behind the next `keys` keys, but for their bitmaps.
    fn pass_keys(&mut self, keys: usize) -> Result<PassedKeys<'a>, CodecError> {
        let short = || CodecError::malformed(WHAT, "fewer rows than its keys have");
        let (counts, later_counts) = self.counts.split_at_checked(keys).ok_or_else(short)?;
        let (listed, later_rows) = self.rows.split_at_checked(count_listed(counts)).ok_or_else(short)?;
        (self.counts, self.rows) = (later_counts, later_rows);
        // Most blocks have no bitmap at all: then counts need not be looked at a second time.
        let bitmaps = if self.bitmaps.is_empty() {
            0
        } else {
            counts.iter().map(|count| usize::from(*count == 0)).sum()
        };
        Ok(PassedKeys { listed, bitmaps })
    }

    fn next_bitmap(&mut self) -> Result<&'a [u8], CodecError> {
        let mut reader = Reader::new(WHAT, self.bitmaps);
        let length = usize_of(reader.u32()?);
        let bitmap = reader.take(length)?;
        self.bitmaps = reader.rest();
        Ok(bitmap)
    }

    /// Skips the rows of the next keys.
    pub(crate) fn skip_keys(&mut self, keys: usize) -> Result<(), CodecError> {
        let passed = self.pass_keys(keys)?;
        (0..passed.bitmaps).try_for_each(|_| self.next_bitmap().map(drop))
    }

    /// Adds the rows of the next keys to `gatherer`.
    pub(crate) fn gather_rows(
        &mut self,
        keys: usize,
        gatherer: &mut RowGatherer<'a>,
    ) -> Result<(), CodecError> {
        let passed = self.pass_keys(keys)?;
        gatherer.push_list(passed.listed)?;
        for _ in 0..passed.bitmaps {
            gatherer.push_bitmap(self.next_bitmap()?);
        }
        Ok(())
    }

    /// The rows of the next key.
    pub(crate) fn next_posting(&mut self) -> Result<RowPosting<'a>, CodecError> {
        if self.counts.first() == Some(&0) {
            self.pass_keys(1)?;
            return self.next_bitmap().map(RowPosting::Bitmap);
        }
        Ok(RowPosting::Listed(self.pass_keys(1)?.listed))
    }
}

impl RowPosting<'_> {
    /// The rows that are in `filter` too. `rows` is the number of rows of the segment.
    pub(crate) fn intersect(self, rows: u32, filter: &RoaringBitmap) -> Result<Vec<u32>, CodecError> {
        match self {
            RowPosting::Bitmap(bytes) => Ok((decode_bitmap(bytes, rows)? & filter).into_iter().collect()),
            RowPosting::Listed(list) => {
                let list = list.iter().map(|bytes| u32::from_le_bytes(*bytes));
                Ok(list.filter(|row| filter.contains(*row)).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::block_writer::{BlockWriter, EncodedRows};
    use super::*;

    const ROWS: u32 = 100_000;

    type KeyWithRows = (Vec<u8>, Vec<u32>);

    /// Keys with lists of rows and bitmaps.
    fn entries(fixed: bool) -> Vec<KeyWithRows> {
        let numbers = [0_u64, 7, 300, 1 << 40, u64::MAX - 1, u64::MAX];
        let entry = |(at, number): (usize, &u64)| {
            let count = [1, 3, 40, 120, 300, 16][at];
            let key = if fixed { number.to_be_bytes().to_vec() } else { vec![u8::try_from(at).unwrap(); at] };
            (key, (0..count).map(|row| row * 311 + u32::try_from(number % 89).unwrap()).collect())
        };
        numbers.iter().enumerate().map(entry).collect()
    }

    fn block(entries: &[KeyWithRows], fixed: bool) -> Vec<u8> {
        let mut writer = BlockWriter::new(fixed);
        for (key, rows) in entries {
            writer.push_key(key, &EncodedRows::new(rows).unwrap()).unwrap();
        }
        let length = writer.len();
        let block = writer.finish();
        assert!(length == block.len() && writer.len() == 0);
        block
    }

    fn read(bytes: &[u8], fixed: bool) -> Result<Vec<KeyWithRows>, CodecError> {
        let KeyBlock { keys, mut postings } = KeyBlock::open(fixed.then_some(8), bytes)?;
        let every = (0..ROWS).collect();
        (0..keys.len())
            .map(|at| Ok((keys.key(at).to_vec(), postings.next_posting()?.intersect(ROWS, &every)?)))
            .collect()
    }

    #[test]
    fn what_is_written_is_read_whichever_keys_are_skipped() {
        for fixed in [true, false] {
            let entries = entries(fixed);
            let bytes = block(&entries, fixed);
            assert_eq!(read(&bytes, fixed).unwrap(), entries);
            for from in 0..=entries.len() {
                for to in from..=entries.len() {
                    let KeyBlock { mut postings, .. } = KeyBlock::open(fixed.then_some(8), &bytes).unwrap();
                    let mut gathered = RowGatherer::new(ROWS);
                    postings.skip_keys(from).unwrap();
                    postings.gather_rows(to - from, &mut gathered).unwrap();
                    let expected: RoaringBitmap =
                        entries[from..to].iter().flat_map(|(_, rows)| rows.iter().copied()).collect();
                    assert_eq!(gathered.finish().unwrap(), expected);
                }
            }
        }
    }

    #[test]
    fn keys_are_found() {
        for fixed in [true, false] {
            let entries = entries(fixed);
            let bytes = block(&entries, fixed);
            let keys = KeyBlock::open(fixed.then_some(8), &bytes).unwrap().keys;
            for from in 0..=entries.len() {
                for wanted in entries.iter().map(|(key, _)| key.as_slice()).chain([&[0_u8, 9][..], &[255; 9]])
                {
                    let expected = entries.partition_point(|(key, _)| **key < *wanted).max(from);
                    assert_eq!(keys.partition_point(from, |key| key < wanted), expected);
                    assert_eq!(keys.seek_key(from, |key| key < wanted), expected, "{from} {wanted:?}");
                }
            }
        }
    }

    #[test]
    fn damage_gives_errors_and_no_panic() {
        for fixed in [true, false] {
            let sound = block(&entries(fixed), fixed);
            let mut refused = 0;
            let mut check = |bytes: &[u8]| {
                refused += usize::from(read(bytes, fixed).is_err());
                let Ok(KeyBlock { keys, mut postings }) = KeyBlock::open(fixed.then_some(8), bytes) else {
                    return;
                };
                let mut gathered = RowGatherer::new(ROWS);
                if postings.gather_rows(keys.len(), &mut gathered).is_ok()
                    && let Ok(rows) = gathered.finish()
                {
                    assert!(rows.max() < Some(ROWS));
                }
            };
            for end in 0..sound.len() {
                check(&sound[..end]);
            }
            for at in 0..sound.len() {
                for flip in [1, 0x80] {
                    let mut damaged = sound.clone();
                    damaged[at] ^= flip;
                    check(&damaged);
                }
            }
            assert!(refused > sound.len() / 2, "{refused}");
        }
    }
}
