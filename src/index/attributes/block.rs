//! Blocks: keys in ascending order, each with its rows.
//!
//! ```text
//! keys u32
//! where each key ends u16 × keys, if keys of the column differ in length
//! bytes of the keys
//! rows of each key u8 × keys: 1 to 255, or 0 if they are a bitmap
//! row u32 × their sum, those of a key ascending
//! bitmap × keys that have one: length u32 | roaring bitmap in the portable format
//! ```
//! What is alike lies together: a key is found by halving, and the rows of neighbours are one list. The sum of a
//! block stands in the head. That keys ascend is not looked at again: if they did not, an answer would be wrong,
//! and nothing worse.

use roaring::RoaringBitmap;

use super::gather::Gathered;
use super::keys::seek;
use crate::codec::{CodecError, Reader, rows_bitmap};

const WHAT: &str = "attribute block";

/// Of so few rows a list is the smaller for sure.
const LISTED: usize = 8;

/// Writes a block.
#[derive(Debug)]
pub(super) struct BlockWriter {
    fixed: bool,
    keys: u32,
    ends: Vec<u8>,
    bytes: Vec<u8>,
    counts: Vec<u8>,
    rows: Vec<u8>,
    bitmaps: Vec<u8>,
}

impl BlockWriter {
    /// Of a column all of whose keys are as long, or not.
    pub(super) fn new(fixed: bool) -> Self {
        let empty = Vec::new;
        Self {
            fixed,
            keys: 0,
            ends: empty(),
            bytes: empty(),
            counts: empty(),
            rows: empty(),
            bitmaps: empty(),
        }
    }

    /// Appends a key with its rows.
    pub(super) fn push(&mut self, key: &[u8], posting: Posting<'_>) {
        self.keys += 1;
        self.bytes.extend(key);
        if !self.fixed {
            self.ends.extend(u16::try_from(self.bytes.len()).unwrap_or(u16::MAX).to_le_bytes());
        }
        match posting {
            Posting::Listed(count, rows) => {
                self.counts.push(count);
                self.rows.extend(rows.iter().flat_map(|row| row.to_le_bytes()));
            }
            Posting::Bitmap(bitmap) => {
                self.counts.push(0);
                self.bitmaps.extend(u32::try_from(bitmap.len()).unwrap_or(u32::MAX).to_le_bytes());
                self.bitmaps.extend(bitmap);
            }
        }
    }

    /// Bytes that a key adds.
    pub(super) fn size(&self, key: &[u8], posting: &Posting<'_>) -> usize {
        let rows = match posting {
            Posting::Listed(_, rows) => rows.len() * 4,
            Posting::Bitmap(bitmap) => 4 + bitmap.len(),
        };
        key.len() + if self.fixed { 1 } else { 3 } + rows
    }

    /// Bytes so far; 0 without a key.
    pub(super) fn len(&self) -> usize {
        let parts = [&self.ends, &self.bytes, &self.counts, &self.rows, &self.bitmaps];
        if self.keys == 0 { 0 } else { 4 + parts.map(Vec::len).iter().sum::<usize>() }
    }

    /// Keys so far.
    pub(super) fn keys(&self) -> u32 {
        self.keys
    }

    /// The block, after which another one begins.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let mut block = std::mem::take(&mut self.keys).to_le_bytes().to_vec();
        for part in [&mut self.ends, &mut self.bytes, &mut self.counts, &mut self.rows, &mut self.bitmaps] {
            block.append(part);
        }
        block
    }
}

/// The rows of a key as they are written.
#[derive(Debug)]
pub(super) enum Posting<'a> {
    Listed(u8, &'a [u32]),
    Bitmap(Vec<u8>),
}

impl<'a> Posting<'a> {
    /// Of rows that ascend and are at least one: a list or a bitmap, whichever is smaller.
    pub(super) fn of(rows: &'a [u32]) -> Self {
        let bitmap = || bitmap_bytes(rows.iter().copied().collect());
        match u8::try_from(rows.len()) {
            Ok(count) if rows.len() <= LISTED => Self::Listed(count, rows),
            Ok(count) => {
                let bitmap = bitmap();
                if bitmap.len() < rows.len() * 4 { Self::Bitmap(bitmap) } else { Self::Listed(count, rows) }
            }
            Err(_) => Self::Bitmap(bitmap()),
        }
    }
}

pub(super) fn bitmap_bytes(mut rows: RoaringBitmap) -> Vec<u8> {
    rows.optimize();
    let mut bytes = Vec::with_capacity(rows.serialized_size());
    // Writing to memory does not fail; if it did, the reader would say that the bitmap ends early.
    let _ = rows.serialize_into(&mut bytes);
    bytes
}

/// A bitmap of rows of a segment of `rows` rows.
pub(super) fn bitmap(bytes: &[u8], rows: u32) -> Result<RoaringBitmap, CodecError> {
    rows_bitmap(WHAT, bytes, rows)
}

/// A block as it is read: its keys and their rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block<'a> {
    pub(super) keys: Keys<'a>,
    pub(super) postings: Postings<'a>,
}

