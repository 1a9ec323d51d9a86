//! Backends that measure: requests, bytes and sequential round trips.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    IncompleteDelete, ListPage, ObjectInfo, ObjectKey, ObjectPrefix, Payload, PutMode, StorageBackend,
};
use crate::env::Env;
use crate::error::Result;

/// The kind of a request.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use std::sync::Arc;
/// # use elacsym::storage::*;
/// let store = CountingBackend::new(Arc::new(MemoryBackend::new()));
/// store.put(&ObjectKey::new("a")?, "1".into(), PutMode::Create).await?;
/// assert_eq!((store.count(Verb::Create), store.count(Verb::Overwrite)), (1, 0));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Verb {
    /// A put in [`PutMode::Create`].
    Create,
    /// A put in [`PutMode::Overwrite`].
    Overwrite,
    /// A get of an object.
    Get,
    /// A get of a range.
    GetRange,
    /// A head.
    Head,
    /// A page of a listing.
    List,
    /// A listing of folders.
    ListFolders,
    /// A delete.
    Delete,
    /// A delete of several objects: one request, as on S3 for up to 1,000.
    DeleteMany,
}

/// A request that was sent.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use std::sync::Arc;
/// # use elacsym::storage::*;
/// # let store = CountingBackend::new(Arc::new(MemoryBackend::new()));
/// # let key = ObjectKey::new("a")?;
/// store.put(&key, "12345".into(), PutMode::Create).await?;
/// store.get_range(&key, 1..3).await?;
/// let log = store.log();
/// assert_eq!((log[1].verb, log[1].name.as_str(), log[1].range.clone()), (Verb::GetRange, "a", Some(1..3)));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// Its kind.
    pub verb: Verb,
    /// Its key or prefix; the keys of a [`Verb::DeleteMany`], with spaces between them.
    pub name: String,
    /// The range of a [`Verb::GetRange`].
    pub range: Option<Range<u64>>,
}

/// A backend that counts the requests to another, whether or not they succeed. Clones share their counts.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use std::sync::Arc;
/// # use elacsym::storage::*;
/// # use elacsym::{Database, Document, IdKind, Schema};
/// let store = CountingBackend::new(Arc::new(MemoryBackend::new()));
/// let db = Database::builder().open_backend(Arc::new(store.clone())).await?;
/// let docs = db.create_namespace("docs", Schema::builder(IdKind::U64).build()?).await?;
/// store.reset();
/// docs.write(Document::new(1)).await?;
/// assert_eq!(store.count(Verb::Create), 1); // its log entry
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct CountingBackend {
    inner: Arc<dyn StorageBackend>,
    traffic: Arc<Mutex<Traffic>>,
}

#[derive(Debug, Default)]
struct Traffic {
    requests: Vec<Request>,
    bytes_read: u64,
    bytes_written: u64,
}

impl CountingBackend {
    /// Counts the requests to `inner`.
    pub fn new(inner: Arc<dyn StorageBackend>) -> Self {
        Self { inner, traffic: Arc::default() }
    }

    /// The number of requests.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.traffic().requests.len()
    }

    /// The number of requests of one kind.
    #[must_use]
    pub fn count(&self, verb: Verb) -> usize {
        self.traffic().requests.iter().filter(|request| request.verb == verb).count()
    }

    /// The number of requests of each kind. Kinds without requests are absent.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Verb, usize> {
        self.traffic().requests.iter().fold(BTreeMap::new(), |mut counts, request| {
            *counts.entry(request.verb).or_default() += 1;
            counts
        })
    }

    /// The number of bytes read from objects.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.traffic().bytes_read
    }

    /// The number of bytes sent to be written.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.traffic().bytes_written
    }

    /// All requests, in the order in which they were sent.
    #[must_use]
    pub fn log(&self) -> Vec<Request> {
        self.traffic().requests.clone()
    }

    /// Resets all counts.
    pub fn reset(&self) {
        *self.traffic() = Traffic::default();
    }

    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        // Every change is one push or one sum: a panic elsewhere leaves it sound.
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record_request(&self, verb: Verb, name: &impl fmt::Display, range: Option<Range<u64>>) {
        self.traffic().requests.push(Request { verb, name: name.to_string(), range });
    }

    fn record_read(&self, answer: Result<Bytes>) -> Result<Bytes> {
        if let Ok(bytes) = &answer {
            self.traffic().bytes_read += bytes.len() as u64;
        }
        answer
    }
}

#[async_trait]
impl StorageBackend for CountingBackend {
    async fn put(&self, key: &ObjectKey, body: Payload, mode: PutMode) -> Result<()> {
        let verb = match mode {
            PutMode::Create => Verb::Create,
            PutMode::Overwrite => Verb::Overwrite,
        };
        // Counted when sent: a put whose answer is lost still went over the network.
        self.record_request(verb, key, None);
        self.traffic().bytes_written += body.len() as u64;
        self.inner.put(key, body, mode).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.record_request(Verb::Get, key, None);
        self.record_read(self.inner.get(key).await)
    }

