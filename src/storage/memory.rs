//! A store in memory, for tests and for data that need not outlive the process.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::{ListPage, ObjectInfo, ObjectKey, ObjectPrefix, Payload, PutMode, StorageBackend};
use crate::env::{Env, system_wall_ms};
use crate::error::{Error, ErrorKind, Result};

/// The objects in a page of a listing: as in S3, so that tests meet listings of several pages where S3 has them.
const PAGE_OBJECTS: usize = 1_000;

/// Objects in memory. Clones share them.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use std::sync::Arc;
/// # use elacsym::storage::*;
/// # use elacsym::{Database, IdKind, Schema};
/// let store = MemoryBackend::new();
/// let one = Database::builder().open_backend(Arc::new(store.clone())).await?;
/// one.create_namespace("docs", Schema::builder(IdKind::U64).build()?).await?;
/// // As another process would see it.
/// let other = Database::builder().open_backend(Arc::new(store)).await?;
/// assert_eq!(other.list_namespaces().await?.len(), 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct MemoryBackend {
    objects: Arc<Mutex<Objects>>,
    /// Whose clock tells the times of objects; without one that of the system.
    env: Option<Env>,
}

#[derive(Default)]
struct Objects {
    /// Bodies are kept in their parts, as they were put, and joined as they are read: most reads are of a range, and what
    /// nobody reads whole is never copied.
    by_key: BTreeMap<ObjectKey, (Payload, i64)>,
    /// The time of the last put.
    last_put_ms: i64,
}

impl MemoryBackend {
    /// An empty store. The times of its objects are those of the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store whose objects have the times of the wall clock of `env`.
    ///
    /// For tests: [`new`](Self::new) looks at the system's clock, which no test controls.
    #[must_use]
    pub fn with_env(env: &Env) -> Self {
        Self { env: Some(env.clone()), ..Self::default() }
    }

    fn wall_ms(&self) -> i64 {
        self.env.as_ref().map_or_else(system_wall_ms, Env::wall_ms)
    }

    /// The body of an object, which is joined and cut by whoever reads it, without the lock.
    fn body(&self, key: &ObjectKey) -> Result<Payload> {
        let objects = self.objects();
        objects.by_key.get(key).map(|(body, _)| body.clone()).ok_or_else(|| no_such_object(key))
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
        let now = self.wall_ms();
        let mut objects = self.objects();
        if mode == PutMode::Create && objects.by_key.contains_key(key) {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("the object exists. key=`{key}`")));
        }
        // A clock that was set back must not make a new object look older than those that it builds on.
        objects.last_put_ms = objects.last_put_ms.max(now);
        let put_ms = objects.last_put_ms;
        objects.by_key.insert(key.clone(), (body, put_ms));
        Ok(())
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        Ok(self.body(key)?.into_bytes())
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let body = self.body(key)?;
        let slice_range = || body.slice(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?);
        slice_range().ok_or_else(|| Error::corrupt(key, format!("range {range:?} of {} bytes", body.len())))
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        let objects = self.objects();
        let (body, modified_ms) = objects.by_key.get(key).ok_or_else(|| no_such_object(key))?;
        Ok(ObjectInfo { key: key.clone(), size: body.len() as u64, modified_ms: *modified_ms })
    }

    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
        let objects = self.objects();
        let start = after.filter(|after| after.as_str() >= prefix.as_str());
        let start = start.map_or(Bound::Included(prefix.as_str()), |after| Bound::Excluded(after.as_str()));
        let found = objects.by_key.range::<str, _>((start, Bound::Unbounded));
        let mut below = found.take_while(|(key, _)| key.as_str().starts_with(prefix.as_str()));
        let info = |(key, (body, modified_ms)): (&ObjectKey, &(Payload, i64))| ObjectInfo {
            key: key.clone(),
            size: body.len() as u64,
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;

    use futures::future::BoxFuture;

    use super::*;
    use crate::env::Runtime;

    #[derive(Clone, Debug, Default)]
    struct SetClock(Arc<AtomicI64>);

    impl Runtime for SetClock {
        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
        fn wall_ms(&self) -> i64 {
            self.0.load(Ordering::Relaxed)
        }
        fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
            Box::pin(async {})
        }
        fn random(&self) -> u64 {
            0
        }
        fn spawn(&self, _: BoxFuture<'static, ()>) {}
        fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
            work();
        }
    }

    async fn put_time(backend: &MemoryBackend) -> Result<i64> {
        let key = ObjectKey::new("a")?;
        backend.put(&key, "x".into(), PutMode::Overwrite).await?;
        let listed = backend.list(&ObjectPrefix::root(), None).await?;
        assert_eq!(listed, [backend.head(&key).await?]);
        Ok(listed[0].modified_ms)
    }

    #[tokio::test]
    async fn objects_have_the_time_of_their_put() -> Result<()> {
        let clock = SetClock::default();
        let backend = MemoryBackend::with_env(&Env::new(clock.clone()));
        for (now, told) in [(1_000, 1_000), (90_000, 90_000), (2_000, 90_000), (90_001, 90_001)] {
            clock.0.store(now, Ordering::Relaxed);
            assert_eq!(put_time(&backend).await?, told, "at {now}");
        }
        let before = system_wall_ms();
        let told = put_time(&MemoryBackend::new()).await?;
        assert!(before <= told && told <= system_wall_ms());
        Ok(())
    }
}
