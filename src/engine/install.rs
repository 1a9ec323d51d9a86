//! Going over to a newer manifest: one that another process committed, or our own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Engine;
use crate::env::Moment;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{self, Commit, Hint, Manifest};
use crate::retry::{Backoff, RetryPolicy};
use crate::storage::PutMode;
use futures::future::{BoxFuture, join};

/// A tail of this size makes it worth asking whether another process has flushed it.
const BACKLOG_BYTES: usize = 8 << 20;
const BACKLOG_ENTRIES: usize = 64;
/// How often that is asked.
const PAUSE: Duration = Duration::from_secs(10);
/// How often newer manifests are looked for with little in the tail: another process may have compacted.
const PAUSE_IDLE: Duration = Duration::from_mins(10);

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
        let newest = self.listed_manifest().await?;
        self.go_over(newest).await
    }

    /// The number of the newest manifest, if it is newer than the known one.
    async fn listed_manifest(&self) -> Result<Option<u64>> {
        let known = self.state().manifest.number;
        manifest::latest(&self.context.backend, &self.keys, known).await
    }

    async fn go_over(&self, newest: Option<u64>) -> Result<Arc<Manifest>> {
        let known = Arc::clone(&self.state().manifest);
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
        let next = Arc::new(next);
        let ((), installed) = join(self.hint(&next), self.install(Arc::clone(&next))).await;
        installed.map(|_| true)
    }

    /// Tells others where to look first. Nothing depends on it.
    async fn hint(&self, manifest: &Manifest) {
        let write = async {
            let key = self.names.hint();
            let encoded = manifest.encode().map_err(|e| e.at(&key))?;
            let hint =
                Hint::new(self.incarnation.number, manifest, &encoded).encode().map_err(|e| e.at(&key))?;
            self.context.backend.put(&key, hint, PutMode::Overwrite).await
        };
        if let Err(error) = write.await {
            tracing::debug!(namespace = %self.name, %error, "the hint was not written");
        }
    }

    /// Looks in a task of its own whether there is a newer manifest: often with much in the tail, which another
    /// process may have flushed, and now and then while the namespace is read. Nothing but speed depends on it.
    pub(super) fn refresh_if_due(self: &Arc<Self>) {
        let (bytes, entries) = self.backlog();
        let long = bytes >= BACKLOG_BYTES || entries >= BACKLOG_ENTRIES;
        let env = &self.context.env;
        {
            let mut last = self.refresh.last.lock().unwrap_or_else(PoisonError::into_inner);
            let due = match *last {
                Some(last) => env.elapsed(last) >= if long { PAUSE } else { PAUSE_IDLE },
                // What was just opened is new.
                None => long,
            };
            if !due {
                last.get_or_insert_with(|| env.moment());
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
            let mut seen = None;
            let mut backoff = Backoff::new(RetryPolicy::READ_MANIFEST);
            loop {
                let newest = self.listed_manifest().await?;
                match self.go_over(newest).await {
                    // A file of it is gone, and it is still the newest.
                    Err(e) if e.is_missing() && seen == Some(newest) => {
                        return Err(e);
                    }
                    Err(e) if e.is_missing() => {
                        seen = Some(newest);
                        if !backoff.pause(&self.context.env).await {
                            let why = "manifests come faster than they can be read";
                            return Err(Error::new(ErrorKind::Unavailable, why));
                        }
                    }
                    outcome => return outcome,
                }
            }
        })
    }
}
