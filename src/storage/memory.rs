//! A store in memory, for tests and for data that need not outlive the process.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::{ListPage, ObjectInfo, ObjectKey, ObjectPrefix, Payload, PutMode, StorageBackend};
use crate::error::{Error, ErrorKind, Result};

/// The objects in a page of a listing: as in S3, so that tests meet listings of several pages where S3 has them.
const PAGE_OBJECTS: usize = 1_000;

/// Objects in memory. Clones share them.
#[derive(Clone, Default)]
pub struct MemoryBackend {
    objects: Arc<Mutex<Objects>>,
}

#[derive(Default)]
struct Objects {
    by_key: BTreeMap<ObjectKey, (Bytes, i64)>,
    /// A logical clock in place of the time: it advances by one with every write, so that tests are deterministic.
    clock: i64,
}

impl MemoryBackend {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        // Every change is one call on the map: a panic elsewhere leaves it sound.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_such_object(key: &ObjectKey) -> Error {
    Error::new(ErrorKind::NotFound, format!("no such object. key=`{key}`"))
}

#[async_trait]
impl StorageBackend for MemoryBackend {
    async fn put(&self, key: &ObjectKey, body: Payload, mode: PutMode) -> Result<()> {
        let mut objects = self.objects();
        if mode == PutMode::Create && objects.by_key.contains_key(key) {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("the object exists. key=`{key}`")));
        }
        objects.clock += 1;
        let clock = objects.clock;
        objects.by_key.insert(key.clone(), (body.into_bytes(), clock));
        Ok(())
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        let objects = self.objects();
        objects.by_key.get(key).map(|(bytes, _)| bytes.clone()).ok_or_else(|| no_such_object(key))
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.get(key).await?;
        let slice_range = || {
            let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
            (range.start <= range.end && range.end <= bytes.len()).then(|| bytes.slice(range))
        };
        slice_range().ok_or_else(|| Error::corrupt(key, format!("range {range:?} of {} bytes", bytes.len())))
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        let objects = self.objects();
        let (bytes, modified_ms) = objects.by_key.get(key).ok_or_else(|| no_such_object(key))?;
        Ok(ObjectInfo { key: key.clone(), size: bytes.len() as u64, modified_ms: *modified_ms })
    }

    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
        let objects = self.objects();
        let start = after.filter(|after| after.as_str() >= prefix.as_str());
        let start = start.map_or(Bound::Included(prefix.as_str()), |after| Bound::Excluded(after.as_str()));
        let found = objects.by_key.range::<str, _>((start, Bound::Unbounded));
        let mut below = found.take_while(|(key, _)| key.as_str().starts_with(prefix.as_str()));
        let info = |(key, (bytes, modified_ms)): (&ObjectKey, &(Bytes, i64))| ObjectInfo {
            key: key.clone(),
            size: bytes.len() as u64,
            modified_ms: *modified_ms,
        };
        let objects = below.by_ref().take(PAGE_OBJECTS).map(info).collect();
        Ok(ListPage { objects, more: below.next().is_some() })
    }

    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        let objects = self.objects();
        let below = objects.by_key.keys().filter_map(|key| key.as_str().strip_prefix(prefix.as_str()));
        let mut folders: Vec<String> =
            below.filter_map(|rest| rest.split_once('/')).map(|(folder, _)| folder.to_owned()).collect();
        // `a-b/` comes before `a/`, but `a` before `a-b`.
        folders.sort_unstable();
        folders.dedup();
        Ok(folders)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.objects().by_key.remove(key);
        Ok(())
    }
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryBackend({} objects)", self.objects().by_key.len())
    }
}

impl fmt::Display for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory")
    }
}
