//! The bytes of a packed file: fetched in whole blocks whose checksums are verified, then read without waiting.
//!
//! tantivy's readers are synchronous, and the store is not. So a query first fetches all ranges that it will read, in
//! one round trip, and pins them. **Invariant:** a read of a range that was not fetched is an error, never a wait.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tantivy::HasLen;
use tantivy::directory::{FileHandle, OwnedBytes};

use crate::cache::{Blob, Span};
use crate::codec::CodecError;
use crate::error::{Error, Result};

/// Assembled ranges stay in memory up to this many bytes per segment.
///
/// The cache below keeps blocks; a range over several blocks has to be copied together. Keeping the copies spares
/// terms that are queried often that work, and the limit bounds what an open segment takes besides the cache.
const ASSEMBLED_BYTES_MAX: usize = 16 << 20;

/// A read of bytes that were not fetched.
#[derive(Clone, Debug, thiserror::Error)]
#[error("bytes {start} to {end} of a packed file were not fetched")]
pub(super) struct NotFetched {
    start: u64,
    end: u64,
}

impl NotFetched {
    /// The range that a read of tantivy's failed on; `None` if it failed for another reason.
    pub(super) fn range_of(error: &io::Error) -> Option<Range<u64>> {
        let missing = error.get_ref()?.downcast_ref::<Self>()?;
        Some(missing.start..missing.end)
    }
}

/// Where the blocks of a packed file lie, and what they must hash to.
#[derive(Debug)]
pub(super) struct BlockLayout {
    /// The offset in the file that all positions are counted from.
    pub(super) base: u64,
    /// The bytes of all blocks.
    pub(super) length: u64,
    pub(super) block_bytes: u64,
    /// One for each block.
    pub(super) checksums: Vec<u64>,
}

/// The start of a range that the head of the file has a copy of, and its bytes.
pub(super) type HotPiece = (u64, OwnedBytes);

/// A packed file.
#[derive(Debug)]
pub(super) struct PackedFile {
    blob: Blob,
    layout: BlockLayout,
    /// In ascending order. Opening the index reads these alone, so it needs no fetch.
    hot_pieces: Vec<HotPiece>,
    assembled: Mutex<AssembledRanges>,
}

/// Start and end: `Range` is neither `Copy` nor ordered.
type RangeKey = (u64, u64);

#[derive(Debug, Default)]
struct AssembledRanges {
    ranges: HashMap<RangeKey, AssembledRange>,
    /// Ranges that hold the postings of several terms, and are read piece by piece.
    runs: Vec<RangeKey>,
    bytes: usize,
    /// Counts uses, to find the range that was not used for longest.
    tick: u64,
}

#[derive(Debug)]
struct AssembledRange {
    bytes: OwnedBytes,
    pins: usize,
    last_used: u64,
}

/// Ranges that can be read as long as this value lives.
#[derive(Debug)]
pub(in crate::index::text) struct RangePins {
    file: Arc<PackedFile>,
    ranges: Vec<RangeKey>,
}

impl PackedFile {
    pub(super) fn new(blob: Blob, layout: BlockLayout, hot_pieces: Vec<HotPiece>) -> Self {
        Self { blob, layout, hot_pieces, assembled: Mutex::default() }
    }

