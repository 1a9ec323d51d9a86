//! From errors of `object_store` to errors of this crate.

use std::fmt;
use std::ops::Range;

use super::super::ObjectKey;
use super::super::scrub::scrubbed_cause;
use crate::error::{Error, ErrorKind};

pub(super) fn out_of_range(key: &ObjectKey, range: &Range<u64>, size: u64) -> Error {
    Error::corrupt(key, format!("range {range:?} of {size} bytes"))
}

pub(super) fn truncated(key: &ObjectKey, received: usize, expected: u64) -> Error {
    let message = format!("the store sent {received} of {expected} bytes. key=`{key}`");
    Error::new(ErrorKind::Unavailable, message)
}

/// How S3, Google Cloud Storage and Azure word the error. `object_store` maps it to `NotFound`, as for an object.
const NO_BUCKET: [&str; 3] = ["NoSuchBucket", "bucket does not exist", "ContainerNotFound"];

fn is_missing_bucket(error: &(dyn std::error::Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).any(|text| NO_BUCKET.iter().any(|words| text.contains(words)))
}

pub(super) fn missing_bucket(key: &impl fmt::Display) -> Error {
    Error::new(ErrorKind::Unavailable, format!("no such bucket or container. key=`{key}`"))
}

/// Converts an error. The original is not kept as a source: its `Debug` may show what `scrub` removes.
#[expect(clippy::needless_pass_by_value, reason = "the original must not live on")]
pub(super) fn convert(error: object_store::Error, key: &impl fmt::Display) -> Error {
    use object_store::Error as Theirs;
    let (kind, what) = match &error {
        // A missing bucket is not a missing object: a strong read would take that for "nothing newer".
        Theirs::NotFound { source, .. } if is_missing_bucket(source.as_ref()) => return missing_bucket(key),
        Theirs::NotFound { .. } => {
            return Error::new(ErrorKind::NotFound, format!("no such object. key=`{key}`"));
        }
        // The answer to a create that was refused. Some stores send it when they are merely busy, so callers read back.
        Theirs::AlreadyExists { .. } | Theirs::Precondition { .. } => {
            return Error::new(ErrorKind::AlreadyExists, format!("the object exists. key=`{key}`"));
        }
        Theirs::PermissionDenied { .. } | Theirs::Unauthenticated { .. } => {
            (ErrorKind::PermissionDenied, "the store rejects these credentials")
        }
        // Of a delete of several objects, where the client has no kind for the error of a single one.
        Theirs::Generic { source, .. } if source.to_string().ends_with("(code: AccessDenied)") => {
            (ErrorKind::PermissionDenied, "the store does not let these credentials delete")
        }
        // As answers by the whole object show. It has no kind of its own.
        Theirs::Generic { source, .. } if source.to_string().contains("non-partial response") => {
            (ErrorKind::UnsupportedStore, "the store ignores the range of a request")
        }
        Theirs::NotImplemented { .. } | Theirs::NotSupported { .. } => {
            (ErrorKind::UnsupportedStore, "the store does not support an operation")
        }
        Theirs::InvalidPath { .. } => (ErrorKind::Invalid, "the store rejects this name"),
        // Anything else may have happened before or after the store did its work. `Unavailable` makes callers of puts
        // read back, and callers of reads try again.
        _ => (ErrorKind::Unavailable, "the request to the store failed"),
    };
    Error::new(kind, format!("{what}: {}. key=`{key}`", scrubbed_cause(&error)))
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;

    use super::*;

    #[test]
    fn every_error_has_its_kind_and_none_shows_a_secret() {
        use object_store::Error as Theirs;
        let path = || String::from("p");
        let source = || -> Box<dyn std::error::Error + Send + Sync> {
            "https://u:CANARY@host/p?sig=CANARY secret_key=CANARY".into()
        };
        let invalid = Path::parse("a//b").unwrap_err();
        let (operation, implementer) = (String::from("o"), String::from("i"));
        let cases = [
            (Theirs::NotFound { path: path(), source: source() }, ErrorKind::NotFound),
            (
                Theirs::NotFound { path: path(), source: "<Code>NoSuchBucket</Code>".into() },
                ErrorKind::Unavailable,
            ),
            (Theirs::AlreadyExists { path: path(), source: source() }, ErrorKind::AlreadyExists),
            (Theirs::Precondition { path: path(), source: source() }, ErrorKind::AlreadyExists),
            (Theirs::PermissionDenied { path: path(), source: source() }, ErrorKind::PermissionDenied),
            (Theirs::Unauthenticated { path: path(), source: source() }, ErrorKind::PermissionDenied),
            (Theirs::NotImplemented { operation, implementer }, ErrorKind::UnsupportedStore),
            (Theirs::NotSupported { source: source() }, ErrorKind::UnsupportedStore),
            (Theirs::InvalidPath { source: invalid }, ErrorKind::Invalid),
            (Theirs::NotModified { path: path(), source: source() }, ErrorKind::Unavailable),
            (Theirs::Generic { store: "S3", source: source() }, ErrorKind::Unavailable),
            (
                Theirs::Generic { store: "S3", source: "key k: locked (code: AccessDenied)".into() },
                ErrorKind::PermissionDenied,
            ),
        ];
        for (theirs, kind) in cases {
            let ours = convert(theirs, &"k");
            assert_eq!(ours.kind(), kind, "{ours}");
            assert!(!format!("{ours} {ours:?}").contains("CANARY"), "{ours}");
            assert!(std::error::Error::source(&ours).is_none());
        }
    }
}
