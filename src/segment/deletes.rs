//! Deleted rows of a segment: a bitmap as of a manifest.
//!
//! ```text
//! "EDEL" | version u16 | zero u16 | length u64 | portable roaring bitmap | XXH3-64 of all before
//! ```

use bytes::Bytes;
use roaring::RoaringBitmap;
use uuid::Uuid;

use std::sync::Arc;

use super::meta::{DeletesMeta, SegmentMeta};
use crate::codec::{
    CodecError, Reader, UnknownFields, check_trailer, push_trailer, put_bitmap, rows_bitmap, to_u32, u64_of,
};
use crate::error::{Error, Result};
use crate::storage::{PutMode, SegmentKeys, StorageBackend, fetch_named};

const WHAT: &str = "deletes";
const MAGIC: [u8; 4] = *b"EDEL";
const VERSION: u16 = 1;
/// The most bytes of a roaring container, which is a bitmap of 65,536 rows, with its share of the index. The header and
/// the checksum of the file are less than another.
const CONTAINER_BYTES_MAX: u64 = 8_192 + 64;

/// Dead rows on their way to and from the store.
#[derive(Debug)]
pub(crate) struct Deletes;

impl Deletes {
    /// Writes the dead rows of a segment, for the manifest to name.
    pub(crate) async fn write(
        backend: &Arc<dyn StorageBackend>,
        keys: &SegmentKeys,
        manifest: u64,
        nonce: Uuid,
        rows: &RoaringBitmap,
    ) -> Result<DeletesMeta> {
        let (bytes, checksum) = encode(rows)?;
        let count = to_u32(rows.len(), "the number of dead rows")?;
        let size = u64_of(bytes.len());
        // The nonce makes the name unique: an overwrite can only repeat an earlier attempt of the same put.
        backend.put(&keys.deletes(manifest, nonce), bytes.into(), PutMode::Overwrite).await?;
        Ok(DeletesMeta { manifest, nonce, count, size, checksum, unknown: UnknownFields::new() })
    }

    /// Reads the dead rows of a segment: none, if its meta names no file. One round trip.
    pub(crate) async fn read(
        backend: &Arc<dyn StorageBackend>,
        keys: &SegmentKeys,
        meta: &SegmentMeta,
    ) -> Result<RoaringBitmap> {
        // A segment that nothing was deleted from has no file, and costs no request.
        let Some(deletes) = &meta.deletes else { return Ok(RoaringBitmap::new()) };
        let key = keys.deletes(deletes.manifest, deletes.nonce);
        // The file is read whole, and only the manifest vouches for its size: no more than the rows can take.
        if deletes.size > CONTAINER_BYTES_MAX * (2 + u64::from(meta.rows >> 16)) {
            return Err(Error::corrupt(key, "the file of dead rows is too large"));
        }
        let fetch = || backend.get_range(&key, 0..deletes.size);
        fetch_named(&key, fetch, |bytes| decode(bytes, deletes, meta.rows)).await
    }
}

/// The file and its checksum.
fn encode(rows: &RoaringBitmap) -> Result<(Bytes, u64)> {
    let length = rows.serialized_size();
    let mut bytes = Vec::with_capacity(length + 24);
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend([0; 2]);
    bytes.extend(u64_of(length).to_le_bytes());
    put_bitmap(&mut bytes, rows)?;
    let checksum = push_trailer(&mut bytes);
    Ok((bytes.into(), checksum))
}

fn decode(bytes: &[u8], meta: &DeletesMeta, rows: u32) -> Result<RoaringBitmap, CodecError> {
    let (body, checksum) = check_trailer(WHAT, bytes)?;
    // A sound file that is not this one may stand under its name.
    if checksum != meta.checksum {
        return Err(CodecError::Checksum { what: WHAT });
    }
    let mut reader = Reader::new(WHAT, body);
    reader.magic(MAGIC)?;
    reader.version(VERSION)?;
    reader.u16()?;
    let length = reader.len()?;
    let dead = rows_bitmap(WHAT, reader.take(length)?, rows)?;
    reader.end()?;
    if dead.len() != u64::from(meta.count) {
        return Err(CodecError::malformed(WHAT, "the number of dead rows is not that of the manifest"));
    }
    Ok(dead)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::seal_trailer;
    use crate::fuzzing::FuzzTarget;

    #[test]
    fn fuzz_deletes() {
        let seeds = [(0..70_000).step_by(3).collect(), [5, 9, 99_999].into(), (7..90_000).collect()];
        let seeds = seeds.map(|rows: RoaringBitmap| encode(&rows).unwrap().0);
        // A container of runs reserves room for 65,536 of them at most, 4 bytes each, before it is seen to be cut.
        FuzzTarget::new("deletes", seeds).memory(2, 512 << 10).run_sealed(
            |bytes| seal_trailer(bytes),
            |bytes| {
                let checksum = check_trailer(WHAT, bytes).map_or(0, |(_, checksum)| checksum);
                // The number of rows is the last that is compared: what was decoded tells it.
                let counts = [23_334, 3, 89_993];
                let unknown = UnknownFields::new;
                let meta = |count| DeletesMeta {
                    manifest: 1,
                    nonce: Uuid::nil(),
                    count,
                    size: 0,
                    checksum,
                    unknown: unknown(),
                };
                let read = counts.map(|count| decode(bytes, &meta(count), 100_000));
                read.into_iter().reduce(Result::or).unwrap()
            },
        );
    }

    #[test]
    fn dead_rows_read_back_and_every_damage_is_noticed() {
        for rows in [RoaringBitmap::new(), (0..70_000).step_by(3).collect(), [5, 9, 99_999].into()] {
            let (bytes, checksum) = encode(&rows).unwrap();
            let size = bytes.len() as u64;
            let count = u32::try_from(rows.len()).unwrap();
            let unknown = UnknownFields::new();
            let meta = DeletesMeta { manifest: 1, nonce: Uuid::nil(), count, size, checksum, unknown };
            assert!(size <= CONTAINER_BYTES_MAX * 3);
            assert_eq!(decode(&bytes, &meta, 100_000).unwrap(), rows);
            for at in (0..bytes.len()).step_by(1 + bytes.len() / 100) {
                let mut bad = bytes.to_vec();
                bad[at] ^= 0x10;
                assert!(decode(&bad, &meta, 100_000).is_err(), "byte {at}");
                assert!(decode(&bytes[..at], &meta, 100_000).is_err());
            }
            if !rows.is_empty() {
                assert!(decode(&bytes, &meta, 60_000).is_err(), "rows beyond the segment");
                assert!(decode(&bytes, &DeletesMeta { count: count - 1, ..meta }, 100_000).is_err());
            }
        }
    }
}
