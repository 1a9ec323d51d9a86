//! The contract of a backend, over every backend there is; and broken ones, which must not pass.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use elacsym::env::Env;
use elacsym::schema::{AttributeType, TextOptions};
use elacsym::storage::{
    ListPage, LocalBackend, MemoryBackend, ObjectInfo, ObjectKey, ObjectPrefix, ObjectStoreBackend, Payload,
    PutMode, StorageBackend, conformance,
};
use elacsym::{
    Consistency, Database, Document, Error, ErrorKind, IdKind, Metric, Namespace, NamespaceName, Outcome,
    Result, Schema, Settings, Vector, VectorType, WriteBatch,
};
use object_store::memory::InMemory;

async fn passes(backend: Arc<dyn StorageBackend>) -> Result<()> {
    let env = Env::current()?;
    let before = backend.list(&ObjectPrefix::root(), None).await?;
    let violations = conformance::check(Arc::clone(&backend), &env).await;
    assert_eq!(violations, Ok(()), "{backend}");
    assert_eq!(backend.list(&ObjectPrefix::root(), None).await?, before, "{backend} is left as it was");
    conformance::probe(&backend, &env).await?;
    // The second time it only reads.
    conformance::probe(&backend, &env).await
}

#[tokio::test]
async fn memory_keeps_the_contract() -> Result<()> {
    passes(Arc::new(MemoryBackend::new())).await
}

#[tokio::test]
async fn the_object_store_adapter_keeps_the_contract() -> Result<()> {
    let store = Arc::new(InMemory::new());
    passes(Arc::new(ObjectStoreBackend::new(Arc::clone(&store) as _, "")?)).await?;
    passes(Arc::new(ObjectStoreBackend::new(Arc::clone(&store) as _, "some/folder")?)).await?;
    // By pages of any size: it lists in order.
    for keys in [60, 1_000] {
        let keys = std::num::NonZeroUsize::new(keys).unwrap();
        passes(Arc::new(ObjectStoreBackend::new(Arc::clone(&store) as _, "paged")?.with_pages(keys))).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn local_files_keep_the_contract() -> Result<()> {
    let temp = tempfile::tempdir().unwrap();
    let backend = LocalBackend::new(temp.path().join("store"), &Env::current()?)?;
    backend.put(&ObjectKey::new("own/object")?, "x".into(), PutMode::Create).await?;
    passes(Arc::new(backend)).await
}

/// Two backends over one folder stand for two processes.
#[tokio::test(flavor = "multi_thread")]
async fn creates_of_two_processes_have_one_winner_each() -> Result<()> {
    let temp = tempfile::tempdir().unwrap();
    let env = Env::current()?;
    let backends = [LocalBackend::new(temp.path(), &env)?, LocalBackend::new(temp.path(), &env)?];
    for round in 0..20 {
        let key = ObjectKey::new(format!("new-{round}/slot"))?;
        let put = |backend: &LocalBackend, body: &'static str| {
            let (backend, key) = (backend.clone(), key.clone());
            async move { backend.put(&key, body.into(), PutMode::Create).await }
        };
        let (first, second) = futures::future::join(put(&backends[0], "0"), put(&backends[1], "1")).await;
        assert_ne!(first.is_ok(), second.is_ok());
        let winner = if first.is_ok() { "0" } else { "1" };
        for backend in &backends {
            assert_eq!(backend.get(&key).await?, winner);
        }
    }
    Ok(())
}

#[cfg(feature = "aws")]
#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_the_contract() -> Result<()> {
    let Some(backend) = s3::backend()? else {
        println!(
            "skipped: set ELACSYM_TEST_S3_ENDPOINT, _BUCKET, _ACCESS_KEY and _SECRET_KEY to test a server"
        );
        return Ok(());
    };
    passes(backend).await
}

#[cfg(not(feature = "aws"))]
#[test]
fn s3_keeps_the_contract() {
    println!("skipped: the feature `aws` is not enabled");
}

