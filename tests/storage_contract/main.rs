//! The contract of a backend, over every backend there is; and broken ones, which must not pass.
#![expect(unreachable_pub, reason = "a test crate has no API")]

#[cfg(test)]
mod broken;
#[cfg(test)]
mod refusals;
#[cfg(all(test, feature = "aws"))]
mod wrong_server;

use std::sync::Arc;

use elacsym::env::Env;
use elacsym::schema::{AttributeType, TextOptions};
use elacsym::storage::{
    LocalBackend, MemoryBackend, ObjectKey, ObjectPrefix, ObjectStoreBackend, PutMode, StorageBackend,
    conformance,
};
use elacsym::{
    Consistency, Database, Document, ErrorKind, IdKind, Metric, Namespace, NamespaceName, Outcome, Result,
    Schema, Settings, Vector, VectorType, WriteBatch,
};
use object_store::memory::InMemory;

use crate::broken::{Broken, Fault};

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
        passes(Arc::new(ObjectStoreBackend::new(Arc::clone(&store) as _, "paged")?.page_keys(keys))).await?;
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
async fn a_store_that_is_there_opens_without_the_right_to_write() -> Result<()> {
    let env = Env::current()?;
    let memory = MemoryBackend::new();
    let read_only = || Broken::over(memory.clone(), Fault::ReadOnly);
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
        Database::builder().settings(settings).open_backend(backend).await
    };
    let schema = Schema::builder(IdKind::U64).attribute("n", AttributeType::Int).build()?;
    open(Arc::new(memory.clone())).await?.create_namespace("docs", schema).await?;
    let docs = open(Broken::over(memory, fault)).await?.open_namespace("docs").await?;
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
        assert_eq!(db.open_namespace(name).await?.get([of("I", 64)]).await?, [Some(document())], "{name}");
    }
    Ok(())
}

/// A real server: SeaweedFS, or a bucket of a cloud.
#[cfg(feature = "aws")]
mod s3 {
    use elacsym::Error;
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
        Ok(Some(Arc::new(backend.retry_with(build(builder)?))))
    }
}