    /// Makes ranges readable, and every piece of a run. One round trip, or none.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        ranges: &[Range<u64>],
        runs: &[Range<u64>],
    ) -> Result<RangePins> {
        let mut pins = RangePins { file: Arc::clone(self), ranges: Vec::new() };
        let missing = self.pin_assembled(ranges.iter().chain(runs), &mut pins)?;
        if missing.is_empty() {
            return Ok(pins);
        }
        // Ranges overlap in blocks: two terms of one dictionary often share one. Each block is read once.
        let mut blocks: Vec<u64> = missing.iter().flat_map(|range| self.blocks_of(range)).collect();
        blocks.sort_unstable();
        blocks.dedup();
        let spans: Vec<Span> =
            blocks.iter().map(|block| self.span_of_block(*block)).collect::<Result<_>>()?;
        let bytes = self.blob.read_many(&spans).await?;
        let fetched: HashMap<u64, &[u8]> = blocks.into_iter().zip(bytes.iter().map(AsRef::as_ref)).collect();
        for range in missing {
            let bytes = self.assemble(&range, &fetched)?;
            self.insert_pinned(&range, OwnedBytes::new(bytes), &mut pins);
        }
        self.lock_assembled().note_runs(runs);
        Ok(pins)
    }

    /// Pins the ranges that are assembled. Returns the others, each once.
    fn pin_assembled<'a>(
        &self,
        ranges: impl Iterator<Item = &'a Range<u64>>,
        pins: &mut RangePins,
    ) -> Result<Vec<Range<u64>>> {
        let mut missing: Vec<Range<u64>> = Vec::new();
        let mut seen: HashSet<&Range<u64>> = HashSet::new();
        for range in ranges.filter(|range| !range.is_empty()) {
            if range.end > self.layout.length {
                let cause = CodecError::malformed("text", format!("range {range:?} is out of bounds"));
                return Err(cause.at(self.blob.key()));
            }
            if self.find_hot(range).is_none() && !self.try_pin(range, pins) && seen.insert(range) {
                missing.push(range.clone());
            }
        }
        Ok(missing)
    }

    /// Copies a range together from the blocks it lies in.
    fn assemble(&self, range: &Range<u64>, fetched: &HashMap<u64, &[u8]>) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(to_offset(range.end - range.start)?);
        for block in self.blocks_of(range) {
            let content = fetched.get(&block).ok_or_else(|| Error::internal("a block was not fetched"))?;
            let block_start = block * self.layout.block_bytes;
            let start = to_offset(range.start.saturating_sub(block_start))?;
            let end = to_offset(range.end - block_start)?.min(content.len());
            let piece = content.get(start..end);
            bytes.extend_from_slice(piece.ok_or_else(|| Error::internal("a block is too short"))?);
        }
        Ok(bytes)
    }

    /// The bytes of a range that was fetched.
    pub(super) fn read(&self, range: &Range<u64>) -> io::Result<OwnedBytes> {
        if range.is_empty() {
            return Ok(OwnedBytes::empty());
        }
        if let Some(bytes) = self.find_hot(range) {
            return Ok(bytes);
        }
        let mut assembled = self.lock_assembled();
        assembled.tick += 1;
        let tick = assembled.tick;
        let exact = (range.start, range.end);
        let encloses = |run: &&RangeKey| run.0 <= range.start && range.end <= run.1;
        // Nearly all reads are of ranges as they were fetched. Only runs have to be searched, and there are few.
        let key = if assembled.ranges.contains_key(&exact) {
            Some(exact)
        } else {
            assembled.runs.iter().find(encloses).copied()
        };
        let found = key.and_then(|key| Some((key.0, assembled.ranges.get_mut(&key)?)));
        let Some((start, entry)) = found else {
            return Err(io::Error::other(NotFetched { start: range.start, end: range.end }));
        };
        entry.last_used = tick;
        let offset = |position: u64| usize::try_from(position - start).map_err(io::Error::other);
        Ok(entry.bytes.slice(offset(range.start)?..offset(range.end)?))
    }

    /// The error for bytes of this file that cannot be.
    pub(super) fn corrupt(&self, cause: impl std::fmt::Display) -> Error {
        Error::corrupt(self.blob.key(), cause)
    }

    fn lock_assembled(&self) -> MutexGuard<'_, AssembledRanges> {
        // invariant: no code that holds the lock leaves a half-made change behind when it panics.
        self.assembled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find_hot(&self, range: &Range<u64>) -> Option<OwnedBytes> {
        let index = self.hot_pieces.partition_point(|(start, _)| *start <= range.start).checked_sub(1)?;
        let (start, bytes) = self.hot_pieces.get(index)?;
        let from = usize::try_from(range.start - start).ok()?;
        let to = usize::try_from(range.end.checked_sub(*start)?).ok()?;
        (from <= to && to <= bytes.len()).then(|| bytes.slice(from..to))
    }

    /// The bytes of assembled ranges, pinned or not.
    pub(super) fn assembled_bytes(&self) -> usize {
        self.lock_assembled().bytes
    }

    fn try_pin(&self, range: &Range<u64>, pins: &mut RangePins) -> bool {
        let mut assembled = self.lock_assembled();
        let Some(entry) = assembled.ranges.get_mut(&(range.start, range.end)) else { return false };
        entry.pins += 1;
        pins.ranges.push((range.start, range.end));
        true
    }

    fn insert_pinned(&self, range: &Range<u64>, bytes: OwnedBytes, pins: &mut RangePins) {
        let mut assembled = self.lock_assembled();
        assembled.tick += 1;
        let (tick, length) = (assembled.tick, bytes.len());
        let key = (range.start, range.end);
        let mut is_new = false;
        // Another query may have assembled the range meanwhile: its bytes are the same, and are counted once.
        let entry = assembled.ranges.entry(key).or_insert_with(|| {
            is_new = true;
            AssembledRange { bytes, pins: 0, last_used: tick }
        });
        entry.pins += 1;
        pins.ranges.push(key);
        if is_new {
            assembled.bytes += length;
        }
    }

    /// The numbers of the blocks that a range lies in.
    fn blocks_of(&self, range: &Range<u64>) -> Range<u64> {
        range.start / self.layout.block_bytes..range.end.div_ceil(self.layout.block_bytes)
    }

    fn span_of_block(&self, block: u64) -> Result<Span> {
        let BlockLayout { base, length, block_bytes, checksums } = &self.layout;
        let start = block * block_bytes;
        let end = (start + block_bytes).min(*length);
        // The head was refused unless it has a checksum for each block. Without one the block would go unverified.
        let checksum = checksums.get(to_offset(block)?).copied();
        let checksum = checksum.ok_or_else(|| Error::internal("a block of a packed file has no checksum"))?;
        Ok(Span { start: base + start, end: base + end, checksum: Some(checksum) })
    }
}

