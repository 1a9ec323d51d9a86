//! The record of a cluster: the codes of its vectors, everything that scoring them takes.
//!
//! ```text
//! scale f32
//! sign blocks of 32 vectors (see `kernels`), the last one filled up
//! bases f32 × 32 for each block, zeros where it is filled up
//! fine factors: add f32 × n, mul f32 × n, err f16 × n
//! extra codes: padded × (bits − 1) / 8 bytes × n
//! ```
//! Residuals were multiplied by the scale, a power of two that brings them to about length 1, before they were
//! coded: factors are in the square of it. How a base is used in place of an add is told in `quantizer`.
//!
//! The rows of a cluster are a run of the segment's rows, or are listed behind the rest, u32 × n. How many there
//! are, where the record lies and the checksum of its bytes stand in the cluster's entry of the index.

use std::ops::Range;

use half::f16;

use super::kernels::{self, ADDS_LEN, BLOCK_VECTORS, SignBlock};
use super::quantizer::{Code, Quantizer, ResidualTerms, f16_up};
use super::space::is_power_of_two;
use crate::codec::CodecError;

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

    /// Adds a vector by its residual; `false` if its factors are no numbers.
    pub(super) fn push(&mut self, residual: &[f32], centroid: &[f32], known: ResidualTerms) -> bool {
        let mut code = Code::default();
        self.quantizer.encode(residual, centroid, known, &mut code);
        let finite = [code.coarse, code.fine].iter().all(|factors| {
            factors.add.is_finite() && factors.mul.is_finite() && f16_up(factors.err).is_finite()
        });
        let finite = finite && code.base.is_finite();
        if finite {
            self.codes.push(code);
        }
        finite
    }

    /// Appends the record. `rows` are those of the vectors if they are to be listed.
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
        out.extend(rows.unwrap_or_default().iter().flat_map(|row| row.to_le_bytes()));
        self.codes.clear();
    }
}

/// The bytes of a record.
pub(super) fn length(padded: usize, bits: u8, vectors: usize, listed: bool) -> usize {
    let blocks = vectors.div_ceil(BLOCK_VECTORS) * (kernels::block_len(padded) + ADDS_LEN);
    let each = 10 + kernels::extra_len(padded, u32::from(bits)) + if listed { 4 } else { 0 };
    SCALE_LEN + blocks + vectors * each
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
    rows: &'a [[u8; 4]],
    padded: usize,
}

/// The fine factors of a vector.
#[derive(Clone, Copy, Debug)]
pub(super) struct FineFactors {
    pub(super) base: f32,
    pub(super) add: f32,
    pub(super) mul: f32,
    pub(super) err: f32,
}

impl<'a> ClusterRecord<'a> {
    pub(super) fn new(
        padded: usize,
        bits: u8,
        vectors: usize,
        listed: bool,
        bytes: &'a [u8],
    ) -> Result<Self, CodecError> {
        if bytes.len() != length(padded, bits, vectors, listed) {
            return Err(CodecError::malformed(WHAT, "its length is not that of its vectors"));
        }
        let mut rest = bytes;
        let mut take = |len: usize| {
            let (taken, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            rest = behind;
            taken
        };
        let scale = take(SCALE_LEN).first_chunk().map(|bytes| f32::from_le_bytes(*bytes));
        let scale = scale.filter(|scale| is_power_of_two(*scale));
        let scale = scale.ok_or_else(|| CodecError::malformed(WHAT, "its scale is no power of two"))?;
        let (block_len, extra_len) =
            (kernels::block_len(padded), kernels::extra_len(padded, u32::from(bits)));
        let blocks = vectors.div_ceil(BLOCK_VECTORS);
        Ok(Self {
            scale: scale.into(),
            blocks: take(blocks * block_len),
            block_len,
            bases: take(blocks * ADDS_LEN).as_chunks().0,
            adds: take(vectors * 4).as_chunks().0,
            muls: take(vectors * 4).as_chunks().0,
            errs: take(vectors * 2).as_chunks().0,
            extra: take(vectors * extra_len),
            extra_len,
            rows: take(if listed { vectors * 4 } else { 0 }).as_chunks().0,
            padded,
        })
    }

    /// What residuals were multiplied by.
    pub(super) fn scale(&self) -> f64 {
        self.scale
    }

    pub(super) fn vectors(&self) -> usize {
        self.adds.len()
    }

    /// The bytes of some sign blocks.
    pub(super) fn blocks(&self, numbers: Range<usize>) -> &'a [u8] {
        self.blocks.get(numbers.start * self.block_len..numbers.end * self.block_len).unwrap_or_default()
    }

    /// The bases of the vectors of some sign blocks, in the places of their adds.
    pub(super) fn bases(&self, numbers: Range<usize>) -> &'a [[u8; ADDS_LEN]] {
        self.bases.get(numbers).unwrap_or_default()
    }

    pub(super) fn block(&self, number: usize) -> Option<SignBlock<'a>> {
        SignBlock::new(self.blocks(number..number + 1), self.padded)
    }

    pub(super) fn fine(&self, vector: usize) -> FineFactors {
        let float = |of: &[[u8; 4]]| of.get(vector).map_or(0.0, |bytes| f32::from_le_bytes(*bytes));
        let err = self.errs.get(vector).map_or(0.0, |bytes| f16::from_le_bytes(*bytes).to_f32());
        let base = self.bases.as_flattened().as_chunks().0;
        FineFactors { base: float(base), add: float(self.adds), mul: float(self.muls), err }
    }

    pub(super) fn extra(&self, vector: usize) -> &'a [u8] {
        self.extra.get(vector * self.extra_len..(vector + 1) * self.extra_len).unwrap_or_default()
    }

    /// The listed row of a vector, if rows are listed.
    pub(super) fn row(&self, vector: usize) -> Option<u32> {
        self.rows.get(vector).map(|bytes| u32::from_le_bytes(*bytes))
    }
}
