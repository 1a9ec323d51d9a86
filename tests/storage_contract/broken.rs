//! Memory with a fault.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use elacsym::storage::{
    ListPage, MemoryBackend, ObjectInfo, ObjectKey, ObjectPrefix, Payload, PutMode, StorageBackend,
};
use elacsym::{Error, ErrorKind, Result};

/// What a backend does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A create replaces what exists.
    IgnoresCreate,
    /// A create looks before it writes, as if that were enough.
    RacesCreate,
    /// A create that lost is told that it won.
    LosersSucceed,
    /// As above, but only for creates that race.
    RacingLosersSucceed,
    LosesWrites,
    /// Every put is done, and answered by an error of this kind.
    FailsAfterPut(ErrorKind),
    IgnoresOverwrite,
    /// The end of a body is missing.
    CutsBodies,
    /// A body that was read is remembered until the end of time.
    CachesBodies,
    /// And so is that there was none.
    CachesMisses,
    CutsRanges,
    /// The whole object is returned for a part.
    IgnoresRanges,
    ListsUnsorted,
    /// A listing does not show what was put just before.
    ListsLate,
    ListsAfterInclusive,
    RepeatsPages,
    HidesFolders,
    HeadsOtherSize,
    IgnoresBounds,
    MissingIsUnavailable,
    DeletesNothing,
    IsDown,
    ReadOnly,
    IsFull,
    /// Each first overwrite of a name is refused as S3 refuses two at once.
    Conflicts,
}

/// Memory with a fault.
#[derive(Debug)]
pub struct Broken {
    memory: MemoryBackend,
    fault: Fault,
    /// The object that listings do not show yet.
    hidden: Mutex<Option<ObjectKey>>,
    /// What reads have returned.
    cache: Mutex<BTreeMap<ObjectKey, Result<Bytes>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn down() -> Error {
    Error::new(ErrorKind::Unavailable, "no answer")
}

impl Broken {
    pub fn with_fault(fault: Fault) -> Arc<dyn StorageBackend> {
        Self::over(MemoryBackend::new(), fault)
    }

    pub fn over(memory: MemoryBackend, fault: Fault) -> Arc<dyn StorageBackend> {
        Arc::new(Self { memory, fault, hidden: Mutex::default(), cache: Mutex::default() })
    }

    fn answer<T>(&self, answer: Result<T>) -> Result<T> {
        match (self.fault, answer) {
            (Fault::IsDown, _) => Err(down()),
            (Fault::MissingIsUnavailable, Err(error)) if error.kind() == ErrorKind::NotFound => Err(down()),
            (_, answer) => answer,
        }
    }

    fn may_write(&self) -> Result<()> {
        match self.fault {
            Fault::IsDown => Err(down()),
            Fault::ReadOnly => Err(Error::new(ErrorKind::PermissionDenied, "read only")),
            Fault::IsFull => Err(Error::new(ErrorKind::StorageFull, "no space left")),
            _ => Ok(()),
        }
    }

    async fn create(&self, key: &ObjectKey, body: Payload) -> Result<()> {
        let taken = self.memory.head(key).await.is_ok();
        // Time for others, as between two requests.
        tokio::task::yield_now().await;
        let mode = match self.fault {
            Fault::RacesCreate if !taken => PutMode::Overwrite,
            Fault::IgnoresCreate => PutMode::Overwrite,
            _ => PutMode::Create,
        };
        let put = self.memory.put(key, body, mode).await;
        match self.fault {
            Fault::LosersSucceed => Ok(()),
            Fault::RacingLosersSucceed if !taken => Ok(()),
            _ => put,
        }
    }

    async fn overwrite(&self, key: &ObjectKey, body: Payload) -> Result<()> {
        let taken = self.memory.head(key).await.is_ok();
        match self.fault {
            Fault::Conflicts => {
                let mark = ObjectKey::new(format!("conflict/{key}"))?;
                if self.memory.put(&mark, Payload::default(), PutMode::Create).await.is_ok() {
                    return Err(Error::new(ErrorKind::AlreadyExists, "409 conflict"));
                }
            }
            Fault::IgnoresOverwrite if taken => return Ok(()),
            _ => {}
        }
        self.memory.put(key, body, PutMode::Overwrite).await
    }

    fn cached(&self, key: &ObjectKey, found: Result<Bytes>) -> Result<Bytes> {
        let caches = match &found {
            Ok(_) => self.fault == Fault::CachesBodies,
            Err(_) => self.fault == Fault::CachesMisses,
        };
        if caches { lock(&self.cache).entry(key.clone()).or_insert(found).clone() } else { found }
    }
}

#[async_trait]
impl StorageBackend for Broken {
    async fn put(&self, key: &ObjectKey, body: Payload, mode: PutMode) -> Result<()> {
        self.may_write()?;
        if self.fault == Fault::LosesWrites {
            return Ok(());
        }
        *lock(&self.hidden) = Some(key.clone());
        match mode {
            PutMode::Create => self.create(key, body).await?,
            PutMode::Overwrite => self.overwrite(key, body).await?,
        }
        match self.fault {
            Fault::FailsAfterPut(kind) => Err(Error::new(kind, "says that it failed")),
            _ => Ok(()),
        }
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.get_bounded(key, u64::MAX).await
    }

    async fn get_bounded(&self, key: &ObjectKey, bytes_max: u64) -> Result<Bytes> {
        let bytes_max = if self.fault == Fault::IgnoresBounds { u64::MAX } else { bytes_max };
        // A miss that was cached once hides what is written later.
        let cached = lock(&self.cache).get(key).cloned();
        let found = match cached {
            Some(cached) => cached,
            None => self.memory.get_bounded(key, bytes_max).await,
        };
        let found = self.cached(key, found);
        let cut = usize::from(self.fault == Fault::CutsBodies);
        self.answer(found.map(|body| body.slice(..body.len().saturating_sub(cut))))
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        if self.fault == Fault::IgnoresRanges {
            return self.memory.get(key).await;
        }
        let cut = u64::from(self.fault == Fault::CutsRanges && !range.is_empty());
        self.answer(self.memory.get_range(key, range.start..range.end - cut).await)
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        let mut found = self.memory.head(key).await;
        if let (Fault::HeadsOtherSize, Ok(info)) = (self.fault, &mut found) {
            info.size += 1;
        }
        self.answer(found)
    }

    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
        let mut found = self.memory.list(prefix, after).await?;
        match (self.fault, after) {
            (Fault::ListsUnsorted, _) => found.reverse(),
            (Fault::ListsLate, _) => {
                let hidden = lock(&self.hidden).take();
                found.retain(|info| hidden.as_ref() != Some(&info.key));
            }
            (Fault::ListsAfterInclusive, Some(after)) => {
                found = self.memory.list(prefix, None).await?;
                found.retain(|info| info.key >= *after);
            }
            (Fault::RepeatsPages, _) => {
                let objects = self.memory.list(prefix, None).await?;
                return Ok(ListPage { more: !objects.is_empty(), objects });
            }
            _ => {}
        }
        self.answer(Ok(ListPage::last(found)))
    }

    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        if self.fault == Fault::HidesFolders {
            return Ok(Vec::new());
        }
        self.answer(self.memory.list_folders(prefix).await)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.may_write()?;
        if self.fault == Fault::DeletesNothing { Ok(()) } else { self.memory.delete(key).await }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.fault)
    }
}
