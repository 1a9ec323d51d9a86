//! Finding the newest state from nothing: names, then lists and the manifest, then the tail.

use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use futures::future::{join, join_all, try_join_all};
use futures::{StreamExt, TryStreamExt, try_join};
use roaring::RoaringBitmap;
use uuid::Uuid;

use super::incarnation::list_incarnations;
use super::{Engine, State};
use crate::context::Context;
use crate::env::Moment;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{self, CLOSED_BYTES_MAX, Hint, Incarnation, Manifest, OPEN_BYTES_MAX};
use crate::memtable::{Layer, Run, Source};
use crate::retry::{Backoff, RetryPolicy};
use crate::safeguard::Safeguard;
use crate::segment::{Deletes, Segment, SegmentMeta};
use crate::storage::{IncarnationKeys, NamespaceKeys, read_whole};
use crate::types::{NamespaceName, Sequence};
use crate::view::Part;
use crate::wal::{self, Entry, Link, Listed, Listing};

/// Entries whose segments are opened at a time.
const LINKS: usize = 32;
/// The incarnation that most names have: its manifests are listed before it is known to be the newest.
const FIRST_INCARNATION: u32 = 1;

/// A segment, and the dead rows as of its own meta if they have been read.
pub(super) type Opened = (Arc<Segment>, Option<Arc<RoaringBitmap>>);

