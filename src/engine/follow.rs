//! Following the log from the known state: the strong read's one request, and what it takes when the log has moved.
//!
//! This is [`Engine::catch_up`] and its steps. A step reads the next entry; most find none, which proves the state to be
//! the newest. The further behind the state is, the coarser the steps: one entry, a window of entries, then a list.

use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::{BoxFuture, join_all};

use super::Engine;
use crate::env::Moment;
use crate::error::{Error, ErrorKind, Result};
use crate::safeguard::Safeguard;
use crate::settings::Clocks;
use crate::types::Sequence;
use crate::wal::{self, EntryHead, ListedEntry, LogEntry, LogListing, list_start};

/// Entries that are requested at once after the first existed. Each that does not exist costs a request: four cover a
/// writer that is a few entries ahead, and more than four behind is cheaper by list.
const WINDOW: u64 = 4;
/// How often a state that turns out stale is loaded again.
const REOPENS: u32 = 4;

/// What a look at the next entry showed.
enum FollowStep {
    /// It does not exist: the state is the newest.
    Newest,
    /// Entries were applied, or exist and can be: there may be more. If a sequence is given, all entries that existed
    /// at some time after the step began are known to be up to it.
    Moved(Option<Sequence>),
    /// The state is too old to be read on from.
    Stale,
}

