//! A folder that only its owner may enter.
//!
//! Cached blocks hold contents of documents. In a parent that others may write to, such as `/tmp`, another user may
//! have created the folder, or a link in its place, before us.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::path::Path;

/// Creates the folder, or checks that the one in its place is private and ours.
pub(super) fn create_private_folder(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)?;
    check_private(dir)
}

#[cfg(unix)]
fn check_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let refused = |why: &str| Err(io::Error::other(format!("{}: {why}", dir.display())));
    let folder = std::fs::symlink_metadata(dir)?;
    if !folder.is_dir() {
        return refused("it is a link or a file, not a folder");
    }
    if folder.mode() & 0o077 != 0 {
        return refused("others than its owner may enter it");
    }
    // The owner of a file that we create is our user. std has no call for that, and one of libc would be `unsafe`.
    let probe = dir.join(format!(".owner-{}", std::process::id()));
    // One may be left from a process of the same id that was killed.
    let _ = std::fs::remove_file(&probe);
    let owner = OpenOptions::new().write(true).create_new(true).open(&probe).and_then(|file| file.metadata());
    let _ = std::fs::remove_file(&probe);
    if owner?.uid() == folder.uid() { Ok(()) } else { refused("it belongs to another user") }
}

#[cfg(not(unix))]
fn check_private(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Options to open a file with that refuse a symbolic link.
pub(super) fn not_following_links() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW);
    options
}
