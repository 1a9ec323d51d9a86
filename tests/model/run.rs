//! One run: random calls of the library, and the same on the model.

use std::sync::Arc;

use elacsym::storage::MemoryBackend;
use elacsym::{Document, DocumentId, Error, ErrorKind};

use crate::common::api::{Client, Level, Options, Space, View};
use crate::common::model::{Batch, Model, Op, normal};
use crate::common::rng::Rng;
use crate::draw::{Draw, VECTORS, components};
use crate::world::{self, Faults, SimProcess, World};

const NAME: &str = "Model-1.a_b";

/// Plays a run. Returns how many calls it made.
pub fn play(seed: u64) -> Result<u64, String> {
    world::simulate(async {
        let mut rng = Rng::new(seed);
        let world = World::new(rng.bits(), Faults::none());
        let process = world.process(true);
        let run = Run::new(&world, &mut rng);
        let outcome = process.run(run.go(rng)).await;
        let violation = world.violation();
        world.kill_all();
        match (violation, outcome) {
            (Some(violation), _) => Err(violation),
            (None, outcome) => outcome.unwrap_or_else(|| Err("the run died".into())),
        }
    })
}

/// A handle of its own: another database, as in another process.
struct Handle {
    process: SimProcess,
    client: Client,
    space: Space,
}

struct Run {
    world: World,
    backend: MemoryBackend,
    options: Options,
    draw: Draw,
    model: Model,
    handles: Vec<Handle>,
    /// Snapshots with what they show.
    views: Vec<(View, Model)>,
    /// The newest write that was acknowledged.
    sequence: u64,
    calls: u64,
}

fn failed(what: &str) -> impl Fn(Error) -> String + '_ {
    move |error| format!("{what} failed: {error:?}")
}

impl Run {
    fn new(world: &World, rng: &mut Rng) -> Self {
        let mut options = Options::default();
        options.settings.cache_bytes = 0;
        options.settings.auto_flush = rng.chance(0.5);
        options.settings.auto_compact = rng.chance(0.5);
        options.settings.tail_entries_flush = *rng.pick(&[0, 3, 20]);
        options.settings.reference_bytes_min = *rng.pick(&[1, 2_000, 16 << 20]);
        Self {
            world: world.clone(),
            backend: MemoryBackend::new(),
            options,
            draw: Draw::new(rng),
            model: Model::default(),
            handles: Vec::new(),
            views: Vec::new(),
            sequence: 0,
            calls: 0,
        }
    }

    async fn go(mut self, mut rng: Rng) -> Result<u64, String> {
        for _ in 0..rng.between(1, 3) {
            let handle = self.open().await?;
            self.handles.push(handle);
        }
        for _ in 0..rng.between(40, 160) {
            self.calls += 1;
            self.call(&mut rng).await?;
        }
        let handle = self.open().await?;
        self.same(&handle.space, &mut rng).await?;
        Ok(self.calls)
    }

