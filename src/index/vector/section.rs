//! The section of a vector index: which records its clusters have, and where they lie.
//!
//! ```text
//! "EIVF" | version u16 | zero u16 | entries u32 | loose rows: length u64, portable roaring bitmap
//! | owners: rows u32, (offset u64, XXH3-64) × ⌈rows / 65,536⌉ | entries | curve (see `curve`)
//! entry: cluster u32 | rows u32 | first row u32, or all ones if the record lists its rows | codes u32
//!        | offset of the record in the file u64 | XXH3-64 of the record u64
//! owners: the number of the entry that each row of the segment is in u32, or all ones; where rows are listed
//! ```
//! A cluster has as many records as keep each of them small. One with a code for each row is ordinary; one with a single
//! code and more rows is of *copies*: their vectors are the same, bit by bit.

use roaring::RoaringBitmap;

use super::curve::RecallCurve;
use super::record::length;
use super::space::Space;
use crate::cache::Span;
use crate::codec::{CodecError, Reader, checksum, put_bitmap, put_len_u32};
use crate::error::Result;

const WHAT: &str = "vector index";
const MAGIC: [u8; 4] = *b"EIVF";
const VERSION: u16 = 1;
const LISTED: u32 = u32::MAX;
/// The owner of a row that is in no record.
const NOBODY: u32 = u32::MAX;
/// Owners that are read at a time.
pub(super) const OWNERS: u32 = 1 << 16;

/// A record of a cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RecordEntry {
    pub(super) cluster: u32,
    pub(super) rows: u32,
    /// The first of its rows, if they are a run.
    pub(super) first: Option<u32>,
    /// As many as rows, or one for all of them.
    pub(super) codes: u32,
    pub(super) offset: u64,
    pub(super) checksum: u64,
}

/// What the section holds.
#[derive(Debug, Default)]
pub(super) struct IndexSection {
    pub(super) entries: Vec<RecordEntry>,
    pub(super) loose: RoaringBitmap,
    /// Where the owners of each [`OWNERS`] rows lie; none where no record lists its rows.
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

    /// The bytes of its record.
    pub(super) fn bytes(&self, space: &Space) -> u64 {
        let (padded, bits, codes) = (space.padded(), space.bits(), self.codes as usize);
        let listed = if self.is_listed() { 4 * u64::from(self.rows) } else { 0 };
        length(padded, bits, codes, false) as u64 + listed
    }

    pub(super) fn span(&self, space: &Space) -> Span {
        Span { start: self.offset, end: self.offset + self.bytes(space), checksum: Some(self.checksum) }
    }
}

/// Appends, to records that lie from `base` of the file on, which entry each of `rows` rows is in.
pub(super) fn push_owners(
    rows: usize,
    members: impl Iterator<Item = (u32, u32)>,
    base: u64,
    records: &mut Vec<u8>,
) -> Vec<Span> {
    let mut owners = vec![NOBODY; rows];
    for (row, entry) in members {
        if let Some(owner) = owners.get_mut(row as usize) {
            *owner = entry;
        }
    }
    let push = |owners: &[u32]| {
        let start = records.len();
        records.extend(owners.iter().flat_map(|owner| owner.to_le_bytes()));
        let checksum = Some(checksum(records.get(start..).unwrap_or_default()));
        Span { start: base + start as u64, end: base + records.len() as u64, checksum }
    };
    owners.chunks(OWNERS as usize).map(push).collect()
}

/// The entries that rows are in, of bytes with the owners of the rows from `start` on.
pub(super) fn owners<'a>(
    bytes: &'a [u8],
    start: u32,
    rows: impl Iterator<Item = u32> + 'a,
) -> impl Iterator<Item = usize> + 'a {
    let (owners, _) = bytes.as_chunks::<4>();
    let of = move |row: u32| owners.get((row - start) as usize).map(|owner| u32::from_le_bytes(*owner));
    rows.filter_map(of).filter(|owner| *owner != NOBODY).map(|owner| owner as usize)
}

impl IndexSection {
    pub(super) fn encode(&self, rows: usize) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend([0; 2]);
        put_len_u32(&mut out, self.entries.len())?;
        out.extend((self.loose.serialized_size() as u64).to_le_bytes());
        put_bitmap(&mut out, &self.loose)?;
        put_len_u32(&mut out, if self.owners.is_empty() { 0 } else { rows })?;
        for span in &self.owners {
            out.extend(span.start.to_le_bytes());
            out.extend(span.checksum.unwrap_or_default().to_le_bytes());
        }
        for entry in &self.entries {
            for number in [entry.cluster, entry.rows, entry.first.unwrap_or(LISTED), entry.codes] {
                out.extend(number.to_le_bytes());
            }
            out.extend(entry.offset.to_le_bytes());
            out.extend(entry.checksum.to_le_bytes());
        }
        self.curve.encode(&mut out)?;
        Ok(out)
    }

    /// Reads a section, which must be of a segment of `rows` rows and a file of `size` bytes, and of a set with so many
    /// clusters in such a space.
    pub(super) fn decode(
        bytes: &[u8],
        (rows, size): (u32, u64),
        (clusters, space): (usize, &Space),
    ) -> Result<Self, CodecError> {
        let bad = |why: &str| CodecError::malformed(WHAT, why);
        let mut reader = Reader::new(WHAT, bytes);
        reader.magic(MAGIC)?;
        reader.version(VERSION)?;
        reader.u16()?;
        let count = reader.u32()? as usize;
        let length = reader.len()?;
        let mut bytes = reader.take(length)?;
        let loose = RoaringBitmap::deserialize_from(&mut bytes).map_err(|e| bad(&e.to_string()))?;
        if !bytes.is_empty() || loose.max().is_some_and(|row| row >= rows) {
            return Err(bad("the loose rows are not rows"));
        }
        let mut section = Self { loose, ..Self::default() };
        let owned = reader.u32()?;
        if owned != 0 && owned != rows {
            return Err(bad("the owners are not of these rows"));
        }
        for start in (0..owned).step_by(OWNERS as usize) {
            let length = u64::from(OWNERS.min(owned - start)) * 4;
            let (start, checksum) = (reader.u64()?, Some(reader.u64()?));
            let end = start.checked_add(length).filter(|end| *end <= size);
            section.owners.push(Span {
                start,
                end: end.ok_or_else(|| bad("owners beyond the file"))?,
                checksum,
            });
        }
        for _ in 0..count {
            let (cluster, held, first, codes) = (reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?);
            let first = Some(first).filter(|first| *first != LISTED);
            let entry = RecordEntry {
                cluster,
                rows: held,
                first,
                codes,
                offset: reader.u64()?,
                checksum: reader.u64()?,
            };
            let inside = entry.offset.checked_add(entry.bytes(space)).is_some_and(|end| end <= size);
            let run = first.is_none_or(|first| first.checked_add(held).is_some_and(|end| end <= rows));
            let follows = section.entries.last().is_none_or(|last| last.cluster <= cluster)
                && (cluster as usize) < clusters;
            let counts = held > 0 && held <= rows && (codes == held || codes == 1);
            if !counts || !inside || !run || !follows || (entry.is_listed() && owned == 0) {
                return Err(bad("an entry is out of bounds"));
            }
            section.entries.push(entry);
        }
        section.curve = RecallCurve::decode(&mut reader)?;
        reader.end()?;
        Ok(section)
    }
}
