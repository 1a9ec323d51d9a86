//! Finding the newest state from nothing: names, then lists and the manifest, then the tail.

use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use futures::future::{join_all, try_join_all};
use futures::try_join;
use roaring::RoaringBitmap;
use uuid::Uuid;

use super::life::find_life;
use super::{Engine, State};
use crate::context::Context;
use crate::env::Moment;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{self, Hint, LifeRecord, Manifest};
use crate::memtable::{Layer, Run, Source};
use crate::query::Part;
use crate::safeguard::Safeguard;
use crate::segment::{Deletes, Segment, SegmentMeta};
use crate::storage::{LifeKeys, NamespaceKeys, read_whole};
use crate::types::{NamespaceName, Sequence};
use crate::wal::{self, Entry, Link};

/// How often a state that moves away under us is looked for again.
const ATTEMPTS: u32 = 8;
/// The life that most names have: its manifests are listed before it is known to be the newest.
const FIRST_LIFE: u32 = 1;

/// A segment, and the dead rows as of its own meta if they have been read.
pub(super) type Opened = (Arc<Segment>, Option<Arc<RoaringBitmap>>);

impl Engine {
    /// Opens the newest life of a name: three round trips, two when the hint is good and the tail is empty,
    /// four for a name that was deleted before and has no hint.
    pub(crate) fn open<'a>(
        context: &'a Context,
        name: &'a NamespaceName,
    ) -> BoxFuture<'a, Result<Arc<Self>>> {
        Box::pin(async move {
            let names = NamespaceKeys::new(name);
            let hint_key = names.hint();
            let hint = async {
                // Only speed depends on the hint: whatever is wrong with it, there is none.
                let bytes = context.backend.get(&hint_key).await.ok();
                Ok(bytes.and_then(|bytes| Hint::decode(&bytes).ok()).map(Hint::checked))
            };
            let first_life = names.life(FIRST_LIFE);
            let listed = manifest::latest(&context.backend, &first_life, 0);
            let (newest, hint, listed) = try_join!(find_life(context, &names), hint, listed)?;
            let missing = || Error::new(ErrorKind::NotFound, format!("no such namespace. name=`{name}`"));
            let newest = newest.ok_or_else(missing)?;
            let keys = names.life(newest);
            let hint = hint.filter(|hint| hint.life == newest);
            let (begins, ends) = (keys.open(), keys.closed());
            let opened = read_whole(&context.backend, &begins, |bytes| LifeRecord::decode(bytes));
            let closed = read_whole(&context.backend, &ends, |_| Ok(()));
            let records = async { try_join!(opened, closed) };
            let listed = (newest == FIRST_LIFE).then_some(listed.unwrap_or(0));
            let first = look(context, &keys, hint.as_ref(), listed);
            let ((opened, closed), first) = try_join!(records, first)?;
            let life = opened.ok_or_else(missing)?;
            if life.name != name.as_str() || life.number != newest {
                return Err(Error::corrupt(keys.open(), "it belongs to another name or life"));
            }
            if closed.is_some() {
                return Err(missing());
            }
            Self::resume(context, name, life, hint, Some(first)).await
        })
    }

    /// Opens a life that has just begun.
    pub(crate) fn begin<'a>(
        context: &'a Context,
        name: &'a NamespaceName,
        life: LifeRecord,
    ) -> BoxFuture<'a, Result<Arc<Self>>> {
        Box::pin(async move { Self::resume(context, name, life, None, None).await })
    }

    async fn resume(
        context: &Context,
        name: &NamespaceName,
        life: LifeRecord,
        hint: Option<Hint>,
        first: Option<Look>,
    ) -> Result<Arc<Self>> {
        let names = NamespaceKeys::new(name);
        let keys = names.life(life.number);
        let schema = Arc::new(life.schema.clone());
        let genesis = Arc::new(Manifest::genesis(&life));
        let nothing = State::new(genesis, Vec::new(), context.env.moment());
        let engine = Self {
            context: context.clone(),
            name: name.clone(),
            life,
            names,
            keys,
            schema,
            writer: context.env.uuid(),
            state: nothing.into(),
            probe: super::Probe::default(),
            upkeep: tokio::sync::Mutex::default(),
            indexing: Mutex::default(),
            refresh: super::install::Refresh::default(),
        };
        let state = engine.load(hint, first).await?;
        if state.sealed {
            // Whoever sealed it may have died before it could say so.
            if let Err(error) = super::close_life(context, &engine.keys, state.sequence).await {
                tracing::debug!(namespace = %name, %error, "a sealed life was not marked as closed");
            }
            let missing = format!("no such namespace: it was deleted. name=`{name}`");
            return Err(Error::new(ErrorKind::NotFound, missing));
        }
        *engine.state() = state;
        Ok(Arc::new(engine))
    }

    /// Throws away what is known of the log and looks for the newest state.
    pub(super) async fn reopen(&self) -> Result<()> {
        tracing::debug!(namespace = %self.name, "the known state is stale, looking for the newest");
        let found = self.load(None, None).await?;
        let mut known = self.state();
        // Another task may have read or written further while we looked.
        if found.sequence >= known.sequence {
            *known = found;
        }
        Ok(())
    }

    async fn load(&self, hint: Option<Hint>, first: Option<Look>) -> Result<State> {
        let mut first = first;
        let mut seen = None;
        let mut failure = self.too_slow();
        for attempt in 0..ATTEMPTS {
            let look = match first.take() {
                Some(look) => look,
                None => look(&self.context, &self.keys, None, None).await?,
            };
            let newest = look.newest;
            match self.assemble(look, hint.as_ref().filter(|_| attempt == 0)).await {
                Ok(state) => return Ok(state),
                // Collection or another process moved on between our lists and our reads. Where no manifest
                // came in between nothing may have been collected.
                Err(e) if e.is(ErrorKind::NotFound) => {
                    failure = if seen == Some(newest) { self.missing(&e) } else { self.too_slow() };
                    seen = Some(newest);
                }
                Err(e) => return Err(e),
            }
            self.back_off(attempt).await;
        }
        Err(failure)
    }

    /// The state that the lists of a look speak of. `NotFound` means that they were stale.
    async fn assemble(&self, look: Look, hint: Option<&Hint>) -> Result<State> {
        let manifest = self.manifest_of(look.newest, look.manifest, hint).await?;
        let (flushed, mut previous) = (manifest.flushed_through, manifest.flushed_batch);
        let stale = |why: &str| Error::new(ErrorKind::NotFound, format!("stale manifest: {why}"));
        let (listed, verified) = if look.after > flushed {
            // The hint promised more than the manifest keeps: list again from where that ends.
            let verified = self.context.env.moment();
            (list_entries(&self.context, &self.keys, flushed).await?, verified)
        } else {
            (look.entries, look.verified)
        };
        let mut tail: Vec<Sequence> = listed.into_iter().filter(|sequence| *sequence > flushed).collect();
        let dense =
            tail.iter().zip(flushed.0 + 1..).take_while(|(found, expected)| found.0 == *expected).count();
        if dense < tail.len() {
            if self.context.safeguards.hold(Safeguard::GapCheck) {
                return Err(stale("there is a gap in the log"));
            }
            tail.truncate(dense);
        }
        let backend = &self.context.backend;
        let (entries, parts) = try_join!(
            wal::read_all(backend, &self.keys, &self.schema, tail),
            self.open_parts(&manifest.segments, &look.opened)
        )?;
        let mut known = State::new(manifest, parts, verified);
        for entry in entries {
            self.check_life(&entry)?;
            if entry.head.previous != previous && self.context.safeguards.hold(Safeguard::ChainCheck) {
                return Err(stale("the chain of the log is broken"));
            }
            previous = entry.head.batch;
            let layers = self.layers_of(&entry).await?;
            known.apply(&entry.head, layers, &entry.body.tokens)?;
        }
        Ok(known)
    }

    async fn manifest_of(
        &self,
        newest: u64,
        read: Option<Manifest>,
        hint: Option<&Hint>,
    ) -> Result<Arc<Manifest>> {
        if newest == 0 {
            return Ok(Arc::new(Manifest::genesis(&self.life)));
        }
        let copied = hint.and_then(|hint| hint.manifest.as_ref());
        let copied = copied.filter(|m| m.number == newest && m.life == self.life.id);
        let manifest = match read.or_else(|| copied.cloned()) {
            Some(manifest) => manifest,
            None => manifest::read(&self.context.backend, &self.keys, newest)
                .await?
                .ok_or_else(|| Error::new(ErrorKind::NotFound, "stale list: the manifest is gone"))?,
        };
        self.check_manifest(&manifest)?;
        Ok(Arc::new(manifest))
    }

    /// Whether a manifest belongs here and can be read with this schema.
    pub(super) fn check_manifest(&self, manifest: &Manifest) -> Result<()> {
        let key = self.keys.manifest(manifest.number);
        if manifest.life != self.life.id {
            return Err(Error::corrupt(key, "it belongs to another life of the name"));
        }
        manifest.segments.iter().try_for_each(|meta| meta.check(&self.schema)).map_err(|e| e.at(key))
    }

    pub(super) fn check_life(&self, entry: &Entry) -> Result<()> {
        if entry.head.life == self.life.id {
            return Ok(());
        }
        Err(Error::corrupt(self.keys.entry(entry.head.sequence), "it belongs to another life of the name"))
    }

    /// The segments of a manifest with their dead rows, all opened together. What `known` has is not opened
    /// again.
    pub(super) async fn open_parts(&self, metas: &[SegmentMeta], known: &[Opened]) -> Result<Vec<Part>> {
        let parts = metas.iter().map(|meta| async move {
            let found = known.iter().find(|(segment, _)| segment.meta().id == meta.id);
            let segment = async {
                match found {
                    Some((segment, _)) => Ok(Arc::clone(segment)),
                    None => self.open_segment(meta).await,
                }
            };
            let deletes = async {
                match found {
                    Some((segment, Some(dead))) if segment.meta().deletes == meta.deletes => {
                        Ok(Arc::clone(dead))
                    }
                    _ => read_deletes(&self.context, &self.keys, meta).await,
                }
            };
            let (segment, deletes) = try_join!(segment, deletes)?;
            Ok(Part {
                id: crate::memtable::PartId::Segment(meta.id),
                source: Source::Segment(segment),
                deletes,
            })
        });
        try_join_all(parts).await
    }

    /// What an entry adds to the tail.
    pub(super) async fn layers_of(&self, entry: &Entry) -> Result<Vec<Layer>> {
        let sequence = entry.head.sequence;
        let links = &entry.body.segments;
        let key = self.keys.entry(sequence);
        links.iter().try_for_each(|link| link.check(&self.schema)).map_err(|e| e.at(&key))?;
        let run = Run::new(&self.schema, entry.body.rows.clone(), entry.body.deletes.clone())?;
        let segments = try_join_all(links.iter().map(|link| self.open_segment(&link.meta))).await?;
        Ok(self.layers(run, links, segments, sequence))
    }

    /// The layers of an entry with these links, whose segments are open.
    pub(super) fn layers(
        &self,
        run: Run,
        links: &[Link],
        segments: Vec<Arc<Segment>>,
        sequence: Sequence,
    ) -> Vec<Layer> {
        let id: Uuid = self.context.env.uuid();
        let run = (!run.is_empty()).then(|| Layer::run(id, run, sequence, sequence));
        let linked = segments.into_iter().zip(links);
        let linked =
            linked.map(|(segment, link)| Layer::linked(segment, Arc::new(link.dead.clone()), sequence));
        run.into_iter().chain(linked).collect()
    }
}

