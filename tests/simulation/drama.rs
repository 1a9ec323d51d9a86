//! One history from its beginning to the judgement.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use elacsym::{Document, ErrorKind};

use super::actors::{self, NAME, Stage};
use super::collector;
use super::history::{History, Told};
use super::oracle::{self, Summary, TAG};
use super::plan::{GRACE, Plan};
use crate::common::api::{Level, Safeguard, Space};
use crate::common::model::{Batch, Op};
use crate::common::rng::Rng;
use crate::world::{self, World, sleep};

/// How a history went.
#[derive(Debug)]
pub struct Outcome {
    pub verdict: Result<Summary, String>,
    pub trace: u64,
    pub counts: world::Counts,
}

/// Plays the history of a seed.
pub fn play(seed: u64, without: Option<Safeguard>) -> Outcome {
    world::simulate(async move {
        let mut rng = Rng::new(seed);
        let plan = Plan::draw(&mut rng, without);
        let faults = plan.faults(&mut rng);
        let world = World::new(rng.bits(), faults);
        let history = History::new(&world);
        let incarnations = Arc::new(Mutex::new(0));
        let stage = Stage { world: world.clone(), history, plan: Arc::new(plan), incarnations };
        run(&stage, &mut rng).await;
        let judged = match world.violation() {
            Some(violation) => Err(violation),
            None => oracle::check(&world, &stage.history.events()),
        };
        // The oracle reads as a process too. What lives keeps its world, and with it all that was stored.
        world.kill_all();
        let (trace, counts) = (world.trace(), world.state().counts);
        Outcome { verdict: judged, trace, counts }
    })
}

async fn run(stage: &Stage, rng: &mut Rng) {
    let world = &stage.world;
    if !begin(stage).await {
        return;
    }
    let collector = spawn(collector::collect(world.clone(), rng.fork(), GRACE));
    let actors: Vec<_> =
        stage.plan.roles.iter().map(|role| spawn(actors::play(stage.clone(), *role, rng.fork()))).collect();
    while !world.violated()
        && world.now() < stage.plan.length
        && world.state().counts.requests < stage.plan.requests
    {
        sleep(Duration::from_secs(20)).await;
    }
    actors.iter().for_each(tokio::task::JoinHandle::abort);
    world.calm();
    world.kill_all();
    if !world.violated() {
        // What was sent long ago still lands.
        sleep(GRACE * 4).await;
        end(stage).await;
    }
    collector.abort();
    world.kill_all();
}

#[expect(clippy::disallowed_methods, reason = "the world is no task of the library")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::spawn(task)
}

/// A process that meets no faults creates the namespace.
async fn begin(stage: &Stage) -> bool {
    let process = stage.world.process(true);
    let (of, by) = (stage.clone(), process.clone());
    let created =
        process.run(async move { of.open(&by).await?.create(NAME, of.new_incarnation()).await.map(|_| ()) });
    match created.await {
        Some(Ok(())) => true,
        other => {
            stage.world.violate(format!("the namespace cannot be created: {other:?}"));
            false
        }
    }
}

/// A new process that meets no faults finds everything, can go on, and maintenance changes nothing.
async fn end(stage: &Stage) {
    let process = stage.world.process(true);
    let (of, by) = (stage.clone(), process.clone());
    let ended = process.run(async move { finish(&of, &by).await });
    tokio::select! {
        biased;
        outcome = ended => match outcome {
            Some(Ok(())) => {}
            Some(Err(why)) => stage.world.violate(format!("in the end: {why}")),
            None => stage.world.violate("the last process died"),
        },
        () = sleep(GRACE * 20) => stage.world.violate("the end is waited for in vain"),
    }
}

async fn finish(stage: &Stage, process: &world::SimProcess) -> Result<(), String> {
    let failed = |what: &'static str| move |error: elacsym::Error| format!("{what} failed: {error:?}");
    let client = stage.open(process).await.map_err(failed("open"))?;
    let space = match client.open_namespace(NAME).await {
        Err(error) if stage.plan.undertaker && is_gone(&error) => {
            client.create(NAME, stage.new_incarnation()).await.map_err(failed("create"))?
        }
        other => other.map_err(failed("namespace"))?,
    };
    for step in ["at first", "flushed", "compacted", "written", "collected"] {
        match step {
            "collected" => collect_all(stage, &space).await?,
            "flushed" => space.flush().await.map_err(failed("flush"))?,
            "compacted" => space.compact().await.map_err(failed("compact"))?,
            "written" => last_word(stage, &space).await?,
            _ => {}
        }
        let view = space.snapshot(Level::Strong).await.map_err(failed("snapshot"))?;
        let documents = view.scan(None, 7).await.map_err(failed("scan"))?;
        let (length, model) = oracle::last(&stage.world, oracle::incarnation_of(&space.schema()))?;
        let expected = model.scan(None);
        if view.sequence() != length || documents != expected {
            let how = oracle::difference(&documents, &expected);
            return Err(format!("{step}: sequence {} of {length}; {how}", view.sequence()));
        }
    }
    Ok(())
}

/// Collects until nothing is left to collect: then the store holds what is named, and nothing else.
async fn collect_all(stage: &Stage, space: &Space) -> Result<(), String> {
    let failed = |what: &'static str| move |error: elacsym::Error| format!("{what} failed: {error:?}");
    // Without a manifest nothing is ever garbage.
    space.flush().await.map_err(failed("flush"))?;
    // What a collection commits replaces a manifest, and a manifest that dropped a segment may be among the replaced.
    for _ in 0..6 {
        sleep(GRACE * 2).await;
        let garbage = space.garbage().await.map_err(failed("garbage"))?.len() as u64;
        let deleted = space.collect().await.map_err(failed("collect"))?;
        if garbage != deleted {
            return Err(format!("{garbage} objects were garbage, and {deleted} were deleted"));
        }
        if deleted == 0 {
            let there = stage.world.state();
            let mut logs = there.store.incarnations().iter();
            let newest = logs.rfind(|(_, log)| log.open.is_some());
            let prefix = newest.map(|(prefix, _)| prefix.as_str()).ok_or("no incarnation is left")?;
            return world::exactly_named(&there.store, prefix);
        }
    }
    Err("collections never end".into())
}

fn is_gone(error: &elacsym::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Deleted)
}

async fn last_word(stage: &Stage, space: &Space) -> Result<(), String> {
    let (number, batch) = stage
        .history
        .batch(|tag| Batch { ops: vec![Op::Upsert(Document::new(1).with(TAG, tag))], token: None });
    let call = stage.history.calls(number, oracle::incarnation_of(&space.schema()));
    match stage.history.told(call, space.write(&batch).await) {
        Told::Done(_) => Ok(()),
        other => Err(format!("the last write was told {other:?}")),
    }
}
