//! Postings of a packed index: tantivy's bytes, read block by block in any order.
//!
//! tantivy's own reader goes forward alone and unpacks every block that it comes by. Here the skip list is read
//! first, so that only blocks whose rows may count are unpacked, the most promising ones before others.
//!
//! ```text
//! postings: skip list, if there is a full block | full blocks of 128 rows | the rest
//! list:     its length as vint | (last row u32 | bits of a row u8 | bits of a frequency u8 | tokens u32
//!           | length and frequency that score most u8, u8) × full blocks
//! block:    rows less those before them, bit-packed | frequencies less one, bit-packed
//! rest:     rows less those before them, each a vint | frequencies, each a vint
//! ```
//! A vint has seven bits a byte, the least first; the last byte has its high bit set.

use std::fmt;

use bitpacking::{BitPacker, BitPacker4x};
use tantivy::directory::OwnedBytes;

use super::places::Places;
use super::postings::END;

/// Rows of a full block.
pub(super) const BLOCK: usize = BitPacker4x::BLOCK_LEN;
/// Bytes of an entry of the skip list.
const ENTRY: usize = 12;
/// Of the bits of a row: whether what is packed is one less than the step from row to row, and how many.
const STRICT: u8 = 1 << 6;
const BITS: u8 = 31;

/// Postings that were made readable, and a walk over them.
#[derive(Clone)]
pub(super) struct Blocks {
    bytes: OwnedBytes,
    list: Vec<Block>,
    cost: u32,
    places: Option<Places>,
    /// The block that is unpacked, how many rows it has, and the row at hand.
    block: usize,
    count: usize,
    at: usize,
    rows: Box<[u32; BLOCK]>,
    frequencies: Box<[u32; BLOCK]>,
}

/// What the skip list says of a block.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Block {
    /// Its last row, and that of the block before it.
    pub(super) last: u32,
    before: u32,
    /// Where its bytes begin, and how many tokens there are before it.
    start: usize,
    tokens: u64,
    row_bits: u8,
    frequency_bits: u8,
    /// The length and the frequency that score most by what tantivy assumes; nothing of the rest.
    pub(super) most: Option<(u8, u8)>,
}

/// The number that begins there, and the bytes behind it.
pub(super) fn vint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 != 0 {
            return Some((number, bytes.get(at + 1..)?));
        }
    }
    None
}

impl Blocks {
    /// Postings of `cost` rows. `None` if they cannot be.
    pub(super) fn open(bytes: OwnedBytes, cost: u32, places: Option<Places>) -> Option<Self> {
        let full = cost as usize / BLOCK;
        let mut list = Vec::with_capacity(full.min(bytes.len() / ENTRY) + 1);
        let mut next = Block::default();
        if full > 0 {
            let (length, behind) = vint(&bytes)?;
            let (entries, behind) = behind.split_at_checked(usize::try_from(length).ok()?)?;
            next.start = bytes.len() - behind.len();
            for entry in entries.as_chunks::<ENTRY>().0.iter().take(full) {
                list.push(next.read(entry)?);
            }
        }
        if list.len() != full || next.start > bytes.len() {
            return None;
        }
        let (rows, frequencies) = (Box::new([END; BLOCK]), Box::new([0; BLOCK]));
        let mut new =
            Self { bytes, list, cost, places, block: usize::MAX, count: 0, at: 0, rows, frequencies };
        if !(cost as usize).is_multiple_of(BLOCK) {
            next.last = END - 1;
            new.list.push(next);
            new.load(full);
            let end = new.count.checked_sub(1).and_then(|at| new.rows.get(at).copied());
            new.list.last_mut()?.last = end?;
        }
        new.load(0);
        Some(new)
    }

    pub(super) fn cost(&self) -> u64 {
        self.cost.into()
    }

    /// What is known of the blocks.
    pub(super) fn blocks(&self) -> &[Block] {
        &self.list
    }

    /// Unpacks a block, and goes to its first row.
    pub(super) fn load(&mut self, number: usize) {
        self.at = 0;
        if self.block == number {
            return;
        }
        self.block = number;
        let Some(block) = self.list.get(number) else {
            self.count = 0;
            self.rows.fill(END);
            return;
        };
        let bytes = self.bytes.as_slice().get(block.start..).unwrap_or_default();
        self.count = match block.most {
            Some(_) => block.unpack(bytes, &mut self.rows, &mut self.frequencies),
            None => block.rest(bytes, self.cost as usize % BLOCK, &mut self.rows, &mut self.frequencies),
        };
        self.rows.iter_mut().skip(self.count).for_each(|row| *row = END);
    }

    /// The rows and the frequencies of the block that is unpacked, from the one at hand on.
    pub(super) fn rest(&self) -> (&[u32], &[u32]) {
        let of = self.at..self.count;
        let (rows, frequencies) = (self.rows.get(of.clone()), self.frequencies.get(of));
        (rows.unwrap_or_default(), frequencies.unwrap_or_default())
    }

    /// Those of them below `end`; goes behind them.
    pub(super) fn until(&mut self, end: u32) -> (&[u32], &[u32]) {
        let start = self.at;
        let (rows, _) = self.rest();
        let count = match rows.last() {
            Some(last) if *last < end => rows.len(),
            _ => rows.partition_point(|row| *row < end),
        };
        self.at += count;
        let of = start..self.at;
        let (rows, frequencies) = (self.rows.get(of.clone()), self.frequencies.get(of));
        (rows.unwrap_or_default(), frequencies.unwrap_or_default())
    }

