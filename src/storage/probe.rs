//! The probe of a store that holds no database yet.
//!
//! The protocol rests on puts that fail if the object exists, and on reads and listings that show every finished write.
//! Not every store that promises this keeps it, so the first process to open one tries.
//!
//! It refuses a store that ignores create-only puts, or honours them only one after the other; that reports success to
//! several of them, or to none; that shows puts, overwrites or deletes late; that cuts or caches bodies; that lists out
//! of order or repeats pages; that ignores ranges; that reports a missing object as an outage. It has a few objects of
//! 32 bytes and sends some thirty requests, so it cannot notice
//! - what goes wrong rarely: a race that takes more racers or better timing, a replica that lags now and then. Such a
//!   store loses acknowledged writes;
//! - what goes wrong elsewhere: a cache or a mirror in front of other processes only;
//! - what goes wrong with size: listings of several pages, large bodies, uploads in parts. Bodies have a checksum or a
//!   length, pages have to ascend and a missing file is an error, but a page that leaves out objects goes unnoticed;
//! - what goes wrong later: a put that is not durable, a rule of the bucket that expires objects.
//!
//! `storage::conformance` looks harder, at size and at races.
//!
//! **Invariants:** the answer to a put is never believed, only what is read back; a store is called unsupported for
//! what it did, never for not answering.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;

use super::{DatabaseKeys, ObjectInfo, ObjectKey, ObjectPrefix, PutMode, StorageBackend};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::retry::{Backoff, RetryPolicy, retry};

/// The largest object that opening a store writes or reads.
pub(super) const OBJECT_BYTES_MAX: u64 = 64 << 10;
/// How many creates race for one key. A store that checks first and writes later may pass with two that arrive one
/// after the other; with eight, some overlap, and they reach several servers of a replicated store. The conformance
/// suite races harder, but runs only when its author asks for it.
pub(super) const RACERS: usize = 8;

/// Creates one object several times at once. Returns the bodies that won and the errors of the others.
pub(super) async fn race_creates<'a>(
    backend: &dyn StorageBackend,
    key: &ObjectKey,
    bodies: &'a [Bytes],
) -> (Vec<&'a Bytes>, Vec<Error>) {
    let puts = bodies.iter().map(|body| backend.put(key, body.clone().into(), PutMode::Create));
    let (mut won, mut losses) = (Vec::new(), Vec::new());
    for (body, answer) in bodies.iter().zip(join_all(puts).await) {
        match answer {
            Ok(()) => won.push(body),
            Err(error) => losses.push(error),
        }
    }
    (won, losses)
}

pub(super) fn unsupported(check: &str, why: &str) -> Error {
    let message = format!(
        "this store cannot hold a database: {why}. It must honour `If-None-Match: *` (or its equal) and show \
         every finished write at once: update it, turn off what caches or mirrors it, or use another. \
         check=`{check}`"
    );
    Error::new(ErrorKind::UnsupportedStore, message)
}

/// An object that was put, whatever the answer was, and read back.
pub(super) struct Created {
    put: Result<()>,
    pub(super) found: Bytes,
}

/// The error for a store that did what a put asked and says that it did not. An answer may be lost now and then; a
/// database on a store that never confirms a put could not write a segment.
fn unconfirmed(error: Error) -> Error {
    let why = "a put is answered by an error although the object is written";
    // Not unsupported: the answers may have been lost on the way. A client that then repeats a create is told that the
    // object exists.
    if error.is(ErrorKind::AlreadyExists) {
        return Error::new(ErrorKind::Unavailable, format!("{why}: {error}"));
    }
    error.context(why)
}

/// Checks that not every create was answered by an error. All of them wrote their object.
fn check_confirmed(answers: [Result<()>; 2]) -> Result<()> {
    match answers {
        [Err(error), Err(_)] => Err(unconfirmed(error)),
        _ => Ok(()),
    }
}

/// One run of the probe. Its keys are unique, so that any number of processes may probe at once.
pub(super) struct StoreProbe<'a> {
    backend: &'a Arc<dyn StorageBackend>,
    env: &'a Env,
    run_id: String,
}

impl<'a> StoreProbe<'a> {
    pub(super) fn new(backend: &'a Arc<dyn StorageBackend>, env: &'a Env) -> Self {
        Self { backend, env, run_id: env.uuid().simple().to_string() }
    }

    fn key(&self, name: &str) -> ObjectKey {
        DatabaseKeys::probe(format_args!("{}-{name}", self.run_id))
    }

    fn random_body(&self) -> Bytes {
        self.env.uuid().simple().to_string().into()
    }

    pub(super) async fn run(&self) -> Result<()> {
        let outcome = self.run_checks().await;
        // Also after a failure: the first attempt to use a store is often the one that shows a missing permission.
        let names = ["absent", "control", "first", "race", "second"].map(|name| self.key(name));
        // Best effort: objects that stay are small, and in a folder of their own.
        let _ = self.backend.delete_many(&names).await;
        outcome.map_err(|error| error.context("probing the store"))
    }

