//! Sets of rows, in the portable format of roaring bitmaps.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::{CodecError, Reader};
use crate::error::{Error, Result};

/// The first word of the format: without run containers, and with them, where the upper half is their number less one.
const NO_RUNS: u32 = 12_346;
const RUNS: u16 = 12_347;

/// Appends a set of rows. Its length in bytes is [`RoaringBitmap::serialized_size`].
pub(crate) fn put_bitmap(out: &mut Vec<u8>, rows: &RoaringBitmap) -> Result<()> {
    rows.serialize_into(out).map_err(|e| Error::internal(format!("a bitmap was not encoded: {e}")))
}

/// All rows of a segment of `count` rows.
pub(crate) fn all_rows(count: u32) -> RoaringBitmap {
    let mut all = RoaringBitmap::new();
    all.insert_range(0..count);
    all
}

/// The rows of a set that are not in another.
pub(crate) fn subtract_rows(from: &RoaringBitmap, rows: &RoaringBitmap) -> RoaringBitmap {
    let mut left = from.clone();
    if !rows.is_empty() {
        // A set of all rows is one run, from which roaring takes other rows one by one, each in time of the runs so far.
        // Words are subtracted at the speed of memory.
        left.remove_run_compression();
        left -= rows;
    }
    left
}

/// As [`subtract_rows`], of a set that stays shared if nothing is taken from it.
pub(crate) fn subtract_shared(from: &Arc<RoaringBitmap>, rows: &RoaringBitmap) -> Arc<RoaringBitmap> {
    if rows.is_empty() { Arc::clone(from) } else { Arc::new(subtract_rows(from, rows)) }
}

/// Decodes a set of rows of a segment of `rows` rows; nothing may follow it.
pub(crate) fn rows_bitmap(what: &'static str, bytes: &[u8], rows: u32) -> Result<RoaringBitmap, CodecError> {
    let bad = |why: &str| CodecError::malformed(what, why);
    // A run container of a few bytes stands for up to 65,536 rows, so that a small forgery could decode to any size. How
    // many containers there can be is known before anything is decoded.
    if count_containers(what, bytes)? > rows.div_ceil(1 << 16) {
        return Err(bad("a bitmap has more containers than the segment has rows for"));
    }
    let mut unread = bytes;
    let bitmap = RoaringBitmap::deserialize_from(&mut unread).map_err(|e| CodecError::malformed(what, e))?;
    if !unread.is_empty() {
        return Err(bad("bytes behind a bitmap"));
    }
    // From here on every row of the set is an index into the segment.
    if bitmap.max().is_some_and(|row| row >= rows) {
        return Err(bad("a row beyond the last"));
    }
    Ok(bitmap)
}

/// The number of containers, from the first words alone.
fn count_containers(what: &'static str, bytes: &[u8]) -> Result<u32, CodecError> {
    let mut reader = Reader::new(what, bytes);
    match reader.u32()? {
        NO_RUNS => reader.u32(),
        cookie if cookie & 0xffff == u32::from(RUNS) => Ok((cookie >> 16) + 1),
        _ => Err(CodecError::malformed(what, "not a roaring bitmap")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(rows: RoaringBitmap) -> Vec<u8> {
        let mut rows = rows;
        rows.optimize();
        let mut bytes = Vec::new();
        rows.serialize_into(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn rows_read_back_and_none_is_beyond_the_last() {
        let mut runs = RoaringBitmap::new();
        runs.insert_range(10..150_000);
        for rows in [RoaringBitmap::new(), [0, 7, 99_999].into(), (0..100_000).step_by(3).collect(), runs] {
            let encoded = bytes(rows.clone());
            assert_eq!(rows_bitmap("x", &encoded, 150_000).unwrap(), rows);
            let most = rows.max();
            assert_eq!(rows_bitmap("x", &encoded, most.unwrap_or(0)).is_err(), most.is_some());
            assert!(rows_bitmap("x", &[&encoded[..], b"x"].concat(), 150_000).is_err());
            assert!((0..encoded.len().min(200)).all(|at| rows_bitmap("x", &encoded[..at], 150_000).is_err()));
        }
    }

    #[test]
    fn a_small_set_cannot_grow_beyond_its_segment() {
        // Every row there can be, in 65,536 runs of a few bytes each.
        let mut all = RoaringBitmap::new();
        all.insert_range(0..u32::MAX);
        let error = rows_bitmap("x", &bytes(all), 1_000_000).unwrap_err();
        assert!(error.to_string().contains("containers"), "{error}");
    }
}
