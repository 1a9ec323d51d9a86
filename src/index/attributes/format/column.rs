//! The blocks of a column, and the bounds by which a key finds them.

use std::ops::Range;

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::block::KeyBlock;
use super::key::{KEY_BYTES_MAX, is_whole};
use super::row_gatherer::RowGatherer;
use super::row_set::RowSet;
use crate::cache::Span;
use crate::codec::CodecError;

/// The head stores this many bytes of a longer key.
///
/// Heads stay in memory as long as a segment is open. Keys that agree in 32 bytes cost at most the read of a
/// neighbouring block.
pub(super) const FENCE_BYTES_MAX: usize = 32;

/// A key with some of its rows, ascending.
pub(crate) type KeyRows = (Box<[u8]>, Vec<u32>);

/// Keys in blocks, each with its rows: the head of a column, without its blocks.
#[derive(Debug)]
pub(crate) struct KeyColumn {
    /// Rows that keys can have: those of the segment, or for trigrams the keys of the column they are of.
    pub(crate) rows: u32,
    /// The bytes of each key, if all have the same length.
    pub(crate) width: Option<usize>,
    /// Rows without a key.
    pub(crate) nulls: u32,
    /// The block with the rows that are null, unless none or all are.
    pub(crate) null_block: Option<Span>,
    /// The greatest key, truncated as a fence.
    pub(super) max: Vec<u8>,
    pub(crate) blocks: Vec<FencedBlock>,
}

/// A block and its fence: the first key, truncated.
#[derive(Debug)]
pub(crate) struct FencedBlock {
    pub(super) fence: Vec<u8>,
    pub(crate) span: Span,
}

impl KeyColumn {
    /// The blocks that may hold a key. For a key above all, the range is empty and lies at the end.
    pub(crate) fn find_blocks(&self, key: &[u8]) -> Range<usize> {
        let key = truncate_key(key, KEY_BYTES_MAX);
        let start = truncate_key(key, FENCE_BYTES_MAX);
        if start > self.max.as_slice() {
            return self.blocks.len()..self.blocks.len();
        }
        let end = self.blocks.partition_point(|block| block.fence.as_slice() <= key);
        // A truncated fence that equals the start of the key may stand for a greater key: then the key, if it is
        // there, is in the block before.
        let begins_before = |block: &FencedBlock| {
            let fence = block.fence.as_slice();
            fence < start || (fence == start && fence.len() < FENCE_BYTES_MAX)
        };
        self.blocks.partition_point(begins_before).saturating_sub(1)..end
    }

    /// The blocks that may hold keys that begin with a prefix.
    pub(crate) fn find_prefix_blocks(&self, prefix: &[u8]) -> Range<usize> {
        let start = self.find_blocks(prefix).start;
        let begins_within = |block: &FencedBlock| {
            let common = prefix.len().min(block.fence.len());
            truncate_key(&block.fence, common) <= truncate_key(prefix, common)
        };
        start..self.blocks.partition_point(begins_within).max(start)
    }

    /// The first key of a block, truncated; `None` behind the last block.
    pub(crate) fn fence(&self, block: usize) -> Option<&[u8]> {
        self.blocks.get(block).map(|block| block.fence.as_slice())
    }

    /// Where blocks are in the file.
    #[expect(clippy::indexing_slicing, reason = "the ranges come from searches of these blocks")]
    pub(crate) fn block_spans(&self, range: Range<usize>) -> impl Iterator<Item = Span> {
        debug_assert!(range.start <= range.end && range.end <= self.blocks.len(), "blocks of the column");
        self.blocks[range].iter().map(|block| block.span.clone())
    }

    /// The rows of one key, by the blocks that [`find_blocks`](Self::find_blocks) names.
    pub(crate) fn read_key(&self, key: &[u8], blocks: &[Bytes]) -> Result<RoaringBitmap, CodecError> {
        let mut gatherer = RowGatherer::new(self.rows);
        for block in blocks {
            let KeyBlock { keys, mut postings } = KeyBlock::open(self.width, block)?;
            let index = keys.partition_point(0, |stored| stored < key);
            if index < keys.len() && keys.key(index) == key {
                postings.skip_keys(index)?;
                postings.gather_rows(1, &mut gatherer)?;
            }
        }
        gatherer.finish()
    }

    /// Calls `each` with every key that has rows in `filter`, and their number, by all blocks. False if one of these
    /// keys is not whole.
    pub(crate) fn count_rows(
        &self,
        blocks: &[Bytes],
        filter: &RoaringBitmap,
        each: &mut dyn FnMut(&[u8], u64),
    ) -> Result<bool, CodecError> {
        let filter = RowSet::new(self.rows, filter);
        let mut are_whole = true;
        for block in blocks {
            let KeyBlock { keys, mut postings } = KeyBlock::open(self.width, block)?;
            for index in 0..keys.len() {
                let rows = filter.count_rows(postings.next_posting()?)?;
                if rows > 0 {
                    are_whole &= is_whole(keys.key(index));
                    each(keys.key(index), rows);
                }
            }
        }
        Ok(are_whole)
    }

    /// The keys of a block that have rows in `filter`, in order, each with these rows.
    pub(crate) fn read_rows(&self, block: &[u8], filter: &RoaringBitmap) -> Result<Vec<KeyRows>, CodecError> {
        let KeyBlock { keys, mut postings } = KeyBlock::open(self.width, block)?;
        let mut found = Vec::new();
        for index in 0..keys.len() {
            let rows = postings.next_posting()?.intersect(self.rows, filter)?;
            if !rows.is_empty() {
                found.push((keys.key(index).into(), rows));
            }
        }
        Ok(found)
    }
}

/// The first `max` bytes of a key, or all of a shorter one.
pub(crate) fn truncate_key(key: &[u8], max: usize) -> &[u8] {
    // invariant: a key shorter than the limit is not truncated, and `get` is `None` for no other reason.
    key.get(..max).unwrap_or(key)
}