    async fn run_checks(&self) -> Result<()> {
        let (first, second) = (self.key("first"), self.key("second"));
        let one = self.check_create(&first).await?;
        self.check_second_create(&first, &one.found).await?;
        let a_race_was_won = self.check_racing_creates().await?;
        self.check_missing_object().await?;
        let other = self.check_create(&second).await?;
        if !a_race_was_won {
            check_confirmed([one.put, other.put])?;
        }
        self.check_listing(&[&first, &second]).await?;
        self.check_reads(&first, &one.found).await?;
        self.check_overwrite(&second).await?;
        let keys = [first.clone(), self.key("absent")];
        self.retry(|| async { Ok(self.backend.delete_many(&keys).await?) }).await?;
        if self.read_object(&first).await?.is_some() {
            return Err(unsupported("delete", "a deleted object is still read"));
        }
        self.check_listing(&[&second]).await?;
        // A store that caches misses, or keeps tombstones, may refuse or hide an object that is created again.
        self.check_create(&first).await?;
        Ok(())
    }

    async fn check_create(&self, key: &ObjectKey) -> Result<Created> {
        let body = self.random_body();
        let created = self.create_object(key, &body).await?;
        if created.found == body {
            return Ok(created);
        }
        Err(unsupported("create", "an object that was just created does not hold what was written"))
    }

    async fn check_second_create(&self, key: &ObjectKey, body: &Bytes) -> Result<()> {
        let check = "second create";
        let mut backoff = Backoff::new(RetryPolicy::STORE_PROBE);
        loop {
            let put = self.backend.put(key, self.random_body().into(), PutMode::Create).await;
            if put.is_ok() {
                return Err(unsupported(check, "a second create-only put of one object succeeds"));
            }
            if self.read_object(key).await?.as_ref() != Some(body) {
                return Err(unsupported(check, "a create-only put that failed changed the object"));
            }
            match put {
                Err(error) if error.is(ErrorKind::AlreadyExists) => return Ok(()),
                Err(error) => self.pause_after(&mut backoff, error).await?,
                Ok(()) => {}
            }
        }
    }

    /// Returns whether a create was told that it won.
    async fn check_racing_creates(&self) -> Result<bool> {
        let check = "racing creates";
        let key = self.key("race");
        let mut backoff = Backoff::new(RetryPolicy::STORE_PROBE);
        loop {
            let bodies: Vec<Bytes> = (0..RACERS).map(|_| self.random_body()).collect();
            let (won, losses) = race_creates(self.backend.as_ref(), &key, &bodies).await;
            let found = self.read_object(&key).await?;
            match (won.as_slice(), &found) {
                ([_, _, ..], _) => {
                    return Err(unsupported(check, "several create-only puts of one object succeed at once"));
                }
                ([winner], Some(found)) if *winner != found => {
                    return Err(unsupported(check, "the object does not hold what the one that won wrote"));
                }
                ([_], None) => {
                    return Err(unsupported(check, "an object that was just created is not there"));
                }
                // In later attempts it may be the body of an earlier one whose answer was lost.
                ([], Some(found)) if !bodies.contains(found) && backoff.is_first_attempt() => {
                    return Err(unsupported(check, "the object holds bytes that nobody wrote"));
                }
                (won, Some(_)) => return Ok(!won.is_empty()),
                // All were refused, as some stores do under contention.
                ([], None) => {
                    let why = "the store refuses every create of one object";
                    let error = match losses.into_iter().next() {
                        Some(error) if !error.is(ErrorKind::AlreadyExists) => error,
                        _ => Error::new(ErrorKind::Unavailable, why),
                    };
                    self.pause_after(&mut backoff, error).await?;
                }
            }
        }
    }

    async fn check_listing(&self, expected: &[&ObjectKey]) -> Result<()> {
        let probes = DatabaseKeys::probes();
        let all = self.retry(|| self.backend.list(&probes, None)).await?;
        let (first, after) = (self.key("first"), self.key("first"));
        let rest = self.retry(|| self.backend.list(&probes, Some(&after))).await?;
        let own = |found: &[ObjectInfo]| -> Vec<ObjectKey> {
            let ours = |key: &&ObjectKey| **key == first || **key == self.key("second");
            found.iter().map(|info| &info.key).filter(ours).cloned().collect()
        };
        let check = "listing";
        if !all.is_sorted_by(|a, b| a.key < b.key) {
            return Err(unsupported(check, "a listing is not in order"));
        }
        if own(&all).iter().ne(expected.iter().copied()) {
            return Err(unsupported(check, "a listing does not show what was just written or deleted"));
        }
        let later: Vec<&ObjectKey> = expected.iter().copied().filter(|key| **key > after).collect();
        if own(&rest).iter().ne(later) {
            return Err(unsupported(check, "a listing that starts after a name is wrong"));
        }
        Ok(())
    }

