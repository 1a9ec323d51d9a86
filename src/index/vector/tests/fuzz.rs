//! Hostile centroid sets, and hostile indexes of a sound set: sections, records and owners.

use bytes::Bytes;

use super::*;
use crate::codec::{CodecError, seal_trailer};
use crate::fuzzing::{FuzzTarget, block_on, inline_env, join_parts, split_parts};
use crate::index::vector::read_plan::ReadWindow;

const ROWS: u32 = 300;

fn clusters(set: &CentroidSet) -> Vec<u32> {
    (0..u32::try_from(set.len()).unwrap()).collect()
}

#[test]
fn fuzz_centroid_set() {
    let shape = shape(Metric::L2Squared, 5);
    let (coded, vectors) = coded(Metric::L2Squared, ROWS, 5);
    let set = made_after(None, 1, shape, &coded);
    let next = made_after(Some(&set), 1, shape, &coded);
    let seeds = [set, next].map(|set| set.encode().unwrap().to_vec());
    // The centroids are held twice: as they are, and rotated, with the dimensions rounded up to 64.
    FuzzTarget::new("centroid_set", seeds).memory(8, 64 << 10).run_sealed(
        |bytes| seal_trailer(bytes),
        |bytes| {
            let set = CentroidSet::decode(set_id(1), shape, bytes)?;
            let query = QuantizedQuery::new(&set, shape.metric, &vectors[7]);
            assert_eq!(query.cluster_scores().len(), set.len());
            let known = |cluster: &u32| {
                let number = set.numbers().number_of(*cluster);
                number.and_then(|number| set.numbers().position_of(number)) == Some(*cluster)
            };
            assert!(clusters(&set).iter().all(known), "a number leads to its cluster");
            Ok::<_, CodecError>(())
        },
    );
}

/// The section of an index, and the records.
fn index_seed(set: &CentroidSet, coded: &DistinctVectors, listed: bool) -> Vec<u8> {
    let built =
        VectorIndexBuilder::new(set, coded, &RowClusters::default(), &TrainingProgress::default()).unwrap();
    let order = if listed { (0..ROWS).collect() } else { built.row_order(coded) };
    let mut positions = vec![0; order.len()];
    for (position, row) in (0..).zip(&order) {
        positions[*row as usize] = position;
    }
    let (records, section) = built.finish(set, coded, &positions, listed, 0).unwrap();
    join_parts([&section, &records])
}

/// The bytes of the records of a window, whatever their checksums: those are the business of the blob that reads them.
fn records_of(window: &ReadWindow, set: &CentroidSet, records: &[u8]) -> Vec<Bytes> {
    let record = |entry: &crate::index::vector::section::RecordEntry| {
        let span = entry.record_span(set.space());
        let range = usize::try_from(span.start).unwrap()..usize::try_from(span.end).unwrap();
        Bytes::copy_from_slice(&records[range])
    };
    window.entries.iter().map(record).collect()
}

/// A search of all clusters, and what every answer must be.
fn search_all(
    index: &VectorIndex,
    records: &[u8],
    query: &Arc<QuantizedQuery>,
    matching: Option<&Arc<RoaringBitmap>>,
) -> Result<()> {
    let counts = matching.map(|matching| block_on(index.count_matches(matching))).transpose()?;
    let plan = index.plan_reads(&clusters(index.set()), counts.as_ref(), 16 << 10);
    let filtered = matching.map(|matching| index.filter_rows(&plan, matching)).transpose()?;
    let (env, mut state) = (inline_env(), SearchState::new(10));
    for window in plan.windows {
        let records = records_of(&window, index.set(), records);
        state = block_on(index.scan_records(&env, query, 0, (window, records), filtered.clone(), state))?;
    }
    let found = state.finish(10);
    let is_sound = |row: u32| row < ROWS && matching.is_none_or(|matching| matching.contains(row));
    assert!(found.candidates.iter().all(|candidate| is_sound(candidate.row)));
    assert!(found.copies.iter().all(|copies| copies.rows.iter().all(is_sound)));
    Ok(())
}

#[test]
fn fuzz_vector_index() {
    let (mut coded, vectors) = coded(Metric::L2Squared, ROWS, 5);
    // Rows of one vector, which get a record of copies.
    let copies = u32::try_from(COPIES_MIN).unwrap();
    coded.rows.truncate((ROWS - copies) as usize);
    coded.values.truncate(coded.rows.len() * DIMENSION);
    coded.copies = (ROWS - copies..ROWS).map(|row| (3, row)).collect();
    let set = Arc::new(made(Metric::L2Squared, 3, &coded));
    let query = Arc::new(QuantizedQuery::new(&set, Metric::L2Squared, &vectors[7]));
    let matching: Arc<RoaringBitmap> = Arc::new((0..ROWS).step_by(7).collect());
    let seeds = [false, true].map(|listed| index_seed(&set, &coded, listed));
    FuzzTarget::new("vector_index", seeds).memory(8, 512 << 10).inputs(2_000).run(|input| {
        let [section, records] = split_parts(input);
        let (backend, key) = (Arc::new(MemoryBackend::new()), ObjectKey::new("vector")?);
        block_on(backend.put(&key, records.to_vec().into(), PutMode::Create))?;
        let blob = Blob::new(backend, BlockCache::off(), key, records.len() as u64);
        let index = VectorIndex::decode(blob, Arc::clone(&set), ROWS, section).map_err(|e| e.at("vector"))?;
        assert!(index.loose().max() < Some(ROWS));
        for clusters in clusters(&set) {
            let curve = index.curve().for_cluster(clusters);
            let recall = curve.recall(1.0, 10.0);
            assert!((0.0..=1.0).contains(&recall), "{recall}");
        }
        search_all(&index, records, &query, None)?;
        search_all(&index, records, &query, Some(&matching))
    });
}
