//! The id index: every id with its row, in id order, whatever the order of the rows.
//!
//! Two sections of `attributes`. `id.blocks` is a run of blocks of at most 32 KiB:
//! ```text
//! entries u32 | row u32 × entries | ids
//! ```
//! where ids are 8 bytes little-endian each, 16 bytes each, or for strings all lengths (u16), then all bytes.
//! `id.head` tells where the blocks lie and with which id each begins (its fence):
//! ```text
//! "EIDX" | version u16 | kind u16 | blocks u32 | (offset u64, length u32, entries u32, XXH3-64) × blocks | ids
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{FixedSizeBinaryArray, StringArray, UInt64Array};
use arrow::buffer::{Buffer, OffsetBuffer};
use bytes::Bytes;

use super::compute;
use crate::cache::{Blob, Span};
use crate::codec::{CodecError, Reader, checksum, put_len_u16, put_len_u32, to_u32, u64_of, usize_of};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::schema::Ids;
use crate::types::{DocumentId, IdKind};

const WHAT: &str = "id index";
const MAGIC: [u8; 4] = *b"EIDX";
const VERSION: u16 = 1;
const BLOCK_BYTES_MAX: usize = 32 << 10;
/// Blocks of a page, for those who walk all ids: 4 MiB, of which some are in flight at a time.
const PAGE_BLOCKS: usize = 128;

/// Encodes an id index; ids come in ascending order.
#[derive(Debug)]
pub(super) struct IdIndexBuilder {
    kind: IdKind,
    blocks: Vec<u8>,
    fences: EncodedIds,
    directory: Vec<u8>,
    count: u32,
    rows: Vec<u8>,
    ids: EncodedIds,
}

/// Ids as bytes: lengths for strings alone, and the ids.
#[derive(Debug, Default)]
pub(super) struct EncodedIds {
    lengths: Vec<u8>,
    bytes: Vec<u8>,
}

impl EncodedIds {
    pub(super) fn push(&mut self, ids: &Ids, at: usize) -> Result<()> {
        match ids {
            Ids::U64(ids) => self.bytes.extend(ids.value(at).to_le_bytes()),
            Ids::Uuid(ids) => self.bytes.extend(ids.value(at)),
            Ids::String(ids) => {
                let id = ids.value(at);
                put_len_u16(&mut self.lengths, id.len())?;
                self.bytes.extend(id.as_bytes());
            }
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.lengths.len() + self.bytes.len()
    }

    pub(super) fn append_to(&mut self, to: &mut Vec<u8>) {
        to.append(&mut self.lengths);
        to.append(&mut self.bytes);
    }
}

impl IdIndexBuilder {
    pub(super) fn new(kind: IdKind) -> Self {
        let (fences, ids) = (EncodedIds::default(), EncodedIds::default());
        Self { kind, blocks: Vec::new(), fences, directory: Vec::new(), count: 0, rows: Vec::new(), ids }
    }

    /// Adds the id at `at`, which lies in `row`.
    pub(super) fn push(&mut self, ids: &Ids, at: usize, row: u32) -> Result<()> {
        if self.rows.is_empty() {
            self.fences.push(ids, at)?;
        }
        self.ids.push(ids, at)?;
        self.rows.extend(row.to_le_bytes());
        // The longest id with its length and row, and the number of entries, must still fit.
        if 4 + self.rows.len() + self.ids.len() + 80 > BLOCK_BYTES_MAX {
            self.close_block()?;
        }
        Ok(())
    }

    fn close_block(&mut self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let start = self.blocks.len();
        let entries = to_u32(self.rows.len() / 4, "the number of ids in a block")?;
        self.blocks.extend(entries.to_le_bytes());
        self.blocks.append(&mut self.rows);
        self.ids.append_to(&mut self.blocks);
        let block = self.blocks.get(start..).unwrap_or_default();
        self.directory.extend(u64_of(start).to_le_bytes());
        put_len_u32(&mut self.directory, block.len())?;
        self.directory.extend(entries.to_le_bytes());
        self.directory.extend(checksum(block).to_le_bytes());
        self.count += 1;
        Ok(())
    }

