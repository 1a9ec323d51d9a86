//! The portable format of roaring bitmaps, where reading or writing it directly is faster than single inserts.
//!
//! Source: the format specification of roaring bitmaps. Without runs it is
//! `12346 u32 | containers u32 | (key u16 | values - 1 u16) × containers | offset u32 × containers | containers`,
//! where a container of up to 4,096 values has them as u16, ascending, and a larger container a bit for each of 65,536.

use roaring::RoaringBitmap;

use crate::codec::{CodecError, put_bitmap, rows_bitmap, usize_of};
use crate::error::Result;

/// The bytes of a container that has a bit for each value.
pub(super) const CONTAINER_BYTES: usize = 1 << 13;
/// The values of the largest container that lists them: above, bits take fewer bytes.
const ARRAY_MAX: usize = 4096;
const NO_RUNS: u32 = 12_346;
/// Bits of a digit of the radix sort: two passes sort the rows of a segment of a million, and the counters of a pass
/// stay in the first-level cache.
const RADIX_BITS: u32 = 10;
/// Fewer rows are sorted by comparison: a pass of the radix sort clears and sums 1,024 counters first.
const RADIX_MIN: usize = 512;

const WHAT: &str = "attribute block";

/// A bitmap in the portable format, with runs where they are smaller.
pub(crate) fn encode_bitmap(mut rows: RoaringBitmap) -> Result<Vec<u8>> {
    rows.optimize();
    let mut bytes = Vec::with_capacity(rows.serialized_size());
    put_bitmap(&mut bytes, &rows)?;
    Ok(bytes)
}

/// A bitmap of rows of a segment of `rows` rows.
pub(crate) fn decode_bitmap(bytes: &[u8], rows: u32) -> Result<RoaringBitmap, CodecError> {
    rows_bitmap(WHAT, bytes, rows)
}

/// The error of a row behind the last of the segment.
pub(super) fn row_outside() -> CodecError {
    CodecError::malformed(WHAT, "a row that is not in the segment")
}

/// Writes containers without runs, in ascending order of their keys.
#[derive(Debug, Default)]
struct PortableWriter {
    heads: Vec<u8>,
    /// The index in `values` at which each container begins.
    starts: Vec<usize>,
    /// The containers: both a listed value and 16 bits of a container of bits are two bytes.
    values: Vec<[u8; 2]>,
}

impl PortableWriter {
    /// Ends a container of `count` values that begins at `start`. `None` if it has too many. An empty container is
    /// left out, as the format demands.
    fn close_container(&mut self, key: u16, start: usize, count: usize) -> Option<()> {
        if let Some(last) = count.checked_sub(1) {
            self.heads.extend(key.to_le_bytes());
            self.heads.extend(u16::try_from(last).ok()?.to_le_bytes());
            self.starts.push(start);
        }
        Some(())
    }

    /// Ends a container of listed values that begins at `start` and holds the row `last`.
    #[expect(clippy::indexing_slicing, reason = "16 bits are less than the bits of a container")]
    fn close_list(&mut self, last: u32, start: usize) -> Option<()> {
        let count = self.values.len() - start;
        if count > ARRAY_MAX {
            // Only here is it known that the list is too long: replace it by bits.
            let values = self.values.split_off(start);
            self.values.resize(start + CONTAINER_BYTES / 2, [0; 2]);
            let bits = self.values[start..].as_flattened_mut();
            debug_assert_eq!(bits.len(), CONTAINER_BYTES, "a bit for each value");
            for value in values.into_iter().map(u16::from_le_bytes) {
                bits[usize::from(value >> 3)] |= 1 << (value & 7);
            }
        }
        self.close_container(high_half(last), start, count)
    }

    fn finish(self) -> Option<RoaringBitmap> {
        let first = 8 + self.heads.len() + self.starts.len() * 4;
        let mut bytes = Vec::with_capacity(first + self.values.len() * 2);
        bytes.extend(NO_RUNS.to_le_bytes());
        bytes.extend(u32::try_from(self.starts.len()).ok()?.to_le_bytes());
        bytes.extend(self.heads);
        for start in self.starts {
            bytes.extend(u32::try_from(first + start * 2).ok()?.to_le_bytes());
        }
        bytes.extend(self.values.as_flattened());
        // Unchecked is safe Rust: it skips the checks of order, which these loops hold.
        RoaringBitmap::deserialize_unchecked_from(bytes.as_slice()).ok()
    }
}

