//! Segments as a whole: written, read back, damaged.

mod damage;
mod fuzz;
mod generator;
mod vectors;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::array::*;
use arrow::compute::{concat_batches, take_record_batch};
use proptest::prelude::*;
use roaring::RoaringBitmap;
use uuid::Uuid;

use self::generator::{batch, id, schema};
use super::*;
use crate::cache::BlockCache;
use crate::env::Env;
use crate::error::{ErrorKind, Result};
use crate::schema::{AttributeType, Ids, Schema, SchemaVersions};
use crate::storage::{
    CountingBackend, DelayedBackend, IncarnationKeys, MemoryBackend, NamespaceKeys, StorageBackend,
};
use crate::types::{DocumentId, IdKind, NamespaceName, ObjectId, Sequence};

fn keys() -> IncarnationKeys {
    NamespaceKeys::new(&NamespaceName::new("n").unwrap()).incarnation(1)
}

fn builder(schema: &Arc<Schema>) -> SegmentBuilder {
    let id = ObjectId { birth: 3, uuid: Uuid::from_u128(4) };
    SegmentBuilder::new(Arc::clone(schema), id, (Sequence(5), Sequence(6)))
}

/// A segment on a store, and the rows it was made of.
struct Written {
    backend: Arc<dyn StorageBackend>,
    schema: Arc<Schema>,
    meta: SegmentMeta,
    source: RecordBatch,
}

/// A store whose requests take a second each and are counted, so that the time shows how many depended on each other.
fn slow_backend(inner: &Arc<dyn StorageBackend>) -> Result<CountingBackend> {
    let delayed = DelayedBackend::new(Arc::clone(inner), &Env::current()?, Duration::from_secs(1));
    Ok(CountingBackend::new(Arc::new(delayed)))
}

#[expect(clippy::disallowed_methods, reason = "the paused clock counts the round trips")]
async fn trips<T>(work: impl Future<Output = Result<T>>) -> Result<(u64, T)> {
    let start = tokio::time::Instant::now();
    let output = work.await?;
    Ok((start.elapsed().as_secs(), output))
}

/// The vectors of a run of rows, as a fold is given them.
async fn vector_pieces(segment: &Segment, column: usize, rows: Range<u32>) -> Result<Vec<ArrayRef>> {
    let start = rows.start;
    let push = move |mut pieces: Vec<ArrayRef>, first: u32, piece: ArrayRef| {
        let before: usize = pieces.iter().map(Array::len).sum();
        assert_eq!((first - start) as usize, before);
        pieces.push(piece);
        Ok(pieces)
    };
    segment.fold_vectors(column, rows, Vec::new(), push).await
}

fn joined(pieces: &[ArrayRef]) -> ArrayRef {
    let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
    arrow::compute::concat(&pieces).unwrap()
}

async fn write(kind: IdKind, rows: usize) -> Written {
    let schema = schema(kind);
    let mut builder = builder(&schema);
    let batches = [batch(&schema, 1, rows / 3), batch(&schema, 1 + rows as u64 / 3, rows - rows / 3)];
    for batch in &batches {
        builder.push(batch.clone()).unwrap();
    }
    let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    let meta = builder.finish(&VectorIndexing::none()).unwrap().upload(&backend, &keys()).await.unwrap().meta;
    let source = concat_batches(&schema.arrow(), &batches).unwrap();
    Written { backend, schema, meta, source }
}

impl Written {
    async fn open_on(&self, backend: &Arc<dyn StorageBackend>) -> Result<Segment> {
        let schemas = SchemaVersions::new(Schema::clone(&self.schema));
        Segment::open(&Env::current()?, backend, &BlockCache::off(), &keys(), &schemas, &self.meta).await
    }

    async fn open(&self) -> Result<Segment> {
        self.open_on(&self.backend).await
    }

    fn expected(&self, columns: &[usize], rows: &RoaringBitmap) -> RecordBatch {
        let places: BTreeSet<usize> = columns.iter().map(|at| at + 1).chain([0]).collect();
        let narrow = self.source.project(&places.into_iter().collect::<Vec<_>>()).unwrap();
        take_record_batch(&narrow, &UInt32Array::from_iter_values(rows.iter())).unwrap()
    }

    fn all_columns(&self) -> Vec<usize> {
        (0..self.schema.columns().len()).collect()
    }
}

