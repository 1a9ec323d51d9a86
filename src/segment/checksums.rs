//! Checksums of blocks: how bytes that we do not lay out ourselves are checked before a parser sees them.
//!
//! Parquet pages carry no checksums. So each aligned block of 16 KiB of `rows.parquet` has its XXH3-64 in a
//! section of `attributes`, and the file is read in whole blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::cache::{Blob, Span};
use crate::codec::{CodecError, checksum};
use crate::error::{Error, Result};

const WHAT: &str = "block checksums";

/// The size of a block in bytes; the last one is shorter.
const BLOCK: usize = 16 << 10;

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
        let (checksums, rest) = section.as_chunks::<8>();
        if !rest.is_empty() || checksums.len() as u64 != blob.size().div_ceil(BLOCK as u64) {
            return Err(CodecError::malformed(WHAT, "wrong number of checksums"));
        }
        Ok(Self { blob, checksums: checksums.iter().map(|checksum| u64::from_le_bytes(*checksum)).collect() })
    }

    pub(super) fn blob(&self) -> &Blob {
        &self.blob
    }

    /// The blocks that cover `ranges`, in one round trip.
    pub(super) async fn fetch_blocks(&self, ranges: &[Range<u64>]) -> Result<VerifiedBlocks> {
        let mut wanted = BTreeSet::new();
        for range in ranges.iter().filter(|range| !range.is_empty()) {
            if range.end > self.blob.size() {
                let cause = format!("range {range:?} of {} bytes", self.blob.size());
                return Err(Error::corrupt(self.blob.key(), cause));
            }
            wanted.extend(covering_blocks(range));
        }
        let spans: Vec<Span> = wanted.iter().map(|block| self.block_span(*block)).collect();
        let bytes = self.blob.read_many(&spans).await?;
        Ok(VerifiedBlocks(wanted.into_iter().zip(bytes).collect()))
    }

    fn block_span(&self, block: u64) -> Span {
        let start = block.saturating_mul(BLOCK as u64);
        let end = start.saturating_add(BLOCK as u64).min(self.blob.size());
        let checksum = usize::try_from(block).ok().and_then(|block| self.checksums.get(block)).copied();
        Span { start, end, checksum }
    }
}

/// The blocks that hold the bytes of a range that is not empty.
fn covering_blocks(range: &Range<u64>) -> Range<u64> {
    range.start / BLOCK as u64..range.end.div_ceil(BLOCK as u64)
}

impl VerifiedBlocks {
    /// The bytes of a range, or `None` if they were not fetched.
    pub(super) fn read(&self, range: &Range<u64>) -> Option<Bytes> {
        if range.is_empty() {
            return Some(Bytes::new());
        }
        let pieces = covering_blocks(range).map(|block| {
            let (bytes, start) = (self.0.get(&block)?, block * BLOCK as u64);
            let from = usize::try_from(range.start.saturating_sub(start)).ok()?;
            let to = usize::try_from(range.end - start).ok()?.min(BLOCK);
            (from <= to && to <= bytes.len()).then(|| bytes.slice(from..to))
        });
        let pieces: Vec<Bytes> = pieces.collect::<Option<_>>()?;
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
            assert_eq!(blocks.read(&range).as_deref(), Some(expected));
        }
        assert_eq!(blocks.read(&(0..2 * BLOCK as u64 + 1)), None);
        let bad = file_with_checksums.fetch_blocks(&[2 * BLOCK as u64 + 9..2 * BLOCK as u64 + 10]).await;
        assert_eq!(bad.unwrap_err().kind(), ErrorKind::Corrupt);
        let outside = file_with_checksums.fetch_blocks(&[0..u64::MAX]).await;
        assert_eq!(outside.unwrap_err().kind(), ErrorKind::Corrupt);
        Ok(())
    }
}
