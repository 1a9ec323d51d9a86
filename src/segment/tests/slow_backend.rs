//! A store that is slow, to count what depends on what.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::env::Env;
use crate::error::Result;
use crate::storage::{ListPage, ObjectInfo, ObjectKey, ObjectPrefix, PutMode, StorageBackend};

/// A store whose reads take a second each, so that the time shows how many depended on each other.
pub(super) struct SlowBackend {
    inner: Arc<dyn StorageBackend>,
    pub(super) requests: AtomicUsize,
    pub(super) bytes: AtomicUsize,
}

impl SlowBackend {
    pub(super) fn over(inner: &Arc<dyn StorageBackend>) -> Self {
        let (requests, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { inner: Arc::clone(inner), requests, bytes }
    }

    async fn wait(&self) -> Result<()> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Env::current()?.sleep(Duration::from_secs(1)).await;
        Ok(())
    }
}

impl fmt::Debug for SlowBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SlowBackend")
    }
}

impl fmt::Display for SlowBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("slow")
    }
}

#[async_trait]
impl StorageBackend for SlowBackend {
    async fn put(&self, key: &ObjectKey, bytes: Bytes, mode: PutMode) -> Result<()> {
        self.inner.put(key, bytes, mode).await
    }
    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.wait().await?;
        self.inner.get(key).await
    }
    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.wait().await?;
        self.bytes.fetch_add((range.end - range.start) as usize, Ordering::Relaxed);
        self.inner.get_range(key, range).await
    }
    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        self.inner.head(key).await
    }
    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
        self.inner.list_page(prefix, after).await
    }
    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        self.inner.list_folders(prefix).await
    }
    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.inner.delete(key).await
    }
}

#[expect(clippy::disallowed_methods, reason = "the paused clock counts the round trips")]
pub(super) async fn trips<T>(work: impl Future<Output = Result<T>>) -> Result<(u64, T)> {
    let start = tokio::time::Instant::now();
    let output = work.await?;
    Ok((start.elapsed().as_secs(), output))
}
