//! Random filters over random documents: evaluation, indexes and statistics agree with the naive evaluation, and the
//! laws of logic hold.

mod dice;
mod rows;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use self::dice::{Dice, TYPES};
use self::rows::build_batch;
use super::{BoundFilter, Filter, IndexPlan, SegmentIndexes, ZoneMapFilter, oracle};
use crate::cache::{Blob, BlockCache, Span};
use crate::env::Env;
use crate::index::Candidates;
use crate::index::attributes::{AttributeIndex, AttributeIndexBuilder};
use crate::schema::Schema;
use crate::segment::{ColumnStatistics, ColumnStatisticsBuilder};
use crate::settings::Settings;
use crate::storage::{MemoryBackend, ObjectKey, PutMode, StorageBackend};
use crate::types::tree::iter_nodes;
use crate::types::{ColumnId, Document, IdKind, Metric, Value, VectorType};

/// Fails for an operator that was added to [`Filter`] and not to [`Dice`]: no property would cover it.
#[test]
fn every_predicate_is_drawn() {
    let mut runner = TestRunner::deterministic();
    let bytes = proptest::collection::vec(any::<u8>(), 200);
    let mut drawn = BTreeSet::new();
    for _ in 0..2_000 {
        let bytes = bytes.new_tree(&mut runner).unwrap().current();
        let mut dice = Dice(bytes.iter());
        let schema = dice.draw_schema();
        let filter = dice.draw_filter(&schema, 3);
        drawn.extend(
            iter_nodes(&filter).map(|node| format!("{node:?}").split('(').next().unwrap().to_owned()),
        );
    }
    let missing: Vec<_> = Filter::predicate_names().iter().filter(|name| !drawn.contains(**name)).collect();
    assert!(missing.is_empty(), "draw these in dice.rs: {missing:?}");
}