    /// The head and the blocks.
    pub(super) fn finish(mut self) -> Result<(Vec<u8>, Vec<u8>)> {
        self.close_block()?;
        let mut head = Vec::new();
        head.extend(MAGIC);
        head.extend(VERSION.to_le_bytes());
        head.extend(kind_code(self.kind).to_le_bytes());
        head.extend(self.count.to_le_bytes());
        head.append(&mut self.directory);
        self.fences.append_to(&mut head);
        Ok((head, self.blocks))
    }
}

pub(super) fn kind_code(kind: IdKind) -> u16 {
    match kind {
        IdKind::U64 => 1,
        IdKind::Uuid => 2,
        IdKind::String => 3,
    }
}

/// An id index, its blocks in memory or on the store.
#[derive(Debug)]
pub(super) struct IdIndex {
    head: IdIndexHead,
    blob: Blob,
    resident: Option<Vec<IdBlock>>,
}

#[derive(Debug)]
pub(super) struct IdIndexHead {
    kind: IdKind,
    rows: u32,
    /// The least id of each block.
    fences: Ids,
    blocks: Vec<IdBlockEntry>,
}

#[derive(Clone, Debug)]
struct IdBlockEntry {
    span: Span,
    entries: u32,
}

/// Some ids in ascending order and the row of each: cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct IdBlock {
    pub(crate) ids: Ids,
    pub(crate) rows: Arc<[u32]>,
}

impl IdIndexHead {
    /// Reads a head; `blocks` is where the section `id.blocks` lies.
    pub(super) fn decode(
        kind: IdKind,
        rows: u32,
        blocks: &Range<u64>,
        head: &[u8],
    ) -> Result<Self, CodecError> {
        let mut reader = Reader::new(WHAT, head);
        reader.magic(MAGIC)?;
        reader.version(VERSION)?;
        if reader.u16()? != kind_code(kind) {
            return Err(CodecError::malformed(WHAT, "another kind of id"));
        }
        let count = usize_of(reader.u32()?);
        let mut places = Vec::new();
        let (mut entries, mut end) = (0u64, blocks.start);
        for _ in 0..count {
            let start = blocks.start.saturating_add(reader.u64()?);
            let stop = start.saturating_add(reader.u32()?.into());
            let entries_here = reader.u32()?;
            let span = Span { start, end: stop, checksum: Some(reader.u64()?) };
            if span.start != end || entries_here == 0 {
                return Err(CodecError::malformed(WHAT, "blocks do not follow each other"));
            }
            let place = IdBlockEntry { span, entries: entries_here };
            end = stop;
            entries += u64::from(place.entries);
            places.push(place);
        }
        let fences = decode_ids(kind, count, &mut reader)?;
        reader.end()?;
        if entries != u64::from(rows) || end != blocks.end || !ascending(&fences) {
            return Err(CodecError::malformed(WHAT, "blocks and rows do not agree"));
        }
        Ok(Self { kind, rows, fences, blocks: places })
    }

    /// The block that holds `id`, if any does.
    fn block_of(&self, id: &DocumentId) -> Option<usize> {
        match self.fences.search(id) {
            Ok(block) => Some(block),
            Err(next) => next.checked_sub(1),
        }
    }

    fn decode_block(&self, number: usize, bytes: &[u8]) -> Result<IdBlock, CodecError> {
        let bad = |why| CodecError::malformed(WHAT, why);
        let place = self.blocks.get(number).ok_or_else(|| bad("no such block"))?;
        let mut reader = Reader::new(WHAT, bytes);
        let entries = reader.u32()?;
        if entries != place.entries {
            return Err(bad("wrong number of entries"));
        }
        let entries = usize_of(entries);
        let (rows, _) = reader.take(entries.saturating_mul(4))?.as_chunks::<4>();
        let rows: Arc<[u32]> = rows.iter().map(|row| u32::from_le_bytes(*row)).collect();
        let ids = decode_ids(self.kind, entries, &mut reader)?;
        reader.end()?;
        let first = ids.get(0) == self.fences.get(number);
        let last =
            number + 1 >= self.fences.len() || ids.compare(entries - 1, &self.fences.get(number + 1)).is_lt();
        if !first || !last || !ascending(&ids) || rows.iter().any(|row| *row >= self.rows) {
            return Err(bad("ids are not where they belong"));
        }
        Ok(IdBlock { ids, rows })
    }
}

