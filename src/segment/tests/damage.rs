//! Damaged files and metas that lie.

use std::ops::Bound::Unbounded;
use std::sync::Arc;

use arrow::array::Array;
use roaring::RoaringBitmap;
use uuid::Uuid;

use super::generator::schema;
use super::vectors::{MANY, vector_schema, write_vectors};
use super::{Written, joined, keys, vector_pieces, write};
use crate::error::{ErrorKind, Result};
use crate::index::attributes::AttributeProbe;
use crate::schema::{ColumnKind, Ids};
use crate::segment::{Deletes, SegmentBuilder, SegmentMeta, VectorIndexing};
use crate::storage::{ObjectKey, PutMode, StorageBackend};
use crate::types::{ColumnId, IdKind, ObjectId, VectorType};

/// Reads everything a reader can. Errors must be of the kinds that damage has; answers are compared.
async fn read_everything(written: &Written, backend: &Arc<dyn StorageBackend>) -> Result<()> {
    let segment = written.open_on(backend).await?;
    let columns = written.all_columns();
    let all = segment.fetch_row_range(&columns, 0..written.meta.rows).await?;
    assert!(all == written.source, "damage was read as data");
    let ids = segment.fetch_rows(&[], &(0..written.meta.rows).collect()).await?;
    assert!(ids.column(0) == written.source.column(0), "damage was read as ids");
    let index = segment.attribute_index().unwrap();
    let attributes = written.schema.columns().iter().filter(|c| matches!(c.kind, ColumnKind::Attribute(_)));
    for declared in attributes {
        let column = index.column(declared.id).unwrap();
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

async fn read_damaged(written: &Written, key: &ObjectKey, damage: impl Fn(&mut Vec<u8>)) -> Result<()> {
    let sound = written.backend.get(key).await?;
    let mut bytes = sound.to_vec();
    damage(&mut bytes);
    written.backend.put(key, bytes.into(), PutMode::Overwrite).await?;
    let outcome = read_everything(written, &written.backend).await;
    written.backend.put(key, sound.into(), PutMode::Overwrite).await?;
    outcome
}

#[tokio::test]
async fn every_damage_is_an_error_of_its_object_or_harmless() -> Result<()> {
    let written = write(IdKind::String, 700).await;
    let files = keys().segment(written.meta.id);
    let schema = schema(IdKind::String);
    let (first, last) = (schema.columns()[0].id, schema.columns().last().unwrap().id);
    for key in [files.rows(), files.index(), files.vector(first), files.vector(last)] {
        let size = written.backend.head(&key).await?.size as usize;
        let (mut noticed, mut count) = (0, 0);
        for at in (0..size).step_by(1 + size / 60) {
            count += 1;
            if let Err(error) = read_damaged(&written, &key, |bytes| bytes[at] ^= 0x41).await {
                noticed += 1;
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                assert!(error.to_string().contains(key.as_str()), "{error}");
            }
        }
        assert!(noticed * 10 > count * 7, "{noticed} of {count} in {key}");
        for cut in [0, 1, size / 2, size - 1] {
            match read_damaged(&written, &key, |bytes| bytes.truncate(cut)).await {
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
                // The end of Parquet is read from its copy.
                Ok(()) => assert!(cut + 1 == size && key == files.rows(), "cut to {cut}: {key}"),
            }
        }
    }
    read_everything(&written, &written.backend).await
}

#[tokio::test]
async fn a_wrong_row_is_an_error_wherever_its_checksum_is() -> Result<()> {
    type Damage<'a> = (&'a str, &'a dyn Fn(&mut Vec<u8>));
    fn swap(bytes: &mut [u8], a: usize, b: usize, length: usize) {
        (0..length).for_each(|at| bytes.swap(a + at, b + at));
    }
    // Checksums that are kept in memory, and some that are read with the rows.
    for rows in [700, MANY] {
        let schema = vector_schema(VectorType::I8, 8);
        let written = write_vectors(Arc::clone(&schema), rows).await;
        let mut other = SegmentBuilder::new(
            schema,
            ObjectId { birth: 3, uuid: Uuid::from_u128(5) },
            written.meta.sequences,
        );
        other.push(written.source.clone())?;
        let other = other.finish(&VectorIndexing::none())?.upload(&written.backend, &keys()).await?.meta;
        let of_other = written.backend.get(&keys().segment(other.id).vector(ColumnId(1))).await?;
        let key = keys().segment(written.meta.id).vector(ColumnId(1));
        let sound = written.backend.get(&key).await?.to_vec();
        assert_eq!(sound.len(), of_other.len());
        // Nulls are all alike: two rows that differ.
        let mut valid = (0..rows).filter(|row| written.source.column(1).is_valid(*row));
        let (a, b) = (valid.next().unwrap(), valid.nth(500).unwrap());
        let (row, checksum) =
            (|row: usize| 64 + row * 8, |row: usize| (64 + rows * 8).next_multiple_of(64) + row * 4);
        let damages: [Damage<'_>; 5] = [
            ("a bit of a row", &|bytes| bytes[row(b) + 3] ^= 1),
            ("a bit of a checksum", &|bytes| bytes[checksum(b)] ^= 1),
            ("two rows", &|bytes| swap(bytes, row(a), row(b), 8)),
            ("two rows with their checksums", &|bytes| {
                swap(bytes, row(a), row(b), 8);
                swap(bytes, checksum(a), checksum(b), 4);
            }),
            ("the file of another segment", &|bytes| bytes.copy_from_slice(&of_other)),
        ];
        // Few checksums are a head of the segment, in another file: then equal rows of another segment are as good.
        let damages = damages
            .into_iter()
            .filter(|(what, _)| rows == MANY || matches!(*what, "a bit of a row" | "two rows"));
        for (what, damage) in damages {
            let mut bytes = sound.clone();
            damage(&mut bytes);
            written.backend.put(&key, bytes.into(), PutMode::Overwrite).await?;
            let some = [a as u32, b as u32].into();
            let read = async {
                let segment = written.open().await?;
                Ok((vector_pieces(&segment, 0, 0..rows as u32).await, segment.fetch_vectors(0, &some).await))
            };
            let errors = match read.await {
                Ok((run, some)) => vec![run.unwrap_err(), some.unwrap_err()],
                Err(error) => vec![error],
            };
            for error in errors {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
                assert!(error.to_string().contains(key.as_str()), "{what}: {error}");
            }
        }
        written.backend.put(&key, sound.into(), PutMode::Overwrite).await?;
        let run = vector_pieces(&written.open().await?, 0, 0..rows as u32).await?;
        assert_eq!(&joined(&run), written.source.column(1));
    }
    Ok(())
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
        |m| m.index.sections.get_mut("rows.footer").unwrap().offset -= 8,
        |m| m.index.sections.retain(|name, _| name != "rows.footer"),
        |m| m.index.sections.values_mut().for_each(|s| s.checksum ^= 1),
        |m| m.index.sections.values_mut().for_each(|s| s.length = 0),
        |m| m.index.sections.get_mut("id.blocks").unwrap().length = 1 << 40,
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
