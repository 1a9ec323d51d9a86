//! Every crash and every single fault at every request of a scenario.
//!
//! A scenario is run once to count the requests of its process. Then, for each request and each way to die, it
//! is run again until the process dies there; a new process must find what was acknowledged, and what was
//! under way whole or not at all, and must be able to finish. For each request and each fault it is run once
//! more: one fault alone fails no write, and maintenance that it fails can be called again.
#![expect(unreachable_pub, reason = "a test crate has no API")]

#[cfg(test)]
#[path = "common/mod.rs"]
mod common;
#[cfg(test)]
mod script {
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    use elacsym::schema::AttributeType;
    use elacsym::{Document, Error, ErrorKind, IdKind, Metric, Result, Schema, Vector, VectorType};

    use crate::common::api::{Client, Level, Options, Space};
    use crate::common::model::{Batch, Model, Op, normal};
    use crate::common::predicate::Predicate;
    use crate::world::{self, Crash, Fault, Faults, SimProcess, World, sleep};

    const NAME: &str = "docs";
    const GRACE: Duration = Duration::from_hours(1);

    /// One call of the library.
    #[derive(Clone, Debug)]
    pub enum Step {
        Create,
        Write(Batch),
        Flush,
        Compact,
        /// Time passes, more than the grace.
        Wait,
        Collect,
        Delete,
    }

    /// Steps that set the stage, and steps that are put to the test.
    #[derive(Clone, Debug)]
    pub struct Scenario {
        pub name: &'static str,
        pub before: Vec<Step>,
        pub steps: Vec<Step>,
        /// Entries link segments of all rows.
        pub linked: bool,
    }

    /// What befalls the process.
    #[derive(Clone, Copy, Debug)]
    pub enum Blow {
        Nothing,
        Crash(u64, Crash),
        Fault(u64, Fault),
    }

    /// Plays a scenario. Returns how many requests the process sent.
    pub fn play(scenario: &Scenario, blow: Blow) -> Result<u64, String> {
        world::simulate(async {
            let world = World::new(7, Faults::none());
            let outcome = run(&world, scenario, blow).await;
            world.kill_all();
            match world.violation() {
                Some(violation) => Err(violation),
                None => outcome,
            }
        })
    }

    async fn run(world: &World, scenario: &Scenario, blow: Blow) -> Result<u64, String> {
        let progress = Progress { linked: scenario.linked, ..Progress::default() };
        let stage = act(world.process(true), scenario.before.clone(), progress).await;
        let stage = stage.map_err(|e| format!("before the scenario: {e:?}"))?;
        let process = world.process(true);
        match blow {
            Blow::Nothing => {}
            Blow::Crash(request, how) => process.crash_at(request, how),
            Blow::Fault(request, fault) => process.fault_at(request, fault),
        }
        let progress = Progress { done: Arc::default(), ..stage };
        let outcome = act(process.clone(), scenario.steps.clone(), progress.clone()).await;
        let requests = process.requests();
        let next = if process.is_dead() {
            // What is under way lands, late as it may be.
            sleep(Duration::from_hours(4)).await;
            world.process(true)
        } else {
            if let Err(error) = outcome
                && !is_excused(&error, scenario.steps.get(progress.done()), blow)
            {
                return Err(format!("a single fault was not survived: {error:?}"));
            }
            process
        };
        recover(next, scenario.steps.clone(), progress).await?;
        Ok(requests)
    }

    /// Maintenance may leave a fault to the next call.
    fn is_excused(error: &Error, step: Option<&Step>, blow: Blow) -> bool {
        matches!(blow, Blow::Fault(..))
            && error.is_retryable()
            && matches!(step, Some(Step::Flush | Step::Compact | Step::Collect))
    }

    /// What was acknowledged.
    #[derive(Clone, Default)]
    struct Progress {
        linked: bool,
        done: Arc<Mutex<usize>>,
        model: Arc<Mutex<Model>>,
    }

    impl Progress {
        fn done(&self) -> usize {
            *self.done.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn model(&self) -> Model {
            self.model.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }

        fn note(&self, step: &Step) {
            let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
            match step {
                Step::Write(batch) => drop(model.apply(&batch.ops)),
                Step::Create | Step::Delete => *model = Model::default(),
                Step::Flush | Step::Compact | Step::Wait | Step::Collect => {}
            }
            *self.done.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        }
    }

    /// One process takes the steps. It may die on the way.
    async fn act(process: SimProcess, steps: Vec<Step>, progress: Progress) -> Result<Progress> {
        let by = process.clone();
        let noted = progress.clone();
        let task = process.run(async move {
            let client = open(&by, noted.linked).await?;
            let mut space = None;
            for step in &steps {
                take(&client, &mut space, step).await?;
                noted.note(step);
            }
            Ok(())
        });
        match task.await {
            Some(outcome) => outcome.map(|()| progress),
            None => Err(Error::new(ErrorKind::Closed, "the process died")),
        }
    }