impl Engine {
    /// Opens the newest incarnation of a name: three round trips, two when the hint is good and the tail is empty,
    /// four for a name that was deleted before and has no hint.
    pub(crate) fn open<'a>(
        context: &'a Context,
        name: &'a NamespaceName,
    ) -> BoxFuture<'a, Result<Arc<Self>>> {
        Box::pin(async move {
            let names = NamespaceKeys::new(name);
            let hint_key = names.hint();
            let first_incarnation = names.incarnation(FIRST_INCARNATION);
            let hint = async { Ok(Hint::read(&context.backend, &hint_key).await) };
            let listed = manifest::Page::first(&context.backend, &first_incarnation, 0);
            let (incarnations, hint, listed) = try_join!(list_incarnations(context, &names), hint, listed)?;
            let mut listed = Some(listed);
            for number in incarnations {
                let keys = names.incarnation(number);
                let hint = hint.clone().filter(|hint| hint.incarnation == number);
                let listed = if number == FIRST_INCARNATION { listed.take() } else { None };
                let known = Known::hinted(listed, hint.as_ref());
                let (begins, ends) = (keys.open(), keys.closed());
                let opened =
                    read_whole(&context.backend, &begins, OPEN_BYTES_MAX, |bytes| Incarnation::decode(bytes));
                let closed = read_whole(&context.backend, &ends, CLOSED_BYTES_MAX, |_| Ok(()));
                let records = async { try_join!(opened, closed) };
                let (records, first) = join(records, look(context, &keys, known)).await;
                let (opened, closed) = records?;
                // Whatever is in a folder without OPEN, it is no incarnation of ours.
                let Some(incarnation) = opened else { continue };
                if incarnation.name != name.as_str() || incarnation.number != number {
                    return Err(Error::corrupt(keys.open(), "it belongs to another name or incarnation"));
                }
                if closed.is_some() {
                    break;
                }
                return Self::resume(context, name, incarnation, hint, Some(first?)).await;
            }
            Err(Error::new(ErrorKind::NotFound, format!("no such namespace. name=`{name}`")))
        })
    }

    /// Opens an incarnation that has just begun.
    pub(crate) fn begin<'a>(
        context: &'a Context,
        name: &'a NamespaceName,
        incarnation: Incarnation,
    ) -> BoxFuture<'a, Result<Arc<Self>>> {
        Box::pin(async move { Self::resume(context, name, incarnation, None, None).await })
    }

    async fn resume(
        context: &Context,
        name: &NamespaceName,
        incarnation: Incarnation,
        hint: Option<Hint>,
        first: Option<Look>,
    ) -> Result<Arc<Self>> {
        let names = NamespaceKeys::new(name);
        let keys = names.incarnation(incarnation.number);
        let schema = Arc::new(incarnation.schema.clone());
        let genesis = Arc::new(Manifest::genesis(&incarnation));
        let nothing = State::new(genesis, Vec::new(), context.env.moment());
        let engine = Self {
            context: context.clone(),
            name: name.clone(),
            incarnation,
            names,
            keys,
            schema,
            writer: context.env.uuid(),
            state: nothing.into(),
            probe: super::Probe::default(),
            indexing: Mutex::default(),
            refresh: super::install::Refresh::default(),
        };
        let state = engine.load(hint, first).await?;
        if state.sealed {
            // Whoever sealed it may have died before it could say so.
            if let Err(error) = super::mark_closed(context, &engine.keys, state.sequence).await {
                tracing::debug!(namespace = %name, %error, "a sealed incarnation was not marked as closed");
            }
            let missing = format!("no such namespace: it was deleted. name=`{name}`");
            return Err(Error::new(ErrorKind::NotFound, missing));
        }
        *engine.state() = state;
        Ok(Arc::new(engine))
    }

    /// Looks for the newest state, past what is known of the log: it may have been collected.
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
        let mut backoff = Backoff::new(RetryPolicy::LOAD_STATE);
        loop {
            let look = if let Some(look) = first.take() {
                look
            } else {
                let known = Known::of(&self.state());
                look(&self.context, &self.keys, known).await?
            };
            let newest = look.newest;
            let failure =
                match self.assemble(look, hint.as_ref().filter(|_| backoff.is_first_attempt())).await {
                    Ok(state) => return Ok(state),
                    // Collection or another process moved on between our lists and our reads. Where no manifest
                    // came in between nothing may have been collected.
                    Err(e) if e.is(ErrorKind::NotFound) || e.is_missing() => {
                        let failure = match seen {
                            Some(before) if before == newest => self.missing(&e),
                            _ => self.too_slow(),
                        };
                        seen = Some(newest);
                        failure
                    }
                    Err(e) => return Err(e),
                };
            if !backoff.pause(&self.context.env).await {
                return Err(failure);
            }
        }
    }

    /// The state that the lists of a look speak of. `NotFound`, or a missing file, means that they were stale.
    async fn assemble(&self, look: Look, hint: Option<&Hint>) -> Result<State> {
        let manifest = self.manifest_of(look.newest, look.manifest, hint).await?;
        let (flushed, mut previous) = (manifest.flushed_through, manifest.flushed_batch);
        let (tail, verified) = self.tail(flushed, look.listing, (look.after, look.verified)).await?;
        let parts = self.open_parts(&manifest.segments, &look.opened);
        let backend = &self.context.backend;
        let layered = |entry: Result<Entry>| async {
            let entry = entry?;
            self.check_incarnation(&entry)?;
            let layers = self.layers_of(&entry).await?;
            Ok::<_, Error>((entry, layers))
        };
        let entries = wal::read_all(backend, &self.keys, &self.schema, tail).map(layered).buffered(LINKS);
        let (entries, parts) = try_join!(entries.try_collect::<Vec<_>>(), parts)?;
        let mut known = State::new(manifest, parts, verified);
        for (entry, layers) in entries {
            if entry.head.previous != previous && self.context.safeguards.hold(Safeguard::ChainCheck) {
                return Err(stale("the chain of the log is broken"));
            }
            previous = entry.head.batch;
            known.apply(&entry.head, layers, &entry.body.tokens)?;
        }
        Ok(known)
    }

    /// The entries after `flushed`, and just before what was known not to be there. The listing began behind
    /// `after`, at `verified`, and may end early.
    async fn tail(
        &self,
        flushed: Sequence,
        listing: Listing,
        (after, verified): (Sequence, Moment),
    ) -> Result<(Vec<Listed>, Moment)> {
        let backend = &self.context.backend;
        let reaches = |listing: &Listing| listing.entries.last().is_some_and(|last| last.sequence >= flushed);
        // A hint promised more than the manifest keeps, or the log was flushed beyond what we listed.
        let elsewhere = after > flushed || (flushed > Sequence::ZERO && !reaches(&listing));
        let (listing, verified) = if elsewhere {
            let verified = self.context.env.moment();
            (Listing::whole(backend, &self.keys, before(flushed)).await?, verified)
        } else {
            (listing.rest(backend, &self.keys).await?, verified)
        };
        let boundary = listing.entries.iter().any(|entry| entry.sequence == flushed);
        // Collection keeps the last entry that a manifest covers. Where that is gone what came after it may be.
        if !boundary && flushed > Sequence::ZERO && self.context.safeguards.hold(Safeguard::GapCheck) {
            return Err(stale(&format!("the log does not reach back to it, to entry {flushed}")));
        }
        let mut tail = listing.entries;
        tail.retain(|entry| entry.sequence > flushed);
        let expected = tail.iter().zip(flushed.0 + 1..);
        let dense = expected.take_while(|(found, expected)| found.sequence.0 == *expected).count();
        if dense < tail.len() {
            if self.context.safeguards.hold(Safeguard::GapCheck) {
                return Err(stale("there is a gap in the log"));
            }
            tail.truncate(dense);
        }
        Ok((tail, verified))
    }

    async fn manifest_of(
        &self,
        newest: u64,
        read: Option<Arc<Manifest>>,
        hint: Option<&Hint>,
    ) -> Result<Arc<Manifest>> {
        if newest == 0 {
            return Ok(Arc::new(Manifest::genesis(&self.incarnation)));
        }
        let copied = hint.and_then(|hint| hint.manifest.as_ref());
        let copied = copied.filter(|m| m.number == newest && m.incarnation == self.incarnation.id);
        let manifest = match read.or_else(|| copied.cloned().map(Arc::new)) {
            Some(manifest) => manifest,
            None => manifest::read(&self.context.backend, &self.keys, newest)
                .await?
                .map(Arc::new)
                .ok_or_else(|| stale("it is listed, but not there"))?,
        };
        self.check_manifest(&manifest)?;
        Ok(manifest)
    }

    /// Whether a manifest belongs here and can be read with this schema.
    pub(super) fn check_manifest(&self, manifest: &Manifest) -> Result<()> {
        let key = self.keys.manifest(manifest.number);
        if manifest.incarnation != self.incarnation.id {
            return Err(Error::corrupt(key, "it belongs to another incarnation of the name"));
        }
        if manifest.schema != *self.schema {
            let why = "the namespace has another schema by now, which a newer version of this crate gave it";
            return Err(Error::new(ErrorKind::UnsupportedVersion, format!("{why}. key=`{key}`")));
        }
        manifest.segments.iter().try_for_each(|meta| meta.check(&self.schema)).map_err(|e| e.at(key))
    }

    pub(super) fn check_incarnation(&self, entry: &Entry) -> Result<()> {
        if entry.head.incarnation == self.incarnation.id {
            return Ok(());
        }
        Err(Error::corrupt(
            self.keys.entry(entry.head.sequence),
            "it belongs to another incarnation of the name",
        ))
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

/// The error of a manifest that the log does not go with.
fn stale(why: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("stale manifest: {why}"))
}

