//! Objects that are read and written whole.
//!
//! **Invariants:** bytes that do not decode are fetched once more before they are called damaged, for the
//! damage may be on the way; after an unclean answer to a create, what is there is read back.

use std::sync::Arc;

use bytes::Bytes;

use super::{ObjectKey, PutMode, StorageBackend};
use crate::codec::CodecError;
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::retry::{Backoff, RetryPolicy};

/// How a create ended, short of an error.
#[derive(Debug)]
pub(crate) enum Created<T> {
    /// The store said that the object is written.
    Written,
    /// An object is there: ours, if only the answer was lost, or another's.
    Found(T),
    /// No attempt had a clear answer, and nothing was there after any. A request may still be on its way.
    Unknown(Error),
}

/// The object, or `None` if there is none. One above `bytes_max` is none that was ever written: it is damaged.
pub(crate) async fn read_whole<T: Send>(
    backend: &Arc<dyn StorageBackend>,
    key: &ObjectKey,
    bytes_max: u64,
    decode: impl Fn(&Bytes) -> Result<T, CodecError> + Send + Sync,
) -> Result<Option<T>> {
    match read_decoded(key, || backend.get_bounded(key, bytes_max), decode).await {
        Ok(object) => Ok(Some(object)),
        Err(e) if e.is(ErrorKind::NotFound) => Ok(None),
        Err(e) => Err(e),
    }
}

/// What `decode` makes of the bytes that `fetch` brings for an object.
pub(crate) async fn read_decoded<T: Send, F>(
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
            tracing::debug!(%key, %error, "an object is fetched once more");
            decode(&fetch().await?).map_err(|e| e.at(key))
        }
    }
}

/// Puts an object if there is none. What is there is read back if it has at most `bytes_max` bytes.
///
/// # Errors
/// Nothing was written by this call and nothing will be.
pub(crate) async fn create_whole<T: Send>(
    env: &Env,
    backend: &Arc<dyn StorageBackend>,
    key: &ObjectKey,
    (bytes, bytes_max): (Bytes, u64),
    decode: impl Fn(&Bytes) -> Result<T, CodecError> + Send + Sync,
) -> Result<Created<T>> {
    if bytes.len() as u64 > bytes_max {
        let size = bytes.len();
        return Err(Error::limit(format!(
            "the object would have {size} of at most {bytes_max} bytes. key=`{key}`"
        )));
    }
    let mut backoff = Backoff::new(RetryPolicy::CREATE_OBJECT);
    loop {
        let put_error = match backend.put(key, bytes.clone(), PutMode::Create).await {
            Ok(()) => return Ok(Created::Written),
            // The store turned the first request down: no other is under way.
            Err(e) if e.is_refusal() && backoff.is_first_attempt() => return Err(e),
            Err(e) => e,
        };
        let last = match read_whole(backend, key, bytes_max, &decode).await {
            Ok(Some(found)) => return Ok(Created::Found(found)),
            Ok(None) => put_error,
            // Whatever it is, the name is taken by it.
            Err(e) if e.is(ErrorKind::Corrupt) || e.is(ErrorKind::UnsupportedVersion) => return Err(e),
            // It is not known what is there, and the put may still be on its way.
            Err(e) => e,
        };
        if !backoff.pause(env).await {
            return Ok(Created::Unknown(last));
        }
    }
}
