//! A store of one object that records requests, and can be paused, made to fail or to damage a response.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::{Blob, BlockCache};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{
    ListPage, MemoryBackend, ObjectInfo, ObjectKey, ObjectPrefix, Payload, PutMode, StorageBackend,
};

#[derive(Clone, Debug)]
pub(super) struct TestStore {
    inner: MemoryBackend,
    object: Bytes,
    requests: Arc<Mutex<Vec<Range<u64>>>>,
    last_response: Arc<AtomicUsize>,
    held: watch::Sender<bool>,
    fails: Arc<AtomicBool>,
    damages: Arc<AtomicBool>,
}

fn key() -> ObjectKey {
    ObjectKey::new("ns/object").unwrap()
}

impl TestStore {
    pub(super) async fn new(size: usize) -> Result<Self> {
        let object = Bytes::from((0..=250u8).cycle().take(size).collect::<Vec<_>>());
        let inner = MemoryBackend::new();
        inner.put(&key(), object.clone().into(), PutMode::Create).await?;
        let held = watch::Sender::new(false);
        Ok(Self {
            inner,
            object,
            requests: Arc::default(),
            last_response: Arc::default(),
            held,
            fails: Arc::default(),
            damages: Arc::default(),
        })
    }

    pub(super) fn blob(&self, cache: &BlockCache) -> Blob {
        Blob::new(Arc::new(self.clone()), cache.clone(), key(), self.size())
    }

    pub(super) fn size(&self) -> u64 {
        self.object.len() as u64
    }

    pub(super) fn expected(&self, range: Range<u64>) -> Bytes {
        self.object.slice(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap())
    }

    pub(super) fn requests(&self) -> Vec<Range<u64>> {
        self.requests.lock().unwrap().clone()
    }

    /// Where the bytes of the last response began in memory.
    pub(super) fn last_response(&self) -> usize {
        self.last_response.load(Ordering::Relaxed)
    }

    pub(super) fn hold(&self) {
        self.held.send_replace(true);
    }

    pub(super) fn release(&self) {
        self.held.send_replace(false);
    }

    pub(super) fn fail_next(&self) {
        self.fails.store(true, Ordering::Relaxed);
    }

    pub(super) fn damage_next(&self) {
        self.damages.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl StorageBackend for TestStore {
    async fn put(&self, key: &ObjectKey, body: Payload, mode: PutMode) -> Result<()> {
        self.inner.put(key, body, mode).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.requests.lock().unwrap().push(range.clone());
        let mut held = self.held.subscribe();
        held.wait_for(|held| !held).await.unwrap();
        if self.fails.swap(false, Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, "held up"));
        }
        let bytes = self.inner.get_range(key, range).await?;
        if self.damages.swap(false, Ordering::Relaxed) {
            return Ok(bytes.iter().map(|byte| !byte).collect());
        }
        // As from a real store, the caller is the only owner.
        let bytes = Bytes::copy_from_slice(&bytes);
        self.last_response.store(bytes.as_ptr().addr(), Ordering::Relaxed);
        Ok(bytes)
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

impl fmt::Display for TestStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("test")
    }
}
