//! The folder behind a [`LocalBackend`](super::LocalBackend). Everything here blocks.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use bytes::Bytes;

use super::super::{ObjectInfo, ObjectKey, Payload, PutMode, oversize};
use super::errors::{io_failed, link_failed, no_such_object, object_exists};
use super::staging::{remove_staging, sweep_staging, write_staging};
use super::sys;
use crate::error::{Error, ErrorKind, Result};

/// How many folders are remembered as synced. Every segment has a folder, so without a limit the set would grow as long
/// as the process lives. When it is full it is emptied, which costs a sync for each folder in use.
const SYNCED_MAX: usize = 4096;
/// How often a put makes its folder, which may be removed in between. Each time takes a delete in the same folder at
/// the same moment.
const PUT_ATTEMPTS: usize = 8;

/// The root folder, and what this process knows of the folders and files below it. Its methods block.
pub(super) struct Folder {
    /// Absolute, without symbolic links.
    root: PathBuf,
    /// Folders whose own names, and those of all folders above them, are on disk.
    synced_folders: Mutex<HashSet<String>>,
    /// Objects that are visible but whose folder is not synced yet, one entry for each put in flight.
    unsynced: Mutex<Vec<ObjectKey>>,
    /// Whether a folder failed to sync.
    in_doubt: AtomicBool,
}

