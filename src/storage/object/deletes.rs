//! Deletes of several objects, by as few requests as the client of a store sends.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;

use futures::{FutureExt, StreamExt, stream};
use object_store::ObjectStore;
use object_store::path::Path;

use super::super::delete_many::show_keys;
use super::super::{IncompleteDelete, ObjectKey};
use super::error::convert;
use crate::error::{Error, ErrorKind, Result};

/// Deletes the objects at `paths`, which are those of `keys`.
pub(super) async fn delete_paths(
    store: &dyn ObjectStore,
    keys: &[ObjectKey],
    paths: Vec<Path>,
) -> Result<(), IncompleteDelete> {
    let sent = stream::iter(paths.clone().into_iter().map(Ok)).boxed();
    // The clients for S3 and Azure of version 0.14.2 panic if the answer names an object that they did not.
    let answers = AssertUnwindSafe(store.delete_stream(sent).collect::<Vec<_>>()).catch_unwind().await;
    let Ok(answers) = answers else {
        let message = format!("the client panicked at the answer to a delete. key=`{}`", show_keys(keys));
        let cause = Error::internal(message);
        return Err(IncompleteDelete { remaining: keys.to_vec(), cause });
    };
    check_answers(keys, &paths, answers)
}

/// An error need not say which object it is about, nor whether it is about one or all of a request: what counts are the
/// objects that are confirmed.
fn check_answers(
    keys: &[ObjectKey],
    paths: &[Path],
    answers: Vec<object_store::Result<Path>>,
) -> Result<(), IncompleteDelete> {
    let (mut confirmed, mut missing, mut cause) = (HashSet::new(), 0, None);
    for answer in answers {
        match answer.map_err(|error| convert(error, &show_keys(keys))) {
            Ok(path) => drop(confirmed.insert(path)),
            Err(error) if error.is(ErrorKind::NotFound) => missing += 1,
            Err(error) => drop(cause.get_or_insert(error)),
        }
    }
    let unconfirmed = keys.iter().zip(paths).filter(|(_, path)| !confirmed.contains(path));
    let remaining: Vec<ObjectKey> = unconfirmed.map(|(key, _)| key.clone()).collect();
    match cause {
        Some(cause) => Err(IncompleteDelete { remaining, cause }),
        // Each of them is missing, so all are deleted.
        None if missing >= remaining.len() => Ok(()),
        None => {
            let message = format!("the store confirmed too few deletes. key=`{}`", show_keys(&remaining));
            Err(IncompleteDelete { remaining, cause: Error::new(ErrorKind::Unavailable, message) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(missing: bool) -> object_store::Error {
        let (path, source) = (String::from("?"), "why".into());
        if missing {
            object_store::Error::NotFound { path, source }
        } else {
            object_store::Error::Generic { store: "S3", source }
        }
    }

    #[test]
    fn only_what_is_confirmed_or_missing_counts_as_deleted() {
        let keys = ["a", "b", "c"].map(|name| ObjectKey::new(name).unwrap());
        let paths = ["r/a", "r/b", "r/c"].map(Path::from);
        let [a, b, c] = paths.clone();
        let remain = |answers| match check_answers(&keys, &paths, answers) {
            Ok(()) => Vec::new(),
            Err(incomplete) => incomplete.remaining.iter().map(ToString::to_string).collect(),
        };
        assert!(remain(vec![Ok(a.clone()), Ok(b.clone()), Ok(c.clone())]).is_empty());
        assert!(remain(vec![Ok(c.clone()), Err(error(true)), Err(error(true))]).is_empty());
        assert_eq!(remain(vec![Ok(a.clone()), Err(error(false)), Ok(c.clone())]), ["b"]);
        // An error for a whole request, and an answer that is too short.
        assert_eq!(remain(vec![Err(error(false))]), ["a", "b", "c"]);
        assert_eq!(remain(vec![Err(error(true)), Ok(b.clone())]), ["a", "c"]);
        // Whether `b` or `c` is the missing one is not known.
        assert_eq!(remain(vec![Ok(a), Err(error(true)), Err(error(false))]), ["b", "c"]);
    }
}