    async fn get_bounded(&self, key: &ObjectKey, bytes_max: u64) -> Result<Bytes> {
        self.record_request(Verb::Get, key, None);
        self.record_read(self.inner.get_bounded(key, bytes_max).await)
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.record_request(Verb::GetRange, key, Some(range.clone()));
        self.record_read(self.inner.get_range(key, range).await)
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        self.record_request(Verb::Head, key, None);
        self.inner.head(key).await
    }

    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
        self.record_request(Verb::List, prefix, None);
        self.inner.list_page(prefix, after).await
    }

    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        self.record_request(Verb::ListFolders, prefix, None);
        self.inner.list_folders(prefix).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.record_request(Verb::Delete, key, None);
        self.inner.delete(key).await
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Result<(), IncompleteDelete> {
        let names: Vec<&str> = keys.iter().map(ObjectKey::as_str).collect();
        self.record_request(Verb::DeleteMany, &names.join(" "), None);
        self.inner.delete_many(keys).await
    }
}

impl fmt::Display for CountingBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

/// A backend that waits before each request. On tokio's paused clock, the time that an operation takes, divided by the
/// delay, is the number of its sequential round trips: see [`round_trips`](Self::round_trips).
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> elacsym::Result<()> {
/// # use std::sync::Arc;
/// # use elacsym::storage::*;
/// # use std::time::Duration;
/// # use elacsym::env::Env;
/// let store = DelayedBackend::new(Arc::new(MemoryBackend::new()), &Env::current()?, Duration::from_millis(50));
/// let start = tokio::time::Instant::now();
/// let (a, b) = (ObjectKey::new("a")?, ObjectKey::new("b")?);
/// tokio::try_join!(store.delete(&a), store.delete(&b))?;
/// assert_eq!(store.round_trips(start.elapsed()), 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct DelayedBackend {
    inner: Arc<dyn StorageBackend>,
    env: Env,
    delay: Duration,
}

impl DelayedBackend {
    /// Waits for `delay` before each request to `inner`.
    pub fn new(inner: Arc<dyn StorageBackend>, env: &Env, delay: Duration) -> Self {
        Self { inner, env: env.clone(), delay }
    }

    /// The number of sequential round trips in `elapsed`, a time by tokio's paused clock.
    #[must_use]
    pub fn round_trips(&self, elapsed: Duration) -> u64 {
        let trips = elapsed.as_nanos() / self.delay.as_nanos().max(1);
        // invariant: a duration has at most 2^94 nanoseconds, and only an operation that never ends takes 2^64 delays.
        u64::try_from(trips).unwrap_or(u64::MAX)
    }
}

#[async_trait]
impl StorageBackend for DelayedBackend {
    async fn put(&self, key: &ObjectKey, body: Payload, mode: PutMode) -> Result<()> {
        self.env.sleep(self.delay).await;
        self.inner.put(key, body, mode).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.env.sleep(self.delay).await;
        self.inner.get(key).await
    }

    async fn get_bounded(&self, key: &ObjectKey, bytes_max: u64) -> Result<Bytes> {
        self.env.sleep(self.delay).await;
        self.inner.get_bounded(key, bytes_max).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.env.sleep(self.delay).await;
        self.inner.get_range(key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        self.env.sleep(self.delay).await;
        self.inner.head(key).await
    }

    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
        self.env.sleep(self.delay).await;
        self.inner.list_page(prefix, after).await
    }

    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        self.env.sleep(self.delay).await;
        self.inner.list_folders(prefix).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.env.sleep(self.delay).await;
        self.inner.delete(key).await
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Result<(), IncompleteDelete> {
        self.env.sleep(self.delay).await;
        self.inner.delete_many(keys).await
    }
}

impl fmt::Display for DelayedBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;
    use crate::storage::MemoryBackend;

    #[tokio::test]
    async fn requests_and_bytes_are_counted_and_forgotten() -> Result<()> {
        let backend = CountingBackend::new(Arc::new(MemoryBackend::new()));
        let key = ObjectKey::new("a")?;
        backend.put(&key, "12345".into(), PutMode::Create).await?;
        assert!(backend.put(&key, "12345".into(), PutMode::Create).await.is_err());
        backend.get_range(&key, 1..3).await?;
        backend.list(&ObjectPrefix::root(), None).await?;
        backend.delete_many(&[key, ObjectKey::new("b")?]).await?;
        assert_eq!((backend.count(Verb::Create), backend.requests()), (2, 5));
        assert_eq!((backend.bytes_written(), backend.bytes_read()), (10, 2));
        assert_eq!(
            backend.log()[2],
            Request { verb: Verb::GetRange, name: "a".to_owned(), range: Some(1..3) }
        );
        assert_eq!(backend.log()[4], Request { verb: Verb::DeleteMany, name: "a b".to_owned(), range: None });
        backend.reset();
        assert_eq!((backend.counts().len(), backend.bytes_read()), (0, 0));
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    #[expect(clippy::disallowed_methods, reason = "the paused clock is what is read")]
    async fn requests_at_once_are_one_round_trip() -> Result<()> {
        let env = Env::current()?;
        let backend = DelayedBackend::new(Arc::new(MemoryBackend::new()), &env, Duration::from_millis(50));
        let start = tokio::time::Instant::now();
        let keys: Vec<_> = (0..9).map(|i| ObjectKey::new(format!("k{i}")).unwrap()).collect();
        join_all(keys.iter().map(|key| backend.get(key))).await;
        join_all(keys.iter().map(|key| backend.head(key))).await;
        assert_eq!(backend.round_trips(start.elapsed()), 2);
        Ok(())
    }
}
