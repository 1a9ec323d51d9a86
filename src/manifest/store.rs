//! Manifests on the store: the newest, one by number, and the commit of the next.

use std::sync::Arc;

use bytes::Bytes;

use super::Manifest;
use crate::codec::CodecError;
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{
    Created, IncarnationKeys, ObjectKey, StorageBackend, check_ascends, create_whole, read_whole,
};

/// No manifest is larger.
const BYTES_MAX: u64 = 256 << 20;

/// How a commit ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// The manifest is there.
    Done,
    /// Another took the number.
    Lost,
}

/// A listing of manifests, as far as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// The greatest number so far; 0 if there is none.
    newest: u64,
    /// Where the next page begins, if there may be one.
    next: Option<ObjectKey>,
}

impl Page {
    /// The first page of the manifests above `after`.
    pub(crate) async fn first(
        backend: &Arc<dyn StorageBackend>,
        keys: &IncarnationKeys,
        after: u64,
    ) -> Result<Self> {
        let mut page = Self { newest: 0, next: Some(keys.manifest(after)) };
        page.read_on(backend, keys).await?;
        Ok(page)
    }

    async fn read_on(&mut self, backend: &Arc<dyn StorageBackend>, keys: &IncarnationKeys) -> Result<()> {
        let Some(after) = self.next.take() else { return Ok(()) };
        let prefix = keys.manifests();
        let page = backend.list_page(&prefix, Some(&after)).await?;
        check_ascends(&prefix, &after, page.objects.first().map(|info| &info.key))?;
        let newest = page.objects.iter().filter_map(|info| IncarnationKeys::number_of(&info.key)).max();
        self.newest = self.newest.max(newest.unwrap_or(0));
        self.next = page.objects.last().filter(|_| page.more).map(|info| info.key.clone());
        Ok(())
    }

    /// The greatest number of this page and those behind it; 0 if there is none.
    async fn last(mut self, backend: &Arc<dyn StorageBackend>, keys: &IncarnationKeys) -> Result<u64> {
        while self.next.is_some() {
            self.read_on(backend, keys).await?;
        }
        Ok(self.newest)
    }

    /// The same, sooner if `supposed` is about the newest: which may be wrong.
    pub(crate) async fn newest(
        self,
        backend: &Arc<dyn StorageBackend>,
        keys: &IncarnationKeys,
        supposed: u64,
    ) -> Result<u64> {
        let before = supposed.saturating_sub(1);
        if self.next.is_some()
            && before > self.newest
            && let Some(newest) = latest(backend, keys, before).await?
        {
            return Ok(newest);
        }
        self.last(backend, keys).await
    }
}

/// The number of the newest manifest above `after`, if there is one.
pub(crate) async fn latest(
    backend: &Arc<dyn StorageBackend>,
    keys: &IncarnationKeys,
    after: u64,
) -> Result<Option<u64>> {
    let newest = Page::first(backend, keys, after).await?.last(backend, keys).await?;
    Ok((newest > after).then_some(newest))
}

/// The manifest of a number, or `None` if there is none.
pub(crate) async fn read(
    backend: &Arc<dyn StorageBackend>,
    keys: &IncarnationKeys,
    number: u64,
) -> Result<Option<Manifest>> {
    read_whole(backend, &keys.manifest(number), BYTES_MAX, |bytes| decode(bytes, number)).await
}

/// Puts a manifest at its number if that is free.
pub(crate) async fn commit(
    env: &Env,
    backend: &Arc<dyn StorageBackend>,
    keys: &IncarnationKeys,
    manifest: &Manifest,
) -> Result<Commit> {
    let key = keys.manifest(manifest.number);
    let bytes = manifest.encode().map_err(|e| e.at(&key))?;
    let decode = |bytes: &Bytes| decode(bytes, manifest.number);
    match create_whole(env, backend, &key, (bytes, BYTES_MAX), decode).await? {
        Created::Written => Ok(Commit::Done),
        Created::Found(found) if found.nonce == manifest.nonce => Ok(Commit::Done),
        Created::Found(_) => Ok(Commit::Lost),
        // It may land yet, which does no harm. Whatever the last answer was, trying again is right.
        Created::Unknown(error) if error.is_refusal() => Err(error),
        Created::Unknown(error) => {
            let why = format!("it is not known whether a manifest was written: {error}");
            Err(Error::new(ErrorKind::Unavailable, why))
        }
    }
}

fn decode(bytes: &[u8], number: u64) -> Result<Manifest, CodecError> {
    let manifest = Manifest::decode(bytes)?;
    if manifest.number == number {
        return Ok(manifest);
    }
    Err(CodecError::malformed("manifest", format!("it holds manifest {}", manifest.number)))
}
