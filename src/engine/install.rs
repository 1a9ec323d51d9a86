//! Replacing the known manifest by a newer one: one that another process committed, or our own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, join};

use super::Engine;
use crate::context::Context;
use crate::env::Moment;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{self, CommitOutcome, Hint, Manifest};
use crate::retry::{Backoff, RetryPolicy};
use crate::safeguard::Safeguard;
use crate::storage::PutMode;

/// With a backlog of this size it is worth asking whether another process has flushed it.
const BACKLOG_BYTES: usize = 8 << 20;
const BACKLOG_ENTRIES: u64 = 64;
/// How often that is asked. Each time costs one list, while a backlog that has been flushed elsewhere slows every query
/// down until it is known.
const REFRESH_PAUSE: Duration = Duration::from_secs(10);
/// How often newer manifests are looked for with a small backlog: another process may have compacted.
const REFRESH_PAUSE_IDLE: Duration = Duration::from_mins(10);

/// When newer manifests were last looked for.
#[derive(Debug, Default)]
pub(super) struct RefreshSchedule {
    running: AtomicBool,
    last: Mutex<Option<Moment>>,
}

/// Clears the flag however the task ends.
struct RefreshGuard<'a>(&'a AtomicBool);

impl Drop for RefreshGuard<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl RefreshSchedule {
    /// Whether newer manifests should be looked for at `now`, which then counts as the last time.
    fn take_due(&self, engine: &Engine) -> bool {
        let backlog = engine.backlog();
        let long = backlog.bytes >= BACKLOG_BYTES || backlog.entries >= BACKLOG_ENTRIES;
        let env = &engine.context.env;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = match *last {
            Some(last) => env.elapsed(last) >= if long { REFRESH_PAUSE } else { REFRESH_PAUSE_IDLE },
            // The first call comes soon after opening, when the manifest is the newest: only a long tail is suspicious.
            None => long,
        };
        if due || last.is_none() {
            *last = Some(env.moment());
        }
        due
    }
}

impl Engine {
    /// Replaces the manifest by the newest.
    pub(crate) async fn refresh_manifest(&self) -> Result<Arc<Manifest>> {
        let begun = self.context.env.moment();
        let newest = self.find_newer_manifest().await?;
        let installed = self.read_and_install(newest, begun).await?;
        // A newer one that could not be taken is found by the next look.
        Ok(installed.unwrap_or_else(|| Arc::clone(&self.state().manifest)))
    }

    /// The number of the newest manifest, if it is newer than the known one.
    async fn find_newer_manifest(&self) -> Result<Option<u64>> {
        let known = self.state().manifest.number;
        manifest::find_latest(&self.context.backend, &self.keys, known).await
    }

    /// Reads and installs the manifest that a list showed, which was asked for after `begun`. Returns the one that is
    /// known then, or `None` if the listed one was collected meanwhile: a newer one exists, which the next look finds.
    async fn read_and_install(&self, newest: Option<u64>, begun: Moment) -> Result<Option<Arc<Manifest>>> {
        let Some(newest) = newest else {
            let mut state = self.state();
            state.record_newest_manifest(begun);
            return Ok(Some(Arc::clone(&state.manifest)));
        };
        let Context { backend, .. } = &self.context;
        let Some(newer) = manifest::read_manifest(backend, &self.keys, newest).await? else {
            return Ok(None);
        };
        // After a sleep in between, the number may have been collected and taken by a process that slept as well. As long
        // as it is the newest, it has not been.
        if !self.is_fresh(begun, Safeguard::ReaderFreshness)
            && manifest::find_latest(backend, &self.keys, newest).await?.is_some()
        {
            return Ok(None);
        }
        self.reader().check_manifest(&newer)?;
        self.install_manifest(Arc::new(newer), begun).await.map(Some)
    }

    /// Replaces the manifest by one that was the newest at some time after `begun`, if it is newer than the known one.
    /// Returns the one that is known then.
    async fn install_manifest(&self, manifest: Arc<Manifest>, begun: Moment) -> Result<Arc<Manifest>> {
        let known = self.state().opened_segments();
        // Opened before the state is locked: a lock is never held over an await.
        let segments = self.reader().open_parts(&manifest.segments, &known).await?;
        let mut state = self.state();
        state.install_manifest(manifest, segments);
        state.record_newest_manifest(begun);
        Ok(Arc::clone(&state.manifest))
    }

