//! Who does what in a history: writers, readers, those that open anew all the time, maintenance, and one that
//! deletes the namespace and creates it again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use elacsym::schema::AttributeType;
use elacsym::{Document, Error, ErrorKind, IdKind, Metric, Result, Schema, Value, VectorType};
use futures::future::join_all;

use super::history::{History, Read, Seal, Told};
use super::oracle::{self, INCARNATION, TAG};
use super::plan::{GRACE, Plan};
use crate::common::api::{Client, Level, Space};
use crate::common::model::{Batch, Op};
use crate::common::predicate::Predicate;
use crate::common::rng::Rng;
use crate::world::{SimProcess, World, sleep};

/// The one namespace.
pub const NAME: &str = "docs";
const COLORS: [&str; 4] = ["red", "green", "blue", "grey"];
/// Where the ids of counters and of marks begin: documents have smaller ones.
const COUNTERS: u64 = 900;
const MARKS: u64 = 1_000;
/// Marks of one writer: more than a writer has batches under way.
const MARKS_EACH: u64 = 8;
/// Where the marks of batches with a token begin, one for each: any task may write such a batch again at any time.
const TOKEN_MARKS: u64 = 1_000_000;

/// What an actor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Writes from this many tasks of one process; the first has this number.
    Writer {
        first: u64,
        tasks: u64,
    },
    Reader,
    /// Opens, reads once, ends, and again.
    Opener,
    Maintenance,
    /// Deletes what nothing needs any more.
    Collector,
    /// Deletes and creates again.
    Undertaker,
}

/// What all actors share.
#[derive(Clone, Debug)]
pub struct Stage {
    pub world: World,
    pub history: History,
    pub plan: Arc<Plan>,
    /// How many incarnations were tried to be created.
    pub incarnations: Arc<Mutex<i64>>,
}

/// The schema of an incarnation of the namespace: told apart by a column.
pub fn schema(incarnation: i64) -> Schema {
    let built = Schema::builder(IdKind::U64)
        .attribute(TAG, AttributeType::Uint)
        .attribute("value", AttributeType::Int)
        .attribute("color", AttributeType::String)
        .attribute(format!("{INCARNATION}{incarnation}"), AttributeType::Bool)
        .vector("v", VectorType::F32, 4, Metric::L2Squared)
        .build();
    built.expect("the schema is sound")
}

impl Stage {
    /// A schema that no other creation uses.
    pub fn new_incarnation(&self) -> Schema {
        let mut incarnations = self.incarnations.lock().unwrap_or_else(PoisonError::into_inner);
        *incarnations += 1;
        schema(*incarnations)
    }

    pub async fn open(&self, process: &SimProcess) -> Result<Client> {
        Client::open(process.backend(), process.runtime(), &self.plan.options).await
    }

    /// Errors that no fault excuses end the history.
    fn judge(&self, what: &str, error: &Error) {
        let faults = self.world.state().faults.clone();
        let excused = match error.kind() {
            ErrorKind::NotFound | ErrorKind::Deleted | ErrorKind::AlreadyExists => self.plan.undertaker,
            ErrorKind::Corrupt => faults.damage > 0.0,
            ErrorKind::Unavailable | ErrorKind::Indeterminate | ErrorKind::Backpressure => !faults.is_none(),
            ErrorKind::SnapshotExpired => what == "old snapshot" || !faults.is_none(),
            _ => false,
        };
        if !excused {
            self.world.violate(format!("{what} failed: {error:?}"));
        }
    }

    fn keep<T>(&self, what: &str, outcome: Result<T>) -> Option<T> {
        outcome.inspect_err(|error| self.judge(what, error)).ok()
    }
}

/// Plays a role until the world ends: each process of it lives until it crashes or has had enough.
pub async fn play(stage: Stage, role: Role, mut rng: Rng) {
    let pending = Arc::new(Mutex::new(Vec::new()));
    loop {
        let process = stage.world.process(false);
        let actor = Actor {
            stage: stage.clone(),
            process: process.clone(),
            rng: rng.fork(),
            pending: Arc::clone(&pending),
        };
        process.run(actor.live(role)).await;
        process.crash();
        sleep(Duration::from_millis(rng.between(1, 60_000))).await;
        if role == Role::Opener {
            sleep(stage.plan.gap(&mut rng, stage.world.now())).await;
        }
    }
}