impl Folder {
    /// Opens the root folder, and creates it if absent.
    pub(super) fn open_root(path: &Path) -> Result<Self> {
        let root =
            create_root(path).map_err(|error| io_failed("opening the folder", &path.display(), &error))?;
        let (synced_folders, unsynced) = (Mutex::default(), Mutex::default());
        Ok(Self { root, synced_folders, unsynced, in_doubt: AtomicBool::new(false) })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn put(&self, key: &ObjectKey, body: &Payload, mode: PutMode, staging: &str) -> Result<()> {
        for _ in 0..PUT_ATTEMPTS {
            let created = self.create_folders(key);
            match created.and_then(|sweep| self.publish(key, body, mode, staging, sweep)) {
                // A folder that this process had synced is gone: a delete emptied it, or another program removed it.
                Err(error) if error.is(ErrorKind::NotFound) => self.synced_folders().clear(),
                outcome => return outcome,
            }
        }
        let message = format!("the folder was removed during each of {PUT_ATTEMPTS} attempts. key=`{key}`");
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// Creates the folders of a key and syncs their names. Returns whether this process used the last one for the first
    /// time and found it there.
    fn create_folders(&self, key: &ObjectKey) -> Result<bool> {
        let mut found_last = false;
        let mut above = self.root.clone();
        for (at, _) in key.as_str().match_indices('/') {
            let (name, _) = key.as_str().split_at(at);
            let path = self.path(name);
            if !self.synced_folders().contains(name) {
                let io = |error| io_failed("creating a folder", key, &error);
                let handle = sys::open_folder(&above).map_err(io)?;
                found_last = match sys::make_folder(&path) {
                    Ok(()) => false,
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => true,
                    Err(error) => return Err(io(error)),
                };
                if !fs::symlink_metadata(&path).map_err(io)?.is_dir() {
                    return Err(Error::invalid(format!("a part of the name is not a folder. key=`{key}`")));
                }
                self.sync(&handle)?;
                let mut synced = self.synced_folders();
                if synced.len() >= SYNCED_MAX {
                    synced.clear();
                }
                synced.insert(name.to_owned());
            }
            above = path;
        }
        Ok(found_last)
    }

    fn publish(
        &self,
        key: &ObjectKey,
        body: &Payload,
        mode: PutMode,
        staging: &str,
        sweep: bool,
    ) -> Result<()> {
        let target = self.path(key.as_str());
        let parent = self.path(key.folder());
        // Opened before the object is visible: afterwards only the sync itself can fail.
        let handle =
            sys::open_folder(&parent).map_err(|error| io_failed("opening the folder", key, &error))?;
        if object_is_there(key, &target)? && mode == PutMode::Create {
            // The caller goes on from the object it lost to, so that one has to be durable too.
            self.sync(&handle)?;
            return Err(object_exists(key));
        }
        let staging = parent.join(staging);
        let staged = write_staging(&staging, body).inspect_err(|_| remove_staging(&staging));
        let time = staged.map_err(|error| io_failed("writing", key, &error))?;
        // Before the object is visible, so that every reader that sees it also sees this: see `check_synced`.
        self.unsynced().push(key.clone());
        let published = match mode {
            // A link fails if the name is taken; a rename would replace the object.
            PutMode::Create => fs::hard_link(&staging, &target).map_err(|error| link_failed(key, &error)),
            PutMode::Overwrite => {
                fs::rename(&staging, &target).map_err(|error| io_failed("renaming", key, &error))
            }
        };
        if mode == PutMode::Create || published.is_err() {
            remove_staging(&staging);
        }
        // Whatever the outcome: the caller goes on from what it then reads.
        self.sync(&handle)?;
        self.mark_synced(key);
        if published.is_ok() && sweep {
            sweep_staging(&parent, time);
        }
        published
    }

    pub(super) fn get(&self, key: &ObjectKey, bytes_max: u64) -> Result<Bytes> {
        let (file, size) = self.open_object(key)?;
        if size > bytes_max {
            return Err(oversize(key, size, bytes_max));
        }
        read_range(file, key, 0..size)
    }

    pub(super) fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let (file, size) = self.open_object(key)?;
        if range.start > range.end || range.end > size {
            return Err(Error::corrupt(key, format!("range {range:?} of {size} bytes")));
        }
        read_range(file, key, range)
    }

    pub(super) fn head(&self, key: ObjectKey) -> Result<ObjectInfo> {
        let metadata = self.metadata(&key)?;
        self.check_synced(&key)?;
        Ok(object_info(key, &metadata))
    }

    fn open_object(&self, key: &ObjectKey) -> Result<(File, u64)> {
        self.metadata(key)?;
        let opened = sys::open_file(&self.path(key.as_str())).and_then(|file| {
            let size = file.metadata()?.len();
            Ok((file, size))
        });
        let opened = opened.map_err(|error| io_failed("reading", key, &error))?;
        self.check_synced(key)?;
        Ok(opened)
    }

    /// Makes durable what a read saw of an object. Called after the read, since a put registers its object as unsynced
    /// before it publishes it.
    fn check_synced(&self, key: &ObjectKey) -> Result<()> {
        if self.unsynced().contains(key) {
            let handle = sys::open_folder(&self.path(key.folder()));
            self.sync(&handle.map_err(|error| io_failed("opening the folder", key, &error))?)?;
        }
        self.check_not_in_doubt()
    }

    fn mark_synced(&self, key: &ObjectKey) {
        let mut unsynced = self.unsynced();
        if let Some(at) = unsynced.iter().position(|found| found == key) {
            unsynced.swap_remove(at);
        }
    }

    fn unsynced(&self) -> MutexGuard<'_, Vec<ObjectKey>> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn metadata(&self, key: &ObjectKey) -> Result<Metadata> {
        self.check_folders(key.as_str(), key)?;
        let found = fs::symlink_metadata(self.path(key.as_str()));
        let metadata = found.map_err(|error| io_failed("reading", key, &error))?;
        match () {
            () if metadata.is_file() => Ok(metadata),
            () if metadata.is_dir() => Err(no_such_object(key)),
            () => Err(Error::corrupt(key, "not a plain file")),
        }
    }

    /// Checks that everything above `name` is a folder, not a link to one.
    pub(super) fn check_folders(&self, name: &str, shown: &impl fmt::Display) -> Result<()> {
        for (at, _) in name.match_indices('/') {
            let (above, _) = name.split_at(at);
            let found = fs::symlink_metadata(self.path(above));
            check_is_folder(shown, &found.map_err(|error| io_failed("looking", shown, &error))?)?;
        }
        Ok(())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        // Part by part: on Windows a canonical path (`\\?\`) takes no `/`.
        name.split('/').filter(|part| !part.is_empty()).fold(self.root.clone(), |path, part| path.join(part))
    }

