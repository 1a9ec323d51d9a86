//! The portable format of roaring bitmaps, as far as it is faster to go by it than by single rows.
//!
//! Source: the format specification of roaring bitmaps. Without runs it is
//! `12346 u32 | containers u32 | (key u16 | values - 1 u16) × containers | offset u32 × containers | containers`,
//! where a container of up to 4,096 values has them as u16, ascending, and one of more a bit for each of 65,536.

use roaring::RoaringBitmap;

/// A bit for each value of a container, in bytes.
pub(super) const CONTAINER_BYTES: usize = 1 << 13;
const ARRAY_MAX: usize = 4096;
const NO_RUNS: u32 = 12_346;
/// Digits are of so many bits: two for a million rows.
const RADIX_BITS: u32 = 10;
/// Fewer rows are compared.
const RADIX_MIN: usize = 512;

/// Rows by containers, ascending.
#[derive(Debug, Default)]
struct Writer {
    heads: Vec<u8>,
    /// Where each container begins in the values.
    starts: Vec<usize>,
    values: Vec<[u8; 2]>,
}

impl Writer {
    /// Ends a container of `count` values that begins at `start`.
    fn close(&mut self, key: u16, start: usize, count: usize) {
        if let Some(last) = count.checked_sub(1) {
            self.heads.extend(key.to_le_bytes());
            self.heads.extend(u16::try_from(last).unwrap_or(u16::MAX).to_le_bytes());
            self.starts.push(start);
        }
    }

    /// Ends a container of listed values that begins at `start` and ends with that of a row.
    fn close_list(&mut self, last: u32, start: usize) {
        let count = self.values.len() - start;
        if count > ARRAY_MAX {
            let values = self.values.split_off(start);
            self.values.resize(start + CONTAINER_BYTES / 2, [0; 2]);
            let bits = self.values.get_mut(start..).unwrap_or_default().as_flattened_mut();
            for value in values.into_iter().map(u16::from_le_bytes) {
                if let Some(byte) = bits.get_mut(usize::from(value >> 3)) {
                    *byte |= 1 << (value & 7);
                }
            }
        }
        self.close(u16::try_from(last >> 16).unwrap_or(u16::MAX), start, count);
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
        RoaringBitmap::deserialize_unchecked_from(bytes.as_slice()).ok()
    }
}

/// The rows whose bits are set.
pub(super) fn of_bits(bits: &[u8]) -> RoaringBitmap {
    let mut writer = Writer::default();
    for (key, chunk) in (0..=u16::MAX).zip(bits.chunks(CONTAINER_BYTES)) {
        let start = writer.values.len();
        let words = chunk.as_chunks::<8>().0;
        let count: u32 = words.iter().map(|word| u64::from_le_bytes(*word).count_ones()).sum();
        let count = count as usize;
        if count > ARRAY_MAX {
            writer.values.extend(chunk.as_chunks::<2>().0);
        } else {
            for (at, word) in (0_u16..).zip(words) {
                let mut word = u64::from_le_bytes(*word);
                while word != 0 {
                    writer.values.push((at * 64 + low(word)).to_le_bytes());
                    word &= word - 1;
                }
            }
        }
        writer.close(key, start, count);
    }
    // What was written just so can be read; were it not, the slow way says the same.
    writer.finish().unwrap_or_else(|| RoaringBitmap::from_lsb0_bytes(0, bits))
}

/// These rows, which may be in any order and there more than once.
pub(super) fn of_list(mut rows: Vec<u32>) -> RoaringBitmap {
    if rows.len() < RADIX_MIN {
        rows.sort_unstable();
    } else {
        rows = radix_sorted(rows);
    }
    let mut writer = Writer { values: Vec::with_capacity(rows.len()), ..Writer::default() };
    let (mut start, mut last) = (0, None);
    for row in &rows {
        if last == Some(*row) {
            continue;
        }
        if let Some(last) = last.filter(|last| last >> 16 != row >> 16) {
            writer.close_list(last, start);
            start = writer.values.len();
        }
        last = Some(*row);
        let [low, high, ..] = row.to_le_bytes();
        writer.values.push([low, high]);
    }
    if let Some(last) = last {
        writer.close_list(last, start);
    }
    writer.finish().unwrap_or_else(|| rows.into_iter().collect())
}

