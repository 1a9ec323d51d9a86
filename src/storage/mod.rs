//! Where objects live: a narrow port to any object store, and what stands behind it.
//!
//! [`StorageBackend`] has the operations that the protocol needs and no others: put if absent (and one overwrite,
//! which is advisory), get whole and by range, head, list by page, list folders, delete.
//!
//! **Invariant:** only `key` spells names of objects.

#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
mod clouds;
#[cfg(feature = "testing")]
pub mod conformance;
#[cfg(feature = "testing")]
mod counting;
mod key;
mod local;
mod location;
mod memory;
mod object;
mod probe;
mod scrub;
mod steady;
mod whole;

#[cfg(feature = "testing")]
pub use counting::{CountingBackend, DelayedBackend, Request, Verb};
pub(crate) use key::{DatabaseKeys, IncarnationKeys, NUMBER_MAX, NamespaceKeys, SegmentKeys};
pub use key::{ObjectKey, ObjectPrefix};
pub use local::LocalBackend;
pub(crate) use location::open_location;
pub use memory::MemoryBackend;
pub use object::ObjectStoreBackend;
pub(crate) use probe::{StoreInfo, open_store};
pub(crate) use steady::SteadyBackend;
pub(crate) use whole::{Created, create_whole, read_decoded, read_whole};

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};

/// What happens when the object to be written exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PutMode {
    /// The put fails with [`ErrorKind::AlreadyExists`] and changes nothing.
    Create,
    /// The object is replaced, whole.
    Overwrite,
}

/// An object as a listing or a head shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its name.
    pub key: ObjectKey,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written by the store's clock, in milliseconds since 1970-01-01 UTC.
    pub modified_ms: i64,
}

/// A page of a listing: what one request to the store shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPage {
    /// Objects in ascending order of their keys.
    pub objects: Vec<ObjectInfo>,
    /// Whether more may follow: the next page is the one after the last of these. A page without objects is
    /// the last one.
    pub more: bool,
}

impl ListPage {
    /// A page that nothing follows.
    #[must_use]
    pub fn last(objects: Vec<ObjectInfo>) -> Self {
        Self { objects, more: false }
    }
}

/// Where objects live.
///
/// # Contract
/// - A put is durable when it returns, and every later get and list from any process shows it.
/// - Of any number of concurrent [`PutMode::Create`] puts of one key at most one succeeds, and the object
///   holds its bytes.
/// - An error of a put says nothing about whether the object was written: callers read it back. The exceptions
///   are [`PermissionDenied`](crate::ErrorKind::PermissionDenied) and
///   [`StorageFull`](crate::ErrorKind::StorageFull), which mean that it was not and will not be.
/// - A missing object is [`ErrorKind::NotFound`], never another error.
/// - A backend may retry reads; it must not retry a put in create mode, or it may refuse its own write.
/// - No key is a folder of another: callers never write both `a` and `a/b`, so files and folders will do.
/// - Dropping a future may or may not cancel the request.
///
/// `storage::conformance` (feature `testing`) checks a backend against it.
#[async_trait]
pub trait StorageBackend: fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// Writes an object whole or not at all.
    async fn put(&self, key: &ObjectKey, bytes: Bytes, mode: PutMode) -> Result<()>;

    /// Reads an object whole.
    async fn get(&self, key: &ObjectKey) -> Result<Bytes>;

    /// Reads an object whole if it has at most `bytes_max` bytes. A larger one is
    /// [`ErrorKind::Corrupt`]: nothing that large was ever written there.
    ///
    /// Whoever may write to the store decides how large an object is. What is provided reads it first, and
    /// then looks at its size: a backend that is told the size before the body comes should refuse it there.
    async fn get_bounded(&self, key: &ObjectKey, bytes_max: u64) -> Result<Bytes> {
        let bytes = self.get(key).await?;
        if bytes.len() as u64 > bytes_max {
            Err(oversize(key, bytes.len() as u64, bytes_max))
        } else {
            Ok(bytes)
        }
    }

    /// Reads a range of an object: exactly the bytes asked for. A range that ends past the object is
    /// [`ErrorKind::Corrupt`].
    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes>;

    /// The size and time of an object.
    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo>;

    /// The first objects below a prefix whose key is greater than `after`, in ascending order and without a
    /// gap: as many as one request to the store brings, which is for the backend to decide. `after` need not
    /// exist, but it is no folder of other keys: some servers would leave them out.
    ///
    /// The limit of time for a request is that for a page, and a page that fails is asked for again by itself: a
    /// long listing in one answer may never end.
    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage>;

    /// Every object below a prefix whose key is greater than `after`, in ascending order: the pages of
    /// [`list_page`](Self::list_page), one after the other. If any of them fails, all of it is an error.
    async fn list(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<Vec<ObjectInfo>> {
        let mut page = self.list_page(prefix, after).await?;
        let mut found = std::mem::take(&mut page.objects);
        while let Some(last) = found.last().filter(|_| page.more).map(|info| info.key.clone()) {
            page = self.list_page(prefix, Some(&last)).await?;
            let next = page.objects.first().map(|info| &info.key);
            if next.is_none() {
                break;
            }
            check_ascends(prefix, &last, next)?;
            found.append(&mut page.objects);
        }
        Ok(found)
    }

    /// The names directly below a prefix that have objects below them, in ascending order. A folder whose
    /// last object was deleted may still be named: some servers clear it away later.
    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>>;

    /// Deletes an object. One that does not exist is no error.
    async fn delete(&self, key: &ObjectKey) -> Result<()>;
}

/// A page must begin behind the one before it, or a listing may never end.
pub(crate) fn check_ascends(prefix: &ObjectPrefix, last: &ObjectKey, next: Option<&ObjectKey>) -> Result<()> {
    match next {
        Some(next) if next <= last => {
            let why = format!(
                "a page of a listing begins before the last one ended. prefix=`{prefix}` key=`{next}`"
            );
            Err(Error::new(ErrorKind::UnsupportedStore, why))
        }
        _ => Ok(()),
    }
}

/// The error of an object that is larger than any of its kind.
pub(crate) fn oversize(key: &ObjectKey, size: u64, bytes_max: u64) -> Error {
    Error::corrupt(key, format!("it has {size} bytes, more than the {bytes_max} that one may have"))
}
