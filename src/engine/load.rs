//! Loading the newest state of an incarnation: from its lists to a manifest, its segments and the tail of the log.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, try_join};

use super::discover::{Discovery, DiscoveryStart, LogStart};
use super::failures::{missing_object, overtaken};
use super::objects::IncarnationReader;
use super::state::EngineState;
use crate::context::Context;
use crate::env::Moment;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{self, Hint, Incarnation, Manifest};
use crate::retry::{Backoff, RetryPolicy};
use crate::safeguard::Safeguard;
use crate::schema::SchemaVersions;
use crate::storage::IncarnationKeys;
use crate::types::{NamespaceName, Sequence};
use crate::wal::{self, ListedEntry, LogEntry, LogListing, list_start};

/// Entries whose segments are opened at a time.
const LINKS: usize = 32;

/// Loads states of one incarnation. It reads; it changes nothing.
pub(super) struct Loader<'a> {
    pub(super) name: &'a NamespaceName,
    pub(super) context: &'a Context,
    pub(super) incarnation: &'a Incarnation,
    pub(super) keys: &'a IncarnationKeys,
    /// The schemas that the namespace was opened with, if it was opened before.
    pub(super) known: Option<&'a SchemaVersions>,
}

/// The entries of a tail as they are listed, and just before what time they were known to be all.
struct TailListing {
    entries: Vec<ListedEntry>,
    verified: Moment,
}

