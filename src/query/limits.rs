//! Checks of limits that several requests share.

use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::types::COLUMN_NAME_BYTES_MAX;

/// Refuses a name that is longer than the longest column name.
pub(super) fn check_name(what: &str, name: &str) -> Result<()> {
    if name.len() <= COLUMN_NAME_BYTES_MAX {
        return Ok(());
    }
    Err(Error::limit(format!(
        "the name of a {what} is too long: at most {COLUMN_NAME_BYTES_MAX} bytes are allowed. bytes=`{}`",
        name.len()
    )))
}

/// Refuses a limit outside of 1 to [`Settings::limit_max`].
pub(super) fn check_limit(what: &str, limit: usize, settings: &Settings) -> Result<()> {
    if (1..=settings.limit_max).contains(&limit) {
        return Ok(());
    }
    Err(Error::limit(format!("bad {what}: 1 to {} are allowed. {what}=`{limit}`", settings.limit_max)))
}
