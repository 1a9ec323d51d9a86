//! Where in the rows a token lies: tantivy's positions, read anywhere.
//!
//! ```text
//! full blocks, their number as vint | bits of a position u8 × full blocks | full blocks of 128 positions, bit-packed
//! | the other positions, each a vint
//! ```
//! The positions of a row lie behind one another, each less the one before it.

use bitpacking::{BitPacker, BitPacker4x};
use tantivy::directory::OwnedBytes;

use super::blocks::{BLOCK, vint};

/// The positions of a token that were made readable.
#[derive(Clone)]
pub(super) struct Places {
    bytes: OwnedBytes,
    /// Of each full block its bits, and where it begins; then where the rest begins.
    blocks: Vec<(u8, usize)>,
    /// The block that is unpacked.
    block: usize,
    unpacked: Vec<u32>,
}

impl Places {
    /// `None` if they cannot be.
    pub(super) fn open(bytes: OwnedBytes) -> Option<Self> {
        let all = bytes.as_slice();
        let (count, behind) = vint(all)?;
        let (bits, behind) = behind.split_at_checked(usize::try_from(count).ok()?)?;
        let mut start = all.len() - behind.len();
        let mut blocks = Vec::with_capacity(bits.len() + 1);
        for bits in bits.iter().copied() {
            blocks.push((bits, start));
            start = start.checked_add(usize::from(bits) * (BLOCK / 8))?;
        }
        blocks.push((0, start));
        let sound = bits.iter().all(|bits| *bits <= 32) && start <= all.len();
        sound.then(|| Self { bytes, blocks, block: usize::MAX, unpacked: Vec::new() })
    }

    /// Adds `count` positions of a row from number `from` of all on.
    pub(super) fn read(&mut self, from: u64, count: u32, out: &mut Vec<u32>) {
        let Ok(mut from) = usize::try_from(from) else { return };
        let (mut left, mut place) = (count as usize, 0_u32);
        while left > 0 {
            // What is no full block is one, however long.
            let block = (from / BLOCK).min(self.blocks.len().saturating_sub(1));
            self.load(block);
            let here = self.unpacked.get(from - block * BLOCK..).unwrap_or_default();
            if here.is_empty() {
                return;
            }
            let taken = left.min(here.len());
            out.extend(here.iter().take(taken).map(|step| {
                place = place.saturating_add(*step);
                place
            }));
            left -= taken;
            from += taken;
        }
    }

    fn load(&mut self, number: usize) {
        if self.block == number {
            return;
        }
        self.block = number;
        self.unpacked.clear();
        let Some((bits, start)) = self.blocks.get(number).copied() else { return };
        let mut bytes = self.bytes.as_slice().get(start..).unwrap_or_default();
        if number + 1 < self.blocks.len() {
            self.unpacked.resize(BLOCK, 0);
            if bytes.len() >= usize::from(bits) * (BLOCK / 8) {
                BitPacker4x::new().decompress(bytes, &mut self.unpacked, bits);
            }
            return;
        }
        while let Some((place, behind)) = vint(bytes).filter(|_| self.unpacked.len() < BLOCK) {
            self.unpacked.push(u32::try_from(place).unwrap_or(u32::MAX));
            bytes = behind;
        }
    }
}
