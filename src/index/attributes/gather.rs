//! Rows that are gathered from many keys.

use roaring::{MultiOps, RoaringBitmap};

use super::block::bitmap;
use super::portable::{CONTAINER_BYTES, add_to_bits, of_bits, of_list};
use crate::codec::CodecError;

/// More rows than one in so many are gathered by a bit for each row.
const SPARSE: u64 = 16;
/// Fewer bitmaps are joined as such.
const BITMAPS: usize = 4;

/// Rows of a segment of so many that are gathered.
#[derive(Debug)]
pub(super) struct Gathered<'a> {
    rows: u32,
    bitmaps: Vec<&'a [u8]>,
    listed: Vec<u32>,
    /// A bit for each row, if rows are many: the fastest way to bring them in order.
    bits: Vec<u8>,
}

impl<'a> Gathered<'a> {
    pub(super) fn new(rows: u32) -> Self {
        Self { rows, bitmaps: Vec::new(), listed: Vec::new(), bits: Vec::new() }
    }

    /// Adds rows as the portable format of roaring bitmaps has them.
    pub(super) fn bitmap(&mut self, bytes: &'a [u8]) {
        self.bitmaps.push(bytes);
    }

    /// Adds rows in any order.
    pub(super) fn list(&mut self, rows: &[[u8; 4]]) -> Result<(), CodecError> {
        let rows = rows.iter().map(|row| u32::from_le_bytes(*row));
        if self.bits.is_empty() {
            if (self.listed.len() + rows.len()) as u64 <= u64::from(self.rows) / SPARSE {
                self.listed.extend(rows);
                return Ok(());
            }
            self.spread()?;
        }
        self.set(rows)
    }

    /// Goes on with a bit for each row.
    fn spread(&mut self) -> Result<(), CodecError> {
        self.bits.resize((self.rows as usize).div_ceil(CONTAINER_BYTES * 8) * CONTAINER_BYTES, 0);
        let listed = std::mem::take(&mut self.listed);
        self.set(listed.into_iter())
    }

    fn set(&mut self, rows: impl Iterator<Item = u32>) -> Result<(), CodecError> {
        let mut all_here = true;
        for row in rows {
            match self.bits.get_mut(row as usize / 8) {
                Some(bits) => *bits |= 1 << (row % 8),
                None => all_here = false,
            }
        }
        if all_here { Ok(()) } else { Err(not_here()) }
    }

    pub(super) fn finish(mut self) -> Result<RoaringBitmap, CodecError> {
        let length: usize = self.bitmaps.iter().map(|bytes| bytes.len()).sum();
        let many = self.bitmaps.len() >= BITMAPS && length as u64 / 2 > u64::from(self.rows) / SPARSE;
        if many && self.bits.is_empty() {
            self.spread()?;
        }
        let mut bitmaps = Vec::new();
        for bytes in std::mem::take(&mut self.bitmaps) {
            if !many || add_to_bits(bytes, &mut self.bits).is_none() {
                bitmaps.push(bitmap(bytes, self.rows)?);
            }
        }
        let single = if self.bits.is_empty() { of_list(self.listed) } else { of_bits(&self.bits) };
        if single.max().is_some_and(|row| row >= self.rows) {
            return Err(not_here());
        }
        if bitmaps.is_empty() {
            return Ok(single);
        }
        bitmaps.push(single);
        Ok(bitmaps.union())
    }
}

fn not_here() -> CodecError {
    CodecError::malformed("attribute block", "a row that is not in the segment")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_bitmaps_of_any_number_are_joined() {
        for (rows, lists, bitmaps) in
            [(10_u32, 3, 0), (300_000, 500, 0), (300_000, 0, 40), (300_000, 90, 3), (70_000, 90, 9)]
        {
            let each = |n: u32| (0..=n).map(move |at| (at * 7919 + n * 104_729) % rows).collect::<Vec<u32>>();
            let dense = |n: u32| (0..rows).filter(move |row| row % 37 == n % 37).collect::<Vec<u32>>();
            let stored: Vec<Vec<u8>> = (0..bitmaps)
                .map(|n| super::super::block::bitmap_bytes(dense(n).into_iter().collect()))
                .collect();
            let mut gathered = Gathered::new(rows);
            for n in 0..lists {
                let list: Vec<[u8; 4]> = each(n).into_iter().map(u32::to_le_bytes).collect();
                gathered.list(&list).unwrap();
            }
            for bytes in &stored {
                gathered.bitmap(bytes);
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
                let mut gathered = Gathered::new(rows);
                let list: Vec<[u8; 4]> = (rows + 1 - count..=rows).map(u32::to_le_bytes).collect();
                assert!(gathered.list(&list).is_err() || gathered.finish().is_err());
            }
            let stored = super::super::block::bitmap_bytes((0..=rows).collect());
            let mut gathered = Gathered::new(rows);
            (0..5).for_each(|_| gathered.bitmap(&stored));
            assert!(gathered.finish().is_err());
        }
    }
}
