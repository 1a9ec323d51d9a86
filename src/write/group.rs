//! Commit of a group: batches that share an entry of the log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use uuid::Uuid;

use super::pace::Pace;
use super::pending::Pending;
use crate::engine::{AppendOutcome, BaseState, Engine, EntryDraft};
use crate::env::Moment;
use crate::error::{Error, ErrorKind, Result};
use crate::memtable::MemRows;
use crate::types::{Sequence, TokenRecord, WriteReceipt};
use crate::wal::{EntryBody, EntryKind, SegmentLink};

/// How many numbers a group loses before it may be given up.
const LOSSES_MIN: u32 = 16;
/// How many it loses before rows are linked that are not very many.
const LOSSES_HURRIED: u32 = 3;

/// A group resolved against one state.
struct Group {
    runs: Vec<MemRows>,
    receipts: Vec<WriteReceipt>,
    tokens: Vec<TokenRecord>,
    /// All of the state was asked, which may have taken long.
    in_full: bool,
    /// A file of the state is gone.
    missing: Option<Error>,
}

/// What attempts at one group leave to those after them.
struct Progress {
    /// The id of the entry, the same in all attempts.
    batch: Uuid,
    begun: Moment,
    /// How often another was quicker.
    losses: u32,
    /// Reading on is quicker than losing one number after another.
    is_behind: bool,
    /// The batches were resolved on top of each other.
    stacked: bool,
    /// The log was proved to end here at some time after the group was taken.
    proved: Option<Sequence>,
}

/// Commits a group: brings what it comes to up to date, appends it, and if another was quicker does so again.
pub(super) async fn commit(engine: &Arc<Engine>, mut group: Vec<Pending>, pace: &Mutex<Pace>) {
    let env = &engine.context.env;
    let mut progress = Progress {
        batch: env.uuid(),
        begun: env.moment(),
        losses: 0,
        is_behind: group.iter().any(|pending| pending.is_behind),
        stacked: false,
        proved: None,
    };
    loop {
        match attempt(engine, &mut group, &mut progress, pace).await {
            Ok(Some(receipts)) => {
                return group
                    .into_iter()
                    .zip(receipts)
                    .for_each(|(pending, receipt)| pending.answer(Ok(receipt)));
            }
            Ok(None) => {}
            Err(error) => return group.into_iter().for_each(|pending| pending.answer(Err(error.clone()))),
        }
    }
}

fn pace_of(pace: &Mutex<Pace>) -> std::sync::MutexGuard<'_, Pace> {
    pace.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One attempt: the receipts, or `None` if it takes another.
async fn attempt(
    engine: &Arc<Engine>,
    group: &mut Vec<Pending>,
    progress: &mut Progress,
    pace: &Mutex<Pace>,
) -> Result<Option<Vec<WriteReceipt>>> {
    let env = &engine.context.env;
    if std::mem::take(&mut progress.is_behind) {
        engine.catch_up().await?;
    }
    let base = engine.base_state()?;
    pace_of(pace).see(env, base.view.sequence);
    let resolved = resolve_group(engine, &base, group, progress).await?;
    let at = |sequence: Sequence, receipts: Vec<WriteReceipt>| {
        Some(receipts.into_iter().map(|receipt| WriteReceipt { sequence, ..receipt }).collect())
    };
    if let Some(missing) = resolved.missing {
        // A newer manifest took the place of the one that named the file, or it is lost.
        engine.explain_missing_file(base.manifest.number, &missing).await?;
        return Ok(None);
    }
    if group.is_empty() {
        return Ok(Some(Vec::new()));
    }
    if resolved.in_full {
        return progress.lose(engine).map(|()| None);
    }
    let links = group.iter().any(|pending| pending.link().is_some());
    if !links && resolved.runs.iter().all(MemRows::is_empty) && resolved.tokens.is_empty() {
        // Nothing to write. That holds if the state it was read from was the newest after the call.
        if progress.proved.is_none_or(|proved| base.view.sequence < proved) {
            engine.catch_up().await?;
            progress.proved = Some(engine.sequence());
        }
        let newest = progress.proved.is_some_and(|proved| base.view.sequence >= proved);
        return Ok(newest.then(|| at(base.view.sequence, resolved.receipts)).flatten());
    }
    if let [only] = group.as_mut_slice()
        && only.upload(engine, progress.losses >= LOSSES_HURRIED).await?
    {
        // That took its time.
        progress.is_behind = !only.batch.is_blind();
        return Ok(None);
    }
    let draft = draft(engine, progress.batch, group, &resolved, base.view.sequence.next())?;
    let sent = env.moment();
    match engine.append(&base, &draft).await? {
        AppendOutcome::Appended(sequence) => {
            pace_of(pace).win(env, sequence, env.elapsed(sent));
            Ok(at(sequence, resolved.receipts))
        }
        AppendOutcome::Overtaken => progress.lose(engine).map(|()| None),
    }
}

