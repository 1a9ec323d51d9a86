//! Manifests on the store: the newest, one by number, and the commit of the next.

use std::sync::Arc;
use std::time::Duration;

use super::Manifest;
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{LifeKeys, PutMode, StorageBackend};

/// How often a commit is tried again when the store gives no clear answer.
const ATTEMPTS: u32 = 6;

/// How a commit ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// The manifest is there.
    Done,
    /// Another took the number.
    Lost,
}

/// The number of the newest manifest above `after`, if there is one.
pub(crate) async fn latest(
    backend: &Arc<dyn StorageBackend>,
    keys: &LifeKeys,
    after: u64,
) -> Result<Option<u64>> {
    let listed = backend.list(&keys.manifests(), Some(&keys.manifest(after))).await?;
    Ok(listed.iter().filter_map(|info| LifeKeys::number_of(&info.key)).max())
}

/// The manifest of a number, or `None` if there is none. Bytes that do not read are fetched once more.
pub(crate) async fn read(
    backend: &Arc<dyn StorageBackend>,
    keys: &LifeKeys,
    number: u64,
) -> Result<Option<Manifest>> {
    let key = keys.manifest(number);
    let mut second = false;
    loop {
        let bytes = match backend.get(&key).await {
            Ok(bytes) => bytes,
            Err(e) if e.is(ErrorKind::NotFound) => return Ok(None),
            Err(e) => return Err(e),
        };
        match Manifest::decode(&bytes) {
            Ok(manifest) if manifest.number == number => return Ok(Some(manifest)),
            Ok(manifest) => {
                return Err(Error::corrupt(&key, format!("it holds manifest {}", manifest.number)));
            }
            Err(e) if second => return Err(e.at(&key)),
            Err(_) => second = true,
        }
    }
}

/// Puts a manifest at its number if that is free. Whatever the store answers, the number is read back unless
/// the answer is a clean success.
pub(crate) async fn commit(
    env: &Env,
    backend: &Arc<dyn StorageBackend>,
    keys: &LifeKeys,
    manifest: &Manifest,
) -> Result<Commit> {
    let key = keys.manifest(manifest.number);
    let bytes = manifest.encode().map_err(|e| e.at(&key))?;
    let mut pause = Duration::from_millis(20);
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match backend.put(&key, bytes.clone(), PutMode::Create).await {
            Ok(()) => return Ok(Commit::Done),
            Err(e) if e.is(ErrorKind::PermissionDenied) => return Err(e),
            Err(e) => last = Some(e),
        }
        match read(backend, keys, manifest.number).await? {
            Some(found) if found.nonce == manifest.nonce => return Ok(Commit::Done),
            Some(_) => return Ok(Commit::Lost),
            None => env.sleep(pause + env.jitter(pause)).await,
        }
        pause *= 2;
    }
    Err(last.unwrap_or_else(|| Error::internal("no attempt was made")))
}
