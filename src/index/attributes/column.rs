//! A column of the index: where its blocks lie, and what stands at their bounds.

use std::ops::{Bound, Range};

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::block::{Among, Block};
use super::key::{KEY_BYTES_MAX, is_whole};
use super::pattern::Pattern;
use super::probe::AttributeProbe;
use super::trigrams::{TrigramLookup, Trigrams};
use crate::cache::Span;
use crate::codec::CodecError;

/// A longer key is told in the head by its first bytes.
pub(super) const FENCE_BYTES_MAX: usize = 32;
/// Blocks of fewer bytes are read as soon as trigrams would be. Tests have few and go by trigrams always.
const SIEVED_MIN: u64 = if cfg!(test) { 1 } else { 256 << 10 };

/// A key with some of its rows, ascending.
pub(crate) type Entry = (Box<[u8]>, Vec<u32>);

/// The index of a column, without its blocks.
#[derive(Debug)]
pub(crate) struct AttributeColumn {
    /// Rows of the segment.
    pub(super) rows: u32,
    /// Bytes of each key, if all have as many.
    pub(super) width: Option<usize>,
    /// Rows that are null, and the block that says which, unless none or all are.
    pub(super) nulls: u32,
    pub(super) null_block: Option<Span>,
    /// The greatest key, cut like a fence.
    pub(super) max: Vec<u8>,
    pub(super) blocks: Vec<Fenced>,
    /// Which keys hold which trigrams, if that was asked for.
    pub(super) trigrams: Option<Box<Trigrams>>,
}

/// A block and the key it begins with, if that is not too long.
#[derive(Debug)]
pub(super) struct Fenced {
    pub(super) fence: Vec<u8>,
    pub(super) span: Span,
}

impl AttributeColumn {
    /// The blocks that a probe needs, in their order.
    pub(crate) fn find_spans(&self, probe: &AttributeProbe) -> Vec<Span> {
        let of = |range: Range<usize>| {
            self.blocks.get(range).unwrap_or_default().iter().map(|block| block.span.clone())
        };
        match probe {
            AttributeProbe::Null => self.null_block.iter().cloned().collect(),
            AttributeProbe::Matches(pattern) | AttributeProbe::MatchesAmong(pattern, _) => {
                let prefix = pattern.prefix().as_bytes();
                let start = self.candidates(prefix).start;
                let behind = |block: &Fenced| {
                    let common = prefix.len().min(block.fence.len());
                    block.fence.get(..common) <= prefix.get(..common)
                };
                let end = self.blocks.partition_point(behind);
                of(start..end.max(start)).collect()
            }
            AttributeProbe::Range(low, high) => {
                let start = key_of(low).map_or(0, |key| self.candidates(key).start);
                let end = key_of(high).map_or(self.blocks.len(), |key| self.candidates(key).end);
                of(start..end.max(start)).collect()
            }
            AttributeProbe::In(keys) => {
                let (mut spans, mut from, mut at) = (Vec::new(), 0, 0);
                while let Some(key) = keys.get(at) {
                    let range = self.candidates(key);
                    let range = range.start.max(from)..range.end;
                    from = from.max(range.end);
                    spans.extend(of(range.start..range.end.max(range.start)));
                    // Keys before the next block need none but these.
                    let Some(next) = self.blocks.get(from) else { break };
                    at = keys.seek(at + 1, &next.fence);
                }
                spans
            }
        }
    }

    /// What to read of the trigrams before the blocks of a pattern, if that is worth a round trip.
    pub(crate) fn plan_trigrams(&self, pattern: &Pattern) -> Option<TrigramLookup> {
        let bytes =
            |spans: &[Span]| spans.iter().map(|span| span.end.saturating_sub(span.start)).sum::<u64>();
        let whole = bytes(&self.find_spans(&AttributeProbe::Matches(pattern.clone())));
        let sieve = self.trigrams.as_ref().filter(|_| whole >= SIEVED_MIN)?.plan_trigrams(pattern)?;
        (bytes(&sieve.spans) < whole / 2 || cfg!(test)).then_some(sieve)
    }

