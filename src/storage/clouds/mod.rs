//! Clients of cloud stores: two over one configuration.
//!
//! One client sends each request once, for create-only puts, which must not be refused because of their own first
//! attempt. The other retries, within the time that a query may take. They share credentials, so that a token is
//! fetched once, with retries.
//!
//! **Invariant:** builders, whose `Debug` may show keys, live no longer than the function that uses them.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};

use super::scrub::scrubbed_cause;
use super::{ObjectStoreBackend, StorageBackend, StoreOptions};
use crate::error::{Error, Result};

#[cfg(feature = "aws")]
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
#[cfg(feature = "azure")]
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
#[cfg(feature = "gcp")]
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};

/// The keys that one list request returns by default, in S3 and Google Cloud Storage, and in Azure.
#[cfg(any(feature = "aws", feature = "gcp"))]
const PAGE_KEYS: NonZeroUsize = NonZeroUsize::new(1_000).expect("not zero");
#[cfg(feature = "azure")]
const AZURE_PAGE_KEYS: NonZeroUsize = NonZeroUsize::new(5_000).expect("not zero");

#[cfg(feature = "aws")]
pub(super) fn open_aws(bucket: &str, root: &str, options: &StoreOptions) -> Result<Arc<dyn StorageBackend>> {
    let set = |builder: AmazonS3Builder, key, value: &str| builder.with_config(key, value);
    build_aws(options.apply("s3://", AmazonS3Builder::from_env(), set)?, bucket, root)
}

#[cfg(feature = "gcp")]
pub(super) fn open_gcp(bucket: &str, root: &str, options: &StoreOptions) -> Result<Arc<dyn StorageBackend>> {
    let set = |builder: GoogleCloudStorageBuilder, key, value: &str| builder.with_config(key, value);
    build_gcp(options.apply("gs://", GoogleCloudStorageBuilder::from_env(), set)?, bucket, root)
}

#[cfg(feature = "azure")]
pub(super) fn open_azure(
    bucket: &str,
    root: &str,
    options: &StoreOptions,
) -> Result<Arc<dyn StorageBackend>> {
    let set = |builder: MicrosoftAzureBuilder, key, value: &str| builder.with_config(key, value);
    build_azure(options.apply("az://", MicrosoftAzureBuilder::from_env(), set)?, bucket, root)
}

#[cfg(feature = "aws")]
fn build_aws(builder: AmazonS3Builder, bucket: &str, root: &str) -> Result<Arc<dyn StorageBackend>> {
    let (key, value) = TIMEOUT;
    let builder = builder.with_bucket_name(bucket).with_config(AmazonS3ConfigKey::Client(key), value);
    let retries = builder.clone().with_retry(retry_config()).build().map_err(bad_environment)?;
    let builder = builder.with_credentials(Arc::clone(retries.credentials())).with_retry(no_retry_config());
    let express = builder.get_config_value(&AmazonS3ConfigKey::S3Express).is_some_and(|on| on == "true");
    let opened = new_backend("s3://", bucket, root, builder.build().map_err(bad_environment)?, retries)?;
    // Directory buckets (S3 Express) list in no order.
    Ok(Arc::new(if express { opened } else { opened.page_keys(PAGE_KEYS) }))
}

#[cfg(feature = "gcp")]
fn build_gcp(
    builder: GoogleCloudStorageBuilder,
    bucket: &str,
    root: &str,
) -> Result<Arc<dyn StorageBackend>> {
    let (key, value) = TIMEOUT;
    let builder = builder.with_bucket_name(bucket).with_config(GoogleConfigKey::Client(key), value);
    let retries = builder.clone().with_retry(retry_config()).build().map_err(bad_environment)?;
    let builder = builder.with_credentials(Arc::clone(retries.credentials())).with_retry(no_retry_config());
    let opened = new_backend("gs://", bucket, root, builder.build().map_err(bad_environment)?, retries)?;
    Ok(Arc::new(opened.page_keys(PAGE_KEYS)))
}

#[cfg(feature = "azure")]
fn build_azure(
    builder: MicrosoftAzureBuilder,
    container: &str,
    root: &str,
) -> Result<Arc<dyn StorageBackend>> {
    let (key, value) = TIMEOUT;
    let builder = builder.with_container_name(container).with_config(AzureConfigKey::Client(key), value);
    let retries = builder.clone().with_retry(retry_config()).build().map_err(bad_environment)?;
    let builder = builder.with_credentials(Arc::clone(retries.credentials())).with_retry(no_retry_config());
    let opened = new_backend("az://", container, root, builder.build().map_err(bad_environment)?, retries)?;
    Ok(Arc::new(opened.page_keys(AZURE_PAGE_KEYS)))
}

fn no_retry_config() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// Within 15 seconds, half of the default request timeout: what remains is for a last attempt, after which
/// `RetryBackend` would give up. The pauses are for throttling, which ends within seconds.
fn retry_config() -> RetryConfig {
    let (init_backoff, max_backoff) = (Duration::from_millis(50), Duration::from_secs(3));
    let backoff = BackoffConfig { init_backoff, max_backoff, base: 2.0 };
    RetryConfig { backoff, max_retries: 5, retry_timeout: Duration::from_secs(15) }
}

/// Practically none: `RetryBackend` limits each request by its size, which the client does not know. Set by key,
/// because a `ClientOptions` would replace what the environment configures (`allow_http`, proxies).
const TIMEOUT: (ClientConfigKey, &str) = (ClientConfigKey::Timeout, "1h");

/// The error of a builder, which may quote its input.
#[expect(clippy::needless_pass_by_value, reason = "the original must not live on")]
fn bad_environment(error: object_store::Error) -> Error {
    Error::invalid(format!(
        "the environment and the store options do not configure the store: {}",
        scrubbed_cause(&error)
    ))
}

fn new_backend(
    scheme: &str,
    bucket: &str,
    root: &str,
    once: impl ObjectStore,
    retrying: impl ObjectStore,
) -> Result<ObjectStoreBackend> {
    let name = format!("{scheme}{bucket}/{root}");
    let backend = ObjectStoreBackend::new(Arc::new(once), root)?.retry_with(Arc::new(retrying));
    Ok(backend.with_name(name.trim_end_matches('/').to_owned()))
}

#[cfg(test)]
mod tests;
