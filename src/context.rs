//! What a database opens once and all its namespaces share.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
#[expect(
    clippy::disallowed_types,
    reason = "only tasks of the environment wait for a turn, and these are always polled"
)]
use tokio::sync::Semaphore;

use crate::cache::BlockCache;
use crate::env::{Env, Moment};
use crate::error::{Error, Result};
use crate::safeguard::{Safeguard, Safeguards};
use crate::settings::{Clocks, Settings};
use crate::storage::StorageBackend;

/// The store, the cache, the environment and the settings. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) env: Env,
    pub(crate) backend: Arc<dyn StorageBackend>,
    pub(crate) cache: BlockCache,
    pub(crate) settings: Arc<Settings>,
    pub(crate) safeguards: Safeguards,
    /// Why this version must not write to the database, if it must not.
    pub(crate) write_refusal: Option<Error>,
    pub(crate) merge_turns: MergeTurns,
}

/// Turns of the namespaces of a database in automatic merges.
#[derive(Clone, Debug)]
#[expect(
    clippy::disallowed_types,
    reason = "only tasks of the environment wait for a turn, and these are always polled"
)]
pub(crate) struct MergeTurns(Arc<Semaphore>);

#[expect(
    clippy::disallowed_types,
    reason = "only tasks of the environment wait for a turn, and these are always polled"
)]
impl Default for MergeTurns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Context {
    /// Checks that this version may write to the database.
    ///
    /// # Errors
    /// `UnsupportedVersion` if the store requires a feature of writers that this version does not know.
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.write_refusal.clone().map_or(Ok(()), Err)
    }

    /// Waits until no other namespace merges by itself. Only for tasks of the environment.
    pub(crate) async fn take_merge_turn(&self) -> Result<OwnedSemaphorePermit> {
        let turn = Arc::clone(&self.merge_turns.0).acquire_owned().await;
        turn.map_err(|e| Error::internal(format!("no turn to merge: {e}")))
    }

    /// Whether what the store showed at `seen` still holds: nothing that was there then can have been collected since.
    /// Call it after the last answer is in, for the process may have been suspended between a request and its answer.
    pub(crate) fn is_fresh(&self, seen: Moment, rule: Safeguard) -> bool {
        if !self.safeguards.hold(rule) {
            return true;
        }
        self.settings.clocks == Clocks::Trusted && self.env.elapsed(seen) < self.settings.trust_period()
    }
}
