//! A real S3-compatible server: sixteen processes' worth of writers. It wants the feature `aws` and
//! `ELACSYM_TEST_S3_ENDPOINT`; without them it says that it is skipped.

#[cfg(feature = "aws")]
mod storm;

#[cfg(not(feature = "aws"))]
#[test]
fn sixteen_writers_on_s3_lose_and_double_nothing() {
    println!("skipped: the feature `aws` is not enabled");
}

#[cfg(feature = "aws")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_writers_on_s3_lose_and_double_nothing() -> elacsym::Result<()> {
    let Ok(endpoint) = std::env::var("ELACSYM_TEST_S3_ENDPOINT") else {
        println!("skipped: ELACSYM_TEST_S3_ENDPOINT names no server");
        return Ok(());
    };
    let storm = storm::Storm { writers: 16, batches: 2, rows: 5 };
    storm.blow(backend(&endpoint)?).await
}

#[cfg(feature = "aws")]
fn backend(endpoint: &str) -> elacsym::Result<std::sync::Arc<dyn elacsym::storage::StorageBackend>> {
    use std::sync::Arc;

    use elacsym::storage::ObjectStoreBackend;
    use elacsym::{Error, ErrorKind};
    use object_store::aws::AmazonS3Builder;
    use object_store::{ClientOptions, RetryConfig};

    let variable = |name: &str, otherwise: &str| {
        std::env::var(format!("ELACSYM_TEST_S3_{name}")).unwrap_or_else(|_| otherwise.to_owned())
    };
    let builder = AmazonS3Builder::new()
        .with_endpoint(endpoint)
        .with_region(variable("REGION", "us-east-1"))
        .with_bucket_name(variable("BUCKET", "elacsym"))
        .with_access_key_id(variable("ACCESS_KEY", "test"))
        .with_secret_access_key(variable("SECRET_KEY", "testtest"))
        .with_client_options(ClientOptions::new().with_allow_http(true));
    let build = |builder: AmazonS3Builder| {
        let built = builder.build().map_err(|e| Error::new(ErrorKind::Invalid, e.to_string()));
        built.map(Arc::new)
    };
    let once = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let root = format!("storm-{}", std::process::id());
    let backend = ObjectStoreBackend::new(build(builder.clone().with_retry(once))?, &root)?;
    Ok(Arc::new(backend.retry_with(build(builder)?)))
}
