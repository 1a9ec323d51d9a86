//! The files behind a [`LocalBackend`](super::LocalBackend). Everything here blocks.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::super::{ObjectInfo, ObjectKey, ObjectPrefix, PutMode, oversize};
use super::sys;
use crate::error::{Error, ErrorKind, Result};

/// How staging files begin. No part of a key begins with a dot.
pub(super) const STAGING: &str = ".staging-";
/// How old a staging file is before it counts as left by a crash.
const STALE: Duration = Duration::from_hours(24);
/// How many folders are remembered as synced. Forgetting costs a few syncs.
const READY_MAX: usize = 4096;

/// The root, and what this process knows of what is below it. Its methods block.
pub(super) struct Folder {
    /// Absolute, without symbolic links.
    root: PathBuf,
    /// Folders whose names, and the names of all above them, are on disk.
    ready: Mutex<HashSet<String>>,
    /// Objects that are visible but whose folder is not synced yet, once for each put.
    unsynced: Mutex<Vec<ObjectKey>>,
    /// Whether a folder failed to sync.
    in_doubt: AtomicBool,
}

impl Folder {
    /// Opens the root, which is made if absent.
    pub(super) fn open_root(path: &Path) -> Result<Self> {
        let root = make_root(path).map_err(|error| failed("opening the folder", &path.display(), &error))?;
        let (ready, unsynced) = (Mutex::default(), Mutex::default());
        Ok(Self { root, ready, unsynced, in_doubt: AtomicBool::new(false) })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn put(&self, key: &ObjectKey, bytes: &[u8], mode: PutMode, staging: &str) -> Result<()> {
        let existed = self.prepare(key)?;
        match self.publish(key, bytes, mode, staging, existed) {
            // Somebody removed the folder that this process had made.
            Err(error) if error.is(ErrorKind::NotFound) => {
                self.ready().clear();
                let existed = self.prepare(key)?;
                self.publish(key, bytes, mode, staging, existed)
            }
            outcome => outcome,
        }
    }

    /// Makes the folders of a key, each with its name on disk. Whether the last one was there.
    fn prepare(&self, key: &ObjectKey) -> Result<bool> {
        let mut existed = false;
        let mut above = self.root.clone();
        for (at, _) in key.as_str().match_indices('/') {
            let (name, _) = key.as_str().split_at(at);
            let path = self.path(name);
            if !self.ready().contains(name) {
                let io = |error| failed("making a folder", key, &error);
                let handle = sys::open_folder(&above).map_err(io)?;
                existed = match sys::make_folder(&path) {
                    Ok(()) => false,
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => true,
                    Err(error) => return Err(io(error)),
                };
                if !fs::symlink_metadata(&path).map_err(io)?.is_dir() {
                    return Err(Error::invalid(format!("a part of the name is no folder. key=`{key}`")));
                }
                self.sync(&handle)?;
                let mut ready = self.ready();
                if ready.len() >= READY_MAX {
                    ready.clear();
                }
                ready.insert(name.to_owned());
            }
            above = path;
        }
        Ok(existed)
    }

    fn publish(
        &self,
        key: &ObjectKey,
        bytes: &[u8],
        mode: PutMode,
        staging: &str,
        sweep: bool,
    ) -> Result<()> {
        let target = self.path(key.as_str());
        let parent = target.parent().unwrap_or(&self.root);
        // Opened before anything is visible: afterwards only the sync itself can fail.
        let handle = sys::open_folder(parent).map_err(|error| failed("opening the folder", key, &error))?;
        if occupied(key, &target)? && mode == PutMode::Create {
            self.sync(&handle)?;
            return Err(exists(key));
        }
        let staging = parent.join(staging);
        let staged = stage(&staging, bytes).inspect_err(|_| discard(&staging));
        let time = staged.map_err(|error| failed("writing", key, &error))?;
        self.unsynced().push(key.clone());
        let published = match mode {
            PutMode::Create => fs::hard_link(&staging, &target).map_err(|error| unlinked(key, &error)),
            PutMode::Overwrite => {
                fs::rename(&staging, &target).map_err(|error| failed("renaming", key, &error))
            }
        };
        if mode == PutMode::Create || published.is_err() {
            discard(&staging);
        }
        // Whatever the answer was: the caller builds on what it then finds there.
        self.sync(&handle)?;
        self.settle(key);
        if published.is_ok() && sweep {
            sweep_staging(parent, time);
        }
        published
    }

    pub(super) fn get(&self, key: &ObjectKey, bytes_max: u64) -> Result<Bytes> {
        let (file, size) = self.open(key)?;
        if size > bytes_max {
            return Err(oversize(key, size, bytes_max));
        }
        read(file, key, 0..size)
    }

    pub(super) fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let (file, size) = self.open(key)?;
        if range.start > range.end || range.end > size {
            return Err(Error::corrupt(key, format!("range {range:?} of {size} bytes")));
        }
        read(file, key, range)
    }

