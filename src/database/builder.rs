//! Opening a database with settings, an environment or a backend of the caller's choice.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::Database;
use super::open_namespaces::OpenNamespaces;
use crate::cache::BlockCache;
use crate::context::{Context, MergeTurns};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::safeguard::Safeguards;
use crate::settings::Settings;
use crate::storage::{RetryBackend, StorageBackend, StoreInfo, StoreOptions, open_location, open_store};

/// Configures and opens a [`Database`].
///
/// ```
/// use std::sync::Arc;
/// use elacsym::storage::MemoryBackend;
/// use elacsym::{Database, Settings};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// let settings = Settings::default().cache_bytes(64 << 20).limit_max(1_000);
/// let db = Database::builder().settings(settings).open_backend(Arc::new(MemoryBackend::new())).await?;
/// assert!(db.list_namespaces().await?.is_empty());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct DatabaseBuilder {
    settings: Settings,
    env: Option<Env>,
    store_options: StoreOptions,
    safeguards: Safeguards,
}

impl DatabaseBuilder {
    /// Replaces the settings. Default: [`Settings::default`].
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Replaces the environment: time, chance and tasks. Default: the tokio runtime on which `open` is called.
    pub fn env(mut self, env: Env) -> Self {
        self.env = Some(env);
        self
    }

    /// Sets an option of the client of a cloud, before what the environment says: `endpoint`, `region`,
    /// `access_key_id`, and whatever else [`AmazonS3ConfigKey`], [`GoogleConfigKey`] and [`AzureConfigKey`] of
    /// `object_store` name. Values are never shown. For a client that is built in code, use
    /// [`ObjectStoreBackend`](crate::storage::ObjectStoreBackend) and [`open_backend`](Self::open_backend).
    ///
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
    /// # let (id, secret) = (String::new(), String::new());
    /// let db = elacsym::Database::builder()
    ///     .store_option("endpoint", "https://minio.example.com")
    ///     .store_option("access_key_id", id)
    ///     .store_option("secret_access_key", secret)
    ///     .open("s3://bucket/prefix")
    ///     .await?;
    /// # Ok(()) }
    /// ```
    ///
    /// [`AmazonS3ConfigKey`]: https://docs.rs/object_store/latest/object_store/aws/enum.AmazonS3ConfigKey.html
    /// [`GoogleConfigKey`]: https://docs.rs/object_store/latest/object_store/gcp/enum.GoogleConfigKey.html
    /// [`AzureConfigKey`]: https://docs.rs/object_store/latest/object_store/azure/enum.AzureConfigKey.html
    pub fn store_option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.store_options.push(name.into(), value.into());
        self
    }

    /// Switches a safeguard of the commit protocol off, to see a test fail without it.
    #[cfg(feature = "testing")]
    pub fn without(mut self, safeguard: crate::safeguard::Safeguard) -> Self {
        self.safeguards = Safeguards::without(safeguard);
        self
    }

    /// Opens a location, as [`Database::open`].
    ///
    /// # Errors
    /// As [`Database::open`]; and [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for bad settings, for an option that
    /// the store does not have, and for a [`grace`](Settings::grace) other than the database's.
    pub fn open(self, location: impl AsRef<Path>) -> BoxFuture<'static, Result<Database>> {
        self.open_path(location.as_ref().to_owned())
    }

    fn open_path(self, location: PathBuf) -> BoxFuture<'static, Result<Database>> {
        async move {
            self.settings.validate()?;
            let env = self.env.clone().map_or_else(Env::current, Ok)?;
            // A path keeps the text that it was made of, slashes and all: that of a URL is a URL still. It is not shown,
            // as no location is.
            let location = location.to_str();
            let location = location.ok_or_else(|| Error::invalid("bad location: the path is not UTF-8"))?;
            let backend = open_location(location, &self.store_options, &env)?;
            self.open_on(backend).await
        }
        .boxed()
    }

    /// Opens a database on a custom [`StorageBackend`], which has no [store options](Self::store_option).
    ///
    /// # Errors
    /// As [`DatabaseBuilder::open`].
    pub fn open_backend(self, backend: Arc<dyn StorageBackend>) -> BoxFuture<'static, Result<Database>> {
        async move {
            self.store_options.refuse("a backend")?;
            self.open_on(backend).await
        }
        .boxed()
    }

    async fn open_on(self, backend: Arc<dyn StorageBackend>) -> Result<Database> {
        self.settings.validate()?;
        let env = self.env.map_or_else(Env::current, Ok)?;
        let backend: Arc<dyn StorageBackend> =
            Arc::new(RetryBackend::new(backend, env.clone(), self.settings.request_timeout));
        // Before anything is read or written: a store that ignores put-if-absent would lose writes in silence.
        let store = open_store(&backend, &env, self.settings.grace).await?;
        let settings = self.settings.with_grace(store.grace)?;
        let context = Context {
            cache: open_cache(&settings, &store, &env).await,
            env,
            backend,
            settings: Arc::new(settings),
            safeguards: self.safeguards,
            write_refusal: store.check_writable().err(),
            merge_turns: MergeTurns::default(),
        };
        let open = Arc::new(OpenNamespaces::new(context.settings.idle_bytes_max));
        Ok(Database { context, open })
    }
}

/// The cache of the settings. A disk that cannot be used is not an error: the cache is in memory then.
#[cfg(feature = "disk-cache")]
async fn open_cache(settings: &Settings, store: &StoreInfo, env: &Env) -> BlockCache {
    use crate::cache::DiskOptions;
    let Some(disk) = settings.disk_cache.clone() else { return BlockCache::memory(settings.cache_bytes) };
    let disk = DiskOptions { dir: disk.dir, bytes: disk.bytes, store: store.id };
    BlockCache::with_disk(settings.cache_bytes, disk, env).await
}

#[cfg(not(feature = "disk-cache"))]
#[expect(clippy::unused_async, reason = "the same call in both builds")]
async fn open_cache(settings: &Settings, store: &StoreInfo, _: &Env) -> BlockCache {
    tracing::debug!(store = %store.id, "the cache is in memory alone");
    BlockCache::memory(settings.cache_bytes)
}
