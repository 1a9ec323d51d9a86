//! The id index: every id with its row, in id order, whatever the order of the rows.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::block::IdBlock;
use super::head::IdIndexHead;
use crate::cache::{Blob, Span};
use crate::codec::{CodecError, zip_equal};
use crate::env::{Cost, Env};
use crate::error::{Error, Result};
use crate::schema::Ids;
use crate::types::DocumentId;

/// Blocks of a page, for walks over all ids: 4 MiB, of which some are in flight at a time.
const PAGE_BLOCKS: usize = 128;

/// An id index, its blocks in memory or on the store.
#[derive(Debug)]
pub(in crate::segment) struct IdIndex {
    head: IdIndexHead,
    blob: Blob,
    resident: Option<Vec<IdBlock>>,
}

/// The blocks that one call reads, and how many entries they hold without the first.
struct BlockSelection {
    numbers: BTreeSet<usize>,
    entries: usize,
}

/// The blocks that one call has read, by number.
struct LoadedBlocks(BTreeMap<usize, IdBlock>);

impl LoadedBlocks {
    fn block(&self, number: usize) -> Result<&IdBlock> {
        self.0.get(&number).ok_or_else(|| Error::internal("a block of the id index was not read"))
    }
}

impl IdIndex {
    /// An index over a head. With `section`, the whole of `id.blocks` after its checksum held, it needs no store.
    pub(in crate::segment) fn new(
        head: IdIndexHead,
        blob: Blob,
        section: Option<&Bytes>,
    ) -> Result<Self, CodecError> {
        let resident = section.map(|section| head.decode_all_blocks(section)).transpose()?;
        Ok(Self { head, blob, resident })
    }

    /// The rows of `ids`, in their order. At most one round trip.
    pub(in crate::segment) async fn find_rows(
        self: &Arc<Self>,
        env: &Env,
        ids: Arc<[DocumentId]>,
    ) -> Result<Vec<Option<u32>>> {
        let (index, cost) = (Arc::clone(self), Cost::id_lookups(ids.len() as u64));
        let searched = Arc::clone(&ids);
        let find_blocks = move || searched.iter().map(|id| index.head.find_block(id)).collect::<Vec<_>>();
        let block_of_id = env.compute(cost, find_blocks).await?;
        let blocks = self.load_blocks(env, block_of_id.iter().flatten().copied().collect()).await?;
        let find_rows = move || {
            let pairs = zip_equal(ids.iter(), block_of_id, "ids and their blocks")?;
            let find_row = |(id, number): (&DocumentId, Option<usize>)| match number {
                Some(number) => blocks.block(number)?.find_row(id),
                None => Ok(None),
            };
            pairs.map(find_row).collect()
        };
        env.compute(cost, find_rows).await?
    }

    /// Finds those of `ids`, which ascend, that the segment has: the position among `ids`, and the row. At most one
    /// round trip.
    pub(in crate::segment) async fn find_sorted_ids(
        self: &Arc<Self>,
        env: &Env,
        ids: &Ids,
    ) -> Result<Vec<(usize, u32)>> {
        let (index, searched) = (Arc::clone(self), ids.clone());
        let cost = Cost::id_lookups(ids.len() as u64);
        let shares = env.compute(cost, move || index.head.divide_ids(&searched)).await?;
        let blocks = self.load_blocks(env, shares.iter().map(|share| share.block).collect()).await?;
        let ids = ids.clone();
        env.compute(cost, move || {
            let mut found = Vec::new();
            for share in shares {
                let start = share.ids.start;
                blocks.block(share.block)?.find_shared(&ids.slice(share.ids), start, &mut found)?;
            }
            Ok(found)
        })
        .await?
    }

    /// The blocks that hold ids from `first` to `last`, divided into pages.
    pub(in crate::segment) fn pages(&self, first: &DocumentId, last: &DocumentId) -> Vec<Range<usize>> {
        // No block at all if `last` is below every id, and none either if the range is empty.
        let Some(end) = self.head.find_block(last).filter(|_| first <= last) else {
            return Vec::new();
        };
        // invariant: an id below the first fence has no block, and the walk begins with the first.
        let start = self.head.find_block(first).unwrap_or(0);
        let pages = (start..=end).step_by(PAGE_BLOCKS);
        pages.map(|start| start..(end + 1).min(start + PAGE_BLOCKS)).collect()
    }

