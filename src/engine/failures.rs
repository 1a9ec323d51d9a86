//! The errors when attempts run out: another process was quicker each time, or an object is lost.

use crate::error::{Error, ErrorKind};
use crate::storage::IncarnationKeys;
use crate::types::NamespaceName;

/// The error of a process that is always overtaken, as one that is suspended for hours may be.
pub(super) fn overtaken(name: &NamespaceName) -> Error {
    let why = "the namespace changes faster than it can be read. retry later";
    Error::new(ErrorKind::Unavailable, format!("{why}. name=`{name}`"))
}

/// The error of a file that the newest state names and that does not exist: nothing can have replaced it, so it is
/// damage and not a race.
pub(super) fn missing_object(keys: &IncarnationKeys, cause: &Error) -> Error {
    if cause.is_missing() {
        return cause.clone();
    }
    Error::corrupt(keys.manifests(), format!("the newest state lacks an object ({cause})"))
}
