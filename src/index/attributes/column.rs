//! A column of the index: where its blocks lie, and what stands at their bounds.

use std::ops::{Bound, Range, RangeInclusive};

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::block::{self, Gathered};
use super::key::KEY_BYTES_MAX;
use super::probe::{Asking, Known, Probe, Says, skip};
use crate::cache::Span;
use crate::codec::CodecError;

/// A longer key is told in the head by its first bytes.
pub(super) const FENCE_BYTES_MAX: usize = 32;

/// A key with some of its rows, ascending.
pub(crate) type Entry = (Box<[u8]>, Vec<u32>);

/// The index of a column, without its blocks.
#[derive(Debug)]
pub(crate) struct Column {
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
}

/// A block and the key it begins with, if that is not too long.
#[derive(Debug)]
pub(super) struct Fenced {
    pub(super) fence: Vec<u8>,
    pub(super) span: Span,
}

impl Column {
    /// The blocks that a probe needs, in their order.
    pub(crate) fn spans(&self, probe: &Probe) -> Vec<Span> {
        let of = |range: Range<usize>| {
            self.blocks.get(range).unwrap_or_default().iter().map(|block| block.span.clone())
        };
        match probe {
            Probe::Null => self.null_block.iter().cloned().collect(),
            Probe::Matches(_) => of(0..self.blocks.len()).collect(),
            Probe::Range(low, high) => {
                let start = key_of(low).map_or(0, |key| self.candidates(key).start);
                let end = key_of(high).map_or(self.blocks.len(), |key| self.candidates(key).end);
                of(start..end.max(start)).collect()
            }
            Probe::In(keys) => {
                let (mut spans, mut from, mut keys) = (Vec::new(), 0, keys.as_slice());
                while let Some(key) = keys.first() {
                    let range = self.candidates(key);
                    let range = range.start.max(from)..range.end;
                    from = from.max(range.end);
                    spans.extend(of(range.start..range.end.max(range.start)));
                    // Keys before the next block need none but these.
                    let Some(next) = self.blocks.get(from) else { break };
                    keys = keys.get(skip(keys, &next.fence).max(1)..).unwrap_or_default();
                }
                spans
            }
        }
    }

    /// The answer, when no block is needed for it: the head has the bounds of the keys.
    pub(crate) fn constant(&self, probe: &Probe) -> Option<bool> {
        match probe {
            Probe::Null if self.nulls == 0 => Some(false),
            Probe::Null if self.nulls == self.rows => Some(true),
            Probe::Null => None,
            probe => self.spans(probe).is_empty().then_some(false),
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
    pub(crate) fn count(
        &self,
        blocks: &[Bytes],
        among: &RoaringBitmap,
        each: &mut dyn FnMut(&[u8], u64),
    ) -> Result<bool, CodecError> {
        let all = among.len() == u64::from(self.rows);
        let mut whole = true;
        for block in blocks {
            block::read(self.width, block, |key, posted| {
                let rows = posted.count(self.rows, among, all)?;
                if rows > 0 {
                    whole &= key.len() < KEY_BYTES_MAX;
                    each(key, rows);
                }
                Ok(())
            })?;
        }
        Ok(whole)
    }

    /// The keys of a block in order, each with its rows among some, if it has any.
    pub(crate) fn entries(&self, block: &[u8], among: &RoaringBitmap) -> Result<Vec<Entry>, CodecError> {
        let mut entries = Vec::new();
        block::read(self.width, block, |key, posted| {
            let rows = posted.among(self.rows, among)?;
            if !rows.is_empty() {
                entries.push((key.into(), rows));
            }
            Ok(())
        })?;
        Ok(entries)
    }

    /// The answer to a probe by the blocks it needs.
    pub(crate) fn answer(&self, probe: &Probe, blocks: &[Bytes]) -> Result<Known, CodecError> {
        if matches!(probe, Probe::Null) {
            let nulls = match blocks {
                [block] => block::bitmap(block, self.rows)?,
                _ if self.nulls == 0 => RoaringBitmap::new(),
                _ => every(self.rows),
            };
            return Ok(Known { maybe: nulls.clone(), sure: nulls });
        }
        if let Some(sure) = self.answer_words(probe, blocks).transpose()? {
            return Ok(Known { maybe: sure.clone(), sure });
        }
        let mut asking = Asking::new(probe);
        let (mut sure, mut maybe) = (Gathered::default(), Gathered::default());
        for block in blocks {
            block::read(self.width, block, |key, posted| match asking.ask(key) {
                Says::No => Ok(()),
                Says::Maybe => maybe.add(posted, self.rows),
                Says::Yes => sure.add(posted, self.rows),
            })?;
        }
        let sure = sure.finish(self.rows)?;
        Ok(Known { maybe: maybe.finish(self.rows)? | &sure, sure })
    }

    /// The same of keys of eight bytes, which are numbers: all of them whole, so that nothing is left in question.
    fn answer_words(&self, probe: &Probe, blocks: &[Bytes]) -> Option<Result<RoaringBitmap, CodecError>> {
        if self.width != Some(8) {
            return None;
        }
        let mut rows = Gathered::default();
        let read = match probe {
            Probe::Range(low, high) => {
                let range = words_of(low, high)?;
                let mut add =
                    |key, posted| if range.contains(&key) { rows.add(posted, self.rows) } else { Ok(()) };
                blocks.iter().try_for_each(|block| block::read_words(block, &mut add))
            }
            Probe::In(keys) => {
                let keys: Vec<u64> = keys.iter().map(|key| word(key)).collect::<Option<_>>()?;
                let mut keys = keys.into_iter().peekable();
                let mut add = |key, posted| {
                    while keys.next_if(|wanted| *wanted < key).is_some() {}
                    if keys.peek() == Some(&key) { rows.add(posted, self.rows) } else { Ok(()) }
                };
                blocks.iter().try_for_each(|block| block::read_words(block, &mut add))
            }
            Probe::Null | Probe::Matches(_) => return None,
        };
        Some(read.and_then(|()| rows.finish(self.rows)))
    }
}

/// The numbers that keys within bounds stand for; `None` if a bound is no number.
fn words_of(low: &Bound<Box<[u8]>>, high: &Bound<Box<[u8]>>) -> Option<RangeInclusive<u64>> {
    let empty = RangeInclusive::new(1, 0);
    let low = match low {
        Bound::Unbounded => 0,
        Bound::Included(key) => word(key)?,
        Bound::Excluded(key) => match word(key)?.checked_add(1) {
            Some(low) => low,
            None => return Some(empty),
        },
    };
    let high = match high {
        Bound::Unbounded => u64::MAX,
        Bound::Included(key) => word(key)?,
        Bound::Excluded(key) => match word(key)?.checked_sub(1) {
            Some(high) => high,
            None => return Some(empty),
        },
    };
    Some(low..=high)
}

fn word(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

/// All rows of a segment.
fn every(rows: u32) -> RoaringBitmap {
    let mut all = RoaringBitmap::new();
    all.insert_range(0..rows);
    all
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