fn to_offset(position: u64) -> Result<usize> {
    usize::try_from(position).map_err(|_| Error::internal("an offset is beyond the address space"))
}

impl AssembledRanges {
    /// Notes which of the ranges are read in pieces.
    fn note_runs(&mut self, runs: &[Range<u64>]) {
        for key in runs.iter().map(|run| (run.start, run.end)) {
            if self.ranges.contains_key(&key) && !self.runs.contains(&key) {
                self.runs.push(key);
            }
        }
    }

    /// Drops the ranges that were not used for longest, until the rest fits or is pinned.
    fn evict(&mut self) {
        while self.bytes > ASSEMBLED_BYTES_MAX {
            // A scan over all ranges: there are some hundreds at most, and it runs only when a query ends beyond the
            // budget.
            let unpinned = self.ranges.iter().filter(|(_, entry)| entry.pins == 0);
            let Some(oldest) = unpinned.min_by_key(|(_, entry)| entry.last_used).map(|(key, _)| *key) else {
                break;
            };
            self.runs.retain(|run| *run != oldest);
            if let Some(entry) = self.ranges.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(entry.bytes.len());
            }
        }
    }
}

impl RangePins {
    /// Takes over the pins of another value for the same file.
    pub(super) fn merge(&mut self, mut other: Self) {
        self.ranges.append(&mut other.ranges);
    }
}

impl Drop for RangePins {
    fn drop(&mut self) {
        if self.ranges.is_empty() {
            return;
        }
        let mut assembled = self.file.lock_assembled();
        for key in &self.ranges {
            // A pinned range is never evicted, so it is there, with at least this pin.
            debug_assert!(assembled.ranges.get(key).is_some_and(|entry| entry.pins > 0), "pins are counted");
            if let Some(entry) = assembled.ranges.get_mut(key) {
                entry.pins = entry.pins.saturating_sub(1);
            }
        }
        assembled.evict();
    }
}

impl HasLen for PackedFile {
    fn len(&self) -> usize {
        // invariant: a file that is longer than the address space was refused with its head.
        usize::try_from(self.layout.length).unwrap_or(usize::MAX)
    }
}

#[async_trait::async_trait]
impl FileHandle for PackedFile {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        self.read(&(range.start as u64..range.end as u64))
    }
}
