//! Writing a block: neighbouring keys, each with its rows, in the layout that [`KeyBlock`](super::KeyBlock) reads.

use super::portable::encode_bitmap;
use crate::codec::{put_len_u16, put_len_u32};
use crate::error::Result;

/// Up to this many rows are listed without trying a bitmap, which takes 16 bytes and 2 a row where there are no runs. A
/// run of rows would take 15 bytes, but keys with a handful of rows are too many to try each.
const LISTED: usize = 8;

/// Writes one block after another.
#[derive(Debug)]
pub(super) struct BlockWriter {
    is_fixed: bool,
    keys: u32,
    // Each part of the layout grows by itself, and `finish` puts one behind the other: a part begins where the
    // one before it ends, which is not known before the last key.
    key_ends: Vec<u8>,
    key_bytes: Vec<u8>,
    row_counts: Vec<u8>,
    rows: Vec<u8>,
    bitmaps: Vec<u8>,
}

impl BlockWriter {
    /// `is_fixed`: all keys of the column have one length, so the blocks do not store where keys end.
    pub(super) fn new(is_fixed: bool) -> Self {
        let empty = Vec::new;
        Self {
            is_fixed,
            keys: 0,
            key_ends: empty(),
            key_bytes: empty(),
            row_counts: empty(),
            rows: empty(),
            bitmaps: empty(),
        }
    }

    /// Appends a key with its rows.
    pub(super) fn push_key(&mut self, key: &[u8], rows: &EncodedRows<'_>) -> Result<()> {
        self.keys += 1;
        self.key_bytes.extend(key);
        if !self.is_fixed {
            // 16 bits hold it while blocks are closed near 16 KiB and keys have 128 bytes at most.
            put_len_u16(&mut self.key_ends, self.key_bytes.len())?;
        }
        match rows {
            EncodedRows::Listed(count, rows) => {
                self.row_counts.push(*count);
                self.rows.extend(rows.iter().flat_map(|row| row.to_le_bytes()));
            }
            EncodedRows::Bitmap(bitmap) => {
                self.row_counts.push(0);
                put_len_u32(&mut self.bitmaps, bitmap.len())?;
                self.bitmaps.extend(bitmap);
            }
        }
        Ok(())
    }

    /// The bytes that a key would add.
    pub(super) fn added_bytes(&self, key: &[u8], rows: &EncodedRows<'_>) -> usize {
        let row_bytes = match rows {
            EncodedRows::Listed(_, rows) => rows.len() * 4,
            EncodedRows::Bitmap(bitmap) => 4 + bitmap.len(),
        };
        // The count of rows takes a byte, the end of the key two.
        key.len() + if self.is_fixed { 1 } else { 3 } + row_bytes
    }

    /// Bytes so far; 0 without a key.
    pub(super) fn len(&self) -> usize {
        let parts = [&self.key_ends, &self.key_bytes, &self.row_counts, &self.rows, &self.bitmaps];
        if self.keys == 0 { 0 } else { 4 + parts.map(Vec::len).iter().sum::<usize>() }
    }

    /// Keys so far.
    pub(super) fn key_count(&self) -> u32 {
        self.keys
    }

    /// The block, after which another one begins.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let mut block = std::mem::take(&mut self.keys).to_le_bytes().to_vec();
        let parts = [
            &mut self.key_ends,
            &mut self.key_bytes,
            &mut self.row_counts,
            &mut self.rows,
            &mut self.bitmaps,
        ];
        for part in parts {
            // `append` leaves each part empty with its capacity, so the next block allocates little.
            block.append(part);
        }
        block
    }
}

/// The rows of a key in the smaller of their two forms.
#[derive(Debug)]
pub(super) enum EncodedRows<'a> {
    /// At most 255 rows, and their number as the block stores it.
    Listed(u8, &'a [u32]),
    Bitmap(Vec<u8>),
}

impl<'a> EncodedRows<'a> {
    /// Encodes at least one row; rows ascend.
    pub(super) fn new(rows: &'a [u32]) -> Result<Self> {
        debug_assert!(!rows.is_empty() && rows.is_sorted_by(|a, b| a < b), "a key has rows, in order");
        let Ok(count) = u8::try_from(rows.len()) else {
            return Ok(Self::Bitmap(encode_bitmap(rows.iter().copied().collect())?));
        };
        if rows.len() <= LISTED {
            return Ok(Self::Listed(count, rows));
        }
        let bitmap = encode_bitmap(rows.iter().copied().collect())?;
        Ok(if bitmap.len() < rows.len() * 4 { Self::Bitmap(bitmap) } else { Self::Listed(count, rows) })
    }
}