impl IdIndex {
    /// An index over a head. With `blocks`, the whole section of that name and sound, it needs no store.
    pub(super) fn new(head: IdIndexHead, blob: Blob, blocks: Option<Bytes>) -> Result<Self, CodecError> {
        let start = head.blocks.first().map_or(0, |place| place.span.start);
        let decode = |blocks: Bytes| {
            let slice = |place: &IdBlockEntry| {
                let at = |position: u64| usize::try_from(position - start).ok();
                blocks.get(at(place.span.start)?..at(place.span.end)?)
            };
            let block = |(number, place)| {
                let bytes = slice(place).ok_or(CodecError::Truncated { what: WHAT })?;
                head.decode_block(number, bytes)
            };
            head.blocks.iter().enumerate().map(block).collect::<Result<Vec<_>, _>>()
        };
        let resident = blocks.map(decode).transpose()?;
        Ok(Self { head, blob, resident })
    }

    /// The rows of `ids`, in their order. At most one round trip.
    pub(super) async fn find_rows(
        self: &Arc<Self>,
        env: &Env,
        ids: Arc<[DocumentId]>,
    ) -> Result<Vec<Option<u32>>> {
        let index = Arc::clone(self);
        let wanted = Arc::clone(&ids);
        let places: Vec<Option<usize>> =
            compute(env, ids.len(), move || wanted.iter().map(|id| index.head.block_of(id)).collect())
                .await?;
        let blocks = self.load_blocks(env, places.iter().flatten().copied().collect()).await?;
        compute(env, ids.len(), move || {
            let row = |(id, place): (&DocumentId, Option<usize>)| blocks.get(&place?)?.find_row(id);
            ids.iter().zip(places).map(row).collect()
        })
        .await
    }

    /// Of `ids`, which are in ascending order, those that are here: the place among them, and the row. At most one
    /// round trip.
    pub(super) async fn find_sorted_ids(self: &Arc<Self>, env: &Env, ids: &Ids) -> Result<Vec<(usize, u32)>> {
        let (index, wanted) = (Arc::clone(self), ids.clone());
        let spans = compute(env, ids.len(), move || index.head.spans_by_block(&wanted)).await?;
        let blocks = self.load_blocks(env, spans.iter().map(|(block, _)| *block).collect()).await?;
        let ids = ids.clone();
        compute(env, ids.len(), move || {
            let mut found = Vec::new();
            for (block, span) in spans {
                let Some(block) = blocks.get(&block) else { continue };
                let start = span.start;
                ids.slice(span).intersect(&block.ids, |at, place| {
                    found.extend(block.rows.get(place).map(|row| (start + at, *row)));
                });
            }
            found
        })
        .await
    }

    /// The blocks that hold ids between two, cut into pages.
    pub(super) fn pages(&self, least: &DocumentId, greatest: &DocumentId) -> Vec<Range<usize>> {
        let Some(end) = self.head.block_of(greatest).filter(|_| least <= greatest) else {
            return Vec::new();
        };
        let first = self.head.block_of(least).unwrap_or(0);
        let pages = (first..=end).step_by(PAGE_BLOCKS);
        pages.map(|start| start..(end + 1).min(start + PAGE_BLOCKS)).collect()
    }

    /// The ids of a page with their rows, in id order. At most one round trip.
    pub(super) async fn read_page(self: &Arc<Self>, env: &Env, blocks: Range<usize>) -> Result<IdBlock> {
        let blocks = self.load_blocks(env, blocks.collect()).await?;
        let (kind, entries) = (self.head.kind, blocks.values().map(|block| block.rows.len()).sum());
        compute(env, entries, move || {
            let ids: Vec<&Ids> = blocks.values().map(|block| &block.ids).collect();
            let rows = blocks.values().flat_map(|block| block.rows.iter().copied()).collect();
            Ok(IdBlock { ids: Ids::concat(kind, &ids)?, rows })
        })
        .await?
    }

