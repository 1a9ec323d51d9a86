//! The `STORE` object, and the probe of a store that has none yet.
//!
//! The protocol rests on puts that fail if the object exists, and on reads and listings that show every
//! finished write. Stores that promise this do not all keep it, so the first to open one tries. The verdict is
//! stored with the store's id: whoever opens it later reads one object and writes nothing.
//!
//! **Invariants:** no answer of a put is believed, only what is read back; a store is called unsupported for
//! what it did, never for not answering.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{DatabaseKeys, ObjectKey, PutMode, StorageBackend};
use crate::codec::Frame;
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::retry::{Backoff, RetryPolicy, retry};
use crate::settings::{GRACE_DEFAULT, GRACE_MAX, GRACE_MIN};

const FRAME: Frame = Frame { what: "store", version: 1 };
/// Neither `STORE` nor what the probe makes is larger.
const BYTES_MAX: u64 = 64 << 10;
/// How many creates race for one name.
const RACERS: usize = 8;

/// What is known of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoreInfo {
    /// Unique for every store.
    pub(crate) id: Uuid,
    /// When it was made, by the clock of who made it: milliseconds since 1970-01-01 UTC.
    pub(crate) created_ms: i64,
    /// What all processes that open it hold to.
    pub(crate) grace: Duration,
}

/// The `STORE` object.
#[derive(Debug, Deserialize, Serialize)]
struct Record {
    /// The layout of the objects below the root.
    format: u32,
    store: String,
    created_ms: i64,
    created_by: String,
    grace_ms: u64,
    probe: Verdict,
}

/// What the probe found. There is just one verdict a store can be opened with; the racers say how hard it was
/// tried.
#[derive(Debug, Deserialize, Serialize)]
struct Verdict {
    create_only: bool,
    racers: usize,
}

/// The layout that this version reads and writes.
const FORMAT: u32 = 1;

/// Reads the `STORE` object. If there is none: probes the store, and makes it. `grace` is what the settings say, if
/// they say anything: a store that holds another is not opened.
pub(crate) async fn open_store(
    backend: &Arc<dyn StorageBackend>,
    env: &Env,
    grace: Option<Duration>,
) -> Result<StoreInfo> {
    let info = find_or_create(backend, env, grace.unwrap_or(GRACE_DEFAULT)).await?;
    match grace {
        // One that deletes after less would take what another still builds upon.
        Some(grace) if millis(grace) != millis(info.grace) => Err(Error::invalid(format!(
            "the database was created with another grace, which all its processes share: leave `Settings::grace` \
             unset to take it from the database. database=`{:?}` settings=`{grace:?}`",
            info.grace
        ))),
        _ => Ok(info),
    }
}

/// At most [`GRACE_MAX`], which fits.
fn millis(grace: Duration) -> u64 {
    u64::try_from(grace.as_millis()).unwrap_or(u64::MAX)
}

async fn find_or_create(backend: &Arc<dyn StorageBackend>, env: &Env, grace: Duration) -> Result<StoreInfo> {
    let key = DatabaseKeys::store();
    let probe = Probe::new(backend, env);
    let found = probe.get_missing(&key).await.map_err(|error| error.context("opening the store"))?;
    if let Some(bytes) = found {
        return settle(backend, &bytes).await;
    }
    probe.run().await?;
    create(backend, env, grace).await
}

async fn create(backend: &Arc<dyn StorageBackend>, env: &Env, grace: Duration) -> Result<StoreInfo> {
    let key = DatabaseKeys::store();
    let (id, created_ms) = (env.uuid(), env.wall_ms());
    let record = Record {
        format: FORMAT,
        store: id.simple().to_string(),
        created_ms,
        created_by: concat!("elacsym ", env!("CARGO_PKG_VERSION")).to_owned(),
        grace_ms: millis(grace),
        probe: Verdict { create_only: true, racers: RACERS },
    };
    let bytes = FRAME.encode(&record).map_err(|error| error.at(&key))?;
    let found = Probe::new(backend, env).create(&key, &bytes).await?;
    settle(backend, &found).await
}

