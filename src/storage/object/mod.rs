//! A backend over any implementation of `object_store`.
//!
//! **Invariants:** a response is complete or an error; no text from it shows a credential; a create-only put is sent to
//! the client that does not retry.

mod deletes;
mod error;

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    GetOptions, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutPayload,
};

use self::deletes::delete_paths;
use self::error::{convert, missing_bucket, out_of_range, truncated};
use super::scrub::{scrub, scrubbed_cause};
use super::{
    IncompleteDelete, ListPage, ObjectInfo, ObjectKey, ObjectPrefix, Payload, PutMode, StorageBackend,
    oversize,
};
use crate::error::{Error, ErrorKind, Result};

/// Larger overwrites are sent in parts. Parts in parallel are faster, and one that fails is sent again by itself; but a
/// multipart upload takes two more requests, which for a smaller object cost more time than they save.
const MULTIPART_BYTES_MIN: usize = 64 << 20;
/// S3 allows 10,000 parts of at least 5 MiB: with 16 MiB an object may have 156 GiB, far above any file of a segment.
const PART_BYTES: usize = 16 << 20;
/// Parts in flight at once. Segments are uploaded several files at a time, so a few connections each fill the link.
const PARALLEL_PARTS: usize = 4;

/// A backend over any [`object_store::ObjectStore`], below a prefix of it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> elacsym::Result<()> {
/// use std::sync::Arc;
/// use elacsym::storage::{ObjectKey, ObjectStoreBackend, PutMode, StorageBackend};
///
/// let store = Arc::new(object_store::memory::InMemory::new());
/// let backend = ObjectStoreBackend::new(store, "databases/books")?;
/// let key = ObjectKey::new("a/b")?;
/// backend.put(&key, "first".into(), PutMode::Create).await?;
/// assert!(backend.put(&key, "second".into(), PutMode::Create).await.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ObjectStoreBackend {
    /// The client for create-only puts, which sends a request once.
    once: Arc<dyn ObjectStore>,
    /// The client for all other requests.
    retrying: Arc<dyn ObjectStore>,
    /// Empty, or with a `/` at its end.
    root: String,
    /// What `Display` and `Debug` show.
    name: String,
    /// How many keys a list request returns, for stores that list in order.
    page_keys: Option<usize>,
}

impl ObjectStoreBackend {
    /// A backend over the objects of `store` below `root`, which may be empty.
    ///
    /// A client that retries a create-only put by itself can be refused because of its own first attempt. Nothing is
    /// lost, but it costs a request. Pass a client without retries here (`RetryConfig::max_retries` of 0), and one with
    /// retries to [`retry_with`](Self::retry_with).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if `root` is not a path of an object store.
    pub fn new(store: Arc<dyn ObjectStore>, root: &str) -> Result<Self> {
        let root =
            Path::parse(root).map_err(|e| Error::invalid(format!("bad root: {}", scrubbed_cause(&e))))?;
        let root = if root.as_ref().is_empty() { String::new() } else { format!("{root}/") };
        let name = scrub(&format!("{store}/{}", root.trim_end_matches('/')));
        let name = name.trim_end_matches('/').to_owned();
        Ok(Self { once: Arc::clone(&store), retrying: store, root, name, page_keys: None })
    }

    /// Sends all requests except create-only puts to `store`, another client of the same bucket, which retries.
    #[must_use]
    pub fn retry_with(self, store: Arc<dyn ObjectStore>) -> Self {
        Self { retrying: store, ..self }
    }

    /// Lists by pages of `keys`, the number of keys that one request to the store returns: 1,000 for S3 and Google
    /// Cloud Storage, 5,000 for Azure.
    ///
    /// Only for stores that list in ascending order of keys and can begin after a given key, as these three do;
    /// directory buckets of S3 and local folders do not. Without pages a listing is one response, however long, and has
    /// to arrive within the time limit of a request: some hundred thousand objects of one namespace are then too many.
    #[must_use]
    pub fn page_keys(self, keys: NonZeroUsize) -> Self {
        Self { page_keys: Some(keys.get()), ..self }
    }

    /// Sets the name that is shown.
    #[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
    pub(super) fn with_name(self, name: String) -> Self {
        Self { name, ..self }
    }

    fn full_path(&self, name: &str) -> Result<Path> {
        // Not `Path::from`, which would percent-encode some characters of a key.
        Path::parse(format!("{}{name}", self.root)).map_err(|e| convert(e.into(), &name))
    }

    /// The path of a prefix; `None` for the whole store.
    fn prefix_path(&self, prefix: &ObjectPrefix) -> Result<Option<Path>> {
        let path = self.full_path(prefix.as_str())?;
        Ok((!path.as_ref().is_empty()).then_some(path))
    }

    /// The metadata of a listed object; `None` if its name cannot be a key of ours. Other programs may keep objects in
    /// the same bucket.
    fn own_object(&self, meta: &ObjectMeta) -> Option<ObjectInfo> {
        let key = ObjectKey::new(meta.location.as_ref().strip_prefix(&self.root)?).ok()?;
        Some(ObjectInfo { key, size: meta.size, modified_ms: meta.last_modified.timestamp_millis() })
    }

