//! A backend that limits the time of each request, and repeats requests that the store did not answer.
//!
//! **Invariant:** a put in create mode is sent once. Its caller reads back after an unclear answer anyway, and a hidden
//! second put could be refused because of our own first.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::delete_many::show_keys;
use super::{
    IncompleteDelete, ListPage, ObjectInfo, ObjectKey, ObjectPrefix, Payload, PutMode, StorageBackend,
};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::retry::{Backoff, RetryPolicy, retry};

/// Each megabyte of a request extends its time limit by one second: a fixed limit would either fail large objects on a
/// slow link, or notice a store that does not answer too late. 1 MB/s is far below what any link to a store has that a
/// database can be run on.
const BYTES_PER_MS_MIN: u64 = 1_000;
/// A bounded read does not know the size of its object. Its time limit allows for this part of the bound: most objects
/// are far smaller than their bound, and with the full 128 MiB of a log entry a silent store would go unnoticed for
/// over two minutes.
const EXPECTED_PART: u64 = 4;
/// How many objects one request deletes: as many as S3 takes. Requests follow one another, because S3 counts each object
/// against its limit of 3,500 writes a second, which is about one such request after the other.
const DELETED_AT_ONCE: usize = 1_000;
/// What each object adds to the time limit of a delete of many: some stores delete one by one, at least ten at a time.
const DELETE_TIME: Duration = Duration::from_millis(30);

/// Adds time limits and retries to another backend.
#[derive(Debug)]
pub(crate) struct RetryBackend {
    inner: Arc<dyn StorageBackend>,
    env: Env,
    timeout: Duration,
}

impl RetryBackend {
    /// `timeout` limits each single request, besides what its size adds.
    pub(crate) fn new(inner: Arc<dyn StorageBackend>, env: Env, timeout: Duration) -> Self {
        Self { inner, env, timeout }
    }

    async fn send_once<T>(
        &self,
        limit: Duration,
        name: &(impl fmt::Display + Sync),
        request: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.env.timeout(limit, request).await.unwrap_or_else(|| Err(no_answer(limit, name)))
    }

    /// Deletes as many objects as one request takes, repeating it for those that remain.
    async fn delete_some(&self, keys: &[ObjectKey]) -> Result<(), IncompleteDelete> {
        let mut remaining = keys.to_vec();
        let mut backoff = Backoff::new(RetryPolicy::STORE_REQUEST);
        // invariant: `remaining` has at most `DELETED_AT_ONCE` keys.
        let limit = self
            .timeout
            .saturating_add(DELETE_TIME.saturating_mul(u32::try_from(keys.len()).unwrap_or(u32::MAX)));
        loop {
            let answer = self.env.timeout(limit, self.inner.delete_many(&remaining)).await;
            let incomplete = match answer {
                Some(Ok(())) => return Ok(()),
                Some(Err(incomplete)) => incomplete,
                None => IncompleteDelete { cause: no_answer(limit, &show_keys(&remaining)), remaining },
            };
            if !incomplete.cause.is(ErrorKind::Unavailable) || !backoff.pause(&self.env).await {
                return Err(incomplete);
            }
            remaining = incomplete.remaining;
        }
    }

    /// The time limit of a request that carries at most `bytes`.
    fn timeout_for(&self, bytes: u64) -> Duration {
        // invariant: a limit beyond what a duration holds is no limit.
        self.timeout.saturating_add(Duration::from_millis(bytes / BYTES_PER_MS_MIN))
    }

    /// Sends a request that is safe to repeat until the store answers, within the retry policy.
    async fn send<T, F>(
        &self,
        limit: Duration,
        name: &(impl fmt::Display + Sync),
        request: impl Fn() -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let is_transient = |error: &Error| error.is(ErrorKind::Unavailable);
        let attempt = || self.send_once(limit, name, request());
        retry(&self.env, RetryPolicy::STORE_REQUEST, is_transient, attempt).await
    }
}

// `list` keeps its default body: each page then has a time limit and attempts of its own, which one call for the whole
// listing would share.
#[async_trait]
impl StorageBackend for RetryBackend {
    async fn put(&self, key: &ObjectKey, body: Payload, mode: PutMode) -> Result<()> {
        let limit = self.timeout_for(body.len() as u64);
        match mode {
            PutMode::Create => self.send_once(limit, key, self.inner.put(key, body, mode)).await,
            PutMode::Overwrite => {
                // Safe to repeat: the same bytes, under a key that only this writer overwrites.
                let put = || async {
                    match self.inner.put(key, body.clone(), mode).await {
                        // Some stores answer 409 to two requests for one key at once. An overwrite cannot be refused
                        // because of what exists.
                        Err(e) if e.is(ErrorKind::AlreadyExists) => Err(conflict(key, &e)),
                        answer => answer,
                    }
                };
                self.send(limit, key, put).await
            }
        }
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.send(self.timeout, key, || self.inner.get(key)).await
    }

