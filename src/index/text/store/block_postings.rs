//! Postings of a packed index: tantivy's bytes, read block by block in any order.
//!
//! tantivy's own reader moves forward only, and unpacks every block that it passes. Here the skip list is read first,
//! so that only blocks that may hold a hit are unpacked, the most promising before the others.
//!
//! ```text
//! postings:   skip list, if there is a full block | full blocks of 128 rows | tail
//! skip list:  its length as vint | (last row u32 | bits of a row u8 | bits of a frequency u8 | tokens u32
//!             | norm and frequency with the highest score u8, u8) × full blocks
//! full block: rows as differences, bit-packed | frequencies less one, bit-packed
//! tail:       rows as differences, each a vint | frequencies, each a vint
//! ```
//!
//! **Invariant:** [`BlockPostings::open`] checks that all blocks lie within the bytes and that the tail can be read, so
//! unpacking cannot fail. What a forged block unpacks to is anything: rows may be out of order and beyond the part.

use std::fmt;
use std::ops::Range;

use bitpacking::{BitPacker, BitPacker4x};
use tantivy::TERMINATED;
use tantivy::directory::OwnedBytes;

use super::position_reader::PositionReader;
use super::varint::read_vint;

/// The row of a cursor that is behind its last row.
pub(in crate::index::text) const NO_MORE_ROWS: u32 = TERMINATED;
/// Rows of a full block.
pub(in crate::index::text) const POSTINGS_BLOCK_LEN: usize = BitPacker4x::BLOCK_LEN;
/// Bytes of an entry of the skip list.
const SKIP_ENTRY_BYTES: usize = 12;
/// In the byte of the row bits: differences are stored less one.
const STRICT_DELTAS: u8 = 1 << 6;
/// In the byte of the row bits: the bits of a difference.
const ROW_BITS_MASK: u8 = 31;
const FREQUENCY_BITS_MAX: u8 = 32;

/// Postings whose bytes were fetched, and a cursor over them.
#[derive(Clone)]
pub(in crate::index::text) struct BlockPostings {
    bytes: OwnedBytes,
    /// The full blocks, and behind them the tail if there is one.
    skip_list: Vec<SkipEntry>,
    row_count: u32,
    positions: Option<PositionReader>,
    /// The number of the block that is unpacked.
    block: usize,
    /// Rows of that block, and the index of the current row among them.
    len: usize,
    index: usize,
    /// Filled up with [`NO_MORE_ROWS`].
    rows: Box<[u32; POSTINGS_BLOCK_LEN]>,
    frequencies: Box<[u32; POSTINGS_BLOCK_LEN]>,
}

/// What the skip list stores of a block.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::index::text) struct SkipEntry {
    pub(in crate::index::text) last_row: u32,
    /// The last row of the block before it; 0 if there is none.
    row_before: u32,
    offset: usize,
    /// Tokens in the blocks before it: the number of its first position.
    tokens_before: u64,
    row_bits: u8,
    frequency_bits: u8,
    /// `None` for the tail.
    pub(in crate::index::text) block_max: Option<BlockMax>,
}

/// The length and the frequency that score highest in a block, by the parameters that tantivy assumes.
#[derive(Clone, Copy, Debug)]
pub(in crate::index::text) struct BlockMax {
    pub(in crate::index::text) norm: u8,
    pub(in crate::index::text) frequency: u8,
}

impl BlockPostings {
    /// Opens postings of `row_count` rows. `None` if the bytes cannot be postings.
    pub(in crate::index::text::store) fn open(
        bytes: OwnedBytes,
        row_count: u32,
        positions: Option<PositionReader>,
    ) -> Option<Self> {
        let full_blocks = row_count as usize / POSTINGS_BLOCK_LEN;
        // A forged count must not reserve more than the bytes can hold.
        let mut skip_list = Vec::with_capacity(full_blocks.min(bytes.len() / SKIP_ENTRY_BYTES) + 1);
        let mut next = SkipEntry::default();
        if full_blocks > 0 {
            let (list_bytes, tail) = read_vint(&bytes)?;
            let (entries, tail) = tail.split_at_checked(usize::try_from(list_bytes).ok()?)?;
            next.offset = bytes.len() - tail.len();
            for entry in entries.as_chunks::<SKIP_ENTRY_BYTES>().0.iter().take(full_blocks) {
                skip_list.push(next.decode_next(entry)?);
            }
        }
        if skip_list.len() != full_blocks || next.offset > bytes.len() {
            return None;
        }
        let mut postings = Self {
            bytes,
            skip_list,
            row_count,
            positions,
            block: usize::MAX,
            len: 0,
            index: 0,
            rows: Box::new([NO_MORE_ROWS; POSTINGS_BLOCK_LEN]),
            frequencies: Box::new([0; POSTINGS_BLOCK_LEN]),
        };
        if !(row_count as usize).is_multiple_of(POSTINGS_BLOCK_LEN) {
            // The skip list has no entry for the tail: its last row is known once it is unpacked.
            next.last_row = NO_MORE_ROWS - 1;
            postings.skip_list.push(next);
            postings.load_block(full_blocks);
            let last = postings.len.checked_sub(1).and_then(|last| postings.rows.get(last).copied());
            postings.skip_list.last_mut()?.last_row = last?;
        }
        postings.load_block(0);
        Some(postings)
    }