    pub(super) fn head(&self, key: ObjectKey) -> Result<ObjectInfo> {
        let metadata = self.metadata(&key)?;
        self.check_synced(&key)?;
        Ok(info(key, &metadata))
    }

    fn open(&self, key: &ObjectKey) -> Result<(File, u64)> {
        self.metadata(key)?;
        let opened = sys::open_file(&self.path(key.as_str())).and_then(|file| {
            let size = file.metadata()?.len();
            Ok((file, size))
        });
        let opened = opened.map_err(|error| failed("reading", key, &error))?;
        self.check_synced(key)?;
        Ok(opened)
    }

    /// What is seen of an object after this call stays seen. It comes after the look, since a put names its
    /// object as unsynced before it publishes it.
    fn check_synced(&self, key: &ObjectKey) -> Result<()> {
        if self.unsynced().contains(key) {
            let target = self.path(key.as_str());
            let handle = sys::open_folder(target.parent().unwrap_or(&self.root));
            self.sync(&handle.map_err(|error| failed("opening the folder", key, &error))?)?;
        }
        self.check_not_in_doubt()
    }

    fn settle(&self, key: &ObjectKey) {
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
        let metadata = found.map_err(|error| failed("reading", key, &error))?;
        match () {
            () if metadata.is_file() => Ok(metadata),
            () if metadata.is_dir() => Err(missing(key)),
            () => Err(Error::corrupt(key, "not a plain file")),
        }
    }