#[tokio::test]
async fn a_broken_backend_fails_the_check_and_is_refused() -> Result<()> {
    let cases = [
        (Fault::IgnoresCreate, "create_refuses_what_exists"),
        (Fault::RacesCreate, "create_has_one_winner"),
        (Fault::LosesWrites, "create_is_read_back"),
        (Fault::ListsUnsorted, "list_is_sorted_and_whole"),
        (Fault::ListsLate, "list_shows_at_once"),
        (Fault::ListsAfterInclusive, "list_starts_after"),
        (Fault::RepeatsPages, "list_pages_join"),
        (Fault::MissingIsUnavailable, "missing_is_not_found"),
        (Fault::DeletesNothing, "delete_removes_one"),
        (Fault::CutsRanges, "range_is_exact"),
    ];
    let env = Env::current()?;
    for (fault, check) in cases {
        let backend = || -> Arc<dyn StorageBackend> { Arc::new(Broken::new(fault)) };
        let violations = conformance::check(backend(), &env).await.unwrap_err();
        assert!(violations.iter().any(|v| v.check == check), "{fault:?}: {violations:?}");
        let refused = conformance::probe(&backend(), &env).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::UnsupportedStore, "{fault:?}: {refused}");
    }
    // What an opener need not know, and does not look at.
    let unbounded = Arc::new(Broken::new(Fault::IgnoresBounds));
    let violations = conformance::check(unbounded, &env).await.unwrap_err();
    assert!(violations.iter().all(|v| v.check == "bounded_get_refuses_what_is_larger"), "{violations:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_called_an_unsupported_store() -> Result<()> {
    let backend: Arc<dyn StorageBackend> = Arc::new(Broken::new(Fault::IsDown));
    let error = conformance::probe(&backend, &Env::current()?).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    Ok(())
}

#[tokio::test]
async fn a_store_that_is_there_opens_without_the_right_to_write() -> Result<()> {
    let env = Env::current()?;
    let memory = MemoryBackend::new();
    let read_only = || -> Arc<dyn StorageBackend> {
        Arc::new(Broken { memory: memory.clone(), fault: Fault::ReadOnly, hidden: Arc::default() })
    };
    let error = conformance::probe(&read_only(), &env).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    conformance::probe(&(Arc::new(memory.clone()) as _), &env).await?;
    conformance::probe(&read_only(), &env).await
}

/// A namespace with a batch that makes a segment of its own, on a store that then gets a fault.
async fn namespace_under(fault: Fault) -> Result<(Namespace, WriteBatch)> {
    let memory = MemoryBackend::new();
    let open = |backend: Arc<dyn StorageBackend>| async move {
        let mut settings = Settings::default();
        settings.reference_bytes_min = 1;
        Database::builder().with_settings(settings).open_backend(backend).await
    };
    let schema = Schema::builder(IdKind::U64).attribute("n", AttributeType::Int).build()?;
    open(Arc::new(memory.clone())).await?.create_namespace("docs", schema).await?;
    let broken = Broken { memory, fault, hidden: Arc::default() };
    let docs = open(Arc::new(broken)).await?.namespace("docs").await?;
    let documents = (0..10_u64).map(|id| Document::new(id).with("n", 1));
    Ok((docs, WriteBatch::new().upsert_all(documents)))
}

#[tokio::test(start_paused = true)]
async fn a_conflict_of_a_file_of_a_segment_is_tried_again() -> Result<()> {
    let (docs, batch) = namespace_under(Fault::Conflicts).await?;
    docs.write(batch).await?;
    docs.write(WriteBatch::new().delete(3)).await?;
    docs.flush().await?;
    assert_eq!(docs.snapshot(Consistency::Strong).await?.count().await?, 9);
    Ok(())
}