impl Engine {
    /// Brings the state up to every write that was acknowledged before this call.
    pub(crate) fn catch_up(self: &Arc<Self>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let patience = {
                let (env, limit) = (self.context.env.clone(), self.probe.patience());
                async move { env.sleep(limit).await }
            };
            let engine = Arc::clone(self);
            let follow = || async move {
                let outcome = engine.follow_log().await;
                engine.refresh_if_due();
                outcome
            };
            // A run that was sent before this call may have missed a write that was acknowledged in between: only a run
            // that begins later counts, and all callers that wait for it share it.
            self.probe.runs.join_next_run(patience, follow).await
        })
    }

    async fn follow_log(&self) -> Result<()> {
        let mut reopens = 0;
        let mut last = None;
        // However fast others write, it is enough to reach what existed at some time after the call.
        let mut goal: Option<Sequence> = None;
        loop {
            let before = last.replace(self.sequence());
            match self.follow_step().await {
                Ok(FollowStep::Newest) => return Ok(()),
                Ok(FollowStep::Moved(seen)) => {
                    goal = goal.or(seen);
                    let now = self.sequence();
                    if goal.is_some_and(|goal| now >= goal) {
                        return Ok(());
                    }
                    // The store contradicts itself, and would do so for ever.
                    if before == Some(now) {
                        let why = "the log is listed but cannot be read. retry later";
                        return Err(Error::new(ErrorKind::Unavailable, why));
                    }
                    continue;
                }
                Ok(FollowStep::Stale) => {}
                // An entry links a segment that is gone: compaction and collection were quicker.
                Err(e) if e.is_missing() => {}
                Err(e) => return Err(e),
            }
            // Nothing is known to be lost: this process was too slow each time.
            if reopens == REOPENS {
                return Err(self.overtaken_error());
            }
            reopens += 1;
            // The loop then checks what was loaded by one more step, which is one request and mostly finds nothing.
            self.reopen().await?;
        }
    }

    async fn follow_step(&self) -> Result<FollowStep> {
        let (known, verified, sealed) = {
            let state = self.state();
            (state.sequence, state.verified, state.sealed)
        };
        if sealed {
            return Ok(FollowStep::Newest);
        }
        let sent = self.context.env.moment();
        match self.probe_entry(known.next()).await? {
            // Freshness is checked after the answer: the process may have been suspended since the request.
            None if self.is_fresh(verified, Safeguard::ReaderFreshness) => {
                self.record_log_end(known, sent);
                Ok(FollowStep::Newest)
            }
            None => self.confirm_end_by_list(known).await,
            // Far behind in time: loading the newest state costs three round trips, checking each entry two. Without
            // trust in clocks every entry is checked anyway, so reloading would gain nothing.
            Some(_)
                if self.context.settings.clocks == Clocks::Trusted
                    && !self.is_fresh(verified, Safeguard::ReaderFreshness) =>
            {
                Ok(FollowStep::Stale)
            }
            Some(entry) => self.apply_window(entry, verified).await,
        }
    }

    /// The next entry does not exist, but it may have existed and have been collected: then a later one, which
    /// collection never takes, is still listed.
    async fn confirm_end_by_list(&self, known: Sequence) -> Result<FollowStep> {
        let sent = self.context.env.moment();
        let listing = LogListing::first_page(&self.context.backend, &self.keys, known).await?;
        let Some(first) = listing.entries.first() else {
            self.record_log_end(known, sent);
            return Ok(FollowStep::Newest);
        };
        // Entries came meanwhile, or there is a gap: the next step finds out which.
        if first.sequence == known.next() {
            Ok(FollowStep::Moved(listing.last_sequence()))
        } else {
            Ok(FollowStep::Stale)
        }
    }

    /// Applies an entry and the few after it.
    async fn apply_window(&self, entry: LogEntry, verified: Moment) -> Result<FollowStep> {
        if !self.apply_genuine(entry, verified, Safeguard::ReaderFreshness).await? {
            return Ok(FollowStep::Stale);
        }
        let known = self.sequence();
        let sent = self.context.env.moment();
        let window = (1..=WINDOW).map(|ahead| self.read_entry(Sequence(known.0 + ahead)));
        let window = join_all(window).await.into_iter().collect::<Result<Vec<_>>>()?;
        let mut end = known;
        // What lies behind the first missing entry was put after that request was served: the next call reads it.
        for entry in window.into_iter().map_while(|entry| entry) {
            end = entry.head.sequence;
            if !self.apply_genuine(entry, verified, Safeguard::ReaderFreshness).await? {
                return Ok(FollowStep::Stale);
            }
        }
        if end.0 < known.0 + WINDOW {
            // The first that is missing shows the end of the log: the requests were sent after the call.
            if self.is_fresh(verified, Safeguard::ReaderFreshness) {
                self.record_log_end(end, sent);
                return Ok(FollowStep::Newest);
            }
            return Ok(FollowStep::Moved(None));
        }
        self.catch_up_by_list(verified).await
    }

    /// As [`Self::catch_up`], from the newest manifest on: rows that were flushed are dropped from the tail before others are
    /// merged with them.
    pub(crate) async fn catch_up_from_newest_manifest(self: &Arc<Self>) -> Result<()> {
        let refreshed = self.refresh_newest_manifest().await;
        // This error comes first: it tells that the namespace was deleted.
        self.catch_up().await?;
        refreshed.map(drop)
    }

    /// Far behind: a newer manifest may cover most of it, and one list shows how far to read.
    async fn catch_up_by_list(&self, verified: Moment) -> Result<FollowStep> {
        self.refresh_manifest().await?;
        let known = self.sequence();
        let sent = self.context.env.moment();
        let listing = LogListing::first_page(&self.context.backend, &self.keys, known).await?;
        let last = if listing.entries.is_empty() { Some(known) } else { listing.last_sequence() };
        let numbered = listing.entries.into_iter().zip(known.0 + 1..);
        let dense: Vec<ListedEntry> =
            numbered.take_while(|(found, next)| found.sequence.0 == *next).map(|(found, _)| found).collect();
        // invariant: nothing listed after `known` means that the log ends there, as far as the list tells.
        let end = dense.last().map_or(known, |last| last.sequence);
        let mut entries = pin!(wal::read_entries(&self.context.backend, &self.keys, &self.schemas, dense));
        while let Some(entry) = entries.next().await {
            let entry = match entry {
                // Collected since it was listed.
                Err(e) if e.is(ErrorKind::NotFound) => return Ok(FollowStep::Stale),
                entry => entry?,
            };
            if !self.apply_genuine(entry, verified, Safeguard::ReaderFreshness).await? {
                return Ok(FollowStep::Stale);
            }
        }
        // A list may lack an entry that was put while it was read, and show one behind it: a gap proves nothing.
        let complete = last == Some(end);
        if complete {
            self.record_log_end(end, sent);
        }
        Ok(FollowStep::Moved(complete.then_some(end)))
    }

    /// Applies the next entry if it is genuine: it names the batch before it, and it is not one that a
    /// writer put, after a long sleep, at a number that had been collected. Returns whether it is.
    pub(super) async fn apply_genuine(
        &self,
        entry: LogEntry,
        verified: Moment,
        rule: Safeguard,
    ) -> Result<bool> {
        self.reader().check_entry(&entry)?;
        let head = entry.head;
        if !self.may_follow_state(&head) {
            return Ok(false);
        }
        if !self.is_fresh(verified, rule) && !self.is_genuine(&head).await? {
            return Ok(false);
        }
        let layers = self.reader().open_layers(&entry).await?;
        // Another task may have applied it, or have replaced the state, while segments were opened.
        if !self.may_follow_state(&head) {
            return Ok(false);
        }
        self.state().apply_entry(&head, layers, &entry.body.tokens)?;
        Ok(true)
    }

    /// Whether an entry may follow the state, or is already part of it.
    fn may_follow_state(&self, head: &EntryHead) -> bool {
        let state = self.state();
        if head.sequence <= state.sequence {
            // Of older entries the batch is not known any more. They were checked when they were applied.
            return head.sequence < state.sequence || head.batch == state.last_batch;
        }
        head.sequence == state.sequence.next()
            && (head.previous == state.last_batch || !self.context.safeguards.hold(Safeguard::ChainCheck))
    }

    /// Whether an entry at this number was never put after the number had been collected: collection keeps
    /// the entry at its boundary, so a number below it shows a gap behind it, or a successor that names
    /// another batch. Needs no clock.
    pub(super) async fn is_genuine(&self, head: &EntryHead) -> Result<bool> {
        let start = list_start(head.sequence);
        let listed = LogListing::first_page(&self.context.backend, &self.keys, start).await?.entries;
        match listed.as_slice() {
            [first] => Ok(first.sequence == head.sequence),
            // A list may lack an entry that was put while it was read, and show one behind it: whether there is a gap,
            // only the next entry itself shows.
            [first, _, ..] if first.sequence == head.sequence => {
                let next = self.read_entry(head.sequence.next()).await?;
                Ok(next.is_some_and(|next| next.head.previous == head.batch))
            }
            _ => Ok(false),
        }
    }

    pub(super) async fn read_entry(&self, sequence: Sequence) -> Result<Option<LogEntry>> {
        wal::read_entry(&self.context.backend, &self.keys, &self.schemas, sequence).await
    }

    /// Records that a request sent at `sent` found no entry after `known`. If the state has moved on meanwhile, the
    /// entry after that did not exist either.
    pub(super) fn record_log_end(&self, known: Sequence, sent: Moment) {
        let mut state = self.state();
        // Requests overlap, and the answer of an older one must not take the time back.
        if state.sequence >= known && state.verified.is_before(sent) {
            state.verified = sent;
        }
    }
}
