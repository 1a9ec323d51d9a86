//! The index of a column of a segment: which leaves it has, where their records lie, and searching them.
//!
//! ```text
//! "EIVF" | version u16 | zero u16 | entries u32 | loose rows: length u64, portable roaring bitmap | curve
//! entry: leaf u32 | vectors u32 | first row u32, or all ones if the record lists its rows | zero u32
//!        | offset of the record in the file u64 | XXH3-64 of the record u64
//! curve: points u32 | probes u32, recall of the 10, 100 and 1,000 nearest f32, point by point
//! ```

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::centroids::CentroidSet;
use super::curve::Curve;
use super::query::{Allowed, Candidate, Query, Shortlist};
use super::record::{Record, length};
use crate::cache::{Blob, Span};
use crate::codec::{CodecError, Reader};
use crate::env::Env;
use crate::error::Result;

const WHAT: &str = "vector index";
const MAGIC: [u8; 4] = *b"EIVF";
const VERSION: u16 = 1;
const LISTED: u32 = u32::MAX;
/// Scanning up to so many dimensions of vectors stays on the async task: some tens of microseconds.
const INLINE_DIMENSIONS: usize = 4 << 20;

/// A leaf of the index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) leaf: u32,
    pub(super) vectors: u32,
    /// The first of its rows, if they are a run.
    pub(super) first: Option<u32>,
    pub(super) offset: u64,
    pub(super) sum: u64,
}

/// The index of a column of a segment.
#[derive(Clone, Debug)]
pub(crate) struct VectorIndex {
    blob: Blob,
    set: Arc<CentroidSet>,
    entries: Arc<[Entry]>,
    loose: Arc<RoaringBitmap>,
    curve: Arc<Curve>,
    /// Vectors in all leaves.
    vectors: u64,
}

/// What a search of an index found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Rows that may be among the nearest, the most likely first.
    pub(crate) candidates: Vec<Candidate>,
    /// Vectors whose codes were looked at.
    pub(crate) scanned: u64,
    /// Leaves that were read.
    pub(crate) leaves: u64,
}

pub(super) fn encode_index(entries: &[Entry], loose: &[u32], curve: &Curve) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.extend([0; 2]);
    out.extend(u32::try_from(entries.len()).unwrap_or(u32::MAX).to_le_bytes());
    for entry in entries {
        for number in [entry.leaf, entry.vectors, entry.first.unwrap_or(LISTED), 0] {
            out.extend(number.to_le_bytes());
        }
        out.extend(entry.offset.to_le_bytes());
        out.extend(entry.sum.to_le_bytes());
    }
    let loose: RoaringBitmap = loose.iter().copied().collect();
    out.extend((loose.serialized_size() as u64).to_le_bytes());
    // Writing to memory does not fail.
    let _ = loose.serialize_into(&mut out);
    curve.encode(&mut out);
    out
}

impl VectorIndex {
    /// Reads an index, which must be of a segment of `rows` rows whose file is `blob`.
    pub(crate) fn decode(
        blob: Blob,
        set: Arc<CentroidSet>,
        rows: u32,
        section: &[u8],
    ) -> Result<Self, CodecError> {
        let bad = |why: &str| CodecError::malformed(WHAT, why);
        let mut reader = Reader::new(WHAT, section);
        reader.magic(MAGIC)?;
        reader.version(VERSION)?;
        reader.u16()?;
        let count = reader.u32()? as usize;
        let mut entries: Vec<Entry> = Vec::new();
        for _ in 0..count {
            let (leaf, vectors, first) = (reader.u32()?, reader.u32()?, reader.u32()?);
            reader.u32()?;
            let first = Some(first).filter(|first| *first != LISTED);
            let entry = Entry { leaf, vectors, first, offset: reader.u64()?, sum: reader.u64()? };
            let space = set.space();
            let bytes = length(space.padded(), space.bits(), vectors as usize, first.is_none());
            let inside = entry.offset.checked_add(bytes as u64).is_some_and(|end| end <= blob.size());
            let run = first.is_none_or(|first| first.checked_add(vectors).is_some_and(|end| end <= rows));
            let ascends = entries.last().is_none_or(|last| last.leaf < leaf) && (leaf as usize) < set.len();
            if vectors == 0 || vectors > rows || !inside || !run || !ascends {
                return Err(bad("an entry is out of bounds"));
            }
            entries.push(entry);
        }
        let bytes = reader.len()?;
        let mut bytes = reader.take(bytes)?;
        let loose = RoaringBitmap::deserialize_from(&mut bytes).map_err(|e| bad(&e.to_string()))?;
        if !bytes.is_empty() || loose.max().is_some_and(|row| row >= rows) {
            return Err(bad("the loose rows are not rows"));
        }
        let curve = Curve::decode(&mut reader)?;
        reader.end()?;
        let vectors = entries.iter().map(|entry| u64::from(entry.vectors)).sum();
        Ok(Self { blob, set, entries: entries.into(), loose: loose.into(), curve: curve.into(), vectors })
    }

