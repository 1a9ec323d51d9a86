//! Vector files: their layout, and that rows are neither copied on the way to the store nor on the way back.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{Float32Type, Int8Type};
use roaring::RoaringBitmap;
use twox_hash::XxHash3_64;

use super::generator::batch;
use super::{Written, joined, keys, slow_backend, trips, vector_pieces};
use crate::cache::BlockCache;
use crate::env::Env;
use crate::error::Result;
use crate::fuzzing::{block_on, inline_env};
use crate::schema::{Schema, SchemaVersions};
use crate::segment::{Segment, VectorIndexing};
use crate::storage::{MemoryBackend, PutMode, StorageBackend};
use crate::types::{ColumnId, IdKind, Metric, VectorType};

/// Rows whose checksums are too many to keep.
pub(super) const MANY: usize = 20_000;

pub(super) fn vector_schema(element: VectorType, dimension: usize) -> Arc<Schema> {
    let builder = Schema::builder(IdKind::U64).vector("v", element, dimension, Metric::L2Squared);
    Arc::new(builder.build().unwrap())
}

pub(super) async fn write_vectors(schema: Arc<Schema>, rows: usize) -> Written {
    let mut builder = super::builder(&schema);
    let source = batch(&schema, 1, rows);
    builder.push(source.clone()).unwrap();
    let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    let meta = builder.finish(&VectorIndexing::none()).unwrap().upload(&backend, &keys()).await.unwrap().meta;
    Written { backend, schema, meta, source }
}

/// The same rows without nulls, so that all components of the array are written as they are.
fn without_nulls(batch: &RecordBatch) -> RecordBatch {
    let list = batch.column(1).as_fixed_size_list();
    let arrow::datatypes::DataType::FixedSizeList(field, size) = list.data_type() else { panic!("a list") };
    let list = FixedSizeListArray::new(Arc::clone(field), *size, Arc::clone(list.values()), None);
    RecordBatch::try_new(batch.schema(), vec![Arc::clone(batch.column(0)), Arc::new(list)]).unwrap()
}

fn address_range(bytes: &[u8]) -> Range<usize> {
    let start = bytes.as_ptr().addr();
    start..start + bytes.len()
}