/// What the object says; if that does not read it is fetched once more, for the damage may be on the way.
async fn settle(backend: &Arc<dyn StorageBackend>, found: &[u8]) -> Result<StoreInfo> {
    match decode(found) {
        Ok(info) => Ok(info),
        Err(_) => decode(&backend.get_bounded(&DatabaseKeys::store(), BYTES_MAX).await?),
    }
}

fn decode(bytes: &[u8]) -> Result<StoreInfo> {
    let key = DatabaseKeys::store();
    let record: Record = FRAME.decode(bytes).map_err(|error| error.at(&key))?;
    if record.format != FORMAT {
        let message = format!("the store has another format. key=`{key}` format=`{}`", record.format);
        return Err(Error::new(ErrorKind::UnsupportedVersion, message));
    }
    if !record.probe.create_only {
        return Err(unsupported("an earlier probe", "the store does not honour create-only puts"));
    }
    let id = Uuid::try_parse(&record.store).map_err(|_| Error::corrupt(&key, "the store's id is no UUID"))?;
    let grace = Duration::from_millis(record.grace_ms);
    if !(GRACE_MIN..=GRACE_MAX).contains(&grace) {
        return Err(Error::corrupt(&key, "its grace is out of range"));
    }
    Ok(StoreInfo { id, created_ms: record.created_ms, grace })
}

fn unsupported(check: &str, why: &str) -> Error {
    let message = format!(
        "this store cannot hold a database: {why}. It must honour `If-None-Match: *` (or its equal) and show \
         every finished write at once: update it, turn off what caches or mirrors it, or use another. \
         check=`{check}`"
    );
    Error::new(ErrorKind::UnsupportedStore, message)
}

/// One run of the probe. Its objects have names of their own: any number may run at once.
struct Probe<'a> {
    backend: &'a Arc<dyn StorageBackend>,
    env: &'a Env,
    run: String,
}

impl<'a> Probe<'a> {
    fn new(backend: &'a Arc<dyn StorageBackend>, env: &'a Env) -> Self {
        Self { backend, env, run: env.uuid().simple().to_string() }
    }

    fn key(&self, name: &str) -> ObjectKey {
        DatabaseKeys::probe(format_args!("{}-{name}", self.run))
    }

    fn nonce(&self) -> Bytes {
        self.env.uuid().simple().to_string().into()
    }

    async fn run(&self) -> Result<()> {
        let outcome = self.checks().await;
        let names = ["absent", "control", "first", "race", "second"].map(|name| self.key(name));
        // Best effort: what stays is small, and below a folder of its own.
        join_all(names.iter().map(|key| self.backend.delete(key))).await;
        outcome.map_err(|error| error.context("probing the store"))
    }

    async fn checks(&self) -> Result<()> {
        let (first, second) = (self.key("first"), self.key("second"));
        let body = self.create_is_readable(&first).await?;
        self.second_create_is_refused(&first, &body).await?;
        self.one_racer_wins().await?;
        self.missing_is_not_found().await?;
        self.create_is_readable(&second).await?;
        self.list_shows(&[&first, &second]).await?;
        self.range_is_exact(&first, &body).await?;
        self.ask(|| self.backend.delete(&first)).await?;
        if self.read(&first).await?.is_some() {
            return Err(unsupported("delete", "a deleted object is still read"));
        }
        self.list_shows(&[&second]).await?;
        self.create_is_readable(&first).await?;
        Ok(())
    }

    async fn create_is_readable(&self, key: &ObjectKey) -> Result<Bytes> {
        let body = self.nonce();
        if self.create(key, &body).await? == body {
            return Ok(body);
        }
        Err(unsupported("create", "an object that was just created does not hold what was written"))
    }

    async fn second_create_is_refused(&self, key: &ObjectKey, body: &Bytes) -> Result<()> {
        let check = "second create";
        let mut backoff = Backoff::new(RetryPolicy::STORE_PROBE);
        loop {
            let put = self.backend.put(key, self.nonce(), PutMode::Create).await;
            if put.is_ok() {
                return Err(unsupported(check, "a second create-only put of one object succeeds"));
            }
            if self.read(key).await?.as_ref() != Some(body) {
                return Err(unsupported(check, "a create-only put that failed changed the object"));
            }
            match put {
                Err(error) if error.is(ErrorKind::AlreadyExists) => return Ok(()),
                Err(error) => self.pause_after(&mut backoff, error).await?,
                Ok(()) => {}
            }
        }
    }

