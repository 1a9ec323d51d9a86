//! Staging files: written next to an object, then linked or renamed to its name.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::Payload;
use super::sys;

/// How the names of staging files begin. No part of a key begins with a dot.
pub(super) const STAGING_PREFIX: &str = ".staging-";
/// When a staging file counts as left by a crash. A put takes seconds; a day leaves room for a process that is
/// suspended in the middle of one.
const STALE_AGE: Duration = Duration::from_hours(24);

/// Writes a staging file and syncs it. Returns when it was written, by the clock of the file system.
pub(super) fn write_staging(staging: &Path, body: &Payload) -> io::Result<SystemTime> {
    let mut file = sys::create_file(staging)?;
    // One by one: parts are sections of files, so they are few or large.
    body.iter().try_for_each(|part| file.write_all(part))?;
    file.sync_all()?;
    // Without times nothing is ever stale, so nothing is swept.
    Ok(file.metadata()?.modified().unwrap_or(UNIX_EPOCH))
}

/// Best effort: a staging file is invisible, and is swept after a day.
pub(super) fn remove_staging(staging: &Path) {
    let _ = fs::remove_file(staging);
}

/// Removes staging files that crashes left in a folder. Best effort, since they are invisible. `now` is the time of the
/// file system: its clock may be that of another machine.
pub(super) fn sweep_staging(folder: &Path, now: SystemTime) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let stale_age = || {
            let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok()?;
            now.duration_since(modified).ok().filter(|age| *age >= STALE_AGE)
        };
        if entry.file_name().to_string_lossy().starts_with(STAGING_PREFIX) && stale_age().is_some() {
            remove_staging(&entry.path());
        }
    }
}
