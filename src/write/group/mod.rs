//! Commit of a group: batches that share an entry of the log.
//!
//! The batches of a group are resolved one on top of the other, in the order they came, as if each had an entry of its
//! own. A batch that fails is answered alone and leaves the group; the others are committed without it.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::link::linked_bytes_min;
use super::pace::CommitPacer;
use super::pending::PendingBatch;
use crate::engine::{AppendOutcome, BaseState, Engine, EntryDraft};
use crate::env::Moment;
use crate::error::{Error, ErrorKind, Result};
use crate::memtable::MemRows;
use crate::types::{Sequence, TokenRecord, WriteReceipt};
use crate::wal::{EntryBody, EntryKind, SegmentLink};

/// A group is closed when it reaches this size: above it, the time of the put grows with the bytes, and every batch in
/// the entry and every reader waits for all of them.
const GROUP_BYTES: usize = 8 << 20;
/// How many numbers a group loses at least before it is given up: with a slow store the write timeout alone would allow
/// only one or two attempts.
const LOSSES_MIN: u32 = 16;
/// After how many lost numbers rows are linked that would fit into the entry: a smaller put is faster.
const LOSSES_HURRIED: u32 = 3;

/// The size in bytes that several batches of an entry stay below. A larger batch is alone, and has its rows linked if
/// they are many.
pub(super) fn group_bytes_max(engine: &Engine) -> usize {
    GROUP_BYTES.min(linked_bytes_min(engine, false))
}

/// A group on its way to the log, over all attempts.
struct GroupCommit<'a> {
    engine: &'a Arc<Engine>,
    pacer: &'a CommitPacer,
    batches: Vec<PendingBatch>,
    /// Batches behind these that take another entry.
    deferred: Vec<PendingBatch>,
    /// The id of the entry. It is the same in all attempts, so that the entry is recognised whichever of its requests
    /// arrived, and is in the log at most once.
    id: Uuid,
    begun: Moment,
    /// How many numbers others took first.
    losses: u32,
    /// Whether to read the log before the next attempt, which is quicker than losing number after number.
    is_behind: bool,
    /// Whether an attempt has resolved the batches on top of each other.
    is_stacked: bool,
    /// The log was proved to end here at some time after the group was taken from the queue.
    proved_end: Option<Sequence>,
}

/// A group resolved against one state.
#[derive(Default)]
struct ResolvedGroup {
    /// The rows and deletes of the batches, as a stack of [`MemRows::push_on_stack`].
    runs: Vec<MemRows>,
    tokens: Vec<TokenRecord>,
    receipts_by_token: HashMap<Uuid, WriteReceipt>,
    /// Whether the whole state was read for a batch, which may have taken long.
    has_read_state: bool,
    /// The error of a file of the state that is gone.
    missing: Option<Error>,
}

/// Commits a group and answers its batches: resolves it, appends it, and starts over if another process was quicker.
pub(super) async fn commit_group(engine: &Arc<Engine>, batches: Vec<PendingBatch>, pacer: &CommitPacer) {
    let mut commit = GroupCommit {
        engine,
        pacer,
        id: engine.context.env.uuid(),
        begun: engine.context.env.moment(),
        losses: 0,
        is_behind: batches.iter().any(|pending| pending.is_behind),
        batches,
        deferred: Vec::new(),
        is_stacked: false,
        proved_end: None,
    };
    loop {
        let Some(outcome) = commit.attempt().await.transpose() else { continue };
        if outcome.is_err() {
            commit.discard_deferred();
        }
        for pending in std::mem::take(&mut commit.batches) {
            match &outcome {
                Ok(sequence) => pending.acknowledge(*sequence),
                Err(error) => pending.answer(Err(error.clone())),
            }
        }
        if commit.deferred.is_empty() {
            return;
        }
        commit.start_deferred();
    }
}

