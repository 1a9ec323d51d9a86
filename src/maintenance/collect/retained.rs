//! What has to stay: the manifests that live, and what they and the log refer to.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use super::super::STARTS_MAX;
use super::references::{Fate, Reference, add_links, add_manifest};
use super::report::{Garbage, GarbageObject, GarbageReason};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::manifest::{self, ListedManifest, Manifest};
use crate::safeguard::Safeguard;
use crate::settings::Settings;
use crate::storage::ObjectInfo;
use crate::types::Sequence;

/// Manifests that are read at a time. Only what they refer to is kept in memory.
const READS: usize = 8;

/// What has to stay of an incarnation. In memory are the names of the objects that live: about a hundred bytes for each.
pub(super) struct Retained {
    /// The oldest manifest that lives. It and all after it are kept.
    oldest: u64,
    /// The entry at which its tail begins. It and all after it are kept.
    flushed_through: Sequence,
    /// What kept manifests and the tail of the log refer to.
    references: BTreeSet<Reference>,
    /// Manifests up to this one are among the kept ones.
    read_through: u64,
    /// The number and the nonce of the last that was read.
    last: Option<(u64, Uuid)>,
}

impl Retained {
    /// What has to stay as of now. `None` if no manifest has been replaced for long enough: then everything does.
    pub(super) async fn find(engine: &Arc<Engine>) -> Result<Option<Self>> {
        for _ in 0..STARTS_MAX {
            // First of all: a namespace that was deleted is told so, and has no hint.
            engine.catch_up().await?;
            engine.refresh_for_commit().await?;
            if engine.base_state()?.manifest.number == 0 {
                return Ok(None);
            }
            let Some(oldest) = find_oldest_live(engine).await? else { return Ok(None) };
            let mut retained = Self {
                oldest,
                flushed_through: Sequence::ZERO,
                references: BTreeSet::new(),
                read_through: oldest.saturating_sub(1),
                last: None,
            };
            if retained.read_known(engine).await? {
                return Ok(Some(retained));
            }
        }
        Err(engine.overtaken_error())
    }

    /// Adds the tail and the manifests that are there now. `false`: another collection, which knows of newer ones, has
    /// deleted one that was to be read.
    pub(super) async fn read_known(&mut self, engine: &Engine) -> Result<bool> {
        let safeguards = engine.context.safeguards;
        // Before the manifests are listed: what is flushed in between is named by the tail here, or by a manifest there.
        let tail = engine.base_state()?;
        add_links(&tail, safeguards, &mut self.references);
        let (backend, keys) = (&engine.context.backend, &engine.keys);
        loop {
            let newest = manifest::find_latest(backend, keys, self.read_through).await?;
            // invariant: where nothing is listed above those that were read, the known one is the newest.
            let newest = newest.unwrap_or(0).max(tail.manifest.number);
            if newest <= self.read_through {
                return Ok(true);
            }
            // By number: a list may lack one that was put while it was read.
            let numbers = stream::iter(self.read_through + 1..=newest);
            let reads = numbers.map(|number| manifest::read_manifest(backend, keys, number)).buffered(READS);
            let mut reads = pin!(reads);
            while let Some(read) = reads.try_next().await? {
                // After a sleep, a number may have been collected and taken by a process that slept as well. The next
                // manifest does not descend from what that one put, and the newest has not been collected.
                let follows = |read: &Manifest| {
                    self.last.is_none_or(|(number, nonce)| read.descends_from(number, nonce))
                };
                let Some(read) = read.filter(follows) else { return Ok(false) };
                self.add(engine, &read)?;
            }
        }
    }

    fn add(&mut self, engine: &Engine, read: &Manifest) -> Result<()> {
        // A bucket may have been copied or restored object by object: then nothing is certain.
        if read.incarnation != engine.incarnation.id {
            let key = engine.keys.manifest(read.number);
            return Err(Error::corrupt(key, "it belongs to another incarnation of the name"));
        }
        if read.number == self.oldest {
            self.flushed_through = read.flushed_through;
        }
        add_manifest(read, engine.context.safeguards, &mut self.references);
        self.read_through = self.read_through.max(read.number);
        self.last = Some((read.number, read.nonce));
        Ok(())
    }

