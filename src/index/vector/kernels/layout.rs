//! The layout of codes: where each bit lies.
//!
//! ```text
//! sign block of 32 vectors: padded/4 groups × 16 bytes | F_add f32 × 32 | F_mul f16 × 32 | F_err f16 × 32
//! group j, byte k:          signs of dimensions 4j..4j+4: low nibble vector ORDER[k], high ORDER[k] + 16
//! extra code of a vector:   those planes of 4, 2 and 1 bits whose widths add up to bits - 1
//! plane of width w:         per 64 dimensions 8·w bytes; byte i: dimensions i, i + 8w, … from the low bits up
//! ```
//! Numbers are little-endian; unused places of a block are zero. ORDER is 0 4 1 5 2 6 3 7
//! 8 12 9 13 10 14 11 15: sums of bytes are widened by one shift to 16 bits and by interleaving zeros to 32, and
//! come out in the order of the vectors.
//! The widest plane holds the most significant bits.
//!
//! Four dimensions of one vector are a nibble, and a nibble is the index of a byte shuffle: one instruction looks up the
//! sums of 32 vectors in a table of 16 (`FastScan`). Counting bits of signs and query instead is no faster with AVX-512
//! and several times slower with AVX2. Levels are in planes, not packed as numbers of `bits - 1` bits, so that one
//! load, mask and shift unpacks 64 of them.
//!
//! **Invariant:** nothing here panics, whatever the bytes and their lengths.

use half::f16;

/// How many vectors a sign block holds.
pub(crate) const BLOCK_VECTORS: usize = 32;
/// The bytes of the adds of the vectors of a block.
pub(crate) const ADDS_LEN: usize = BLOCK_VECTORS * 4;
/// The bytes of the factors of a block.
const FACTORS_LEN: usize = BLOCK_VECTORS * 8;
/// The bytes of a group: four dimensions of the vectors of a block.
pub(super) const GROUP: usize = 16;
/// Dimensions are padded to a multiple of this.
pub(super) const PADDING: usize = 64;

/// The bytes of a sign block.
pub(crate) const fn block_len(padded: usize) -> usize {
    padded * 4 + FACTORS_LEN
}

/// The bytes of the extra code of a vector, for `bits` between 1 and 8.
pub(crate) const fn extra_len(padded: usize, bits: u32) -> usize {
    padded / 8 * extra_bits(bits)
}

/// The low bits that a code has besides its sign; none for codes of one bit.
const fn extra_bits(bits: u32) -> usize {
    bits.saturating_sub(1) as usize
}

/// The factors of the estimate by signs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SignFactors {
    pub(crate) add: f32,
    pub(crate) mul: f16,
    /// Rounded up, for bounds to hold.
    pub(crate) err: f16,
}

/// A sign block of the right length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignBlock<'a> {
    pub(super) groups: &'a [u8],
    pub(super) adds: &'a [u8; ADDS_LEN],
    pub(super) muls: &'a [u8; 2 * BLOCK_VECTORS],
    pub(super) errs: &'a [u8; 2 * BLOCK_VECTORS],
}

impl<'a> SignBlock<'a> {
    /// `None` unless `bytes` are as many as a block of `padded` dimensions has.
    pub(crate) fn new(bytes: &'a [u8], padded: usize) -> Option<Self> {
        let (groups, rest) = bytes.split_at_checked(padded * 4)?;
        let (adds, rest) = rest.split_first_chunk()?;
        let (muls, rest) = rest.split_first_chunk()?;
        let (errs, rest) = rest.split_first_chunk()?;
        (padded.is_multiple_of(PADDING) && rest.is_empty()).then_some(Self { groups, adds, muls, errs })
    }

    /// The blocks in `bytes`, one after another; with `adds`, if there are any, in place of their own.
    ///
    /// A block without adds ends it; so callers preset the masks of a scan to ones, for vectors that nothing has scored.
    #[inline]
    pub(super) fn iter_blocks(
        bytes: &'a [u8],
        padded: usize,
        adds: Option<&'a [[u8; ADDS_LEN]]>,
    ) -> impl Iterator<Item = Self> {
        bytes.chunks_exact(block_len(padded)).enumerate().map_while(move |(number, bytes)| {
            let block = Self::new(bytes, padded)?;
            Some(match adds {
                Some(adds) => Self { adds: adds.get(number)?, ..block },
                None => block,
            })
        })
    }

    /// The factor `mul` of the estimate by signs.
    ///
    /// # Panics
    /// If a block has no such vector.
    #[expect(clippy::indexing_slicing, reason = "another vector's factor would be a wrong bound")]
    pub(crate) fn mul(&self, vector: usize) -> f32 {
        f16::from_le_bytes(self.muls.as_chunks().0[vector]).to_f32()
    }

    /// The signs of four dimensions of a vector: bit b is dimension 4·group + b.
    #[cfg(test)]
    pub(crate) fn nibble(&self, group: usize, vector: usize) -> u8 {
        let (byte, shift) = nibble_position(vector);
        let group = self.groups.as_chunks::<GROUP>().0.get(group);
        group.and_then(|group| group.get(byte)).map_or(0, |byte| byte >> shift & 15)
    }

