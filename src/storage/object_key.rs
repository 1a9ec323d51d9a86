//! Keys and prefixes of objects.
//!
//! **Invariant:** a key never leaves its database: `..`, empty and hidden parts cannot be constructed.

use std::borrow::Borrow;
use std::fmt;

use crate::error::{Error, Result};

/// The name of an object, relative to the root of the database: parts of `A-Z a-z 0-9 - _ . ~`, separated by `/`.
///
/// ```
/// use elacsym::storage::ObjectKey;
///
/// assert_eq!(ObjectKey::new("books/7")?.as_str(), "books/7");
/// assert!(ObjectKey::new("../books").is_err());
/// # Ok::<_, elacsym::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

/// A prefix of object names: any number of parts, each followed by `/`.
///
/// ```
/// use elacsym::storage::{ObjectKey, ObjectPrefix};
///
/// assert_eq!(ObjectPrefix::root().as_str(), "");
/// assert_eq!(ObjectPrefix::folder(&ObjectKey::new("books")?).as_str(), "books/");
/// # Ok::<_, elacsym::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectPrefix(String);

impl ObjectKey {
    /// Validates a name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for an empty part, one that begins with a dot, or
    /// other characters.
    pub fn new(key: impl Into<String>) -> Result<Self> {
        let key = key.into();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
        let sound = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed);
        if key.split('/').all(sound) { Ok(Self(key)) } else { Err(Error::invalid("bad object key")) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// All but the last part, without a `/` at the end: empty for an object at the root.
    pub(super) fn folder(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// The last part.
    pub(crate) fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.0.as_str(), |(_, name)| name)
    }
}

impl ObjectPrefix {
    /// The prefix of all objects.
    #[must_use]
    pub fn root() -> Self {
        Self(String::new())
    }

    /// The prefix of the objects in folder `key`.
    #[must_use]
    pub fn folder(key: &ObjectKey) -> Self {
        Self(format!("{key}/"))
    }

    /// The prefix as text: empty, or ending in `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The object of this name in the folder.
    pub(super) fn object(&self, name: impl fmt::Display) -> ObjectKey {
        ObjectKey(format!("{}{name}", self.0))
    }

    /// The folder of this name in the folder.
    pub(super) fn subfolder(&self, name: impl fmt::Display) -> Self {
        Self(format!("{}{name}/", self.0))
    }
}

/// Keys are ordered and hashed like their text.
impl Borrow<str> for ObjectKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ObjectPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_leave_its_root() {
        for key in ["", "/a", "a/", "a//b", "../a", "a/..", ".a", "a b", "a\0", "a%2f", "a\\b"] {
            assert!(ObjectKey::new(key).is_err(), "{key:?}");
        }
    }
}