    /// Up to `limit` ids greater than `after` with their rows, in id order. At most one round trip.
    pub(super) async fn next_ids(
        self: &Arc<Self>,
        env: &Env,
        after: Option<&DocumentId>,
        limit: usize,
    ) -> Result<Vec<(DocumentId, u32)>> {
        let first = after.and_then(|id| self.head.block_of(id)).unwrap_or(0);
        // Of the first block any number of entries may lie before `after`.
        let mut wanted = BTreeSet::from([first]);
        let mut entries = 0;
        for (number, place) in self.head.blocks.iter().enumerate().skip(first + 1) {
            if entries >= limit {
                break;
            }
            wanted.insert(number);
            entries += usize_of(place.entries);
        }
        let blocks = self.load_blocks(env, wanted).await?;
        let after = after.cloned();
        compute(env, entries.min(limit), move || {
            let entries = blocks.values().flat_map(|block| block.after(after.as_ref()));
            entries.take(limit).collect()
        })
        .await
    }

    /// Up to `limit` ids less than `before` with their rows, the greatest first. At most one round trip.
    pub(super) async fn previous_ids(
        self: &Arc<Self>,
        env: &Env,
        before: Option<&DocumentId>,
        limit: usize,
    ) -> Result<Vec<(DocumentId, u32)>> {
        // Before all ids there is no block.
        let last = match before {
            Some(id) => self.head.block_of(id),
            None => self.head.blocks.len().checked_sub(1),
        };
        let Some(last) = last else { return Ok(Vec::new()) };
        // Of the last block any number of entries may lie behind `before`.
        let mut wanted = BTreeSet::from([last]);
        let mut entries = 0;
        for (number, place) in self.head.blocks.iter().enumerate().take(last).rev() {
            if entries >= limit {
                break;
            }
            wanted.insert(number);
            entries += usize_of(place.entries);
        }
        let blocks = self.load_blocks(env, wanted).await?;
        let before = before.cloned();
        compute(env, entries.min(limit), move || {
            let entries = blocks.values().rev().flat_map(|block| block.before(before.as_ref()));
            entries.take(limit).collect()
        })
        .await
    }

    async fn load_blocks(
        self: &Arc<Self>,
        env: &Env,
        wanted: BTreeSet<usize>,
    ) -> Result<BTreeMap<usize, IdBlock>> {
        if let Some(resident) = &self.resident {
            let block = |number: usize| Some((number, resident.get(number)?.clone()));
            return Ok(wanted.into_iter().filter_map(block).collect());
        }
        let place = |number: &usize| Some(self.head.blocks.get(*number)?.span.clone());
        let spans: Vec<_> = wanted.iter().filter_map(place).collect();
        if spans.is_empty() {
            return Ok(BTreeMap::new());
        }
        let bytes = self.blob.read_many(&spans).await?;
        let index = Arc::clone(self);
        let decode = move || {
            let block =
                |(number, bytes): (usize, Bytes)| Ok((number, index.head.decode_block(number, &bytes)?));
            wanted.into_iter().zip(bytes).map(block).collect::<Result<_, CodecError>>()
        };
        env.blocking(decode).await?.map_err(|e| e.at(self.blob.key()))
    }
}

impl IdIndexHead {
    /// Which of `ids`, in ascending order, each block may hold.
    fn spans_by_block(&self, ids: &Ids) -> Vec<(usize, Range<usize>)> {
        let at = |ids: &Ids, id: &DocumentId| ids.search(id).unwrap_or_else(|at| at);
        let mut spans = Vec::new();
        let mut start = if self.fences.len() == 0 { ids.len() } else { at(ids, &self.fences.get(0)) };
        while start < ids.len() {
            let Some(block) = self.block_of(&ids.get(start)) else { break };
            let next = (block + 1 < self.fences.len()).then(|| at(ids, &self.fences.get(block + 1)));
            let end = next.unwrap_or(ids.len()).max(start + 1);
            spans.push((block, start..end));
            start = end;
        }
        spans
    }
}

impl IdBlock {
    fn find_row(&self, id: &DocumentId) -> Option<u32> {
        self.rows.get(self.ids.search(id).ok()?).copied()
    }