    async fn open(process: &SimProcess, linked: bool) -> Result<Client> {
        let mut options = Options::default();
        options.settings.cache_bytes = 0;
        (options.settings.auto_flush, options.settings.auto_compact) = (false, false);
        (options.settings.auto_collect, options.settings.grace) = (false, Some(GRACE));
        if linked {
            options.settings.reference_bytes_min = 1;
        }
        Client::open(process.backend(), process.runtime(), &options).await
    }

    async fn take(client: &Client, space: &mut Option<Space>, step: &Step) -> Result<()> {
        match step {
            Step::Create => {
                *space = Some(client.create(NAME, schema()).await?);
                return Ok(());
            }
            Step::Delete => {
                *space = None;
                return client.delete(NAME).await;
            }
            Step::Wait => {
                sleep(GRACE * 2).await;
                return Ok(());
            }
            Step::Write(_) | Step::Flush | Step::Compact | Step::Collect => {}
        }
        if space.is_none() {
            *space = Some(client.open_namespace(NAME).await?);
        }
        let Some(space) = space.as_ref() else { return Ok(()) };
        match step {
            Step::Write(batch) => space.write(batch).await.map(drop),
            Step::Flush => space.flush().await,
            Step::Compact => space.compact().await,
            Step::Collect => space.collect().await.map(drop),
            Step::Create | Step::Delete | Step::Wait => Ok(()),
        }
    }

    /// A new process finds the state before or after the step that was under way, and finishes.
    async fn recover(process: SimProcess, steps: Vec<Step>, progress: Progress) -> Result<(), String> {
        let by = process.clone();
        let task = process.run(async move {
            let failed = |what: &str, error: Error| format!("{what}: {error:?}");
            let client = open(&by, progress.linked).await.map_err(|e| failed("open", e))?;
            let done = progress.done();
            if let Some(step) = steps.get(done) {
                settle(&client, step, &progress).await?;
            }
            let mut space = None;
            for step in steps.iter().skip(done + 1) {
                take(&client, &mut space, step).await.map_err(|e| failed("going on", e))?;
                progress.note(step);
            }
            let there = !matches!(steps.last(), Some(Step::Delete));
            if !there {
                return gone(&client).await;
            }
            same(&client, &progress.model()).await?;
            clean(&client, &by).await?;
            same(&client, &progress.model()).await
        });
        task.await.unwrap_or_else(|| Err("the new process died".into()))
    }

    /// Collects until nothing is left to collect: the store holds what is named, whatever died on the way.
    async fn clean(client: &Client, process: &SimProcess) -> Result<(), String> {
        let failed = |error: Error| format!("cleaning up: {error:?}");
        let space = client.open_namespace(NAME).await.map_err(failed)?;
        space.flush().await.map_err(failed)?;
        for _ in 0..6 {
            sleep(GRACE * 2).await;
            if space.collect().await.map_err(failed)? == 0 {
                let state = process.world().state();
                let mut incarnations = state.store.incarnations().iter();
                let newest = incarnations.rfind(|(_, log)| log.open.is_some());
                let (prefix, _) = newest.ok_or("no incarnation is left")?;
                return world::exactly_named(&state.store, prefix);
            }
        }
        Err("collections never end".into())
    }

    /// Brings the step that was under way to its end.
    async fn settle(client: &Client, step: &Step, progress: &Progress) -> Result<(), String> {
        let again = |error: Error| format!("again {step:?}: {error:?}");
        match step {
            Step::Create => match client.open_namespace(NAME).await {
                Ok(_) => same(client, &Model::default()).await?,
                Err(e) if is_gone(&e) => drop(client.create(NAME, schema()).await.map_err(again)?),
                Err(e) => return Err(again(e)),
            },
            Step::Delete => {
                if client.open_namespace(NAME).await.is_ok() {
                    same(client, &progress.model()).await?;
                }
                match client.delete(NAME).await {
                    Err(e) if !is_gone(&e) => return Err(again(e)),
                    _ => gone(client).await?,
                }
            }
            Step::Write(batch) => {
                let mut after = progress.model();
                after.apply(&batch.ops);
                if same(client, &after).await.is_err() {
                    same(client, &progress.model()).await?;
                    take(client, &mut None, step).await.map_err(again)?;
                } else if batch.token.is_some() {
                    // Once more with its token changes nothing.
                    take(client, &mut None, step).await.map_err(again)?;
                }
                same(client, &after).await?;
            }
            Step::Flush | Step::Compact | Step::Wait | Step::Collect => {
                same(client, &progress.model()).await?;
                take(client, &mut None, step).await.map_err(again)?;
                same(client, &progress.model()).await?;
            }
        }
        progress.note(step);
        Ok(())
    }

    fn is_gone(error: &Error) -> bool {
        matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Deleted)
    }

    async fn gone(client: &Client) -> Result<(), String> {
        match client.open_namespace(NAME).await {
            Err(e) if is_gone(&e) => Ok(()),
            other => Err(format!("a deleted namespace is there: {:?}", other.map(|_| ()))),
        }
    }

    async fn same(client: &Client, model: &Model) -> Result<(), String> {
        let read = async {
            let view = client.open_namespace(NAME).await?.snapshot(Level::Strong).await?;
            view.scan(None, 3).await
        };
        let found: Vec<Document> =
            read.await.map_err(|e| format!("reading: {e:?}"))?.into_iter().map(normal).collect();
        let expected = model.scan(None);
        if found == expected { Ok(()) } else { Err(format!("found {found:?}\ninstead of {expected:?}")) }
    }