/// The upper 16 bits of a row: the key of its container.
fn high_half(row: u32) -> u16 {
    let [_, _, low, high] = row.to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// The rows whose bits are set. `bits` is of whole containers.
pub(super) fn bitmap_from_bits(bits: &[u8]) -> RoaringBitmap {
    debug_assert!(bits.len().is_multiple_of(CONTAINER_BYTES), "whole containers");
    // If the fast way ever wrote what cannot be read, the slow one would give the same rows.
    encode_bits(bits).unwrap_or_else(|| RoaringBitmap::from_lsb0_bytes(0, bits))
}

fn encode_bits(bits: &[u8]) -> Option<RoaringBitmap> {
    let mut writer = PortableWriter::default();
    for (key, chunk) in (0..=u16::MAX).zip(bits.chunks(CONTAINER_BYTES)) {
        let start = writer.values.len();
        let words = chunk.as_chunks::<8>().0;
        let count: u32 = words.iter().map(|word| u64::from_le_bytes(*word).count_ones()).sum();
        let count = usize_of(count);
        if count > ARRAY_MAX {
            writer.values.extend(chunk.as_chunks::<2>().0);
        } else {
            for (number, word) in (0_u16..).zip(words) {
                let mut word = u64::from_le_bytes(*word);
                while word != 0 {
                    writer.values.push((number * 64 + lowest_bit(word)).to_le_bytes());
                    // Clears the lowest bit that is set.
                    word &= word - 1;
                }
            }
        }
        writer.close_container(key, start, count)?;
    }
    writer.finish()
}

/// The index of the lowest bit that is set.
#[expect(clippy::cast_possible_truncation, reason = "64 at most")]
fn lowest_bit(word: u64) -> u16 {
    word.trailing_zeros() as u16
}

/// The rows of a list, in any order and with repetitions.
pub(super) fn bitmap_from_list(mut rows: Vec<u32>) -> RoaringBitmap {
    if rows.len() < RADIX_MIN {
        rows.sort_unstable();
    } else {
        rows = radix_sort(rows);
    }
    encode_sorted(&rows).unwrap_or_else(|| rows.into_iter().collect())
}

fn encode_sorted(rows: &[u32]) -> Option<RoaringBitmap> {
    let mut writer = PortableWriter { values: Vec::with_capacity(rows.len()), ..PortableWriter::default() };
    let (mut start, mut last) = (0, None);
    for row in rows {
        if last == Some(*row) {
            continue;
        }
        if let Some(last) = last.filter(|last| high_half(*last) != high_half(*row)) {
            writer.close_list(last, start)?;
            start = writer.values.len();
        }
        last = Some(*row);
        let [low, high, ..] = row.to_le_bytes();
        writer.values.push([low, high]);
    }
    if let Some(last) = last {
        writer.close_list(last, start)?;
    }
    writer.finish()
}

/// Sorts by digits, the lowest first: of thousands of rows twice as fast as by comparison.
#[expect(
    clippy::indexing_slicing,
    reason = "a digit is below the counters, and their sum is the number of rows"
)]
fn radix_sort(mut rows: Vec<u32>) -> Vec<u32> {
    let Some(max) = rows.iter().copied().max() else { return rows };
    let mut sorted = vec![0; rows.len()];
    let mut shift = 0;
    // Passes over digits that are zero in every row would change nothing.
    while shift < u32::BITS && max >> shift > 0 {
        let digit = |row: u32| usize_of(row >> shift) & ((1 << RADIX_BITS) - 1);
        let mut next = [0_usize; 1 << RADIX_BITS];
        for row in &rows {
            next[digit(*row)] += 1;
        }
        // Counts become the index at which the first row of each digit goes.
        let mut total = 0;
        for slot in &mut next {
            (*slot, total) = (total, total + *slot);
        }
        debug_assert_eq!(total, rows.len(), "every row is counted");
        for row in &rows {
            let slot = &mut next[digit(*row)];
            sorted[*slot] = *row;
            *slot += 1;
        }
        std::mem::swap(&mut rows, &mut sorted);
        shift += RADIX_BITS;
    }
    rows
}

