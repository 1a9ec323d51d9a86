//! The rows of a segment that postings are counted against.

use roaring::RoaringBitmap;

use super::block::RowPosting;
use super::portable::{decode_bitmap, row_outside};
use crate::codec::{CodecError, usize_of};

/// Some rows of a segment, prepared for the lookup of the rows of many keys.
#[derive(Debug)]
pub(super) struct RowSet<'a> {
    rows: u32,
    bitmap: &'a RoaringBitmap,
    /// The same set with a bit for each row: facets look up millions of single rows, and a lookup in the bitmap
    /// searches for a container first.
    bits: Vec<u8>,
}

impl<'a> RowSet<'a> {
    /// A set of rows of a segment of `rows` rows.
    #[expect(
        clippy::indexing_slicing,
        reason = "as many bits as rows, and a set has rows of its segment only"
    )]
    pub(super) fn new(rows: u32, bitmap: &'a RoaringBitmap) -> Self {
        debug_assert!(bitmap.max().is_none_or(|row| row < rows), "rows of the segment");
        // All rows is what a facet without a filter asks for: filling bytes is faster than setting bits.
        let is_all = bitmap.len() == u64::from(rows);
        let mut bits = vec![if is_all { u8::MAX } else { 0 }; usize_of(rows).div_ceil(8)];
        if !is_all {
            for row in bitmap {
                bits[usize_of(row / 8)] |= 1 << (row % 8);
            }
        }
        Self { rows, bitmap, bits }
    }

    /// The number of rows of a posting that are in the set.
    pub(super) fn count_rows(&self, posting: RowPosting<'_>) -> Result<u64, CodecError> {
        let list = match posting {
            RowPosting::Bitmap(bytes) => {
                return Ok(decode_bitmap(bytes, self.rows)?.intersection_len(self.bitmap));
            }
            RowPosting::Listed(list) => list,
        };
        let mut count = 0;
        for row in list.iter().map(|bytes| u32::from_le_bytes(*bytes)) {
            let bits = self.bits.get(usize_of(row / 8)).ok_or_else(row_outside)?;
            count += u64::from(bits >> (row % 8) & 1);
        }
        Ok(count)
    }
}