    async fn get_bounded(&self, key: &ObjectKey, bytes_max: u64) -> Result<Bytes> {
        let limit = self.timeout_for(bytes_max / EXPECTED_PART);
        self.send(limit, key, || self.inner.get_bounded(key, bytes_max)).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        // invariant: a reversed range carries no bytes, and the backend refuses it.
        let limit = self.timeout_for(range.end.saturating_sub(range.start));
        self.send(limit, key, || self.inner.get_range(key, range.clone())).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        self.send(self.timeout, key, || self.inner.head(key)).await
    }

    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
        self.send(self.timeout, prefix, || self.inner.list_page(prefix, after)).await
    }

    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        self.send(self.timeout, prefix, || self.inner.list_folders(prefix)).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.send(self.timeout, key, || self.inner.delete(key)).await
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Result<(), IncompleteDelete> {
        let mut incomplete: Option<IncompleteDelete> = None;
        let mut requests = keys.chunks(DELETED_AT_ONCE);
        while let Some(some) = requests.next() {
            let Err(mut failed) = self.delete_some(some).await else { continue };
            // A store that does not answer is not asked again for the rest. One that refuses some objects, as a lock of
            // the bucket does, may delete others.
            if failed.cause.is(ErrorKind::Unavailable) {
                failed.remaining.extend(requests.by_ref().flatten().cloned());
            }
            match &mut incomplete {
                Some(first) => first.remaining.append(&mut failed.remaining),
                None => incomplete = Some(failed),
            }
        }
        incomplete.map_or(Ok(()), Err)
    }
}

fn no_answer(limit: Duration, name: &impl fmt::Display) -> Error {
    let limit = limit.as_millis();
    Error::new(ErrorKind::Unavailable, format!("no answer from the store in {limit} ms. key=`{name}`"))
}

fn conflict(key: &ObjectKey, answer: &Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the store refused an overwrite: {answer}. key=`{key}`"))
}

