//! Deletes of several objects in one call.

use std::fmt;

use futures::{StreamExt, stream};

use super::{ObjectKey, StorageBackend};
use crate::error::{Error, Result};

/// How many objects are deleted at once by a store without a request for several. As many connections as clients of
/// object stores keep open anyway.
const PARALLEL_DELETES: usize = 32;

/// Some of several objects may not have been deleted: see [`StorageBackend::delete_many`].
///
/// ```
/// use elacsym::storage::{IncompleteDelete, ObjectKey, StorageBackend};
///
/// async fn delete_twice(store: &dyn StorageBackend, keys: &[ObjectKey]) -> Result<(), IncompleteDelete> {
///     match store.delete_many(keys).await {
///         Err(IncompleteDelete { remaining, cause }) if cause.is_retryable() => store.delete_many(&remaining).await,
///         outcome => outcome,
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # Ok(delete_twice(&elacsym::storage::MemoryBackend::new(), &[ObjectKey::new("a")?]).await?) }
/// ```
#[derive(Clone, Debug)]
pub struct IncompleteDelete {
    /// The objects that may still exist, in the order in which they were given. All others are deleted.
    pub remaining: Vec<ObjectKey>,
    /// The first error.
    pub cause: Error,
}

impl IncompleteDelete {
    /// What the answers to single deletes come to.
    pub(super) fn check_answers(keys: &[ObjectKey], answers: Vec<Result<()>>) -> Result<(), Self> {
        let (mut remaining, mut cause) = (Vec::new(), None);
        for (key, answer) in keys.iter().zip(answers) {
            if let Err(error) = answer {
                remaining.push(key.clone());
                cause.get_or_insert(error);
            }
        }
        cause.map_or(Ok(()), |cause| Err(Self { remaining, cause }))
    }
}

/// Some keys for the text of an error.
pub(super) fn show_keys(keys: &[ObjectKey]) -> String {
    match keys {
        [] => "none".to_owned(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

/// Deletes objects one by one, some at a time.
pub(super) async fn delete_one_by_one<B: StorageBackend + ?Sized>(
    backend: &B,
    keys: &[ObjectKey],
) -> Result<(), IncompleteDelete> {
    // A vector, because the compiler cannot show that a stream over a closure is `Send`.
    let mut deletes = Vec::with_capacity(keys.len());
    for key in keys {
        deletes.push(backend.delete(key));
    }
    // All answers, also after an error: no delete may be under way when the call returns.
    let answers = stream::iter(deletes).buffered(PARALLEL_DELETES).collect().await;
    IncompleteDelete::check_answers(keys, answers)
}

impl fmt::Display for IncompleteDelete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} objects may not have been deleted: {}", self.remaining.len(), self.cause)
    }
}

impl std::error::Error for IncompleteDelete {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Of the kind of the cause.
impl From<IncompleteDelete> for Error {
    fn from(incomplete: IncompleteDelete) -> Self {
        let remaining = incomplete.remaining.len();
        incomplete.cause.context(format_args!("{remaining} objects may not have been deleted"))
    }
}
