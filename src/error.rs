//! The one public error: what went wrong, in words, and what the caller can do about it, as a kind.
//!
//! **Invariant:** an [`Error`] is one word wide, cheap to clone, and never shows a credential or a value of
//! a document.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is wrong: change it. Nothing was written.
    Invalid,
    /// The request passes a stated limit: make it smaller, or raise the limit. Nothing was written.
    LimitExceeded,
    /// The query had no more time: see [`Query::timeout`](crate::Query::timeout).
    DeadlineExceeded,
    /// The query would have read more than it may: see [`Query::bytes_max`](crate::Query::bytes_max).
    BudgetExceeded,
    /// What was asked for does not exist.
    NotFound,
    /// What was to be created exists already.
    AlreadyExists,
    /// The write may or may not have been applied. [`Error::indeterminate`] says which it was; a write with
    /// an idempotency token can be sent again safely, and so can plain upserts and deletes by id.
    Indeterminate,
    /// Too much is waiting to be flushed: call [`Namespace::flush`](crate::Namespace::flush), or wait, then
    /// try again. Nothing was written.
    Backpressure,
    /// The store did not answer, or asked to slow down: try again later.
    Unavailable,
    /// The store refuses these credentials.
    PermissionDenied,
    /// The store lacks what the protocol needs, such as a put that fails if the object exists.
    UnsupportedStore,
    /// The bytes are of a newer format: use a newer version of this crate.
    UnsupportedVersion,
    /// Bytes on the store are damaged. The message names the object.
    Corrupt,
    /// The namespace was deleted.
    Deleted,
    /// The snapshot is too old: what it needs has been collected. Take a new one.
    SnapshotExpired,
    /// The handle was closed.
    Closed,
    /// A bug in this crate, or a panic in a task of it.
    Internal,
}

/// Whether a failed write may have taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Nothing was applied, and nothing will be.
    NotApplied,
    /// It is not known: the write may be in the log, or may still reach it.
    Unknown,
}

/// Which write is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Indeterminate {
    /// The place in the log the write was last sent to.
    pub sequence: u64,
    /// The id of the batch, unique for each commit.
    pub batch: uuid::Uuid,
}

/// What went wrong: see [`Error::kind`] for what to do, and its text for what and where.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    indeterminate: Option<Indeterminate>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error with a message: lower case, no full stop, values last. For authors of a
    /// [`StorageBackend`](crate::storage::StorageBackend).
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), indeterminate: None, source: None }))
    }

    /// The same kind, with more words before the message and this error as the source.
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Self {
        let inner = &self.0;
        let (kind, indeterminate) = (inner.kind, inner.indeterminate);
        let message = format!("{what}: {}", inner.message);
        Self(Arc::new(Inner { kind, message, indeterminate, source: Some(Box::new(self)) }))
    }

    /// The outcome of the write at `sequence` is unknown.
    pub(crate) fn in_doubt(sequence: u64, batch: uuid::Uuid, cause: Option<Error>) -> Self {
        let why = cause.as_ref().map_or_else(String::new, |e| format!(": {e}"));
        Self(Arc::new(Inner {
            kind: ErrorKind::Indeterminate,
            message: format!(
                "the write may or may not be applied. sequence=`{sequence}` batch=`{batch}`{why}"
            ),
            indeterminate: Some(Indeterminate { sequence, batch }),
            source: cause.map(|e| Box::new(e) as _),
        }))
    }

    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the failed write may have been applied. For anything but writes this has no meaning.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self.0.kind {
            ErrorKind::Indeterminate | ErrorKind::Internal => Outcome::Unknown,
            _ => Outcome::NotApplied,
        }
    }

    /// Whether the same call may succeed later without a change.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unavailable | ErrorKind::Backpressure)
    }

    /// The write in doubt, for [`ErrorKind::Indeterminate`].
    #[must_use]
    pub fn indeterminate(&self) -> Option<Indeterminate> {
        self.0.indeterminate
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::LimitExceeded, message)
    }

    pub(crate) fn corrupt(object: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Corrupt, format!("damaged object: {cause}. key=`{object}`"))
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    pub(crate) fn is(&self, kind: ErrorKind) -> bool {
        self.0.kind == kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.0.kind, self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}

/// Only this crate's own in-memory encoders raise arrow errors that reach a caller; bytes from a store are
/// mapped to [`ErrorKind::Corrupt`] where they are read.
impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::internal(format!("arrow: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_word_and_keeps_its_kind_through_context() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        let error = Error::invalid("bad name").context("opening");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(error.to_string(), "opening: bad name");
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("bad name"));
    }

    #[test]
    fn only_a_write_in_doubt_has_an_unknown_outcome() {
        let doubt = Error::in_doubt(7, uuid::Uuid::nil(), None);
        assert_eq!((doubt.kind(), doubt.outcome()), (ErrorKind::Indeterminate, Outcome::Unknown));
        assert_eq!(doubt.indeterminate().map(|d| d.sequence), Some(7));
        assert_eq!(Error::invalid("x").outcome(), Outcome::NotApplied);
    }
}
