//! The bytes of a packed file: fetched and checked in whole blocks beforehand, then read without waiting.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tantivy::HasLen;
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    Directory, DirectoryLock, FileHandle, FileSlice, Lock, OwnedBytes, WatchCallback, WatchHandle, WritePtr,
};

use crate::cache::{Blob, Span};
use crate::codec::CodecError;
use crate::error::{Error, Result};

/// Ranges that are pieced together stay so, up to these bytes a segment: what is asked often is not copied often.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// A read of what was not fetched.
#[derive(Clone, Debug, thiserror::Error)]
#[error("bytes {start} to {end} of a packed file were not fetched")]
pub(super) struct Missing {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Missing {
    /// The range that a read of tantivy's stumbled on.
    pub(super) fn of(error: &io::Error) -> Option<Range<u64>> {
        let missing = error.get_ref()?.downcast_ref::<Self>()?;
        Some(missing.start..missing.end)
    }
}

/// The blocks of a packed file.
#[derive(Debug)]
pub(super) struct Pages {
    blob: Blob,
    /// Where the blocks begin, and how long they are in all.
    base: u64,
    length: u64,
    block: u64,
    checksums: Vec<u64>,
    /// What the head brought along, in ascending order.
    hot: Vec<(u64, OwnedBytes)>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    ranges: HashMap<(u64, u64), Entry>,
    /// Those of them that are read in pieces.
    runs: Vec<(u64, u64)>,
    bytes: usize,
    tick: u64,
}

#[derive(Debug)]
struct Entry {
    bytes: OwnedBytes,
    pins: usize,
    used: u64,
}

/// Ranges that can be read as long as this lives.
#[derive(Debug)]
pub(super) struct Pins {
    pages: Arc<Pages>,
    ranges: Vec<(u64, u64)>,
}

impl Pages {
    pub(super) fn new(
        blob: Blob,
        (base, length): (u64, u64),
        block: u64,
        checksums: Vec<u64>,
        hot: Vec<(u64, OwnedBytes)>,
    ) -> Self {
        Self { blob, base, length, block, checksums, hot, kept: Mutex::default() }
    }

    /// Makes ranges readable, and of runs every piece. One round trip, or none.
    pub(super) async fn fetch(self: &Arc<Self>, ranges: &[Range<u64>], runs: &[Range<u64>]) -> Result<Pins> {
        let mut pins = Pins { pages: Arc::clone(self), ranges: Vec::new() };
        let mut missing: Vec<Range<u64>> = Vec::new();
        let mut asked: HashSet<&Range<u64>> = HashSet::new();
        for range in ranges.iter().chain(runs).filter(|range| !range.is_empty()) {
            if range.end > self.length {
                let cause = CodecError::malformed("text", format!("range {range:?} is out of bounds"));
                return Err(cause.at(self.blob.key()));
            }
            if self.hot(range).is_none() && !self.pin(range, &mut pins) && asked.insert(range) {
                missing.push(range.clone());
            }
        }
        if missing.is_empty() {
            return Ok(pins);
        }
        let mut blocks: Vec<u64> = missing.iter().flat_map(|range| self.covering(range)).collect();
        blocks.sort_unstable();
        blocks.dedup();
        let spans: Vec<Span> = blocks.iter().map(|block| self.span(*block)).collect();
        let bytes = self.blob.read_many(&spans).await?;
        for range in missing {
            let mut whole = Vec::with_capacity(usize::try_from(range.end - range.start).unwrap_or_default());
            for block in self.covering(&range) {
                let at = blocks.binary_search(&block).ok().and_then(|at| bytes.get(at));
                let bytes = at.ok_or_else(|| Error::internal("a block was not fetched"))?;
                let offset = |position: u64| usize::try_from(position.saturating_sub(block * self.block));
                let start = offset(range.start).unwrap_or(usize::MAX).min(bytes.len());
                let end = offset(range.end).unwrap_or(usize::MAX).min(bytes.len());
                whole.extend_from_slice(bytes.get(start..end).unwrap_or_default());
            }
            self.keep(&range, OwnedBytes::new(whole), &mut pins);
        }
        self.lock().note(runs);
        Ok(pins)
    }

    /// The bytes of a range that was fetched.
    pub(super) fn read(&self, range: &Range<u64>) -> io::Result<OwnedBytes> {
        if range.is_empty() {
            return Ok(OwnedBytes::empty());
        }
        if let Some(bytes) = self.hot(range) {
            return Ok(bytes);
        }
        let mut kept = self.lock();
        kept.tick += 1;
        let tick = kept.tick;
        let exact = (range.start, range.end);
        let around = |run: &&(u64, u64)| run.0 <= range.start && range.end <= run.1;
        let key = if kept.ranges.contains_key(&exact) {
            Some(exact)
        } else {
            kept.runs.iter().find(around).copied()
        };
        let found = key.and_then(|key| Some((key.0, kept.ranges.get_mut(&key)?)));
        let Some((start, entry)) = found else {
            let Range { start, end } = range.clone();
            return Err(io::Error::other(Missing { start, end }));
        };
        entry.used = tick;
        let offset = |at: u64| usize::try_from(at - start).map_err(io::Error::other);
        Ok(entry.bytes.slice(offset(range.start)?..offset(range.end)?))
    }