    pub(super) fn sync(&self, handle: &sys::FolderHandle) -> Result<()> {
        sys::sync_folder(handle).map_err(|error| {
            self.mark_in_doubt();
            // Not the kind of the cause: the object may be there, and callers take some kinds as proof that it is not.
            let message = format!("syncing a folder failed: {error}. root=`{}`", self.root.display());
            Error::new(ErrorKind::Unavailable, message)
        })
    }

    pub(super) fn mark_in_doubt(&self) {
        // Sequentially consistent: a read on another thread that starts after the failed put must see it.
        self.in_doubt.store(true, Ordering::SeqCst);
    }

    pub(super) fn check_not_in_doubt(&self) -> Result<()> {
        if self.in_doubt.load(Ordering::SeqCst) {
            let why = "a folder failed to sync: check the disk, then open the store again";
            return Err(Error::new(ErrorKind::Unavailable, why));
        }
        Ok(())
    }

    /// Forgets that the name of a folder is on disk.
    pub(super) fn forget_synced(&self, folder: &str) {
        self.synced_folders().remove(folder);
    }

    fn synced_folders(&self) -> MutexGuard<'_, HashSet<String>> {
        self.synced_folders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates the root and the folders above it, and syncs their names.
fn create_root(path: &Path) -> io::Result<PathBuf> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() {
        // Another process may have created it a moment ago, so its name is synced here too. A parent that cannot be
        // opened was not created by us.
        let _ = sys::open_outside(parent).and_then(|handle| sys::sync_folder(&handle));
    } else {
        let parent = if parent == path { parent.to_owned() } else { create_root(parent)? };
        let handle = sys::open_outside(&parent)?;
        match sys::make_folder(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sys::sync_folder(&handle)?,
        }
    }
    fs::canonicalize(path)
}

/// Whether the object exists. Anything else with its name is an error.
fn object_is_there(key: &ObjectKey, target: &Path) -> Result<bool> {
    match fs::symlink_metadata(target) {
        Ok(metadata) if metadata.is_file() => Ok(true),
        Ok(_) => Err(Error::invalid(format!("another kind of file has this name. key=`{key}`"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_failed("looking", key, &error)),
    }
}

fn read_range(mut file: File, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
    let wanted = range.end - range.start;
    let io = |error| io_failed("reading", key, &error);
    let mut bytes = Vec::new();
    // `try_reserve`: the size of a file is up to whoever may write to the folder, and an allocation that fails aborts.
    let len =
        usize::try_from(wanted).map_err(|_| Error::limit(format!("the object is too large. key=`{key}`")))?;
    bytes
        .try_reserve_exact(len)
        .map_err(|_| Error::limit(format!("out of memory. key=`{key}` bytes=`{len}`")))?;
    file.seek(SeekFrom::Start(range.start)).map_err(io)?;
    file.take(wanted).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() == len {
        return Ok(bytes.into());
    }
    // Objects are replaced by rename, never written in place: something else truncated the file.
    let message = format!("the file shrank while it was read. key=`{key}`");
    Err(Error::new(ErrorKind::Unavailable, message))
}

pub(super) fn object_info(key: ObjectKey, metadata: &Metadata) -> ObjectInfo {
    // invariant: a file system without times, or with times before 1970, makes objects as old as can be, and one with
    // times beyond i64 makes them as new as can be.
    let since = metadata.modified().unwrap_or(UNIX_EPOCH).duration_since(UNIX_EPOCH).unwrap_or_default();
    // invariant: as above.
    let modified_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    ObjectInfo { key, size: metadata.len(), modified_ms }
}

fn check_is_folder(shown: &impl fmt::Display, metadata: &Metadata) -> Result<()> {
    match () {
        () if metadata.is_dir() => Ok(()),
        () if metadata.is_file() => Err(no_such_object(shown)),
        () => Err(Error::corrupt(shown, "a folder above is a symbolic link, which is not followed")),
    }
}
