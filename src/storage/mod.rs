//! Access to object stores: a narrow port, and the backends behind it.
//!
//! [`StorageBackend`] has the operations that the protocol needs and no others: put if absent (and overwrite, for files
//! with unique names and for one advisory object), get, whole and by range, head, list by page, list folders, delete
//! one or many.
//!
//! **Invariant:** only `key` spells names of objects.

#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
mod clouds;
#[cfg(feature = "testing")]
pub mod conformance;
#[cfg(feature = "testing")]
mod counting;
mod delete_many;
#[cfg(test)]
mod fuzz;
mod incarnation_object;
mod key;
mod local;
mod location;
mod memory;
mod object;
mod object_key;
mod objects;
mod payload;
mod probe;
mod retry_backend;
mod scrub;
mod store_info;
mod store_options;

#[cfg(feature = "testing")]
pub use counting::{CountingBackend, DelayedBackend, Request, Verb};
pub use delete_many::IncompleteDelete;
pub(crate) use incarnation_object::{IncarnationObject, SegmentFile};
pub(crate) use key::{DatabaseKeys, IncarnationKeys, NUMBER_MAX, NamespaceKeys, SegmentKeys};
pub use local::LocalBackend;
pub(crate) use location::open_location;
pub use memory::MemoryBackend;
pub use object::ObjectStoreBackend;
pub use object_key::{ObjectKey, ObjectPrefix};
pub(crate) use objects::{CreateOutcome, create_object, fetch_named, read_object};
pub use payload::Payload;
pub(crate) use retry_backend::RetryBackend;
pub(crate) use store_info::{StoreInfo, open_store};
pub(crate) use store_options::StoreOptions;

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};

/// What a put does when the object exists.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::{ErrorKind, storage::*};
/// # let (store, key) = (MemoryBackend::new(), ObjectKey::new("a")?);
/// store.put(&key, "first".into(), PutMode::Create).await?;
/// let again = store.put(&key, "second".into(), PutMode::Create).await;
/// assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
/// store.put(&key, "third".into(), PutMode::Overwrite).await?;
/// assert_eq!(store.get(&key).await?, "third");
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PutMode {
    /// The put fails with [`ErrorKind::AlreadyExists`] and changes nothing.
    Create,
    /// The object is replaced as a whole.
    Overwrite,
}

/// Metadata of an object, from a listing or a head.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::storage::*;
/// # let (store, key) = (MemoryBackend::new(), ObjectKey::new("a")?);
/// store.put(&key, "12345".into(), PutMode::Create).await?;
/// let info = store.head(&key).await?;
/// assert_eq!((info.key, info.size), (key, 5));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The key of the object.
    pub key: ObjectKey,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written, by the store's clock: milliseconds since 1970-01-01 UTC.
    pub modified_ms: i64,
}

/// A page of a listing: the result of one request to the store.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::storage::*;
/// # let store = MemoryBackend::new();
/// store.put(&ObjectKey::new("a/1")?, "1".into(), PutMode::Create).await?;
/// let page = store.list_page(&ObjectPrefix::root(), None).await?;
/// assert_eq!((page.objects[0].key.as_str(), page.more), ("a/1", false));
/// assert_eq!(ListPage::last(page.objects.clone()), page);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPage {
    /// Objects in ascending order of their keys, which are compared byte by byte.
    pub objects: Vec<ObjectInfo>,
    /// Whether more may follow. The next page is the one after the last of these objects; a page without objects is the
    /// last one.
    pub more: bool,
}

impl ListPage {
    /// A page that nothing follows.
    #[must_use]
    pub fn last(objects: Vec<ObjectInfo>) -> Self {
        Self { objects, more: false }
    }
}

