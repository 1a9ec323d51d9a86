//! Taking the next number of the log.
//!
//! The number is the lock: whoever puts entry n+1 has proved that nobody wrote after n. After anything but a
//! clean success the number is read back: our batch there is our success, another's is a lost race, and
//! nothing there means to send the same bytes again.
//!
//! **Invariants:** entry n+1 is never sent by one who has not read or written entry n; a batch keeps its id
//! through all attempts; what cannot be known is an error of its own.

use std::sync::Arc;

use uuid::Uuid;

use super::{Engine, State};
use crate::env::Moment;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::Manifest;
use crate::memtable::Run;
use crate::retry::{Backoff, RetryPolicy};
use crate::safeguard::Safeguard;
use crate::segment::Segment;
use crate::storage::PutMode;
use crate::types::{Sequence, WriteReceipt};
use crate::view::View;
use crate::wal::{Encoded, Entry, EntryBody, EntryHead, EntryKind};

/// Entries above this size are encoded on the blocking pool.
const INLINE_BYTES: usize = 1 << 20;
const INLINE_DELETES: usize = 10_000;

/// The state that a batch was resolved against.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub(crate) view: View,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) last_batch: Uuid,
    verified: Moment,
}

/// How an attempt ended, short of an error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// The batch is in the log, here.
    Done(Sequence),
    /// Another took the number; the state has moved on, and what depends on it must be resolved again.
    Moved,
}

/// What to put in the log.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) kind: EntryKind,
    /// Unique for the batch, and the same in every attempt.
    pub(crate) batch: Uuid,
    pub(crate) body: EntryBody,
    /// The segments that the body names, opened.
    pub(crate) linked: Vec<Arc<Segment>>,
}

impl Engine {
    /// The state as it stands, to resolve a batch against.
    pub(crate) fn base(&self) -> Result<Base> {
        self.base_of(&self.state())
    }

    pub(super) fn base_of(&self, state: &State) -> Result<Base> {
        Ok(Base {
            view: self.view_of(state)?,
            manifest: Arc::clone(&state.manifest),
            last_batch: state.last_batch,
            verified: state.verified,
        })
    }

    /// The receipt of the write with this token, if it is remembered.
    pub(crate) fn receipt(&self, token: Uuid) -> Option<WriteReceipt> {
        let state = self.state();
        state.tokens.receipt(token).or_else(|| state.manifest.tokens.receipt(token)).cloned()
    }

    /// Puts a batch that was resolved against `base` at the number after it.
    ///
    /// # Errors
    /// `Indeterminate` when it cannot be known whether the batch is in the log; any other error means that
    /// it is not and will not be.
    pub(crate) async fn append(&self, base: &Base, draft: &Draft) -> Result<Appended> {
        let mut head = EntryHead {
            kind: draft.kind,
            incarnation: self.incarnation.id,
            sequence: base.view.sequence.next(),
            batch: draft.batch,
            previous: base.last_batch,
            writer: self.writer,
            created_ms: self.context.env.wall_ms(),
        };
        let mut bytes = self.encode(head, &draft.body).await?;
        let first_sent = self.context.env.moment();
        let mut backoff = Backoff::new(RetryPolicy::APPEND_ENTRY);
        // Whether an earlier request may still be on its way.
        let mut sent_before = false;
        loop {
            let key = self.keys.entry(head.sequence);
            let error = match self.context.backend.put(&key, bytes.clone(), PutMode::Create).await {
                Ok(()) => return self.won(base, &head, draft, first_sent).await,
                // The store turned the first request down: no other is under way.
                Err(e) if e.is_refusal() && !sent_before => return Err(e),
                Err(e) => e,
            };
            sent_before = true;
            if error.is(ErrorKind::AlreadyExists) && !self.context.safeguards.hold(Safeguard::VerifyExists) {
                head.sequence = head.sequence.next();
                bytes = self.encode(head, &draft.body).await?;
                continue;
            }
            match self.read_entry(head.sequence).await {
                Ok(Some(found))
                    if found.head.batch == draft.batch
                        && self.context.safeguards.hold(Safeguard::OwnWrite) =>
                {
                    return self.won(base, &head, draft, first_sent).await;
                }
                Ok(Some(found)) => return self.lost(base, draft, found, first_sent).await,
                // Whether it was there and was collected, an answer to the next request will tell.
                Ok(None) => {}
                Err(e) if e.is(ErrorKind::Unavailable) => {}
                // Not ours, which this version could read.
                Err(e) if e.is(ErrorKind::UnsupportedVersion) => return Err(e),
                Err(e) => return Err(Error::in_doubt(head.sequence.0, draft.batch, Some(e))),
            }
            if self.context.env.elapsed(first_sent) > self.context.settings.write_timeout {
                return Err(Error::in_doubt(head.sequence.0, draft.batch, Some(error)));
            }
            // Gives up by the write timeout above, not by count.
            backoff.pause(&self.context.env).await;
        }
    }