    async fn one_racer_wins(&self) -> Result<()> {
        let check = "racing creates";
        let key = self.key("race");
        let mut backoff = Backoff::new(RetryPolicy::STORE_PROBE);
        loop {
            let bodies: Vec<Bytes> = (0..RACERS).map(|_| self.nonce()).collect();
            let puts = bodies.iter().map(|body| self.backend.put(&key, body.clone(), PutMode::Create));
            let answers = join_all(puts).await;
            let won: Vec<&Bytes> = bodies
                .iter()
                .zip(&answers)
                .filter(|(_, answer)| answer.is_ok())
                .map(|(body, _)| body)
                .collect();
            let found = self.read(&key).await?;
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
                ([], Some(found)) if !bodies.contains(found) && backoff.is_first_attempt() => {
                    return Err(unsupported(check, "the object holds what nobody wrote"));
                }
                (_, Some(_)) => return Ok(()),
                // All were refused, as some stores do when they are busy.
                ([], None) => {
                    let busy =
                        Error::new(ErrorKind::Unavailable, "the store refuses every create of one object");
                    let error = answers.into_iter().find_map(Result::err).unwrap_or_else(|| busy.clone());
                    let error = if error.is(ErrorKind::AlreadyExists) { busy } else { error };
                    self.pause_after(&mut backoff, error).await?;
                }
            }
        }
    }

    async fn list_shows(&self, expected: &[&ObjectKey]) -> Result<()> {
        let probes = DatabaseKeys::probes();
        let all = self.ask(|| self.backend.list(&probes, None)).await?;
        let (first, after) = (self.key("first"), self.key("first"));
        let rest = self.ask(|| self.backend.list(&probes, Some(&after))).await?;
        let own = |found: &[super::ObjectInfo]| -> Vec<ObjectKey> {
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

    async fn range_is_exact(&self, key: &ObjectKey, body: &Bytes) -> Result<()> {
        let part = self.ask(|| self.backend.get_range(key, 3..7)).await?;
        if Some(part.as_ref()) == body.get(3..7) {
            return Ok(());
        }
        Err(unsupported("range", "a range of an object is not the bytes asked for"))
    }

    async fn missing_is_not_found(&self) -> Result<()> {
        let absent = self.key("absent");
        match self.backend.get(&absent).await {
            Ok(_) => Err(unsupported("missing object", "an object that nobody wrote is read")),
            Err(error) if error.is(ErrorKind::NotFound) => Ok(()),
            Err(error) => self.explain_missing(error).await,
        }
    }

    /// The object, if it is there. It may be the first request ever to this store, so an answer that is no
    /// answer is looked into: a store may have no clear word for "not there".
    async fn get_missing(&self, key: &ObjectKey) -> Result<Option<Bytes>> {
        match self.read(key).await {
            Err(error) if error.is(ErrorKind::Unavailable) => {
                let outcome = self.explain_missing(error).await;
                let _ = self.backend.delete(&self.key("control")).await;
                outcome?;
                self.read(key).await
            }
            answer => answer,
        }
    }

    /// Tells a store that is out of reach from one that answers, but not that an object is missing.
    async fn explain_missing(&self, error: Error) -> Result<()> {
        if error.is(ErrorKind::PermissionDenied) {
            let why = "reading an object that may be missing; some stores, as S3, say that one is missing only \
                       to who may list (`s3:ListBucket`)";
            return Err(error.context(why));
        }
        let (control, absent) = (self.key("control"), self.key("absent"));
        let body = self.nonce();
        let answers = self.backend.put(&control, body.clone(), PutMode::Create).await.is_ok()
            && self.backend.get(&control).await.is_ok_and(|found| found == body);
        match self.backend.get(&absent).await {
            Err(missing) if missing.is(ErrorKind::NotFound) => Ok(()),
            _ if answers => Err(unsupported("missing object", "a missing object is not told from an outage")),
            _ => Err(error),
        }
    }

    /// Creates an object, and says what it holds afterwards: `bytes`, or what another wrote.
    async fn create(&self, key: &ObjectKey, bytes: &Bytes) -> Result<Bytes> {
        let mut backoff = Backoff::new(RetryPolicy::STORE_PROBE);
        loop {
            let put = self.backend.put(key, bytes.clone(), PutMode::Create).await;
            let found = self.read(key).await?;
            match (put, found) {
                (_, Some(found)) => return Ok(found),
                (Ok(()), None) => {
                    return Err(unsupported("create", "an object that was just created is not there"));
                }
                (Err(error), None) => self.pause_after(&mut backoff, error).await?,
            }
        }
    }

    async fn read(&self, key: &ObjectKey) -> Result<Option<Bytes>> {
        match self.ask(|| self.backend.get_bounded(key, BYTES_MAX)).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is(ErrorKind::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a request that changes nothing by being sent twice, again while it is not answered.
    async fn ask<T, F>(&self, request: impl Fn() -> F + Send + Sync) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let is_transient = |error: &Error| error.is(ErrorKind::Unavailable);
        retry(self.env, RetryPolicy::STORE_PROBE, is_transient, request).await
    }

    /// Waits before another attempt at a create, or gives up with the error.
    async fn pause_after(&self, backoff: &mut Backoff, error: Error) -> Result<()> {
        // Some stores answer "exists" to creates that merely met one another: the object is not there.
        let transient = error.is(ErrorKind::Unavailable) || error.is(ErrorKind::AlreadyExists);
        if transient && backoff.pause(self.env).await { Ok(()) } else { Err(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{CountingBackend, MemoryBackend, ObjectPrefix, Verb};

    #[tokio::test]
    async fn a_store_is_probed_once_and_later_opened_by_one_read() -> Result<()> {
        let env = Env::current()?;
        let counting = CountingBackend::new(Arc::new(MemoryBackend::new()));
        let backend: Arc<dyn StorageBackend> = Arc::new(counting.clone());
        let info = open_store(&backend, &env, None).await?;
        let left = backend.list(&ObjectPrefix::root(), None).await?;
        assert_eq!(left.iter().map(|info| info.key.as_str()).collect::<Vec<_>>(), ["STORE"]);
        counting.reset();
        assert_eq!(open_store(&backend, &env, None).await?, info);
        assert_eq!((counting.requests(), counting.count(Verb::Get)), (1, 1));
        Ok(())
    }

    #[tokio::test]
    async fn all_who_open_at_once_agree_on_the_store() -> Result<()> {
        let env = Env::current()?;
        let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
        let opened = join_all((0..8).map(|_| open_store(&backend, &env, None))).await;
        let ids: Vec<_> = opened.into_iter().collect::<Result<_>>()?;
        assert!(ids.windows(2).all(|pair| pair[0] == pair[1]));
        Ok(())
    }

    #[tokio::test]
    async fn who_creates_a_store_decides_on_its_grace() -> Result<()> {
        let env = Env::current()?;
        let hours = |hours| Some(Duration::from_hours(hours));
        for (first, held) in [(hours(48), 48), (None, 24)] {
            let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
            for grace in [first, None, hours(held)] {
                let info = open_store(&backend, &env, grace).await?;
                assert_eq!(Some(info.grace), hours(held));
            }
            let error = open_store(&backend, &env, hours(2)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let held = format!("database=`{:?}` settings=`7200s`", Duration::from_hours(held));
            assert!(error.to_string().contains(&held), "{error}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_damaged_or_newer_store_is_not_opened() -> Result<()> {
        let env = Env::current()?;
        let key = DatabaseKeys::store();
        let newer = Frame { what: "store", version: 2 }.encode(&1).unwrap();
        for (bytes, kind) in [(Bytes::from("?"), ErrorKind::Corrupt), (newer, ErrorKind::UnsupportedVersion)]
        {
            let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
            backend.put(&key, bytes, PutMode::Create).await?;
            assert_eq!(open_store(&backend, &env, None).await.unwrap_err().kind(), kind);
        }
        Ok(())
    }
}
