//! The public error type: a message that says what went wrong, and a kind that says what the caller can do.
//!
//! **Invariant:** an [`Error`] is one word wide, cheap to clone, and never shows a credential or a value of a document.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an [`Error`].
///
/// ```
/// use elacsym::{Database, ErrorKind};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # let db = Database::open("memory://").await?;
/// match db.open_namespace("docs").await {
///     Ok(docs) => println!("{} documents", docs.count().await?),
///     Err(error) if error.kind() == ErrorKind::NotFound => println!("nothing there yet"),
///     Err(error) => return Err(error),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is invalid: change it. Nothing was written.
    Invalid,
    /// The request exceeds a limit: make it smaller, or raise the limit. Nothing was written.
    LimitExceeded,
    /// The query ran out of time: see [`Query::timeout`](crate::Query::timeout).
    DeadlineExceeded,
    /// The query would have read more from the store than it may: see [`Query::bytes_max`](crate::Query::bytes_max).
    BudgetExceeded,
    /// The requested item does not exist.
    NotFound,
    /// The item to create exists already.
    AlreadyExists,
    /// The write may or may not have been applied. [`Error::in_doubt`] identifies it. A write with an idempotency
    /// token can safely be repeated, and so can plain upserts and deletes by id.
    Indeterminate,
    /// The tail is too large: call [`Namespace::flush`](crate::Namespace::flush) or wait, then retry. Nothing was
    /// written.
    Backpressure,
    /// The store did not answer, or asked to slow down: retry later.
    Unavailable,
    /// The store has no more space, or a quota is used up. Nothing was written.
    StorageFull,
    /// The store rejects the credentials.
    PermissionDenied,
    /// The store lacks a capability that the protocol needs, such as a put that fails if the object exists.
    UnsupportedStore,
    /// The data has a newer format: use a newer version of this crate. Where reads succeed, only writers have to know it.
    UnsupportedVersion,
    /// Data in the store is damaged. The message names the object.
    Corrupt,
    /// The namespace was deleted.
    Deleted,
    /// The snapshot is too old: files that it needs have been deleted. Take a new one.
    SnapshotExpired,
    /// The handle was closed.
    Closed,
    /// A bug in this crate, or a panic in one of its tasks.
    Internal,
}

/// Whether a failed write may have taken effect.
///
/// ```
/// use elacsym::{Error, ErrorKind, Outcome};
///
/// let advice = |error: &Error| match error.outcome() {
///     Outcome::NotApplied if error.is_retryable() => "send it again later",
///     Outcome::NotApplied => "change it",
///     Outcome::Unknown => "send it again with the same token",
/// };
/// assert_eq!(advice(&Error::new(ErrorKind::Unavailable, "the store asks to slow down")), "send it again later");
/// assert_eq!(advice(&Error::new(ErrorKind::Indeterminate, "no answer")), "send it again with the same token");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The write was not applied, and will not be.
    NotApplied,
    /// Unknown: the write may be in the log, or may still reach it.
    Unknown,
}

/// The identity of a write in doubt.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::*;
/// # let schema = Schema::builder(IdKind::U64).build()?;
/// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
/// let batch = WriteBatch::new().upsert(Document::new(1)).token(0x5eed);
/// if let Err(error) = docs.write(&batch).await {
///     let Some(in_doubt) = error.in_doubt() else { return Err(error) };
///     println!("batch {} may be entry {}: sending it again", in_doubt.batch, in_doubt.sequence);
///     docs.write(&batch).await?;
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InDoubt {
    /// The log position that the write was last sent to.
    pub sequence: u64,
    /// The id of the batch. It is unique for each commit.
    pub batch: uuid::Uuid,
}

/// What went wrong: see [`Error::kind`] for what to do, and its text for what and where.
///
/// ```
/// use elacsym::{ErrorKind, NamespaceName};
///
/// let error = NamespaceName::new("cold tea").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Invalid);
/// assert_eq!(error.to_string(), "bad namespace name: only A-Z a-z 0-9 - _ . are allowed. name=`cold tea`");
/// // For a reader who does not know where the name comes from.
/// assert!(error.context("line 7").to_string().starts_with("line 7: bad namespace name"));
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    in_doubt: Option<InDoubt>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    /// Whether the cause is that a file in use is gone.
    missing: bool,
}

impl Inner {
    fn new(kind: ErrorKind, message: String) -> Self {
        Self { kind, message, in_doubt: None, source: None, missing: false }
    }
}

