//! What a database opens once and all its namespaces share.

use std::sync::Arc;

use crate::cache::BlockCache;
use crate::env::Env;
use crate::safeguard::Safeguards;
use crate::settings::Settings;
use crate::storage::StorageBackend;

/// The store, the cache, the environment and the settings. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) env: Env,
    pub(crate) backend: Arc<dyn StorageBackend>,
    pub(crate) cache: BlockCache,
    pub(crate) settings: Arc<Settings>,
    pub(crate) safeguards: Safeguards,
}
