//! Deletes of files, and of the folders of segments that they empty.
//!
//! The name of a segment's folder never comes back: it is random, and its files are deleted only when nothing can
//! refer to the segment any more. If the folder stayed, every listing would read it, for ever. Removing it is safe
//! beside
//! - *a put*: the system removes only empty folders, and a put writes its staging file to the folder before it links
//!   the object. If the folder goes before that, the put makes it again. What it then stores is garbage, like all of
//!   the segment, so it does not matter whether that and the new folder's name are durable.
//! - *a delete*: a folder goes after its names were synced, and a delete that finds no folder has nothing to do.
//! - *a read or a listing*: a missing folder is one without objects.
//!
//! The removal itself is not synced: a folder that a power cut brings back is empty. All other folders stay, because
//! their names do come back: another process that has synced the name of such a folder once would acknowledge an object
//! in a new folder whose name is not on disk.

use std::fs;

use super::super::{ObjectKey, SegmentKeys};
use super::errors::{io_failed, is_missing};
use super::folder::Folder;
use super::sys;
use crate::error::{ErrorKind, Result};

impl Folder {
    /// Deletes objects. Neighbours in one folder share its sync.
    pub(super) fn delete(&self, keys: &[ObjectKey]) -> Vec<Result<()>> {
        let neighbours = keys.chunk_by(|a, b| a.folder() == b.folder());
        neighbours.flat_map(|keys| self.delete_in_folder(keys)).collect()
    }

    fn delete_in_folder(&self, keys: &[ObjectKey]) -> Vec<Result<()>> {
        let Some(first) = keys.first() else { return Vec::new() };
        let handle = match self.open_folder_of(first) {
            Ok(Some(handle)) => handle,
            Ok(None) => return vec![Ok(()); keys.len()],
            Err(error) => return vec![Err(error); keys.len()],
        };
        let answers = keys.iter().map(|key| self.remove_object(key)).collect();
        // Also if all were gone: whoever deleted them may not have synced the folder yet.
        if let Err(error) = self.sync(&handle) {
            return vec![Err(error); keys.len()];
        }
        if SegmentKeys::is_folder(first.folder()) && sys::remove_folder(&self.path(first.folder())).is_ok() {
            self.forget_synced(first.folder());
        }
        answers
    }

    /// Opens the folder of an object; `None` if there is none.
    fn open_folder_of(&self, key: &ObjectKey) -> Result<Option<sys::FolderHandle>> {
        match self.check_folders(key.as_str(), key) {
            Err(error) if error.is(ErrorKind::NotFound) => return Ok(None),
            checked => checked?,
        }
        match sys::open_folder(&self.path(key.folder())) {
            Ok(handle) => Ok(Some(handle)),
            // Removed between the two calls.
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(io_failed("deleting", key, &error)),
        }
    }

    fn remove_object(&self, key: &ObjectKey) -> Result<()> {
        let target = self.path(key.as_str());
        // Not an object, but a folder of others.
        if fs::symlink_metadata(&target).is_ok_and(|metadata| metadata.is_dir()) {
            return Ok(());
        }
        match fs::remove_file(&target) {
            Err(error) if !is_missing(&error) => Err(io_failed("deleting", key, &error)),
            _ => Ok(()),
        }
    }
}
