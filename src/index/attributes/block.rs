//! Blocks: keys in ascending order, each with its rows.
//!
//! ```text
//! entry: key length u8, if keys of the column differ in length | key
//!        rows: count u8 from 1 to 16 | row u32 × count, ascending
//!           or 255 | length u32 | roaring bitmap in the portable format
//! ```
//! The sum of a block stands in the head.

use roaring::RoaringBitmap;

use super::key::KEY_BYTES_MAX;
use crate::codec::{CodecError, Reader};

const WHAT: &str = "attribute block";
/// Up to this many rows are listed.
const LISTED_MAX: usize = 16;
const BITMAP: u8 = u8::MAX;
/// More rows than one in so many are gathered as bits.
const SPARSE: u64 = 512;
const NOT_HERE: &str = "a row that is not in the segment";

/// Appends a key with its rows, which ascend and are at least one.
pub(super) fn push(key: &[u8], fixed: bool, rows: &[u32], out: &mut Vec<u8>) {
    if !fixed {
        out.push(u8::try_from(key.len()).unwrap_or(u8::MAX));
    }
    out.extend(key);
    if rows.len() <= LISTED_MAX {
        out.push(u8::try_from(rows.len()).unwrap_or(BITMAP));
        out.extend(rows.iter().flat_map(|row| row.to_le_bytes()));
        return;
    }
    let bitmap = bitmap_bytes(rows.iter().copied().collect());
    out.push(BITMAP);
    out.extend(u32::try_from(bitmap.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(bitmap);
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
    let mut rest = bytes;
    let bitmap = RoaringBitmap::deserialize_from(&mut rest).map_err(|e| CodecError::malformed(WHAT, e))?;
    if !rest.is_empty() || bitmap.max().is_some_and(|row| row >= rows) {
        return Err(CodecError::malformed(WHAT, "a bitmap is not of these rows"));
    }
    Ok(bitmap)
}

/// The rows of a key, not yet read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Posted<'a> {
    Listed(&'a [[u8; 4]]),
    Bitmap(&'a [u8]),
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

    /// How many of the rows are in `among`, which may be all of a segment of `rows` rows.
    pub(super) fn count(self, rows: u32, among: &RoaringBitmap, all: bool) -> Result<u64, CodecError> {
        match self {
            Posted::Bitmap(bytes) if all => Ok(bitmap(bytes, rows)?.len()),
            Posted::Bitmap(bytes) => Ok(bitmap(bytes, rows)?.intersection_len(among)),
            Posted::Listed(list) => {
                let mut count = 0;
                for row in list.iter().map(|bytes| u32::from_le_bytes(*bytes)) {
                    if row >= rows {
                        return Err(CodecError::malformed(WHAT, NOT_HERE));
                    }
                    count += u64::from(all || among.contains(row));
                }
                Ok(count)
            }
        }
    }
}

/// Rows that are gathered.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    bitmap: RoaringBitmap,
    /// Rows of bitmaps after the first.
    joined: u64,
    listed: Vec<u32>,
    /// A bit for each row, if rows are many.
    bits: Vec<u8>,
}

impl Gathered {
    /// Adds the rows of a key in a segment of `rows` rows.
    #[inline]
    pub(super) fn add(&mut self, posted: Posted<'_>, rows: u32) -> Result<(), CodecError> {
        match posted {
            Posted::Bitmap(bytes) if self.bitmap.is_empty() => self.bitmap = bitmap(bytes, rows)?,
            Posted::Bitmap(bytes) => {
                let one = bitmap(bytes, rows)?;
                self.joined += one.len();
                if self.joined > u64::from(rows) / SPARSE {
                    self.set(rows, one.iter())?;
                } else {
                    self.bitmap |= one;
                }
            }
            Posted::Listed(list) => {
                self.listed.extend(list.iter().map(|bytes| u32::from_le_bytes(*bytes)));
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self, rows: u32) -> Result<RoaringBitmap, CodecError> {
        if self.bits.is_empty() && self.listed.len() as u64 <= u64::from(rows) / SPARSE {
            self.listed.sort_unstable();
            if self.listed.last().is_some_and(|row| *row >= rows) {
                return Err(CodecError::malformed(WHAT, NOT_HERE));
            }
            self.listed.dedup();
            let listed: RoaringBitmap = self.listed.into_iter().collect();
            return Ok(if self.bitmap.is_empty() { listed } else { self.bitmap | listed });
        }
        let listed = std::mem::take(&mut self.listed);
        self.set(rows, listed.into_iter())?;
        let dense = RoaringBitmap::from_lsb0_bytes(0, &self.bits);
        Ok(if self.bitmap.is_empty() { dense } else { self.bitmap | dense })
    }

    /// Adds rows to a plain bit for each row: of many rows the fastest way to bring them in order.
    fn set(&mut self, rows: u32, more: impl Iterator<Item = u32>) -> Result<(), CodecError> {
        self.bits.resize((rows as usize).div_ceil(8), 0);
        for row in more {
            match self.bits.get_mut(row as usize / 8) {
                Some(bits) if row < rows => *bits |= 1 << (row % 8),
                _ => return Err(CodecError::malformed(WHAT, NOT_HERE)),
            }
        }
        Ok(())
    }
}

/// As [`read`], of keys of eight bytes, which are compared as numbers.
pub(super) fn read_words<'a>(
    bytes: &'a [u8],
    mut each: impl FnMut(u64, Posted<'a>) -> Result<(), CodecError>,
) -> Result<(), CodecError> {
    let short = || CodecError::malformed(WHAT, "an entry that is cut off");
    let (mut rest, mut next) = (bytes, 0);
    while let Some((key, behind)) = rest.split_first_chunk::<8>() {
        let key = u64::from_be_bytes(*key);
        let (count, behind) = behind.split_first().ok_or_else(short)?;
        if key < next || (next == 0 && rest.len() < bytes.len()) {
            return Err(CodecError::malformed(WHAT, "a key that is too long or out of order"));
        }
        // The greatest key wraps: nothing may follow it.
        next = key.wrapping_add(1);
        let bitmap = *count == BITMAP;
        let (length, behind) = match behind.split_first_chunk::<4>() {
            Some((length, behind)) if bitmap => (u32::from_le_bytes(*length) as usize, behind),
            _ if bitmap => return Err(short()),
            _ => (usize::from(*count) * 4, behind),
        };
        let (posted, behind) = behind.split_at_checked(length).ok_or_else(short)?;
        rest = behind;
        each(key, if bitmap { Posted::Bitmap(posted) } else { Posted::Listed(posted.as_chunks().0) })?;
    }
    if rest.is_empty() { Ok(()) } else { Err(short()) }
}

/// Calls `each` with every key of a block and its rows.
pub(super) fn read<'a>(
    width: Option<usize>,
    bytes: &'a [u8],
    mut each: impl FnMut(&'a [u8], Posted<'a>) -> Result<(), CodecError>,
) -> Result<(), CodecError> {
    let mut reader = Reader::new(WHAT, bytes);
    let mut last: Option<&[u8]> = None;
    while !reader.rest().is_empty() {
        let length = match width {
            Some(width) => width,
            None => byte(&mut reader)?.into(),
        };
        let key = reader.take(length)?;
        if length > KEY_BYTES_MAX || last.is_some_and(|last| last >= key) {
            return Err(CodecError::malformed(WHAT, "a key that is too long or out of order"));
        }
        last = Some(key);
        let posted = match byte(&mut reader)? {
            BITMAP => {
                let length = reader.u32()? as usize;
                Posted::Bitmap(reader.take(length)?)
            }
            count => Posted::Listed(reader.take(usize::from(count) * 4)?.as_chunks().0),
        };
        each(key, posted)?;
    }
    Ok(())
}

fn byte(reader: &mut Reader<'_>) -> Result<u8, CodecError> {
    reader.take(1).map(|byte| byte.first().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: u32 = 100_000;

    /// A block of keys of 8 bytes: lists of rows, and bitmaps.
    fn block() -> Vec<u8> {
        let mut block = Vec::new();
        for key in [0_u64, 7, 300, u64::MAX - 1, u64::MAX] {
            let count = if key % 2 == 0 { 3 } else { 40 };
            let rows: Vec<u32> = (0..count).map(|row| row * 97 + u32::try_from(key % 89).unwrap()).collect();
            push(&key.to_be_bytes(), true, &rows, &mut block);
        }
        block
    }

    /// The keys and rows of a block, read by words or by bytes.
    fn entries(bytes: &[u8], words: bool) -> Result<Vec<(Vec<u8>, RoaringBitmap)>, CodecError> {
        let mut entries = Vec::new();
        let mut add = |key: &[u8], posted| {
            let mut gathered = Gathered::default();
            gathered.add(posted, ROWS)?;
            entries.push((key.to_vec(), gathered.finish(ROWS)?));
            Ok(())
        };
        if words {
            read_words(bytes, |key, posted| add(&key.to_be_bytes(), posted))?;
        } else {
            read(Some(8), bytes, add)?;
        }
        Ok(entries)
    }

    #[test]
    fn both_readers_say_the_same_of_any_bytes() {
        let sound = block();
        assert_eq!(entries(&sound, true).unwrap().len(), 5);
        let mut refused = 0;
        let mut check = |bytes: &[u8]| {
            let (by_words, by_bytes) = (entries(bytes, true).ok(), entries(bytes, false).ok());
            assert_eq!(by_words, by_bytes, "{bytes:?}");
            refused += usize::from(by_words.is_none());
        };
        check(&sound);
        for end in 0..sound.len() {
            check(&sound[..end]);
        }
        for at in 0..sound.len() {
            for flip in [1, 2, 0x10, 0x80, 0xFF] {
                let mut damaged = sound.clone();
                damaged[at] ^= flip;
                check(&damaged);
            }
        }
        check(&[sound.clone(), sound.clone()].concat());
        assert!(refused > sound.len());
    }
}
