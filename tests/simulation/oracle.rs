//! Holds a history against the logs that the store saw.
//!
//! The system itself names the order: a write is told its sequence, a read the sequence it saw. So checking is
//! linear in time. Every batch bears a tag of its own in each document it writes, and writes at least one: by
//! the tags the batches of an entry are known, acknowledged or not. What an entry holds must be just what its
//! batches, in some order, make of the state before it.
//!
//! **Checks:** a batch is in at most one entry; an acknowledged one is where it was said to be, and was there
//! when that was said; a refused one is nowhere. What was acknowledged, or seen by a strong read, before a
//! write was called lies before that write. A strong read sees at least what was acknowledged or seen by
//! strong reads before it was called, no read sees what is not yet there, and every read sees just the state
//! at its sequence.

use std::collections::BTreeMap;
use std::sync::Arc;

use elacsym::env::Env;
use elacsym::storage::{MemoryBackend, PutMode, StorageBackend};
use elacsym::{Document, ErrorKind, Schema, Value};
use futures::FutureExt;

use super::actors::NAME;
use super::history::{Events, Told};
use crate::common::api::{self, Entry, Level};
use crate::common::model::{Batch, Model, Op, Receipt, normal};
use crate::world::{IncarnationLog, SimRuntime, Store, World};

/// The column that holds the tag of the batch that wrote a document.
pub const TAG: &str = "tag";
/// How the one column begins that tells the incarnations of a namespace apart.
pub const INCARNATION: &str = "incarnation";

/// What a sound history held.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    pub acknowledged: u64,
    pub doubtful: u64,
    pub reads: u64,
    pub entries: u64,
    pub retaken: u64,
    /// Entries that link segments, and of those the ones with rows that do not count.
    pub linked: u64,
    pub masked: u64,
}

/// A log with the state it leads to.
struct Log {
    schema: Schema,
    incarnation: i64,
    ticks: Vec<u64>,
    entries: Vec<Entry>,
}

/// Where a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    incarnation: i64,
    sequence: u64,
    tick: u64,
}

/// Checks a history that has ended.
///
/// # Errors
/// What is wrong with it.
pub fn check(world: &World, events: &Events) -> Result<Summary, String> {
    let logs = logs(world)?;
    let places = places(&logs, events)?;
    let mut summary = check_writes(events, &places)?;
    check_order(events, &places)?;
    check_seals(events, &logs)?;
    for log in &logs {
        replay(log, events, &places)?;
        summary.entries += log.entries.len() as u64;
        summary.linked += log.entries.iter().filter(|entry| entry.linked > 0).count() as u64;
        summary.masked += log.entries.iter().filter(|entry| entry.masked > 0).count() as u64;
    }
    let incarnations: Vec<i64> = logs.iter().map(|log| log.incarnation).collect();
    if let Some(read) = events.reads.iter().find(|read| !incarnations.contains(&read.incarnation)) {
        return Err(format!("a read of an incarnation that never was: {}", read.incarnation));
    }
    summary.retaken =
        world.state().store.incarnations().values().map(|incarnation| incarnation.retaken).sum();
    summary.reads = events.reads.len() as u64;
    Ok(summary)
}

/// The state at the end of the log of an incarnation.
///
/// # Errors
/// What is wrong with the log.
pub fn last(world: &World, incarnation: i64) -> Result<(u64, Model), String> {
    let logs = logs(world)?;
    let log = logs.iter().find(|log| log.incarnation == incarnation).ok_or("no such incarnation")?;
    let mut model = Model::default();
    log.entries.iter().for_each(|entry| fold(&mut model, entry));
    Ok((log.entries.len() as u64, model))
}

/// The incarnation that a schema belongs to.
pub fn incarnation_of(schema: &Schema) -> i64 {
    let mut incarnations =
        schema.attributes().filter_map(|(name, _)| name.strip_prefix(INCARNATION)?.parse().ok());
    incarnations.next().unwrap_or(-1)
}

fn logs(world: &World) -> Result<Vec<Log>, String> {
    let runtime = world.process(true).runtime();
    let state = world.state();
    let incarnations =
        state.store.incarnations().iter().filter(|(_, incarnation)| incarnation.open.is_some());
    incarnations
        .map(|(prefix, incarnation)| {
            read_log(incarnation, &Linked { prefix, store: &state.store, runtime: &runtime })
        })
        .collect()
}

/// What it takes to read the segments that entries of an incarnation link.
struct Linked<'a> {
    prefix: &'a str,
    store: &'a Store,
    runtime: &'a SimRuntime,
}

