//! Versions of a centroid set: one rotation, and numbers of clusters that outlive a version.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::{DIMENSION, TestRng, coded, index, made, made_after, search, set_id, shape};
use crate::cache::{Blob, BlockCache};
use crate::error::Result;
use crate::index::vector::centroids::{CentroidSet, ClusterNumbers, NumberRun};
use crate::index::vector::index::VectorIndex;
use crate::index::vector::query::QuantizedQuery;
use crate::index::vector::random::Random;
use crate::index::vector::read_plan::ReadPlan;
use crate::index::vector::search::SearchResult;
use crate::storage::{MemoryBackend, ObjectKey};
use crate::types::Metric;

#[test]
fn a_set_goes_on_from_the_one_before_it() {
    let (coded, _) = coded(Metric::L2Squared, 1_500, 6);
    let shape = shape(Metric::L2Squared, 5);
    let first = made_after(None, 1, shape, &coded);
    let second = made_after(Some(&first), 2, shape, &coded);
    assert_ne!(first.plain().points().values(), second.plain().points().values(), "another seed");
    // One rotation: what is the same in the space of one is the same in that of the other.
    assert_eq!(first.space().seed(), second.space().seed());
    let rotated = |set: &CentroidSet| {
        let mut out = vec![0.0; set.space().padded()];
        set.space().rotate((0_u8..).take(DIMENSION).map(f64::from), 1.0, &mut Vec::new(), &mut out);
        out
    };
    assert_eq!(rotated(&first), rotated(&second));
    assert_ne!(rotated(&first), rotated(&made_after(None, 2, shape, &coded)), "without a set before it");
    // Other numbers.
    let numbers = |set: &CentroidSet| -> Vec<u32> {
        (0..set.numbers().len()).map(|position| set.numbers().number_of(position).unwrap()).collect()
    };
    let (old, new) = (numbers(&first), numbers(&second));
    assert_eq!([old, new].concat(), (0..second.numbers().next()).collect::<Vec<u32>>());
    // Both are stored.
    let bytes = second.encode().unwrap();
    let again = CentroidSet::decode(set_id(2), shape, &bytes).unwrap();
    assert_eq!(again.space().seed(), first.space().seed());
    assert_eq!((again.numbers(), again.before()), (second.numbers(), Some(first.id())));
    // When numbers run out, a set begins anew.
    let last = u32::MAX - 1;
    let run = |clusters, first| NumberRun { clusters, first, parent: None };
    let clusters = first.numbers().len();
    let worn = ClusterNumbers::new(&[run(clusters - 1, 0), run(1, last)], u32::MAX).unwrap();
    let third = made_after(Some(&first.with_numbers(worn)), 3, shape, &coded);
    assert_eq!((third.before(), third.numbers().number_of(0)), (None, Some(0)));
    assert_eq!(third.space().seed(), second.space().seed());
}

/// The numbers of clusters in no order, with gaps, as after many versions: what is found and read stays the same.
#[tokio::test]
async fn a_cluster_is_found_by_its_number_wherever_it_lies() -> Result<()> {
    let (coded, _) = coded(Metric::L2Squared, 1_500, 6);
    let made = || made(Metric::L2Squared, 5, &coded);
    let clusters = made().numbers().len();
    // 7 has no common factor with 1,009, so no number comes twice.
    let run = |position: u32| NumberRun { clusters: 1, first: 50 + position * 7 % 1_009, parent: Some(3) };
    let runs: Vec<NumberRun> = (0..clusters).map(|position| run(position + 144)).collect();
    assert!(clusters > 1 && !runs.is_sorted_by_key(|run| run.first));
    let numbers = ClusterNumbers::new(&runs, 5_000).unwrap();
    let (plain, shuffled) = (Arc::new(made()), Arc::new(made().with_numbers(numbers.clone())));
    let stored = CentroidSet::decode(set_id(1), shape(Metric::L2Squared, 5), &shuffled.encode()?).unwrap();
    assert_eq!(stored.numbers(), &numbers);
    for listed in [false, true] {
        let (expected, order, _) = index(&plain, &coded, listed).await;
        let (found, same_order, section) = index(&shuffled, &coded, listed).await;
        assert_eq!(order, same_order);
        let query =
            Arc::new(QuantizedQuery::new(&plain, Metric::L2Squared, &TestRng(Random::new(8)).vector()));
        let even: Arc<RoaringBitmap> = Arc::new((0..1_500).filter(|row| row % 2 == 0).collect());
        for matching in [None, Some(&even)] {
            for cluster in 0..clusters {
                let (a, b) = (
                    expected.plan_reads(&[cluster], None, 1 << 20),
                    found.plan_reads(&[cluster], None, 1 << 20),
                );
                let offsets = |plan: &ReadPlan| -> Vec<u64> {
                    plan.windows.iter().flat_map(|window| &window.entries).map(|entry| entry.offset).collect()
                };
                assert_eq!(offsets(&a), offsets(&b), "records lie in the order of space");
                let rows = |result: SearchResult| -> Vec<u32> {
                    result.candidates.iter().map(|candidate| candidate.row).collect()
                };
                let a = search(&expected, &query, &[cluster], matching, usize::MAX).await?;
                let b = search(&found, &query, &[cluster], matching, usize::MAX).await?;
                assert_eq!(rows(a), rows(b), "cluster {cluster}");
            }
        }
        // Against a set that does not have these numbers.
        let blob =
            Blob::new(Arc::new(MemoryBackend::new()), BlockCache::off(), ObjectKey::new("x")?, 1 << 20);
        let foreign = VectorIndex::decode(blob, Arc::clone(&plain), 1_500, &section).unwrap_err();
        assert!(foreign.to_string().contains("a cluster that the set does not have"), "{foreign}");
    }
    Ok(())
}