/// A list from here on shows `sequence` itself.
fn before(sequence: Sequence) -> Sequence {
    Sequence(sequence.0.saturating_sub(1))
}

/// What is known of an incarnation before it is looked at.
struct Known {
    /// The log is covered this far by some manifest, or so it is said.
    flushed: Sequence,
    /// The manifest that is believed to be about the newest.
    number: u64,
    /// That manifest, if it is at hand.
    manifest: Option<Arc<Manifest>>,
    /// The number is certain: the manifest was there.
    certain: bool,
    /// The first page of all manifests.
    listed: Option<manifest::Page>,
    /// Segments that are open.
    opened: Vec<Opened>,
}

impl Known {
    /// What a hint says, which may be wrong.
    fn hinted(listed: Option<manifest::Page>, hint: Option<&Hint>) -> Self {
        Self {
            flushed: hint.map_or(Sequence::ZERO, |hint| hint.flushed_through),
            number: hint.map_or(0, |hint| hint.number),
            manifest: hint.and_then(|hint| hint.manifest.clone()).map(Arc::new),
            certain: false,
            listed,
            opened: Vec::new(),
        }
    }

    /// What this process has read: any newer manifest covers at least as much of the log.
    fn of(state: &State) -> Self {
        Self {
            flushed: state.manifest.flushed_through,
            number: state.manifest.number,
            manifest: Some(Arc::clone(&state.manifest)),
            certain: true,
            listed: None,
            opened: state.opened(),
        }
    }