    async fn put_multipart(&self, path: &Path, body: &Payload) -> object_store::Result<()> {
        let mut upload = self.retrying.put_multipart_opts(path, PutMultipartOptions::default()).await?;
        // All but the last of one size, which some stores insist on.
        let parts = body.chunks(PART_BYTES).into_iter().map(|part| upload.put_part(put_payload(&part)));
        let sent = stream::iter(parts).buffer_unordered(PARALLEL_PARTS).try_collect::<()>().await;
        let done = match sent {
            Ok(()) => upload.complete().await.map(|_| ()),
            Err(error) => Err(error),
        };
        if done.is_err() {
            // Best effort: parts without an object are invisible, and a lifecycle rule of the bucket can remove them.
            let _ = upload.abort().await;
        }
        done
    }

    /// Answers an empty or reversed range from the size of the object: HTTP has no empty ranges.
    async fn get_empty_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let size = self.head(key).await?.size;
        if range.start == range.end && range.end <= size {
            Ok(Bytes::new())
        } else {
            Err(out_of_range(key, &range, size))
        }
    }
}

#[async_trait]
impl StorageBackend for ObjectStoreBackend {
    async fn put(&self, key: &ObjectKey, body: Payload, mode: PutMode) -> Result<()> {
        let path = self.full_path(key.as_str())?;
        let put = match mode {
            PutMode::Create => {
                let options = object_store::PutMode::Create.into();
                self.once.put_opts(&path, put_payload(&body), options).await.map(|_| ())
            }
            PutMode::Overwrite if body.len() >= MULTIPART_BYTES_MIN => self.put_multipart(&path, &body).await,
            PutMode::Overwrite => {
                let options = object_store::PutMode::Overwrite.into();
                self.retrying.put_opts(&path, put_payload(&body), options).await.map(|_| ())
            }
        };
        put.map_err(|error| match error {
            // Some stores answer 409 to two requests for one key at once. An overwrite cannot be refused because of
            // what exists.
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }
                if mode == PutMode::Overwrite =>
            {
                let message =
                    format!("the store refused an overwrite because of a concurrent request. key=`{key}`");
                Error::new(ErrorKind::Unavailable, message)
            }
            // A put needs no object, so what is missing is the bucket.
            object_store::Error::NotFound { .. } => missing_bucket(key),
            error => convert(error, key),
        })
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.get_bounded(key, u64::MAX).await
    }

    async fn get_bounded(&self, key: &ObjectKey, bytes_max: u64) -> Result<Bytes> {
        let options = GetOptions::default();
        let found = self.retrying.get_opts(&self.full_path(key.as_str())?, options).await;
        let (size, bytes) = read_body(found, key, bytes_max).await?;
        if bytes.len() as u64 == size { Ok(bytes) } else { Err(truncated(key, bytes.len(), size)) }
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        if range.start >= range.end {
            return self.get_empty_range(key, range).await;
        }
        let options = GetOptions::default().with_range(Some(range.clone()));
        let found = self.retrying.get_opts(&self.full_path(key.as_str())?, options).await;
        let may_be_out_of_range = matches!(found, Err(object_store::Error::Generic { .. }));
        let (size, bytes) = match read_body(found, key, u64::MAX).await {
            Ok(read) => read,
            // `object_store` has no kind for a range that starts past the end: the size decides.
            Err(error) if may_be_out_of_range => {
                return match self.head(key).await {
                    Ok(info) if info.size < range.end => Err(out_of_range(key, &range, info.size)),
                    _ => Err(error),
                };
            }
            Err(error) => return Err(error),
        };
        let wanted = range.end - range.start;
        if size < range.end {
            return Err(out_of_range(key, &range, size));
        }
        if bytes.len() as u64 == wanted { Ok(bytes) } else { Err(truncated(key, bytes.len(), wanted)) }
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        let path = self.full_path(key.as_str())?;
        let meta = self.retrying.head(&path).await.map_err(|error| convert(error, key))?;
        let modified_ms = meta.last_modified.timestamp_millis();
        Ok(ObjectInfo { key: key.clone(), size: meta.size, modified_ms })
    }

    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
        let folder = self.prefix_path(prefix)?;
        let mut metas = match after {
            Some(after) => {
                let offset = self.full_path(after.as_str())?;
                self.retrying.list_with_offset(folder.as_ref(), &offset)
            }
            None => self.retrying.list(folder.as_ref()),
        };
        // Some stores include the offset itself.
        let is_wanted = |info: &ObjectInfo| {
            info.key.as_str().starts_with(prefix.as_str()) && after.is_none_or(|after| info.key > *after)
        };
        // At once, not when the page is full: a server that repeats itself never fills it.
        let ascends =
            |objects: &[ObjectInfo], next: &ObjectInfo| objects.last().is_none_or(|last| last.key < next.key);
        // Counted in listed keys, foreign ones included: so many make one request. A page of foreign names alone goes
        // on, because a page without objects would end the listing.
        let is_full = |listed: usize, objects: &[ObjectInfo]| {
            !objects.is_empty() && self.page_keys.is_some_and(|keys| listed >= keys)
        };
        let (mut objects, mut listed) = (Vec::new(), 0);
        while let Some(meta) = metas.next().await {
            let meta = meta.map_err(|error| convert(error, prefix))?;
            let own = self.own_object(&meta).filter(is_wanted);
            if self.page_keys.is_some() && own.as_ref().is_some_and(|own| !ascends(&objects, own)) {
                let why = "the store does not list in order, or lists an object twice, so it cannot list by pages. \
                           prefix";
                return Err(Error::new(ErrorKind::UnsupportedStore, format!("{why}=`{prefix}`")));
            }
            objects.extend(own);
            listed += 1;
            // Not `peek`: looking for one more key could send another request.
            if is_full(listed, &objects) {
                break;
            }
        }
        let more = is_full(listed, &objects);
        if self.page_keys.is_none() {
            // Local folders and directory buckets list in no order.
            objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            objects.dedup_by(|a, b| a.key == b.key);
        }
        Ok(ListPage { objects, more })
    }

    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        let folder = self.prefix_path(prefix)?;
        let listed = self.retrying.list_with_delimiter(folder.as_ref()).await;
        let listed = listed.map_err(|error| convert(error, prefix))?;
        let names = listed.common_prefixes.iter().filter_map(Path::filename);
        let mut names: Vec<String> =
            names.filter(|name| ObjectKey::new(*name).is_ok()).map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        match self.retrying.delete(&self.full_path(key.as_str())?).await {
            Ok(()) => Ok(()),
            // A missing object is already deleted. A missing bucket is an error, and `convert` tells them apart.
            Err(error) => match convert(error, key) {
                error if error.is(ErrorKind::NotFound) => Ok(()),
                error => Err(error),
            },
        }
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Result<(), IncompleteDelete> {
        match keys.iter().map(|key| self.full_path(key.as_str())).collect::<Result<Vec<Path>>>() {
            Ok(paths) => delete_paths(self.retrying.as_ref(), keys, paths).await,
            Err(cause) => Err(IncompleteDelete { remaining: keys.to_vec(), cause }),
        }
    }
}

