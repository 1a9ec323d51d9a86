//! Block checksums: how bytes that we do not lay out ourselves are checked before a parser sees them.
//!
//! Parquet pages carry no checksums. So each aligned block of 16 KiB of `rows.parquet` has its XXH3-64 in a
//! section of `index`, and the file is read in whole blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::cache::{Blob, Span};
use crate::codec::{CodecError, checksum, u64_of, zip_equal};
use crate::error::{Error, Result};

const WHAT: &str = "block checksums";

/// The size of a block in bytes; the last one is shorter.
///
/// A page of 256 numbers is 2 KiB before compression, so a point read takes a block or two of a column. Half the size
/// would double the section, which is read when the segment is opened: 8 bytes for each block.
const BLOCK: usize = 16 << 10;
const BLOCK_BYTES: u64 = BLOCK as u64;

/// The section for a file: a little-endian XXH3-64 for each block.
pub(super) fn encode_checksums(file: &[u8]) -> Vec<u8> {
    file.chunks(BLOCK).flat_map(|block| checksum(block).to_le_bytes()).collect()
}

/// A file with the checksums of its blocks.
#[derive(Debug)]
pub(super) struct ChecksummedFile {
    blob: Blob,
    checksums: Vec<u64>,
}

/// Blocks that were read and checked, by number.
#[derive(Debug)]
pub(super) struct VerifiedBlocks(BTreeMap<u64, Bytes>);

impl ChecksummedFile {
    pub(super) fn decode(blob: Blob, section: &[u8]) -> Result<Self, CodecError> {
        let (checksums, remainder) = section.as_chunks::<8>();
        if !remainder.is_empty() || u64_of(checksums.len()) != blob.size().div_ceil(BLOCK_BYTES) {
            return Err(CodecError::malformed(WHAT, "wrong number of checksums"));
        }
        Ok(Self { blob, checksums: checksums.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect() })
    }

    pub(super) fn blob(&self) -> &Blob {
        &self.blob
    }

    /// The blocks that cover `ranges`, in one round trip.
    pub(super) async fn fetch_blocks(&self, ranges: &[Range<u64>]) -> Result<VerifiedBlocks> {
        let mut numbers = BTreeSet::new();
        for range in ranges.iter().filter(|range| !range.is_empty()) {
            // Ranges come from the footer: a range past the end is damage, and could be any number of blocks.
            if range.end > self.blob.size() {
                let cause = format!("range {range:?} of {} bytes", self.blob.size());
                return Err(Error::corrupt(self.blob.key(), cause));
            }
            numbers.extend(covering_blocks(range));
        }
        let spans: Vec<Span> =
            numbers.iter().map(|number| self.block_span(*number)).collect::<Result<_>>()?;
        let bytes = self.blob.read_many(&spans).await?;
        Ok(VerifiedBlocks(zip_equal(numbers, bytes, "blocks of a file and their bytes")?.collect()))
    }

    fn block_span(&self, number: u64) -> Result<Span> {
        let checksum = usize::try_from(number).ok().and_then(|number| self.checksums.get(number));
        // A span without a checksum would be read unchecked: rather none at all.
        let checksum = checksum.ok_or_else(|| Error::internal("a block without a checksum"))?;
        let start = number * BLOCK_BYTES;
        Ok(Span { start, end: (start + BLOCK_BYTES).min(self.blob.size()), checksum: Some(*checksum) })
    }
}

/// The blocks that hold the bytes of a range that is not empty.
fn covering_blocks(range: &Range<u64>) -> Range<u64> {
    range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES)
}

impl VerifiedBlocks {
    /// The bytes of a range, or `None` if they were not fetched.
    pub(super) fn read_range(&self, range: &Range<u64>) -> Option<Bytes> {
        if range.is_empty() {
            return Some(Bytes::new());
        }
        let pieces = covering_blocks(range).map(|number| {
            let (bytes, start) = (self.0.get(&number)?, number * BLOCK_BYTES);
            // The first block may begin before the range, and the last end behind it.
            let from = usize::try_from(range.start.saturating_sub(start)).ok()?;
            let to = usize::try_from(range.end - start).ok()?.min(BLOCK);
            (from <= to && to <= bytes.len()).then(|| bytes.slice(from..to))
        });
        let pieces: Vec<Bytes> = pieces.collect::<Option<_>>()?;
        // Most pages are within a block, and share its memory.
        if let [piece] = pieces.as_slice() {
            return Some(piece.clone());
        }
        let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
        for piece in &pieces {
            whole.extend_from_slice(piece);
        }
        Some(whole.freeze())
    }
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::single_range_in_vec_init,
    reason = "numbers of tests are small"
)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::ErrorKind;
    use crate::storage::{MemoryBackend, ObjectKey, PutMode, StorageBackend};

    #[tokio::test]
    async fn ranges_read_back_and_damage_is_noticed_where_it_is_read() -> Result<()> {
        let file: Vec<u8> = (0..3 * BLOCK + 100).map(|i| (i % 251) as u8).collect();
        let backend = Arc::new(MemoryBackend::new());
        let key = ObjectKey::new("file")?;
        let mut damaged = file.clone();
        damaged[2 * BLOCK] ^= 1;
        backend.put(&key, damaged.into(), PutMode::Create).await?;
        let blob = Blob::new(backend, crate::cache::BlockCache::off(), key, file.len() as u64);
        let file_with_checksums = ChecksummedFile::decode(blob, &encode_checksums(&file)).unwrap();
        let ranges = [5..20, 0..2 * BLOCK as u64, 3 * BLOCK as u64 + 1..3 * BLOCK as u64 + 100];
        let blocks = file_with_checksums.fetch_blocks(&ranges).await?;
        for range in ranges {
            let expected = &file[range.start as usize..range.end as usize];
            assert_eq!(blocks.read_range(&range).as_deref(), Some(expected));
        }
        assert_eq!(blocks.read_range(&(0..2 * BLOCK as u64 + 1)), None);
        let bad = file_with_checksums.fetch_blocks(&[2 * BLOCK as u64 + 9..2 * BLOCK as u64 + 10]).await;
        assert_eq!(bad.unwrap_err().kind(), ErrorKind::Corrupt);
        let outside = file_with_checksums.fetch_blocks(&[0..u64::MAX]).await;
        assert_eq!(outside.unwrap_err().kind(), ErrorKind::Corrupt);
        Ok(())
    }
}