    fn before(&self, id: Option<&DocumentId>) -> impl Iterator<Item = (DocumentId, u32)> {
        let end = id.map_or(self.rows.len(), |id| self.ids.search(id).unwrap_or_else(|at| at));
        self.rows.iter().enumerate().take(end).rev().map(|(at, row)| (self.ids.get(at), *row))
    }

    fn after(&self, id: Option<&DocumentId>) -> impl Iterator<Item = (DocumentId, u32)> {
        let from = id.map_or(0, |id| self.ids.search(id).map_or_else(|at| at, |at| at + 1));
        self.rows.iter().enumerate().skip(from).map(|(at, row)| (self.ids.get(at), *row))
    }
}

fn ascending(ids: &Ids) -> bool {
    match ids {
        Ids::U64(ids) => ids.values().is_sorted_by(|a, b| a < b),
        Ids::Uuid(ids) => ids.iter().is_sorted_by(|a, b| a < b),
        Ids::String(ids) => ids.iter().is_sorted_by(|a, b| a < b),
    }
}

fn decode_ids(kind: IdKind, count: usize, reader: &mut Reader<'_>) -> Result<Ids, CodecError> {
    let bad = |e: arrow::error::ArrowError| CodecError::malformed(WHAT, e);
    Ok(match kind {
        IdKind::U64 => {
            let (ids, _) = reader.take(count.saturating_mul(8))?.as_chunks::<8>();
            Ids::U64(UInt64Array::from_iter_values(ids.iter().map(|id| u64::from_le_bytes(*id))))
        }
        IdKind::Uuid => {
            let ids = Buffer::from(reader.take(count.saturating_mul(16))?);
            Ids::Uuid(FixedSizeBinaryArray::try_new(16, ids, None).map_err(bad)?)
        }
        IdKind::String => {
            let (lengths, _) = reader.take(count.saturating_mul(2))?.as_chunks::<2>();
            let lengths = || lengths.iter().map(|length| usize::from(u16::from_le_bytes(*length)));
            // The lengths lie in memory, so their sum is far from the end of `usize`; that of an `i32` is
            // passed only by a head of 30,000 times the largest segment.
            let bytes = reader.take(lengths().sum())?;
            if i32::try_from(bytes.len()).is_err() {
                return Err(CodecError::malformed(WHAT, "too many bytes of ids"));
            }
            let offsets = OffsetBuffer::from_lengths(lengths());
            Ids::String(StringArray::try_new(offsets, Buffer::from(bytes), None).map_err(bad)?)
        }
    })
}