    /// On to the first row of the next block, if there is one.
    pub(super) fn next_block(&mut self) -> bool {
        self.load(self.block + 1);
        self.count > 0
    }

    /// On to the next block if this one is at its end, and there is one.
    pub(super) fn goes_on(&mut self) -> bool {
        if self.at < self.count {
            return false;
        }
        self.next_block()
    }

    /// The number of the block at hand.
    pub(super) fn block(&self) -> usize {
        self.block
    }

    pub(super) fn row(&self) -> u32 {
        self.rows.get(self.at).copied().unwrap_or(END)
    }

    pub(super) fn frequency(&self) -> u32 {
        self.frequencies.get(self.at).copied().unwrap_or_default()
    }

    pub(super) fn advance(&mut self) -> u32 {
        self.at += 1;
        if self.at >= self.count {
            self.load(self.block + 1);
        }
        self.row()
    }

    /// On to the first row that is not below `row`.
    pub(super) fn seek(&mut self, row: u32) -> u32 {
        if self.row() >= row {
            return self.row();
        }
        let here = self.list.get(self.block).is_some_and(|block| row <= block.last);
        if !here {
            let ahead = self.list.get(self.block + 1..).unwrap_or_default();
            let far = ahead.partition_point(|block| block.last < row);
            self.load(self.block + 1 + far);
        }
        let (rows, _) = self.rest();
        self.at += rows.partition_point(|at| *at < row);
        self.row()
    }

    /// To the first row that is not below `row`, wherever the walk is.
    pub(super) fn jump(&mut self, row: u32) -> u32 {
        if !self.list.get(self.block).is_some_and(|block| block.spans(row)) {
            self.load(self.list.partition_point(|block| block.last < row));
        }
        self.at = self.rows.partition_point(|at| *at < row);
        self.row()
    }

    /// How often a row holds the token, if it does, wherever the walk is.
    pub(super) fn find(&mut self, row: u32) -> Option<u32> {
        (self.jump(row) == row).then(|| self.frequency())
    }

    /// Adds where in the row at hand the token lies.
    pub(super) fn positions(&mut self, out: &mut Vec<u32>) {
        let (Some(places), Some(block)) = (&mut self.places, self.list.get(self.block)) else { return };
        let before = self.frequencies.get(..self.at).unwrap_or_default();
        let before: u64 = before.iter().map(|frequency| u64::from(*frequency)).sum();
        let count = self.frequencies.get(self.at).copied().unwrap_or_default();
        places.read(block.tokens + before, count, out);
    }
}

impl Block {
    /// The block of an entry; this goes on to where the next one begins.
    fn read(&mut self, entry: &[u8; ENTRY]) -> Option<Self> {
        let (last, entry) = entry.split_first_chunk()?;
        let ([row_bits, frequency_bits], entry) = entry.split_first_chunk()?;
        let (tokens, entry) = entry.split_first_chunk()?;
        let [norm, frequency] = entry.try_into().ok()?;
        let (last, row_bits, frequency_bits) = (u32::from_le_bytes(*last), *row_bits, *frequency_bits);
        let sound = (last > self.before || self.before == 0) && last < END && frequency_bits <= BITS + 1;
        let block = Self { last, row_bits, frequency_bits, most: Some((norm, frequency)), ..*self };
        self.before = last;
        self.start += block.size();
        self.tokens += u64::from(u32::from_le_bytes(*tokens));
        sound.then_some(block)
    }

    /// Whether no other block has the row.
    fn spans(&self, row: u32) -> bool {
        row <= self.last && (row > self.before || self.before == 0)
    }

    /// The bytes of a full block.
    fn size(&self) -> usize {
        usize::from((self.row_bits & BITS) + self.frequency_bits) * (BLOCK / 8)
    }

    fn unpack(&self, bytes: &[u8], rows: &mut [u32; BLOCK], frequencies: &mut [u32; BLOCK]) -> usize {
        let unpacker = BitPacker4x::new();
        let bits = self.row_bits & BITS;
        let (Some(packed), Some(behind)) =
            (bytes.get(..self.size()), bytes.get(usize::from(bits) * (BLOCK / 8)..))
        else {
            return 0;
        };
        if self.row_bits & STRICT != 0 {
            let before = (self.before > 0).then_some(self.before);
            unpacker.decompress_strictly_sorted(before, packed, rows, bits);
        } else {
            unpacker.decompress_sorted(self.before, packed, rows, bits);
        }
        unpacker.decompress(behind, frequencies, self.frequency_bits);
        for frequency in frequencies {
            *frequency = frequency.wrapping_add(1);
        }
        BLOCK
    }

    fn rest(
        &self,
        mut bytes: &[u8],
        count: usize,
        rows: &mut [u32; BLOCK],
        frequencies: &mut [u32; BLOCK],
    ) -> usize {
        let mut next = || {
            let (number, behind) = vint(bytes)?;
            bytes = behind;
            u32::try_from(number).ok()
        };
        let mut row = self.before;
        for slot in rows.iter_mut().take(count) {
            let Some(step) = next() else { return 0 };
            row = row.saturating_add(step).min(END - 1);
            *slot = row;
        }
        for slot in frequencies.iter_mut().take(count) {
            let Some(frequency) = next() else { return 0 };
            *slot = frequency;
        }
        count
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blocks(at row {})", self.row())
    }
}