    pub fn schema() -> Schema {
        let built = Schema::builder(IdKind::U64)
            .attribute("n", AttributeType::Int)
            .attribute("s", AttributeType::String)
            .vector("v", VectorType::F32, 4, Metric::L2Squared)
            .build();
        built.expect("the schema is sound")
    }

    fn document(id: u64, n: i64) -> Document {
        let vector = Vector::from([1.0, 2.0, 3.0, 4.0]);
        Document::new(id).with("n", n).with("s", format!("text {n}")).with("v", vector)
    }

    fn write(ops: Vec<Op>) -> Step {
        Step::Write(Batch { ops, token: None })
    }

    fn upserts(ids: std::ops::Range<u64>, n: i64) -> Step {
        write(ids.map(|id| Op::Upsert(document(id, n))).collect())
    }

    pub fn scenarios() -> Vec<Scenario> {
        let small = Predicate::Lt("n", 3i64.into());
        let more = Predicate::Gte("n", 2i64.into());
        let two = || vec![Step::Create, upserts(1..6, 1), Step::Flush, upserts(4..9, 2)];
        let one_more = Op::PatchIf(Document::new(1).with("n", 2i64), Predicate::Eq("n", 1i64.into()));
        vec![
            Scenario {
                name: "create",
                before: vec![],
                steps: vec![Step::Create, upserts(1..3, 1)],
                linked: false,
            },
            Scenario {
                name: "append",
                before: two(),
                steps: vec![upserts(1..3, 5), upserts(2..4, 6)],
                linked: false,
            },
            Scenario {
                name: "conditions",
                before: two(),
                steps: vec![
                    write(vec![one_more.clone(), Op::DeleteIf(2.into(), small.clone())]),
                    write(vec![
                        Op::DeleteByFilter(Predicate::Gte("n", 2i64.into())),
                        Op::Upsert(document(9, 9)),
                    ]),
                    write(vec![Op::PatchByFilter(small, vec![("s", "patched".into())])]),
                ],
                linked: false,
            },
            Scenario {
                name: "token",
                before: two(),
                steps: vec![Step::Write(Batch {
                    ops: vec![one_more, Op::Delete(5.into())],
                    token: Some(77),
                })],
                linked: false,
            },
            Scenario {
                name: "flush",
                before: two(),
                steps: vec![Step::Flush, upserts(1..2, 3), Step::Flush],
                linked: false,
            },
            Scenario {
                name: "compact",
                before: [two(), vec![Step::Flush, write(vec![Op::Delete(1.into())]), Step::Flush]].concat(),
                steps: vec![Step::Compact, upserts(5..7, 4)],
                linked: false,
            },
            Scenario {
                name: "collect",
                before: [
                    two(),
                    vec![Step::Flush, write(vec![Op::Delete(1.into())]), Step::Flush, Step::Compact],
                    vec![upserts(2..4, 6), Step::Wait],
                ]
                .concat(),
                steps: vec![Step::Collect, upserts(5..7, 4), Step::Flush],
                linked: true,
            },
            Scenario { name: "delete", before: two(), steps: vec![Step::Delete], linked: false },
            Scenario {
                name: "again",
                before: two(),
                steps: vec![Step::Delete, Step::Create, upserts(1..3, 7)],
                linked: false,
            },
            Scenario {
                name: "linked",
                before: two(),
                steps: vec![
                    upserts(3..7, 5),
                    write(vec![Op::PatchByFilter(more, vec![("s", "patched".into())]), Op::Delete(4.into())]),
                    Step::Flush,
                ],
                linked: true,
            },
        ]
    }
}
#[cfg(test)]
#[path = "simulation/world/mod.rs"]
mod world;

#[cfg(test)]
mod tests {
    use crate::script::{Blow, play, scenarios};
    use crate::world::{Crash, Fault};

    /// Plays a scenario with each of these blows at each request.
    fn enumerate(blows: impl Fn(u64) -> Vec<Blow>) {
        let mut broken = Vec::new();
        for scenario in scenarios() {
            let requests =
                play(&scenario, Blow::Nothing).unwrap_or_else(|e| panic!("{}: {e}", scenario.name));
            assert!(requests > 0);
            for blow in (1..=requests).flat_map(&blows) {
                if let Err(why) = play(&scenario, blow) {
                    broken.push(format!("{} with {blow:?} of {requests} requests: {why}", scenario.name));
                }
            }
        }
        assert!(broken.is_empty(), "{} broke\n{}", broken.len(), broken.join("\n"));
    }

    #[test]
    fn a_crash_at_any_request_leaves_the_state_before_or_after() {
        enumerate(|at| Crash::ALL.map(|how| Blow::Crash(at, how)).to_vec());
    }

    #[test]
    fn a_single_fault_at_any_request_costs_at_most_another_call() {
        enumerate(|at| Fault::ALL.map(|fault| Blow::Fault(at, fault)).to_vec());
    }
}