    async fn encode(&self, head: EntryHead, body: &EntryBody) -> Result<bytes::Bytes> {
        let small = body.rows.get_array_memory_size() < INLINE_BYTES && body.deletes.len() < INLINE_DELETES;
        if small {
            Ok(Encoded::new(&self.schema, head, body)?.finish())
        } else {
            let (schema, body) = (Arc::clone(&self.schema), body.clone());
            let encode = move || Ok::<_, Error>(Encoded::new(&schema, head, &body)?.finish());
            self.context.env.blocking(encode).await?
        }
    }

    /// The entry is ours. It counts if its number had never been used before.
    async fn won(&self, base: &Base, head: &EntryHead, draft: &Draft, sent: Moment) -> Result<Appended> {
        if !self.trusts(base.verified, Safeguard::WriterFreshness) {
            let doubt = |cause| Error::in_doubt(head.sequence.0, draft.batch, cause);
            if !self.genuine(head).await.map_err(|e| doubt(Some(e)))? {
                tracing::debug!(namespace = %self.name, sequence = %head.sequence, "an entry landed where the log had been collected");
                return self.missed(head, draft, sent, None).await;
            }
        }
        let run = Run::new(&self.schema, draft.body.rows.clone(), draft.body.deletes.clone())?;
        let segments = draft.linked.iter().map(|segment| Arc::new(segment.linked_by(head.sequence)));
        let layers = self.layers(run, &draft.body.segments, segments.collect(), head.sequence);
        self.state().apply(head, layers, &draft.body.tokens)?;
        // Before our put there was no entry here, so there was none behind it.
        self.note_absent(head.sequence, sent);
        Ok(Appended::Done(head.sequence))
    }

    /// The entry is another's. A request of ours that still travels will find the number taken.
    async fn lost(&self, base: &Base, draft: &Draft, found: Entry, sent: Moment) -> Result<Appended> {
        let head = found.head;
        match self.take_in(found, base.verified, Safeguard::WriterFreshness).await {
            Ok(true) => Ok(Appended::Moved),
            Ok(false) => self.missed(&head, draft, sent, None).await,
            // It links a segment that is gone, and a newer manifest has its rows; or nothing is known of it.
            Err(e) if e.is_missing() || !self.trusts(sent, Safeguard::WriterFreshness) => {
                self.missed(&head, draft, sent, Some(e)).await
            }
            Err(e) => Err(e),
        }
    }

    /// The number is one that the log has left behind. If the batch was sent for it a short while ago it was never part
    /// of the log, for that would still be there. Otherwise it may have been, and have been collected since.
    async fn missed(
        &self,
        head: &EntryHead,
        draft: &Draft,
        sent: Moment,
        cause: Option<Error>,
    ) -> Result<Appended> {
        if self.trusts(sent, Safeguard::WriterFreshness) {
            self.reopen().await?;
            return Ok(Appended::Moved);
        }
        self.reopen_quietly().await;
        Err(Error::in_doubt(head.sequence.0, draft.batch, cause))
    }

    /// Looks for the newest state after a write has failed: if that fails too, the next call will.
    async fn reopen_quietly(&self) {
        if let Err(error) = self.reopen().await {
            tracing::debug!(namespace = %self.name, %error, "the newest state is not to be had");
        }
    }
}
