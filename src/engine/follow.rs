//! Reading on from the known state: the strong read's one request, and what it takes when the log moved.

use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::future::join_all;

use super::Engine;
use crate::env::Moment;
use crate::error::{Error, ErrorKind, Result};
use crate::safeguard::Safeguard;
use crate::settings::Durability;
use crate::types::Sequence;
use crate::wal::{self, Entry, EntryHead, Listed, Listing};

/// Entries asked for at once after the first was there.
const WINDOW: u64 = 4;
/// How often a state that turns out stale is looked for anew.
const REOPENS: u32 = 4;

/// What became of one look at the next entry.
enum Step {
    /// There was none: the state is the newest.
    Newest,
    /// Entries were applied, or are there to be: there may be more. All that were there at some time after the
    /// look began are known to be up to this one, if one is told.
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
            let look = || async move {
                let outcome = engine.follow().await;
                engine.refresh_if_due();
                outcome
            };
            self.probe.turns.next(patience, look).await
        })
    }

    async fn follow(&self) -> Result<()> {
        let mut reopens = 0;
        let mut last = None;
        // However fast others write: it is enough to reach what there was at some time after the call.
        let mut goal: Option<Sequence> = None;
        loop {
            let before = last.replace(self.sequence());
            match self.step().await {
                Ok(Step::Newest) => return Ok(()),
                Ok(Step::Moved(seen)) => {
                    goal = goal.or(seen);
                    let now = self.sequence();
                    if goal.is_some_and(|goal| now >= goal) {
                        return Ok(());
                    }
                    // Listed, and yet not to be read: a store that contradicts itself.
                    if before == Some(now) {
                        return Err(Error::new(ErrorKind::Unavailable, "the log is listed but not read"));
                    }
                    continue;
                }
                Ok(Step::Stale) => {}
                // An entry links a segment that is gone: compaction and collection were quicker.
                Err(e) if e.is_missing() => {}
                Err(e) => return Err(e),
            }
            // Nothing is known to be missing: we were too slow each time.
            if reopens == REOPENS {
                return Err(self.too_slow());
            }
            // A state that was just found counts as read: what came later came after this call.
            reopens += 1;
            self.reopen().await?;
        }
    }

    async fn step(&self) -> Result<Step> {
        let (known, verified, sealed) = {
            let state = self.state();
            (state.sequence, state.verified, state.sealed)
        };
        if sealed {
            return Ok(Step::Newest);
        }
        let sent = self.context.env.moment();
        match self.probe_entry(known.next()).await? {
            // Asked after the answer: the process may have slept since it asked.
            None if self.trusts(verified, Safeguard::ReaderFreshness) => {
                self.note_absent(known, sent);
                Ok(Step::Newest)
            }
            None => self.step_by_list(known).await,
            // Long behind: to look anew costs three round trips, to check each entry two.
            Some(_)
                if self.context.settings.durability == Durability::Standard
                    && !self.trusts(verified, Safeguard::ReaderFreshness) =>
            {
                Ok(Step::Stale)
            }
            Some(entry) => self.step_over(entry, verified).await,
        }
    }

    /// The next entry is missing, and it may be that it was there and has been collected: then a later one,
    /// which collection never takes, is still listed.
    async fn step_by_list(&self, known: Sequence) -> Result<Step> {
        let sent = self.context.env.moment();
        let listing = Listing::page(&self.context.backend, &self.keys, known).await?;
        if listing.entries.is_empty() {
            self.note_absent(known, sent);
            return Ok(Step::Newest);
        }
        // Entries came meanwhile, or there is a gap: the next look tells which.
        if listing.entries.first().map(|first| first.sequence) == Some(known.next()) {
            Ok(Step::Moved(listing.end()))
        } else {
            Ok(Step::Stale)
        }
    }

    /// Applies an entry and those behind it.
    async fn step_over(&self, entry: Entry, verified: Moment) -> Result<Step> {
        if !self.take_in(entry, verified, Safeguard::ReaderFreshness).await? {
            return Ok(Step::Stale);
        }
        let known = self.sequence();
        let sent = self.context.env.moment();
        let window = (1..=WINDOW).map(|ahead| self.read_entry(Sequence(known.0 + ahead)));
        let window = join_all(window).await.into_iter().collect::<Result<Vec<_>>>()?;
        let mut end = known;
        for entry in window.into_iter().map_while(|entry| entry) {
            end = entry.head.sequence;
            if !self.take_in(entry, verified, Safeguard::ReaderFreshness).await? {
                return Ok(Step::Stale);
            }
        }
        if end.0 < known.0 + WINDOW {
            // The first that is missing shows the end of the log: the requests were sent after the call.
            if self.trusts(verified, Safeguard::ReaderFreshness) {
                self.note_absent(end, sent);
                return Ok(Step::Newest);
            }
            return Ok(Step::Moved(None));
        }
        self.step_far(verified).await
    }

    /// Far behind: a newer manifest may cover most of it, and one list tells the rest.
    async fn step_far(&self, verified: Moment) -> Result<Step> {
        self.refresh().await?;
        let known = self.sequence();
        let sent = self.context.env.moment();
        let listing = Listing::page(&self.context.backend, &self.keys, known).await?;
        let last = if listing.entries.is_empty() { Some(known) } else { listing.end() };
        let dense = listing.entries.into_iter().zip(known.0 + 1..);
        let dense: Vec<Listed> =
            dense.take_while(|(found, next)| found.sequence.0 == *next).map(|(found, _)| found).collect();
        let end = dense.last().map_or(known, |last| last.sequence);
        let mut entries = pin!(wal::read_all(&self.context.backend, &self.keys, &self.schema, dense));
        while let Some(entry) = entries.next().await {
            let entry = match entry {
                // Collected since it was listed.
                Err(e) if e.is(ErrorKind::NotFound) => return Ok(Step::Stale),
                entry => entry?,
            };
            if !self.take_in(entry, verified, Safeguard::ReaderFreshness).await? {
                return Ok(Step::Stale);
            }
        }
        // A folder may be listed without an entry that came meanwhile, and with one behind it: a gap says nothing.
        let whole = last == Some(end);
        if whole {
            self.note_absent(end, sent);
        }
        Ok(Step::Moved(whole.then_some(end)))
    }

    /// Applies the next entry if it is genuine: it names the batch before it, and it is not one that a
    /// writer put, after a long sleep, at a number that had been collected.
    pub(super) async fn take_in(&self, entry: Entry, verified: Moment, rule: Safeguard) -> Result<bool> {
        self.check_incarnation(&entry)?;
        let head = entry.head;
        if !self.chains(&head) {
            return Ok(false);
        }
        if !self.trusts(verified, rule) && !self.genuine(&head).await? {
            return Ok(false);
        }
        let layers = self.layers_of(&entry).await?;
        // Another task may have applied it, or gone over to another state, while we looked.
        if !self.chains(&head) {
            return Ok(false);
        }
        self.state().apply(&head, layers, &entry.body.tokens)?;
        Ok(true)
    }

    /// Whether an entry may follow the state, or is already part of it.
    fn chains(&self, head: &EntryHead) -> bool {
        let state = self.state();
        if head.sequence <= state.sequence {
            return head.sequence < state.sequence || head.batch == state.last_batch;
        }
        head.sequence == state.sequence.next()
            && (head.previous == state.last_batch || !self.context.safeguards.hold(Safeguard::ChainCheck))
    }

    /// Whether an entry at this number was never put after the number had been collected: collection keeps
    /// the entry at its boundary, so a number below it shows a gap behind it, or a successor that names
    /// another batch. Needs no clock.
    pub(super) async fn genuine(&self, head: &EntryHead) -> Result<bool> {
        let before = Sequence(head.sequence.0.saturating_sub(1));
        let listed = Listing::page(&self.context.backend, &self.keys, before).await?.entries;
        match listed.as_slice() {
            [first] => Ok(first.sequence == head.sequence),
            // A list may lack an entry that came meanwhile, and have one behind it: whether there is a gap, only the
            // entry itself tells.
            [first, _, ..] if first.sequence == head.sequence => {
                let next = self.read_entry(head.sequence.next()).await?;
                Ok(next.is_some_and(|next| next.head.previous == head.batch))
            }
            _ => Ok(false),
        }
    }

    pub(super) async fn read_entry(&self, sequence: Sequence) -> Result<Option<Entry>> {
        wal::read(&self.context.backend, &self.keys, &self.schema, sequence).await
    }

    /// A request sent at `sent` found no entry after `known`. The state may have moved on meanwhile; then
    /// there was none after that either.
    pub(super) fn note_absent(&self, known: Sequence, sent: Moment) {
        let mut state = self.state();
        if state.sequence >= known && state.verified.is_before(sent) {
            state.verified = sent;
        }
    }
}
