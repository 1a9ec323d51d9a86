//! Going over to a newer manifest: one that another process committed, or our own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Engine;
use crate::env::Moment;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{self, Commit, Hint, Manifest};
use crate::storage::PutMode;
use futures::future::BoxFuture;

/// A tail of this size makes it worth asking whether another process has flushed it.
const BACKLOG_BYTES: usize = 8 << 20;
const BACKLOG_ENTRIES: usize = 64;
/// How often that is asked.
const PAUSE: Duration = Duration::from_secs(10);

/// When newer manifests were last looked for.
#[derive(Debug, Default)]
pub(super) struct Refresh {
    running: AtomicBool,
    last: Mutex<Option<Moment>>,
}

/// Takes the flag back however the task ends.
struct Running<'a>(&'a AtomicBool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Engine {
    /// Goes over to the newest manifest.
    pub(crate) async fn refresh(&self) -> Result<Arc<Manifest>> {
        let known = Arc::clone(&self.state().manifest);
        let newest = manifest::latest(&self.context.backend, &self.keys, known.number).await?;
        let Some(newest) = newest else { return Ok(known) };
        let read = manifest::read(&self.context.backend, &self.keys, newest).await?;
        let Some(newer) = read else { return Ok(known) };
        self.check_manifest(&newer)?;
        self.install(Arc::new(newer)).await
    }

    /// Goes over to a manifest, if it is newer than the known one. Returns what is known then.
    pub(crate) async fn install(&self, manifest: Arc<Manifest>) -> Result<Arc<Manifest>> {
        let known = self.state().opened();
        let segments = self.open_parts(&manifest.segments, &known).await?;
        let mut state = self.state();
        state.install(manifest, segments);
        Ok(Arc::clone(&state.manifest))
    }

    /// Commits a manifest made from `base` and goes over to it. `false`: another was quicker.
    pub(crate) async fn commit(&self, next: Manifest) -> Result<bool> {
        let (number, nonce) = (next.number, next.nonce);
        match manifest::commit(&self.context.env, &self.context.backend, &self.keys, &next).await? {
            Commit::Lost => return Ok(false),
            Commit::Done => {}
        }
        // If newer ones are there that do not come from ours, ours landed at a number that was collected.
        let newer = manifest::latest(&self.context.backend, &self.keys, number).await?;
        if let Some(newer) = newer {
            let newest = manifest::read(&self.context.backend, &self.keys, newer).await?;
            if !newest.is_some_and(|newest| newest.descends_from(number, nonce)) {
                tracing::warn!(namespace = %self.name, number, "a manifest landed where manifests had been collected");
                return Ok(false);
            }
        }
        self.hint(&next).await;
        self.install(Arc::new(next)).await?;
        Ok(true)
    }

    /// Tells others where to look first. Nothing depends on it.
    async fn hint(&self, manifest: &Manifest) {
        let write = async {
            let key = self.names.hint();
            let encoded = manifest.encode().map_err(|e| e.at(&key))?;
            let hint = Hint::new(self.life.number, manifest, &encoded).encode().map_err(|e| e.at(&key))?;
            self.context.backend.put(&key, hint, PutMode::Overwrite).await
        };
        if let Err(error) = write.await {
            tracing::debug!(namespace = %self.name, %error, "the hint was not written");
        }
    }

    /// With much in the tail, looks in a task of its own whether another process has flushed it. Nothing but
    /// speed depends on it.
    pub(super) fn refresh_if_due(self: &Arc<Self>) {
        let (bytes, entries) = self.backlog();
        if bytes < BACKLOG_BYTES && entries < BACKLOG_ENTRIES {
            return;
        }
        let env = &self.context.env;
        {
            let mut last = self.refresh.last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|last| env.elapsed(last) < PAUSE) {
                return;
            }
            *last = Some(env.moment());
        }
        if self.refresh.running.swap(true, Ordering::SeqCst) {
            return;
        }
        let engine = Arc::clone(self);
        env.spawn(async move {
            let _running = Running(&engine.refresh.running);
            match engine.refresh().await {
                Ok(_) => {}
                Err(error) if error.is_missing() => {}
                Err(error) => tracing::debug!(namespace = %engine.name, %error, "no newer manifest was had"),
            }
        });
    }

    /// The newest manifest, looked up, for work that is based on it.
    pub(crate) fn newest_manifest(&self) -> BoxFuture<'_, Result<Arc<Manifest>>> {
        Box::pin(async move {
            for attempt in 0..4 {
                match self.refresh().await {
                    // A file is gone: the manifest was not the newest any more.
                    Err(e) if e.is_missing() => self.back_off(attempt).await,
                    outcome => return outcome,
                }
            }
            Err(Error::new(ErrorKind::Unavailable, "manifests come faster than they can be read"))
        })
    }
}
