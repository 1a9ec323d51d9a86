//! A backend that does not give up at once: each request has a time limit, and requests that can be sent
//! again without harm are, when the store says that it is busy.
//!
//! **Invariant:** a put in create mode is sent once: whoever puts must read back after an unclean answer anyway, and a
//! hidden second put could refuse our own first.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{ListPage, ObjectInfo, ObjectKey, ObjectPrefix, PutMode, StorageBackend};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::retry::{RetryPolicy, retry};

/// Below this bandwidth, in bytes a millisecond, a large object is given up.
const BANDWIDTH_MIN: u64 = 1_000;
/// Of an object of unknown size, this part of the most it may have is allowed for: most are small, and one that is not
/// answered at all is to be noticed.
const LIKELY_PART: u64 = 4;

/// Limits and repeats the requests to another backend.
#[derive(Debug)]
pub(crate) struct SteadyBackend {
    inner: Arc<dyn StorageBackend>,
    env: Env,
    timeout: Duration,
}

impl SteadyBackend {
    /// `timeout` limits each single request.
    pub(crate) fn new(inner: Arc<dyn StorageBackend>, env: Env, timeout: Duration) -> Self {
        Self { inner, env, timeout }
    }

    async fn within<T>(
        &self,
        limit: Duration,
        what: &(impl fmt::Display + Sync),
        request: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let late = || {
            let limit = limit.as_millis();
            Error::new(
                ErrorKind::Unavailable,
                format!("no answer from the store in {limit} ms. key=`{what}`"),
            )
        };
        self.env.timeout(limit, request).await.unwrap_or_else(|| Err(late()))
    }

    /// How long a request may take that carries at most so many bytes.
    fn timeout_of(&self, bytes: u64) -> Duration {
        self.timeout.saturating_add(Duration::from_millis(bytes / BANDWIDTH_MIN))
    }

    async fn again<T, F>(
        &self,
        what: &(impl fmt::Display + Sync),
        request: impl Fn() -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        self.repeat(|| self.within(self.timeout, what, request())).await
    }

    async fn repeat<T, F>(&self, request: impl Fn() -> F + Send + Sync) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let is_transient = |error: &Error| error.is(ErrorKind::Unavailable);
        retry(&self.env, RetryPolicy::STORE_REQUEST, is_transient, request).await
    }
}

#[async_trait]
impl StorageBackend for SteadyBackend {
    async fn put(&self, key: &ObjectKey, bytes: Bytes, mode: PutMode) -> Result<()> {
        let timeout = self.timeout_of(bytes.len() as u64);
        match mode {
            PutMode::Create => self.within(timeout, key, self.inner.put(key, bytes, mode)).await,
            // The same bytes under a name of their own: once more does no harm.
            PutMode::Overwrite => {
                let put = || async {
                    let put = self.inner.put(key, bytes.clone(), mode);
                    match self.within(timeout, key, put).await {
                        // A store's word for "two at once, try again": nothing is there that could be met.
                        Err(e) if e.is(ErrorKind::AlreadyExists) => Err(busy(key, &e)),
                        answer => answer,
                    }
                };
                self.repeat(put).await
            }
        }
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.again(key, || self.inner.get(key)).await
    }

    async fn get_bounded(&self, key: &ObjectKey, bytes_max: u64) -> Result<Bytes> {
        let timeout = self.timeout_of(bytes_max / LIKELY_PART);
        self.repeat(|| self.within(timeout, key, self.inner.get_bounded(key, bytes_max))).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let timeout = self.timeout_of(range.end.saturating_sub(range.start));
        self.repeat(|| self.within(timeout, key, self.inner.get_range(key, range.clone()))).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        self.again(key, || self.inner.head(key)).await
    }

    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
        self.again(prefix, || self.inner.list_page(prefix, after)).await
    }

    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        self.again(prefix, || self.inner.list_folders(prefix)).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.again(key, || self.inner.delete(key)).await
    }
}

fn busy(key: &ObjectKey, answer: &Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the store refused an overwrite: {answer}. key=`{key}`"))
}

impl fmt::Display for SteadyBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryBackend;

    /// Says that it is busy some times, then answers.
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
        async fn put(&self, key: &ObjectKey, bytes: Bytes, mode: PutMode) -> Result<()> {
            self.refuse()?;
            self.0.put(key, bytes, mode).await
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
        let steady = SteadyBackend::new(busy.clone(), Env::current()?, Duration::from_secs(1));
        let error = steady.put(&key, "x".into(), PutMode::Create).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        steady.put(&key, "x".into(), PutMode::Create).await?;
        busy.1.store(4, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(steady.get(&key).await?, "x");
        busy.1.store(5, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(steady.get(&key).await.unwrap_err().kind(), ErrorKind::Unavailable);
        Ok(())
    }

    /// Takes its time for each page of a listing, has one conflict for each overwrite, and fails each second page.
    #[derive(Debug, Default)]
    struct Slow {
        memory: MemoryBackend,
        calls: std::sync::atomic::AtomicU32,
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
        async fn put(&self, key: &ObjectKey, bytes: Bytes, mode: PutMode) -> Result<()> {
            if mode == PutMode::Overwrite && self.is_even() {
                return Err(Error::new(ErrorKind::AlreadyExists, "409 conflict"));
            }
            self.memory.put(key, bytes, mode).await
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
            self.memory.delete(key).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_of_a_listing_has_a_limit_and_attempts_of_its_own() -> Result<()> {
        let slow = Slow::default();
        for name in 0..40 {
            slow.memory.put(&ObjectKey::new(format!("{name:02}"))?, "x".into(), PutMode::Create).await?;
        }
        let steady = SteadyBackend::new(Arc::new(slow), Env::current()?, Duration::from_secs(1));
        // Twenty pages of two attempts each: far beyond what one request may take.
        assert_eq!(steady.list(&ObjectPrefix::root(), None).await?.len(), 40);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_conflict_of_an_overwrite_is_tried_again() -> Result<()> {
        let steady = SteadyBackend::new(Arc::new(Slow::default()), Env::current()?, Duration::from_secs(1));
        let key = ObjectKey::new("a")?;
        steady.put(&key, "x".into(), PutMode::Overwrite).await?;
        assert_eq!(steady.get(&key).await?, "x");
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_is_an_error_in_the_end() -> Result<()> {
        let silent = Arc::new(Busy(MemoryBackend::new(), 0.into()));
        let steady = SteadyBackend::new(silent, Env::current()?, Duration::from_secs(1));
        let error = steady.delete(&ObjectKey::new("a")?).await.unwrap_err();
        assert!(error.to_string().contains("no answer"), "{error}");
        Ok(())
    }
}