impl GroupCommit<'_> {
    /// One attempt: the sequence that answers the batches, or `None` if it takes another attempt.
    async fn attempt(&mut self) -> Result<Option<Sequence>> {
        let (engine, env) = (self.engine, &self.engine.context.env);
        if std::mem::take(&mut self.is_behind) {
            engine.catch_up().await?;
        }
        let base = engine.base_state()?;
        let sequence = base.view.sequence;
        self.pacer.note_log_end(env, sequence);
        // After the state is known that the entry will follow.
        for pending in &mut self.batches {
            pending.drop_stale_link(engine).await?;
        }
        let resolved = self.resolve_batches(&base).await;
        if let Some(missing) = resolved.missing {
            // A newer manifest took the place of the one that named the file, or the file is lost.
            engine.explain_missing_file(base.manifest.number, &missing).await?;
            return Ok(None);
        }
        if self.batches.is_empty() {
            return Ok(Some(sequence));
        }
        if resolved.has_read_state {
            // Others have likely written meanwhile, so a put would lose. The next attempt reads what they wrote and
            // resolves only the documents that they touched.
            self.record_loss()?;
            return Ok(None);
        }
        if self.defer_excess() {
            return Ok(None);
        }
        let has_links = self.batches.iter().any(|pending| pending.link().is_some());
        if !has_links && resolved.runs.iter().all(MemRows::is_empty) && resolved.tokens.is_empty() {
            return self.prove_end(sequence).await;
        }
        // Only a batch that is alone can be too large.
        if let [only] = self.batches.as_mut_slice()
            && only.upload_if_large(engine, self.losses >= LOSSES_HURRIED).await?
        {
            // The upload took its time. A batch of blind writes is up to date all the same.
            self.is_behind = !only.batch.is_blind();
            return Ok(None);
        }
        let draft = self.draft_entry(&resolved, sequence.next())?;
        let sent = env.moment();
        match engine.append(&base, &draft).await? {
            AppendOutcome::Appended(sequence) => {
                self.pacer.note_own_entry(env, sequence, env.elapsed(sent));
                Ok(Some(sequence))
            }
            AppendOutcome::Overtaken => {
                self.record_loss()?;
                Ok(None)
            }
        }
    }

    /// Leaves batches for another entry if they have grown beyond what one takes, and returns whether it did. The queue
    /// takes batches together that are small, but a patch by filter grows when others write what it matches. It must not
    /// make the batches beside it fail at the limit of an entry.
    fn defer_excess(&mut self) -> bool {
        let bytes_max = group_bytes_max(self.engine);
        let mut bytes = 0usize;
        let fitting = self.batches.iter().take_while(|pending| {
            bytes = bytes.saturating_add(pending.resolved.weight().0);
            bytes < bytes_max
        });
        let fitting = fitting.count().max(1);
        if fitting >= self.batches.len() {
            return false;
        }
        // In front of those that were deferred before: the order of the queue is kept.
        let excess = self.batches.split_off(fitting);
        self.deferred.splice(..0, excess);
        true
    }

    /// Resolves the deferred batches from scratch: one before them that they were resolved on top of is in no entry.
    fn discard_deferred(&mut self) {
        self.deferred.iter_mut().for_each(PendingBatch::discard_resolution);
    }

    /// Makes the deferred batches the next group. They stay stacked: they were resolved on top of each other.
    fn start_deferred(&mut self) {
        let env = &self.engine.context.env;
        self.batches = std::mem::take(&mut self.deferred);
        self.id = env.uuid();
        self.begun = env.moment();
        self.losses = 0;
        self.is_behind = false;
    }

    /// Answers a group that writes nothing, such as conditions that are not met. No entry proves that it was resolved
    /// against the newest state, so this reads the log: the state must reach what existed at some time after the call.
    async fn prove_end(&mut self, sequence: Sequence) -> Result<Option<Sequence>> {
        if self.proved_end.is_none_or(|proved| sequence < proved) {
            self.engine.catch_up().await?;
            self.proved_end = Some(self.engine.sequence());
        }
        Ok(self.proved_end.is_some_and(|proved| sequence >= proved).then_some(sequence))
    }

    /// Records that another process took the number. An error once that has happened too often for too long.
    fn record_loss(&mut self) -> Result<()> {
        self.losses += 1;
        // The winner's entry was read and applied when the number was lost. Only from the second loss on it is likely
        // that still more entries follow.
        self.is_behind = self.losses > 1;
        let patience = self.engine.context.settings.write_timeout;
        if self.losses < LOSSES_MIN || self.engine.context.env.elapsed(self.begun) <= patience {
            return Ok(());
        }
        // Not in doubt: each number that the group was sent for holds another's entry.
        let why = "others keep taking the next number of the log: nothing was written, try again later";
        Err(Error::new(ErrorKind::Unavailable, why))
    }

    /// Brings each batch up to `base` and the batches before it. A batch is answered and leaves the group if its token
    /// is remembered or if it fails; one that needs a missing file stays for the next attempt.
    async fn resolve_batches(&mut self, base: &BaseState) -> ResolvedGroup {
        let mut group = ResolvedGroup::default();
        let mut has_left = false;
        for mut pending in std::mem::take(&mut self.batches) {
            // An earlier attempt may have resolved this batch on top of one that has left. What that one did is in no
            // entry, so no layer tells which documents to resolve again.
            if has_left && self.is_stacked {
                pending.discard_resolution();
            }
            match group.resolve_next(self.engine, base, &mut pending).await {
                Ok(None) => self.batches.push(pending),
                Ok(Some(replayed)) => {
                    has_left = true;
                    pending.answer(Ok(replayed));
                }
                Err(error) if error.is_missing() => {
                    pending.discard_resolution();
                    self.batches.push(pending);
                    group.missing = Some(error);
                }
                Err(error) => {
                    has_left = true;
                    pending.answer(Err(error));
                }
            }
        }
        if has_left && self.is_stacked {
            self.discard_deferred();
        }
        self.is_stacked = true;
        group
    }

    /// The entry of the group: its rows, and links to the segments of rows that were uploaded.
    fn draft_entry(&self, resolved: &ResolvedGroup, sequence: Sequence) -> Result<EntryDraft> {
        let run = MemRows::merge_stack(&self.engine.schema, resolved.runs.clone())?;
        let (rows, deletes) = (run.rows().clone(), run.deletes().as_ref().clone());
        let mut body = EntryBody { rows, deletes, segments: Vec::new(), tokens: resolved.tokens.clone() };
        let mut linked = Vec::new();
        for (segment, dead) in self.batches.iter().filter_map(PendingBatch::link) {
            let segment = Arc::new(segment.linked_by(sequence));
            body.segments.push(SegmentLink { meta: segment.meta().clone(), dead: dead.clone() });
            linked.push(segment);
        }
        Ok(EntryDraft { kind: EntryKind::Data, batch: self.id, body, linked })
    }
}