/// One process of a role.
#[derive(Clone)]
struct Actor {
    stage: Stage,
    process: SimProcess,
    rng: Rng,
    /// Batches with a token whose outcome is not known, with their incarnation: they outlive the process.
    pending: Arc<Mutex<Vec<(usize, i64)>>>,
}

impl Actor {
    async fn live(self, role: Role) {
        let Some(client) = self.stage.keep("open", self.stage.open(&self.process).await) else { return };
        match role {
            Role::Undertaker => return self.bury(client).await,
            Role::Writer { .. } | Role::Reader | Role::Opener | Role::Maintenance | Role::Collector => {}
        }
        let Some(space) = self.stage.keep("namespace", client.open_namespace(NAME).await) else { return };
        match role {
            Role::Writer { first, tasks } => {
                let slots = (first..first + tasks).map(|slot| {
                    let mut actor = self.clone();
                    actor.rng = Rng::new(self.rng.clone().bits() ^ slot);
                    actor.write_on(space.clone(), slot)
                });
                join_all(slots).await;
            }
            Role::Opener => {
                let mut actor = self;
                actor.read(&space, Level::Strong).await;
            }
            Role::Maintenance => self.keep_up(space).await,
            Role::Collector => self.collect_on(space).await,
            Role::Reader | Role::Undertaker => self.read_on(space).await,
        }
    }

    async fn pause(&mut self) {
        let gap = self.stage.plan.gap(&mut self.rng, self.stage.world.now());
        sleep(gap).await;
    }

    async fn write_on(mut self, space: Space, slot: u64) {
        let mut writer = Writer { slot, written: 0, dropped: 0, acknowledged: 0 };
        loop {
            let going = match self.rng.below(20) {
                0..=1 => self.read(&space, Level::Strong).await.is_some(),
                2 => self.read(&space, Level::AtLeast(writer.acknowledged)).await.is_some(),
                3..=6 => self.count(&space, &mut writer).await,
                7..=8 => self.write_once(&space, &mut writer).await,
                9..=10 => self.rush(&space, &mut writer).await,
                _ => {
                    let batch = self.batch(|_| writer.mark());
                    self.write(&space, &mut writer, batch).await
                }
            };
            if !going || self.rng.chance(0.02) {
                return;
            }
            self.pause().await;
        }
    }

    async fn read_on(mut self, space: Space) {
        loop {
            let level = if self.rng.chance(0.25) { Level::Eventual } else { Level::Strong };
            if self.read(&space, level).await.is_none() || self.rng.chance(0.03) {
                return;
            }
            self.pause().await;
        }
    }

    async fn keep_up(mut self, space: Space) {
        loop {
            let compact = self.rng.chance(0.3);
            let outcome = if compact { space.compact().await } else { space.flush().await };
            let what = if compact { "compact" } else { "flush" };
            if let Err(error) = outcome {
                self.stage.judge(what, &error);
                if error.kind() == ErrorKind::Deleted {
                    return;
                }
            }
            if self.rng.chance(0.05) {
                return;
            }
            self.pause().await;
        }
    }

    async fn collect_on(mut self, space: Space) {
        loop {
            let outcome = if self.rng.chance(0.1) {
                space.garbage().await.map(drop)
            } else {
                space.collect().await.map(drop)
            };
            if let Err(error) = outcome {
                self.stage.judge("collect", &error);
                if error.kind() == ErrorKind::Deleted {
                    return;
                }
            }
            if self.rng.chance(0.05) {
                return;
            }
            self.pause().await;
        }
    }

    async fn bury(mut self, client: Client) {
        loop {
            let far = GRACE.mul_f64(0.3 + 2.0 * self.rng.unit());
            sleep(far).await;
            let incarnations =
                self.stage.world.state().store.incarnations().values().filter(|l| l.open.is_some()).count();
            if self.stage.keep("delete", client.delete(NAME).await).is_some() {
                let seal = Seal { returned: self.stage.history.now(), incarnations };
                self.stage.history.events().seals.push(seal);
            }
            sleep(Duration::from_millis(self.rng.between(1, 60_000))).await;
            self.stage.keep("create", client.create(NAME, self.stage.new_incarnation()).await);
        }
    }