/// What the lists of a life show at one time.
struct Look {
    /// The newest manifest; 0 if there is none yet.
    newest: u64,
    /// The entries above `after`.
    entries: Vec<Sequence>,
    after: Sequence,
    /// Just before the entries were listed.
    verified: Moment,
    /// The newest manifest, if there was time to read it.
    manifest: Option<Manifest>,
    /// Segments opened meanwhile because the hint named them.
    opened: Vec<Opened>,
}

/// Looks at a life. If `listed` tells the newest manifest already, that is read meanwhile.
async fn look(context: &Context, keys: &LifeKeys, hint: Option<&Hint>, listed: Option<u64>) -> Result<Look> {
    let after = hint.map_or(Sequence::ZERO, |hint| hint.flushed_through);
    let verified = context.env.moment();
    let copied = hint.and_then(|hint| hint.manifest.as_ref());
    let newest = async {
        let Some(newest) = listed else {
            return Ok((manifest::latest(&context.backend, keys, 0).await?.unwrap_or(0), None));
        };
        if newest == 0 || copied.is_some_and(|manifest| manifest.number == newest) {
            return Ok((newest, None));
        }
        Ok((newest, manifest::read(&context.backend, keys, newest).await?))
    };
    let speculate = async { Ok(open_named(context, keys, copied).await) };
    let ((newest, manifest), entries, opened) =
        try_join!(newest, list_entries(context, keys, after), speculate)?;
    Ok(Look { newest, entries, after, verified, manifest, opened })
}