impl ResolvedGroup {
    /// Resolves the next batch on top of those before it, and sets its receipt. Returns a receipt if the batch is
    /// answered with that at once, because a batch with its token is in the log. On an error the group is as before.
    async fn resolve_next(
        &mut self,
        engine: &Engine,
        base: &BaseState,
        pending: &mut PendingBatch,
    ) -> Result<Option<WriteReceipt>> {
        let token = pending.batch.token;
        // In memory, as a rule: only if another process has flushed since the batch was prepared, this reads a list.
        if let Some(replayed) = engine.find_receipt(token).await? {
            return Ok(Some(replayed));
        }
        if let Some(first) = token.and_then(|token| self.receipts_by_token.get(&token)) {
            // A repeat within the group. It is answered only once the entry with the first is in the log.
            pending.receipt = Some(WriteReceipt { replayed: true, ..first.clone() });
            return Ok(None);
        }
        self.has_read_state |= pending.update(base, &self.runs).await?;
        let sequence = base.view.sequence.next();
        let receipt = WriteReceipt { sequence, ..pending.resolved.receipt(&pending.batch) };
        MemRows::push_on_stack(&mut self.runs, pending.rows_of_entry(engine)?)?;
        if let Some(token) = token {
            // Without the ids, which may be millions: the receipt is stored in the entry, and in the list of 10,000 tokens.
            let receipt = WriteReceipt { ids: None, ..receipt.clone() };
            self.receipts_by_token.insert(token, receipt.clone());
            self.tokens.push(TokenRecord { token, receipt });
        }
        pending.receipt = Some(receipt);
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
