//! Listings of a folder.

use std::fs;
use std::io;

use super::errors::io_failed;
use super::folder::{Folder, object_info};
use crate::error::{ErrorKind, Result};
use crate::storage::{ObjectInfo, ObjectKey, ObjectPrefix};

/// An entry of a folder whose name could be a part of a key.
struct FolderEntry {
    name: String,
    kind: fs::FileType,
    found: fs::DirEntry,
}

impl Folder {
    pub(super) fn list(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<Vec<ObjectInfo>> {
        let mut found = Vec::new();
        let mut folders = vec![prefix.as_str().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in self.read_entries(&folder)? {
                let (name, kind) = (format!("{folder}{}", entry.name), entry.kind);
                // Checked part by part already.
                let key = ObjectKey::new(name)?;
                let below = format!("{key}/");
                // All keys of a folder that does not contain `after` are on the same side of it.
                let may_follow =
                    |after: &ObjectKey| below.as_str() > after.as_str() || after.as_str().starts_with(&below);
                if kind.is_dir() && after.is_none_or(may_follow) {
                    folders.push(below);
                } else if kind.is_file() && after.is_none_or(|after| key > *after) {
                    match entry.found.metadata() {
                        Ok(metadata) => found.push(object_info(key, &metadata)),
                        // Deleted between the two calls.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => return Err(io_failed("listing", &prefix, &error)),
                    }
                }
            }
        }
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    pub(super) fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in self.read_entries(prefix.as_str())? {
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
            for entry in self.read_entries(&folder)? {
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

    /// The entries of a folder whose names could be parts of keys: neither staging files nor foreign ones. A missing
    /// folder is empty.
    fn read_entries(&self, folder: &str) -> Result<Vec<FolderEntry>> {
        let missing_is_empty = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(Vec::new()),
            _ => Err(io_failed("listing", &folder, &error)),
        };
        match self.check_folders(folder, &folder) {
            Err(error) if error.is(ErrorKind::NotFound) => return Ok(Vec::new()),
            checked => checked?,
        }
        let found = fs::read_dir(self.path(folder)).and_then(|entries| {
            let entry = |found: io::Result<fs::DirEntry>| {
                let found = found?;
                let kind = found.file_type()?;
                // A name that is not UTF-8 is foreign.
                let name = found.file_name().into_string().ok().filter(|name| ObjectKey::new(name).is_ok());
                Ok(name.map(|name| FolderEntry { name, kind, found }))
            };
            entries.map(entry).filter_map(Result::transpose).collect::<io::Result<Vec<FolderEntry>>>()
        });
        found.or_else(missing_is_empty)
    }
}
