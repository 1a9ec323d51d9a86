//! Taking the next number of the log.
//!
//! The number is the lock: whoever puts entry n+1 has proved that nobody wrote after n. After anything but a
//! clean success the number is read back: our batch there is our success, another's is a lost race, and
//! nothing there means to send the same bytes again.
//!
//! **Invariants:** entry n+1 is never sent by a process that has not read or written entry n; a batch keeps its id
//! through all attempts; an outcome that cannot be known is an error of its own.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::{Engine, EngineState};
use crate::env::{Cost, Moment};
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::Manifest;
use crate::memtable::MemRows;
use crate::retry::{Backoff, RetryPolicy};
use crate::safeguard::Safeguard;
use crate::segment::Segment;
use crate::storage::PutMode;
use crate::types::Sequence;
use crate::view::View;
use crate::wal::{self, EntryBody, EntryHead, EntryKind, LogEntry};

/// The state that a batch was resolved against.
#[derive(Clone, Debug)]
pub(crate) struct BaseState {
    pub(crate) view: View,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) last_batch: Uuid,
    verified: Moment,
}

/// How an append ended, short of an error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AppendOutcome {
    /// The batch is in the log, at this number.
    Appended(Sequence),
    /// Another took the number. The state has moved on, and what depends on it must be resolved again.
    Overtaken,
}

/// The content of an entry that has no number yet.
#[derive(Clone, Debug)]
pub(crate) struct EntryDraft {
    pub(crate) kind: EntryKind,
    /// Unique for the batch, and the same in every attempt.
    pub(crate) batch: Uuid,
    pub(crate) body: EntryBody,
    /// The segments that the body names, opened.
    pub(crate) linked: Vec<Arc<Segment>>,
}

/// An append that is under way.
struct AppendAttempt<'a> {
    base: &'a BaseState,
    draft: &'a EntryDraft,
    head: EntryHead,
    /// Just before the first request.
    first_sent: Moment,
}

impl AppendAttempt<'_> {
    /// The error of an entry that may be in the log or may still reach it.
    fn in_doubt(&self, cause: Option<Error>) -> Error {
        Error::write_in_doubt(self.head.sequence.0, self.draft.batch, cause)
    }
}

impl Engine {
    /// The state as it is known now, to resolve a batch against.
    pub(crate) fn base_state(&self) -> Result<BaseState> {
        self.base_of_state(&self.state())
    }

    pub(super) fn base_of_state(&self, state: &EngineState) -> Result<BaseState> {
        Ok(BaseState {
            view: self.view_of_state(state)?,
            manifest: Arc::clone(&state.manifest),
            last_batch: state.last_batch,
            verified: state.verified,
        })
    }

    /// Puts a batch that was resolved against `base` at the number after it.
    ///
    /// # Errors
    /// `Indeterminate` when it cannot be known whether the batch is in the log; any other error means that
    /// it is not and will not be.
    pub(crate) async fn append(&self, base: &BaseState, draft: &EntryDraft) -> Result<AppendOutcome> {
        // All entries before this one are known here.
        self.check_writable()?;
        let env = &self.context.env;
        let head = EntryHead {
            kind: draft.kind,
            write_features: 0,
            incarnation: self.incarnation.id,
            sequence: base.view.sequence.next(),
            batch: draft.batch,
            previous: base.last_batch,
            writer: self.writer,
            created_ms: env.wall_ms(),
        };
        let mut bytes = self.encode_entry(head, &draft.body).await?;
        let mut attempt = AppendAttempt { base, draft, head, first_sent: env.moment() };
        let mut backoff = Backoff::new(RetryPolicy::APPEND_ENTRY);
        // Whether an earlier request may still be on its way.
        let mut sent_before = false;
        loop {
            let key = self.keys.entry(attempt.head.sequence);
            let error = match self.context.backend.put(&key, bytes.clone().into(), PutMode::Create).await {
                Ok(()) => return self.confirm_own_entry(attempt).await,
                // The store turned the first request down: no other is under way.
                Err(e) if e.is_refusal() && !sent_before => return Err(e),
                Err(e) => e,
            };
            sent_before = true;
            // A mutant for tests, which believes "already exists" without reading back and tries the next number.
            // Clients repeat requests by themselves, so the entry may be our own: this writes it twice.
            if error.is(ErrorKind::AlreadyExists) && !self.context.safeguards.hold(Safeguard::VerifyExists) {
                attempt.head.sequence = attempt.head.sequence.next();
                bytes = self.encode_entry(attempt.head, &draft.body).await?;
                continue;
            }
            match self.read_entry(attempt.head.sequence).await {
                Ok(Some(found)) if self.is_own_entry(&found, draft) => {
                    return self.confirm_own_entry(attempt).await;
                }
                Ok(Some(found)) => return self.yield_to_winner(attempt, found).await,
                // No entry yet, or one that has been collected. The same bytes go out again: the answer to that put
                // decides between the two.
                Ok(None) => {}
                Err(e) if e.is(ErrorKind::Unavailable) => {}
                // Our own entry would be readable, so this is another's, from a newer version of the crate.
                Err(e) if e.is(ErrorKind::UnsupportedVersion) => return Err(e),
                Err(e) => return Err(attempt.in_doubt(Some(e))),
            }
            if env.elapsed(attempt.first_sent) > self.context.settings.write_timeout {
                return Err(attempt.in_doubt(Some(error)));
            }
            // Gives up by the write timeout above, not by count.
            backoff.pause(env).await;
        }
    }

