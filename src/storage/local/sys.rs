//! What differs between systems: whether a folder can be synced, and whose a file is.

pub(super) use imp::{FolderHandle, create_file, make_folder, open_folder, sync_folder};

#[cfg(unix)]
mod imp {
    use std::fs::{self, File, OpenOptions};
    use std::io;
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    use std::path::Path;

    pub(crate) type FolderHandle = File;

    pub(crate) fn open_folder(path: &Path) -> io::Result<FolderHandle> {
        File::open(path)
    }

    pub(crate) fn sync_folder(handle: &FolderHandle) -> io::Result<()> {
        handle.sync_all()
    }

    pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(path)
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

    #[expect(clippy::unnecessary_wraps, reason = "as on unix")]
    pub(crate) fn sync_folder(_: &FolderHandle) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    pub(crate) fn create_file(path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(path)
    }
}
