//! The record of a cluster: the codes of its vectors, with everything needed to score them.
//!
//! ```text
//! scale f32
//! sign blocks of 32 vectors (see `kernels`), the last one filled up with zeros
//! bases f32 × 32 for each block, filled up with zeros
//! fine factors: add f32 × n, mul f32 × n, err f16 × n
//! extra codes: padded × (bits − 1) / 8 bytes × n
//! ```
//! Residuals were multiplied by the scale, a power of two that brings them to about length 1, before they were
//! coded: factors are in the square of it. `quantizer` describes how a base is used in place of an add.
//!
//! The rows of a cluster are a run of the segment's rows, or are listed after the rest, u32 × n. Their number, the offset
//! of the record and the checksum of its bytes are in the cluster's entry of the index.
//!
//! Parts are in the order in which a query needs them, each contiguous: signs of all vectors first, then what only the
//! vectors need that the signs do not rule out.

use std::ops::Range;

use half::f16;

use super::kernels::{self, ADDS_LEN, BLOCK_VECTORS, SignBlock};
use super::numeric::is_power_of_two;
use super::quantizer::{Code, Quantizer, ResidualTerms, f16_up};

use crate::codec::{CodecError, Reader, u64_of, usize_of};

const WHAT: &str = "cluster record";
const SCALE_LEN: usize = 4;

/// Makes the records of clusters, one vector after another.
#[derive(Debug)]
pub(super) struct RecordBuilder<'a> {
    quantizer: &'a Quantizer,
    codes: Vec<Code>,
}

impl<'a> RecordBuilder<'a> {
    pub(super) fn new(quantizer: &'a Quantizer) -> Self {
        Self { quantizer, codes: Vec::new() }
    }

    /// Adds a vector by its residual. `false`, without adding it, if a factor is not finite as it would be stored.
    pub(super) fn push(&mut self, residual: &[f32], centroid: &[f32], terms: ResidualTerms) -> bool {
        let mut code = Code::default();
        self.quantizer.encode(residual, centroid, terms, &mut code);
        let finite = [code.coarse, code.fine].iter().all(|factors| {
            factors.add.is_finite() && factors.mul.is_finite() && f16_up(factors.err).is_finite()
        });
        let finite = finite && code.base.is_finite();
        // Otherwise no bound would ever rule the vector out. Its rows are compared exactly by every search instead.
        if finite {
            self.codes.push(code);
        }
        finite
    }

    /// Appends the record, and starts the next. `rows` are those of the vectors if they are to be listed.
    pub(super) fn finish(&mut self, scale: f32, rows: Option<&[u32]>, out: &mut Vec<u8>) {
        let padded = self.quantizer.padded();
        out.extend(scale.to_le_bytes());
        for block in self.codes.chunks(BLOCK_VECTORS) {
            let vectors = block.iter().map(|code| {
                let factors = kernels::SignFactors {
                    add: code.coarse.add,
                    mul: f16::from_f32(code.coarse.mul),
                    err: f16_up(code.coarse.err),
                };
                (code.signs.as_slice(), factors)
            });
            kernels::push_block(vectors, padded, out);
        }
        let start = out.len();
        out.extend(self.codes.iter().flat_map(|code| code.base.to_le_bytes()));
        out.resize(start + self.codes.len().div_ceil(BLOCK_VECTORS) * ADDS_LEN, 0);
        out.extend(self.codes.iter().flat_map(|code| code.fine.add.to_le_bytes()));
        out.extend(self.codes.iter().flat_map(|code| code.fine.mul.to_le_bytes()));
        out.extend(self.codes.iter().flat_map(|code| f16_up(code.fine.err).to_le_bytes()));
        for code in &self.codes {
            kernels::push_levels(&code.levels, u32::from(self.quantizer.bits()), out);
        }
        if let Some(rows) = rows {
            out.extend(rows.iter().flat_map(|row| row.to_le_bytes()));
        }
        self.codes.clear();
    }
}

/// The bytes that a block of vectors takes: signs, coarse factors and bases.
const fn block_bytes(padded: usize) -> usize {
    kernels::block_len(padded) + ADDS_LEN
}

