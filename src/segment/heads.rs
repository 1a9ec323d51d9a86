//! The heads of a segment: what opening it reads, in one request.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::meta::FileMeta;
use super::sections::{BLOCKS_SUFFIX, ID_BLOCKS};
use crate::cache::Blob;
use crate::codec::{CodecError, u64_of, zip_equal};
use crate::error::Result;

/// An id index up to this size is kept in memory whole: some 50,000 UUIDs. Segments of recent flushes are smaller, and
/// most writes look their ids up in them.
const RESIDENT_BYTES_MAX: u64 = 1 << 20;

/// The heads of a segment, by the names of their sections.
pub(super) struct SegmentHeads(BTreeMap<String, Bytes>);

impl SegmentHeads {
    /// Reads the sections of `index` whose names do not end in `.blocks`, and the blocks of the ids if they are small. One
    /// round trip.
    pub(super) async fn read(index: &Blob, file: &FileMeta) -> Result<Self> {
        let is_head = |name: &str, length: u64| match name {
            ID_BLOCKS => length <= RESIDENT_BYTES_MAX,
            name => !name.ends_with(BLOCKS_SUFFIX),
        };
        let heads: Vec<_> =
            file.sections.iter().filter(|(name, section)| is_head(name, section.length)).collect();
        let spans: Vec<_> = heads.iter().map(|(_, section)| section.span()).collect();
        // They lie next to each other, and are joined into one request.
        let read = index.read_many(&spans).await?;
        let names = heads.into_iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        Ok(Self(zip_equal(names, read, "heads and their sections")?.collect()))
    }

    /// A head that every segment has.
    pub(super) fn head(&self, name: &str) -> Result<&Bytes, CodecError> {
        self.find_head(name)
            .ok_or_else(|| CodecError::malformed("segment meta", format!("no section {name}")))
    }

    pub(super) fn find_head(&self, name: &str) -> Option<&Bytes> {
        self.0.get(name)
    }

    /// Their size.
    pub(super) fn bytes(&self) -> u64 {
        self.0.values().map(|bytes| u64_of(bytes.len())).sum()
    }
}