    pub(crate) fn set(&self) -> &Arc<CentroidSet> {
        &self.set
    }

    pub(crate) fn curve(&self) -> &Curve {
        &self.curve
    }

    /// Vectors in all leaves.
    pub(crate) fn vectors(&self) -> u64 {
        self.vectors
    }

    /// About how many bytes all leaves hold.
    pub(crate) fn bytes(&self) -> u64 {
        let space = self.set.space();
        let vectors = usize::try_from(self.vectors).unwrap_or(usize::MAX);
        length(space.padded(), space.bits(), vectors, false) as u64
    }

    /// For each leaf of `leaves` how many of its rows are allowed; where rows are listed, how many it has.
    pub(crate) fn matches(&self, leaf: u32, allowed: &RoaringBitmap) -> u64 {
        self.entry(leaf).map_or(0, |entry| match entry.first {
            Some(first) => allowed.range_cardinality(first..first.saturating_add(entry.vectors)),
            None => u64::from(entry.vectors),
        })
    }

    /// The bits of the matching rows of some leaves, of a segment of `rows` rows.
    pub(crate) fn allowed(&self, leaves: &[u32], matching: &RoaringBitmap, rows: u64) -> Arc<[u64]> {
        let mut bits = vec![0_u64; usize::try_from(rows.div_ceil(64)).unwrap_or_default()];
        let mut set = |row: u32| {
            if let Some(word) = bits.get_mut(row as usize / 64) {
                *word |= 1 << (row % 64);
            }
        };
        let entries = || leaves.iter().filter_map(|leaf| self.entry(*leaf));
        if entries().any(|entry| entry.first.is_none()) {
            matching.iter().for_each(&mut set);
        } else {
            for entry in entries() {
                let first = entry.first.unwrap_or_default();
                matching.range(first..first.saturating_add(entry.vectors)).for_each(&mut set);
            }
        }
        bits.into()
    }

    fn entry(&self, leaf: u32) -> Option<&Entry> {
        let at = self.entries.binary_search_by_key(&leaf, |entry| entry.leaf).ok()?;
        self.entries.get(at)
    }

    /// The rows among `allowed` (all without) of some leaves, given nearest first, that may be among the `limit`
    /// nearest. One round trip.
    pub(crate) async fn search(
        &self,
        env: &Env,
        query: &Arc<Query>,
        leaves: &[u32],
        allowed: Option<Arc<[u64]>>,
        limit: usize,
    ) -> Result<Found> {
        let entries: Vec<Entry> = leaves.iter().filter_map(|leaf| self.entry(*leaf)).copied().collect();
        let spans: Vec<Span> = entries.iter().map(|entry| self.span(entry)).collect();
        let records = self.blob.read_many(&spans).await?;
        let scanned: u64 = entries.iter().map(|entry| u64::from(entry.vectors)).sum();
        let found = Found { candidates: Vec::new(), scanned, leaves: entries.len() as u64 };
        let (query, set) = (Arc::clone(query), Arc::clone(&self.set));
        let padded = set.space().padded();
        let inline =
            usize::try_from(scanned).unwrap_or(usize::MAX).saturating_mul(padded) <= INLINE_DIMENSIONS;
        let work = move || {
            let mut list = Shortlist::new(limit);
            let allowed = Allowed(allowed.as_deref());
            for (entry, bytes) in entries.iter().zip(&records) {
                let (vectors, listed) = (entry.vectors as usize, entry.first.is_none());
                let record = Record::new(padded, set.space().bits(), vectors, listed, bytes)?;
                let first = entry.first.unwrap_or_default();
                query.scan(&set, entry.leaf as usize, &record, first, allowed, &mut list);
            }
            Ok(list.finish())
        };
        let candidates = if inline { work() } else { env.blocking(work).await? };
        let mut found =
            Found { candidates: candidates.map_err(|e: CodecError| e.at(self.blob.key()))?, ..found };
        found.candidates.extend(self.loose.iter().map(Candidate::loose));
        Ok(found)
    }

    fn span(&self, entry: &Entry) -> Span {
        let space = self.set.space();
        let bytes = length(space.padded(), space.bits(), entry.vectors as usize, entry.first.is_none());
        Span { start: entry.offset, end: entry.offset + bytes as u64, sum: Some(entry.sum) }
    }
}