impl fmt::Debug for ObjectStoreBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectStoreBackend({})", self.name)
    }
}

impl fmt::Display for ObjectStoreBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The body as `object_store` takes it. The parts are shared, not copied.
fn put_payload(body: &Payload) -> PutPayload {
    body.iter().cloned().collect()
}

/// Reads a response: the size of the object, and the bytes that arrived. The body of an object that is too large is not
/// read.
async fn read_body(
    found: object_store::Result<GetResult>,
    key: &ObjectKey,
    bytes_max: u64,
) -> Result<(u64, Bytes)> {
    let found = found.map_err(|error| convert(error, key))?;
    let size = found.meta.size;
    if size > bytes_max {
        return Err(oversize(key, size, bytes_max));
    }
    let bytes = found.bytes().await.map_err(|error| convert(error, key))?;
    Ok((size, bytes))
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(name).unwrap()
    }

    #[tokio::test]
    async fn foreign_names_are_not_listed() -> Result<()> {
        let store = Arc::new(InMemory::new());
        for name in ["root/ours", "root/not ours", "root/.hidden/x", "other/ours", "root/sub/ours"] {
            store.put(&Path::from(name), "x".into()).await.unwrap();
        }
        let backend = ObjectStoreBackend::new(store, "root")?;
        let found = backend.list(&ObjectPrefix::root(), None).await?;
        let names: Vec<&str> = found.iter().map(|info| info.key.as_str()).collect();
        assert_eq!(names, ["ours", "sub/ours"]);
        assert_eq!(backend.list_folders(&ObjectPrefix::root()).await?, ["sub"]);
        Ok(())
    }

    #[tokio::test]
    async fn a_large_overwrite_goes_in_parts_and_arrives_whole() -> Result<()> {
        let backend = ObjectStoreBackend::new(Arc::new(InMemory::new()), "")?;
        let bytes: Bytes = (0..=250).cycle().take(MULTIPART_BYTES_MIN + 12345).collect();
        let pieces = [0..7, 7..PART_BYTES + 99, PART_BYTES + 99..bytes.len()];
        let body: Payload = pieces.map(|piece| bytes.slice(piece)).into_iter().collect();
        backend.put(&key("big"), body, PutMode::Overwrite).await?;
        assert!(backend.get(&key("big")).await? == bytes);
        Ok(())
    }

    #[test]
    fn a_backend_shows_its_store_and_root_only() {
        let backend = ObjectStoreBackend::new(Arc::new(InMemory::new()), "/a/b/").unwrap();
        assert_eq!(backend.to_string(), "InMemory/a/b");
        assert_eq!(format!("{backend:?}"), "ObjectStoreBackend(InMemory/a/b)");
        let error = ObjectStoreBackend::new(Arc::new(InMemory::new()), "a//b").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
