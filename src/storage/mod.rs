//! Where objects live: a narrow port to any object store, and what stands behind it.
//!
//! The protocol needs four verbs of a store: put if absent, get by range, list and delete; and one
//! overwrite that is advisory. [`StorageBackend`] is just that.
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
pub(crate) use key::{DatabaseKeys, LifeKeys, NamespaceKeys, SegmentKeys};
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

use crate::error::Result;

/// What happens when the object to be written exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PutMode {
    /// The put fails with [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists) and changes nothing.
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

/// Where objects live.
///
/// # Contract
/// - A put is durable when it returns, and every later get and list from any process shows it.
/// - Of any number of concurrent [`PutMode::Create`] puts of one key at most one succeeds, and the object
///   holds its bytes.
/// - An error of a put other than [`PermissionDenied`](crate::ErrorKind::PermissionDenied) says nothing
///   about whether the object was written: callers read it back.
/// - A missing object is [`ErrorKind::NotFound`](crate::ErrorKind::NotFound), never another error.
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

    /// Reads a range of an object: exactly the bytes asked for. A range that ends past the object is
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt).
    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes>;

    /// The size and time of an object.
    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo>;

    /// Every object below a prefix whose key is greater than `after`, in ascending order. An answer is whole:
    /// if any page of it fails, all of it is an error. `after` need not exist, but it is no folder of other
    /// keys: some servers would leave them out.
    async fn list(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<Vec<ObjectInfo>>;

    /// The names directly below a prefix that have objects below them, in ascending order. A folder whose
    /// last object was deleted may still be named: some servers clear it away later.
    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>>;

    /// Deletes an object. One that does not exist is no error.
    async fn delete(&self, key: &ObjectKey) -> Result<()>;
}
