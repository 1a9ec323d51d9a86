//! Manifests on the store: the newest, one by number, and the commit of the next.

use std::sync::Arc;

use super::Manifest;
use crate::codec::CodecError;
use crate::env::Env;
use crate::error::Result;
use crate::storage::{Created, LifeKeys, StorageBackend, create_whole, read_whole};

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

/// The manifest of a number, or `None` if there is none.
pub(crate) async fn read(
    backend: &Arc<dyn StorageBackend>,
    keys: &LifeKeys,
    number: u64,
) -> Result<Option<Manifest>> {
    read_whole(backend, &keys.manifest(number), |bytes| decode(bytes, number)).await
}

/// Puts a manifest at its number if that is free.
pub(crate) async fn commit(
    env: &Env,
    backend: &Arc<dyn StorageBackend>,
    keys: &LifeKeys,
    manifest: &Manifest,
) -> Result<Commit> {
    let key = keys.manifest(manifest.number);
    let bytes = manifest.encode().map_err(|e| e.at(&key))?;
    match create_whole(env, backend, &key, bytes, |bytes| decode(bytes, manifest.number)).await? {
        Created::Written => Ok(Commit::Done),
        Created::Found(found) if found.nonce == manifest.nonce => Ok(Commit::Done),
        Created::Found(_) => Ok(Commit::Lost),
        Created::Unknown(error) => Err(error),
    }
}

fn decode(bytes: &[u8], number: u64) -> Result<Manifest, CodecError> {
    let manifest = Manifest::decode(bytes)?;
    if manifest.number == number {
        return Ok(manifest);
    }
    Err(CodecError::malformed("manifest", format!("it holds manifest {}", manifest.number)))
}