    pub(in crate::index::text) fn row_count(&self) -> u64 {
        self.row_count.into()
    }

    pub(in crate::index::text) fn skip_list(&self) -> &[SkipEntry] {
        &self.skip_list
    }

    /// Unpacks a block, and moves to its first row. Behind the last block there are no more rows.
    pub(in crate::index::text) fn load_block(&mut self, number: usize) {
        self.index = 0;
        if self.block == number {
            return;
        }
        self.block = number;
        self.len = match self.skip_list.get(number) {
            None => 0,
            Some(entry) => {
                // `open` checked that no block begins behind the end.
                let (_, bytes) = self.bytes.as_slice().split_at(entry.offset);
                if entry.block_max.is_some() {
                    entry.unpack_full_block(bytes, &mut self.rows, &mut self.frequencies)
                } else {
                    let len = self.row_count as usize % POSTINGS_BLOCK_LEN;
                    entry.unpack_tail(bytes, len, &mut self.rows, &mut self.frequencies)
                }
            }
        };
        // Searches below look at the whole array: the sentinel is above every row.
        self.rows.iter_mut().skip(self.len).for_each(|row| *row = NO_MORE_ROWS);
    }

    /// The rows and frequencies of the unpacked block, from the current row on.
    pub(in crate::index::text) fn remaining(&self) -> (&[u32], &[u32]) {
        self.slices(self.index..self.len)
    }

    /// The remaining rows of the unpacked block below `end`. Moves behind them.
    pub(in crate::index::text) fn take_until(&mut self, end: u32) -> (&[u32], &[u32]) {
        let start = self.index;
        let (rows, _) = self.remaining();
        let count = match rows.last() {
            // Most windows hold whole blocks of a frequent term: one comparison instead of a search.
            Some(last) if *last < end => rows.len(),
            _ => rows.partition_point(|row| *row < end),
        };
        self.index += count;
        self.slices(start..self.index)
    }

    fn slices(&self, range: Range<usize>) -> (&[u32], &[u32]) {
        let (rows, frequencies) = (self.rows.get(range.clone()), self.frequencies.get(range));
        // invariant: only in a forged block, which is not sorted, may a search end behind the rows. It has none then.
        (rows.unwrap_or_default(), frequencies.unwrap_or_default())
    }

    /// Moves to the first row of the next block. Returns whether there is one.
    pub(in crate::index::text) fn advance_block(&mut self) -> bool {
        self.load_block(self.block + 1);
        self.len > 0
    }

    /// Moves to the next block if the cursor is at the end of this one. Returns whether it moved to a row.
    pub(in crate::index::text) fn advance_exhausted_block(&mut self) -> bool {
        self.index >= self.len && self.advance_block()
    }

    /// The number of the unpacked block.
    pub(in crate::index::text) fn block_number(&self) -> usize {
        self.block
    }

    /// The current row.
    pub(in crate::index::text) fn row(&self) -> u32 {
        // invariant: behind a full block there is no element to hold the sentinel.
        self.rows.get(self.index).copied().unwrap_or(NO_MORE_ROWS)
    }

    /// How often the current row holds the term.
    #[expect(clippy::indexing_slicing, reason = "a cursor on a row is within the block")]
    pub(in crate::index::text) fn frequency(&self) -> u32 {
        debug_assert!(self.index < POSTINGS_BLOCK_LEN, "the cursor is on a row");
        self.frequencies[self.index]
    }

    pub(in crate::index::text) fn advance(&mut self) -> u32 {
        self.index += 1;
        if self.index >= self.len {
            self.load_block(self.block + 1);
        }
        self.row()
    }

    /// Moves forward to the first row that is not below `row`.
    pub(in crate::index::text) fn seek(&mut self, row: u32) -> u32 {
        if self.row() >= row {
            return self.row();
        }
        let is_in_block = self.skip_list.get(self.block).is_some_and(|entry| row <= entry.last_row);
        if !is_in_block {
            // invariant: a cursor behind the last block has nothing ahead of it.
            let ahead = self.skip_list.get(self.block + 1..).unwrap_or_default();
            let skipped = ahead.partition_point(|entry| entry.last_row < row);
            self.load_block(self.block + 1 + skipped);
        }
        let (rows, _) = self.remaining();
        self.index += rows.partition_point(|candidate| *candidate < row);
        self.row()
    }

    /// Moves to the first row that is not below `row`, forward or back.
    pub(in crate::index::text) fn jump_to(&mut self, row: u32) -> u32 {
        if !self.skip_list.get(self.block).is_some_and(|entry| entry.spans_row(row)) {
            self.load_block(self.skip_list.partition_point(|entry| entry.last_row < row));
        }
        self.index = self.rows.partition_point(|candidate| *candidate < row);
        self.row()
    }

