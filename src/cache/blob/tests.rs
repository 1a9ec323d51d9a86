//! What readers of a blob see, and which requests reach the store.

use std::ops::Range;

use futures::future::join_all;
use futures::poll;
use proptest::prelude::*;

use super::coalesce::{GAP_MAX, RANGE_MAX, coalesce_spans};
use super::*;
use crate::cache::testing::TestStore;
use crate::codec::checksum;

const MIB: usize = 1 << 20;

fn spans(ranges: &[Range<u64>]) -> Vec<Span> {
    ranges.iter().cloned().map(Span::from).collect()
}

fn coalesced(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    coalesce_spans(&spans(ranges)).into_iter().map(|request| request.range).collect()
}

#[test]
fn near_ranges_become_one_request() {
    assert_eq!(coalesced(&[0..10, 1000..1010]).as_slice(), std::slice::from_ref(&(0..1010)));
    assert_eq!(coalesced(&[5..6, GAP_MAX + 7..GAP_MAX + 8]), [5..6, GAP_MAX + 7..GAP_MAX + 8]);
    assert_eq!(coalesced(&[0..RANGE_MAX, RANGE_MAX + 1..RANGE_MAX + 2]).len(), 2);
}

#[tokio::test]
async fn a_range_is_asked_for_once_and_only_misses_are_joined() -> Result<()> {
    let store = TestStore::new(MIB).await?;
    let cache = BlockCache::memory(8 * MIB);
    let blob = store.blob(&cache);
    assert_eq!(blob.read((100..200).into()).await?, store.expected(100..200));
    let ranges = [300..400, 100..200, 7..7, 50..60, 300..400];
    let expected: Vec<_> = ranges.iter().map(|range| store.expected(range.clone())).collect();
    assert_eq!(blob.read_many(&spans(&ranges)).await?, expected);
    assert_eq!(blob.read_many(&spans(&ranges)).await?, expected);
    assert_eq!(store.requests(), [100..200, 50..400]);
    let stats = cache.stats();
    assert_eq!((stats.memory_hits, stats.misses, stats.miss_bytes), (5, 3, 210));
    Ok(())
}

#[tokio::test]
async fn the_budget_holds_and_what_is_used_stays() -> Result<()> {
    let store = TestStore::new(8 * MIB).await?;
    let cache = BlockCache::memory(MIB);
    let blob = store.blob(&cache);
    for start in (0..8 * MIB as u64).step_by(10_000) {
        let range = start..(start + 10_000).min(blob.size());
        blob.read(range.into()).await?;
        blob.read((0..10_000).into()).await?;
        assert!(cache.stats().memory_bytes <= MIB as u64);
    }
    assert_eq!(store.requests().iter().filter(|range| range.start == 0).count(), 1);
    assert!(cache.stats().memory_bytes > MIB as u64 / 2);
    Ok(())
}

#[tokio::test]
async fn a_block_too_large_to_keep_is_read_and_not_kept() -> Result<()> {
    let store = TestStore::new(2 * MIB).await?;
    let cache = BlockCache::memory(MIB);
    let blob = store.blob(&cache);
    blob.read((0..100).into()).await?;
    for _ in 0..2 {
        assert_eq!(blob.read((0..MIB as u64).into()).await?, store.expected(0..MIB as u64));
    }
    blob.read((0..100).into()).await?;
    assert_eq!(store.requests().len(), 3);
    Ok(())
}

#[tokio::test]
async fn a_large_response_is_kept_as_it_arrived() -> Result<()> {
    let store = TestStore::new(4 * MIB).await?;
    let blob = store.blob(&BlockCache::memory(64 * MIB));
    let large = 0..2 * MIB as u64;
    let read = blob.read(large.clone().into()).await?;
    assert_eq!(read.as_ptr().addr(), store.last_response());
    assert_eq!(blob.read(large.into()).await?.as_ptr(), read.as_ptr());
    // A part of a response would keep all of it alive, and a small one the buffer of its connection.
    for (first, last, size) in [(2 * MIB, 3 * MIB, MIB + 20), (3 * MIB + 200, 3 * MIB + 200, 10)] {
        let (first, last) = (first as u64, last as u64);
        for read in blob.read_many(&spans(&[first..last, last + 10..last + 20])).await? {
            let response = store.last_response()..store.last_response() + size;
            assert!(!response.contains(&read.as_ptr().addr()));
        }
    }
    assert_eq!(store.requests().len(), 3);
    Ok(())
}

#[tokio::test]
async fn many_who_want_a_range_wait_for_one_request() -> Result<()> {
    let store = TestStore::new(MIB).await?;
    let cache = BlockCache::memory(8 * MIB);
    let blob = store.blob(&cache);
    store.hold();
    let both = spans(&[0..10, 500_000..500_010]);
    let mut all = std::pin::pin!(join_all((0..50).map(|_| blob.read_many(&both))));
    assert!(poll!(&mut all).is_pending());
    store.release();
    for read in all.await {
        assert_eq!(read?, [store.expected(0..10), store.expected(500_000..500_010)]);
    }
    assert_eq!(store.requests().len(), 2);
    assert_eq!((cache.stats().misses, cache.stats().joined), (2, 98));
    Ok(())
}

