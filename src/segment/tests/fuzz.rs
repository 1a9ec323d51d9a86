//! Hostile Parquet files and metas of segments.

use bytes::Bytes;

use super::super::checksums::{ChecksummedFile, encode_checksums};
use super::super::parquet_rows::{ParquetBuilder, ParquetRows, arrow_schema};
use super::*;
use crate::cache::Blob;
use crate::fuzzing::{FuzzTarget, block_on, inline_env, join_parts, split_parts};
use crate::storage::{ObjectKey, PutMode};

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
    let rows = ParquetRows::decode(file, Bytes::copy_from_slice(footer), schema, ROWS)?;
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