/// By digits, the lowest first: of thousands of rows twice as fast as by comparing them.
fn radix_sorted(mut rows: Vec<u32>) -> Vec<u32> {
    let most = rows.iter().max().copied().unwrap_or(0);
    let mut sorted = vec![0; rows.len()];
    let mut shift = 0;
    while shift < u32::BITS && most >> shift > 0 {
        let digit = |row: u32| (row >> shift) as usize & ((1 << RADIX_BITS) - 1);
        let mut places = [0_usize; 1 << RADIX_BITS];
        for row in &rows {
            if let Some(count) = places.get_mut(digit(*row)) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for place in &mut places {
            (*place, sum) = (sum, sum + *place);
        }
        for row in &rows {
            if let Some(place) = places.get_mut(digit(*row)) {
                if let Some(to) = sorted.get_mut(*place) {
                    *to = *row;
                }
                *place += 1;
            }
        }
        std::mem::swap(&mut rows, &mut sorted);
        shift += RADIX_BITS;
    }
    rows
}

/// The place of the lowest bit that is set.
fn low(word: u64) -> u16 {
    u16::try_from(word.trailing_zeros()).unwrap_or(0)
}

/// Sets the bits of the rows of a bitmap without runs, read from bytes that are not trusted. `None` if it has runs,
/// is damaged, or holds rows that have no bit here: some bits may be set nevertheless.
pub(super) fn add_to_bits(bytes: &[u8], bits: &mut [u8]) -> Option<()> {
    let (cookie, rest) = bytes.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    if u32::from_le_bytes(*cookie) != NO_RUNS {
        return None;
    }
    let (heads, rest) = rest.split_at_checked(count.checked_mul(4)?)?;
    // Containers follow each other: where they begin need not be looked at.
    let (_, mut values) = rest.split_at_checked(heads.len())?;
    for [key_low, key_high, low, high] in heads.as_chunks().0 {
        let key = usize::from(u16::from_le_bytes([*key_low, *key_high]));
        let count = usize::from(u16::from_le_bytes([*low, *high])) + 1;
        let start = key * CONTAINER_BYTES;
        let bits = bits.get_mut(start..start + CONTAINER_BYTES)?;
        let length = if count > ARRAY_MAX { CONTAINER_BYTES } else { count * 2 };
        let (container, rest) = values.split_at_checked(length)?;
        values = rest;
        if count > ARRAY_MAX {
            bits.iter_mut().zip(container).for_each(|(to, from)| *to |= from);
            continue;
        }
        for value in container.as_chunks().0 {
            let value = u16::from_le_bytes(*value);
            if let Some(byte) = bits.get_mut(usize::from(value >> 3)) {
                *byte |= 1 << (value & 7);
            }
        }
    }
    values.is_empty().then_some(())
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
            assert_eq!(of_bits(&bits), expected);
            let mut shuffled: Vec<u32> =
                rows.iter().rev().copied().chain(rows.iter().step_by(3).copied()).collect();
            shuffled.rotate_left(rows.len() / 3);
            assert_eq!(of_list(shuffled), expected);
            let mut bytes = Vec::new();
            expected.serialize_into(&mut bytes).unwrap();
            let mut read = vec![0; 8 * CONTAINER_BYTES];
            let done = add_to_bits(&bytes, &mut read);
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
            assert!(add_to_bits(&bytes[..end], &mut bits).is_none());
        }
        assert!(add_to_bits(&bytes, &mut bits[..CONTAINER_BYTES]).is_none());
        let mut runs: RoaringBitmap = (0..60_000).collect();
        assert!(runs.optimize());
        bytes.clear();
        runs.serialize_into(&mut bytes).unwrap();
        assert!(add_to_bits(&bytes, &mut bits).is_none());
    }
}