#[tokio::test]
async fn a_dropped_leader_leaves_its_request_to_the_others() -> Result<()> {
    let store = TestStore::new(MIB).await?;
    let cache = BlockCache::memory(8 * MIB);
    let blob = store.blob(&cache);
    store.hold();
    let both = spans(&[0..10, 20..30]);
    let mut leader = Box::pin(blob.read_many(&both));
    let mut follower = Box::pin(blob.read((20..30).into()));
    assert!(poll!(&mut leader).is_pending() && poll!(&mut follower).is_pending());
    drop(leader);
    assert!(poll!(&mut follower).is_pending());
    store.release();
    assert_eq!(follower.await?, store.expected(20..30));
    // The request went on, and what the leader wanted is there too.
    assert_eq!(blob.read((0..10).into()).await?, store.expected(0..10));
    assert_eq!(store.requests().as_slice(), std::slice::from_ref(&(0..30)));
    Ok(())
}

#[tokio::test]
async fn a_request_that_all_gave_up_is_made_again() -> Result<()> {
    let store = TestStore::new(MIB).await?;
    let blob = store.blob(&BlockCache::memory(8 * MIB));
    store.hold();
    let mut read = Box::pin(blob.read((0..10).into()));
    assert!(poll!(&mut read).is_pending());
    drop(read);
    store.release();
    assert_eq!(blob.read((0..10).into()).await?, store.expected(0..10));
    assert_eq!(store.requests().len(), 2);
    Ok(())
}

#[tokio::test]
async fn an_error_reaches_all_who_wait_and_is_not_kept() -> Result<()> {
    let store = TestStore::new(MIB).await?;
    let blob = store.blob(&BlockCache::memory(8 * MIB));
    store.hold();
    let mut reads = std::pin::pin!(join_all((0..3).map(|_| blob.read((0..10).into()))));
    assert!(poll!(&mut reads).is_pending());
    store.fail_next();
    store.release();
    for read in reads.await {
        assert_eq!(read.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert_eq!(blob.read((0..10).into()).await?, store.expected(0..10));
    Ok(())
}

#[tokio::test]
async fn a_range_past_the_end_is_damage_and_not_a_panic() -> Result<()> {
    let store = TestStore::new(100).await?;
    let blob = store.blob(&BlockCache::memory(MIB));
    assert_eq!(blob.read((50..101).into()).await.unwrap_err().kind(), ErrorKind::Corrupt);
    // The store holds less than was promised.
    let backend = Arc::new(store.clone());
    let longer = Blob::new(backend, BlockCache::off(), blob.key().clone(), 1 << 40);
    assert_eq!(longer.read((50..1 << 39).into()).await.unwrap_err().kind(), ErrorKind::Corrupt);
    Ok(())
}

#[tokio::test]
async fn damaged_bytes_are_read_once_more_and_do_not_stay_in_the_cache() -> Result<()> {
    let store = TestStore::new(MIB).await?;
    let blob = store.blob(&BlockCache::memory(8 * MIB));
    let decode = |bytes: Vec<Bytes>| {
        let sound = bytes == [store.expected(5..10), store.expected(20..30)];
        futures::future::ready(if sound { Ok(()) } else { Err(Error::corrupt("object", "bad")) })
    };
    store.damage_next();
    blob.read_decoded(&spans(&[5..10, 20..30]), decode).await?;
    assert_eq!(store.requests().len(), 2);
    blob.read_decoded(&spans(&[5..10, 20..30]), decode).await?;
    assert_eq!(store.requests().len(), 2, "the sound bytes are cached");

    let refuse = |_: Vec<Bytes>| async { Err::<(), _>(Error::corrupt("object", "always")) };
    assert_eq!(blob.read_decoded(&[(5..10).into()], refuse).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(store.requests().len(), 3, "once more and no more");
    Ok(())
}

#[tokio::test]
async fn a_sum_is_checked_where_bytes_come_in() -> Result<()> {
    let store = TestStore::new(MIB).await?;
    for cache in [BlockCache::memory(8 * MIB), BlockCache::off()] {
        let blob = store.blob(&cache);
        let span = |range: Range<u64>| Span {
            checksum: Some(checksum(&store.expected(range.clone()))),
            ..range.into()
        };
        let before = store.requests().len();
        store.damage_next();
        assert_eq!(blob.read(span(5..10)).await?, store.expected(5..10));
        assert_eq!(store.requests().len() - before, 2, "once more, and it was right");
        let wrong = Span { checksum: Some(7), ..(20..30).into() };
        assert_eq!(blob.read(wrong).await.unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(store.requests().len() - before, 4, "once more and no more");
    }
    Ok(())
}

#[tokio::test]
async fn without_a_cache_every_read_is_a_request() -> Result<()> {
    let store = TestStore::new(MIB).await?;
    let cache = BlockCache::memory(0);
    let blob = store.blob(&cache);
    for _ in 0..2 {
        assert_eq!(blob.read((0..10).into()).await?, store.expected(0..10));
    }
    assert_eq!(store.requests().len(), 2);
    assert_eq!(cache.stats(), crate::cache::CacheStats::default());
    Ok(())
}

#[test]
fn every_range_gets_its_own_bytes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let store = runtime.block_on(TestStore::new(MIB + 5000)).unwrap();
    let reads =
        proptest::collection::vec(proptest::collection::vec((0..MIB as u64, 0u64..5000), 0..20), 1..4);
    proptest!(|(reads in reads, bytes in prop_oneof![Just(0), 1000..MIB])| {
        let blob = store.blob(&BlockCache::memory(bytes));
        for ranges in reads {
            let ranges: Vec<_> = ranges.iter().map(|(start, len)| *start..start + len).collect();
            let expected: Vec<_> = ranges.iter().map(|r| store.expected(r.clone())).collect();
            prop_assert_eq!(runtime.block_on(blob.read_many(&spans(&ranges))).unwrap(), expected);
        }
    });
}
