//! Segments as a whole: written, read back, damaged.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Bound::Unbounded;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::array::*;
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Int8Type};
use async_trait::async_trait;
use bytes::Bytes;
use half::f16;
use proptest::prelude::*;
use roaring::RoaringBitmap;
use uuid::Uuid;

use super::*;
use crate::cache::BlockCache;
use crate::error::ErrorKind;
use crate::index::attributes::AttributeProbe;
use crate::schema::{AttributeType, Ids, Schema};
use crate::storage::{
    IncarnationKeys, ListPage, MemoryBackend, NamespaceKeys, ObjectInfo, ObjectKey, ObjectPrefix, PutMode,
    StorageBackend,
};
use crate::types::{DocumentId, IdKind, Metric, NamespaceName, SegmentId, Sequence, VectorType};

const SCALARS: [AttributeType; 7] = [
    AttributeType::String,
    AttributeType::Int,
    AttributeType::Uint,
    AttributeType::Float,
    AttributeType::Bool,
    AttributeType::Uuid,
    AttributeType::Datetime,
];

/// Every type of column, a vector column among them and two behind.
fn schema(kind: IdKind) -> Arc<Schema> {
    let mut builder = Schema::builder(kind).vector("f32", VectorType::F32, 3, Metric::Dot);
    for scalar in SCALARS {
        builder = builder.attribute(scalar.to_string(), scalar);
        builder = builder.attribute(format!("{scalar}.[é]"), AttributeType::array(scalar).unwrap());
    }
    let builder = builder.attribute("bytes", AttributeType::Bytes);
    let builder = builder.vector("f16", VectorType::F16, 5, Metric::L2Squared);
    Arc::new(builder.vector("I8 ", VectorType::I8, 7, Metric::Cosine).build().unwrap())
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn text(&mut self) -> String {
        ["", "a", "naïve", "日本語", "a longer piece of text, as it happens", "\0"][self.roll(6) as usize]
            .repeat(self.roll(4) as usize)
    }

    fn scalars(&mut self, kind: AttributeType, count: usize, nulls: bool) -> ArrayRef {
        let picks: Vec<Option<u64>> =
            (0..count).map(|_| (!nulls || self.roll(4) > 0).then(|| self.roll(1 << 20))).collect();
        let pick = |p: u64, n: usize| p as usize % n;
        match kind {
            AttributeType::String => {
                Arc::new(picks.iter().map(|p| p.map(|_| self.text())).collect::<StringArray>())
            }
            AttributeType::Int => {
                let ints = [i64::MIN, -1, 0, i64::MAX];
                Arc::new(picks.iter().map(|p| p.map(|p| ints[pick(p, 4)])).collect::<Int64Array>())
            }
            AttributeType::Uint => Arc::new(
                picks.iter().map(|p| p.map(|p| [0, p, u64::MAX][pick(p, 3)])).collect::<UInt64Array>(),
            ),
            AttributeType::Float => {
                let floats = [f64::MIN, f64::MIN_POSITIVE, f64::INFINITY, 0.0, 1e-310];
                Arc::new(picks.iter().map(|p| p.map(|p| floats[pick(p, 5)])).collect::<Float64Array>())
            }
            AttributeType::Bool => {
                Arc::new(picks.iter().map(|p| p.map(|p| p % 2 == 0)).collect::<BooleanArray>())
            }
            AttributeType::Uuid => {
                let mut builder = FixedSizeBinaryBuilder::new(16);
                for p in picks {
                    match p {
                        Some(p) => builder.append_value(u128::from(p).to_le_bytes()).unwrap(),
                        None => builder.append_null(),
                    }
                }
                Arc::new(builder.finish())
            }
            AttributeType::Datetime => {
                let times = [i64::MIN, 0, i64::MAX, 1_700_000_000_000];
                let times = picks.iter().map(|p| p.map(|p| times[pick(p, 4)]));
                Arc::new(times.collect::<TimestampMillisecondArray>().with_timezone("UTC"))
            }
            _ => Arc::new(picks.iter().map(|p| p.map(u64::to_le_bytes)).collect::<BinaryArray>()),
        }
    }

    fn attribute(&mut self, kind: AttributeType, count: usize) -> ArrayRef {
        let Some(element) = kind.element() else { return self.scalars(kind, count, true) };
        let lengths: Vec<usize> = (0..count).map(|_| self.roll(4) as usize).collect();
        let values = self.scalars(element, lengths.iter().sum(), false);
        let valid: Vec<bool> = lengths.iter().map(|len| *len > 0 || self.roll(2) == 0).collect();
        let DataType::List(field) = kind.arrow_type() else { panic!("an array is a list") };
        let offsets = arrow::buffer::OffsetBuffer::from_lengths(lengths);
        Arc::new(ListArray::new(field, offsets, values, Some(valid.into())))
    }

    fn vectors(&mut self, shape: crate::schema::VectorColumn, count: usize) -> ArrayRef {
        let len = count * shape.dimension;
        let values: ArrayRef = match shape.element {
            VectorType::F32 => Arc::new(PrimitiveArray::<Float32Type>::from_iter_values(
                (0..len).map(|_| self.roll(1000) as f32 / 7.0),
            )),
            VectorType::F16 => Arc::new(PrimitiveArray::<Float16Type>::from_iter_values(
                (0..len).map(|_| f16::from_f32(self.roll(1000) as f32 / 7.0)),
            )),
            VectorType::I8 => Arc::new(PrimitiveArray::<Int8Type>::from_iter_values(
                (0..len).map(|_| self.roll(256) as u8 as i8),
            )),
        };
        let valid: Vec<bool> = (0..count).map(|_| self.roll(5) > 0).collect();
        let DataType::FixedSizeList(field, dimension) = shape.arrow_type() else {
            panic!("a vector is a list")
        };
        Arc::new(FixedSizeListArray::new(field, dimension, values, Some(valid.into())))
    }
}