impl Error {
    /// An error with a message: lower case, no full stop, values last. For authors of a
    /// [`StorageBackend`](crate::storage::StorageBackend).
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner::new(kind, message.into())))
    }

    /// The same with what caused it. For authors of a [`StorageBackend`](crate::storage::StorageBackend).
    #[must_use]
    pub fn with_source(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.caused(self.0.message.clone(), Box::new(source))
    }

    /// Prepends `what` to the message. The kind stays, and this error becomes the source.
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Self {
        let message = format!("{what}: {}", self.0.message);
        self.caused(message, Box::new(self.clone()))
    }

    /// The same error with another message and source.
    fn caused(&self, message: String, source: Box<dyn StdError + Send + Sync>) -> Self {
        let Inner { kind, in_doubt, missing, .. } = *self.0;
        Self(Arc::new(Inner { kind, message, in_doubt, missing, source: Some(source) }))
    }

    /// An error for a write whose outcome is unknown.
    pub(crate) fn write_in_doubt(sequence: u64, batch: uuid::Uuid, cause: Option<Error>) -> Self {
        let why = cause.as_ref().map_or_else(String::new, |e| format!(": {e}"));
        Self(Arc::new(Inner {
            kind: ErrorKind::Indeterminate,
            message: format!(
                "the write may or may not be applied. sequence=`{sequence}` batch=`{batch}`{why}"
            ),
            in_doubt: Some(InDoubt { sequence, batch }),
            source: cause.map(|e| Box::new(e) as _),
            missing: false,
        }))
    }

    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the failed write may have been applied. Meaningless for other operations.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self.0.kind {
            // A panic may have come at any point of a write.
            ErrorKind::Indeterminate | ErrorKind::Internal => Outcome::Unknown,
            _ => Outcome::NotApplied,
        }
    }

    /// Whether the same call may succeed later without a change. An expired snapshot stays expired: the call has to be
    /// made on a new one.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unavailable | ErrorKind::Backpressure)
    }

    /// The write in doubt, for [`ErrorKind::Indeterminate`].
    #[must_use]
    pub fn in_doubt(&self) -> Option<InDoubt> {
        self.0.in_doubt
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

    /// An error for a file that is gone although the state refers to it. For the caller this is damage; inside the
    /// crate a reader first checks whether a newer state does without the file.
    pub(crate) fn missing(object: impl fmt::Display) -> Self {
        let message = format!("damaged object: missing, although it is in use. key=`{object}`");
        Self(Arc::new(Inner { missing: true, ..Inner::new(ErrorKind::Corrupt, message) }))
    }

    /// Whether this is, or comes from, [`Self::missing`].
    pub(crate) fn is_missing(&self) -> bool {
        self.0.missing
    }

    /// Whether the store rejected a put before it did anything, so that nothing was written and nothing will be.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self.0.kind, ErrorKind::PermissionDenied | ErrorKind::StorageFull)
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

/// Converts errors of Arrow from this crate's own in-memory operations, which are bugs. Errors from bytes of a store
/// are
/// [`ErrorKind::Corrupt`], and are converted where the bytes are read. Not a `From`: `?` in an application's code would
/// turn its own Arrow errors into bugs of this crate.
pub(crate) trait OrInternal<T> {
    fn or_internal(self) -> Result<T>;
}

impl<T> OrInternal<T> for Result<T, arrow::error::ArrowError> {
    fn or_internal(self) -> Result<T> {
        self.map_err(|error| Error::internal(format!("arrow: {error}")))
    }
}

/// The beginning of a text that an error shows. What is refused may be long, or move the cursor of a terminal.
pub(crate) fn escaped_start(text: &str, characters: usize) -> String {
    text.chars().take(characters).flat_map(char::escape_default).collect()
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
    fn only_errors_that_may_pass_are_retryable() {
        for (kind, retryable) in [
            (ErrorKind::Unavailable, true),
            (ErrorKind::Backpressure, true),
            (ErrorKind::SnapshotExpired, false),
            (ErrorKind::Indeterminate, false),
            (ErrorKind::Invalid, false),
            (ErrorKind::Closed, false),
        ] {
            assert_eq!(Error::new(kind, "x").is_retryable(), retryable, "{kind:?}");
        }
    }

    #[test]
    fn only_a_write_in_doubt_has_an_unknown_outcome() {
        let doubt = Error::write_in_doubt(7, uuid::Uuid::nil(), None);
        assert_eq!((doubt.kind(), doubt.outcome()), (ErrorKind::Indeterminate, Outcome::Unknown));
        assert_eq!(doubt.in_doubt().map(|d| d.sequence), Some(7));
        assert_eq!(Error::invalid("x").outcome(), Outcome::NotApplied);
    }
}
