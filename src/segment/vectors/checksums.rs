//! The checksums of rows: computed, found where they are stored, and compared.

use std::collections::BTreeSet;
use std::ops::Range;

use bytes::Bytes;

use super::WHAT;
use crate::cache::Span;
use crate::codec::{CodecError, checksum, u64_of, usize_of};
use crate::types::{ColumnId, ObjectId};

/// Half a checksum: with the seed and the row in it, a wrong row passes once in four billion, and eight bytes would be
/// a hundredth of a vector of 200 dimensions.
const CHECKSUM_BYTES: usize = 4;
/// What is read of the checksums of a large column: an aligned block of so many, 16 KiB.
///
/// Rows that are read together are mostly neighbours, and share a block. A smaller block would be more requests of a cold
/// query, a larger one more bytes for each row that is read alone.
const BLOCK_ROWS: u32 = 4_096;
/// A run of this many rows or more is mostly a window of a scan, and the next window needs the next blocks: all of an
/// aligned group are read, in one request.
const SCAN_ROWS: usize = 1_024;
/// The blocks of a group, 256 KiB: a few hundredths of a window.
const GROUP_BLOCKS: u32 = 16;
/// Checksums of up to this many bytes are kept in memory: those of 16,384 rows, which fit into the request that reads the
/// head next to them.
const RESIDENT_BYTES_MAX: u64 = 64 << 10;

/// Ties rows to the segment and the column they are of.
pub(in crate::segment) fn row_checksum_seed(segment: ObjectId, column: ColumnId) -> u32 {
    low_checksum(format!("{segment} {column}").as_bytes())
}

/// The checksum of a row of these components.
pub(super) fn row_checksum(seed: u32, row: u32, components: &[u8]) -> [u8; CHECKSUM_BYTES] {
    (low_checksum(components) ^ seed.wrapping_add(row)).to_le_bytes()
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is stored")]
fn low_checksum(bytes: &[u8]) -> u32 {
    checksum(bytes) as u32
}

/// Whether the checksums in a section of `length` bytes are read with the head and kept.
pub(in crate::segment) fn are_resident(length: u64) -> bool {
    length <= RESIDENT_BYTES_MAX
}

/// The checksums of the rows of a column: in memory, or in blocks on the store.
#[derive(Clone, Debug)]
pub(in crate::segment) struct RowChecksums {
    seed: u32,
    /// Where they are in the file, if they are not in memory.
    range: Range<u64>,
    resident: Option<Bytes>,
}

impl RowChecksums {
    /// Those of `rows` rows: the head `resident`, or in the file from `offset` on. `seed` is that of
    /// [`row_checksum_seed`].
    pub(super) fn new(
        seed: u32,
        rows: u32,
        offset: Option<u64>,
        resident: Option<&Bytes>,
    ) -> Result<Self, CodecError> {
        let length = u64::from(rows) * u64_of(CHECKSUM_BYTES);
        let range = match (offset, resident) {
            (None, Some(bytes)) if u64_of(bytes.len()) == length => Some(0..0),
            (Some(offset), None) => offset.checked_add(length).map(|end| offset..end),
            _ => None,
        };
        let wrong = || CodecError::malformed(WHAT, "the checksums are not those of the rows");
        // A copy: what arrived may be a slice of a response that is much larger.
        let resident = resident.map(|bytes| Bytes::copy_from_slice(bytes));
        Ok(Self { seed, range: range.ok_or_else(wrong)?, resident })
    }

    /// The offset behind the last one in the file, if they are there.
    pub(super) fn end(&self) -> Option<u64> {
        if self.resident.is_some() { None } else { Some(self.range.end) }
    }

    /// The blocks to read for these rows, ascending, each as the number of its first row. There are none if the checksums
    /// are in memory.
    pub(super) fn blocks(&self, runs: &[Range<u32>]) -> Vec<u32> {
        if self.resident.is_some() {
            return Vec::new();
        }
        let all =
            (self.range.end - self.range.start).div_ceil(u64::from(BLOCK_ROWS) * u64_of(CHECKSUM_BYTES));
        let numbers = runs.iter().filter(|run| !run.is_empty()).flat_map(|run| {
            let unit = if run.len() < SCAN_ROWS { 1 } else { GROUP_BLOCKS };
            let (first, end) = (run.start / BLOCK_ROWS, run.end.div_ceil(BLOCK_ROWS));
            first / unit * unit..end.next_multiple_of(unit)
        });
        // Runs that share a block follow each other, but callers need not rely on their order.
        let numbers: BTreeSet<u32> = numbers.filter(|number| u64::from(*number) < all).collect();
        numbers.into_iter().map(|number| number * BLOCK_ROWS).collect()
    }

    /// Where a block lies. Without a checksum of its own: those within are as good as the rows that they fit.
    pub(super) fn block_span(&self, first_row: u32) -> Span {
        let at = |row: u64| self.range.start.saturating_add(row * u64_of(CHECKSUM_BYTES)).min(self.range.end);
        (at(first_row.into())..at(u64::from(first_row) + u64::from(BLOCK_ROWS))).into()
    }

    /// The checksums of some rows: those in memory, or in these `blocks` and their bytes.
    pub(super) fn loaded(&self, blocks: &[u32], bytes: &[Bytes]) -> LoadedChecksums {
        let mut loaded: Vec<_> = blocks.iter().copied().zip(bytes.iter().cloned()).collect();
        loaded.extend(self.resident.iter().map(|bytes| (0, bytes.clone())));
        LoadedChecksums { seed: self.seed, blocks: loaded }
    }
}

/// Checksums in memory.
pub(super) struct LoadedChecksums {
    seed: u32,
    /// Each with the row that it begins with, ascending.
    blocks: Vec<(u32, Bytes)>,
}

impl LoadedChecksums {
    /// Checks a run of rows, of `width` bytes each.
    pub(super) fn verify_run(
        &self,
        run: &Range<u32>,
        components: &[u8],
        width: usize,
    ) -> Result<(), CodecError> {
        if components.len() != run.len() * width {
            return Err(CodecError::Truncated { what: WHAT });
        }
        let mut checksums = self.run_checksums(run);
        for (row, components) in run.clone().zip(components.chunks_exact(width)) {
            let stored = checksums.next().ok_or(CodecError::Truncated { what: WHAT })?;
            if *stored != row_checksum(self.seed, row, components) {
                return Err(CodecError::Checksum { what: WHAT });
            }
        }
        Ok(())
    }

    /// The checksums of a run of rows. Fewer than there are rows if they are not all there.
    fn run_checksums(&self, run: &Range<u32>) -> impl Iterator<Item = &[u8; CHECKSUM_BYTES]> {
        let first = self.blocks.partition_point(|(first_row, _)| *first_row <= run.start).saturating_sub(1);
        let blocks = self.blocks.iter().skip(first).take_while(|(first_row, _)| *first_row < run.end);
        blocks.flat_map(|(first_row, bytes)| {
            let checksums = bytes.as_chunks().0;
            let at = |row: u32| usize_of(row.saturating_sub(*first_row)).min(checksums.len());
            // Both are within the block.
            let within = checksums.get(at(run.start)..at(run.end));
            within.into_iter().flatten()
        })
    }
}