    /// The sign code of a vector, as it was packed.
    #[cfg(test)]
    pub(crate) fn signs(&self, vector: usize) -> Vec<u8> {
        let bytes = self.groups.len() / GROUP / 2;
        (0..bytes).map(|i| self.nibble(2 * i, vector) | self.nibble(2 * i + 1, vector) << 4).collect()
    }

    #[cfg(test)]
    pub(crate) fn factors(&self, vector: usize) -> SignFactors {
        let half =
            |bytes: &[u8; 64]| bytes.as_chunks().0.get(vector).map_or(f16::ZERO, |b| f16::from_le_bytes(*b));
        let add = self.adds.as_chunks().0.get(vector).map_or(0.0, |b| f32::from_le_bytes(*b));
        SignFactors { add, mul: half(self.muls), err: half(self.errs) }
    }
}

/// The byte of a group that has the signs of a vector, below [`GROUP`], and by how many bits they are shifted.
pub(super) const fn nibble_position(vector: usize) -> (usize, u32) {
    let byte = vector / 8 % 2 * 8 + vector % 4 * 2 + vector / 4 % 2;
    (byte, if vector < 16 { 0 } else { 4 })
}

/// Appends a sign block of up to 32 vectors, each with its sign code, of which bit i % 8 of byte i / 8 is
/// dimension i.
#[expect(clippy::indexing_slicing, reason = "positions of nibbles are below GROUP")]
pub(crate) fn push_block<'a>(
    vectors: impl IntoIterator<Item = (&'a [u8], SignFactors)>,
    padded: usize,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    out.resize(start + padded * 4, 0);
    let (_, groups) = out.split_at_mut(start);
    let groups = groups.as_chunks_mut::<{ 2 * GROUP }>().0;
    let (mut adds, mut muls, mut errs) = ([0; 128], [0; 64], [0; 64]);
    let places = adds.as_chunks_mut().0.iter_mut().zip(muls.as_chunks_mut().0).zip(errs.as_chunks_mut().0);
    let mut vectors = vectors.into_iter();
    for ((vector, ((add, mul), err)), (signs, factors)) in places.enumerate().zip(&mut vectors) {
        assert_eq!(signs.len() * 8, padded, "a sign for each dimension");
        (*add, *mul, *err) =
            (factors.add.to_le_bytes(), factors.mul.to_le_bytes(), factors.err.to_le_bytes());
        let (byte, shift) = nibble_position(vector);
        for (pair, signs) in groups.iter_mut().zip(signs) {
            let (even, odd) = pair.split_at_mut(GROUP);
            even[byte] |= (signs & 15) << shift;
            odd[byte] |= (signs >> 4) << shift;
        }
    }
    assert!(vectors.next().is_none(), "a block has at most 32 vectors");
    out.extend(adds);
    out.extend(muls);
    out.extend(errs);
}

/// A bit plane of an extra code: `width` bits of each level, from bit `shift` up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plane {
    pub(super) width: usize,
    pub(super) shift: usize,
}

impl Plane {
    /// The bytes of 64 dimensions.
    const fn stride_len(self) -> usize {
        8 * self.width
    }

    const fn mask(self) -> u8 {
        (1 << self.width) - 1
    }
}

/// The planes of an extra code, in their order: the set bits of `bits - 1` from the highest down.
pub(super) fn code_planes(bits: u32) -> impl Iterator<Item = Plane> {
    let extra = extra_bits(bits);
    [4, 2, 1]
        .into_iter()
        .filter(move |width| extra & width != 0)
        .map(move |width| Plane { width, shift: extra & (width - 1) })
}

/// The planes of an extra code with their bytes, as many as there are whole ones.
pub(super) fn split_planes(extra: &[u8], padded: usize, bits: u32) -> impl Iterator<Item = (Plane, &[u8])> {
    let mut rest = extra;
    code_planes(bits).map_while(move |plane| {
        let bytes;
        (bytes, rest) = rest.split_at_checked(padded / PADDING * plane.stride_len())?;
        Some((plane, bytes))
    })
}

/// Appends the extra code of a vector: `levels` are the low `bits - 1` bits of its dimensions, a multiple of
/// 64 of them.
pub(crate) fn push_levels(levels: &[u8], bits: u32, out: &mut Vec<u8>) {
    for plane in code_planes(bits) {
        for levels in levels.as_chunks::<PADDING>().0 {
            let start = out.len();
            out.resize(start + plane.stride_len(), 0);
            for (position, part) in levels.chunks(plane.stride_len()).enumerate() {
                for (byte, level) in out.iter_mut().skip(start).zip(part) {
                    *byte |= (level >> plane.shift & plane.mask()) << (position * plane.width);
                }
            }
        }
    }
}

