//! The section of a vector index: the records of its clusters, and where they lie in the file.
//!
//! ```text
//! "EIVF" | version u16 | zero u16 | entries u32 | loose rows: length u64, portable roaring bitmap
//! | owners: rows u32, (offset u64, XXH3-64) × ⌈rows / 65,536⌉ | entries | curve (see `curve`)
//! entry: number of the cluster u32 | rows u32 | first row u32, or all ones if the record lists its rows | codes u32
//!        | offset of the record in the file u64 | XXH3-64 of the record u64
//! owners: the number of the entry that each row of the segment is in u32, or all ones; where rows are listed
//! ```
//! Entries are in the order of the numbers of their clusters (see [`super::centroids`]), whatever the order of the records in
//! the file. A cluster has as many records as keep each of them small. An ordinary record has a code for each row; one with a single
//! code and more rows is a record of *copies*: their vectors are the same, bit by bit.

use std::ops::Range;

use roaring::RoaringBitmap;

use super::centroids::{CentroidSet, ClusterNumbers, Space};
use super::curve::RecallCurve;
use super::record::record_len;
use crate::cache::Span;
use crate::codec::{CodecError, Reader, checksum, put_bitmap, put_len_u32, rows_bitmap, u64_of, usize_of};
use crate::error::{Error, Result};

const WHAT: &str = "vector index";
const MAGIC: [u8; 4] = *b"EIVF";
const VERSION: u16 = 1;
const LISTED: u32 = u32::MAX;
/// In place of the owner of a row that is in no record.
const NO_OWNER: u32 = u32::MAX;
/// Owners that have a checksum of their own, and are read at a time: 256 KiB.
// A filter that matches few rows needs few owners, wherever they lie; smaller blocks would cost more requests than bytes.
pub(super) const OWNERS: u32 = 1 << 16;

/// A record of a cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RecordEntry {
    /// The number of its cluster, which stays when the set is replaced.
    pub(super) number: u32,
    /// The position of that cluster in the set.
    pub(super) cluster: u32,
    pub(super) rows: u32,
    /// The first of its rows, if they are a run.
    pub(super) first: Option<u32>,
    /// As many as rows, or one for all of them.
    pub(super) codes: u32,
    pub(super) offset: u64,
    pub(super) checksum: u64,
}

/// The contents of the section.
#[derive(Debug, Default)]
pub(super) struct IndexSection {
    pub(super) entries: Vec<RecordEntry>,
    /// The rows whose vectors have no code.
    pub(super) loose: RoaringBitmap,
    /// Where the owners of each [`OWNERS`] rows lie; none if no record lists its rows.
    pub(super) owners: Vec<Span>,
    pub(super) curve: RecallCurve,
}

impl RecordEntry {
    pub(super) fn is_listed(&self) -> bool {
        self.first.is_none()
    }

    /// Whether its rows have one vector.
    pub(super) fn is_of_copies(&self) -> bool {
        self.codes < self.rows
    }

    /// Its rows, if they are a run.
    pub(super) fn run(&self) -> Option<Range<u32>> {
        // Decoding has checked that the end does not overflow.
        self.first.map(|first| first..first + self.rows)
    }

    /// The bytes of its record.
    pub(super) fn record_bytes(&self, space: &Space) -> u64 {
        let (padded, bits, codes) = (space.padded(), space.bits(), u64::from(self.codes));
        // A record of copies lists more rows than it has codes.
        let listed = if self.is_listed() { 4 * u64::from(self.rows) } else { 0 };
        record_len(padded, bits, codes, false) + listed
    }

    fn decode(reader: &mut Reader<'_>, numbers: &ClusterNumbers) -> Result<Self, CodecError> {
        let number = reader.u32()?;
        let unknown = || CodecError::malformed(WHAT, "an entry of a cluster that the set does not have");
        Ok(Self {
            number,
            cluster: numbers.position_of(number).ok_or_else(unknown)?,
            rows: reader.u32()?,
            first: Some(reader.u32()?).filter(|first| *first != LISTED),
            codes: reader.u32()?,
            offset: reader.u64()?,
            checksum: reader.u64()?,
        })
    }

    /// Whether it has rows of a segment of `rows` rows, and a record in a file of `size` bytes.
    fn is_within(&self, rows: u32, size: u64, space: &Space) -> bool {
        let counts = self.rows > 0 && self.rows <= rows && (self.codes == self.rows || self.codes == 1);
        let run = self.first.is_none_or(|first| first.checked_add(self.rows).is_some_and(|end| end <= rows));
        let record = self.offset.checked_add(self.record_bytes(space)).is_some_and(|end| end <= size);
        counts && run && record
    }

    pub(super) fn record_span(&self, space: &Space) -> Span {
        let end = self.offset + self.record_bytes(space);
        Span { start: self.offset, end, checksum: Some(self.checksum) }
    }
}