    pub(super) fn list(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<Vec<ObjectInfo>> {
        let mut found = Vec::new();
        let mut folders = vec![prefix.as_str().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in self.entries(&folder)? {
                let (name, kind) = (format!("{folder}{}", entry.name), entry.kind);
                let Ok(key) = ObjectKey::new(name) else { continue };
                let below = format!("{key}/");
                // All keys of a folder that `after` is not in lie on one side of it.
                let reaches =
                    |after: &ObjectKey| below.as_str() > after.as_str() || after.as_str().starts_with(&below);
                if kind.is_dir() && after.is_none_or(reaches) {
                    folders.push(below);
                } else if kind.is_file() && after.is_none_or(|after| key > *after) {
                    match entry.found.metadata() {
                        Ok(metadata) => found.push(info(key, &metadata)),
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => return Err(failed("listing", &prefix, &error)),
                    }
                }
            }
        }
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    pub(super) fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in self.entries(prefix.as_str())? {
            if entry.kind.is_dir() && self.holds_objects(format!("{prefix}{}/", entry.name))? {
                names.push(entry.name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn holds_objects(&self, folder: String) -> Result<bool> {
        let mut folders = vec![folder];
        while let Some(folder) = folders.pop() {
            for entry in self.entries(&folder)? {
                if entry.kind.is_file() {
                    return Ok(true);
                }
                if entry.kind.is_dir() {
                    folders.push(format!("{folder}{}/", entry.name));
                }
            }
        }
        Ok(false)
    }

    /// What is directly below a folder and could be part of a key: no staging files, nothing foreign. One
    /// that is missing is empty.
    fn entries(&self, folder: &str) -> Result<Vec<Entry>> {
        let io = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(Vec::new()),
            _ => Err(failed("listing", &folder, &error)),
        };
        match self.check_folders(folder, &folder) {
            Err(error) if error.is(ErrorKind::NotFound) => return Ok(Vec::new()),
            checked => checked?,
        }
        let found = fs::read_dir(self.path(folder)).and_then(|entries| {
            let entry = |found: io::Result<fs::DirEntry>| {
                let found = found?;
                let kind = found.file_type()?;
                let name = found.file_name().into_string().ok().filter(|name| ObjectKey::new(name).is_ok());
                Ok(name.map(|name| Entry { name, kind, found }))
            };
            entries.map(entry).filter_map(Result::transpose).collect::<io::Result<Vec<Entry>>>()
        });
        found.or_else(io)
    }

    pub(super) fn delete(&self, key: &ObjectKey) -> Result<()> {
        match self.check_folders(key.as_str(), key) {
            Err(error) if error.is(ErrorKind::NotFound) => return Ok(()),
            checked => checked?,
        }
        let target = self.path(key.as_str());
        let io = |error| failed("deleting", key, &error);
        let handle = sys::open_folder(target.parent().unwrap_or(&self.root)).map_err(io)?;
        if fs::symlink_metadata(&target).is_ok_and(|metadata| metadata.is_dir()) {
            return Ok(());
        }
        match fs::remove_file(&target) {
            // Whoever deleted it before may not have come to sync the folder.
            Ok(()) => self.sync(&handle),
            Err(error) if is_missing(&error) => self.sync(&handle),
            Err(error) => Err(io(error)),
        }
    }

    /// Every folder above `name` must be a folder, not a link to one.
    fn check_folders(&self, name: &str, shown: &impl fmt::Display) -> Result<()> {
        for (at, _) in name.match_indices('/') {
            let (above, _) = name.split_at(at);
            let found = fs::symlink_metadata(self.path(above));
            check_is_folder(shown, &found.map_err(|error| failed("looking", shown, &error))?)?;
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        // Part by part: on Windows a canonical path knows no other separator than its own.
        name.split('/').filter(|part| !part.is_empty()).fold(self.root.clone(), |path, part| path.join(part))
    }

    fn sync(&self, handle: &sys::FolderHandle) -> Result<()> {
        sys::sync_folder(handle).map_err(|error| {
            self.doubt();
            // Whatever the cause, the object may be there: no kind that says it is not.
            let message = format!("syncing a folder failed: {error}. root=`{}`", self.root.display());
            Error::new(ErrorKind::Unavailable, message)
        })
    }

    pub(super) fn doubt(&self) {
        self.in_doubt.store(true, Ordering::SeqCst);
    }

    pub(super) fn check_not_in_doubt(&self) -> Result<()> {
        if self.in_doubt.load(Ordering::SeqCst) {
            let why = "a folder failed to sync: check the disk, then open the store again";
            return Err(Error::new(ErrorKind::Unavailable, why));
        }
        Ok(())
    }

    fn ready(&self) -> MutexGuard<'_, HashSet<String>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a folder shows.
struct Entry {
    name: String,
    kind: fs::FileType,
    found: fs::DirEntry,
}

/// Makes the root, with its name on disk.
fn make_root(path: &Path) -> io::Result<PathBuf> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() {
        // It may have been made a moment ago. Who cannot sync its name did not make it.
        let _ = sys::open_outside(parent).and_then(|handle| sys::sync_folder(&handle));
    } else {
        let parent = if parent == path { parent.to_owned() } else { make_root(parent)? };
        let handle = sys::open_outside(&parent)?;
        match sys::make_folder(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sys::sync_folder(&handle)?,
        }
    }
    fs::canonicalize(path)
}

/// Whether the object is there. Anything else of its name is an error.
fn occupied(key: &ObjectKey, target: &Path) -> Result<bool> {
    match fs::symlink_metadata(target) {
        Ok(metadata) if metadata.is_file() => Ok(true),
        Ok(_) => Err(Error::invalid(format!("what has this name is no plain file. key=`{key}`"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("looking", key, &error)),
    }
}

/// Writes a staging file, down to the disk. When it was written, by the clock of the file system.
fn stage(staging: &Path, bytes: &[u8]) -> io::Result<SystemTime> {
    let mut file = sys::create_file(staging)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file.metadata()?.modified().unwrap_or(UNIX_EPOCH))
}

/// Best effort: it is invisible, and swept some day.
fn discard(staging: &Path) {
    let _ = fs::remove_file(staging);
}

/// Removes what crashes left in a folder. Best effort: nobody sees these files.
fn sweep_staging(folder: &Path, now: SystemTime) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let stale = || {
            let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok()?;
            now.duration_since(modified).ok().filter(|age| *age >= STALE)
        };
        if entry.file_name().to_string_lossy().starts_with(STAGING) && stale().is_some() {
            discard(&entry.path());
        }
    }
}

fn read(mut file: File, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
    let wanted = range.end - range.start;
    let io = |error| failed("reading", key, &error);
    let mut bytes = Vec::new();
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
    let message = format!("the file shrank while it was read. key=`{key}`");
    Err(Error::new(ErrorKind::Unavailable, message))
}

fn info(key: ObjectKey, metadata: &Metadata) -> ObjectInfo {
    let since = metadata.modified().unwrap_or(UNIX_EPOCH).duration_since(UNIX_EPOCH).unwrap_or_default();
    let modified_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    ObjectInfo { key, size: metadata.len(), modified_ms }
}

fn check_is_folder(shown: &impl fmt::Display, metadata: &Metadata) -> Result<()> {
    match () {
        () if metadata.is_dir() => Ok(()),
        () if metadata.is_file() => Err(missing(shown)),
        () => Err(Error::corrupt(shown, "a folder above is a symbolic link, which is not followed")),
    }
}

fn missing(shown: &impl fmt::Display) -> Error {
    Error::new(ErrorKind::NotFound, format!("no such object. key=`{shown}`"))
}

fn exists(key: &ObjectKey) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("the object exists. key=`{key}`"))
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Why a hard link was not made. The staging file beside it was, so it is no question of permissions.
fn unlinked(key: &ObjectKey, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists => exists(key),
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported => {
            let why = "the file system makes no hard links, which a put that must not replace needs";
            Error::new(ErrorKind::UnsupportedStore, format!("{why}: {error}. key=`{key}`"))
        }
        _ => failed("linking", key, error),
    }
}

pub(super) fn failed(what: &str, shown: &impl fmt::Display, error: &io::Error) -> Error {
    let kind = match error.kind() {
        _ if is_missing(error) => return missing(shown),
        _ if sys::is_link(error) => return Error::corrupt(shown, "a symbolic link, which is not followed"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        io::ErrorKind::InvalidFilename => ErrorKind::Invalid,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ErrorKind::StorageFull
        }
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{what} failed: {error}. key=`{shown}`"))
}