/// The bytes that a vector takes outside its block: fine factors and extra code.
fn vector_bytes(padded: usize, bits: u8) -> usize {
    10 + kernels::extra_len(padded, u32::from(bits))
}

/// The bytes that a vector adds to a record, on average.
pub(super) fn bytes_per_vector(padded: usize, bits: u8) -> usize {
    block_bytes(padded).div_ceil(BLOCK_VECTORS) + vector_bytes(padded, bits)
}

/// The bytes of a record of `vectors` vectors.
pub(super) fn record_len(padded: usize, bits: u8, vectors: u64, listed: bool) -> u64 {
    let blocks = vectors.div_ceil(u64_of(BLOCK_VECTORS)) * u64_of(block_bytes(padded));
    let row = if listed { 4 } else { 0 };
    u64_of(SCALE_LEN) + blocks + vectors * (u64_of(vector_bytes(padded, bits)) + row)
}

/// A record, read in place.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClusterRecord<'a> {
    scale: f64,
    blocks: &'a [u8],
    block_len: usize,
    /// Block by block.
    bases: &'a [[u8; ADDS_LEN]],
    adds: &'a [[u8; 4]],
    muls: &'a [[u8; 4]],
    errs: &'a [[u8; 2]],
    extra: &'a [u8],
    extra_len: usize,
    rows: RecordRows<'a>,
    padded: usize,
}

/// The rows of the vectors of a record.
#[derive(Clone, Copy, Debug)]
enum RecordRows<'a> {
    /// Those from this one on.
    Run(u32),
    /// Wherever they lie.
    Listed(&'a [[u8; 4]]),
}

/// The fine factors of a vector.
#[derive(Clone, Copy, Debug)]
pub(super) struct FineFactors {
    pub(super) base: f32,
    pub(super) add: f32,
    pub(super) mul: f32,
    pub(super) err: f32,
}

// A scan takes parts by the numbers of vectors that the record itself returned. Bounds are checked once, by `new`:
// a part of the wrong length afterwards is a bug, and a wrong distance would hide it.
impl<'a> ClusterRecord<'a> {
    /// The record of `vectors` vectors whose rows start at `first`, or are listed.
    pub(super) fn new(
        padded: usize,
        bits: u8,
        vectors: u32,
        first: Option<u32>,
        bytes: &'a [u8],
    ) -> Result<Self, CodecError> {
        if u64_of(bytes.len()) != record_len(padded, bits, vectors.into(), first.is_none()) {
            return Err(CodecError::malformed(WHAT, "its length does not match its number of vectors"));
        }
        let vectors = usize_of(vectors);
        let mut reader = Reader::new(WHAT, bytes);
        let scale = f32::from_bits(reader.u32()?);
        if !is_power_of_two(scale) {
            return Err(CodecError::malformed(WHAT, "its scale is not a power of two"));
        }
        let (block_len, extra_len) =
            (kernels::block_len(padded), kernels::extra_len(padded, u32::from(bits)));
        let blocks = vectors.div_ceil(BLOCK_VECTORS);
        let record = Self {
            scale: scale.into(),
            blocks: reader.take(blocks * block_len)?,
            block_len,
            bases: reader.take(blocks * ADDS_LEN)?.as_chunks().0,
            adds: reader.take(vectors * 4)?.as_chunks().0,
            muls: reader.take(vectors * 4)?.as_chunks().0,
            errs: reader.take(vectors * 2)?.as_chunks().0,
            extra: reader.take(vectors * extra_len)?,
            extra_len,
            rows: match first {
                Some(first) => RecordRows::Run(first),
                None => RecordRows::Listed(reader.take(vectors * 4)?.as_chunks().0),
            },
            padded,
        };
        reader.end()?;
        Ok(record)
    }