/// Id number `n`; only every third number is used.
fn id(kind: IdKind, n: u64) -> DocumentId {
    match kind {
        IdKind::U64 => (n << 40).into(),
        IdKind::Uuid => Uuid::from_u128(u128::from(n) << 90 | 7).into(),
        IdKind::String => format!("{n:08}{}", "ü".repeat(n as usize % 9)).into(),
    }
}

fn batch(schema: &Schema, first: u64, rows: usize) -> RecordBatch {
    let mut dice = Dice(first + rows as u64);
    let ids: Vec<_> = (0..rows as u64).map(|n| id(schema.id(), (first + n) * 3)).collect();
    let mut columns = vec![Ids::build_array(schema.id(), &ids).unwrap()];
    for column in schema.columns() {
        columns.push(match column.kind {
            crate::schema::ColumnKind::Attribute(kind) => dice.attribute(kind, rows),
            crate::schema::ColumnKind::Vector(shape) => dice.vectors(shape, rows),
        });
    }
    RecordBatch::try_new(schema.arrow(), columns).unwrap()
}

fn keys() -> IncarnationKeys {
    NamespaceKeys::new(&NamespaceName::new("n").unwrap()).incarnation(1)
}

fn builder(schema: &Arc<Schema>) -> SegmentBuilder {
    let id = SegmentId { birth: 3, uuid: Uuid::from_u128(4) };
    SegmentBuilder::new(Arc::clone(schema), id, (Sequence(5), Sequence(6)))
}

/// A segment on a store, and the rows it was made of.
struct Written {
    backend: Arc<dyn StorageBackend>,
    schema: Arc<Schema>,
    meta: SegmentMeta,
    source: RecordBatch,
}

async fn write(kind: IdKind, rows: usize) -> Written {
    let schema = schema(kind);
    let mut builder = builder(&schema);
    let batches = [batch(&schema, 1, rows / 3), batch(&schema, 1 + rows as u64 / 3, rows - rows / 3)];
    for batch in &batches {
        builder.push(batch.clone()).unwrap();
    }
    let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    let meta = builder.finish(&VectorIndexing::none()).unwrap().upload(&backend, &keys()).await.unwrap();
    let source = concat_batches(&schema.arrow(), &batches).unwrap();
    Written { backend, schema, meta, source }
}

