//! What the actors asked and were told, in one total order with what the store did.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use elacsym::{Document, Error, ErrorKind, Outcome};

use crate::common::api::Level;
use crate::common::model::{Batch, Receipt};
use crate::world::World;

/// A history under way. Clones share it.
#[derive(Clone, Debug)]
pub struct History {
    world: World,
    events: Arc<Mutex<Events>>,
}

/// All that was asked and told.
#[derive(Debug, Default)]
pub struct Events {
    /// Batches: each bears its number as its tag in every document it writes.
    pub batches: Vec<Batch>,
    pub writes: Vec<Write>,
    pub reads: Vec<Read>,
    pub seals: Vec<Seal>,
}

/// An attempt to write a batch. One with a token may have several.
#[derive(Debug)]
pub struct Write {
    pub batch: usize,
    /// The incarnation of the namespace that the handle is of.
    pub incarnation: i64,
    pub called: u64,
    pub returned: Option<u64>,
    pub told: Told,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum Told {
    /// The process died, or the caller did not wait.
    Nothing,
    Done(Receipt),
    /// Surely not applied.
    Refused(ErrorKind),
    /// Applied or not.
    Doubt,
}

/// A read of everything at one sequence.
#[derive(Debug)]
pub struct Read {
    pub process: u32,
    pub incarnation: i64,
    pub level: Level,
    pub called: u64,
    /// When the snapshot was taken, and when its content had been read.
    pub taken: u64,
    pub sequence: u64,
    pub documents: Vec<Document>,
}

/// A namespace was deleted, says the library.
#[derive(Debug)]
pub struct Seal {
    pub returned: u64,
    /// The incarnations there were when it was asked for.
    pub incarnations: usize,
}

impl History {
    pub fn new(world: &World) -> Self {
        Self { world: world.clone(), events: Arc::default() }
    }

    pub fn events(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> u64 {
        self.world.tick()
    }

    /// A new batch, of operations that know its tag.
    pub fn batch(&self, make: impl FnOnce(u64) -> Batch) -> (usize, Batch) {
        let mut events = self.events();
        let number = events.batches.len();
        let batch = make(number as u64);
        events.batches.push(batch.clone());
        (number, batch)
    }

    /// A write begins.
    pub fn calls(&self, batch: usize, incarnation: i64) -> usize {
        let called = self.now();
        let mut events = self.events();
        events.writes.push(Write { batch, incarnation, called, returned: None, told: Told::Nothing });
        events.writes.len() - 1
    }

    /// A write ends.
    pub fn told(&self, write: usize, outcome: Result<Receipt, Error>) -> Told {
        let returned = self.now();
        let told = match outcome {
            Ok(receipt) => Told::Done(receipt),
            Err(error) if error.outcome() == Outcome::Unknown => Told::Doubt,
            Err(error) => Told::Refused(error.kind()),
        };
        let mut events = self.events();
        let write = &mut events.writes[write];
        write.returned = Some(returned);
        write.told = told.clone();
        told
    }
}
