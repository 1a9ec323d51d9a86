//! tantivy's view of a packed file: a read-only directory whose files are ranges of one handle.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    Directory, DirectoryLock, FileHandle, FileSlice, Lock, OwnedBytes, WatchCallback, WatchHandle, WritePtr,
};
use tantivy::{HasLen, Index, SegmentReader};

use super::packed_file::{NotFetched, PackedFile};

/// The files of a tantivy index as ranges of one handle.
#[derive(Clone, Debug)]
pub(super) struct PackedDirectory {
    pub(super) files: Arc<HashMap<PathBuf, Range<usize>>>,
    pub(super) handle: Arc<dyn FileHandle>,
}

/// Opens the only segment of a tantivy index.
pub(super) fn open_segment(directory: PackedDirectory) -> tantivy::Result<SegmentReader> {
    let index = Index::open(directory)?;
    let segments = index.searchable_segments()?;
    let segment = segments
        .first()
        .ok_or_else(|| tantivy::TantivyError::InternalError("the index has no segment".to_owned()))?;
    SegmentReader::open(segment)
}

impl Directory for PackedDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        Ok(Arc::new(self.open_read(path)?))
    }

    fn open_read(&self, path: &Path) -> Result<FileSlice, OpenReadError> {
        let range = self.files.get(path).ok_or_else(|| OpenReadError::FileDoesNotExist(path.into()))?;
        Ok(FileSlice::new(Arc::clone(&self.handle)).slice(range.clone()))
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(self.files.contains_key(path))
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        let bytes = self.open_read(path)?.read_bytes();
        Ok(bytes.map_err(|e| OpenReadError::wrap_io_error(e, path.into()))?.to_vec())
    }

    // Nobody writes to a packed index, so there is nothing to lock, to watch or to sync.
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

/// A handle that reads what was fetched, and records what was not.
///
/// A fuzzy lookup reads several blocks of a dictionary, and which ones is known only to tantivy's search. With this
/// handle the search runs dry once and names all of them, so that they take one round trip instead of one each.
#[derive(Debug)]
pub(super) struct MissRecorder {
    file: Arc<PackedFile>,
    missed: Mutex<Vec<Range<u64>>>,
}

impl MissRecorder {
    pub(super) fn new(file: Arc<PackedFile>) -> Self {
        Self { file, missed: Mutex::default() }
    }

    pub(super) fn take_missed(&self) -> Vec<Range<u64>> {
        // invariant: a list of ranges is whole after each push, whatever panicked.
        std::mem::take(&mut *self.missed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HasLen for MissRecorder {
    fn len(&self) -> usize {
        self.file.len()
    }
}

#[async_trait::async_trait]
impl FileHandle for MissRecorder {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        let range = range.start as u64..range.end as u64;
        self.file.read(&range).or_else(|error| match NotFetched::range_of(&error) {
            Some(missing) => {
                // invariant: as in `take_missed`.
                self.missed.lock().unwrap_or_else(PoisonError::into_inner).push(missing);
                Ok(OwnedBytes::empty())
            }
            None => Err(error),
        })
    }
}