    /// The keys to ask by what was read of the trigrams, and the blocks they are in.
    pub(crate) fn narrow_by_trigrams(
        &self,
        pattern: &Pattern,
        sieve: &TrigramLookup,
        read: &[Bytes],
    ) -> Result<(AttributeProbe, Vec<Span>), CodecError> {
        let spans = self.find_spans(&AttributeProbe::Matches(pattern.clone()));
        let Some(trigrams) = &self.trigrams else {
            return Ok((AttributeProbe::Matches(pattern.clone()), spans));
        };
        let kept = self.blocks.iter().zip(trigrams.sift(sieve, read)?);
        let kept = kept.filter(|(block, places)| !places.is_empty() && spans.contains(&block.span));
        let (spans, places) = kept.map(|(block, places)| (block.span.clone(), places)).unzip();
        Ok((AttributeProbe::MatchesAmong(pattern.clone(), places), spans))
    }

    /// The answer, when no block is needed for it: the head has the bounds of the keys.
    pub(crate) fn constant_answer(&self, probe: &AttributeProbe) -> Option<bool> {
        match probe {
            AttributeProbe::Null if self.nulls == 0 => Some(false),
            AttributeProbe::Null if self.nulls == self.rows => Some(true),
            AttributeProbe::Null => None,
            probe => self.find_spans(probe).is_empty().then_some(false),
        }
    }

    /// The blocks that may hold a key. If it is above all, the range is empty and lies at the end.
    fn candidates(&self, key: &[u8]) -> Range<usize> {
        let key = cut(key, KEY_BYTES_MAX);
        let start = cut(key, FENCE_BYTES_MAX);
        if start > self.max.as_slice() {
            return self.blocks.len()..self.blocks.len();
        }
        let end = self.blocks.partition_point(|block| block.fence.as_slice() <= key);
        // A fence that was cut may be of a greater key, though it is not greater.
        let surely = |block: &Fenced| {
            let fence = block.fence.as_slice();
            fence < start || (fence == start && fence.len() < FENCE_BYTES_MAX)
        };
        self.blocks.partition_point(surely).saturating_sub(1)..end
    }

    /// All blocks of keys, in their order.
    pub(crate) fn all_spans(&self) -> Vec<Span> {
        self.blocks.iter().map(|block| block.span.clone()).collect()
    }

    /// Calls `each` with every key and how many rows of `among` have it, if any, by all blocks. False if one of
    /// these keys is not whole.
    pub(crate) fn count_rows(
        &self,
        blocks: &[Bytes],
        among: &RoaringBitmap,
        each: &mut dyn FnMut(&[u8], u64),
    ) -> Result<bool, CodecError> {
        let among = Among::new(self.rows, among);
        let mut whole = true;
        for block in blocks {
            let Block { keys, mut postings } = Block::open(self.width, block)?;
            for at in 0..keys.len() {
                let rows = among.count(postings.next()?)?;
                if rows > 0 {
                    whole &= is_whole(keys.get(at));
                    each(keys.get(at), rows);
                }
            }
        }
        Ok(whole)
    }

    /// The keys of a block in order, each with its rows among some, if it has any.
    pub(crate) fn read_rows(&self, block: &[u8], among: &RoaringBitmap) -> Result<Vec<Entry>, CodecError> {
        let Block { keys, mut postings } = Block::open(self.width, block)?;
        let mut entries = Vec::new();
        for at in 0..keys.len() {
            let rows = postings.next()?.among(self.rows, among)?;
            if !rows.is_empty() {
                entries.push((keys.get(at).into(), rows));
            }
        }
        Ok(entries)
    }
}

pub(super) fn cut(key: &[u8], max: usize) -> &[u8] {
    key.get(..max).unwrap_or(key)
}

fn key_of(bound: &Bound<Box<[u8]>>) -> Option<&[u8]> {
    match bound {
        Bound::Unbounded => None,
        Bound::Included(key) | Bound::Excluded(key) => Some(key),
    }
}