/// An object store.
///
/// ```
/// # use std::{fmt, ops::Range, sync::Arc};
/// # use elacsym::{Error, ErrorKind, Result, async_trait::async_trait, bytes::Bytes, storage::*};
/// /// Another store, which nobody writes to.
/// #[derive(Debug)]
/// struct ReadOnly(Arc<dyn StorageBackend>);
///
/// fn refusal(key: &ObjectKey) -> Result<()> {
///     Err(Error::new(ErrorKind::PermissionDenied, format!("the store is read-only. key=`{key}`")))
/// }
///
/// #[async_trait]
/// impl StorageBackend for ReadOnly {
///     async fn put(&self, key: &ObjectKey, _body: Payload, _mode: PutMode) -> Result<()> { refusal(key) }
///     async fn delete(&self, key: &ObjectKey) -> Result<()> { refusal(key) }
///     async fn get(&self, key: &ObjectKey) -> Result<Bytes> { self.0.get(key).await }
///     async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
///         self.0.get_range(key, range).await
///     }
///     async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> { self.0.head(key).await }
///     async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
///         self.0.list_page(prefix, after).await
///     }
///     async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
///         self.0.list_folders(prefix).await
///     }
/// }
/// # impl fmt::Display for ReadOnly {
/// #     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "read-only {}", self.0) }
/// # }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// # let (store, key) = (ReadOnly(Arc::new(MemoryBackend::new())), ObjectKey::new("a")?);
/// # assert!(store.put(&key, "1".into(), PutMode::Create).await.is_err());
/// # assert!(store.list(&ObjectPrefix::root(), None).await?.is_empty());
/// # Ok(()) }
/// ```
///
/// # Contract
/// - A put is durable when it returns, and visible to every later get and list of any process.
/// - Of concurrent [`PutMode::Create`] puts of one key at most one succeeds, and the object then holds its
///   bytes.
/// - After an error of a put the object may or may not have been written: callers read it back. The exceptions are
///   [`PermissionDenied`](crate::ErrorKind::PermissionDenied) and [`StorageFull`](crate::ErrorKind::StorageFull), which
///   mean that it was not written and will not be.
/// - A missing object is [`ErrorKind::NotFound`], never another error.
/// - A backend may retry reads. It must not retry a put in create mode: the second attempt could fail because of the
///   first.
/// - No key is a folder of another: callers never write both `a` and `a/b`, so a file system can store them.
/// - Dropping a future may or may not cancel the request.
///
/// `storage::conformance` (feature `testing`) checks a backend against it.
#[async_trait]
pub trait StorageBackend: fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// Writes an object, atomically: the bytes of all parts of the body, one behind the other.
    async fn put(&self, key: &ObjectKey, body: Payload, mode: PutMode) -> Result<()>;

    /// Reads an object.
    async fn get(&self, key: &ObjectKey) -> Result<Bytes>;

    /// Reads an object of at most `bytes_max` bytes. A larger one is [`ErrorKind::Corrupt`]: nothing that large was
    /// ever written under this key.
    ///
    /// Anyone with write access to the store decides how large an object is. The default implementation reads the
    /// object before it checks the size; a backend that knows the size before the body arrives should check it then.
    async fn get_bounded(&self, key: &ObjectKey, bytes_max: u64) -> Result<Bytes> {
        let bytes = self.get(key).await?;
        if bytes.len() as u64 > bytes_max {
            Err(oversize(key, bytes.len() as u64, bytes_max))
        } else {
            Ok(bytes)
        }
    }

    /// Reads exactly the bytes of a range. A range that ends past the object is [`ErrorKind::Corrupt`].
    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes>;

    /// Returns the size and the time of an object.
    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo>;

    /// Lists the first objects below a prefix whose keys are greater than `after`, in ascending order and without gaps.
    /// `after` need not exist, but it must not be a folder of other keys, which some servers would leave out.
    ///
    /// The backend decides how many objects a page has: as many as one request to the store returns, which is 1,000 on
    /// S3. Callers that look for few objects thus pay for one page, and callers cannot ask for less. The time limit of a
    /// request applies to a page, and a page that fails is retried by itself: a long listing in one request might never
    /// finish. A backend that finds its objects at once, or in no order, as in a local folder, returns one page.
    ///
    /// Pages are no snapshot. An object that is put or deleted between two of them may or may not be shown; every other
    /// object is shown once.
    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage>;

    /// Lists all objects below a prefix whose keys are greater than `after`, in ascending order, by pages of
    /// [`list_page`](Self::list_page). If a page fails, the whole listing fails.
    async fn list(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<Vec<ObjectInfo>> {
        let mut page = self.list_page(prefix, after).await?;
        let mut found = std::mem::take(&mut page.objects);
        while let Some(last) = found.last().filter(|_| page.more).map(|info| info.key.clone()) {
            page = self.list_page(prefix, Some(&last)).await?;
            let next = page.objects.first().map(|info| &info.key);
            // Some servers announce another page and send an empty one.
            if next.is_none() {
                break;
            }
            check_ascends(prefix, &last, next)?;
            found.append(&mut page.objects);
        }
        Ok(found)
    }

    /// Lists the names directly below a prefix that have objects below them, in ascending order. A folder whose last
    /// object was deleted may still be listed: some servers remove it later.
    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>>;

    /// Deletes an object. It is not an error if it does not exist.
    async fn delete(&self, key: &ObjectKey) -> Result<()>;

    /// Deletes objects, in any order. It is not an error if some do not exist.
    ///
    /// The default implementation deletes one after the other, some at a time. A backend with a request for many should
    /// send that: collection deletes about a thousand objects in each call, of which a listing has just named them.
    ///
    /// # Errors
    /// [`IncompleteDelete`] names all objects that may still exist. A call for these is safe, and so is one for all.
    async fn delete_many(&self, keys: &[ObjectKey]) -> Result<(), IncompleteDelete> {
        delete_many::delete_one_by_one(self, keys).await
    }
}

/// Checks that a page begins after the end of the previous one. A server that ignores the offset would otherwise send
/// the first page forever.
pub(crate) fn check_ascends(prefix: &ObjectPrefix, last: &ObjectKey, next: Option<&ObjectKey>) -> Result<()> {
    match next {
        Some(next) if next <= last => {
            let why = format!(
                "a page of a listing begins before the end of the previous page. prefix=`{prefix}` key=`{next}`"
            );
            Err(Error::new(ErrorKind::UnsupportedStore, why))
        }
        _ => Ok(()),
    }
}

/// The error for an object that is larger than any that was written under its key.
pub(crate) fn oversize(key: &ObjectKey, size: u64, bytes_max: u64) -> Error {
    Error::corrupt(key, format!("{size} bytes, more than the maximum of {bytes_max}"))
}