impl Progress {
    /// Others were quicker: there is another attempt, unless there were too many.
    fn lose(&mut self, engine: &Engine) -> Result<()> {
        self.losses += 1;
        self.is_behind = self.losses > 1;
        let patience = engine.context.settings.write_timeout;
        if self.losses < LOSSES_MIN || engine.context.env.elapsed(self.begun) <= patience {
            return Ok(());
        }
        let why = "others keep taking the next number of the log: nothing was written, try again later";
        Err(Error::new(ErrorKind::Unavailable, why))
    }
}

/// Brings batch after batch up to a state with those before it. One whose token is remembered, and one that is
/// refused by the state, is answered and leaves the group; one that needs a file that is missing stays.
async fn resolve_group(
    engine: &Engine,
    base: &BaseState,
    group: &mut Vec<Pending>,
    progress: &mut Progress,
) -> Result<Group> {
    let mut done =
        Group { runs: Vec::new(), receipts: Vec::new(), tokens: Vec::new(), in_full: false, missing: None };
    let mut twins: HashMap<Uuid, WriteReceipt> = HashMap::new();
    let (mut kept, mut left) = (Vec::new(), false);
    for mut pending in group.drain(..) {
        let token = pending.batch.token;
        if let Some(receipt) = token.and_then(|token| engine.find_receipt(token)) {
            left = true;
            pending.answer(Ok(WriteReceipt { replayed: true, ..receipt }));
            continue;
        }
        if let Some(twin) = token.and_then(|token| twins.get(&token)) {
            done.receipts.push(WriteReceipt { replayed: true, ids: None, ..twin.clone() });
            kept.push(pending);
            continue;
        }
        // What one that left had done was seen by those after it.
        match pending.bring(base, &done.runs, left && progress.stacked).await {
            Ok(in_full) => done.in_full |= in_full,
            Err(error) if error.is_missing() => {
                pending.forget();
                kept.push(pending);
                done.missing = Some(error);
                continue;
            }
            Err(error) => {
                left = true;
                pending.answer(Err(error));
                continue;
            }
        }
        let sequence = base.view.sequence.next();
        let receipt = WriteReceipt { sequence, ..pending.resolved.receipt(&pending.batch) };
        if let Some(token) = token {
            let receipt = WriteReceipt { ids: None, ..receipt.clone() };
            twins.insert(token, receipt.clone());
            done.tokens.push(TokenRecord { token, receipt });
        }
        done.receipts.push(receipt);
        let run = if pending.linked.is_some() {
            pending.resolved.beside_rows(&engine.schema)?
        } else {
            pending.resolved.run()?
        };
        MemRows::push_on_stack(&mut done.runs, run)?;
        kept.push(pending);
    }
    progress.stacked = true;
    *group = kept;
    Ok(done)
}

/// The entry of a group: with its rows, or with a link to a segment of them if they are many.
fn draft(
    engine: &Engine,
    batch: Uuid,
    group: &[Pending],
    resolved: &Group,
    sequence: Sequence,
) -> Result<EntryDraft> {
    let run = MemRows::merge_stack(&engine.schema, resolved.runs.clone())?;
    let (rows, deletes) = (run.rows().clone(), run.deletes().as_ref().clone());
    let mut body = EntryBody { rows, deletes, segments: Vec::new(), tokens: resolved.tokens.clone() };
    let mut linked = Vec::new();
    for (segment, dead) in group.iter().filter_map(Pending::link) {
        let segment = Arc::new(segment.linked_by(sequence));
        body.segments.push(SegmentLink { meta: segment.meta().clone(), dead: dead.clone() });
        linked.push(segment);
    }
    Ok(EntryDraft { kind: EntryKind::Data, batch, body, linked })
}

/// Seals the namespace: the last entry of its incarnation.
pub(crate) fn seal(engine: &Arc<Engine>) -> BoxFuture<'_, Result<Sequence>> {
    Box::pin(async move {
        let batch = engine.context.env.uuid();
        loop {
            let base = engine.base_state()?;
            let rows = MemRows::empty(&engine.schema)?.rows().clone();
            let body = EntryBody { rows, deletes: Vec::new(), segments: Vec::new(), tokens: Vec::new() };
            let draft = EntryDraft { kind: EntryKind::Seal, batch, body, linked: Vec::new() };
            if let AppendOutcome::Appended(sequence) = engine.append(&base, &draft).await? {
                return Ok(sequence);
            }
            engine.catch_up().await?;
        }
    })
}
