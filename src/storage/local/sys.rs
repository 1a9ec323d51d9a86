//! Differences between systems: whether folders can be synced, permissions of files, and symbolic links.

pub(super) use imp::{
    FolderHandle, create_file, is_link, make_folder, open_file, open_folder, open_outside, remove_folder,
    sync_folder,
};

#[cfg(unix)]
mod imp {
    use std::fs::{self, File, OpenOptions};
    use std::io;
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    use std::path::Path;

    pub(crate) type FolderHandle = File;

    /// Opens a folder below the root. A symbolic link in its place is an error.
    pub(crate) fn open_folder(path: &Path) -> io::Result<FolderHandle> {
        OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_DIRECTORY).open(path)
    }

    /// Opens the root or a folder above it, which may be reached by symbolic links.
    pub(crate) fn open_outside(path: &Path) -> io::Result<FolderHandle> {
        File::open(path)
    }

    /// Opens a file to read. A symbolic link is an error.
    pub(crate) fn open_file(path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)
    }

    /// Whether opening failed because of a symbolic link.
    pub(crate) fn is_link(error: &io::Error) -> bool {
        error.raw_os_error() == Some(libc::ELOOP)
    }

    pub(crate) fn sync_folder(handle: &FolderHandle) -> io::Result<()> {
        handle.sync_all()
    }

    // Folders and files are for their owner only: they hold contents of documents.
    pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(path)
    }

    /// Removes a folder if it is empty.
    pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    pub(crate) fn create_file(path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
    }
}

#[cfg(not(unix))]
mod imp {
    use std::fs::{self, File, OpenOptions};
    use std::io;
    use std::path::Path;

    #[derive(Debug)]
    pub(crate) struct FolderHandle;

    pub(crate) fn open_folder(path: &Path) -> io::Result<FolderHandle> {
        fs::metadata(path).map(|_| FolderHandle)
    }

    pub(crate) fn open_outside(path: &Path) -> io::Result<FolderHandle> {
        open_folder(path)
    }

    pub(crate) fn open_file(path: &Path) -> io::Result<File> {
        File::open(path)
    }

    pub(crate) fn is_link(_: &io::Error) -> bool {
        false
    }

    // Windows has no call for this; NTFS journals names.
    #[expect(clippy::unnecessary_wraps, reason = "as on unix")]
    pub(crate) fn sync_folder(_: &FolderHandle) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    /// Folders stay: on Windows the name of one that is open elsewhere cannot be used again until it is closed there.
    pub(crate) fn remove_folder(_: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn create_file(path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(path)
    }
}
