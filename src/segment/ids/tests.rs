//! Ids of every kind, found and read back; heads that lie.
#![expect(clippy::cast_possible_truncation, reason = "numbers of tests are small")]

use std::sync::Arc;

use arrow::array::StringArray;
use bytes::Bytes;
use uuid::Uuid;

use super::block_list::BlockList;
use super::index_builder::BLOCK_BYTES_MAX;
use super::*;
use crate::cache::Blob;
use crate::env::Env;
use crate::error::Result;
use crate::schema::Ids;
use crate::storage::{MemoryBackend, ObjectKey, PutMode, StorageBackend};
use crate::types::{DocumentId, IdKind};

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
    assert!(array.is_ascending());
    let mut builder = IdIndexBuilder::new(kind);
    for at in 0..array.len() {
        // Rows in another order than ids.
        builder.push_id(&array, at, (all.len() - 1 - at) as u32).unwrap();
    }
    let BlockList { head, blocks } = builder.finish().unwrap();
    let range = 0..blocks.len() as u64;
    let head = IdIndexHead::decode(kind, all.len() as u32, &range, &head).unwrap();
    for number in 0..head.block_count() {
        let span = head.block_span(number).unwrap();
        assert!(span.end - span.start <= BLOCK_BYTES_MAX as u64);
    }
    let (backend, key) = (Arc::new(MemoryBackend::new()), ObjectKey::new("x").unwrap());
    let blocks = Bytes::from(blocks);
    backend.put(&key, blocks.clone().into(), PutMode::Create).await.unwrap();
    let blob = Blob::new(backend, crate::cache::BlockCache::off(), key, range.end);
    Arc::new(IdIndex::new(head, blob, resident.then_some(&blocks)).unwrap())
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
            let array = |some: &[DocumentId]| Ids::new(kind, &Ids::build_array(kind, some).unwrap()).unwrap();
            let found = index.find_sorted_ids(&env, &array(&present)).await?;
            assert_eq!(found, (0..present.len()).zip((0..present.len() as u32).rev()).collect::<Vec<_>>());
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
    (0..3).for_each(|at| builder.push_id(&Ids::String(array.clone()), at, at as u32).unwrap());
    let BlockList { head, blocks } = builder.finish().unwrap();
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
                let checksums_differ =
                    head.block_span(0).unwrap().checksum != sound.block_span(0).unwrap().checksum;
                assert!(checksums_differ || head.decode_block(0, &blocks).is_err(), "byte {at}");
            }
        }
    }
}