    /// Reads everything. `None` when the handle is of no use any more.
    async fn read(&mut self, space: &Space, level: Level) -> Option<Vec<Document>> {
        let called = self.stage.history.now();
        let view = match space.snapshot(level).await {
            Ok(view) => view,
            Err(error) => {
                self.stage.judge("snapshot", &error);
                return (error.kind() != ErrorKind::Deleted).then(Vec::new);
            }
        };
        let taken = self.stage.history.now();
        let page = *self.rng.pick(&[5, 40, 1_000]);
        let Some(documents) = self.stage.keep("scan", view.scan(None, page).await) else {
            return Some(Vec::new());
        };
        let incarnation = oracle::incarnation_of(&space.schema());
        let process = self.process.number();
        let sequence = view.sequence();
        let read =
            Read { process, incarnation, level, called, taken, sequence, documents: documents.clone() };
        self.stage.history.events().reads.push(read);
        if self.rng.chance(0.1) {
            self.pause().await;
            if let Some(again) = self.stage.keep("old snapshot", view.scan(None, page).await)
                && again != documents
            {
                let how = oracle::difference(&again, &documents);
                self.stage.world.violate(format!("a snapshot at {sequence} changed: {how}"));
            }
        }
        Some(documents)
    }

    /// Writes a batch, and sometimes does not wait for the end. `false` when the handle is of no use any more.
    async fn write(&mut self, space: &Space, writer: &mut Writer, batch: (usize, Batch)) -> bool {
        let (number, batch) = batch;
        assert!(oracle::is_marked(&batch, number as u64), "the harness wrote a batch it cannot tell apart");
        let incarnation = oracle::incarnation_of(&space.schema());
        let history = self.stage.history.clone();
        let call = history.calls(number, incarnation);
        let patience = Duration::from_millis(self.rng.between(0, 400));
        let impatient = writer.dropped < 3 && self.rng.chance(0.05);
        writer.written += 1;
        let outcome = if impatient {
            tokio::select! {
                biased;
                outcome = space.write(&batch) => outcome,
                () = sleep(patience) => {
                    writer.dropped += 1;
                    return true;
                }
            }
        } else {
            space.write(&batch).await
        };
        writer.dropped = 0;
        if let Err(error) = &outcome {
            self.stage.judge("write", error);
        }
        let gone = outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Deleted);
        let told = history.told(call, outcome);
        if let Told::Done(receipt) = &told {
            writer.acknowledged = writer.acknowledged.max(receipt.sequence);
        }
        if matches!(told, Told::Done(_) | Told::Refused(_)) {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.retain(|(other, _)| *other != number);
        }
        !gone
    }

    /// Writes several batches at once: they ride in few entries.
    async fn rush(&mut self, space: &Space, writer: &mut Writer) -> bool {
        let mut rush = Vec::new();
        for _ in 0..self.rng.between(2, 4) {
            let batch = self.batch(|_| writer.mark());
            let mut actor = self.clone();
            actor.rng = self.rng.fork();
            let mut alone = Writer { dropped: u64::MAX, ..*writer };
            writer.written += 1;
            rush.push(async move { (actor.write(space, &mut alone, batch).await, alone.acknowledged) });
        }
        let ended = join_all(rush).await;
        writer.dropped = 0;
        writer.acknowledged = ended.iter().map(|(_, acknowledged)| *acknowledged).max().unwrap_or_default();
        ended.iter().all(|(going, _)| *going)
    }

    /// Writes a batch with a token, or one again whose outcome is not known.
    async fn write_once(&mut self, space: &Space, writer: &mut Writer) -> bool {
        let incarnation = oracle::incarnation_of(&space.schema());
        let old = {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.retain(|(_, of)| *of == incarnation);
            (!pending.is_empty()).then(|| self.rng.pick(&pending).0)
        };
        let batch = if let Some(number) = old {
            let batch = self.stage.history.events().batches[number].clone();
            (number, batch)
        } else {
            let token = (u128::from(self.rng.bits()) << 64) | u128::from(self.rng.bits());
            let (number, mut batch) = self.batch(|tag| TOKEN_MARKS + tag);
            batch.token = Some(token);
            self.stage.history.events().batches[number].token = Some(token);
            self.pending.lock().unwrap_or_else(PoisonError::into_inner).push((number, incarnation));
            (number, batch)
        };
        self.write(space, writer, batch).await
    }

    /// Adds one to a counter: read, then patch if it is still as it was read.
    async fn count(&mut self, space: &Space, writer: &mut Writer) -> bool {
        let counter = COUNTERS + self.rng.below(2);
        let Some(documents) = self.read(space, Level::Strong).await else { return false };
        let found = documents.iter().find(|d| *d.id() == counter).and_then(|d| d.get("value"));
        let op = match found {
            Some(Value::Int(value)) => {
                let next = Document::new(counter).with("value", value + 1);
                (next, Some(Predicate::Eq("value", Value::Int(*value))))
            }
            _ => (Document::new(counter).with("value", 0i64), None),
        };
        let mark = writer.mark();
        let batch = self.stage.history.batch(|tag| {
            let next = op.0.with(TAG, tag);
            let op = match op.1 {
                Some(unchanged) => Op::PatchIf(next, unchanged),
                None => Op::Insert(next),
            };
            Batch { ops: vec![op, Op::Upsert(Document::new(mark).with(TAG, tag))], token: None }
        });
        self.write(space, writer, batch).await
    }

    /// A batch of anything: the mark, and a few operations on different documents.
    fn batch(&mut self, mark_of: impl FnOnce(u64) -> u64) -> (usize, Batch) {
        let ids = self.stage.plan.ids;
        let rng = &mut self.rng;
        self.stage.history.batch(|tag| {
            let mut ops = vec![Op::Upsert(Document::new(mark_of(tag)).with(TAG, tag))];
            let mut used: Vec<u64> = Vec::new();
            for _ in 0..rng.between(1, 5) {
                let id = rng.between(1, ids);
                if !used.contains(&id) {
                    used.push(id);
                    ops.push(by_id(rng, id, tag));
                }
            }
            if rng.chance(0.06) {
                ops.push(Op::DeleteByFilter(few(rng)));
            }
            if rng.chance(0.08) {
                let values = vec![("value", Value::Int(i64::from(rng.around(50)))), (TAG, Value::Uint(tag))];
                ops.push(Op::PatchByFilter(few(rng), values));
            }
            rng.shuffle(&mut ops);
            Batch { ops, token: None }
        })
    }
}