    /// Checks that the rows are those of a segment of `rows` rows.
    pub(super) fn check_rows(&self, rows: u32) -> Result<(), CodecError> {
        let within = match self.rows {
            // The section was checked when it was decoded.
            RecordRows::Run(_) => true,
            RecordRows::Listed(listed) => listed.iter().all(|row| u32::from_le_bytes(*row) < rows),
        };
        if within { Ok(()) } else { Err(CodecError::malformed(WHAT, "a row beyond the last")) }
    }

    /// The factor that residuals were multiplied by.
    pub(super) fn scale(&self) -> f64 {
        self.scale
    }

    pub(super) fn vector_count(&self) -> usize {
        self.adds.len()
    }

    /// The bytes of some sign blocks.
    #[expect(clippy::indexing_slicing, reason = "a range of blocks, all of which `new` has seen")]
    pub(super) fn sign_blocks(&self, numbers: Range<usize>) -> &'a [u8] {
        &self.blocks[numbers.start * self.block_len..numbers.end * self.block_len]
    }

    /// The bases of the vectors of some sign blocks, laid out as their adds.
    #[expect(clippy::indexing_slicing, reason = "a range of blocks, all of which `new` has seen")]
    pub(super) fn block_bases(&self, numbers: Range<usize>) -> &'a [[u8; ADDS_LEN]] {
        &self.bases[numbers]
    }

    pub(super) fn sign_block(&self, number: usize) -> SignBlock<'a> {
        let block = SignBlock::new(self.sign_blocks(number..number + 1), self.padded);
        block.expect("a slice of the length of a block is a block")
    }

    #[expect(clippy::indexing_slicing, reason = "a vector of the record, all of which `new` has seen")]
    pub(super) fn fine_factors(&self, vector: usize) -> FineFactors {
        let bases = self.bases.as_flattened().as_chunks().0;
        FineFactors {
            base: f32::from_le_bytes(bases[vector]),
            add: f32::from_le_bytes(self.adds[vector]),
            mul: f32::from_le_bytes(self.muls[vector]),
            err: f16::from_le_bytes(self.errs[vector]).to_f32(),
        }
    }

    /// The bits of a vector's code after its sign bits.
    #[expect(clippy::indexing_slicing, reason = "a vector of the record, all of which `new` has seen")]
    pub(super) fn extra_code(&self, vector: usize) -> &'a [u8] {
        &self.extra[vector * self.extra_len..(vector + 1) * self.extra_len]
    }

    /// Whether the rows are listed one by one.
    pub(super) fn is_listed(&self) -> bool {
        matches!(self.rows, RecordRows::Listed(_))
    }

    /// The row of a vector.
    #[expect(clippy::indexing_slicing, reason = "a vector of the record, all of which `new` has seen")]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a record has as many vectors as a u32 counts, at most"
    )]
    pub(super) fn row_of(&self, vector: usize) -> u32 {
        match self.rows {
            RecordRows::Run(first) => first + vector as u32,
            RecordRows::Listed(rows) => u32::from_le_bytes(rows[vector]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::vector::quantizer::Form;

    #[test]
    fn a_record_with_other_bytes_or_rows_is_refused() {
        let quantizer = Quantizer::new(64, 5, Form::L2);
        let mut builder = RecordBuilder::new(&quantizer);
        for component in [0.5, -0.25] {
            assert!(builder.push(&[component; 64], &[0.0; 64], ResidualTerms::default()));
        }
        let mut bytes = Vec::new();
        builder.finish(2.0, Some(&[3, 99]), &mut bytes);
        let record = ClusterRecord::new(64, 5, 2, None, &bytes).unwrap();
        assert_eq!((record.row_of(0), record.row_of(1), record.scale()), (3, 99, 2.0));
        assert!(record.check_rows(100).is_ok() && record.check_rows(99).is_err());
        assert!(ClusterRecord::new(64, 5, 3, None, &bytes).is_err());
        assert!(ClusterRecord::new(64, 5, 2, Some(3), &bytes).is_err());
        assert!(ClusterRecord::new(64, 5, 2, None, &bytes[1..]).is_err());
        bytes[0] = 1;
        assert!(ClusterRecord::new(64, 5, 2, None, &bytes).is_err(), "the scale is no power of two");
    }
}
