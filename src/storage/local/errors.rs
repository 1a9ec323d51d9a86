//! From errors of the file system to errors of this crate.

use std::fmt;
use std::io;

use super::super::ObjectKey;
use super::sys;
use crate::error::{Error, ErrorKind};

pub(super) fn no_such_object(shown: &impl fmt::Display) -> Error {
    Error::new(ErrorKind::NotFound, format!("no such object. key=`{shown}`"))
}

pub(super) fn object_exists(key: &ObjectKey) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("the object exists. key=`{key}`"))
}

pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The error of a hard link. The staging file in the same folder was created, so the cause is not a lack of
/// permissions.
pub(super) fn link_failed(key: &ObjectKey, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists => object_exists(key),
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported => {
            let why = "the file system does not support hard links, which create-only puts need";
            Error::new(ErrorKind::UnsupportedStore, format!("{why}: {error}. key=`{key}`"))
        }
        _ => io_failed("linking", key, error),
    }
}

pub(super) fn io_failed(what: &str, shown: &impl fmt::Display, error: &io::Error) -> Error {
    let kind = match error.kind() {
        _ if is_missing(error) => return no_such_object(shown),
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