    /// The ids of a page with their rows, in id order. At most one round trip.
    pub(in crate::segment) async fn read_page(
        self: &Arc<Self>,
        env: &Env,
        blocks: Range<usize>,
    ) -> Result<IdBlock> {
        let LoadedBlocks(blocks) = self.load_blocks(env, blocks.collect()).await?;
        let kind = self.head.kind();
        let cost = Cost::id_lookups(blocks.values().map(IdBlock::len).sum::<usize>() as u64);
        let concat = move || IdBlock::concat(kind, &blocks.values().collect::<Vec<_>>());
        env.compute(cost, concat).await?
    }

    /// Up to `limit` ids greater than `after` with their rows, in id order. At most one round trip.
    pub(in crate::segment) async fn next_ids(
        self: &Arc<Self>,
        env: &Env,
        after: Option<&DocumentId>,
        limit: usize,
    ) -> Result<Vec<(DocumentId, u32)>> {
        // invariant: without a bound, or with one below the first fence, the walk begins with the first block.
        let first = after.and_then(|id| self.head.find_block(id)).unwrap_or(0);
        let selection = self.select_blocks(first..self.head.block_count(), limit)?;
        let LoadedBlocks(blocks) = self.load_blocks(env, selection.numbers).await?;
        let after = after.cloned();
        env.compute(Cost::id_lookups(selection.entries.min(limit) as u64), move || {
            let entries = blocks.values().flat_map(|block| block.entries_after(after.as_ref()));
            entries.take(limit).collect()
        })
        .await
    }

    /// Up to `limit` ids less than `before` with their rows, the greatest first. At most one round trip.
    pub(in crate::segment) async fn previous_ids(
        self: &Arc<Self>,
        env: &Env,
        before: Option<&DocumentId>,
        limit: usize,
    ) -> Result<Vec<(DocumentId, u32)>> {
        let last = match before {
            Some(id) => self.head.find_block(id),
            None => self.head.block_count().checked_sub(1),
        };
        // A bound below the first fence has no block, and no ids before it.
        let Some(last) = last else { return Ok(Vec::new()) };
        let selection = self.select_blocks((0..=last).rev(), limit)?;
        let LoadedBlocks(blocks) = self.load_blocks(env, selection.numbers).await?;
        let before = before.cloned();
        env.compute(Cost::id_lookups(selection.entries.min(limit) as u64), move || {
            let entries = blocks.values().rev().flat_map(|block| block.entries_before(before.as_ref()));
            entries.take(limit).collect()
        })
        .await
    }

    /// The blocks to read, of `candidates` in the order of the walk, for `limit` entries.
    fn select_blocks(
        &self,
        candidates: impl IntoIterator<Item = usize>,
        limit: usize,
    ) -> Result<BlockSelection> {
        let mut candidates = candidates.into_iter();
        // Where in the first block the walk begins is not known before it is read: it may hold no entry of the walk,
        // so it does not count. One round trip more would cost more than at most a block too many.
        let mut numbers: BTreeSet<usize> = candidates.next().into_iter().collect();
        let mut entries = 0;
        for number in candidates {
            if entries >= limit {
                break;
            }
            numbers.insert(number);
            entries += self.head.block_len(number)?;
        }
        Ok(BlockSelection { numbers, entries })
    }

    async fn load_blocks(self: &Arc<Self>, env: &Env, numbers: BTreeSet<usize>) -> Result<LoadedBlocks> {
        if let Some(resident) = &self.resident {
            let blocks = numbers.into_iter().map(|number| {
                let block = resident.get(number).cloned();
                Ok((number, block.ok_or_else(|| Error::internal("a block that the id index does not have"))?))
            });
            return Ok(LoadedBlocks(blocks.collect::<Result<_>>()?));
        }
        if numbers.is_empty() {
            return Ok(LoadedBlocks(BTreeMap::new()));
        }
        let spans = numbers.iter().map(|number| self.head.block_span(*number).cloned());
        let bytes = self.blob.read_many(&spans.collect::<Result<Vec<Span>>>()?).await?;
        let index = Arc::clone(self);
        let blocks = zip_equal(numbers, bytes, "blocks of ids and their bytes")?;
        let decode = move || {
            let decode_block =
                |(number, bytes): (usize, Bytes)| Ok((number, index.head.decode_block(number, &bytes)?));
            blocks.map(decode_block).collect::<Result<_, CodecError>>()
        };
        // Always off the async task: a call may read many blocks, of up to 32 KiB each.
        let blocks = env.blocking(decode).await?.map_err(|e| e.at(self.blob.key()))?;
        Ok(LoadedBlocks(blocks))
    }
}
