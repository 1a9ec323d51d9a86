//! The `STORE` object: the identity of a store, what its processes agree on, and the verdict of the probe.
//!
//! The first process that opens a store probes it and creates the object. Every later one reads one object and writes
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::probe::{OBJECT_BYTES_MAX, RACERS, StoreProbe, unsupported};
use super::{DatabaseKeys, StorageBackend};
use crate::codec::{FeatureUser, Featured, Features, Frame};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::settings::{GRACE_DEFAULT, GRACE_MAX, GRACE_MIN};

const FRAME: Frame = Frame { what: "store", version: 1 };
/// The layout of keys that this version reads and writes.
const LAYOUT: u32 = 1;

/// What is known of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreInfo {
    /// Unique for every store.
    pub(crate) id: Uuid,
    /// When it was created, by the clock of its creator: milliseconds since 1970-01-01 UTC.
    pub(crate) created_ms: i64,
    /// The grace of all processes that open the store.
    pub(crate) grace: Duration,
    features: Features,
}

/// The `STORE` object.
#[derive(Debug, Deserialize, Serialize)]
struct StoreRecord {
    /// The layout of the objects below the root.
    format: u32,
    store: String,
    created_ms: i64,
    created_by: String,
    grace_ms: u64,
    probe: Verdict,
    #[serde(default, skip_serializing_if = "Features::is_empty")]
    features: Features,
}

impl Featured for StoreRecord {
    fn features(&self) -> &Features {
        &self.features
    }
}

impl StoreInfo {
    /// Checks that this version knows what a writer must.
    pub(crate) fn check_writable(&self) -> Result<()> {
        let checked = self.features.check(FRAME.what, FeatureUser::Writers);
        checked.map_err(|error| error.at(DatabaseKeys::store()))
    }
}

/// What the probe found. A store with any other verdict is never opened; the racers record how hard it was tried.
#[derive(Debug, Deserialize, Serialize)]
struct Verdict {
    create_only: bool,
    racers: usize,
}

/// Opens a store: reads its `STORE` object, or probes the store and creates the object. `grace` is that of the
/// settings, if they have one: a store with another grace is not opened.
pub(crate) async fn open_store(
    backend: &Arc<dyn StorageBackend>,
    env: &Env,
    grace: Option<Duration>,
) -> Result<StoreInfo> {
    // invariant: without a grace in the settings the creator chooses the default, and later processes take the store's.
    let info = find_or_create_store(backend, env, grace.unwrap_or(GRACE_DEFAULT)).await?;
    match grace {
        // A process with a shorter grace would delete objects that another still builds upon.
        Some(grace) if grace_ms(grace)? != grace_ms(info.grace)? => Err(Error::invalid(format!(
            "the database was created with another grace, which all its processes share: leave `Settings::grace` \
             unset to take it from the database. database=`{:?}` settings=`{grace:?}`",
            info.grace
        ))),
        _ => Ok(info),
    }
}

fn grace_ms(grace: Duration) -> Result<u64> {
    // The settings were validated against `GRACE_MAX`, ten years.
    u64::try_from(grace.as_millis()).map_err(|_| Error::internal("a grace that was not validated"))
}

async fn find_or_create_store(
    backend: &Arc<dyn StorageBackend>,
    env: &Env,
    grace: Duration,
) -> Result<StoreInfo> {
    let key = DatabaseKeys::store();
    let probe = StoreProbe::new(backend, env);
    let found = probe.read_or_explain(&key).await.map_err(|error| error.context("opening the store"))?;
    if let Some(bytes) = found {
        return decode_or_reread(backend, &bytes).await;
    }
    probe.run().await?;
    create_store(backend, env, grace).await
}

async fn create_store(backend: &Arc<dyn StorageBackend>, env: &Env, grace: Duration) -> Result<StoreInfo> {
    let key = DatabaseKeys::store();
    let record = StoreRecord {
        format: LAYOUT,
        store: env.uuid().simple().to_string(),
        created_ms: env.wall_ms(),
        created_by: concat!("elacsym ", env!("CARGO_PKG_VERSION")).to_owned(),
        grace_ms: grace_ms(grace)?,
        probe: Verdict { create_only: true, racers: RACERS },
        features: Features::default(),
    };
    let bytes = FRAME.encode(&record).map_err(|error| error.at(&key))?;
    // Another process may create it at the same time: the object that is read back decides.
    let created = StoreProbe::new(backend, env).create_object(&key, &bytes).await?;
    decode_or_reread(backend, &created.found).await
}

/// Decodes the object. If that fails it is fetched once more, since the damage may have happened in transit.
async fn decode_or_reread(backend: &Arc<dyn StorageBackend>, found: &[u8]) -> Result<StoreInfo> {
    match decode_store(found) {
        Ok(info) => Ok(info),
        Err(_) => decode_store(&backend.get_bounded(&DatabaseKeys::store(), OBJECT_BYTES_MAX).await?),
    }
}

fn decode_store(bytes: &[u8]) -> Result<StoreInfo> {
    let key = DatabaseKeys::store();
    let record: StoreRecord = FRAME.decode_featured(bytes).map_err(|error| error.at(&key))?;
    if record.format != LAYOUT {
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
    Ok(StoreInfo { id, created_ms: record.created_ms, grace, features: record.features })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::future::join_all;

    use super::*;
    use crate::codec::seal_frame;
    use crate::fuzzing::FuzzTarget;
    use crate::storage::{CountingBackend, MemoryBackend, ObjectPrefix, PutMode, Verb};

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

    #[test]
    fn fuzz_store() {
        let record = StoreRecord {
            format: LAYOUT,
            store: Uuid::from_u128(7).simple().to_string(),
            created_ms: 1_750_000_000_000,
            created_by: "elacsym".into(),
            grace_ms: grace_ms(GRACE_DEFAULT).unwrap(),
            probe: Verdict { create_only: true, racers: RACERS },
            features: Features::default(),
        };
        let seed = FRAME.encode(&record).unwrap().to_vec();
        let words = &["\"features\":[\"x\"]", "\"format\":2", "false", "1e308", "\"\""];
        FuzzTarget::new("store", [seed]).json_words(words).memory(16, 64 << 10).run_sealed(
            seal_frame,
            |bytes| {
                let info = decode_store(bytes)?;
                assert!((GRACE_MIN..=GRACE_MAX).contains(&info.grace));
                info.check_writable()
            },
        );
    }

    #[tokio::test]
    async fn a_damaged_or_newer_store_is_not_opened() -> Result<()> {
        let env = Env::current()?;
        let key = DatabaseKeys::store();
        let newer = Frame { what: "store", version: 2 }.encode(&1).unwrap();
        for (bytes, kind) in [(Bytes::from("?"), ErrorKind::Corrupt), (newer, ErrorKind::UnsupportedVersion)]
        {
            let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
            backend.put(&key, bytes.into(), PutMode::Create).await?;
            assert_eq!(open_store(&backend, &env, None).await.unwrap_err().kind(), kind);
        }
        Ok(())
    }
}
