//! An opened column: which blocks a probe needs, and what they answer.

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::format::{KeyColumn, KeyRows};
use super::predicate::{AttributeProbe, Pattern};
use super::trigram::{TrigramIndex, TrigramLookup};
use crate::cache::{Span, total_bytes};
use crate::codec::CodecError;
use crate::index::Candidates;

/// Trigrams are used where a pattern needs at least this many bytes of keys: fewer are read as soon as the trigrams
/// would be. Tests have few keys and always use them.
const TRIGRAM_KEY_BYTES_MIN: u64 = if cfg!(test) { 1 } else { 256 << 10 };

/// The index of a column, without its blocks.
///
/// It names the blocks to read, and is given them: reading is left to the caller, who reads the blocks of all probes of
/// a filter in one round trip.
#[derive(Debug)]
pub(crate) struct AttributeColumn {
    keys: KeyColumn,
    /// Boxed, as few columns have them.
    trigrams: Option<Box<TrigramIndex>>,
}

impl AttributeColumn {
    pub(super) fn open(keys: KeyColumn, trigrams: Option<TrigramIndex>) -> Self {
        Self { keys, trigrams: trigrams.map(Box::new) }
    }

    /// The blocks that a probe needs, in their order.
    pub(crate) fn find_spans(&self, probe: &AttributeProbe) -> Vec<Span> {
        probe.find_spans(&self.keys)
    }

    /// The answer, when no block is needed for it: the head has the bounds of the keys.
    pub(crate) fn constant_answer(&self, probe: &AttributeProbe) -> Option<bool> {
        probe.constant_answer(&self.keys)
    }

    /// The candidates of a probe, by the blocks that [`find_spans`](Self::find_spans) names.
    pub(crate) fn find_candidates(
        &self,
        probe: &AttributeProbe,
        blocks: &[Bytes],
    ) -> Result<Candidates, CodecError> {
        probe.find_candidates(&self.keys, blocks)
    }

    /// What to read of the trigrams before the keys that a pattern needs, if that is worth a round trip.
    pub(crate) fn plan_trigrams(&self, pattern: &Pattern) -> Option<TrigramLookup> {
        let key_bytes = total_bytes(&self.find_spans(&AttributeProbe::Matches(pattern.clone())));
        let trigrams = self.trigrams.as_ref().filter(|_| key_bytes >= TRIGRAM_KEY_BYTES_MIN)?;
        let lookup = trigrams.plan_lookup(pattern.required_trigrams()?);
        // Candidates are read after the trigrams: a lookup that reads half of what it can save saves nothing for sure.
        (total_bytes(&lookup.spans) < key_bytes / 2 || cfg!(test)).then_some(lookup)
    }

    /// The probe of a pattern among the candidates of its trigrams, and the blocks that hold them.
    pub(crate) fn narrow_by_trigrams(
        &self,
        pattern: &Pattern,
        lookup: &TrigramLookup,
        blocks: &[Bytes],
    ) -> Result<(AttributeProbe, Vec<Span>), CodecError> {
        let probe = AttributeProbe::Matches(pattern.clone());
        let needed = self.find_spans(&probe);
        let Some(trigrams) = &self.trigrams else { return Ok((probe, needed)) };
        let candidates = trigrams.find_candidate_keys(lookup, blocks)?;
        debug_assert_eq!(candidates.len(), self.keys.blocks.len(), "a list for each block of keys");
        // Trigrams are of all keys, but a prefix leaves some of the blocks.
        let kept = self.keys.blocks.iter().zip(candidates);
        let kept = kept.filter(|(block, indexes)| !indexes.is_empty() && needed.contains(&block.span));
        let (spans, indexes) = kept.map(|(block, indexes)| (block.span.clone(), indexes)).unzip();
        Ok((AttributeProbe::MatchesAmong(pattern.clone(), indexes), spans))
    }

    /// All blocks of keys, in their order.
    pub(crate) fn all_spans(&self) -> Vec<Span> {
        self.keys.block_spans(0..self.keys.blocks.len()).collect()
    }

    /// Calls `each` with every key that has rows in `filter`, and their number, by all blocks. False if one of these
    /// keys is not whole.
    pub(crate) fn count_rows(
        &self,
        blocks: &[Bytes],
        filter: &RoaringBitmap,
        each: &mut dyn FnMut(&[u8], u64),
    ) -> Result<bool, CodecError> {
        self.keys.count_rows(blocks, filter, each)
    }

    /// The keys of a block that have rows in `filter`, in order, each with these rows.
    pub(crate) fn read_rows(&self, block: &[u8], filter: &RoaringBitmap) -> Result<Vec<KeyRows>, CodecError> {
        self.keys.read_rows(block, filter)
    }
}
