//! A seeded world: a store, a clock and processes that fail in every way the protocol speaks of.
//!
//! All of it runs on one thread of a tokio runtime whose time is paused: time passes when nobody has anything
//! to do. One seed gives one history, down to the last request.
//!
//! **Invariant:** nothing here reads a real clock, draws from a generator that is not seeded, or walks a map
//! whose order is not fixed.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::allow_attributes,
    reason = "each test crate uses its part of this"
)]

mod backend;
mod fault;
mod guard;
mod process;
mod store;
mod trace;

pub use backend::SimBackend;
pub use fault::{Crash, Fault, Faults};
pub use guard::{exactly_named, oldest_living};
pub use process::{SimProcess, SimRuntime};
pub use store::{IncarnationLog, Logged, Request, Store};

use std::fmt::Display;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::trace::Trace;
use crate::common::rng::Rng;

/// The store's clock at the beginning: a day of the year 2025.
const EPOCH_MS: i64 = 1_750_000_000_000;

/// The world. Clones share it.
#[derive(Clone, Debug)]
pub struct World {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    start: tokio::time::Instant,
    state: Mutex<State>,
}

/// All that changes.
#[derive(Debug)]
pub struct State {
    pub store: Store,
    pub rng: Rng,
    pub faults: Faults,
    pub counts: Counts,
    /// The first thing that went wrong for good.
    pub violation: Option<String>,
    trace: Trace,
    ticks: u64,
    processes: u32,
    /// Those that may still run.
    living: Vec<SimProcess>,
}

/// What happened, for the report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub requests: u64,
    pub faults: u64,
    pub crashes: u64,
    pub freezes: u64,
    /// Slots and manifests that the all-seeing collector took.
    pub collected: u64,
    /// Objects that processes deleted.
    pub deleted: u64,
}

impl World {
    /// A world of its own. Call it inside [`simulate`].
    #[expect(clippy::disallowed_methods, reason = "virtual time, behind the door")]
    pub fn new(seed: u64, faults: Faults) -> Self {
        let state = State {
            store: Store::default(),
            rng: Rng::new(seed),
            faults,
            counts: Counts::default(),
            violation: None,
            trace: Trace::default(),
            ticks: 0,
            processes: 0,
            living: Vec::new(),
        };
        Self { shared: Arc::new(Shared { start: tokio::time::Instant::now(), state: Mutex::new(state) }) }
    }

    /// What changes. The guard must not live across an await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Virtual time since the beginning.
    #[expect(clippy::disallowed_methods, reason = "virtual time, behind the door")]
    pub fn now(&self) -> Duration {
        tokio::time::Instant::now().duration_since(self.shared.start)
    }

    /// The store's clock, in milliseconds since 1970.
    pub fn store_ms(&self) -> i64 {
        EPOCH_MS + i64::try_from(self.now().as_millis()).unwrap_or(i64::MAX)
    }

    /// The next moment of the total order in which things happen.
    pub fn tick(&self) -> u64 {
        let mut state = self.state();
        state.tick()
    }

    /// A process that is started now, with clocks of its own. A clean one meets no faults.
    pub fn process(&self, clean: bool) -> SimProcess {
        let process = SimProcess::start(self, clean);
        self.state().living.push(process.clone());
        process
    }

    /// Every process dies.
    pub fn kill_all(&self) {
        let living = std::mem::take(&mut self.state().living);
        living.iter().for_each(SimProcess::bury);
    }

    /// From now on nothing fails but what is under way.
    pub fn calm(&self) {
        self.state().faults = Faults::none();
    }

    /// Ends the history: the first violation is the one that is told.
    pub fn violate(&self, what: impl Display) {
        let at = self.now().as_millis();
        self.state().violation.get_or_insert_with(|| format!("{what} (at {at} ms)"));
    }

    pub fn violated(&self) -> bool {
        self.state().violation.is_some()
    }

    pub fn violation(&self) -> Option<String> {
        self.state().violation.clone()
    }

    /// The history as one number.
    pub fn trace(&self) -> u64 {
        self.state().trace.sum()
    }
}

impl State {
    pub fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }
}

/// Sleeps in virtual time.
#[expect(clippy::disallowed_methods, reason = "virtual time, behind the door")]
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Runs `future` to its end in virtual time.
pub fn simulate<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime can be built");
    runtime.block_on(future)
}
