//! Positions of a term: tantivy's bytes, with random access.
//!
//! ```text
//! full blocks, their number as vint | bits of a position u8 × full blocks | full blocks of 128 positions, bit-packed
//! | the other positions, each a vint
//! ```
//! The positions of all rows follow one another. Within a row each position is stored less the position before it.

use bitpacking::{BitPacker, BitPacker4x};
use tantivy::directory::OwnedBytes;

use super::varint::read_vint;

/// Positions of a full block.
const BLOCK_LEN: usize = BitPacker4x::BLOCK_LEN;
/// A bit width of the packer is at most that of a `u32`.
const BITS_MAX: u8 = 32;

/// The positions of a term whose bytes were fetched.
///
/// tantivy's own `PositionReader` reads forward only. Phrase matching asks for the rows that may be hits, in the order
/// of their windows' scores, so it jumps back as well.
#[derive(Clone)]
pub(super) struct PositionReader {
    bytes: OwnedBytes,
    /// The full blocks, and behind them the block of vints.
    blocks: Vec<PositionBlock>,
    /// The number of the block in `unpacked`.
    loaded_block: Option<usize>,
    unpacked: Vec<u32>,
}

#[derive(Clone, Copy)]
struct PositionBlock {
    /// Bits of a position; 0 for the block of vints.
    bits: u8,
    offset: usize,
}

impl PositionReader {
    /// `None` if the bytes cannot be positions.
    pub(super) fn open(bytes: OwnedBytes) -> Option<Self> {
        let all = bytes.as_slice();
        let (block_count, tail) = read_vint(all)?;
        let (widths, tail) = tail.split_at_checked(usize::try_from(block_count).ok()?)?;
        let mut offset = all.len() - tail.len();
        let mut blocks = Vec::with_capacity(widths.len() + 1);
        for bits in widths.iter().copied() {
            blocks.push(PositionBlock { bits, offset });
            offset = offset.checked_add(packed_bytes(bits))?;
        }
        blocks.push(PositionBlock { bits: 0, offset });
        // What holds here for all blocks is what `load_block` relies on.
        let is_sound = widths.iter().all(|bits| *bits <= BITS_MAX) && offset <= all.len();
        is_sound.then(|| Self { bytes, blocks, loaded_block: None, unpacked: Vec::new() })
    }

    /// Appends the positions of a row: `count` positions of the term, from its position number `first` on.
    pub(super) fn read_positions(&mut self, first: u64, count: u32, out: &mut Vec<u32>) {
        // invariant: nothing is stored at numbers beyond the address space, so there is nothing to append.
        let Ok(mut number) = usize::try_from(first) else { return };
        let (mut missing, mut position) = (count as usize, 0_u32);
        while missing > 0 {
            // All positions behind the full blocks are in the last block, however many they are.
            let block = (number / BLOCK_LEN).min(self.blocks.len().saturating_sub(1));
            self.load_block(block);
            // invariant: postings of a forged file may claim more positions than there are; the row then has fewer.
            let steps = self.unpacked.get(number - block * BLOCK_LEN..).unwrap_or_default();
            if steps.is_empty() {
                return;
            }
            let taken = missing.min(steps.len());
            out.extend(steps.iter().take(taken).map(|step| {
                position = position.saturating_add(*step);
                position
            }));
            missing -= taken;
            number += taken;
        }
    }

    #[expect(clippy::indexing_slicing, reason = "`open` checked where blocks lie")]
    fn load_block(&mut self, number: usize) {
        // The rows of a window mostly lie in one block: unpacking it once is most of what is saved.
        if self.loaded_block == Some(number) {
            return;
        }
        debug_assert!(number < self.blocks.len(), "a block that `open` counted");
        let PositionBlock { bits, offset } = self.blocks[number];
        let mut bytes = &self.bytes.as_slice()[offset..];
        self.loaded_block = Some(number);
        self.unpacked.clear();
        if number + 1 < self.blocks.len() {
            self.unpacked.resize(BLOCK_LEN, 0);
            BitPacker4x::new().decompress(bytes, &mut self.unpacked, bits);
            return;
        }
        // tantivy packs whenever it has a full block, so fewer than 128 are left.
        while let Some((step, tail)) = read_vint(bytes).filter(|_| self.unpacked.len() < BLOCK_LEN) {
            // invariant: tantivy's positions are `u32`; a greater step is forged, and is kept from wrapping.
            self.unpacked.push(u32::try_from(step).unwrap_or(u32::MAX));
            bytes = tail;
        }
    }
}

/// The bytes of a full block.
fn packed_bytes(bits: u8) -> usize {
    usize::from(bits) * (BLOCK_LEN / 8)
}