    /// The newest manifest, with its contents if it is one that is at hand or if there is time to read it.
    async fn newest(
        &self,
        context: &Context,
        keys: &IncarnationKeys,
    ) -> Result<(u64, Option<Arc<Manifest>>)> {
        let backend = &context.backend;
        let newest = match &self.listed {
            _ if self.certain => manifest::latest(backend, keys, self.number).await?.unwrap_or(self.number),
            Some(page) => page.clone().newest(backend, keys, self.number).await?,
            None => {
                let supposed = manifest::latest(backend, keys, self.number.saturating_sub(1)).await?;
                match supposed {
                    None if self.number > 1 => manifest::latest(backend, keys, 0).await?.unwrap_or(0),
                    supposed => supposed.unwrap_or(0),
                }
            }
        };
        let at_hand = self.manifest.as_ref().filter(|manifest| manifest.number == newest);
        if at_hand.is_some() || newest == 0 || self.listed.is_none() {
            // One of a hint is checked before it counts.
            return Ok((newest, at_hand.filter(|_| self.certain).cloned()));
        }
        Ok((newest, manifest::read(backend, keys, newest).await?.map(Arc::new)))
    }
}

/// What the lists of an incarnation show at one time.
struct Look {
    /// The newest manifest; 0 if there is none yet.
    newest: u64,
    /// The first page of the entries from `after` on, that one included.
    listing: Listing,
    after: Sequence,
    /// Just before the entries were listed.
    verified: Moment,
    /// The newest manifest, if there was time to read it.
    manifest: Option<Arc<Manifest>>,
    /// Segments that are open.
    opened: Vec<Opened>,
}

/// Looks at an incarnation. What a hint names is opened meanwhile.
async fn look(context: &Context, keys: &IncarnationKeys, known: Known) -> Result<Look> {
    let after = known.flushed;
    let verified = context.env.moment();
    let speculate = async {
        if known.certain {
            return Ok(known.opened.clone());
        }
        Ok(open_named(context, keys, known.manifest.as_deref()).await)
    };
    let listing = Listing::page(&context.backend, keys, before(after));
    let ((newest, manifest), listing, opened) = try_join!(known.newest(context, keys), listing, speculate)?;
    Ok(Look { newest, listing, after, verified, manifest, opened })
}

/// Opens what the manifest in the hint names. The hint may be stale and what it names gone: that is no error.
async fn open_named(context: &Context, keys: &IncarnationKeys, manifest: Option<&Manifest>) -> Vec<Opened> {
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

async fn read_deletes(
    context: &Context,
    keys: &IncarnationKeys,
    meta: &SegmentMeta,
) -> Result<Arc<RoaringBitmap>> {
    Deletes::read(&context.backend, &keys.segment(meta.id), meta).await.map(Arc::new)
}