impl Linked<'_> {
    /// An entry with the rows of its segments. The store here answers at once, whatever the virtual time.
    fn read(&self, schema: &Schema, incarnation: u32, bytes: &[u8]) -> Result<Entry, String> {
        let entry = api::decode_entry(schema, bytes).map_err(|e| e.to_string())?;
        if entry.linked == 0 {
            return Ok(entry);
        }
        let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
        let env = Env::new(self.runtime.clone());
        let reading = async {
            for (key, bytes) in self.store.files_below(&format!("{}segment/", self.prefix)) {
                backend.put(key, bytes.clone().into(), PutMode::Create).await?;
            }
            api::read_entry(&env, &backend, (NAME, incarnation), schema, bytes).await
        };
        reading.now_or_never().ok_or("a store in memory waits")?.map_err(|e| e.to_string())
    }
}

fn read_log(incarnation: &IncarnationLog, linked: &Linked<'_>) -> Result<Log, String> {
    let open = incarnation.open.as_deref().unwrap_or_default();
    let (schema, number) = opened(open).ok_or("an OPEN object without a schema")?;
    let mut entries: Vec<Entry> = Vec::new();
    for (at, logged) in incarnation.entries.iter().enumerate() {
        let entry = linked.read(&schema, number, &logged.bytes);
        let entry = entry.map_err(|e| format!("entry {} cannot be read: {e}", at + 1))?;
        if entry.sequence != at as u64 + 1 {
            return Err(format!("slot {} holds entry {}", at + 1, entry.sequence));
        }
        let before = entries.last().map_or(entry.previous.is_nil(), |last| last.batch == entry.previous);
        if !before {
            return Err(format!("entry {} does not name the entry before it", at + 1));
        }
        if entries.last().is_some_and(|last| last.sealed) {
            return Err(format!("entry {} follows the seal", at + 1));
        }
        entries.push(entry);
    }
    let ticks = incarnation.entries.iter().map(|logged| logged.tick).collect();
    Ok(Log { incarnation: incarnation_of(&schema), schema, ticks, entries })
}

/// The schema of an incarnation, and its number.
fn opened(open: &[u8]) -> Option<(Schema, u32)> {
    let start = open.iter().position(|b| *b == b'\n')? + 1;
    let json: serde_json::Value = serde_json::from_slice(&open[start..]).ok()?;
    let number = u32::try_from(json.get("number")?.as_u64()?).ok()?;
    Some((serde_json::from_value(json.get("schema")?.clone()).ok()?, number))
}

fn tag_of(document: &Document) -> Option<usize> {
    match document.get(TAG)? {
        Value::Uint(tag) => usize::try_from(*tag).ok(),
        _ => None,
    }
}

fn places(logs: &[Log], events: &Events) -> Result<BTreeMap<usize, Place>, String> {
    let mut places: BTreeMap<usize, Place> = BTreeMap::new();
    for log in logs {
        for (entry, tick) in log.entries.iter().zip(&log.ticks) {
            let place = Place { incarnation: log.incarnation, sequence: entry.sequence, tick: *tick };
            for document in &entry.puts {
                let tag = tag_of(document).filter(|tag| *tag < events.batches.len());
                let tag = tag.ok_or_else(|| format!("a document that no batch wrote: {document:?}"))?;
                let other = *places.entry(tag).or_insert(place);
                if other != place {
                    return Err(format!("applied twice: batch {tag} is at {other:?} and at {place:?}"));
                }
            }
        }
    }
    Ok(places)
}

fn check_writes(events: &Events, places: &BTreeMap<usize, Place>) -> Result<Summary, String> {
    let mut summary = Summary::default();
    let mut refused = vec![true; events.batches.len()];
    for write in &events.writes {
        let place = places.get(&write.batch);
        if place.is_some_and(|place| place.incarnation != write.incarnation) {
            return Err(format!("batch {} went to another incarnation", write.batch));
        }
        match &write.told {
            Told::Refused(ErrorKind::Invalid | ErrorKind::LimitExceeded) => {
                return Err(format!("batch {} was called wrong", write.batch));
            }
            Told::Refused(_) => continue,
            Told::Nothing => {}
            Told::Doubt => summary.doubtful += 1,
            Told::Done(receipt) => {
                summary.acknowledged += 1;
                let there = place.filter(|place| Some(place.tick) < write.returned);
                if there.map(|place| place.sequence) != Some(receipt.sequence) {
                    return Err(format!(
                        "lost: batch {} was acknowledged at {} and is at {place:?}",
                        write.batch, receipt.sequence
                    ));
                }
            }
        }
        refused[write.batch] = false;
    }
    match (0..refused.len()).find(|batch| refused[*batch] && places.contains_key(batch)) {
        Some(batch) => {
            let told: Vec<_> = events.writes.iter().filter(|w| w.batch == batch).map(|w| &w.told).collect();
            Err(format!("batch {batch} was refused and is in the log: {told:?}"))
        }
        None => Ok(summary),
    }
}