impl<'a> Block<'a> {
    /// Reads a block whose keys have `width` bytes, or differ.
    pub(super) fn open(width: Option<usize>, bytes: &'a [u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(WHAT, bytes);
        let count = reader.u32()? as usize;
        let keys = if let Some(width) = width {
            Keys::Fixed(width, reader.take(count.saturating_mul(width))?)
        } else {
            let ends = reader.take(count.saturating_mul(2))?.as_chunks().0;
            let end = ends.last().map_or(0, |end| u16::from_le_bytes(*end));
            if !ends.is_sorted_by_key(|end| u16::from_le_bytes(*end)) {
                return Err(CodecError::malformed(WHAT, "a key that ends before it begins"));
            }
            Keys::Varying(ends, reader.take(end.into())?)
        };
        let counts = reader.take(count)?;
        let listed = sum(counts).saturating_mul(4);
        let rows = reader.take(listed)?.as_chunks().0;
        Ok(Self { keys, postings: Postings { counts, rows, bitmaps: reader.rest() } })
    }
}

fn sum(counts: &[u8]) -> usize {
    counts.iter().map(|count| usize::from(*count)).sum()
}

/// The keys of a block.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keys<'a> {
    Fixed(usize, &'a [u8]),
    /// Where each ends in the bytes of all.
    Varying(&'a [[u8; 2]], &'a [u8]),
}

impl<'a> Keys<'a> {
    pub(super) fn len(self) -> usize {
        match self {
            Keys::Fixed(width, bytes) => bytes.len() / width.max(1),
            Keys::Varying(ends, _) => ends.len(),
        }
    }

    /// Where the bytes of a key lie among those of all.
    pub(super) fn span(self, at: usize) -> std::ops::Range<usize> {
        match self {
            Keys::Fixed(width, _) => at * width..(at + 1) * width,
            Keys::Varying(ends, _) => {
                let end = |at: usize| ends.get(at).map_or(0, |end| usize::from(u16::from_le_bytes(*end)));
                at.checked_sub(1).map_or(0, end)..end(at)
            }
        }
    }

    /// The bytes of all keys.
    pub(super) fn bytes(self) -> &'a [u8] {
        let (Keys::Fixed(_, bytes) | Keys::Varying(_, bytes)) = self;
        bytes
    }

    /// The key at a place; empty past the end.
    pub(super) fn get(self, at: usize) -> &'a [u8] {
        self.bytes().get(self.span(at)).unwrap_or_default()
    }

    /// The first place, not before `from`, where `before` is no longer true.
    pub(super) fn partition_point(self, mut from: usize, before: impl Fn(&[u8]) -> bool) -> usize {
        let mut to = self.len();
        while from < to {
            let middle = from.midpoint(to);
            if before(self.get(middle)) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from
    }

    /// As [`partition_point`](Self::partition_point), fast if it is near.
    pub(super) fn seek(self, from: usize, before: impl Fn(&[u8]) -> bool) -> usize {
        seek(from, self.len(), |at| before(self.get(at)))
    }
}

/// The rows of the keys of a block, from some key on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Postings<'a> {
    counts: &'a [u8],
    rows: &'a [[u8; 4]],
    bitmaps: &'a [u8],
}

/// The rows of a key, not yet read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Posted<'a> {
    Listed(&'a [[u8; 4]]),
    Bitmap(&'a [u8]),
}

impl<'a> Postings<'a> {
    /// The rows of the next `keys` keys: those that are listed, and of how many keys they are a bitmap.
    fn cut(&mut self, keys: usize) -> Result<(&'a [[u8; 4]], usize), CodecError> {
        let short = || CodecError::malformed(WHAT, "rows of no key");
        let (counts, rest) = self.counts.split_at_checked(keys).ok_or_else(short)?;
        let (rows, behind) = self.rows.split_at_checked(sum(counts)).ok_or_else(short)?;
        (self.counts, self.rows) = (rest, behind);
        let all_listed = self.bitmaps.is_empty();
        let bitmaps = counts.iter().map(|count| usize::from(*count == 0));
        Ok((rows, if all_listed { 0 } else { bitmaps.sum() }))
    }

    fn bitmap(&mut self) -> Result<&'a [u8], CodecError> {
        let mut reader = Reader::new(WHAT, self.bitmaps);
        let length = reader.u32()? as usize;
        let bitmap = reader.take(length)?;
        self.bitmaps = reader.rest();
        Ok(bitmap)
    }

    /// Leaves out the next keys.
    pub(super) fn skip(&mut self, keys: usize) -> Result<(), CodecError> {
        let (_, bitmaps) = self.cut(keys)?;
        (0..bitmaps).try_for_each(|_| self.bitmap().map(drop))
    }

    /// Adds the rows of the next keys to what is gathered.
    pub(super) fn take(&mut self, keys: usize, gathered: &mut Gathered<'a>) -> Result<(), CodecError> {
        let (rows, bitmaps) = self.cut(keys)?;
        gathered.list(rows)?;
        for _ in 0..bitmaps {
            gathered.bitmap(self.bitmap()?);
        }
        Ok(())
    }

    /// The rows of the next key.
    pub(super) fn next(&mut self) -> Result<Posted<'a>, CodecError> {
        if self.counts.first() == Some(&0) {
            self.cut(1)?;
            return self.bitmap().map(Posted::Bitmap);
        }
        self.cut(1).map(|(rows, _)| Posted::Listed(rows))
    }
}