#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "the paused clock is what is read")]
async fn a_full_store_is_said_at_once() -> Result<()> {
    let (docs, batch) = namespace_under(Fault::IsFull).await?;
    let start = tokio::time::Instant::now();
    for batch in [batch, WriteBatch::new().delete(1)] {
        let error = docs.write(batch).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::StorageFull, Outcome::NotApplied), "{error}");
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(1));
    Ok(())
}

#[tokio::test]
async fn the_longest_names_work_on_a_local_folder() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let env = Env::current()?;
    let open = || async {
        Database::builder().open_backend(Arc::new(LocalBackend::new(folder.path(), &env)?)).await
    };
    let of = |pattern: &str, bytes: usize| pattern.chars().cycle().take(bytes).collect::<String>();
    let column = of("Ж", 64);
    let schema = Schema::builder(IdKind::String)
        .attribute(&column, AttributeType::String)
        .text(of("T", 128), TextOptions::default())
        .vector("v", VectorType::F32, 2, Metric::L2Squared)
        .build()?;
    let mut names: Vec<String> = ["A", "a", "aB", "ABa", ".", "_.-9"].map(|pattern| of(pattern, 128)).into();
    names.extend(["x".to_owned(), "X".to_owned(), "CON".to_owned(), "con.".to_owned()]);
    let document = || Document::new(of("I", 64)).with(&column, "s").with("v", Vector::from([1.0, 2.0]));
    for name in &names {
        let docs = open().await?.create_namespace(name, schema.clone()).await?;
        docs.write(WriteBatch::new().upsert(document())).await?;
        docs.flush().await?;
        docs.write(WriteBatch::new().upsert(document()).upsert(Document::new("other"))).await?;
        docs.flush().await?;
        docs.compact().await?;
    }
    let db = open().await?;
    names.sort_unstable();
    assert!(
        db.list_namespaces().await?.iter().map(NamespaceName::as_str).eq(names.iter().map(String::as_str))
    );
    for name in &names {
        assert_eq!(db.namespace(name).await?.get(&[of("I", 64).into()]).await?, [Some(document())], "{name}");
    }
    Ok(())
}

/// What a backend does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    IgnoresCreate,
    RacesCreate,
    LosesWrites,
    ListsUnsorted,
    ListsLate,
    ListsAfterInclusive,
    RepeatsPages,
    IgnoresBounds,
    MissingIsUnavailable,
    DeletesNothing,
    CutsRanges,
    IsDown,
    ReadOnly,
    IsFull,
    /// Each first overwrite of a name is refused as S3 refuses two at once.
    Conflicts,
}

/// Memory with a fault.
#[derive(Debug)]
struct Broken {
    memory: MemoryBackend,
    fault: Fault,
    /// The object that listings do not show yet.
    hidden: Arc<Mutex<Option<ObjectKey>>>,
}

impl Broken {
    fn hidden(&self) -> MutexGuard<'_, Option<ObjectKey>> {
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new(fault: Fault) -> Self {
        Self { memory: MemoryBackend::new(), fault, hidden: Arc::default() }
    }

    fn answer<T>(&self, answer: Result<T>) -> Result<T> {
        let down = || Error::new(ErrorKind::Unavailable, "no answer");
        match (self.fault, answer) {
            (Fault::IsDown, _) => Err(down()),
            (Fault::MissingIsUnavailable, Err(error)) if error.kind() == ErrorKind::NotFound => Err(down()),
            (_, answer) => answer,
        }
    }