/// Real time: what had returned before something was called lies before it.
fn check_order(events: &Events, places: &BTreeMap<usize, Place>) -> Result<(), String> {
    #[derive(Clone, Copy)]
    enum Event {
        /// At least this much of an incarnation is there.
        Known(i64, u64),
        /// A batch is asked for the first time.
        Asked(usize),
        /// A read is asked for, and answered.
        Read(usize),
        Answered(usize),
    }
    let mut timeline: Vec<(u64, Event)> = Vec::new();
    let mut asked = vec![false; events.batches.len()];
    for write in &events.writes {
        if !std::mem::replace(&mut asked[write.batch], true) {
            timeline.push((write.called, Event::Asked(write.batch)));
        }
        if let (Told::Done(receipt), Some(returned)) = (&write.told, write.returned) {
            timeline.push((returned, Event::Known(write.incarnation, receipt.sequence)));
        }
    }
    for (at, read) in events.reads.iter().enumerate() {
        timeline.push((read.called, Event::Read(at)));
        timeline.push((read.taken, Event::Answered(at)));
        if read.level == Level::Strong {
            timeline.push((read.taken, Event::Known(read.incarnation, read.sequence)));
        }
    }
    timeline.sort_by_key(|(tick, _)| *tick);
    let mut known: BTreeMap<i64, u64> = BTreeMap::new();
    let mut seen: BTreeMap<(u32, i64), u64> = BTreeMap::new();
    for (_, event) in timeline {
        match event {
            Event::Known(incarnation, sequence) => {
                let least = known.entry(incarnation).or_default();
                *least = sequence.max(*least);
            }
            Event::Asked(batch) => {
                let Some(place) = places.get(&batch) else { continue };
                let least = known.get(&place.incarnation).copied().unwrap_or_default();
                if place.sequence <= least {
                    return Err(format!("batch {batch} is at {place:?}, but was asked for after {least}"));
                }
            }
            Event::Read(at) => {
                let read = &events.reads[at];
                let least = known.get(&read.incarnation).copied().unwrap_or_default();
                let (wanted, why) = match read.level {
                    Level::Strong => (least, "stale strong read"),
                    Level::AtLeast(sequence) => (sequence, "read below the asked sequence"),
                    Level::Eventual => (0, ""),
                };
                if read.sequence < wanted {
                    return Err(format!("{why}: it saw {}, {wanted} was known", read.sequence));
                }
                let before = seen.get(&(read.process, read.incarnation)).copied().unwrap_or_default();
                if read.sequence < before {
                    return Err(format!("a handle went back from {before} to {}", read.sequence));
                }
            }
            Event::Answered(at) => {
                let read = &events.reads[at];
                let newest = seen.entry((read.process, read.incarnation)).or_default();
                *newest = read.sequence.max(*newest);
            }
        }
    }
    Ok(())
}

/// A deletion that returned sealed every incarnation there was.
fn check_seals(events: &Events, logs: &[Log]) -> Result<(), String> {
    for seal in &events.seals {
        for log in logs.iter().take(seal.incarnations) {
            let end = log.entries.last().zip(log.ticks.last());
            let sealed = end.is_some_and(|(entry, tick)| entry.sealed && *tick < seal.returned);
            if !sealed {
                return Err(format!(
                    "a deletion returned, but incarnation {} is not sealed",
                    log.incarnation
                ));
            }
        }
    }
    Ok(())
}

/// Goes through a log: every entry is what its batches make of the state before it, and every read saw the
/// state at its sequence.
fn replay(log: &Log, events: &Events, places: &BTreeMap<usize, Place>) -> Result<(), String> {
    let mut batches: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (batch, place) in places.iter().filter(|(_, place)| place.incarnation == log.incarnation) {
        batches.entry(place.sequence).or_default().push(*batch);
    }
    let receipts = receipts(events);
    let mut reads: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (at, read) in events.reads.iter().enumerate().filter(|(_, read)| read.incarnation == log.incarnation)
    {
        reads.entry(read.sequence).or_default().push(at);
    }
    let mut model = Model::default();
    check_reads(log, events, reads.remove(&0), &model)?;
    for entry in &log.entries {
        let mut after = model.clone();
        fold(&mut after, entry);
        let inside = batches.remove(&entry.sequence).unwrap_or_default();
        explain(entry, &inside, events, &receipts, &model, &after)?;
        model = after;
        check_reads(log, events, reads.remove(&entry.sequence), &model)?;
    }
    match reads.keys().next() {
        Some(sequence) => {
            Err(format!("a read saw {sequence}, which is not in the log of incarnation {}", log.incarnation))
        }
        None => Ok(()),
    }
}