/// What a writing task remembers.
struct Writer {
    slot: u64,
    written: u64,
    /// Batches in a row that were not waited for.
    dropped: u64,
    acknowledged: u64,
}

impl Writer {
    /// A document of this task's own: no batch that may share an entry writes it too.
    fn mark(&self) -> u64 {
        MARKS + self.slot * MARKS_EACH + self.written % MARKS_EACH
    }
}

fn by_id(rng: &mut Rng, id: u64, tag: u64) -> Op {
    let whole = |rng: &mut Rng| {
        let vector: Vec<f32> = (0..4).map(|_| i16::try_from(rng.around(9)).map_or(0.0, f32::from)).collect();
        let document = Document::new(id).with(TAG, tag).with("value", i64::from(rng.around(50)));
        let document = document.with("color", *rng.pick(&COLORS));
        if rng.chance(0.8) { document.with("v", elacsym::Vector::F32(vector)) } else { document }
    };
    let part = |rng: &mut Rng| Document::new(id).with(TAG, tag).with("value", i64::from(rng.around(50)));
    match rng.below(10) {
        0..=3 => Op::Upsert(whole(rng)),
        4 => Op::Insert(whole(rng)),
        5 => Op::UpsertIf(whole(rng), condition(rng)),
        6 => Op::Patch(part(rng)),
        7 => Op::PatchIf(part(rng), condition(rng)),
        8 => Op::Delete(id.into()),
        _ => Op::DeleteIf(id.into(), condition(rng)),
    }
}

fn condition(rng: &mut Rng) -> Predicate {
    let value = Value::Int(i64::from(rng.around(50)));
    match rng.below(3) {
        0 => Predicate::Lt("value", value),
        1 => Predicate::Not(Box::new(Predicate::Eq("color", (*rng.pick(&COLORS)).into()))),
        _ => Predicate::Gte("value", value),
    }
}

/// Matches some of the documents, and never a mark.
fn few(rng: &mut Rng) -> Predicate {
    let from = i64::from(rng.around(50));
    let span = Predicate::And(vec![
        Predicate::Gte("value", Value::Int(from)),
        Predicate::Lt("value", Value::Int(from + 20)),
    ]);
    if rng.chance(0.5) {
        return span;
    }
    Predicate::And(vec![Predicate::Eq("color", (*rng.pick(&COLORS)).into()), span])
}