    /// Commits the successor of a manifest and installs it. `false`: another was quicker.
    pub(crate) async fn commit_manifest(&self, next: Manifest) -> Result<bool> {
        let Context { env, backend, .. } = &self.context;
        let number = next.number;
        let bytes = next.encode().map_err(|e| e.at(self.keys.manifest(number)))?;
        let size = bytes.len();
        let begun = env.moment();
        match manifest::commit_manifest(env, backend, &self.keys, &next, bytes).await? {
            CommitOutcome::Lost => return Ok(false),
            CommitOutcome::Committed => {}
        }
        // Create-if-absent forgets what was collected, here as in the log. If newer manifests exist that do not descend
        // from ours, ours was put at a number that had been collected, and no reader will ever look at it.
        if let Some(newest) = manifest::find_latest(backend, &self.keys, number).await? {
            let newest = manifest::read_manifest(backend, &self.keys, newest).await?;
            if !newest.is_some_and(|newest| newest.descends_from(number, next.nonce)) {
                tracing::warn!(namespace = %self.name, number, "a manifest was put at a number that had been collected");
                return Ok(false);
            }
        }
        let next = Arc::new(next);
        let ((), installed) =
            join(self.write_hint(&next, size), self.install_manifest(Arc::clone(&next), begun)).await;
        installed.map(|_| true)
    }

    /// Writes where to look first. Nothing but speed depends on it, so a failure is not an error, and two processes may
    /// overwrite each other's in any order. It is written after the commit: a hint to a manifest that lost its number
    /// would hold a copy of a state that never was.
    async fn write_hint(&self, manifest: &Manifest, manifest_bytes: usize) {
        if let Err(error) = self.put_hint(manifest, manifest_bytes).await {
            tracing::debug!(namespace = %self.name, %error, "could not write the hint");
        }
    }

    async fn put_hint(&self, manifest: &Manifest, manifest_bytes: usize) -> Result<()> {
        let key = self.names.hint();
        let hint = Hint::encode(self.incarnation.number, manifest, manifest_bytes);
        let hint = hint.map_err(|e| e.at(&key))?;
        self.context.backend.put(&key, hint.into(), PutMode::Overwrite).await
    }

    /// A time by the store's clock that is not later than now, and not earlier than this call if no request is lost: that
    /// of the hint, which is written again. Times of objects are to be compared with no other clock.
    pub(crate) async fn store_time_ms(&self) -> Result<i64> {
        let manifest = Arc::clone(&self.state().manifest);
        let bytes = manifest.encode().map_err(|e| e.at(self.keys.manifest(manifest.number)))?;
        self.put_hint(&manifest, bytes.len()).await?;
        Ok(self.context.backend.head(&self.names.hint()).await?.modified_ms)
    }

    /// Looks for a newer manifest in a task of its own: often with a long backlog, which another process may have
    /// flushed, and now and then while the namespace is read. Nothing but speed depends on it.
    pub(super) fn refresh_if_due(self: &Arc<Self>) {
        if !self.refresh.take_due(self) || self.refresh.running.swap(true, Ordering::SeqCst) {
            return;
        }
        let engine = Arc::clone(self);
        self.context.env.spawn(async move {
            let _running = RefreshGuard(&engine.refresh.running);
            match engine.refresh_manifest().await {
                Ok(_) => {}
                // The manifest is older than another that is about to be listed. Whoever needs the file finds out.
                Err(error) if error.is_missing() => {}
                Err(error) => {
                    tracing::debug!(namespace = %engine.name, %error, "could not refresh the manifest");
                }
            }
        });
    }

    /// Looks for a newer manifest if that was not done for long: collection may have passed the known one. How long a
    /// snapshot of the state lasts depends on it, and nothing else, so a failure is not an error.
    pub(crate) async fn refresh_if_stale(&self) {
        let looked = self.state().manifest_newest_at;
        if self.context.env.elapsed(looked) >= self.context.settings.trust_period()
            && let Err(error) = self.refresh_newest_manifest().await
        {
            tracing::debug!(namespace = %self.name, %error, "could not refresh the manifest for a snapshot");
        }
    }

    /// The newest manifest, looked up and installed, for work that commits the next one.
    ///
    /// # Errors
    /// `UnsupportedVersion` if this version must not write to the namespace.
    pub(crate) async fn refresh_for_commit(&self) -> Result<()> {
        self.refresh_newest_manifest().await?;
        self.check_writable()
    }

    /// The newest manifest, looked up and installed, for work that is based on it.
    pub(crate) fn refresh_newest_manifest(&self) -> BoxFuture<'_, Result<Arc<Manifest>>> {
        Box::pin(async move {
            let mut lacks_file = None;
            let mut backoff = Backoff::new(RetryPolicy::READ_MANIFEST);
            loop {
                let begun = self.context.env.moment();
                let newest = self.find_newer_manifest().await?;
                match self.read_and_install(newest, begun).await {
                    Ok(Some(installed)) => return Ok(installed),
                    Ok(None) => {}
                    // A file of it is gone although it is still the newest: the file is lost.
                    Err(e) if e.is_missing() && lacks_file == Some(newest) => return Err(e),
                    Err(e) if e.is_missing() => lacks_file = Some(newest),
                    Err(e) => return Err(e),
                }
                if !backoff.pause(&self.context.env).await {
                    let why = "manifests are committed faster than they can be read. retry later";
                    return Err(Error::new(ErrorKind::Unavailable, why));
                }
            }
        })
    }
}