    async fn open(&self) -> Result<Handle, String> {
        let process = self.world.process(true);
        let backend = Arc::new(self.backend.clone());
        let client = Client::open(backend, process.runtime(), &self.options).await.map_err(failed("open"))?;
        let space = match client.open_namespace(NAME).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                client.create(NAME, self.draw.schema()).await.map_err(failed("create"))?
            }
            other => other.map_err(failed("namespace"))?,
        };
        Ok(Handle { process, client, space })
    }

    async fn call(&mut self, rng: &mut Rng) -> Result<(), String> {
        let at = usize::try_from(rng.below(self.handles.len() as u64)).unwrap_or(0);
        let space = self.handles[at].space.clone();
        match rng.below(40) {
            0..=17 => self.write(&space, rng).await,
            18 => self.refuse(&space, rng).await,
            19..=22 => self.get(&space, rng).await,
            23..=27 => self.scan(&space, rng).await,
            28..=31 => self.nearest(&space, rng).await,
            32..=33 => self.look_back(&space, rng).await,
            34..=35 => space.flush().await.map_err(failed("flush")),
            36 => space.compact().await.map_err(failed("compact")),
            37 => self.same(&space, rng).await,
            38 => {
                let again = self.handles[at].client.open_namespace(NAME).await.map_err(failed("again"))?;
                self.handles[at].space = again;
                Ok(())
            }
            _ => {
                space.close().await;
                self.handles[at].process.crash();
                self.handles[at] = self.open().await?;
                Ok(())
            }
        }
    }

    async fn write(&mut self, space: &Space, rng: &mut Rng) -> Result<(), String> {
        let batch = self.draw.batch(rng);
        let receipt = space.write(&batch).await.map_err(failed("write"))?;
        let counts = self.model.apply(&batch.ops);
        if !counts.agrees(&receipt) || receipt.replayed || receipt.sequence < self.sequence {
            return Err(format!("told {receipt:?} instead of {counts:?} after {}: {batch:?}", self.sequence));
        }
        self.sequence = receipt.sequence;
        if batch.token.is_some() {
            let again = space.write(&batch).await.map_err(failed("write again"))?;
            if !again.replayed || again.sequence != receipt.sequence || !counts.agrees(&again) {
                return Err(format!("again: told {again:?} instead of {receipt:?}"));
            }
        }
        Ok(())
    }

    /// A batch that is wrong changes nothing.
    async fn refuse(&mut self, space: &Space, rng: &mut Rng) -> Result<(), String> {
        let id = self.draw.id(rng);
        let wrong = match rng.below(3) {
            0 => vec![Op::Upsert(Document::new(id.clone())), Op::Delete(id)],
            1 => vec![Op::Upsert(Document::new(id).with("nowhere", 1i64))],
            _ => vec![Op::Upsert(Document::new(id).with("int", "text"))],
        };
        let mut batch = self.draw.batch(rng);
        batch.ops.extend(wrong);
        match space.write(&batch).await {
            Err(error) if error.kind() == ErrorKind::Invalid => Ok(()),
            other => Err(format!("a wrong batch was told {other:?}")),
        }
    }

    async fn get(&mut self, space: &Space, rng: &mut Rng) -> Result<(), String> {
        let ids: Vec<DocumentId> = (0..rng.below(12)).map(|_| self.draw.id(rng)).collect();
        let found = space.get(&ids).await.map_err(failed("get"))?;
        let found: Vec<Option<Document>> = found.into_iter().map(|d| d.map(normal)).collect();
        let expected: Vec<Option<Document>> =
            ids.iter().map(|id| self.model.documents.get(id).map(|d| (**d).clone())).collect();
        equal("get", &found, &expected)
    }

    async fn scan(&mut self, space: &Space, rng: &mut Rng) -> Result<(), String> {
        let predicate = self.draw.predicate(rng, 3);
        let page = usize::try_from(*rng.pick(&[1, 3, 50, 1_000])).unwrap_or(1);
        let view = self.view(space, rng).await?;
        let found = view.scan(Some(&predicate), page).await.map_err(failed("scan"))?;
        let count = view.count_matching(&predicate).await.map_err(failed("count"))?;
        if count != found.len() as u64 {
            return Err(format!("{count} documents match {predicate:?}, and {} are found", found.len()));
        }
        let found: Vec<Document> = found.into_iter().map(normal).collect();
        equal(&format!("{predicate:?}"), &found, &self.model.scan(Some(&predicate)))
    }

    async fn nearest(&mut self, space: &Space, rng: &mut Rng) -> Result<(), String> {
        let (column, _, dimension) = *rng.pick(&VECTORS);
        let query = components(rng, dimension);
        let predicate = rng.chance(0.6).then(|| self.draw.predicate(rng, 2));
        let k = usize::try_from(rng.between(1, 20)).unwrap_or(1);
        let view = self.view(space, rng).await?;
        let found = view.nearest(column, &query, predicate.as_ref(), k).await.map_err(failed("nearest"))?;
        let expected = self.model.nearest(column, &query, predicate.as_ref(), k);
        equal(&format!("nearest {column} {query:?} {predicate:?}"), &found, &expected)
    }

    /// The newest state, asked for in one of the ways.
    async fn view(&self, space: &Space, rng: &mut Rng) -> Result<View, String> {
        let level = if rng.chance(0.2) { Level::AtLeast(self.sequence) } else { Level::Strong };
        let view = space.snapshot(level).await.map_err(failed("snapshot"))?;
        if view.sequence() == self.sequence {
            return Ok(view);
        }
        Err(format!("{level:?} saw {} instead of {}", view.sequence(), self.sequence))
    }

    /// Keeps a snapshot, or sees whether an old one still shows what it showed.
    async fn look_back(&mut self, space: &Space, rng: &mut Rng) -> Result<(), String> {
        if self.views.len() < 3 {
            let view = self.view(space, rng).await?;
            self.views.push((view, self.model.clone()));
            return Ok(());
        }
        let (view, model) = self.views.remove(usize::try_from(rng.below(3)).unwrap_or(0));
        let found = view.scan(None, 50).await.map_err(failed("old scan"))?;
        let found: Vec<Document> = found.into_iter().map(normal).collect();
        equal("an old snapshot", &found, &model.scan(None))
    }

    async fn same(&self, space: &Space, rng: &mut Rng) -> Result<(), String> {
        let view = self.view(space, rng).await?;
        let found = view.scan(None, 1_000).await.map_err(failed("scan"))?;
        let found: Vec<Document> = found.into_iter().map(normal).collect();
        equal("everything", &found, &self.model.scan(None))?;
        let count = view.count().await.map_err(failed("count"))?;
        equal("count", &[count], &[self.model.documents.len() as u64])
    }
}

fn equal<T: std::fmt::Debug + PartialEq>(what: &str, found: &[T], expected: &[T]) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let at = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let (got, wanted) = (found.get(at), expected.get(at));
    Err(format!(
        "{what}: {} instead of {} answers; number {at} is\n{got:?}\ninstead of\n{wanted:?}",
        found.len(),
        expected.len()
    ))
}

/// A batch is what it is drawn to be.
#[test]
fn a_drawn_batch_names_each_id_once() {
    let mut rng = Rng::new(1);
    for _ in 0..200 {
        let draw = Draw::new(&mut rng);
        let Batch { ops, .. } = draw.batch(&mut rng);
        let ids: Vec<&DocumentId> = ops
            .iter()
            .filter_map(|op| match op {
                Op::Upsert(d) | Op::Insert(d) | Op::UpsertIf(d, _) | Op::Patch(d) | Op::PatchIf(d, _) => {
                    Some(d.id())
                }
                Op::Delete(id) | Op::DeleteIf(id, _) => Some(id),
                Op::DeleteByFilter(_) | Op::PatchByFilter(..) => None,
            })
            .collect();
        let unique: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len());
    }
}
