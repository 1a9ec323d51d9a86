//! Hostile Parquet files and metas of segments.

use bytes::Bytes;

use super::super::checksums::{ChecksummedFile, encode_checksums};
use super::super::parquet_builder::ParquetBuilder;
use super::super::parquet_rows::{ParquetRows, arrow_schema};
use super::*;
use crate::cache::Blob;
use crate::codec::checksum;
use crate::fuzzing::{FuzzTarget, block_on, inline_env, join_parts, split_parts};
use crate::schema::TextOptions;
use crate::storage::{ObjectInfo, ObjectKey, ObjectPrefix, PutMode};
use crate::types::{Metric, VectorType};

const ROWS: u32 = 300;

/// A schema of which a file is a few KB, with a column of each way that Parquet stores values.
fn small_schema() -> Arc<Schema> {
    let builder = Schema::builder(IdKind::String)
        .attribute("s", AttributeType::String)
        .attribute("n", AttributeType::Int)
        .attribute("b", AttributeType::Bool)
        .attribute("many", AttributeType::IntArray)
        .attribute("u", AttributeType::Uuid);
    Arc::new(builder.build().unwrap())
}

/// The pages and the footer of a file.
fn parquet_seed(schema: &Schema) -> Vec<u8> {
    let mut builder = ParquetBuilder::new(schema, RowOrder::Id).unwrap();
    builder.push_batch(&batch(schema, 1, ROWS as usize)).unwrap();
    let file = builder.finish().unwrap();
    let pages = file.bytes.len() - file.footer.len();
    join_parts([&file.bytes[..pages], &file.footer])
}

fn read_parquet(schema: &Schema, input: &[u8]) -> Result<()> {
    let [pages, footer] = split_parts(input);
    let (file, key) = ([pages, footer].concat(), ObjectKey::new("rows.parquet")?);
    let (checksums, size) = (encode_checksums(&file), file.len() as u64);
    let backend = MemoryBackend::new();
    block_on(backend.put(&key, file.into(), PutMode::Create))?;
    let blob = Blob::new(Arc::new(backend), BlockCache::off(), key, size);
    // Checksums of blocks are right, whatever the file: what a parser of another crate makes of it is the question.
    let file = ChecksummedFile::decode(blob, &checksums).map_err(|e| e.at("rows.parquet"))?;
    let rows = ParquetRows::decode(file, &Bytes::copy_from_slice(footer), schema, ROWS)?;
    let (rows, env) = (Arc::new(rows), inline_env());
    let columns: Vec<usize> = (0..arrow_schema(schema).fields().len()).collect();
    let mut all = RoaringBitmap::new();
    all.insert_range(0..ROWS);
    for wanted in [all, [0, 7, ROWS - 1].into()] {
        let read = block_on(rows.fetch_rows(&env, columns.clone(), &wanted))?;
        assert_eq!(read.num_rows() as u64, wanted.len());
    }
    Ok(())
}

#[test]
fn fuzz_parquet() {
    let schema = small_schema();
    FuzzTarget::new("parquet", [parquet_seed(&schema)]).inputs(500).run(|input| read_parquet(&schema, input));
}

#[test]
fn fuzz_segment_meta() {
    let schema = schema(IdKind::String);
    let mut builder = builder(&schema);
    builder.push(batch(&schema, 1, 50)).unwrap();
    let meta = builder.finish(&VectorIndexing::none()).unwrap().meta;
    let seed = serde_json::to_vec(&meta).unwrap();
    let words = &[
        "\"id\"",
        "\"cluster\"",
        "\"ffffffffffffffff\"",
        "\"deletes\":{\"manifest\":1,\"count\":99}",
        "\"string\"",
        "{\"u64\":1}",
    ];
    FuzzTarget::new("segment_meta", [seed]).json_words(words).memory(16, 64 << 10).run(|json| {
        let meta: SegmentMeta = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        meta.check(&schema).map_err(|e| e.to_string())?;
        assert!(meta.live_rows() <= meta.rows && meta.may_hold(&meta.id_min) && meta.total_bytes() > 0);
        let known = |id| meta.column_statistics(id).is_none_or(|known| known.nulls <= meta.rows);
        assert!(schema.columns().iter().all(|column| known(column.id)));
        Ok::<_, String>(())
    });
}

/// A segment with a head of every kind but those of a vector index, which have a target of their own.
fn full_schema() -> Arc<Schema> {
    let builder = Schema::builder(IdKind::String)
        .attribute("s", AttributeType::String)
        .attribute("many", AttributeType::IntArray)
        .text("t", TextOptions::default())
        .vector("v", VectorType::F32, 3, Metric::Cosine);
    Arc::new(builder.build().unwrap())
}

/// The meta of a segment whose file `index` was forged: the checksums of its sections are right.
fn with_index(meta: &SegmentMeta, index: &[u8]) -> SegmentMeta {
    let mut meta = meta.clone();
    meta.index.size = index.len() as u64;
    for section in meta.index.sections.values_mut() {
        let range = section.range().start as usize..section.range().end as usize;
        section.checksum = index.get(range).map_or(section.checksum, checksum);
    }
    meta
}

/// Opens a segment, and reads what depends on its heads.
async fn read_segment(written: &Written, objects: &[(ObjectKey, Bytes)], index: &[u8]) -> Result<()> {
    let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    for (key, body) in objects {
        backend.put(key, body.clone().into(), PutMode::Create).await?;
    }
    let meta = with_index(&written.meta, index);
    let key = keys().segment(meta.id).index();
    backend.put(&key, index.to_vec().into(), PutMode::Overwrite).await?;
    let (env, schemas) = (inline_env(), SchemaVersions::new(Schema::clone(&written.schema)));
    let segment = Segment::open(&env, &backend, &BlockCache::off(), &keys(), &schemas, &meta).await?;
    let rows = meta.rows;
    assert!(segment.row_bytes(&written.all_columns(), rows - 1) < u64::MAX);
    let wanted = [0, 7, rows - 1].into();
    let read = segment.fetch_rows(&written.all_columns(), &wanted).await.map(drop);
    let found = segment.find_rows(&[id(IdKind::String, 3), id(IdKind::String, 4)]).await;
    let found = found.map(|found| assert!(found.iter().flatten().all(|row| *row < rows)));
    let next = segment.next_ids(None, 5).await.map(|next| assert!(next.iter().all(|(_, row)| *row < rows)));
    read.and(found).and(next)
}

#[test]
fn fuzz_segment_heads() {
    let schema = full_schema();
    let mut builder = builder(&schema);
    let source = batch(&schema, 1, 60);
    builder.push(source.clone()).unwrap();
    let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    let files = builder.finish(&VectorIndexing::none()).unwrap();
    let meta = block_on(files.upload(&backend, &keys())).unwrap().meta;
    let names = block_on(backend.list(&ObjectPrefix::root(), None)).unwrap();
    let object = |name: ObjectInfo| {
        let body = block_on(backend.get(&name.key)).unwrap();
        (name.key, body)
    };
    let objects: Vec<_> = names.into_iter().map(object).collect();
    let index = keys().segment(meta.id).index();
    let seed = objects.iter().find(|(key, _)| *key == index).unwrap().1.to_vec();
    let written = Written { backend, schema, meta, source };
    FuzzTarget::new("segment_heads", [seed])
        .memory(16, 1 << 20)
        .inputs(1_000)
        .run(|input| block_on(read_segment(&written, &objects, input)));
}
