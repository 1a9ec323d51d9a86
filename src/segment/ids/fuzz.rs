//! Hostile id indexes and row ids.

use std::sync::Arc;

use bytes::Bytes;
use roaring::RoaringBitmap;
use uuid::Uuid;

use super::block_list::BlockList;
use super::*;
use crate::cache::{Blob, BlockCache, Span};
use crate::codec::checksum;
use crate::error::Error;
use crate::fuzzing::{FuzzTarget, block_on, inline_env, join_parts, split_parts};
use crate::schema::Ids;
use crate::storage::{MemoryBackend, ObjectKey, PutMode, StorageBackend};
use crate::types::{DocumentId, IdKind};

const KINDS: [IdKind; 3] = [IdKind::U64, IdKind::Uuid, IdKind::String];
const ROWS: u32 = 600;

fn ids(kind: IdKind) -> Ids {
    let id = |n: u32| match kind {
        IdKind::U64 => DocumentId::U64(u64::from(n) * 3),
        IdKind::Uuid => Uuid::from_u128(u128::from(n) << 70).into(),
        IdKind::String => format!("{n:05}{}", "é".repeat(n as usize % 20)).into(),
    };
    let ids: Vec<_> = (0..ROWS).map(id).collect();
    Ids::new(kind, &Ids::build_array(kind, &ids).unwrap()).unwrap()
}

/// The kind that an input begins with, and its other parts.
fn parts(input: &[u8]) -> (IdKind, [&[u8]; 2]) {
    let (kind, rest) = input.split_first().unwrap_or((&0, &[]));
    (KINDS[usize::from(*kind) % 3], split_parts(rest))
}

fn seed(number: u8, BlockList { head, blocks }: &BlockList) -> Vec<u8> {
    [&[number][..], &join_parts([head, blocks])].concat()
}

#[test]
fn fuzz_id_index() {
    let seeds = (0..).zip(KINDS).map(|(number, kind)| {
        let (ids, mut builder) = (ids(kind), IdIndexBuilder::new(kind));
        (0..ROWS).for_each(|at| builder.push_id(&ids, at as usize, ROWS - 1 - at).unwrap());
        seed(number, &builder.finish().unwrap())
    });
    FuzzTarget::new("id_index", seeds).memory(6, 64 << 10).run(|input| {
        let (kind, [head, blocks]) = parts(input);
        let bad = |e: crate::codec::CodecError| e.at("x");
        let head = IdIndexHead::decode(kind, ROWS, &(0..blocks.len() as u64), head).map_err(bad)?;
        let blob = Blob::new(
            Arc::new(MemoryBackend::new()),
            BlockCache::off(),
            ObjectKey::new("x")?,
            blocks.len() as u64,
        );
        let index = IdIndex::new(head, blob, Some(&Bytes::copy_from_slice(blocks))).map_err(bad)?;
        let (index, env, ids) = (Arc::new(index), inline_env(), ids(kind));
        let all: Arc<[DocumentId]> = (0..ids.len()).map(|at| ids.get(at)).collect();
        let rows = block_on(index.find_rows(&env, Arc::clone(&all)))?;
        assert!(rows.into_iter().flatten().all(|row| row < ROWS));
        let rows = block_on(index.find_sorted_ids(&env, &ids))?;
        assert!(rows.into_iter().all(|(at, row)| at < all.len() && row < ROWS));
        block_on(index.previous_ids(&env, Some(&all[300]), 1_000))?;
        block_on(index.next_ids(&env, Some(&all[300]), 1_000))?;
        Ok::<_, Error>(())
    });
}

/// Makes the checksums of the blocks right, wherever the head says that they are.
fn seal_row_ids(input: &mut [u8]) {
    let (_, [head, blocks]) = parts(input);
    let (mut head, mut blocks) = (head.to_vec(), blocks);
    let (start, length) = (5 + 12, head.len());
    for entry in head.get_mut(12..).unwrap_or_default().as_chunks_mut::<12>().0 {
        let (size, stored) = entry.split_at_mut(4);
        let size = u32::from_le_bytes([size[0], size[1], size[2], size[3]]) as usize;
        let (block, rest) = blocks.split_at(size.min(blocks.len()));
        stored.copy_from_slice(&checksum(block).to_le_bytes());
        blocks = rest;
    }
    if let (Some(entries), Some(sealed)) = (input.get_mut(start..5 + length), head.get(12..)) {
        entries.copy_from_slice(sealed);
    }
}

#[test]
fn fuzz_row_ids() {
    let seeds = (0..).zip(KINDS).map(|(number, kind)| {
        let mut builder = RowIdsBuilder::new(kind);
        builder.push_ids(&ids(kind)).unwrap();
        seed(number, &builder.finish().unwrap())
    });
    FuzzTarget::new("row_ids", seeds).memory(6, 64 << 10).run_sealed(
        |input| seal_row_ids(input),
        |input| {
            let (kind, [head, blocks]) = parts(input);
            let (backend, key) = (MemoryBackend::new(), ObjectKey::new("x")?);
            block_on(backend.put(&key, Bytes::copy_from_slice(blocks).into(), PutMode::Create))?;
            let section = Span { start: 0, end: blocks.len() as u64, checksum: None };
            let blob = Blob::new(Arc::new(backend), BlockCache::off(), key, section.end);
            let ids = RowIds::decode(kind, ROWS, blob, &section, head).map_err(|e| e.at("x"))?;
            let rows: RoaringBitmap = (0..ROWS).step_by(7).collect();
            let read = block_on(ids.fetch_ids(&inline_env(), &rows))?;
            assert_eq!(read.len() as u64, rows.len());
            Ok::<_, Error>(())
        },
    );
}