    fn may_write(&self) -> Result<()> {
        match self.fault {
            Fault::IsDown => Err(Error::new(ErrorKind::Unavailable, "no answer")),
            Fault::ReadOnly => Err(Error::new(ErrorKind::PermissionDenied, "read only")),
            Fault::IsFull => Err(Error::new(ErrorKind::StorageFull, "no space left")),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl StorageBackend for Broken {
    async fn put(&self, key: &ObjectKey, body: Payload, mode: PutMode) -> Result<()> {
        self.may_write()?;
        match self.fault {
            Fault::Conflicts if mode == PutMode::Overwrite => {
                let mark = ObjectKey::new(format!("conflict/{key}"))?;
                if self.memory.put(&mark, Payload::default(), PutMode::Create).await.is_ok() {
                    return Err(Error::new(ErrorKind::AlreadyExists, "409 conflict"));
                }
                return self.memory.put(key, body, mode).await;
            }
            Fault::LosesWrites => return Ok(()),
            Fault::IgnoresCreate => return self.memory.put(key, body, PutMode::Overwrite).await,
            // Looks before it writes, as if that were enough.
            Fault::RacesCreate if mode == PutMode::Create => {
                let taken = self.memory.head(key).await.is_ok();
                tokio::task::yield_now().await;
                let mode = if taken { PutMode::Create } else { PutMode::Overwrite };
                return self.memory.put(key, body, mode).await;
            }
            _ => {}
        }
        *self.hidden() = Some(key.clone());
        self.memory.put(key, body, mode).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.answer(self.memory.get(key).await)
    }

    async fn get_bounded(&self, key: &ObjectKey, bytes_max: u64) -> Result<Bytes> {
        let bytes_max = if self.fault == Fault::IgnoresBounds { u64::MAX } else { bytes_max };
        self.answer(self.memory.get_bounded(key, bytes_max).await)
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let cut = u64::from(self.fault == Fault::CutsRanges && !range.is_empty());
        self.answer(self.memory.get_range(key, range.start..range.end - cut).await)
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        self.answer(self.memory.head(key).await)
    }

    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
        let mut found = self.memory.list(prefix, after).await?;
        match (self.fault, after) {
            (Fault::ListsUnsorted, _) => found.reverse(),
            (Fault::ListsLate, _) => {
                let hidden = self.hidden().take();
                found.retain(|info| hidden.as_ref() != Some(&info.key));
            }
            (Fault::ListsAfterInclusive, Some(after)) => {
                found = self.memory.list(prefix, None).await?;
                found.retain(|info| info.key >= *after);
            }
            _ => {}
        }
        if self.fault == Fault::RepeatsPages {
            let objects = self.memory.list(prefix, None).await?;
            return Ok(ListPage { more: !objects.is_empty(), objects });
        }
        self.answer(Ok(ListPage::last(found)))
    }

    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        self.answer(self.memory.list_folders(prefix).await)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.may_write()?;
        if self.fault == Fault::DeletesNothing { Ok(()) } else { self.memory.delete(key).await }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.fault)
    }
}

/// A real server: SeaweedFS, or a bucket of a cloud.
#[cfg(feature = "aws")]
mod s3 {
    use object_store::aws::AmazonS3Builder;
    use object_store::{ClientOptions, RetryConfig};

    use super::*;

    fn variable(name: &str, otherwise: &str) -> String {
        std::env::var(format!("ELACSYM_TEST_S3_{name}")).unwrap_or_else(|_| otherwise.to_owned())
    }

    pub(super) fn backend() -> Result<Option<Arc<dyn StorageBackend>>> {
        let endpoint = variable("ENDPOINT", "");
        if endpoint.is_empty() {
            return Ok(None);
        }
        let builder = AmazonS3Builder::new()
            .with_endpoint(endpoint)
            .with_region(variable("REGION", "us-east-1"))
            .with_bucket_name(variable("BUCKET", "elacsym"))
            .with_access_key_id(variable("ACCESS_KEY", "test"))
            .with_secret_access_key(variable("SECRET_KEY", "testtest"))
            .with_client_options(ClientOptions::new().with_allow_http(true));
        let once = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let build = |builder: AmazonS3Builder| {
            let built = builder.build().map_err(|e| Error::new(ErrorKind::Invalid, e.to_string()));
            built.map(Arc::new)
        };
        let backend = ObjectStoreBackend::new(build(builder.clone().with_retry(once))?, "contract")?;
        Ok(Some(Arc::new(backend.with_retrying(build(builder)?))))
    }
}