#[tokio::test]
async fn all_types_read_back_and_every_id_is_found() -> Result<()> {
    for kind in [IdKind::U64, IdKind::Uuid, IdKind::String] {
        let written = write(kind, 1_000).await;
        assert_eq!(written.meta.live_rows(), 1_000);
        let json = serde_json::to_string(&written.meta).unwrap();
        assert_eq!(serde_json::from_str::<SegmentMeta>(&json).unwrap(), written.meta);
        let segment = written.open().await?;
        let all = segment.fetch_row_range(&written.all_columns(), 0..1_000).await?;
        assert_eq!(all, written.source);

        let present: Vec<_> = (1..=1_000).map(|n| id(kind, n * 3)).collect();
        let absent: Vec<_> = (0..=1_001).flat_map(|n| [id(kind, n * 3 + 1), id(kind, n * 3 + 2)]).collect();
        assert_eq!(segment.find_rows(&present).await?, (0..1_000).map(Some).collect::<Vec<_>>());
        assert!(segment.find_rows(&absent).await?.iter().all(Option::is_none));
        let ids = Ids::new(kind, written.source.column(0))?;
        assert_eq!(segment.find_sorted_ids(&ids).await?.len(), 1_000);
        assert_eq!(segment.next_ids(Some(&present[998]), 9).await?, [(present[999].clone(), 999)]);
        assert_eq!(segment.next_ids(None, 2).await?.len(), 2);
        assert!(segment.next_ids(Some(&present[999]), 9).await?.is_empty());

        let vectors = vector_pieces(&segment, 0, 100..300).await?;
        assert_eq!(&joined(&vectors), &written.source.column(1).slice(100, 200));
        assert!(
            vector_pieces(&segment, 1, 0..1).await.is_err()
                && vector_pieces(&segment, 0, 0..1_001).await.is_err()
        );
        assert!(segment.fetch_rows(&[99], &[1].into()).await.is_err());
        assert!(segment.fetch_rows(&[1], &[1_000].into()).await.is_err());
        assert_eq!(segment.fetch_rows(&[0, 1], &RoaringBitmap::new()).await?.num_rows(), 0);
    }
    Ok(())
}

fn shared() -> &'static (tokio::runtime::Runtime, Written, Segment) {
    static SHARED: OnceLock<(tokio::runtime::Runtime, Written, Segment)> = OnceLock::new();
    SHARED.get_or_init(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (written, segment) = runtime.block_on(async {
            let written = write(IdKind::Uuid, 3_000).await;
            let segment = written.open().await.unwrap();
            (written, segment)
        });
        (runtime, written, segment)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_rows_of_any_columns_are_those_that_were_written(
        rows in proptest::collection::btree_set(0u32..3_000, 0..60),
        run in (0u32..3_000, 0u32..700),
        columns in proptest::collection::vec(0usize..18, 0..6),
    ) {
        let (runtime, written, segment) = shared();
        let mut rows: RoaringBitmap = rows.into_iter().collect();
        rows.insert_range(run.0..(run.0 + run.1).min(3_000));
        let read = runtime.block_on(segment.fetch_rows(&columns, &rows)).unwrap();
        prop_assert_eq!(read, written.expected(&columns, &rows));
    }
}

#[test]
fn a_scan_in_windows_reads_everything_once() {
    let (runtime, written, segment) = shared();
    let columns = written.all_columns();
    let (mut from, mut batches) = (0, Vec::new());
    while let window = segment.scan_window(&columns, from)
        && !window.is_empty()
    {
        from = window.end;
        batches.push(runtime.block_on(segment.fetch_row_range(&columns, window)).unwrap());
    }
    assert_eq!(concat_batches(&written.schema.arrow(), &batches).unwrap(), written.source);
}