/// Sets the bits of the rows of a bitmap without runs, read from bytes that are not trusted. `None` if it has runs,
/// is damaged, or holds rows beyond `bits`: some bits may be set nevertheless.
#[expect(clippy::indexing_slicing, reason = "16 bits are less than the bits of a container")]
pub(super) fn set_bits_of_bitmap(bytes: &[u8], bits: &mut [u8]) -> Option<()> {
    let (cookie, bytes) = bytes.split_first_chunk()?;
    let (count, bytes) = bytes.split_first_chunk()?;
    let count = usize_of(u32::from_le_bytes(*count));
    if u32::from_le_bytes(*cookie) != NO_RUNS {
        return None;
    }
    let (heads, bytes) = bytes.split_at_checked(count.checked_mul(4)?)?;
    // Containers follow each other, so the offsets are not needed, and need not be trusted.
    let (_offsets, mut containers) = bytes.split_at_checked(heads.len())?;
    for [key_low, key_high, low, high] in heads.as_chunks().0 {
        let key = usize::from(u16::from_le_bytes([*key_low, *key_high]));
        let count = usize::from(u16::from_le_bytes([*low, *high])) + 1;
        let start = key * CONTAINER_BYTES;
        let bits = bits.get_mut(start..start + CONTAINER_BYTES)?;
        let length = if count > ARRAY_MAX { CONTAINER_BYTES } else { count * 2 };
        let (container, later) = containers.split_at_checked(length)?;
        containers = later;
        if count > ARRAY_MAX {
            bits.iter_mut().zip(container).for_each(|(to, from)| *to |= from);
            continue;
        }
        for value in container.as_chunks().0 {
            let value = u16::from_le_bytes(*value);
            bits[usize::from(value >> 3)] |= 1 << (value & 7);
        }
    }
    containers.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of several densities: few, arrays, bitmaps, all of a container, gaps.
    fn samples() -> Vec<Vec<u32>> {
        let every = |length: u32, step: u32| (0..length).filter(|row| row % step == 0).collect::<Vec<u32>>();
        let mut gaps = every(70_000, 50);
        gaps.extend((400_000..470_000).filter(|row| row % 3 != 0));
        vec![
            vec![],
            vec![0],
            every(65_536, 1),
            every(65_537, 16),
            every(300_000, 100),
            every(300_000, 7),
            gaps,
        ]
    }

    #[test]
    fn every_way_gives_the_same_rows() {
        for rows in samples() {
            let expected: RoaringBitmap = rows.iter().copied().collect();
            let mut bits = vec![0; 8 * CONTAINER_BYTES];
            for row in &rows {
                bits[*row as usize / 8] |= 1 << (row % 8);
            }
            assert_eq!(bitmap_from_bits(&bits), expected);
            let mut shuffled: Vec<u32> =
                rows.iter().rev().copied().chain(rows.iter().step_by(3).copied()).collect();
            shuffled.rotate_left(rows.len() / 3);
            assert_eq!(bitmap_from_list(shuffled), expected);
            let mut bytes = Vec::new();
            expected.serialize_into(&mut bytes).unwrap();
            let mut read = vec![0; 8 * CONTAINER_BYTES];
            let done = set_bits_of_bitmap(&bytes, &mut read);
            assert!(done.is_some() && read == bits);
        }
    }

    #[test]
    fn damage_and_runs_are_left_to_the_careful_way() {
        let rows: RoaringBitmap = samples().pop().unwrap().into_iter().collect();
        let mut bytes = Vec::new();
        rows.serialize_into(&mut bytes).unwrap();
        let mut bits = vec![0; 8 * CONTAINER_BYTES];
        for end in (0..bytes.len()).step_by(7) {
            assert!(set_bits_of_bitmap(&bytes[..end], &mut bits).is_none());
        }
        assert!(set_bits_of_bitmap(&bytes, &mut bits[..CONTAINER_BYTES]).is_none());
        let mut runs: RoaringBitmap = (0..60_000).collect();
        assert!(runs.optimize());
        bytes.clear();
        runs.serialize_into(&mut bytes).unwrap();
        assert!(set_bits_of_bitmap(&bytes, &mut bits).is_none());
    }
}
