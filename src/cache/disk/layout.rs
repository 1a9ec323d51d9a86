//! The files of the disk tier, reserved in full before foyer uses them.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fs4::fs_std::FileExt;

use super::BUFFER_BYTES;
use super::private_folder::{create_private_folder, not_following_links};

/// foyer's name for its files. Files by these names have to be there before it opens the folder.
const FILE_PREFIX: &str = "foyer-storage-direct-fs-";
/// foyer keeps each file open: few enough for a default limit of 1,024 open files.
pub(super) const FILES_MAX: u64 = 256;
/// foyer evicts whole files: with fewer, evicting one would lose a large part of the cache.
pub(super) const FILES_MIN: u64 = 8;
const FILE_BYTES_MIN: u64 = 1 << 20;
/// A file is also the largest block that can be cached. 16 MiB is above what the formats read as one unit, except whole
/// sections, which are read once when a segment is opened.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Files aimed at, between the bounds above: evicting one loses less than two percent of the cache.
const FILES_AIMED_AT: u64 = 64;
/// Blocks in a file start at multiples of a page.
const PAGE_BYTES: u64 = 4096;
/// What foyer adds to an entry at most: its header, and the index of the file.
const ENTRY_OVERHEAD: u64 = 16 << 10;

/// The number and the size of the files.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct DiskLayout {
    pub(super) files: u64,
    pub(super) file_bytes: u64,
}

impl DiskLayout {
    /// The layout of a cache of `bytes`; `None` if that is too small.
    pub(super) fn new(bytes: u64) -> Option<Self> {
        let aim = (bytes / FILES_AIMED_AT).clamp(FILE_BYTES_MIN, FILE_BYTES_MAX);
        // A large cache has larger files rather than more of them.
        let file_bytes = aim.max(bytes.div_ceil(FILES_MAX)).next_multiple_of(PAGE_BYTES);
        let files = bytes / file_bytes;
        (files >= FILES_MIN).then_some(Self { files, file_bytes })
    }

    /// The largest block that fits into a file and into the write buffer.
    pub(super) fn block_bytes_max(self) -> u64 {
        self.file_bytes.min(BUFFER_BYTES as u64) - ENTRY_OVERHEAD
    }

    /// Locks the folder for this process and reserves its space. The lock is held as long as the returned file is open.
    pub(super) fn prepare(self, dir: &Path) -> io::Result<File> {
        create_private_folder(dir)?;
        let path = dir.join("LOCK");
        let mut lock = not_following_links().create(true).truncate(false).write(true).open(path)?;
        lock.try_lock().map_err(|why| io::Error::other(format!("another cache uses the folder: {why}")))?;
        lock.write_all(b"elacsym block cache\n")?;
        // foyer writes into sparse files and panics when the disk is full: with the space reserved it cannot be.
        let reserved = (0..self.files).try_for_each(|n| self.reserve_file(&file_name(dir, n)));
        // Files beyond `files` are left from an earlier, larger cache. If the disk is too small, all of them go.
        let mut surplus = if reserved.is_ok() { self.files } else { 0 };
        while std::fs::remove_file(file_name(dir, surplus)).is_ok() {
            surplus += 1;
        }
        reserved.map(|()| lock)
    }

    fn reserve_file(self, file: &Path) -> io::Result<()> {
        let file = not_following_links().create(true).truncate(false).write(true).open(file)?;
        file.set_len(self.file_bytes)?;
        file.allocate(self.file_bytes)
    }
}

fn file_name(dir: &Path, n: u64) -> PathBuf {
    dir.join(format!("{FILE_PREFIX}{n:08}"))
}