/// The levels of an extra code, as they were packed.
#[cfg(test)]
pub(crate) fn levels(extra: &[u8], padded: usize, bits: u32) -> Vec<u8> {
    let mut levels = vec![0; padded];
    for (plane, bytes) in split_planes(extra, padded, bits) {
        for (levels, bytes) in
            levels.as_chunks_mut::<PADDING>().0.iter_mut().zip(bytes.chunks(plane.stride_len()))
        {
            for (position, part) in levels.chunks_mut(plane.stride_len()).enumerate() {
                for (level, byte) in part.iter_mut().zip(bytes) {
                    *level |= (byte >> (position * plane.width) & plane.mask()) << plane.shift;
                }
            }
        }
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::super::testing::TestRng;
    use super::*;

    #[test]
    fn blocks_give_back_what_was_put_in() {
        let mut draw = TestRng::new(1);
        for padded in (64..=1536).step_by(64) {
            for count in [32, 1, 17] {
                let codes: Vec<_> = (0..count).map(|_| draw.bytes(padded / 8)).collect();
                let factors = |v: u8| {
                    let (mul, err) = (f16::from_f32(f32::from(v) + 0.5), f16::from_bits(v.into()));
                    SignFactors { add: f32::from(v), mul, err }
                };
                let vectors = codes.iter().map(Vec::as_slice).zip((1..).map(factors));
                let mut bytes = vec![9; 3];
                push_block(vectors, padded, &mut bytes);
                assert_eq!(bytes.len(), 3 + block_len(padded));
                let block = SignBlock::new(&bytes[3..], padded).unwrap();
                for (v, code) in codes.iter().enumerate() {
                    assert_eq!(&block.signs(v), code);
                    let (found, wanted) = (block.factors(v), factors(u8::try_from(v).unwrap() + 1));
                    assert_eq!(found.add.to_bits(), wanted.add.to_bits());
                    assert_eq!((found.mul, found.err), (wanted.mul, wanted.err));
                }
                for v in count..32 {
                    assert!(block.signs(v).iter().all(|b| *b == 0) && block.factors(v).add == 0.0);
                }
            }
        }
    }

    #[test]
    fn a_bit_lies_where_the_header_says() {
        let order = [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15];
        for (byte, vector) in order.into_iter().enumerate() {
            for (vector, shift) in [(vector, 0), (vector + 16, 4)] {
                // Dimension 64 + 6 alone: bit 2 of group 17.
                let mut signs = vec![vec![0_u8; 16]; 32];
                signs[vector][8] = 1 << 6;
                let mut bytes = Vec::new();
                push_block(signs.iter().map(|s| (s.as_slice(), SignFactors::default())), 128, &mut bytes);
                let set: Vec<_> = bytes.iter().enumerate().filter(|(_, b)| **b != 0).collect();
                assert_eq!(set, [(17 * GROUP + byte, &(4_u8 << shift))]);
            }
        }
    }

    #[test]
    fn levels_give_back_what_was_put_in() {
        let mut draw = TestRng::new(2);
        for bits in 1..=8 {
            for padded in (64..=1536).step_by(64) {
                let mask = u8::try_from((1_u32 << (bits - 1)) - 1).unwrap();
                let wanted: Vec<_> = draw.bytes(padded).into_iter().map(|b| b & mask).collect();
                let mut bytes = Vec::new();
                push_levels(&wanted, bits, &mut bytes);
                assert_eq!(bytes.len(), extra_len(padded, bits));
                assert_eq!(levels(&bytes, padded, bits), wanted);
            }
        }
    }

    #[test]
    fn planes_lie_where_the_header_says() {
        let widths = |bits| code_planes(bits).map(|p| (p.width, p.shift)).collect::<Vec<_>>();
        assert_eq!(widths(1), []);
        assert_eq!(widths(4), [(2, 1), (1, 0)]);
        assert_eq!(widths(5), [(4, 0)]);
        assert_eq!(widths(8), [(4, 3), (2, 1), (1, 0)]);
        for (width, step) in [(4_u32, 32), (2, 16), (1, 8)] {
            for dimension in 0..64_usize {
                let mut levels = vec![0; 128];
                levels[64 + dimension] = 1;
                let mut bytes = Vec::new();
                push_levels(&levels, width + 1, &mut bytes);
                let at = 8 * width as usize + dimension % step;
                let bit = 1_u8 << (dimension / step * width as usize);
                assert_eq!(bytes.iter().position(|b| *b != 0), Some(at));
                assert_eq!(bytes[at], bit);
            }
        }
    }

    #[test]
    fn a_block_of_another_length_is_none() {
        let bytes = vec![0; block_len(64)];
        assert!(SignBlock::new(&bytes, 64).is_some());
        for (bytes, padded) in
            [(&bytes[1..], 64), (&bytes[..], 128), (&bytes[..], 0), (&bytes[..256 + 240], 60)]
        {
            assert!(SignBlock::new(bytes, padded).is_none());
        }
        let block = SignBlock::new(&bytes, 64).unwrap();
        assert_eq!((block.nibble(16, 0), block.nibble(0, 32), block.nibble(0, 99)), (0, 0, 0));
        assert_eq!(block.factors(32).add.to_bits(), 0);
        assert_eq!(levels(&[1], 64, 5), vec![0; 64]);
    }
}
