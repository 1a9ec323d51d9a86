//! Looking up the keys that can match a pattern.

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::super::format::{KeyColumn, TrigramHead};
use super::required::{RequiredTrigrams, TRIGRAM_WIDTH, Trigram};
use crate::cache::{Span, total_bytes};
use crate::codec::CodecError;

const WHAT: &str = "trigrams";
/// Of an alternative this many trigrams are looked up, those with the fewest bytes of postings: the rarest leave the
/// fewest keys, and each further one costs a read and removes few more.
const LOOKED_UP_MAX: usize = 6;

/// The trigrams of a column.
#[derive(Debug)]
pub(crate) struct TrigramIndex {
    column: KeyColumn,
    /// The number of the first key of each block of keys, ascending.
    first_keys: Vec<u32>,
}

/// What to read of the trigrams for a pattern.
#[derive(Clone, Debug)]
pub(crate) struct TrigramLookup {
    /// The blocks of all trigrams, in their order.
    pub(crate) spans: Vec<Span>,
    alternatives: Vec<Vec<TrigramRead>>,
}

/// A trigram, and how many of the blocks that are read are its own.
#[derive(Clone, Debug)]
struct TrigramRead {
    trigram: Trigram,
    blocks: usize,
}

impl TrigramIndex {
    /// The trigrams that a head describes.
    pub(crate) fn open(head: TrigramHead) -> Result<Self, CodecError> {
        let TrigramHead { column, first_keys } = head;
        if column.width != Some(TRIGRAM_WIDTH.into()) {
            return Err(CodecError::malformed(WHAT, "its keys are not of three bytes"));
        }
        Ok(Self { column, first_keys })
    }

    /// The blocks to read for the candidates of a pattern that requires these trigrams.
    pub(crate) fn plan_lookup(&self, required: &RequiredTrigrams) -> TrigramLookup {
        let mut lookup = TrigramLookup { spans: Vec::new(), alternatives: Vec::new() };
        for trigrams in &required.alternatives {
            let mut reads: Vec<(Trigram, Vec<Span>)> =
                trigrams.iter().map(|trigram| (*trigram, self.find_spans(*trigram))).collect();
            reads.sort_by_key(|(_, spans)| total_bytes(spans));
            reads.truncate(LOOKED_UP_MAX);
            // No key has a trigram without a block, so no key matches this alternative: do not read the others.
            if reads.iter().any(|(_, spans)| spans.is_empty()) {
                continue;
            }
            let counts =
                reads.iter().map(|(trigram, spans)| TrigramRead { trigram: *trigram, blocks: spans.len() });
            lookup.alternatives.push(counts.collect());
            lookup.spans.extend(reads.into_iter().flat_map(|(_, spans)| spans));
        }
        lookup
    }

    fn find_spans(&self, trigram: Trigram) -> Vec<Span> {
        self.column.block_spans(self.column.find_blocks(&trigram)).collect()
    }

    /// The keys of each block of keys that can match, as indexes within the block, by the blocks of a lookup.
    pub(crate) fn find_candidate_keys(
        &self,
        lookup: &TrigramLookup,
        mut blocks: &[Bytes],
    ) -> Result<Vec<Vec<u32>>, CodecError> {
        let mut candidates = RoaringBitmap::new();
        for reads in &lookup.alternatives {
            // A key matches an alternative only if it has all of its trigrams.
            let mut matching: Option<RoaringBitmap> = None;
            for read in reads {
                let (of_trigram, later) = blocks
                    .split_at_checked(read.blocks)
                    .ok_or_else(|| CodecError::malformed(WHAT, "fewer blocks than the lookup names"))?;
                blocks = later;
                let keys = self.column.read_key(&read.trigram, of_trigram)?;
                matching = Some(match matching {
                    Some(matching) => matching & keys,
                    None => keys,
                });
            }
            // invariant: an alternative has at least one trigram, so that `matching` is always there.
            candidates |= matching.unwrap_or_default();
        }
        Ok(self.split_by_block(&candidates))
    }

    /// Numbers of keys as indexes within their blocks.
    fn split_by_block(&self, keys: &RoaringBitmap) -> Vec<Vec<u32>> {
        // The last block has all keys behind its first: numbers beyond it are refused where the block is read.
        let ends = self.first_keys.iter().skip(1).copied().chain([u32::MAX]);
        let within = |(first, end): (&u32, u32)| keys.range(*first..end).map(|key| key - first).collect();
        self.first_keys.iter().zip(ends).map(within).collect()
    }
}