/// Opens what the manifest in the hint names. The hint may be stale and what it names gone: that is no error.
async fn open_named(context: &Context, keys: &LifeKeys, manifest: Option<&Manifest>) -> Vec<Opened> {
    let Some(manifest) = manifest else { return Vec::new() };
    let schema = &Arc::new(manifest.schema.clone());
    let sound = manifest.segments.iter().filter(|meta| meta.check(schema).is_ok());
    let opened = sound.map(|meta| async move {
        let Context { env, backend, cache, .. } = context;
        let segment = Segment::open(env, backend, cache, keys, schema, meta);
        let (segment, dead) = try_join!(segment, read_deletes(context, keys, meta))?;
        Ok::<_, Error>((Arc::new(segment), Some(dead)))
    });
    join_all(opened).await.into_iter().filter_map(Result::ok).collect()
}

async fn read_deletes(context: &Context, keys: &LifeKeys, meta: &SegmentMeta) -> Result<Arc<RoaringBitmap>> {
    Deletes::read(&context.backend, &keys.segment(meta.id), meta).await.map(Arc::new)
}

pub(super) async fn list_entries(
    context: &Context,
    keys: &LifeKeys,
    after: Sequence,
) -> Result<Vec<Sequence>> {
    let listed = context.backend.list(&keys.wal(), Some(&keys.entry(after))).await?;
    let mut entries: Vec<Sequence> =
        listed.iter().filter_map(|info| LifeKeys::number_of(&info.key)).map(Sequence).collect();
    entries.sort_unstable();
    Ok(entries)
}