fn read_number(file: &[u8], at: usize, bytes: usize) -> usize {
    file[at..at + bytes].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

#[tokio::test]
async fn a_file_is_laid_out_as_its_page_says() -> Result<()> {
    for rows in [700, MANY] {
        let written = write_vectors(vector_schema(VectorType::I8, 7), rows).await;
        let names = keys().segment(written.meta.id);
        let file = written.backend.get(&names.vector(ColumnId(1))).await?;
        let index = written.backend.get(&names.index()).await?;
        let section = |name: &str| written.meta.index.sections.get(name).map(|s| &index[to_usize(s.range())]);
        assert_eq!(section("vector.1.head").unwrap()[..64], file[..64]);
        assert_eq!(&file[..8], b"EVEC\x01\0\x03\0");
        assert_eq!((read_number(&file, 8, 4), read_number(&file, 12, 4)), (7, rows));
        let [components, offset] = [16, 24].map(|at| read_number(&file, at, 8));
        let end = 64 + usize::next_multiple_of(rows * 7, 64);
        // Many are in the file, and few a head of the segment.
        let checksums = if rows == MANY { &file[offset..] } else { section("vector.1.checksums").unwrap() };
        let expected = if rows == MANY { (64, end, end + rows * 4) } else { (64, 0, 64 + rows * 7) };
        assert_eq!((components, offset, file.len()), expected);

        let list = written.source.column(1).as_fixed_size_list();
        let seed = XxHash3_64::oneshot(format!("{} 1", written.meta.id).as_bytes());
        assert!(list.null_count() > 50);
        for row in 0..rows {
            let stored = &file[components + row * 7..][..7];
            let value = list.value(row);
            let components = value.as_primitive::<Int8Type>().values().iter().map(|x| x.cast_unsigned());
            let expected = if list.is_valid(row) { components.collect() } else { vec![0; 7] };
            assert_eq!(stored, expected);
            let checksum = XxHash3_64::oneshot(stored) as u32 ^ (seed as u32).wrapping_add(row as u32);
            assert_eq!(read_number(checksums, row * 4, 4), checksum as usize);
        }
    }
    Ok(())
}

fn to_usize(range: Range<u64>) -> Range<usize> {
    range.start as usize..range.end as usize
}

#[tokio::test]
async fn arrays_are_the_parts_of_a_file() -> Result<()> {
    let schema = vector_schema(VectorType::F32, 24);
    let source = without_nulls(&batch(&schema, 1, 10_000));
    let values = source.column(1).as_fixed_size_list().values().to_data();
    let values = address_range(values.buffers()[0].as_slice());
    let mut builder = super::builder(&schema);
    builder.push(source.clone())?;
    let files = builder.finish(&VectorIndexing::none())?;
    let (_, body) = &files.vectors[0];
    let shared: Vec<_> =
        body.iter().map(|part| address_range(part)).filter(|part| values.contains(&part.start)).collect();
    let mut next = values.start;
    for part in shared {
        assert_eq!(part.start, next);
        next = part.end;
    }
    assert_eq!(next, values.end, "all components, and in their order");
    Ok(())
}

#[tokio::test]
async fn a_run_of_rows_is_the_bytes_that_arrived() -> Result<()> {
    for rows in [900, MANY] {
        let written = write_vectors(vector_schema(VectorType::F32, 24), rows).await;
        let key = keys().segment(written.meta.id).vector(ColumnId(1));
        let object = written.backend.get(&key).await?;
        // In one piece: the store in memory answers with slices of what it was given.
        written.backend.put(&key, object.clone().into(), PutMode::Overwrite).await?;
        let segment = written.open().await?;
        for run in [0..rows as u32, 3..800, 899..900] {
            let pieces = vector_pieces(&segment, 0, run.clone()).await?;
            let expected = written.source.column(1).slice(run.start as usize, run.len());
            assert_eq!(&joined(&pieces), &expected);
            let mut next = address_range(&object).start + 64 + run.start as usize * 96;
            for piece in &pieces {
                let values = piece.as_fixed_size_list().values().as_primitive::<Float32Type>().values();
                assert_eq!(values.as_ptr().addr(), next);
                next += piece.len() * 96;
            }
            // Rows that are wanted one by one come in blocks.
            let read = segment.fetch_vectors(0, &run.collect()).await?;
            assert_eq!(&read, &expected);
        }
        let scattered = [0, 5, 6, 899].into();
        let read = segment.fetch_rows(&[0], &scattered).await?;
        assert_eq!(read, written.expected(&[0], &scattered));
    }
    Ok(())
}

/// What is allocated beside the vectors, which are four megabytes, on the way from an array to the parts of a put and
/// from a response to an array: less than a quarter of them, so that no copy of them can be among it.
#[test]
fn no_copy_of_the_vectors_is_allocated() -> Result<()> {
    const ROWS: usize = 1_000;
    const DIMENSION: usize = 1_024;
    let schema = vector_schema(VectorType::F32, DIMENSION);
    let source = without_nulls(&batch(&schema, 1, ROWS));
    let size = (ROWS * DIMENSION * 4) as u64;
    let mut files = None;
    let written = allocation_counter::measure(|| {
        let mut builder = super::builder(&schema);
        builder.push(source.clone()).unwrap();
        files = Some(builder.finish(&VectorIndexing::none()).unwrap());
    });
    assert!(written.bytes_total < size / 4, "{} bytes to write {size}", written.bytes_total);

    let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    let (env, keys) = (inline_env(), keys());
    let meta = block_on(files.unwrap().upload(&backend, &keys))?.meta;
    let (cache, schemas) = (BlockCache::off(), SchemaVersions::new(Schema::clone(&schema)));
    let segment = block_on(Segment::open(&env, &backend, &cache, &keys, &schemas, &meta))?;
    let mut pieces = Vec::new();
    let read = allocation_counter::measure(|| {
        pieces = block_on(vector_pieces(&segment, 0, 0..1_000)).unwrap();
    });
    assert!(read.bytes_total < size / 4, "{} bytes to read {size}", read.bytes_total);
    assert_eq!(&joined(&pieces), source.column(1));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn checksums_of_a_large_column_are_read_with_its_rows_and_cached() -> Result<()> {
    let written = write_vectors(vector_schema(VectorType::I8, 64), MANY).await;
    let slow = slow_backend(&written.backend)?;
    let backend: Arc<dyn StorageBackend> = Arc::new(slow.clone());
    let (env, keys) = (Env::current()?, keys());
    let schemas = SchemaVersions::new(Schema::clone(&written.schema));
    // Each of the rows is a request, and two blocks of checksums are a third. They are cached, and so are the neighbours of
    // the rows, 256 in a block. Of others the rows are left.
    let points = [([10, 10_000], 3), ([11, 10_001], 0), ([255, 9_984], 0), ([700, 10_700], 2)];
    let points = points.map(|(rows, requests)| (RoaringBitmap::from(rows), requests));
    // The first window of a scan brings the checksums of those that follow.
    let windows = [(0..3_000, 2), (3_000..6_000, 1), (6_000..9_000, 1), (15_000..18_000, 1)];
    let windows = windows.map(|(rows, requests)| (rows.collect(), requests));
    for reads in [&points[..], &windows[..]] {
        let cache = BlockCache::memory(8 << 20);
        let segment = Segment::open(&env, &backend, &cache, &keys, &schemas, &written.meta).await?;
        for (rows, requests) in reads {
            let before = slow.requests();
            let (trips, read) = trips(segment.fetch_vectors(0, rows)).await?;
            assert_eq!(&read, written.expected(&[0], rows).column(1));
            assert_eq!((trips, slow.requests() - before), (u64::from(*requests > 0), *requests));
        }
    }
    Ok(())
}