    fn is_own_entry(&self, found: &LogEntry, draft: &EntryDraft) -> bool {
        found.head.batch == draft.batch && self.context.safeguards.hold(Safeguard::OwnWrite)
    }

    async fn encode_entry(&self, head: EntryHead, body: &EntryBody) -> Result<Bytes> {
        let cost = Cost::encoded_bytes(body.rows.get_array_memory_size()) + Cost::ids(body.deletes.len());
        let (schema, body) = (Arc::clone(&self.schema), body.clone());
        self.context.env.compute(cost, move || wal::encode_entry(&schema, head, &body)).await?
    }

    /// Applies an entry that is ours. It counts if its number had never been used before.
    async fn confirm_own_entry(&self, attempt: AppendAttempt<'_>) -> Result<AppendOutcome> {
        let AppendAttempt { base, draft, head, first_sent } = &attempt;
        // Create-if-absent forgets what was collected. A process that was suspended for longer than the grace would be
        // told that an old number is free, and would acknowledge a write that no reader ever sees.
        if !self.is_fresh(base.verified, Safeguard::WriterFreshness)
            && !self.is_genuine(head).await.map_err(|e| attempt.in_doubt(Some(e)))?
        {
            tracing::debug!(namespace = %self.name, sequence = %head.sequence, "an entry was put at a number that had been collected");
            return self.leave_old_number(attempt, None).await;
        }
        let run = MemRows::new(&self.schema, draft.body.rows.clone(), draft.body.deletes.clone())?;
        let segments = draft.linked.iter().map(|segment| Arc::new(segment.linked_by(head.sequence)));
        let links = &draft.body.segments;
        let layers = self.reader().build_layers(run, links, segments.collect(), head.sequence);
        self.state().apply_entry(head, layers, &draft.body.tokens)?;
        // Before our put there was no entry here, so there was none behind it.
        self.record_log_end(head.sequence, *first_sent);
        Ok(AppendOutcome::Appended(head.sequence))
    }

    /// Applies another's entry at our number. A request of ours that still travels will find the number taken, so
    /// the batch can be sent again for the next.
    async fn yield_to_winner(&self, attempt: AppendAttempt<'_>, found: LogEntry) -> Result<AppendOutcome> {
        match self.apply_genuine(found, attempt.base.verified, Safeguard::WriterFreshness).await {
            Ok(true) => Ok(AppendOutcome::Overtaken),
            Ok(false) => self.leave_old_number(attempt, None).await,
            // It links a segment that is gone, so a newer manifest has its rows; or the process was suspended since
            // the batch was first sent, so that batch may have been in the log and have been collected.
            Err(e) if e.is_missing() || !self.is_fresh(attempt.first_sent, Safeguard::WriterFreshness) => {
                self.leave_old_number(attempt, Some(e)).await
            }
            Err(e) => Err(e),
        }
    }

    /// Gives up a number that the log has left behind. If the batch was sent for it a short while ago it was never part
    /// of the log, for it would still be there. Otherwise it may have been, and have been collected since.
    async fn leave_old_number(
        &self,
        attempt: AppendAttempt<'_>,
        cause: Option<Error>,
    ) -> Result<AppendOutcome> {
        if self.is_fresh(attempt.first_sent, Safeguard::WriterFreshness) {
            self.reopen().await?;
            return Ok(AppendOutcome::Overtaken);
        }
        // The doubt is what the caller has to know. If loading the newest state fails too, the next call reports it.
        if let Err(error) = self.reopen().await {
            tracing::debug!(namespace = %self.name, %error, "reload after a failed append also failed");
        }
        Err(attempt.in_doubt(cause))
    }
}
