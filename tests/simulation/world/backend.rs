//! The store as one process reaches it: over a network that delays, loses, repeats and damages.

use std::fmt;
use std::future::pending;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use elacsym::storage::{ListPage, ObjectInfo, ObjectKey, ObjectPrefix, Payload, PutMode, StorageBackend};
use elacsym::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use super::fault::{Crash, Fate, Fault};
use super::guard::refuse_delete;
use super::process::SimProcess;
use super::store::{Refusal, Reply, Request};
use super::{World, sleep};

/// The store as one process reaches it.
pub struct SimBackend {
    process: SimProcess,
}

impl SimBackend {
    pub(super) fn new(process: SimProcess) -> Self {
        Self { process }
    }

    /// Sends a request. It lives its own life: neither a crash nor a dropped future takes it back.
    async fn send(&self, request: Request) -> Result<Reply> {
        let process = &self.process;
        if process.is_dead() {
            return pending().await;
        }
        let fate = process.fate(&request);
        if fate.crash == Some(Crash::Before) {
            process.crash();
            return pending().await;
        }
        if let Some(still) = fate.freeze_before {
            process.freeze(still);
            sleep(still).await;
        }
        let (sender, receiver) = oneshot::channel();
        #[expect(clippy::disallowed_methods, reason = "the network is no task of the library")]
        tokio::spawn(carry(process.clone(), request, fate, sender));
        if fate.crash == Some(Crash::UnderWay) {
            process.crash();
            return pending().await;
        }
        if let Some(still) = fate.freeze_after {
            process.freeze(still);
        }
        match receiver.await {
            Ok(answer) => answer,
            // Nobody answers: it is for the library to give up.
            Err(_) => pending().await,
        }
    }
}

/// The network and the store.
async fn carry(process: SimProcess, request: Request, fate: Fate, sender: oneshot::Sender<Result<Reply>>) {
    let world = process.world().clone();
    let reset = || Err(Error::new(ErrorKind::Unavailable, "connection reset"));
    sleep(fate.there).await;
    let answer = match fate.fault {
        Some(Fault::Lost) => give_up(&fate, sender.is_closed()).await.then(reset),
        Some(Fault::LostResponse) => {
            let _ = perform(&world, &process, &request);
            give_up(&fate, sender.is_closed()).await.then(reset)
        }
        Some(Fault::Late) => {
            let _ = sender.send(reset());
            sleep(fate.lands).await;
            let _ = perform(&world, &process, &request);
            return;
        }
        Some(Fault::SentTwice) => Some(perform(&world, &process, &request).and_then(|_| exists(&request))),
        Some(Fault::FalseExists) => Some(exists(&request)),
        Some(Fault::Throttle) => {
            if fate.dice.is_multiple_of(2) {
                let _ = perform(&world, &process, &request);
            }
            Some(Err(Error::new(ErrorKind::Unavailable, "slow down")))
        }
        Some(Fault::Damage) => Some(perform(&world, &process, &request).map(|r| damage(r, fate.dice))),
        None => Some(perform(&world, &process, &request)),
    };
    if fate.crash == Some(Crash::After) {
        process.crash();
        return;
    }
    sleep(fate.back).await;
    match answer {
        // The library may have stopped to wait.
        Some(answer) => drop(sender.send(answer)),
        None => drop(sender),
    }
}

/// Waits until the client gives up; `false` if it never does.
async fn give_up(fate: &Fate, closed: bool) -> bool {
    match fate.gives_up.filter(|_| !closed) {
        Some(after) => {
            sleep(after).await;
            true
        }
        None => false,
    }
}

/// The request takes effect.
fn perform(world: &World, process: &SimProcess, request: &Request) -> Result<Reply> {
    let (now, now_ms) = (world.now(), world.store_ms());
    let (outcome, broken) = {
        let mut state = world.state();
        let tick = state.tick();
        let grace = state.faults.grace;
        let refused = match request {
            Request::Delete(key) if state.store.has(key) => {
                state.counts.deleted += 1;
                refuse_delete(&state.store, key, now_ms, grace)
            }
            _ => None,
        };
        let outcome = state.store.apply(request, now_ms, tick);
        state.trace.feed_number(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        state.trace.feed_number(process.number().into());
        state.trace.feed(request.verb().as_bytes());
        state.trace.feed(request.target().as_bytes());
        feed_outcome(&mut state.trace, request, &outcome);
        match outcome {
            Ok(reply) => (Ok(reply), refused),
            Err(Refusal::Error(error)) => (Err(error), None),
            Err(Refusal::Broken(why)) => (Ok(Reply::Done), Some(why)),
        }
    };
    if let Some(why) = broken {
        world.violate(why);
    }
    outcome
}

fn feed_outcome(trace: &mut super::trace::Trace, request: &Request, outcome: &Result<Reply, Refusal>) {
    if let Request::Put(_, bytes, _) = request {
        trace.feed(bytes);
    }
    match outcome {
        Ok(Reply::Done | Reply::Info(_)) => trace.feed(b"ok"),
        Ok(Reply::Bytes(bytes)) => trace.feed_number(bytes.len() as u64),
        Ok(Reply::List(page)) => trace.feed_number(page.objects.len() as u64),
        Ok(Reply::Folders(found)) => trace.feed_number(found.len() as u64),
        Err(Refusal::Error(error)) => trace.feed(format!("{:?}", error.kind()).as_bytes()),
        Err(Refusal::Broken(why)) => trace.feed(why.as_bytes()),
    }
}

fn exists(request: &Request) -> Result<Reply> {
    Err(Error::new(ErrorKind::AlreadyExists, format!("the object exists. key=`{}`", request.target())))
}

/// Cuts bytes short or flips one bit of them; other answers stay as they are.
fn damage(reply: Reply, dice: u64) -> Reply {
    match reply {
        Reply::Bytes(bytes) if !bytes.is_empty() => {
            let at = usize::try_from(dice >> 8).unwrap_or_default() % bytes.len();
            if dice.is_multiple_of(2) {
                return Reply::Bytes(bytes.slice(..at));
            }
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1 << ((dice >> 1) % 8);
            Reply::Bytes(damaged.into())
        }
        other => other,
    }
}

fn unexpected<T>(reply: &Reply) -> Result<T> {
    Err(Error::new(ErrorKind::Internal, format!("the simulated store answered {reply:?}")))
}

#[async_trait]
impl StorageBackend for SimBackend {
    async fn put(&self, key: &ObjectKey, body: Payload, mode: PutMode) -> Result<()> {
        self.send(Request::Put(key.clone(), body.into_bytes(), mode)).await.map(|_| ())
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        match self.send(Request::Get(key.clone())).await? {
            Reply::Bytes(bytes) => Ok(bytes),
            other => unexpected(&other),
        }
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        match self.send(Request::GetRange(key.clone(), range)).await? {
            Reply::Bytes(bytes) => Ok(bytes),
            other => unexpected(&other),
        }
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        match self.send(Request::Head(key.clone())).await? {
            Reply::Info(info) => Ok(info),
            other => unexpected(&other),
        }
    }

    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
        match self.send(Request::List(prefix.clone(), after.cloned())).await? {
            Reply::List(page) => Ok(page),
            other => unexpected(&other),
        }
    }

    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        match self.send(Request::Folders(prefix.clone())).await? {
            Reply::Folders(found) => Ok(found),
            other => unexpected(&other),
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.send(Request::Delete(key.clone())).await.map(|_| ())
    }
}

impl fmt::Debug for SimBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimBackend({:?})", self.process)
    }
}

impl fmt::Display for SimBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulation")
    }
}
