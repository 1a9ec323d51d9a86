//! The union of the rows of many keys.

use roaring::{MultiOps, RoaringBitmap};

use super::portable::{
    CONTAINER_BYTES, bitmap_from_bits, bitmap_from_list, decode_bitmap, row_outside, set_bits_of_bitmap,
};
use crate::codec::{CodecError, u64_of, usize_of};

/// With more rows than one in this many, the union has a bit for each row of the segment. At 16 rows a list of 4 bytes
/// a row would take twice as many bytes as the bits do, and it has to be sorted.
const BITS_FROM: u64 = 16;
/// Up to this many bitmaps are decoded and united by `roaring`: below, clearing and scanning the bits costs more than
/// the few decoded bitmaps.
const UNITED_MAX: usize = 3;

/// Gathers rows of a segment.
///
/// Rows come in lists and bitmaps, in any order and more than once, from a handful to all there are. Inserting them
/// one by one into a `RoaringBitmap` is several times slower than any of the three ways taken here: sort a list, set
/// bits, or unite bitmaps.
#[derive(Debug)]
pub(crate) struct RowGatherer<'a> {
    rows: u32,
    /// Undecoded, in the portable format.
    bitmaps: Vec<&'a [u8]>,
    listed: Vec<u32>,
    /// A bit for each row in whole containers, once rows are many; empty until then. `listed` is empty from then on.
    bits: Vec<u8>,
}

impl<'a> RowGatherer<'a> {
    pub(crate) fn new(rows: u32) -> Self {
        Self { rows, bitmaps: Vec::new(), listed: Vec::new(), bits: Vec::new() }
    }

    /// Adds a bitmap in the portable format.
    pub(crate) fn push_bitmap(&mut self, bytes: &'a [u8]) {
        self.bitmaps.push(bytes);
    }

    /// Adds rows in any order.
    pub(crate) fn push_list(&mut self, rows: &[[u8; 4]]) -> Result<(), CodecError> {
        let rows = rows.iter().map(|row| u32::from_le_bytes(*row));
        if self.bits.is_empty() {
            if u64_of(self.listed.len() + rows.len()) <= self.list_max() {
                self.listed.extend(rows);
                return Ok(());
            }
            self.switch_to_bits()?;
        }
        self.set_bits(rows)
    }

    /// The rows that are gathered as a list.
    fn list_max(&self) -> u64 {
        u64::from(self.rows) / BITS_FROM
    }

    /// Continues with a bit for each row.
    fn switch_to_bits(&mut self) -> Result<(), CodecError> {
        // Whole containers, so that those of the result are copied from the bits.
        self.bits.resize(usize_of(self.rows).div_ceil(CONTAINER_BYTES * 8) * CONTAINER_BYTES, 0);
        let listed = std::mem::take(&mut self.listed);
        self.set_bits(listed.into_iter())
    }

    fn set_bits(&mut self, rows: impl Iterator<Item = u32>) -> Result<(), CodecError> {
        // Rows come from the store. One error at the end keeps the branch out of the loop.
        let mut are_inside = true;
        for row in rows {
            match self.bits.get_mut(usize_of(row / 8)) {
                Some(byte) => *byte |= 1 << (row % 8),
                None => are_inside = false,
            }
        }
        if are_inside { Ok(()) } else { Err(row_outside()) }
    }

    /// The union.
    pub(crate) fn finish(mut self) -> Result<RoaringBitmap, CodecError> {
        let length: usize = self.bitmaps.iter().map(|bytes| bytes.len()).sum();
        // A row takes two bytes of a bitmap or fewer, so this is about the least number of rows.
        let are_many = self.bitmaps.len() > UNITED_MAX && u64_of(length) / 2 > self.list_max();
        if are_many && self.bits.is_empty() {
            self.switch_to_bits()?;
        }
        let mut decoded = Vec::new();
        for bytes in std::mem::take(&mut self.bitmaps) {
            // A bitmap that the fast way refuses may have set some bits. They are of rows of that bitmap, unless it is
            // damaged: then decoding it is an error.
            if !are_many || set_bits_of_bitmap(bytes, &mut self.bits).is_none() {
                decoded.push(decode_bitmap(bytes, self.rows)?);
            }
        }
        let gathered =
            if self.bits.is_empty() { bitmap_from_list(self.listed) } else { bitmap_from_bits(&self.bits) };
        // The bits end with a container, so a row may lie behind the last and still have a bit.
        if gathered.max().is_some_and(|row| row >= self.rows) {
            return Err(row_outside());
        }
        if decoded.is_empty() {
            return Ok(gathered);
        }
        decoded.push(gathered);
        Ok(decoded.union())
    }
}

#[cfg(test)]
mod tests {
    use super::super::portable::encode_bitmap;
    use super::*;

    #[test]
    fn lists_and_bitmaps_of_any_number_are_joined() {
        for (rows, lists, bitmaps) in
            [(10_u32, 3, 0), (300_000, 500, 0), (300_000, 0, 40), (300_000, 90, 3), (70_000, 90, 9)]
        {
            let each = |n: u32| (0..=n).map(move |at| (at * 7919 + n * 104_729) % rows).collect::<Vec<u32>>();
            let dense = |n: u32| (0..rows).filter(move |row| row % 37 == n % 37).collect::<Vec<u32>>();
            let stored: Vec<Vec<u8>> =
                (0..bitmaps).map(|n| encode_bitmap(dense(n).into_iter().collect()).unwrap()).collect();
            let mut gathered = RowGatherer::new(rows);
            for n in 0..lists {
                let list: Vec<[u8; 4]> = each(n).into_iter().map(u32::to_le_bytes).collect();
                gathered.push_list(&list).unwrap();
            }
            for bytes in &stored {
                gathered.push_bitmap(bytes);
            }
            let expected: RoaringBitmap =
                (0..lists).flat_map(each).chain((0..bitmaps).flat_map(dense)).collect();
            assert_eq!(gathered.finish().unwrap(), expected, "{rows} {lists} {bitmaps}");
        }
    }

    #[test]
    fn a_row_of_another_segment_is_an_error() {
        for rows in [10_u32, 10_001, 65_536] {
            for count in [1, rows] {
                let mut gathered = RowGatherer::new(rows);
                let list: Vec<[u8; 4]> = (rows + 1 - count..=rows).map(u32::to_le_bytes).collect();
                assert!(gathered.push_list(&list).is_err() || gathered.finish().is_err());
            }
            let stored = encode_bitmap((0..=rows).collect()).unwrap();
            let mut gathered = RowGatherer::new(rows);
            (0..5).for_each(|_| gathered.push_bitmap(&stored));
            assert!(gathered.finish().is_err());
        }
    }
}
