//! Hostile files of exact vectors: their heads, their rows, and checksums wherever they lie.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, FixedSizeListArray, Float32Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use bytes::Bytes;
use roaring::RoaringBitmap;

use super::checksums::row_checksum;
use super::header::row_bytes;
use super::{ExactVectors, ExactVectorsBuilder};
use crate::cache::{Blob, BlockCache};
use crate::error::Result;
use crate::fuzzing::{FuzzTarget, block_on, inline_env, join_parts, split_parts};
use crate::schema::VectorColumn;
use crate::storage::{MemoryBackend, ObjectKey, PutMode, StorageBackend};
use crate::types::{Metric, VectorType};

const ROWS: u32 = 60;
const SEED: u32 = 7;
const SHAPE: VectorColumn =
    VectorColumn { element: VectorType::F32, dimension: 3, metric: Metric::L2Squared, code_bits: 5 };

/// Rows of which some have no vector.
fn vectors() -> ArrayRef {
    let DataType::FixedSizeList(field, dimension) = SHAPE.arrow_type() else { panic!("a list") };
    let components = (0..ROWS * 3).map(|n| f32::from(u16::try_from(n).unwrap()));
    let components = Arc::new(Float32Array::from_iter_values(components));
    let nulls = NullBuffer::from((0..ROWS).map(|row| row % 7 != 3).collect::<Vec<_>>());
    Arc::new(FixedSizeListArray::try_new(field, dimension, components, Some(nulls)).unwrap())
}

/// The head, the checksums and the file.
fn seed(records: Vec<u8>) -> Vec<u8> {
    let mut builder = ExactVectorsBuilder::new(SHAPE, SEED, ROWS, records);
    builder.push_array(&vectors()).unwrap();
    let built = builder.finish().unwrap();
    let file: Vec<u8> = built.file.body.iter().flat_map(|part| part.to_vec()).collect();
    join_parts([&built.head, &built.checksums.unwrap(), &file])
}

/// The same with the checksums in the file, as they are of more rows.
fn seed_of_many() -> Vec<u8> {
    let joined = seed(Vec::new());
    let [head, checksums, file] = split_parts(&joined);
    let (mut head, mut file) = (head.to_vec(), file.to_vec());
    let offset = file.len().next_multiple_of(64);
    head[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
    file.resize(offset, 0);
    file.extend(checksums);
    join_parts([&head, &[], &file])
}

/// Checksums that fit the rows, where the header says that these begin.
fn checksums_of(head: &[u8], file: &[u8]) -> Vec<u8> {
    let start = head.get(16..24).map_or(0, |at| u64::from_le_bytes(at.try_into().unwrap()));
    let rows = usize::try_from(start).ok().and_then(|start| file.get(start..)).unwrap_or_default();
    let rows = (0..ROWS).zip(rows.chunks_exact(row_bytes(SHAPE)));
    rows.flat_map(|(row, components)| row_checksum(SEED, row, components)).collect()
}

fn seal(input: &mut Vec<u8>) {
    let [head, checksums, file] = split_parts(input);
    let right = checksums_of(head, file);
    if right.len() == checksums.len() {
        *input = join_parts([head, &right, file]);
    }
}

#[test]
fn fuzz_exact_vectors() {
    let seeds = [seed(Vec::new()), seed(vec![9; 100]), seed_of_many()];
    // A container of runs in the bitmap of nulls reserves room for 65,536 of them at most, 4 bytes each, before it is seen
    // to be cut.
    FuzzTarget::new("exact_vectors", seeds).memory(8, 320 << 10).run_sealed(seal, |input| -> Result<()> {
        let [head, checksums, file] = split_parts(input);
        let (backend, key) = (Arc::new(MemoryBackend::new()), ObjectKey::new("vector.1")?);
        block_on(backend.put(&key, file.to_vec().into(), PutMode::Create))?;
        let blob = Blob::new(backend, BlockCache::off(), key, file.len() as u64);
        // Without a head of checksums they are in the file.
        let resident = (!checksums.is_empty()).then(|| Bytes::copy_from_slice(checksums));
        let vectors = ExactVectors::decode(blob, (SHAPE, SEED), ROWS, head, resident.as_ref());
        let vectors = vectors.map_err(|e| e.at("vector.1"))?;
        assert_eq!(u64::from(vectors.count()) + vectors.nulls().len(), u64::from(ROWS));
        let env = inline_env();
        let count = |(rows, nulls): (usize, usize), _, piece: ArrayRef| {
            Ok((rows + piece.len(), nulls + piece.null_count()))
        };
        let (rows, nulls) = block_on(vectors.fold_range(&env, 3..41, (0, 0), count))?;
        assert_eq!((rows, nulls as u64), (38, vectors.nulls().range_cardinality(3..41)));
        let scattered: RoaringBitmap = (0..ROWS).step_by(5).collect();
        let read = block_on(vectors.fetch(&env, &scattered))?;
        assert_eq!(read.len() as u64, scattered.len());
        Ok(())
    });
}
