//! Any `object_store` as a backend.
//!
//! **Invariants:** an answer is whole or an error; no text of it shows a credential; a create-only put is
//! sent to the client that does not retry.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{GetOptions, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions};

use super::scrub::{cause, scrub};
use super::{ListPage, ObjectInfo, ObjectKey, ObjectPrefix, PutMode, StorageBackend, oversize};
use crate::error::{Error, ErrorKind, Result};

/// From how many bytes on an overwrite is sent in parts.
const MULTIPART_MIN: usize = 64 << 20;
/// How large a part is, in bytes.
const PART: usize = 16 << 20;
/// How many parts are under way at once.
const PARTS_AT_ONCE: usize = 4;

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
    /// For create-only puts.
    once: Arc<dyn ObjectStore>,
    /// For everything else.
    retrying: Arc<dyn ObjectStore>,
    /// Empty, or with a `/` at its end.
    root: String,
    /// What is shown.
    name: String,
    /// How many keys a request of a list brings, if they come in order.
    page: Option<usize>,
}

impl ObjectStoreBackend {
    /// A backend over all of `store` that lies below `root`, which may be empty.
    ///
    /// A client that retries a create-only put by itself may be refused by its own first try. Nothing is lost
    /// by that, but a request is. Give a client without retries here (`RetryConfig::max_retries` of 0), and
    /// one with retries to [`with_retrying`](Self::with_retrying).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if `root` is no path of an object store.
    pub fn new(store: Arc<dyn ObjectStore>, root: &str) -> Result<Self> {
        let root = Path::parse(root).map_err(|e| Error::invalid(format!("bad root: {}", cause(&e))))?;
        let root = if root.as_ref().is_empty() { String::new() } else { format!("{root}/") };
        let name = scrub(&format!("{store}/{}", root.trim_end_matches('/')));
        let name = name.trim_end_matches('/').to_owned();
        Ok(Self { once: Arc::clone(&store), retrying: store, root, name, page: None })
    }

    /// Sends everything but create-only puts to `store`: another client of the same bucket, which retries.
    #[must_use]
    pub fn with_retrying(self, store: Arc<dyn ObjectStore>) -> Self {
        Self { retrying: store, ..self }
    }

    /// Lists by pages of `keys`, which is how many one request to the store brings: 1,000 for S3 and Google
    /// Cloud Storage, 5,000 for Azure.
    ///
    /// It is for stores that list in ascending order of keys and begin at a given one by themselves, as all that
    /// were named do; directory buckets of S3 and local folders do not. Without it a listing is one answer,
    /// however long, and has to come within the limit of time for a request: some hundred thousand objects of one
    /// namespace are then too many.
    #[must_use]
    pub fn with_pages(self, keys: NonZeroUsize) -> Self {
        Self { page: Some(keys.get()), ..self }
    }

    /// What `Display` and `Debug` show.
    #[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
    pub(super) fn with_name(self, name: String) -> Self {
        Self { name, ..self }
    }

    fn path(&self, name: &str) -> Result<Path> {
        // Not `Path::from`, which would encode some characters of a key.
        Path::parse(format!("{}{name}", self.root)).map_err(|e| failed(e.into(), &name))
    }

    /// The folder of a prefix, or nothing for the whole store.
    fn folder(&self, prefix: &ObjectPrefix) -> Result<Option<Path>> {
        let path = self.path(prefix.as_str())?;
        Ok((!path.as_ref().is_empty()).then_some(path))
    }

    /// The object behind a listed one. Names that cannot be ours are no concern of ours.
    fn info(&self, meta: &ObjectMeta) -> Option<ObjectInfo> {
        let key = ObjectKey::new(meta.location.as_ref().strip_prefix(&self.root)?).ok()?;
        Some(ObjectInfo { key, size: meta.size, modified_ms: meta.last_modified.timestamp_millis() })
    }

    async fn put_parts(&self, path: &Path, bytes: &Bytes) -> object_store::Result<()> {
        let mut upload = self.retrying.put_multipart_opts(path, PutMultipartOptions::default()).await?;
        let parts = (0..bytes.len()).step_by(PART).map(|start| {
            let part = bytes.slice(start..bytes.len().min(start.saturating_add(PART)));
            upload.put_part(part.into())
        });
        let sent = stream::iter(parts).buffer_unordered(PARTS_AT_ONCE).try_collect::<()>().await;
        let done = match sent {
            Ok(()) => upload.complete().await.map(|_| ()),
            Err(error) => Err(error),
        };
        if done.is_err() {
            // Best effort: what stays is invisible, and buckets can be told to sweep it.
            let _ = upload.abort().await;
        }
        done
    }

    /// No store is asked for an empty range: it is there if the object reaches that far.
    async fn get_nothing(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let size = self.head(key).await?.size;
        if range.start == range.end && range.end <= size {
            Ok(Bytes::new())
        } else {
            Err(beyond(key, &range, size))
        }
    }
}

