//! Manifests on the store: the newest, one by number, and the commit of the next.

use std::sync::Arc;

use bytes::Bytes;

use super::state::Manifest;
use crate::codec::CodecError;
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{
    CreateOutcome, IncarnationKeys, ObjectKey, StorageBackend, check_ascends, create_object, read_object,
};

/// Limits a manifest, which holds statistics of every segment: a reader never allocates more for one, whatever the store
/// claims.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;

/// How a commit ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CommitOutcome {
    /// The manifest has the number.
    Committed,
    /// Another manifest has the number.
    Lost,
}

/// A list of manifests, as far as it was read.
#[derive(Clone, Debug)]
pub(crate) struct ManifestListing {
    /// The greatest number so far; 0 if there is none.
    newest: u64,
    /// Where the next page begins, if there may be one.
    next: Option<ObjectKey>,
}

impl ManifestListing {
    /// The first page of the manifests above `after`.
    pub(crate) async fn first_page(
        backend: &Arc<dyn StorageBackend>,
        keys: &IncarnationKeys,
        after: u64,
    ) -> Result<Self> {
        let mut listing = Self { newest: 0, next: Some(keys.manifest(after)) };
        listing.read_next_page(backend, keys).await?;
        Ok(listing)
    }

    async fn read_next_page(
        &mut self,
        backend: &Arc<dyn StorageBackend>,
        keys: &IncarnationKeys,
    ) -> Result<()> {
        let Some(after) = self.next.take() else { return Ok(()) };
        let prefix = keys.manifests();
        let page = backend.list_page(&prefix, Some(&after)).await?;
        check_ascends(&prefix, &after, page.objects.first().map(|info| &info.key))?;
        // Objects with other names are not manifests: whoever may write to the store could put them there.
        let newest = page.objects.iter().filter_map(|info| IncarnationKeys::number_of(&info.key)).max();
        // invariant: a page without a manifest leaves the newest as it is, and 0 is below every number.
        self.newest = self.newest.max(newest.unwrap_or(0));
        self.next = page.objects.last().filter(|_| page.more).map(|info| info.key.clone());
        Ok(())
    }

    /// The greatest number of this page and all later pages; 0 if there is none.
    async fn read_to_end(mut self, backend: &Arc<dyn StorageBackend>, keys: &IncarnationKeys) -> Result<u64> {
        while self.next.is_some() {
            self.read_next_page(backend, keys).await?;
        }
        Ok(self.newest)
    }

    /// The number of the newest manifest; 0 if there is none. `supposed` is a guess of it, which may be wrong: a good one
    /// saves the pages between.
    pub(crate) async fn find_newest(
        self,
        backend: &Arc<dyn StorageBackend>,
        keys: &IncarnationKeys,
        supposed: u64,
    ) -> Result<u64> {
        // A list that begins right before the guess finds it and what is newer. If it is empty, the guess was too high,
        // and the pages are read as if there was none.
        // invariant: a guess of 0 means that no manifest is known, and takes the second way.
        let before = supposed.saturating_sub(1);
        if self.next.is_some()
            && before > self.newest
            && let Some(newest) = find_latest(backend, keys, before).await?
        {
            return Ok(newest);
        }
        self.read_to_end(backend, keys).await
    }
}

/// A manifest as a listing shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListedManifest {
    pub(crate) number: u64,
    /// When it was committed, by the store's clock.
    pub(crate) modified_ms: i64,
}

/// All manifests on the store, in ascending order.
pub(crate) async fn list_manifests(
    backend: &Arc<dyn StorageBackend>,
    keys: &IncarnationKeys,
) -> Result<Vec<ListedManifest>> {
    let objects = backend.list(&keys.manifests(), None).await?;
    let listed = objects.iter().filter_map(|info| {
        let number = IncarnationKeys::number_of(&info.key)?;
        Some(ListedManifest { number, modified_ms: info.modified_ms })
    });
    Ok(listed.collect())
}

/// The number of the newest manifest above `after`, if there is one.
pub(crate) async fn find_latest(
    backend: &Arc<dyn StorageBackend>,
    keys: &IncarnationKeys,
    after: u64,
) -> Result<Option<u64>> {
    let newest = ManifestListing::first_page(backend, keys, after).await?.read_to_end(backend, keys).await?;
    Ok((newest > after).then_some(newest))
}

/// The manifest of a number, or `None` if there is none.
pub(crate) async fn read_manifest(
    backend: &Arc<dyn StorageBackend>,
    keys: &IncarnationKeys,
    number: u64,
) -> Result<Option<Manifest>> {
    read_object(backend, &keys.manifest(number), MANIFEST_BYTES_MAX, |bytes| decode_numbered(bytes, number))
        .await
}

/// Puts a manifest at its number if that is free. `bytes` is the manifest, encoded.
pub(crate) async fn commit_manifest(
    env: &Env,
    backend: &Arc<dyn StorageBackend>,
    keys: &IncarnationKeys,
    manifest: &Manifest,
    bytes: Bytes,
) -> Result<CommitOutcome> {
    let key = keys.manifest(manifest.number);
    let decode = |bytes: &Bytes| decode_numbered(bytes, manifest.number);
    match create_object(env, backend, &key, (bytes, MANIFEST_BYTES_MAX), decode).await? {
        CreateOutcome::Created => Ok(CommitOutcome::Committed),
        // "Exists" may be the answer to our own request that the client repeated: the nonce tells them apart.
        CreateOutcome::Exists(found) if found.nonce == manifest.nonce => Ok(CommitOutcome::Committed),
        CreateOutcome::Exists(_) => Ok(CommitOutcome::Lost),
        // It may still arrive, which does no harm: it is derived from the log like any other. So whatever the last
        // answer was, the caller may try again.
        CreateOutcome::InDoubt(error) if error.is_refusal() => Err(error),
        CreateOutcome::InDoubt(error) => {
            let why = format!("the outcome of a manifest commit is unknown: {error}");
            Err(Error::new(ErrorKind::Unavailable, why))
        }
    }
}

/// Decodes a manifest, which must have the number of its name.
fn decode_numbered(bytes: &[u8], number: u64) -> Result<Manifest, CodecError> {
    let manifest = Manifest::decode(bytes)?;
    // An object that was copied to another name has a right checksum.
    if manifest.number == number {
        return Ok(manifest);
    }
    Err(CodecError::malformed("manifest", format!("it holds manifest {}", manifest.number)))
}
