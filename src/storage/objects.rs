//! Reading and creating objects as a whole.
//!
//! **Invariants:** bytes that do not decode are fetched once more before they count as damaged, since the damage may
//! have happened in transit; after a create without a clear answer, the object is read back.

use std::sync::Arc;

use bytes::Bytes;

use super::{ObjectKey, Payload, PutMode, StorageBackend};
use crate::codec::CodecError;
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::retry::{Backoff, RetryPolicy};

/// How a create ended, unless it is certain that nothing was written.
#[derive(Debug)]
pub(crate) enum CreateOutcome<T> {
    /// The store confirmed the object.
    Created,
    /// An object exists: ours, if only the answer was lost, or that of another writer.
    Exists(T),
    /// No attempt got a clear answer, and the object was not there after any. A request may still be in flight.
    InDoubt(Error),
}

/// Reads and decodes an object; `None` if there is none. An object above `bytes_max` counts as damaged: nothing that
/// large was ever written under such a key.
pub(crate) async fn read_object<T: Send>(
    backend: &Arc<dyn StorageBackend>,
    key: &ObjectKey,
    bytes_max: u64,
    decode: impl Fn(&Bytes) -> Result<T, CodecError> + Send + Sync,
) -> Result<Option<T>> {
    match fetch_decoded(key, || backend.get_bounded(key, bytes_max), decode).await {
        Ok(object) => Ok(Some(object)),
        Err(e) if e.is(ErrorKind::NotFound) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Fetches and decodes an object that a manifest names. Its absence is damage, or a sign that the manifest is outdated:
/// the caller may retry with a newer one.
///
/// # Errors
/// [`Error::missing`] if there is none.
pub(crate) async fn fetch_named<T: Send, F>(
    key: &ObjectKey,
    fetch: impl Fn() -> F + Send + Sync,
    decode: impl Fn(&Bytes) -> Result<T, CodecError> + Send + Sync,
) -> Result<T>
where
    F: Future<Output = Result<Bytes>> + Send,
{
    let fetched = fetch_decoded(key, fetch, decode).await;
    fetched.map_err(|e| if e.is(ErrorKind::NotFound) { Error::missing(key) } else { e })
}

/// Fetches and decodes an object.
async fn fetch_decoded<T: Send, F>(
    key: &ObjectKey,
    fetch: impl Fn() -> F + Send + Sync,
    decode: impl Fn(&Bytes) -> Result<T, CodecError> + Send + Sync,
) -> Result<T>
where
    F: Future<Output = Result<Bytes>> + Send,
{
    match decode(&fetch().await?) {
        Ok(object) => Ok(object),
        Err(error) => {
            tracing::debug!(%key, %error, "an object does not decode: fetching it once more");
            decode(&fetch().await?).map_err(|e| e.at(key))
        }
    }
}

/// Creates an object, or reads and decodes the one that exists, of at most `bytes_max` bytes.
///
/// # Errors
/// Any error means that this call wrote nothing, and that none of its requests will.
pub(crate) async fn create_object<T: Send>(
    env: &Env,
    backend: &Arc<dyn StorageBackend>,
    key: &ObjectKey,
    (bytes, bytes_max): (Bytes, u64),
    decode: impl Fn(&Bytes) -> Result<T, CodecError> + Send + Sync,
) -> Result<CreateOutcome<T>> {
    if bytes.len() as u64 > bytes_max {
        // Readers would refuse it as damaged.
        let size = bytes.len();
        return Err(Error::limit(format!(
            "object too large: {size} of at most {bytes_max} bytes. key=`{key}`"
        )));
    }
    let body = Payload::from(bytes);
    let mut backoff = Backoff::new(RetryPolicy::CREATE_OBJECT);
    loop {
        let put_error = match backend.put(key, body.clone(), PutMode::Create).await {
            Ok(()) => return Ok(CreateOutcome::Created),
            // Of the first attempt only: an earlier one may still be in flight, and succeed after this refusal.
            Err(e) if e.is_refusal() && backoff.is_first_attempt() => return Err(e),
            Err(e) => e,
        };
        let last_error = match read_object(backend, key, bytes_max, &decode).await {
            Ok(Some(found)) => return Ok(CreateOutcome::Exists(found)),
            Ok(None) => put_error,
            // An object exists, though not one that this version can read: the create has lost.
            Err(e) if e.is(ErrorKind::Corrupt) || e.is(ErrorKind::UnsupportedVersion) => return Err(e),
            // Unknown whether an object exists, and the put may still be in flight.
            Err(e) => e,
        };
        if !backoff.pause(env).await {
            return Ok(CreateOutcome::InDoubt(last_error));
        }
    }
}
