//! Namespace names.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;

use crate::error::{Error, Result, escaped_start};

/// The longest name of a namespace, in bytes.
const BYTES_MAX: usize = 128;

/// A checked name of a namespace: 1 to 128 of `A-Z a-z 0-9 - _ .`, and not `.` or `..`.
///
/// ```
/// use elacsym::NamespaceName;
///
/// assert_eq!(NamespaceName::new("papers-2024")?.as_str(), "papers-2024");
/// assert!(NamespaceName::new("papers/2024").is_err());
/// # Ok::<_, elacsym::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct NamespaceName(Arc<str>);

impl NamespaceName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for any other name.
    pub fn new(name: &str) -> Result<Self> {
        // What every store takes in a key and every file system in a name, without any quoting of ours.
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let why = if name.is_empty() {
            "it is empty"
        } else if name.len() > BYTES_MAX {
            "it is longer than 128 bytes"
        } else if !name.bytes().all(allowed) {
            "only A-Z a-z 0-9 - _ . are allowed"
        } else if matches!(name, "." | "..") {
            "it names a folder"
        } else {
            return Ok(Self(name.into()));
        };
        let shown = escaped_start(name, 32);
        Err(Error::invalid(format!("bad namespace name: {why}. name=`{shown}`")))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NamespaceName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        Self::new(&name)
    }
}

impl fmt::Display for NamespaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As text, so that a name is taken wherever a `&str` is.
impl Deref for NamespaceName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for NamespaceName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

// Sound: it is compared and hashed as its text is.
impl Borrow<str> for NamespaceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for NamespaceName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused() {
        for name in ["", ".", "..", "../x", "a/b", "a\\b", "a b", "a\0", "é", "~", "a%2f", &"x".repeat(300)]
        {
            assert!(NamespaceName::new(name).is_err(), "{name:?} was accepted");
        }
        for name in ["a", "A-Z_0.9", "...", &"x".repeat(128)] {
            assert_eq!(NamespaceName::new(name).unwrap().as_str(), name);
        }
    }
}