impl Written {
    async fn open_on(&self, backend: &Arc<dyn StorageBackend>) -> Result<Segment> {
        Segment::open(&Env::current()?, backend, &BlockCache::off(), &keys(), &self.schema, &self.meta).await
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

        let vectors = segment.fetch_vector_range(0, 100..300).await?;
        assert_eq!(&vectors, &written.source.column(1).slice(100, 200));
        assert!(
            segment.fetch_vector_range(1, 0..1).await.is_err()
                && segment.fetch_vector_range(0, 0..1_001).await.is_err()
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
    let meta = builder.finish(&VectorIndexing::none())?.upload(&backend, &keys()).await?;
    let segment =
        Segment::open(&Env::current()?, &backend, &BlockCache::off(), &keys(), &schema, &meta).await?;
    assert!(segment.scan_window(&[0], 0).len() < 40);
    assert_eq!(segment.scan_window(&[], 0), 0..40);
    assert_eq!(
        segment.fetch_rows(&[0], &[7, 39].into()).await?,
        take_record_batch(&source, &UInt32Array::from(vec![7, 39])).unwrap()
    );
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_segment_of_two_row_groups_reads_a_few_pages_at_once() -> Result<()> {
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
    let meta = builder.finish(&VectorIndexing::none())?.upload(&memory, &keys()).await?;
    let slow = Arc::new(Slow::over(&memory));
    let backend: Arc<dyn StorageBackend> = slow.clone();
    let (env, keys) = (Env::current()?, keys());
    let (opening, segment) =
        trips(Segment::open(&env, &backend, &BlockCache::off(), &keys, &schema, &meta)).await?;
    assert_eq!(opening, 1);

    slow.bytes.store(0, Ordering::Relaxed);
    let wanted: RoaringBitmap = [0, 500_000, (1 << 20) - 1, 1 << 20, rows.cast_unsigned() as u32 - 1].into();
    let (fetching, read) = trips(segment.fetch_rows(&[0], &wanted)).await?;
    assert_eq!(read, take_record_batch(&source, &UInt32Array::from_iter_values(wanted.iter())).unwrap());
    let bytes = slow.bytes.load(Ordering::Relaxed);
    assert!(fetching == 1 && bytes < 1 << 20, "{fetching} round trips, {bytes} bytes");

    // The id index is too large to stay in memory.
    let ids: Vec<DocumentId> = [3, 700_000, 1 << 30].map(Into::into).into();
    assert_eq!(trips(segment.find_rows(&ids)).await?, (1, vec![Some(3), Some(700_000), None]));
    let (walking, page) = trips(segment.next_ids(Some(&500_000.into()), 10_000)).await?;
    assert_eq!((walking, page.len(), page[9_999].1), (1, 10_000, 510_000));
    Ok(())
}

/// A store whose reads take a second each, so that the time shows how many depended on each other.
struct Slow {
    inner: Arc<dyn StorageBackend>,
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

impl Slow {
    fn over(inner: &Arc<dyn StorageBackend>) -> Self {
        let (requests, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { inner: Arc::clone(inner), requests, bytes }
    }

    async fn wait(&self) -> Result<()> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Env::current()?.sleep(Duration::from_secs(1)).await;
        Ok(())
    }
}

impl fmt::Debug for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slow")
    }
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("slow")
    }
}

#[async_trait]
impl StorageBackend for Slow {
    async fn put(&self, key: &ObjectKey, bytes: Bytes, mode: PutMode) -> Result<()> {
        self.inner.put(key, bytes, mode).await
    }
    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.wait().await?;
        self.inner.get(key).await
    }
    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.wait().await?;
        self.bytes.fetch_add((range.end - range.start) as usize, Ordering::Relaxed);
        self.inner.get_range(key, range).await
    }
    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        self.inner.head(key).await
    }
    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
        self.inner.list_page(prefix, after).await
    }
    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        self.inner.list_folders(prefix).await
    }
    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.inner.delete(key).await
    }
}

#[expect(clippy::disallowed_methods, reason = "the paused clock counts the round trips")]
async fn trips<T>(work: impl Future<Output = Result<T>>) -> Result<(u64, T)> {
    let start = tokio::time::Instant::now();
    let output = work.await?;
    Ok((start.elapsed().as_secs(), output))
}

#[tokio::test(start_paused = true)]
async fn everything_takes_one_round_trip_at_most() -> Result<()> {
    let written = write(IdKind::String, 2_000).await;
    let slow = Arc::new(Slow::over(&written.backend));
    let backend: Arc<dyn StorageBackend> = slow.clone();
    let (opening, segment) = trips(written.open_on(&backend)).await?;
    // One for attributes, one for Parquet's footer, one for each vector column.
    assert_eq!((opening, slow.requests.swap(0, Ordering::Relaxed)), (1, 5));
    let ids: Vec<_> = [3, 4, 900].map(|n| id(IdKind::String, n)).into();
    assert_eq!(trips(segment.find_rows(&ids)).await?, (0, vec![Some(0), None, Some(299)]));
    assert_eq!(trips(segment.next_ids(None, 10)).await?.0, 0);
    let rows: RoaringBitmap = [0, 1, 700, 1_999].into();
    let (fetching, read) = trips(segment.fetch_rows(&written.all_columns(), &rows)).await?;
    assert_eq!((fetching, read), (1, written.expected(&written.all_columns(), &rows)));
    assert_eq!(trips(segment.fetch_vector_range(0, 0..2_000)).await?.0, 1);
    Ok(())
}

