//! A column of the index: where its blocks lie, and what stands at their bounds.

use std::ops::{Bound, Range};

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::block::{self, Gathered};
use super::key::KEY_BYTES_MAX;
use super::probe::{Asking, Known, Probe, Says};
use crate::cache::Span;
use crate::codec::CodecError;

/// A longer key is told in the head by its first bytes.
pub(super) const FENCE_BYTES_MAX: usize = 32;

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
                let (mut spans, mut from) = (Vec::new(), 0);
                for key in keys {
                    let range = self.candidates(key);
                    let range = range.start.max(from)..range.end;
                    from = from.max(range.end);
                    spans.extend(of(range.start..range.end.max(range.start)));
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