impl Posted<'_> {
    /// Those of the rows that are in `among`.
    pub(super) fn among(self, rows: u32, among: &RoaringBitmap) -> Result<Vec<u32>, CodecError> {
        match self {
            Posted::Bitmap(bytes) => Ok((bitmap(bytes, rows)? & among).into_iter().collect()),
            Posted::Listed(list) => {
                let list = list.iter().map(|bytes| u32::from_le_bytes(*bytes));
                Ok(list.filter(|row| among.contains(*row)).collect())
            }
        }
    }
}

/// Rows of a segment that those of many keys are looked up among.
#[derive(Debug)]
pub(super) struct Among<'a> {
    rows: u32,
    bitmap: &'a RoaringBitmap,
    /// The same, a bit for each row: of single rows it is much faster to ask.
    bits: Vec<u8>,
}

impl<'a> Among<'a> {
    /// These of the rows of a segment of `rows` rows.
    pub(super) fn new(rows: u32, bitmap: &'a RoaringBitmap) -> Self {
        let all = bitmap.len() == u64::from(rows);
        let mut bits = vec![if all { u8::MAX } else { 0 }; (rows as usize).div_ceil(8)];
        for row in bitmap.iter().take(if all { 0 } else { usize::MAX }) {
            if let Some(bits) = bits.get_mut(row as usize / 8) {
                *bits |= 1 << (row % 8);
            }
        }
        Self { rows, bitmap, bits }
    }

    /// How many of the rows of a key.
    pub(super) fn count(&self, posted: Posted<'_>) -> Result<u64, CodecError> {
        let has = |row: u32| self.bits.get(row as usize / 8).is_some_and(|bits| bits >> (row % 8) & 1 == 1);
        match posted {
            Posted::Bitmap(bytes) => Ok(bitmap(bytes, self.rows)?.intersection_len(self.bitmap)),
            Posted::Listed(list) => Ok(list.iter().map(|row| u64::from(has(u32::from_le_bytes(*row)))).sum()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: u32 = 100_000;

    type Entry = (Vec<u8>, Vec<u32>);

    /// Keys with lists of rows and bitmaps.
    fn entries(fixed: bool) -> Vec<Entry> {
        let numbers = [0_u64, 7, 300, 1 << 40, u64::MAX - 1, u64::MAX];
        let entry = |(at, number): (usize, &u64)| {
            let count = [1, 3, 40, 120, 300, 16][at];
            let key = if fixed { number.to_be_bytes().to_vec() } else { vec![u8::try_from(at).unwrap(); at] };
            (key, (0..count).map(|row| row * 311 + u32::try_from(number % 89).unwrap()).collect())
        };
        numbers.iter().enumerate().map(entry).collect()
    }

    fn block(entries: &[Entry], fixed: bool) -> Vec<u8> {
        let mut writer = BlockWriter::new(fixed);
        for (key, rows) in entries {
            writer.push(key, Posting::of(rows));
        }
        let length = writer.len();
        let block = writer.finish();
        assert!(length == block.len() && writer.len() == 0);
        block
    }

    fn read(bytes: &[u8], fixed: bool) -> Result<Vec<Entry>, CodecError> {
        let Block { keys, mut postings } = Block::open(fixed.then_some(8), bytes)?;
        let every = (0..ROWS).collect();
        (0..keys.len()).map(|at| Ok((keys.get(at).to_vec(), postings.next()?.among(ROWS, &every)?))).collect()
    }

    #[test]
    fn what_is_written_is_read_whichever_keys_are_skipped() {
        for fixed in [true, false] {
            let entries = entries(fixed);
            let bytes = block(&entries, fixed);
            assert_eq!(read(&bytes, fixed).unwrap(), entries);
            for from in 0..=entries.len() {
                for to in from..=entries.len() {
                    let Block { mut postings, .. } = Block::open(fixed.then_some(8), &bytes).unwrap();
                    let mut gathered = Gathered::new(ROWS);
                    postings.skip(from).unwrap();
                    postings.take(to - from, &mut gathered).unwrap();
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
            let keys = Block::open(fixed.then_some(8), &bytes).unwrap().keys;
            for from in 0..=entries.len() {
                for wanted in entries.iter().map(|(key, _)| key.as_slice()).chain([&[0_u8, 9][..], &[255; 9]])
                {
                    let expected = entries.partition_point(|(key, _)| **key < *wanted).max(from);
                    assert_eq!(keys.partition_point(from, |key| key < wanted), expected);
                    assert_eq!(keys.seek(from, |key| key < wanted), expected, "{from} {wanted:?}");
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
                let Ok(Block { keys, mut postings }) = Block::open(fixed.then_some(8), bytes) else { return };
                let mut gathered = Gathered::new(ROWS);
                if postings.take(keys.len(), &mut gathered).is_ok()
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