#[async_trait]
impl StorageBackend for ObjectStoreBackend {
    async fn put(&self, key: &ObjectKey, bytes: Bytes, mode: PutMode) -> Result<()> {
        let path = self.path(key.as_str())?;
        let put = match mode {
            PutMode::Create => {
                let options = object_store::PutMode::Create.into();
                self.once.put_opts(&path, bytes.into(), options).await.map(|_| ())
            }
            PutMode::Overwrite if bytes.len() >= MULTIPART_MIN => self.put_parts(&path, &bytes).await,
            PutMode::Overwrite => {
                let options = object_store::PutMode::Overwrite.into();
                self.retrying.put_opts(&path, bytes.into(), options).await.map(|_| ())
            }
        };
        put.map_err(|error| match error {
            // "Two at once, try again": nothing is there that an overwrite could have met.
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }
                if mode == PutMode::Overwrite =>
            {
                let message = format!("the store refused an overwrite for another request. key=`{key}`");
                Error::new(ErrorKind::Unavailable, message)
            }
            object_store::Error::NotFound { .. } => no_bucket(key),
            error => failed(error, key),
        })
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        let options = GetOptions::default();
        let found = self.retrying.get_opts(&self.path(key.as_str())?, options).await;
        let (size, bytes) = body(found, key, u64::MAX).await?;
        if bytes.len() as u64 == size { Ok(bytes) } else { Err(cut_short(key, bytes.len(), size)) }
    }

    async fn get_bounded(&self, key: &ObjectKey, bytes_max: u64) -> Result<Bytes> {
        let options = GetOptions::default();
        let found = self.retrying.get_opts(&self.path(key.as_str())?, options).await;
        let (size, bytes) = body(found, key, bytes_max).await?;
        if bytes.len() as u64 == size { Ok(bytes) } else { Err(cut_short(key, bytes.len(), size)) }
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        if range.start >= range.end {
            return self.get_nothing(key, range).await;
        }
        let options = GetOptions::default().with_range(Some(range.clone()));
        let found = self.retrying.get_opts(&self.path(key.as_str())?, options).await;
        let unsure = matches!(found, Err(object_store::Error::Generic { .. }));
        let (size, bytes) = match body(found, key, u64::MAX).await {
            Ok(read) => read,
            // A range that starts past the end is just "an error" to every store: ask what it was.
            Err(error) if unsure => {
                return match self.head(key).await {
                    Ok(info) if info.size < range.end => Err(beyond(key, &range, info.size)),
                    _ => Err(error),
                };
            }
            Err(error) => return Err(error),
        };
        let wanted = range.end - range.start;
        if size < range.end {
            return Err(beyond(key, &range, size));
        }
        if bytes.len() as u64 == wanted { Ok(bytes) } else { Err(cut_short(key, bytes.len(), wanted)) }
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        let path = self.path(key.as_str())?;
        let meta = self.retrying.head(&path).await.map_err(|error| failed(error, key))?;
        let modified_ms = meta.last_modified.timestamp_millis();
        Ok(ObjectInfo { key: key.clone(), size: meta.size, modified_ms })
    }

    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
        let folder = self.folder(prefix)?;
        let mut metas = match after {
            Some(after) => {
                let offset = self.path(after.as_str())?;
                self.retrying.list_with_offset(folder.as_ref(), &offset)
            }
            None => self.retrying.list(folder.as_ref()),
        };
        // Stores differ in whether the offset itself is shown.
        let ours = |info: &ObjectInfo| {
            info.key.as_str().starts_with(prefix.as_str()) && after.is_none_or(|after| info.key > *after)
        };
        let (mut objects, mut left) = (Vec::new(), self.page);
        while let Some(meta) = metas.next().await {
            objects.extend(self.info(&meta.map_err(|error| failed(error, prefix))?).filter(ours));
            left = left.map(|left| left.saturating_sub(1));
            // To look for one more could send another request. One of foreign names alone leads nowhere.
            if left == Some(0) && !objects.is_empty() {
                break;
            }
        }
        let more = left == Some(0) && !objects.is_empty();
        if self.page.is_none() {
            objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            objects.dedup_by(|a, b| a.key == b.key);
        } else if !objects.is_sorted_by(|a, b| a.key < b.key) {
            let why = format!("the store lists in no order, so not by pages. prefix=`{prefix}`");
            return Err(Error::new(ErrorKind::UnsupportedStore, why));
        }
        Ok(ListPage { objects, more })
    }

    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        let folder = self.folder(prefix)?;
        let listed = self.retrying.list_with_delimiter(folder.as_ref()).await;
        let listed = listed.map_err(|error| failed(error, prefix))?;
        let names = listed.common_prefixes.iter().filter_map(Path::filename);
        let mut names: Vec<String> =
            names.filter(|name| ObjectKey::new(*name).is_ok()).map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        match self.retrying.delete(&self.path(key.as_str())?).await {
            Ok(()) => Ok(()),
            // One that is missing is no error, but for a store that is.
            Err(error) => match failed(error, key) {
                error if error.is(ErrorKind::NotFound) => Ok(()),
                error => Err(error),
            },
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

/// The size of the object, and the bytes that were sent of it. One that is too large is not read.
async fn body(
    found: object_store::Result<GetResult>,
    key: &ObjectKey,
    bytes_max: u64,
) -> Result<(u64, Bytes)> {
    let found = found.map_err(|error| failed(error, key))?;
    let size = found.meta.size;
    if size > bytes_max {
        return Err(oversize(key, size, bytes_max));
    }
    let bytes = found.bytes().await.map_err(|error| failed(error, key))?;
    Ok((size, bytes))
}

fn beyond(key: &ObjectKey, range: &Range<u64>, size: u64) -> Error {
    Error::corrupt(key, format!("range {range:?} of {size} bytes"))
}

fn cut_short(key: &ObjectKey, got: usize, wanted: u64) -> Error {
    let message = format!("the store sent {got} of {wanted} bytes. key=`{key}`");
    Error::new(ErrorKind::Unavailable, message)
}

/// The words of S3, of Google Cloud Storage and of Azure for it.
const NO_BUCKET: [&str; 3] = ["NoSuchBucket", "bucket does not exist", "ContainerNotFound"];

fn names_no_bucket(error: &(dyn std::error::Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).any(|text| NO_BUCKET.iter().any(|words| text.contains(words)))
}

fn no_bucket(key: &impl fmt::Display) -> Error {
    Error::new(ErrorKind::Unavailable, format!("there is no such bucket or container. key=`{key}`"))
}

/// Ours for theirs. The original is not kept as a source: its `Debug` may show what `scrub` hides.
#[expect(clippy::needless_pass_by_value, reason = "the original must not live on")]
fn failed(error: object_store::Error, key: &impl fmt::Display) -> Error {
    use object_store::Error as Theirs;
    let (kind, what) = match &error {
        // A store that is gone, or of another name, does not say that an object is missing: a strong read would
        // take that for "nothing newer".
        Theirs::NotFound { source, .. } if names_no_bucket(source.as_ref()) => return no_bucket(key),
        Theirs::NotFound { .. } => {
            return Error::new(ErrorKind::NotFound, format!("no such object. key=`{key}`"));
        }
        // A store's answer to a create it refuses; some say so when they are just busy. Callers read it back.
        Theirs::AlreadyExists { .. } | Theirs::Precondition { .. } => {
            return Error::new(ErrorKind::AlreadyExists, format!("the object exists. key=`{key}`"));
        }
        Theirs::PermissionDenied { .. } | Theirs::Unauthenticated { .. } => {
            (ErrorKind::PermissionDenied, "the store refuses these credentials")
        }
        Theirs::NotImplemented { .. } | Theirs::NotSupported { .. } => {
            (ErrorKind::UnsupportedStore, "the store lacks an operation")
        }
        Theirs::InvalidPath { .. } => (ErrorKind::Invalid, "the store does not take this name"),
        // Not known, so not known to have failed.
        _ => (ErrorKind::Unavailable, "the store did not answer as it should"),
    };
    Error::new(kind, format!("{what}: {}. key=`{key}`", cause(&error)))
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(name).unwrap()
    }

    #[test]
    fn every_error_has_its_kind_and_none_shows_a_secret() {
        use object_store::Error as Theirs;
        let path = || String::from("p");
        let source = || -> Box<dyn std::error::Error + Send + Sync> {
            "https://u:CANARY@host/p?sig=CANARY secret_key=CANARY".into()
        };
        let invalid = Path::parse("a//b").unwrap_err();
        let (operation, implementer) = (String::from("o"), String::from("i"));
        let cases = [
            (Theirs::NotFound { path: path(), source: source() }, ErrorKind::NotFound),
            (
                Theirs::NotFound { path: path(), source: "<Code>NoSuchBucket</Code>".into() },
                ErrorKind::Unavailable,
            ),
            (Theirs::AlreadyExists { path: path(), source: source() }, ErrorKind::AlreadyExists),
            (Theirs::Precondition { path: path(), source: source() }, ErrorKind::AlreadyExists),
            (Theirs::PermissionDenied { path: path(), source: source() }, ErrorKind::PermissionDenied),
            (Theirs::Unauthenticated { path: path(), source: source() }, ErrorKind::PermissionDenied),
            (Theirs::NotImplemented { operation, implementer }, ErrorKind::UnsupportedStore),
            (Theirs::NotSupported { source: source() }, ErrorKind::UnsupportedStore),
            (Theirs::InvalidPath { source: invalid }, ErrorKind::Invalid),
            (Theirs::NotModified { path: path(), source: source() }, ErrorKind::Unavailable),
            (Theirs::Generic { store: "S3", source: source() }, ErrorKind::Unavailable),
        ];
        for (theirs, kind) in cases {
            let ours = failed(theirs, &"k");
            assert_eq!(ours.kind(), kind, "{ours}");
            assert!(!format!("{ours} {ours:?}").contains("CANARY"), "{ours}");
            assert!(std::error::Error::source(&ours).is_none());
        }
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
        let bytes: Bytes = (0..=250).cycle().take(MULTIPART_MIN + 12345).collect();
        backend.put(&key("big"), bytes.clone(), PutMode::Overwrite).await?;
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
