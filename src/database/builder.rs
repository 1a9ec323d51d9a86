//! Opening a database with settings, an environment or a backend of the caller's choice.

use std::sync::Arc;

use super::Database;
use super::open_namespaces::OpenNamespaces;
use crate::cache::BlockCache;
use crate::context::Context;
use crate::env::Env;
use crate::error::Result;
use crate::safeguard::Safeguards;
use crate::settings::Settings;
use crate::storage::{RetryBackend, StorageBackend, StoreInfo, open_location, open_store};

/// Configures and opens a [`Database`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct DatabaseBuilder {
    settings: Settings,
    env: Option<Env>,
    safeguards: Safeguards,
}

impl DatabaseBuilder {
    /// Replaces the settings. Default: [`Settings::default`].
    pub fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Replaces the environment: time, chance and tasks. Default: the tokio runtime on which `open` is called.
    pub fn with_env(mut self, env: Env) -> Self {
        self.env = Some(env);
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
    /// As [`Database::open`]; and [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for bad settings, and for a
    /// [`grace`](Settings::grace) other than the database's.
    pub async fn open(self, location: &str) -> Result<Database> {
        self.settings.validate()?;
        let env = self.env.clone().map_or_else(Env::current, Ok)?;
        let backend = open_location(location, &env)?;
        self.open_backend(backend).await
    }

    /// Opens a database on a custom [`StorageBackend`].
    ///
    /// # Errors
    /// As [`DatabaseBuilder::open`].
    pub async fn open_backend(self, backend: Arc<dyn StorageBackend>) -> Result<Database> {
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