impl Loader<'_> {
    /// The newest state. `first` is what has been discovered already; `start` is where to look from when that turns out
    /// stale, or if there is none.
    pub(super) async fn load(
        &self,
        hint: Option<Hint>,
        mut first: Option<Discovery>,
        start: impl Fn() -> DiscoveryStart + Sync,
    ) -> Result<EngineState> {
        let Self { context, keys, .. } = self;
        let mut failed_at = None;
        let mut backoff = Backoff::new(RetryPolicy::LOAD_STATE);
        loop {
            let discovery = match first.take() {
                Some(discovery) => discovery,
                None => start().discover(context, keys).await?,
            };
            let newest = discovery.newest;
            // A hint that led to a stale state once is not asked again.
            let hint = hint.as_ref().filter(|_| backoff.is_first_attempt());
            let failure = match self.assemble_state(discovery, hint).await {
                Ok(state) => return Ok(state),
                // Collection or another process moved on between our lists and our reads. Nothing is collected
                // before a newer manifest exists: the same manifest twice means that the object is lost.
                Err(e) if e.is(ErrorKind::NotFound) || e.is_missing() => {
                    if failed_at.replace(newest) == Some(newest) {
                        missing_object(keys, &e)
                    } else {
                        overtaken(self.name)
                    }
                }
                Err(e) => return Err(e),
            };
            if !backoff.pause(&context.env).await {
                return Err(failure);
            }
        }
    }

    /// The state that the lists show. `NotFound`, or a missing file, means that they were stale.
    async fn assemble_state(&self, discovery: Discovery, hint: Option<&Hint>) -> Result<EngineState> {
        let begun = discovery.begun;
        let manifest = self.read_manifest(discovery.newest, discovery.manifest, hint).await?;
        let Self { context, incarnation, keys, .. } = *self;
        let schemas = self.known.unwrap_or(&manifest.schemas);
        let reader = IncarnationReader { context, incarnation, keys, schemas };
        reader.check_manifest(&manifest)?;
        let (flushed, mut previous) = (manifest.flushed_through, manifest.flushed_batch);
        let tail = self.list_tail(flushed, discovery.log).await?;
        let parts = reader.open_parts(&manifest.segments, &discovery.opened);
        let backend = &context.backend;
        let open_layers = |entry: Result<LogEntry>| async move {
            let entry = entry?;
            reader.check_entry(&entry)?;
            let layers = reader.open_layers(&entry).await?;
            Ok::<_, Error>((entry, layers))
        };
        let entries = wal::read_entries(backend, keys, reader.schemas, tail.entries);
        let entries = entries.map(open_layers).buffered(LINKS).try_collect::<Vec<_>>();
        let (entries, parts) = try_join!(entries, parts)?;
        self.check_still_newest(manifest.number, begun).await?;
        let mut state = EngineState::new(manifest, parts, begun, tail.verified);
        for (entry, layers) in entries {
            // A dense list is not yet a log: a process that slept may have put an entry at a number that had been
            // collected. Only the name of the batch before it shows that it belongs here.
            if entry.head.previous != previous && self.holds(Safeguard::ChainCheck) {
                return Err(stale_manifest("the chain of the log is broken"));
            }
            previous = entry.head.batch;
            state.apply_entry(&entry.head, layers, &entry.body.tokens)?;
        }
        Ok(state)
    }

    /// Checks that nothing of what was read can have been put, after a long sleep, at a number that had been collected.
    /// Nothing that the newest manifest needs is collected, so it is enough that it was the newest when all had been read.
    /// An ancestor of the newest is not enough: its tail may have been collected, and what was listed of it is no end.
    async fn check_still_newest(&self, number: u64, begun: Moment) -> Result<()> {
        let Self { context, keys, .. } = self;
        if context.is_fresh(begun, Safeguard::ReaderFreshness)
            || manifest::find_latest(&context.backend, keys, number).await?.is_none()
        {
            return Ok(());
        }
        Err(stale_manifest("it was replaced while it was read"))
    }

    /// The entries after `flushed`.
    async fn list_tail(&self, flushed: Sequence, log: LogStart) -> Result<TailListing> {
        let Self { context, keys, .. } = self;
        let reaches =
            |listing: &LogListing| listing.entries.last().is_some_and(|last| last.sequence >= flushed);
        // A hint promised more than the manifest keeps, or the log was flushed beyond the page that was listed. Then
        // the pages in between are of no use: the list begins again at `flushed`.
        let elsewhere = log.after > flushed || (flushed > Sequence::ZERO && !reaches(&log.listing));
        let (listing, verified) = if elsewhere {
            let verified = context.env.moment();
            (LogListing::read_whole(&context.backend, keys, list_start(flushed)).await?, verified)
        } else {
            (log.listing.read_remaining(&context.backend, keys).await?, log.verified)
        };
        let boundary = listing.entries.iter().any(|entry| entry.sequence == flushed);
        // Collection keeps the last entry that a manifest covers. Where that is gone what came after it may be.
        if !boundary && flushed > Sequence::ZERO && self.holds(Safeguard::GapCheck) {
            return Err(stale_manifest(&format!("the log does not reach back to it, to entry {flushed}")));
        }
        let mut entries = listing.entries;
        entries.retain(|entry| entry.sequence > flushed);
        let expected = entries.iter().zip(flushed.0 + 1..);
        let dense = expected.take_while(|(found, expected)| found.sequence.0 == *expected).count();
        if dense < entries.len() {
            if self.holds(Safeguard::GapCheck) {
                return Err(stale_manifest("there is a gap in the log"));
            }
            entries.truncate(dense);
        }
        Ok(TailListing { entries, verified })
    }

    async fn read_manifest(
        &self,
        newest: u64,
        read: Option<Arc<Manifest>>,
        hint: Option<&Hint>,
    ) -> Result<Arc<Manifest>> {
        let Self { context, incarnation, keys, .. } = self;
        if newest == 0 {
            return Ok(Arc::new(Manifest::genesis(incarnation)));
        }
        // A manifest never changes once its number is taken, and the hint is written only after its manifest has won
        // the number: a copy with the newest number is the newest manifest, however old the hint is.
        let copied = hint.and_then(|hint| hint.manifest.as_ref());
        let copied = copied.filter(|m| m.number == newest && m.incarnation == incarnation.id);
        match read.or_else(|| copied.cloned()) {
            Some(manifest) => Ok(manifest),
            None => manifest::read_manifest(&context.backend, keys, newest)
                .await?
                .map(Arc::new)
                .ok_or_else(|| stale_manifest("it is listed, but does not exist")),
        }
    }

    fn holds(&self, rule: Safeguard) -> bool {
        self.context.safeguards.hold(rule)
    }
}

/// The error of a manifest that does not match the log.
fn stale_manifest(why: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("stale manifest: {why}"))
}