/// Appends the entry that each of `rows` rows is in, to records that start at `base` of the file. `members` are rows and
/// the numbers of their entries.
pub(super) fn push_owners(
    rows: usize,
    members: impl Iterator<Item = (u32, u32)>,
    base: u64,
    records: &mut Vec<u8>,
) -> Result<Vec<Span>> {
    let mut owners = vec![NO_OWNER; rows];
    for (row, entry) in members {
        let owner = owners.get_mut(usize_of(row));
        *owner.ok_or_else(|| Error::internal("a record has a row that the segment has not"))? = entry;
    }
    let push_block = |owners: &[u32]| {
        let start = records.len();
        records.extend(owners.iter().flat_map(|owner| owner.to_le_bytes()));
        let (_, block) = records.split_at(start);
        let checksum = Some(checksum(block));
        Span { start: base + u64_of(start), end: base + u64_of(records.len()), checksum }
    };
    Ok(owners.chunks(usize_of(OWNERS)).map(push_block).collect())
}

/// The entries that rows are in, from a block with the owners of the rows from `start` on.
pub(super) fn read_owners<'a>(
    block: &'a [u8],
    start: u32,
    rows: impl Iterator<Item = u32> + 'a,
) -> impl Iterator<Item = Result<usize, CodecError>> + 'a {
    let (owners, _) = block.as_chunks::<4>();
    let owner_of = move |row: u32| {
        let owner = owners.get(usize_of(row - start)).map(|owner| u32::from_le_bytes(*owner));
        owner.ok_or(CodecError::Truncated { what: WHAT })
    };
    let is_owned = |owner: &Result<u32, CodecError>| !matches!(owner, Ok(NO_OWNER));
    rows.map(owner_of).filter(is_owned).map(|owner| owner.map(usize_of))
}

impl IndexSection {
    pub(super) fn encode(&self, rows: usize) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend([0; 2]);
        put_len_u32(&mut out, self.entries.len())?;
        out.extend(u64_of(self.loose.serialized_size()).to_le_bytes());
        put_bitmap(&mut out, &self.loose)?;
        put_len_u32(&mut out, if self.owners.is_empty() { 0 } else { rows })?;
        for span in &self.owners {
            out.extend(span.start.to_le_bytes());
            let checksum = span.checksum.ok_or_else(|| Error::internal("owners without a checksum"))?;
            out.extend(checksum.to_le_bytes());
        }
        for entry in &self.entries {
            for number in [entry.number, entry.rows, entry.first.unwrap_or(LISTED), entry.codes] {
                out.extend(number.to_le_bytes());
            }
            out.extend(entry.offset.to_le_bytes());
            out.extend(entry.checksum.to_le_bytes());
        }
        self.curve.encode(&mut out)?;
        Ok(out)
    }

    /// Reads a section of a segment with `rows` rows and a file of `size` bytes, which is coded by this set.
    pub(super) fn decode(
        bytes: &[u8],
        (rows, size): (u32, u64),
        set: &CentroidSet,
    ) -> Result<Self, CodecError> {
        let bad = |why: &str| CodecError::malformed(WHAT, why);
        let mut reader = Reader::new(WHAT, bytes);
        reader.magic(MAGIC)?;
        reader.version(VERSION)?;
        reader.u16()?;
        let count = reader.u32()?;
        let length = reader.len()?;
        let loose = rows_bitmap(WHAT, reader.take(length)?, rows)?;
        let mut section = Self { loose, ..Self::default() };
        let owned = reader.u32()?;
        if owned != 0 && owned != rows {
            return Err(bad("the owners belong to another number of rows"));
        }
        for start in (0..owned).step_by(usize_of(OWNERS)) {
            let length = u64::from(OWNERS.min(owned - start)) * 4;
            let (start, checksum) = (reader.u64()?, Some(reader.u64()?));
            let end = start.checked_add(length).filter(|end| *end <= size);
            let end = end.ok_or_else(|| bad("owners beyond the file"))?;
            section.owners.push(Span { start, end, checksum });
        }
        for _ in 0..count {
            let entry = RecordEntry::decode(&mut reader, set.numbers())?;
            // The entries of a cluster are found by binary search.
            let ascends = section.entries.last().is_none_or(|last| last.number <= entry.number);
            let owners = !entry.is_listed() || owned != 0;
            if !ascends || !owners || !entry.is_within(rows, size, set.space()) {
                return Err(bad("an entry is out of bounds"));
            }
            section.entries.push(entry);
        }
        section.curve = RecallCurve::decode(&mut reader)?;
        reader.end()?;
        if usize_of(section.curve.clusters) != set.len() {
            return Err(bad("its curve is of a set with another number of clusters"));
        }
        Ok(section)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_found_and_missing_ones_are_errors() {
        let mut records = vec![7; 5];
        let spans = push_owners(3, [(0, 4), (2, 9)].into_iter(), 100, &mut records).unwrap();
        assert_eq!((spans[0].start, spans[0].end), (105, 117));
        let read = |rows: &[u32]| -> Result<Vec<usize>, CodecError> {
            read_owners(&records[5..], 10, rows.iter().copied()).collect()
        };
        assert_eq!(read(&[10, 11, 12]).unwrap(), [4, 9]);
        assert!(matches!(read(&[10, 13]), Err(CodecError::Truncated { .. })));
        assert!(push_owners(3, [(3, 0)].into_iter(), 0, &mut Vec::new()).is_err());
    }
}
