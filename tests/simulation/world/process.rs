//! Processes: tasks that share clocks, stand still together and die together.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use elacsym::env::Runtime;
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::backend::SimBackend;
use super::fault::{Crash, Fate, Fault};
use super::store::Request;
use super::{World, sleep};
use crate::common::rng::Rng;

/// A process. Clones are the same one.
#[derive(Clone)]
pub struct SimProcess {
    shared: Arc<Shared>,
}

struct Shared {
    world: World,
    number: u32,
    /// Meets no faults.
    clean: bool,
    /// How far its wall clock is off.
    skew_ms: i64,
    state: Mutex<State>,
}

struct State {
    dead: bool,
    thaws: Duration,
    requests: u64,
    crash_at: Option<(u64, Crash)>,
    freeze_at: Option<(u64, Duration)>,
    fault_at: Option<(u64, Fault)>,
    tasks: Vec<AbortHandle>,
    /// Tasks that were to be spawned when the process was dead. To drop one at once would tell those who wait
    /// for it, and the dead are told nothing.
    unborn: Vec<BoxFuture<'static, ()>>,
    rng: Rng,
}

impl SimProcess {
    pub(super) fn start(world: &World, clean: bool) -> Self {
        let mut all = world.state();
        all.processes += 1;
        let number = all.processes;
        let mut rng = all.rng.fork();
        let skew_ms = i64::from(rng.around(300_000));
        let slow = !clean && rng.chance(all.faults.slow_start);
        let freeze_at = slow.then(|| (rng.between(1, 8), all.faults.stillness(&mut rng)));
        drop(all);
        let state = State {
            dead: false,
            thaws: Duration::ZERO,
            requests: 0,
            crash_at: None,
            freeze_at,
            fault_at: None,
            tasks: Vec::new(),
            unborn: Vec::new(),
            rng,
        };
        let shared = Shared { world: world.clone(), number, clean, skew_ms, state: Mutex::new(state) };
        Self { shared: Arc::new(shared) }
    }

    pub fn number(&self) -> u32 {
        self.shared.number
    }

    pub fn world(&self) -> &World {
        &self.shared.world
    }

    /// The store as this process reaches it.
    pub fn backend(&self) -> Arc<SimBackend> {
        Arc::new(SimBackend::new(self.clone()))
    }

    /// The clocks, chance and tasks of this process.
    pub fn runtime(&self) -> SimRuntime {
        SimRuntime(self.clone())
    }

    /// The process dies at its `request`-th request, counted from 1.
    pub fn crash_at(&self, request: u64, how: Crash) {
        self.state().crash_at = Some((request, how));
    }

    /// The `request`-th request of the process, counted from 1, meets a fault.
    pub fn fault_at(&self, request: u64, fault: Fault) {
        self.state().fault_at = Some((request, fault));
    }

    /// How many requests it has sent.
    pub fn requests(&self) -> u64 {
        self.state().requests
    }

    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Every task is gone at whatever await it is. Requests under way stay under way.
    pub fn crash(&self) {
        let tasks = {
            let mut state = self.state();
            state.dead = true;
            std::mem::take(&mut state.tasks)
        };
        tasks.iter().for_each(AbortHandle::abort);
    }

    /// Frees what the dead leave behind.
    pub(super) fn bury(&self) {
        self.crash();
        let unborn = std::mem::take(&mut self.state().unborn);
        drop(unborn);
    }

    /// No task runs for a while; the clocks go on.
    pub fn freeze(&self, duration: Duration) {
        let thaws = self.world().now() + duration;
        let mut state = self.state();
        state.thaws = state.thaws.max(thaws);
    }

    /// Runs a task in this process. `None` when the process died first.
    pub async fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.spawn(Box::pin(async move {
            // Whoever waits may be gone.
            let _ = sender.send(task.await);
        }));
        receiver.await.ok()
    }

    #[expect(clippy::disallowed_methods, reason = "the simulation stands behind the door")]
    pub fn spawn(&self, task: BoxFuture<'static, ()>) {
        let mut state = self.state();
        if state.dead {
            state.unborn.push(task);
            return;
        }
        drop(state);
        let handle = tokio::spawn(Gate { process: self.clone(), task, still: None }).abort_handle();
        let mut state = self.state();
        if state.tasks.len() >= 64 {
            state.tasks.retain(|task| !task.is_finished());
        }
        state.tasks.push(handle);
    }

    /// What becomes of a request that this process is about to send.
    pub(super) fn fate(&self, request: &Request) -> Fate {
        let now = self.world().now();
        let mut world = self.world().state();
        let world = &mut *world;
        let mut state = self.state();
        state.requests += 1;
        world.counts.requests += 1;
        let mut fate = if self.shared.clean {
            Fate::plain(&mut world.rng)
        } else {
            world.faults.fate(&mut world.rng, now, request)
        };
        if let Some((_, how)) = state.crash_at.filter(|(at, _)| *at == state.requests) {
            fate.crash = Some(how);
        }
        if let Some((_, still)) = state.freeze_at.filter(|(at, _)| *at == state.requests) {
            fate.freeze_before = Some(still);
        }
        if let Some((_, fault)) = state.fault_at.filter(|(at, _)| *at == state.requests) {
            fate.fault = fault.suits(request).then_some(fault);
        }
        world.counts.faults += u64::from(fate.fault.is_some());
        world.counts.crashes += u64::from(fate.crash.is_some());
        world.counts.freezes += u64::from(fate.freeze_before.or(fate.freeze_after).is_some());
        fate
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimProcess({})", self.shared.number)
    }
}

/// A task that does not run while its process stands still, and that takes its process along when it panics.
struct Gate {
    process: SimProcess,
    task: BoxFuture<'static, ()>,
    still: Option<BoxFuture<'static, ()>>,
}

impl Future for Gate {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let now = this.process.world().now();
            let thaws = this.process.state().thaws;
            if thaws <= now {
                break;
            }
            let still = this.still.get_or_insert_with(|| Box::pin(sleep(thaws.saturating_sub(now))));
            if still.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            this.still = None;
        }
        this.still = None;
        let task = &mut this.task;
        catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context))).unwrap_or_else(|_| {
            this.process.world().violate("a task panicked");
            this.process.crash();
            Poll::Ready(())
        })
    }
}

/// The environment of a process.
#[derive(Clone, Debug)]
pub struct SimRuntime(SimProcess);

impl Runtime for SimRuntime {
    fn monotonic(&self) -> Duration {
        self.0.world().now()
    }

    fn wall_ms(&self) -> i64 {
        self.0.world().store_ms() + self.0.shared.skew_ms
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(sleep(duration))
    }

    fn random(&self) -> u64 {
        self.0.state().rng.bits()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}