#[test]
fn a_segment_is_neither_empty_nor_out_of_order() {
    let schema = schema(IdKind::U64);
    assert_eq!(builder(&schema).finish(&VectorIndexing::none()).unwrap_err().kind(), ErrorKind::Internal);
    let mut twice = builder(&schema);
    twice.push(batch(&schema, 1, 5)).unwrap();
    assert_eq!(twice.push(batch(&schema, 5, 2)).unwrap_err().kind(), ErrorKind::Internal);
    let other = batch(&schema, 9, 2).project(&[0, 1]).unwrap();
    assert_eq!(twice.push(other).unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(twice.finish(&VectorIndexing::none()).unwrap().meta.rows, 5);
}

#[tokio::test]
async fn large_values_read_back_and_are_scanned_in_small_windows() -> Result<()> {
    let schema = Arc::new(Schema::builder(IdKind::U64).attribute("t", AttributeType::String).build()?);
    let texts = StringArray::from_iter_values((0..40).map(|n| n.to_string().repeat(1 << 20)));
    let ids = UInt64Array::from_iter_values(0..40);
    let source = RecordBatch::try_new(schema.arrow(), vec![Arc::new(ids), Arc::new(texts)]).unwrap();
    let mut builder = builder(&schema);
    builder.push(source.clone())?;
    let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    let meta = builder.finish(&VectorIndexing::none())?.upload(&backend, &keys()).await?.meta;
    let schemas = SchemaVersions::new(Schema::clone(&schema));
    let segment =
        Segment::open(&Env::current()?, &backend, &BlockCache::off(), &keys(), &schemas, &meta).await?;
    assert!(segment.scan_window(&[0], 0).len() < 40);
    assert_eq!(segment.scan_window(&[], 0), 0..40);
    assert_eq!(
        segment.fetch_rows(&[0], &[7, 39].into()).await?,
        take_record_batch(&source, &UInt32Array::from(vec![7, 39])).unwrap()
    );
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_segment_of_many_row_groups_reads_a_few_pages_at_once() -> Result<()> {
    let schema = Arc::new(Schema::builder(IdKind::U64).attribute("n", AttributeType::Int).build()?);
    let rows = (1 << 20) + 1_000;
    let numbers = Int64Array::from_iter_values(
        (0..rows).map(|n: i64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64)),
    );
    let ids = UInt64Array::from_iter_values(0..rows.cast_unsigned());
    let source = RecordBatch::try_new(schema.arrow(), vec![Arc::new(ids), Arc::new(numbers)]).unwrap();
    let mut builder = builder(&schema);
    builder.push(source.clone())?;
    let memory: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    let meta = builder.finish(&VectorIndexing::none())?.upload(&memory, &keys()).await?.meta;
    let slow = slow_backend(&memory)?;
    let backend: Arc<dyn StorageBackend> = Arc::new(slow.clone());
    let (env, keys) = (Env::current()?, keys());
    let schemas = SchemaVersions::new(Schema::clone(&schema));
    let (opening, segment) =
        trips(Segment::open(&env, &backend, &BlockCache::off(), &keys, &schemas, &meta)).await?;
    assert_eq!(opening, 1);

    slow.reset();
    let wanted: RoaringBitmap = [0, 500_000, (1 << 20) - 1, 1 << 20, rows.cast_unsigned() as u32 - 1].into();
    let (fetching, read) = trips(segment.fetch_rows(&[0], &wanted)).await?;
    assert_eq!(read, take_record_batch(&source, &UInt32Array::from_iter_values(wanted.iter())).unwrap());
    let bytes = slow.bytes_read();
    assert!(fetching == 1 && bytes < 1 << 20, "{fetching} round trips, {bytes} bytes");

    // The id index is too large to stay in memory.
    let ids: Vec<DocumentId> = [3, 700_000, 1 << 30].map(Into::into).into();
    assert_eq!(trips(segment.find_rows(&ids)).await?, (1, vec![Some(3), Some(700_000), None]));
    let (walking, page) = trips(segment.next_ids(Some(&500_000.into()), 10_000)).await?;
    assert_eq!((walking, page.len(), page[9_999].1), (1, 10_000, 510_000));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn everything_takes_one_round_trip_at_most() -> Result<()> {
    let written = write(IdKind::String, 2_000).await;
    let slow = slow_backend(&written.backend)?;
    let backend: Arc<dyn StorageBackend> = Arc::new(slow.clone());
    let (opening, segment) = trips(written.open_on(&backend)).await?;
    assert_eq!((opening, slow.requests()), (1, 1), "all heads lie next to each other");
    let ids: Vec<_> = [3, 4, 900].map(|n| id(IdKind::String, n)).into();
    assert_eq!(trips(segment.find_rows(&ids)).await?, (0, vec![Some(0), None, Some(299)]));
    assert_eq!(trips(segment.next_ids(None, 10)).await?.0, 0);
    let rows: RoaringBitmap = [0, 1, 700, 1_999].into();
    let (fetching, read) = trips(segment.fetch_rows(&written.all_columns(), &rows)).await?;
    assert_eq!((fetching, read), (1, written.expected(&written.all_columns(), &rows)));
    assert_eq!(trips(vector_pieces(&segment, 0, 0..2_000)).await?.0, 1);
    Ok(())
}
