//! One check and what all checks use: objects in a folder of their own, and expectations.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};

use crate::error::{Error, ErrorKind};
use crate::storage::{ObjectInfo, ObjectKey, ObjectPrefix, PutMode, StorageBackend};

/// How many small requests are sent at once.
pub(super) const PARALLEL_REQUESTS: usize = 32;
/// More objects than a page of a listing of most stores has, and than S3 deletes by one request: 1,000 both.
pub(super) const PAGED_OBJECTS: usize = 1_010;

pub(super) type CheckResult<T = ()> = Result<T, Broken>;

/// Why a check failed.
pub(super) struct Broken(pub(super) String);

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self(format!("unexpected error: {error:?}"))
    }
}

pub(super) fn ensure(holds: bool, why: impl FnOnce() -> String) -> CheckResult {
    if holds { Ok(()) } else { Err(Broken(why())) }
}

pub(super) fn ensure_kind<T>(result: Result<T, Error>, kind: ErrorKind, what: &str) -> CheckResult {
    match result {
        Err(error) if error.is(kind) => Ok(()),
        Err(error) => Err(Broken(format!("{what} must be {kind:?}, but was {error:?}"))),
        Ok(_) => Err(Broken(format!("{what} must be {kind:?}, but succeeded"))),
    }
}

/// Bytes that differ along their length and from one seed to the next.
pub(super) fn test_bytes(len: usize, seed: usize) -> Bytes {
    // 251 is prime, and `i / 251` shifts each period: no two parts, pages or chunks are alike.
    let byte = |i: usize| (i * 31 + i / 251 + seed * 7) % 251;
    (0..len).map(|i| byte(i).to_le_bytes()[0]).collect()
}

/// One check, in a folder of its own.
pub(super) struct Case {
    pub(super) backend: Arc<dyn StorageBackend>,
    pub(super) root: String,
}

impl Case {
    pub(super) fn key(&self, name: &str) -> CheckResult<ObjectKey> {
        Ok(ObjectKey::new(format!("{}/{name}", self.root))?)
    }

    pub(super) fn prefix(&self, name: &str) -> CheckResult<ObjectPrefix> {
        let folder = if name.is_empty() { self.root.clone() } else { format!("{}/{name}", self.root) };
        Ok(ObjectPrefix::folder(&ObjectKey::new(folder)?))
    }

    pub(super) async fn create_object(&self, name: &str, bytes: &Bytes) -> CheckResult<ObjectKey> {
        let key = self.key(name)?;
        self.backend.put(&key, bytes.clone().into(), PutMode::Create).await?;
        Ok(key)
    }

    pub(super) async fn create_objects(&self, names: &[&str]) -> CheckResult {
        for name in names {
            self.create_object(name, &test_bytes(3, 0)).await?;
        }
        Ok(())
    }

    /// Creates many small objects, some at a time. Returns their keys.
    pub(super) async fn create_many(&self, names: &[String]) -> CheckResult<Vec<ObjectKey>> {
        let body = test_bytes(1, 1);
        let mut puts = Vec::with_capacity(names.len());
        for name in names {
            puts.push(self.create_object(name, &body));
        }
        // Not `try_collect`: it would leave puts in flight that the clean-up does not see.
        let done: Vec<CheckResult<ObjectKey>> =
            stream::iter(puts).buffered(PARALLEL_REQUESTS).collect().await;
        done.into_iter().collect()
    }

    pub(super) async fn expect_object(&self, key: &ObjectKey, bytes: &Bytes, when: &str) -> CheckResult {
        let found = self.backend.get(key).await?;
        ensure(found == *bytes, || {
            format!("{when}, the object holds {} bytes, not the {} that were put", found.len(), bytes.len())
        })
    }

    /// The names below a folder, relative to the case.
    pub(super) async fn list_names(&self, folder: &str, after: Option<&str>) -> CheckResult<Vec<String>> {
        let after = after.map(|after| self.key(after)).transpose()?;
        let found = self.backend.list(&self.prefix(folder)?, after.as_ref()).await?;
        let own = format!("{}/", self.root);
        let name = |info: &ObjectInfo| info.key.as_str().strip_prefix(&own).unwrap_or("?").to_owned();
        Ok(found.iter().map(name).collect())
    }

    pub(super) async fn expect_names(
        &self,
        folder: &str,
        after: Option<&str>,
        names: &[&str],
    ) -> CheckResult {
        let found = self.list_names(folder, after).await?;
        ensure(found == names, || {
            format!("listing `{folder}` after `{}` shows {found:?}, not {names:?}", after.unwrap_or_default())
        })
    }

    pub(super) async fn expect_range(
        &self,
        key: &ObjectKey,
        body: &Bytes,
        range: Range<usize>,
    ) -> CheckResult {
        let asked = range.start as u64..range.end as u64;
        let found = self.backend.get_range(key, asked).await?;
        ensure(Some(found.as_ref()) == body.get(range.clone()), || {
            format!("range {range:?} of {} bytes is wrong, and {} bytes long", body.len(), found.len())
        })
    }
}