/// The receipts that tell what a batch did, by batch.
fn receipts(events: &Events) -> BTreeMap<usize, Vec<Receipt>> {
    let mut receipts: BTreeMap<usize, Vec<Receipt>> = BTreeMap::new();
    for write in &events.writes {
        if let Told::Done(receipt) = write.told {
            receipts.entry(write.batch).or_default().push(receipt);
        }
    }
    receipts
}

fn fold(model: &mut Model, entry: &Entry) {
    for id in &entry.deletes {
        model.documents.remove(id);
    }
    entry.puts.iter().for_each(|document| model.put(document.clone()));
}

/// Finds an order of the batches that makes of the state before just the state after, and of which every
/// receipt tells.
fn explain(
    entry: &Entry,
    inside: &[usize],
    events: &Events,
    receipts: &BTreeMap<usize, Vec<Receipt>>,
    before: &Model,
    after: &Model,
) -> Result<(), String> {
    let both = entry.puts.iter().find(|document| entry.deletes.contains(document.id()));
    if let Some(document) = both {
        return Err(format!("entry {} puts and deletes {}", entry.sequence, document.id()));
    }
    if is_explained(before, inside, events, receipts, after) {
        return Ok(());
    }
    let told: Vec<_> = inside.iter().map(|batch| (batch, receipts.get(batch))).collect();
    let asked: Vec<&Batch> = inside.iter().map(|batch| &events.batches[*batch]).collect();
    Err(format!(
        "entry {} is not what its batches make of the state before it: {told:?}\nasked: {asked:?}\nentry: {entry:?}",
        entry.sequence
    ))
}

/// Whether in some order these batches make one state of the other, each doing what its receipts tell.
fn is_explained(
    before: &Model,
    batches: &[usize],
    events: &Events,
    receipts: &BTreeMap<usize, Vec<Receipt>>,
    after: &Model,
) -> bool {
    if batches.is_empty() {
        return before == after;
    }
    batches.iter().enumerate().any(|(at, batch)| {
        let mut model = before.clone();
        let counts = model.apply(&events.batches[*batch].ops);
        let told = receipts.get(batch).is_none_or(|told| told.iter().all(|receipt| counts.agrees(receipt)));
        let rest = || [&batches[..at], &batches[at + 1..]].concat();
        told && is_explained(&model, &rest(), events, receipts, after)
    })
}

fn check_reads(log: &Log, events: &Events, reads: Option<Vec<usize>>, model: &Model) -> Result<(), String> {
    let Some(reads) = reads else { return Ok(()) };
    let expected = model.scan(None);
    for at in reads {
        let read = &events.reads[at];
        let position = usize::try_from(read.sequence).unwrap_or(usize::MAX);
        if position > 0 && log.ticks.get(position - 1).is_none_or(|tick| *tick > read.taken) {
            return Err(format!("a read saw {} before it was there", read.sequence));
        }
        let found: Vec<Document> = read.documents.iter().cloned().map(normal).collect();
        if found != expected {
            return Err(format!(
                "wrong answer at {}: {}\nschema: {:?}",
                read.sequence,
                difference(&found, &expected),
                log.schema
            ));
        }
    }
    Ok(())
}

/// The first document in which two answers differ.
pub fn difference(found: &[Document], expected: &[Document]) -> String {
    let at = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
    format!(
        "{} documents instead of {}; at {at} found {:?} instead of {:?}",
        found.len(),
        expected.len(),
        found.get(at),
        expected.get(at)
    )
}

/// Whether every operation of a batch that writes bears its tag, and one surely writes.
pub fn is_marked(batch: &Batch, tag: u64) -> bool {
    let bears = |document: &Document| document.get(TAG) == Some(&Value::Uint(tag));
    let sound = batch.ops.iter().all(|op| match op {
        Op::Upsert(d) | Op::Insert(d) | Op::UpsertIf(d, _) | Op::Patch(d) | Op::PatchIf(d, _) => bears(d),
        Op::PatchByFilter(_, values) => values.iter().any(|(c, v)| *c == TAG && *v == Value::Uint(tag)),
        Op::Delete(_) | Op::DeleteIf(..) | Op::DeleteByFilter(_) => true,
    });
    sound && batch.ops.iter().any(|op| matches!(op, Op::Upsert(d) if bears(d)))
}