/// Ids of a batch that is written, checked to ascend from `last` on.
pub(super) fn check_order(ids: &Ids, last: Option<&DocumentId>) -> Result<()> {
    let first = ids.len() == 0 || last.is_none_or(|last| ids.compare(0, last).is_gt());
    if first && ascending(ids) { Ok(()) } else { Err(Error::internal("ids of a segment do not ascend")) }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "numbers of tests are small")]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::storage::{MemoryBackend, ObjectKey, PutMode, StorageBackend};

    fn ids(kind: IdKind, count: u64) -> Vec<DocumentId> {
        let id = |n: u64| match kind {
            IdKind::U64 => DocumentId::U64(n * 3),
            IdKind::Uuid => Uuid::from_u128(u128::from(n) << 70).into(),
            IdKind::String => format!("{n:05}{}", "é".repeat((n % 20) as usize)).into(),
        };
        (1..=count).map(id).collect()
    }

    async fn index(all: &[DocumentId], resident: bool) -> Arc<IdIndex> {
        let kind = all[0].kind();
        let array = Ids::new(kind, &Ids::build_array(kind, all).unwrap()).unwrap();
        check_order(&array, None).unwrap();
        let mut builder = IdIndexBuilder::new(kind);
        for at in 0..array.len() {
            // Rows in another order than ids.
            builder.push(&array, at, (all.len() - 1 - at) as u32).unwrap();
        }
        let (head, blocks) = builder.finish().unwrap();
        let range = 0..blocks.len() as u64;
        let head = IdIndexHead::decode(kind, all.len() as u32, &range, &head).unwrap();
        assert!(head.blocks.iter().all(|b| b.span.end - b.span.start <= BLOCK_BYTES_MAX as u64));
        let (backend, key) = (Arc::new(MemoryBackend::new()), ObjectKey::new("x").unwrap());
        let blocks = Bytes::from(blocks);
        backend.put(&key, blocks.clone(), PutMode::Create).await.unwrap();
        let blob = Blob::new(backend, crate::cache::BlockCache::off(), key, range.end);
        Arc::new(IdIndex::new(head, blob, resident.then_some(blocks)).unwrap())
    }

    #[tokio::test]
    async fn every_id_is_found_in_its_row_and_no_other() -> Result<()> {
        let env = Env::current()?;
        for kind in [IdKind::U64, IdKind::Uuid, IdKind::String] {
            for (count, resident) in [(1, true), (5_000, false), (5_000, true)] {
                let all = ids(kind, count);
                let (present, absent): (Vec<_>, Vec<_>) =
                    all.into_iter().enumerate().partition(|(i, _)| i % 2 == 0);
                let present: Vec<_> = present.into_iter().map(|(_, id)| id).collect();
                let absent: Vec<_> = absent.into_iter().map(|(_, id)| id).collect();
                let index = index(&present, resident).await;
                let rows: Vec<_> = (0..present.len() as u32).rev().map(Some).collect();
                assert_eq!(index.find_rows(&env, present.clone().into()).await?, rows);
                assert!(index.find_rows(&env, absent.clone().into()).await?.iter().all(Option::is_none));
                let array =
                    |some: &[DocumentId]| Ids::new(kind, &Ids::build_array(kind, some).unwrap()).unwrap();
                let found = index.find_sorted_ids(&env, &array(&present)).await?;
                assert_eq!(
                    found,
                    (0..present.len()).zip((0..present.len() as u32).rev()).collect::<Vec<_>>()
                );
                assert!(index.find_sorted_ids(&env, &array(&absent)).await?.is_empty());
                assert!(index.find_sorted_ids(&env, &array(&[])).await?.is_empty());
                assert!(index.find_rows(&env, [].into()).await?.is_empty());
            }
        }
        Ok(())
    }

    #[tokio::test]
    async fn pages_of_any_size_walk_all_ids() -> Result<()> {
        let env = Env::current()?;
        let all = ids(IdKind::String, 3_000);
        let index = index(&all, false).await;
        for limit in [7, 1_000, 10_000] {
            let mut seen: Vec<DocumentId> = Vec::new();
            loop {
                let page = index.next_ids(&env, seen.last(), limit).await?;
                assert!(page.len() == limit || seen.len() + page.len() == all.len());
                assert!(page.iter().all(|(id, row)| all[all.len() - 1 - *row as usize] == *id));
                if page.is_empty() {
                    break;
                }
                seen.extend(page.into_iter().map(|(id, _)| id));
            }
            assert_eq!(seen, all);
        }
        let between = DocumentId::from("00001éz");
        assert_eq!(index.next_ids(&env, Some(&between), 1).await?[0].0, all[1]);
        Ok(())
    }

    #[test]
    fn hostile_heads_are_errors() {
        let mut builder = IdIndexBuilder::new(IdKind::String);
        let array = StringArray::from(vec!["a", "b", "c"]);
        (0..3).for_each(|at| builder.push(&Ids::String(array.clone()), at, at as u32).unwrap());
        let (head, blocks) = builder.finish().unwrap();
        let range = 0..blocks.len() as u64;
        let read = |head: &[u8], rows| IdIndexHead::decode(IdKind::String, rows, &range, head);
        assert!(read(&head, 4).is_err());
        let sound = read(&head, 3).unwrap();
        assert!(IdIndexHead::decode(IdKind::U64, 3, &range, &head).is_err());
        for at in 0..head.len() {
            assert!(read(&head[..at], 3).is_err());
            for mask in [0x01, 0x80, 0xff] {
                let mut bad = head.clone();
                bad[at] ^= mask;
                if let Ok(head) = read(&bad, 3) {
                    // Only the checksum and the fence may differ, and then the block does not fit.
                    let checksums_differ = head.blocks[0].span.checksum != sound.blocks[0].span.checksum;
                    assert!(checksums_differ || head.decode_block(0, &blocks).is_err(), "byte {at}");
                }
            }
        }
    }
}