    /// The manifest and the entry below which nothing is kept for its number alone.
    pub(super) fn floors(&self) -> (u64, Sequence) {
        (self.oldest, self.flushed_through)
    }

    /// Those of some objects that nothing needs any more.
    pub(super) fn find_garbage(&self, engine: &Engine, objects: &[ObjectInfo]) -> Vec<GarbageObject> {
        let judge = |info: &ObjectInfo| {
            // What has another name belongs to a later version, or to somebody else.
            let object = engine.keys.object_of(&info.key)?;
            let reason = self.judge(engine, Fate::of(object, engine.context.safeguards))?;
            let garbage = Garbage { key: info.key.clone(), bytes: info.size, reason };
            Some(GarbageObject { garbage, object })
        };
        objects.iter().filter_map(judge).collect()
    }

    /// Why an object is garbage; `None` if it stays.
    fn judge(&self, engine: &Engine, fate: Fate) -> Option<GarbageReason> {
        match fate {
            Fate::Stays => None,
            Fate::Manifest(number) => (number < self.oldest).then_some(GarbageReason::Replaced),
            // The last entry that a manifest covers stays: whoever is behind sees a gap by it.
            Fate::Entry(sequence) => (sequence < self.flushed_through).then_some(GarbageReason::Flushed),
            Fate::Referred { by, birth } => {
                let may_come = birth >= self.oldest && engine.context.safeguards.hold(Safeguard::BirthFloor);
                (!may_come && !self.references.contains(&by)).then_some(GarbageReason::Unnamed)
            }
        }
    }
}

/// The oldest manifest that lives: the newest of those that are older than the grace. Those before it were replaced, at
/// the latest by it, for at least that long; those after it were not, or are the newest.
async fn find_oldest_live(engine: &Engine) -> Result<Option<u64>> {
    // Times are compared with each other only: all are of the store's clock. One beyond now, from before that clock was set
    // back, is no age; taken for now, it would make all others old.
    let now = engine.store_time_ms().await?;
    let listed = manifest::list_manifests(&engine.context.backend, &engine.keys).await?;
    let is_old = |listed: &&ListedManifest| {
        let grace = engine.context.settings.grace_period();
        age(listed, now) >= grace || !engine.context.safeguards.hold(Safeguard::Grace)
    };
    Ok(listed.iter().filter(is_old).map(|listed| listed.number).max())
}

/// When the oldest manifest was replaced, by the store's clock; `None` if there is no other. One list.
pub(in crate::maintenance) async fn find_replacement(engine: &Engine) -> Result<Option<Replacement>> {
    let listed = manifest::list_manifests(&engine.context.backend, &engine.keys).await?;
    let newest_ms = listed.iter().map(|listed| listed.modified_ms).max();
    // The second one replaced the oldest.
    Ok(listed.into_iter().nth(1).zip(newest_ms).map(|(second, newest_ms)| Replacement { second, newest_ms }))
}

/// The manifest that replaced the oldest one on the store.
pub(in crate::maintenance) struct Replacement {
    second: ListedManifest,
    /// A time that the store's clock has come to.
    newest_ms: i64,
}

impl Replacement {
    /// Whether a collection now and then would not have left the oldest manifest, as far as the manifests tell the time.
    pub(in crate::maintenance) fn is_overdue(&self, settings: &Settings) -> bool {
        age(&self.second, self.newest_ms) > settings.grace_period() + settings.trust_period()
    }

    /// Whether a collection deletes the oldest manifest, if it is `now_ms` or later.
    pub(in crate::maintenance) fn is_due(&self, settings: &Settings, now_ms: i64) -> bool {
        age(&self.second, self.newest_ms.max(now_ms)) >= settings.grace_period()
    }
}

fn age(listed: &ListedManifest, now_ms: i64) -> Duration {
    // invariant: a manifest that is younger than `now` has no age yet.
    Duration::from_millis(u64::try_from(now_ms.saturating_sub(listed.modified_ms)).unwrap_or(0))
}