/// The candidates of a filter by an index of these rows.
async fn find_candidates(
    bound: &BoundFilter,
    schema: &Schema,
    rows: &RecordBatch,
    block_bytes: usize,
) -> Candidates {
    let mut builder = AttributeIndexBuilder::new(schema).with_block_bytes(block_bytes);
    let middle = rows.num_rows() / 2;
    builder.push(&rows.slice(0, middle)).unwrap();
    builder.push(&rows.slice(middle, rows.num_rows() - middle)).unwrap();
    let (head, blocks) = builder.finish().unwrap();
    let (key, size) = (ObjectKey::new("attributes").unwrap(), blocks.len() as u64);
    let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    backend.put(&key, blocks.into(), PutMode::Overwrite).await.unwrap();
    let section = Span { start: 0, end: size, checksum: None };
    let count = u32::try_from(rows.num_rows()).unwrap();
    let decode = |blob, head: &[u8]| AttributeIndex::open(count, blob, &section, head);
    let blob = Blob::new(backend, BlockCache::off(), key, size);
    for end in 0..head.len() {
        assert!(decode(blob.clone(), &head[..end]).is_err(), "cut at {end}");
    }
    let index = Arc::new(decode(blob, &head).unwrap());
    let rows = u32::try_from(rows.num_rows()).unwrap();
    let indexes = SegmentIndexes { attributes: Some(index), text: None, rows };
    IndexPlan::new(bound, &indexes).run(&Env::current().unwrap(), &indexes).await.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn definite_rows_match_and_impossible_rows_do_not(
        bytes in proptest::collection::vec(any::<u8>(), 0..1500),
        block_bytes in 1usize..400,
    ) {
        let mut dice = Dice(bytes.iter());
        let schema = dice.draw_schema();
        let filter = dice.draw_filter(&schema, 3);
        let documents = dice.some(60, |dice| dice.draw_document(&schema));
        let rows = build_batch(&schema, &documents);
        let bound = BoundFilter::new(&filter, &schema, &Settings::default(), true).unwrap();
        let answers = bound.evaluate(&rows, None).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let candidates = runtime.block_on(find_candidates(&bound, &schema, &rows, block_bytes));
        for (row, matches) in (0..).zip(answers.values().iter()) {
            let (definite, possible) = (candidates.definite.contains(row), candidates.possible.contains(row));
            prop_assert!(definite <= matches && matches <= possible, "{:?} row {}: {} {} {}", filter, row, definite, matches, possible);
        }
        prop_assert!(candidates.possible.max().is_none_or(|row| (row as usize) < documents.len()));
    }

    #[test]
    fn answers_by_statistics_hold_for_all_rows(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut dice = Dice(bytes.iter());
        let schema = dice.draw_schema();
        let filter = dice.draw_filter(&schema, 3);
        // The fewer the rows, the more often an answer is the same for all.
        let mut documents = dice.some(5, |dice| dice.draw_document(&schema));
        documents.push(dice.draw_document(&schema));
        let rows = build_batch(&schema, &documents);
        let bound = BoundFilter::new(&filter, &schema, &Settings::default(), true).unwrap();
        let answers = bound.evaluate(&rows, None).unwrap();
        let mut builder = ColumnStatisticsBuilder::new(&schema);
        builder.push(&rows).unwrap();
        let mut statistics: BTreeMap<ColumnId, ColumnStatistics> = builder.finish().collect();
        let (min, max) = (documents.iter().map(Document::id).min(), documents.iter().map(Document::id).max());
        statistics.insert(ColumnId::DOCUMENT_ID, ColumnStatistics::from_id_range(min.unwrap(), max.unwrap()));
        let count = u32::try_from(rows.num_rows()).unwrap();
        let answer = ZoneMapFilter::new(&bound).find_answer(count, &|column| statistics.get(&column).map(Cow::Borrowed));
        if let Some(answer) = answer {
            prop_assert!(answers.values().iter().all(|found| found == answer), "{:?} {}", filter, answer);
        }
    }

    #[test]
    fn the_index_decides_scalars_exactly(
        bytes in proptest::collection::vec(any::<u8>(), 0..1500),
        block_bytes in 1usize..400,
    ) {
        let mut dice = Dice(bytes.iter());
        let kind = dice.pick(&TYPES);
        let schema = Schema::builder(IdKind::U64)
            .attribute("c", kind)
            .vector("v", VectorType::F32, 1, Metric::Dot)
            .build().unwrap();
        let mut values = dice.some(60, |dice| dice.draw_document(&schema));
        values.retain(|d| match d.get("c") {
            Some(Value::String(text)) => text.len() < 128,
            Some(Value::Array(elements)) => {
                elements.iter().all(|e| !matches!(e, Value::String(text) if text.len() >= 128))
            }
            _ => true,
        });
        let filter = match kind.element() {
            Some(element) => dice.element_predicate(&[], "c", element),
            None => dice.scalar_predicate(&[], "c", kind),
        };
        let rows = build_batch(&schema, &values);
        let bound = BoundFilter::new(&filter, &schema, &Settings::default(), true).unwrap();
        let answers = bound.evaluate(&rows, None).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let candidates = runtime.block_on(find_candidates(&bound, &schema, &rows, block_bytes));
        let found: Vec<bool> = (0..).take(values.len()).map(|row| candidates.definite.contains(row)).collect();
        prop_assert_eq!(found, answers.values().iter().collect::<Vec<_>>(), "{:?}", filter);
        prop_assert_eq!(candidates.definite, candidates.possible);
    }

    #[test]
    fn columns_agree_with_documents_and_with_logic(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
        let mut dice = Dice(bytes.iter());
        let schema = dice.draw_schema();
        let (a, b) = (dice.draw_filter(&schema, 3), dice.draw_filter(&schema, 2));
        let pairs = dice.some(20, |dice| (dice.draw_document(&schema), dice.draw_document(&schema)));
        let (old, new): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let (rows, new_rows) = (build_batch(&schema, &old), build_batch(&schema, &new));
        let evaluate = |filter: &Filter, new: Option<&RecordBatch>| -> Vec<bool> {
            let bound = BoundFilter::new(filter, &schema, &Settings::default(), true).unwrap();
            let answers = bound.evaluate(&rows, new).unwrap();
            assert_eq!(answers.null_count(), 0);
            answers.values().iter().collect()
        };
        let not = |filter: &Filter| Filter::Not(Box::new(filter.clone()));
        let flipped = |answers: &[bool]| answers.iter().map(|x| !x).collect::<Vec<_>>();

        let answers = evaluate(&a, Some(&new_rows));
        let naive: Vec<_> =
            old.iter().zip(&new).map(|(old, new)| oracle::matches(&a, old, Some(new))).collect();
        prop_assert_eq!(&answers, &naive, "{:?} on {:?} new {:?}", a, old, new);
        let naive: Vec<_> = old.iter().map(|old| oracle::matches(&a, old, None)).collect();
        prop_assert_eq!(evaluate(&a, None), naive, "{:?} on {:?} without new", a, old);

        let new = Some(&new_rows);
        prop_assert_eq!(evaluate(&not(&a), new), flipped(&answers));
        prop_assert_eq!(&evaluate(&not(&not(&a)), new), &answers);
        let both = not(&Filter::and([a.clone(), b.clone()]));
        prop_assert_eq!(evaluate(&both, new), evaluate(&Filter::or([not(&a), not(&b)]), new));
        let either = not(&Filter::or([a.clone(), b.clone()]));
        prop_assert_eq!(evaluate(&either, new), evaluate(&Filter::and([not(&a), not(&b)]), new));

        // A filter that went out as JSON and came in again matches the same. Its values may be of other types: a
        // datetime is a string.
        if let Ok(json) = serde_json::to_string(&a) {
            let read: Filter = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(serde_json::to_string(&read).unwrap(), json.as_str());
            prop_assert_eq!(evaluate(&read, new), answers, "{}", json);
        } else {
            let infinite = iter_nodes(&a).any(|node| format!("{node:?}").contains("inf"));
            prop_assert!(infinite, "{:?}", a);
        }
    }
}