    /// Checks the other ways to read an object and its name.
    async fn check_reads(&self, key: &ObjectKey, body: &Bytes) -> Result<()> {
        let part = self.retry(|| self.backend.get_range(key, 3..7)).await?;
        if Some(part.as_ref()) != body.get(3..7) {
            return Err(unsupported("range", "a range of an object is not the bytes asked for"));
        }
        let info = self.retry(|| self.backend.head(key)).await?;
        if info.key != *key || info.size != body.len() as u64 {
            return Err(unsupported("head", "the metadata of an object have another size than it has"));
        }
        let root = ObjectPrefix::root();
        let folders = self.retry(|| self.backend.list_folders(&root)).await?;
        if !folders.iter().any(|folder| DatabaseKeys::probes().as_str() == format!("{folder}/")) {
            return Err(unsupported("folders", "a folder with objects is not among those listed"));
        }
        Ok(())
    }

    async fn check_overwrite(&self, key: &ObjectKey) -> Result<()> {
        let body = self.random_body();
        let put = self.retry(|| self.backend.put(key, body.clone().into(), PutMode::Overwrite)).await;
        match (put, self.read_object(key).await?) {
            (Ok(()), Some(found)) if found == body => Ok(()),
            (Ok(()), _) => {
                Err(unsupported("overwrite", "an overwritten object does not hold what was written last"))
            }
            (Err(error), Some(found)) if found == body => Err(unconfirmed(error)),
            (Err(error), _) => Err(error),
        }
    }

    async fn check_missing_object(&self) -> Result<()> {
        let absent = self.key("absent");
        match self.backend.get(&absent).await {
            Ok(_) => Err(unsupported("missing object", "an object that was never written is read")),
            Err(error) if error.is(ErrorKind::NotFound) => Ok(()),
            Err(error) => self.explain_missing(error).await,
        }
    }

    /// Reads an object that may be missing. This may be the first request ever to the store, so an unclear answer is
    /// investigated: a store may have no clear answer for a missing object.
    pub(super) async fn read_or_explain(&self, key: &ObjectKey) -> Result<Option<Bytes>> {
        match self.read_object(key).await {
            Err(error) if error.is(ErrorKind::Unavailable) => {
                let outcome = self.explain_missing(error).await;
                let _ = self.backend.delete(&self.key("control")).await;
                outcome?;
                self.read_object(key).await
            }
            answer => answer,
        }
    }

    /// Distinguishes a store that is out of reach from one that answers, but cannot report that an object is missing.
    async fn explain_missing(&self, error: Error) -> Result<()> {
        if error.is(ErrorKind::PermissionDenied) {
            let why = "reading an object that may be missing; some stores, such as S3, report a missing object only to \
                       clients that may list (`s3:ListBucket`)";
            return Err(error.context(why));
        }
        let (control, absent) = (self.key("control"), self.key("absent"));
        let body = self.random_body();
        let answers = self.backend.put(&control, body.clone().into(), PutMode::Create).await.is_ok()
            && self.backend.get(&control).await.is_ok_and(|found| found == body);
        match self.backend.get(&absent).await {
            Err(missing) if missing.is(ErrorKind::NotFound) => Ok(()),
            _ if answers => Err(unsupported("missing object", "it reports a missing object like an outage")),
            _ => Err(error),
        }
    }

    /// Creates an object, and reads what it holds afterwards: `bytes`, or what another process wrote.
    pub(super) async fn create_object(&self, key: &ObjectKey, bytes: &Bytes) -> Result<Created> {
        let mut backoff = Backoff::new(RetryPolicy::STORE_PROBE);
        loop {
            let put = self.backend.put(key, bytes.clone().into(), PutMode::Create).await;
            let found = self.read_object(key).await?;
            match (put, found) {
                (put, Some(found)) => return Ok(Created { put, found }),
                (Ok(()), None) => {
                    return Err(unsupported("create", "an object that was just created is not there"));
                }
                (Err(error), None) => self.pause_after(&mut backoff, error).await?,
            }
        }
    }

    async fn read_object(&self, key: &ObjectKey) -> Result<Option<Bytes>> {
        match self.retry(|| self.backend.get_bounded(key, OBJECT_BYTES_MAX)).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is(ErrorKind::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a request that is safe to repeat.
    async fn retry<T, F>(&self, request: impl Fn() -> F + Send + Sync) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let is_transient = |error: &Error| error.is(ErrorKind::Unavailable);
        retry(self.env, RetryPolicy::STORE_PROBE, is_transient, request).await
    }

    /// Waits before another attempt at a create, or gives up with the error.
    async fn pause_after(&self, backoff: &mut Backoff, error: Error) -> Result<()> {
        // Some stores answer "exists" to concurrent creates of a key that has no object.
        let transient = error.is(ErrorKind::Unavailable) || error.is(ErrorKind::AlreadyExists);
        if transient && backoff.pause(self.env).await { Ok(()) } else { Err(error) }
    }
}