/// Whatever a reader can be asked, asked. Errors must be of the kinds that damage has; answers are compared.
async fn probe(written: &Written, backend: &Arc<dyn StorageBackend>) -> Result<()> {
    let segment = written.open_on(backend).await?;
    let columns = written.all_columns();
    let all = segment.fetch_row_range(&columns, 0..written.meta.rows).await?;
    assert!(all == written.source, "damage was read as data");
    let ids = segment.fetch_rows(&[], &(0..written.meta.rows).collect()).await?;
    assert!(ids.column(0) == written.source.column(0), "damage was read as ids");
    let index = segment.attribute_index().unwrap();
    for (name, _) in written.schema.attributes() {
        let column = index.column(name).unwrap();
        for probe in [AttributeProbe::Null, AttributeProbe::Range(Unbounded, Unbounded)] {
            let blocks = index.read_blocks(&column.find_spans(&probe)).await?;
            let candidates = column.find_candidates(&probe, &blocks).map_err(|e| index.corrupt_block(e))?;
            assert!(candidates.possible.max().is_none_or(|row| row < written.meta.rows));
        }
    }
    let kind = written.schema.id();
    let found = segment.find_sorted_ids(&Ids::new(kind, written.source.column(0))?).await?;
    assert_eq!(found.len(), written.meta.rows as usize);
    Ok(())
}

async fn damaged(written: &Written, key: &ObjectKey, damage: impl Fn(&mut Vec<u8>)) -> Result<()> {
    let sound = written.backend.get(key).await?;
    let mut bytes = sound.to_vec();
    damage(&mut bytes);
    written.backend.put(key, bytes.into(), PutMode::Overwrite).await?;
    let outcome = probe(written, &written.backend).await;
    written.backend.put(key, sound, PutMode::Overwrite).await?;
    outcome
}

#[tokio::test]
async fn every_damage_is_an_error_of_its_object_or_harmless() -> Result<()> {
    let written = write(IdKind::String, 700).await;
    let files = keys().segment(written.meta.id);
    let last = schema(IdKind::String).columns().len() - 1;
    for key in [files.rows(), files.attributes(), files.vector(0), files.vector(last)] {
        let size = written.backend.head(&key).await?.size as usize;
        let (mut noticed, mut count) = (0, 0);
        for at in (0..size).step_by(1 + size / 60) {
            count += 1;
            if let Err(error) = damaged(&written, &key, |bytes| bytes[at] ^= 0x41).await {
                noticed += 1;
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                assert!(error.to_string().contains(key.as_str()), "{error}");
            }
        }
        assert!(noticed * 10 > count * 7, "{noticed} of {count} in {key}");
        for cut in [0, 1, size / 2, size - 1] {
            let error = damaged(&written, &key, |bytes| bytes.truncate(cut)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        }
    }
    probe(&written, &written.backend).await
}

#[tokio::test]
async fn a_hostile_meta_is_an_error() -> Result<()> {
    type Change = fn(&mut SegmentMeta);
    let mut written = write(IdKind::U64, 300).await;
    let sound = written.meta.clone();
    let changes: [Change; 10] = [
        |m| m.rows = u32::MAX,
        |m| m.rows -= 1,
        |m| m.parquet.size = u64::MAX,
        |m| m.parquet.size -= 1,
        |m| m.parquet.sections.values_mut().for_each(|s| s.offset -= 8),
        |m| m.parquet.sections.clear(),
        |m| m.attributes.sections.values_mut().for_each(|s| s.checksum ^= 1),
        |m| m.attributes.sections.values_mut().for_each(|s| s.length = 0),
        |m| m.attributes.sections.get_mut("id.blocks").unwrap().length = 1 << 40,
        |m| m.vectors.values_mut().for_each(|f| f.size /= 2),
    ];
    for (number, change) in changes.iter().enumerate() {
        written.meta = sound.clone();
        change(&mut written.meta);
        let error = written.open().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{number}: {error}");
    }
    Ok(())
}

#[tokio::test]
async fn dead_rows_are_written_and_read_with_the_segment() -> Result<()> {
    let mut written = write(IdKind::U64, 100).await;
    let files = keys().segment(written.meta.id);
    assert!(Deletes::read(&written.backend, &files, &written.meta).await?.is_empty());
    let dead: RoaringBitmap = [0, 7, 99].into();
    let deletes = Deletes::write(&written.backend, &files, 12, Uuid::max(), &dead).await?;
    written.meta.deletes = Some(deletes);
    assert_eq!(written.meta.live_rows(), 97);
    assert_eq!(Deletes::read(&written.backend, &files, &written.meta).await?, dead);
    written.meta.rows = 99;
    let error = Deletes::read(&written.backend, &files, &written.meta).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    Ok(())
}