    /// Moves to a row, forward or back. Returns how often it holds the term; `None` if it does not.
    pub(in crate::index::text) fn find_frequency(&mut self, row: u32) -> Option<u32> {
        debug_assert!(row < NO_MORE_ROWS, "a row of a part");
        (self.jump_to(row) == row).then(|| self.frequency())
    }

    /// Appends the positions of the term in the current row.
    #[expect(clippy::indexing_slicing, reason = "a cursor on a row is within the block")]
    pub(in crate::index::text) fn read_positions(&mut self, out: &mut Vec<u32>) {
        debug_assert!(self.index < POSTINGS_BLOCK_LEN, "the cursor is on a row");
        // Without positions none were loaded: the plan of the query does not look at them.
        let (Some(positions), Some(entry)) = (&mut self.positions, self.skip_list.get(self.block)) else {
            return;
        };
        // A row has as many positions as its frequency, so the frequencies before it are where its positions begin.
        let before: u64 = self.frequencies[..self.index].iter().map(|frequency| u64::from(*frequency)).sum();
        positions.read_positions(entry.tokens_before + before, self.frequencies[self.index], out);
    }
}

impl SkipEntry {
    /// Decodes the entry of the block that begins where `self` says, and moves `self` to the block behind it.
    fn decode_next(&mut self, entry: &[u8; SKIP_ENTRY_BYTES]) -> Option<Self> {
        let (last_row, entry) = entry.split_first_chunk()?;
        let ([row_bits, frequency_bits], entry) = entry.split_first_chunk()?;
        let (tokens, entry) = entry.split_first_chunk()?;
        let [norm, frequency] = entry.try_into().ok()?;
        let (last_row, row_bits, frequency_bits) =
            (u32::from_le_bytes(*last_row), *row_bits, *frequency_bits);
        let ascends = last_row > self.row_before || self.row_before == 0;
        let is_sound = ascends && last_row < NO_MORE_ROWS && frequency_bits <= FREQUENCY_BITS_MAX;
        let block_max = Some(BlockMax { norm, frequency });
        let block = Self { last_row, row_bits, frequency_bits, block_max, ..*self };
        self.row_before = last_row;
        self.offset += block.packed_bytes();
        self.tokens_before += u64::from(u32::from_le_bytes(*tokens));
        is_sound.then_some(block)
    }

    /// Whether the row can be in no other block.
    fn spans_row(&self, row: u32) -> bool {
        row <= self.last_row && (row > self.row_before || self.row_before == 0)
    }

    /// The bytes of a full block.
    fn packed_bytes(&self) -> usize {
        packed_bytes(self.row_bits & ROW_BITS_MASK) + packed_bytes(self.frequency_bits)
    }

    /// Unpacks a full block, which begins with `bytes`. Returns its length.
    fn unpack_full_block(
        &self,
        bytes: &[u8],
        rows: &mut [u32; POSTINGS_BLOCK_LEN],
        frequencies: &mut [u32; POSTINGS_BLOCK_LEN],
    ) -> usize {
        let unpacker = BitPacker4x::new();
        let row_bits = self.row_bits & ROW_BITS_MASK;
        let (packed_rows, packed_frequencies) = bytes.split_at(packed_bytes(row_bits));
        if self.row_bits & STRICT_DELTAS != 0 {
            // tantivy has no row before the first block; 0 stands for that here too, since a row before it cannot be
            // 0 unless a block of 128 rows ended there.
            let row_before = (self.row_before > 0).then_some(self.row_before);
            unpacker.decompress_strictly_sorted(row_before, packed_rows, rows, row_bits);
        } else {
            unpacker.decompress_sorted(self.row_before, packed_rows, rows, row_bits);
        }
        unpacker.decompress(packed_frequencies, frequencies, self.frequency_bits);
        for frequency in frequencies {
            // Wraps for a forged frequency of `u32::MAX` alone.
            *frequency = frequency.wrapping_add(1);
        }
        POSTINGS_BLOCK_LEN
    }

    /// Unpacks the tail of `len` rows, which begins with `bytes`. Returns its length; 0 if it cannot be read.
    fn unpack_tail(
        &self,
        mut bytes: &[u8],
        len: usize,
        rows: &mut [u32; POSTINGS_BLOCK_LEN],
        frequencies: &mut [u32; POSTINGS_BLOCK_LEN],
    ) -> usize {
        let mut read_next = || {
            let (number, tail) = read_vint(bytes)?;
            bytes = tail;
            u32::try_from(number).ok()
        };
        let mut row = self.row_before;
        for slot in rows.iter_mut().take(len) {
            let Some(difference) = read_next() else { return 0 };
            row = row.saturating_add(difference).min(NO_MORE_ROWS - 1);
            *slot = row;
        }
        for slot in frequencies.iter_mut().take(len) {
            let Some(frequency) = read_next() else { return 0 };
            *slot = frequency;
        }
        len
    }
}

/// The bytes of a full block of numbers of so many bits.
fn packed_bytes(bits: u8) -> usize {
    usize::from(bits) * (POSTINGS_BLOCK_LEN / 8)
}

impl fmt::Debug for BlockPostings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockPostings(at row {})", self.row())
    }
}
