//! One incarnation of a namespace as a process sees it: the manifest, the tail, and how far the log is read.
//!
//! `load` finds the newest state, `follow` reads on from there, `append` takes the next number of the log,
//! `install` goes over to a newer manifest. All of them move one [`State`], which only ever grows.
//!
//! **Invariants:** the state is a prefix of the log; an entry is applied once, in order, and only when it
//! names the batch before it; `verified` is a time at which no entry beyond the state existed.

mod append;
mod follow;
mod incarnation;
mod install;
mod load;
mod probe;
mod state;
mod turns;

pub(crate) use append::{Appended, Base, Draft};
pub(crate) use incarnation::{
    create_incarnation, find_free_incarnation, list_incarnations, list_names, mark_closed,
};
pub(crate) use state::State;
pub(crate) use turns::{Turn, Turns};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::index::vector::Progress;
use crate::manifest::Incarnation;
use crate::safeguard::Safeguard;
use crate::schema::Schema;
use crate::segment::{Segment, SegmentMeta};
use crate::storage::{IncarnationKeys, NamespaceKeys};
use crate::types::{NamespaceName, Sequence, TokenRecord};
use crate::view::View;

use self::probe::Probe;

/// One incarnation of a namespace, opened.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) context: Context,
    pub(crate) name: NamespaceName,
    pub(crate) incarnation: Incarnation,
    pub(crate) names: NamespaceKeys,
    pub(crate) keys: IncarnationKeys,
    pub(crate) schema: Arc<Schema>,
    /// This process, in entries.
    writer: Uuid,
    state: Mutex<State>,
    probe: Probe,
    /// How far the indexing of each flush and compaction under way is.
    pub(crate) indexing: Mutex<Vec<Arc<Progress>>>,
    refresh: install::Refresh,
}

impl Engine {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Each change of the state is made whole before the lock is let go.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state as it stands in this process.
    ///
    /// # Errors
    /// `Deleted` after the seal.
    pub(crate) fn view(&self) -> Result<View> {
        self.view_of(&self.state())
    }

    fn view_of(&self, state: &State) -> Result<View> {
        if state.sealed {
            return Err(self.deleted());
        }
        Ok(View {
            env: self.context.env.clone(),
            schema: Arc::clone(&self.schema),
            settings: Arc::clone(&self.context.settings),
            segments: Arc::clone(&state.segments),
            layers: state.tail.layers().to_vec(),
            sequence: state.sequence,
            manifest: state.manifest.number,
        })
    }

    /// The state to flush, and the writes with a token since its manifest. What is applied from here on stays apart from it in the tail.
    ///
    /// # Errors
    /// `Deleted` after the seal.
    pub(crate) fn begin_flush(&self) -> Result<(Base, Vec<TokenRecord>)> {
        let mut state = self.state();
        let base = self.base_of(&state)?;
        let tokens = state.tokens.iter().cloned().collect();
        state.tail.begin_flush(base.view.sequence);
        Ok((base, tokens))
    }

    pub(crate) async fn open_segment(&self, meta: &SegmentMeta) -> Result<Arc<Segment>> {
        let Context { env, backend, cache, .. } = &self.context;
        Segment::open(env, backend, cache, &self.keys, &self.schema, meta).await.map(Arc::new)
    }

    pub(crate) fn deleted(&self) -> Error {
        Error::new(ErrorKind::Deleted, format!("the namespace was deleted. name=`{}`", self.name))
    }

    /// Whether a look at the log from `verified` may still be built upon: nothing that was there then can
    /// have been collected since. Asked after the answer of the store is in.
    fn trusts(&self, verified: crate::env::Moment, rule: Safeguard) -> bool {
        use crate::settings::Durability;
        if !self.context.safeguards.hold(rule) {
            return true;
        }
        let settings = &self.context.settings;
        settings.durability == Durability::Standard && self.context.env.elapsed(verified) < settings.trust()
    }

    /// How much of the tail is not flushed: bytes and entries.
    pub(crate) fn backlog(&self) -> (usize, usize) {
        let state = self.state();
        let entries = state.sequence.0.saturating_sub(state.manifest.flushed_through.0);
        (state.tail.bytes(), usize::try_from(entries).unwrap_or(usize::MAX))
    }

    /// The error of one who is always overtaken, as a process that is put to sleep for hours may be.
    pub(crate) fn too_slow(&self) -> Error {
        let why = format!("`{}` moves on faster than it can be read: try again", self.name);
        Error::new(ErrorKind::Unavailable, why)
    }

    /// The error of a file that should be there and is not, though nothing came that could have replaced it.
    fn missing(&self, cause: &Error) -> Error {
        if cause.is_missing() {
            return cause.clone();
        }
        Error::corrupt(self.keys.manifests(), format!("the newest state lacks an object ({cause})"))
    }

    /// What it means that a file of a view of manifest number `known` is gone: nothing, if a newer manifest took
    /// the place of that one, which is known here from then on.
    ///
    /// # Errors
    /// `Corrupt` if there is no newer one.
    pub(crate) async fn look_again(&self, known: u64, cause: &Error) -> Result<()> {
        let newest = self.newest_manifest().await?;
        if newest.number > known { Ok(()) } else { Err(self.missing(cause)) }
    }

    pub(crate) fn sequence(&self) -> Sequence {
        self.state().sequence
    }
}