    pub(super) fn corrupt(&self, cause: impl std::fmt::Display) -> Error {
        Error::corrupt(self.blob.key(), cause)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hot(&self, range: &Range<u64>) -> Option<OwnedBytes> {
        let at = self.hot.partition_point(|(start, _)| *start <= range.start).checked_sub(1)?;
        let (start, bytes) = self.hot.get(at)?;
        let from = usize::try_from(range.start - start).ok()?;
        let to = usize::try_from(range.end.checked_sub(*start)?).ok()?;
        (from <= to && to <= bytes.len()).then(|| bytes.slice(from..to))
    }

    /// Bytes of what was pieced together and is kept.
    pub(super) fn kept_bytes(&self) -> usize {
        self.lock().bytes
    }

    fn pin(&self, range: &Range<u64>, pins: &mut Pins) -> bool {
        let mut kept = self.lock();
        let Some(entry) = kept.ranges.get_mut(&(range.start, range.end)) else { return false };
        entry.pins += 1;
        pins.ranges.push((range.start, range.end));
        true
    }

    fn keep(&self, range: &Range<u64>, bytes: OwnedBytes, pins: &mut Pins) {
        let mut kept = self.lock();
        kept.tick += 1;
        let (tick, length) = (kept.tick, bytes.len());
        let key = (range.start, range.end);
        let mut fresh = false;
        let entry = kept.ranges.entry(key).or_insert_with(|| {
            fresh = true;
            Entry { bytes, pins: 0, used: tick }
        });
        entry.pins += 1;
        pins.ranges.push(key);
        if fresh {
            kept.bytes += length;
        }
    }

    fn covering(&self, range: &Range<u64>) -> Range<u64> {
        range.start / self.block..range.end.div_ceil(self.block)
    }

    fn span(&self, block: u64) -> Span {
        let start = block * self.block;
        let end = (start + self.block).min(self.length);
        let checksum = usize::try_from(block).ok().and_then(|block| self.checksums.get(block)).copied();
        Span { start: self.base + start, end: self.base + end, checksum }
    }
}

impl Kept {
    /// Notes which of the ranges are read in pieces.
    fn note(&mut self, runs: &[Range<u64>]) {
        for key in runs.iter().map(|run| (run.start, run.end)) {
            if self.ranges.contains_key(&key) && !self.runs.contains(&key) {
                self.runs.push(key);
            }
        }
    }
}

impl Pins {
    /// Keeps what both keep.
    pub(super) fn join(&mut self, mut other: Self) {
        self.ranges.append(&mut other.ranges);
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if self.ranges.is_empty() {
            return;
        }
        let mut kept = self.pages.lock();
        for key in &self.ranges {
            if let Some(entry) = kept.ranges.get_mut(key) {
                entry.pins = entry.pins.saturating_sub(1);
            }
        }
        while kept.bytes > KEPT_BYTES_MAX {
            let unpinned = kept.ranges.iter().filter(|(_, entry)| entry.pins == 0);
            let Some(oldest) = unpinned.min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key) else {
                break;
            };
            kept.runs.retain(|run| *run != oldest);
            if let Some(entry) = kept.ranges.remove(&oldest) {
                kept.bytes = kept.bytes.saturating_sub(entry.bytes.len());
            }
        }
    }
}

impl HasLen for Pages {
    fn len(&self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
    }
}

#[async_trait::async_trait]
impl FileHandle for Pages {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        self.read(&(range.start as u64..range.end as u64))
    }
}

/// Reads what is there, and notes what is not.
#[derive(Debug)]
pub(super) struct Surveyor {
    pages: Arc<Pages>,
    missed: Mutex<Vec<Range<u64>>>,
}

impl Surveyor {
    pub(super) fn new(pages: Arc<Pages>) -> Self {
        Self { pages, missed: Mutex::default() }
    }

    /// What was missed.
    pub(super) fn take(&self) -> Vec<Range<u64>> {
        std::mem::take(&mut *self.missed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HasLen for Surveyor {
    fn len(&self) -> usize {
        self.pages.len()
    }
}

#[async_trait::async_trait]
impl FileHandle for Surveyor {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        let range = range.start as u64..range.end as u64;
        self.pages.read(&range).or_else(|error| match Missing::of(&error) {
            Some(missing) => {
                self.missed.lock().unwrap_or_else(PoisonError::into_inner).push(missing);
                Ok(OwnedBytes::empty())
            }
            None => Err(error),
        })
    }
}

/// The files of an index as ranges of one handle.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) places: Arc<HashMap<PathBuf, Range<usize>>>,
    pub(super) handle: Arc<dyn FileHandle>,
}

impl Directory for Files {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        Ok(Arc::new(self.open_read(path)?))
    }

    fn open_read(&self, path: &Path) -> Result<FileSlice, OpenReadError> {
        let place = self.places.get(path).ok_or_else(|| OpenReadError::FileDoesNotExist(path.into()))?;
        Ok(FileSlice::new(Arc::clone(&self.handle)).slice(place.clone()))
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(self.places.contains_key(path))
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        let bytes = self.open_read(path)?.read_bytes();
        Ok(bytes.map_err(|e| OpenReadError::wrap_io_error(e, path.into()))?.to_vec())
    }

    fn acquire_lock(&self, _: &Lock) -> Result<DirectoryLock, LockError> {
        Ok(DirectoryLock::from(Box::new(())))
    }

    fn watch(&self, _: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        Err(DeleteError::FileDoesNotExist(path.into()))
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        Err(OpenWriteError::FileAlreadyExists(path.into()))
    }

    fn atomic_write(&self, _: &Path, _: &[u8]) -> io::Result<()> {
        Err(io::Error::other("a packed index is never written again"))
    }
}