impl fmt::Display for RetryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::super::delete_many::delete_one_by_one;
    use super::*;
    use crate::storage::MemoryBackend;

    /// Answers that it is busy for a number of requests, then serves them.
    #[derive(Debug)]
    struct Busy(MemoryBackend, std::sync::atomic::AtomicU32);

    impl Busy {
        fn refuse(&self) -> Result<()> {
            let left = self.1.load(std::sync::atomic::Ordering::Relaxed);
            if left == 0 {
                return Ok(());
            }
            self.1.store(left - 1, std::sync::atomic::Ordering::Relaxed);
            Err(Error::new(ErrorKind::Unavailable, "busy"))
        }
    }

    impl fmt::Display for Busy {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("busy")
        }
    }

    #[async_trait]
    impl StorageBackend for Busy {
        async fn put(&self, key: &ObjectKey, body: Payload, mode: PutMode) -> Result<()> {
            self.refuse()?;
            self.0.put(key, body, mode).await
        }
        async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
            self.refuse()?;
            self.0.get(key).await
        }
        async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
            self.0.get_range(key, range).await
        }
        async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
            self.0.head(key).await
        }
        async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
            self.0.list_page(prefix, after).await
        }
        async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
            self.0.list_folders(prefix).await
        }
        async fn delete(&self, _: &ObjectKey) -> Result<()> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn reads_are_repeated_and_puts_are_not() -> Result<()> {
        let key = ObjectKey::new("a")?;
        let busy = Arc::new(Busy(MemoryBackend::new(), 1.into()));
        let backend = RetryBackend::new(busy.clone(), Env::current()?, Duration::from_secs(1));
        let error = backend.put(&key, "x".into(), PutMode::Create).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        backend.put(&key, "x".into(), PutMode::Create).await?;
        busy.1.store(4, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(backend.get(&key).await?, "x");
        busy.1.store(5, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(backend.get(&key).await.unwrap_err().kind(), ErrorKind::Unavailable);
        Ok(())
    }

    /// Takes 900 ms for a page of a listing, and fails every second page and every second overwrite. Deletes half of the
    /// objects it is given.
    #[derive(Debug, Default)]
    struct Slow {
        memory: MemoryBackend,
        calls: std::sync::atomic::AtomicU32,
        /// The number of keys in each delete of many.
        deleted: std::sync::Mutex<Vec<usize>>,
    }

    impl Slow {
        fn is_even(&self) -> bool {
            self.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed).is_multiple_of(2)
        }
    }

    impl fmt::Display for Slow {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("slow")
        }
    }

    #[async_trait]
    impl StorageBackend for Slow {
        async fn put(&self, key: &ObjectKey, body: Payload, mode: PutMode) -> Result<()> {
            if mode == PutMode::Overwrite && self.is_even() {
                return Err(Error::new(ErrorKind::AlreadyExists, "409 conflict"));
            }
            self.memory.put(key, body, mode).await
        }
        async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
            self.memory.get(key).await
        }
        async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
            self.memory.get_range(key, range).await
        }
        async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
            self.memory.head(key).await
        }
        async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
            Env::current()?.sleep(Duration::from_millis(900)).await;
            if self.is_even() {
                return Err(Error::new(ErrorKind::Unavailable, "slow down"));
            }
            let mut page = self.memory.list_page(prefix, after).await?;
            page.more |= page.objects.len() > 2;
            page.objects.truncate(2);
            Ok(page)
        }
        async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
            self.memory.list_folders(prefix).await
        }
        async fn delete(&self, key: &ObjectKey) -> Result<()> {
            if key.as_str() == "locked" {
                return Err(Error::new(ErrorKind::PermissionDenied, "locked"));
            }
            self.memory.delete(key).await
        }
        async fn delete_many(&self, keys: &[ObjectKey]) -> Result<(), IncompleteDelete> {
            self.deleted.lock().unwrap().push(keys.len());
            if keys.iter().any(|key| key.as_str() == "locked") {
                return delete_one_by_one(self, keys).await;
            }
            let (done, remaining) = keys.split_at(keys.len() / 2);
            delete_one_by_one(self, done).await?;
            if remaining.len() <= 1 {
                return delete_one_by_one(self, remaining).await;
            }
            let cause = Error::new(ErrorKind::Unavailable, "slow down");
            Err(IncompleteDelete { remaining: remaining.to_vec(), cause })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_of_a_listing_has_a_limit_and_attempts_of_its_own() -> Result<()> {
        let slow = Slow::default();
        for name in 0..40 {
            slow.memory.put(&ObjectKey::new(format!("{name:02}"))?, "x".into(), PutMode::Create).await?;
        }
        let backend = RetryBackend::new(Arc::new(slow), Env::current()?, Duration::from_secs(1));
        // Twenty pages of two attempts each: far beyond what one request may take.
        assert_eq!(backend.list(&ObjectPrefix::root(), None).await?.len(), 40);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_delete_of_many_is_repeated_for_what_remains() -> Result<()> {
        let slow = Arc::new(Slow::default());
        let backend = RetryBackend::new(slow.clone(), Env::current()?, Duration::from_secs(1));
        let keys = |count| (0..count).map(|n| ObjectKey::new(format!("{n:04}"))).collect::<Result<Vec<_>>>();
        backend.delete_many(&keys(12)?).await?;
        assert_eq!(*slow.deleted.lock().unwrap(), [12, 6, 3, 2]);
        // One request for each 1,000 keys. After four repetitions it gives up, and does not send the rest.
        slow.deleted.lock().unwrap().clear();
        let incomplete = backend.delete_many(&keys(1_500)?).await.unwrap_err();
        assert_eq!(*slow.deleted.lock().unwrap(), [1_000, 500, 250, 125, 63]);
        assert_eq!(incomplete.remaining, keys(1_500)?[968..]);
        // What is refused keeps nothing else from being deleted.
        let locked = vec![ObjectKey::new("locked")?; 1_000];
        slow.memory.put(&keys(1)?[0], "x".into(), PutMode::Create).await?;
        let incomplete = backend.delete_many(&[locked.clone(), keys(1)?].concat()).await.unwrap_err();
        assert_eq!(incomplete.remaining, locked);
        assert!(slow.memory.list(&ObjectPrefix::root(), None).await?.is_empty());
        assert_eq!(Error::from(incomplete).kind(), ErrorKind::PermissionDenied);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_conflict_of_an_overwrite_is_tried_again() -> Result<()> {
        let backend = RetryBackend::new(Arc::new(Slow::default()), Env::current()?, Duration::from_secs(1));
        let key = ObjectKey::new("a")?;
        backend.put(&key, "x".into(), PutMode::Overwrite).await?;
        assert_eq!(backend.get(&key).await?, "x");
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_is_an_error_in_the_end() -> Result<()> {
        let silent = Arc::new(Busy(MemoryBackend::new(), 0.into()));
        let backend = RetryBackend::new(silent, Env::current()?, Duration::from_secs(1));
        let error = backend.delete(&ObjectKey::new("a")?).await.unwrap_err();
        assert!(error.to_string().contains("no answer"), "{error}");
        Ok(())
    }
}
