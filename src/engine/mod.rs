//! One incarnation of a namespace as a process sees it: the manifest, the tail, and how far the log is read.
//!
//! `open` and `load` find the newest state, `follow` reads on from there, `append` takes the next number of the log,
//! `install` replaces the manifest by a newer one. All of them move one [`EngineState`], which only ever grows.
//!
//! **Invariants:** the state is a prefix of the log; an entry is applied once, in order, and only when it
//! names the batch before it; `verified` is a time at which no entry beyond the state existed.

mod append;
mod birth;
mod coalesce;
mod discover;
mod failures;
mod follow;
mod incarnation;
mod install;
mod load;
mod log_probe;
mod objects;
mod open;
mod segments;
mod state;
mod tokens;
mod writable;

pub(crate) use append::{AppendOutcome, BaseState, EntryDraft};
pub(crate) use birth::Birth;
pub(crate) use coalesce::{Coalescer, SharedRun};
pub(crate) use incarnation::{
    create_incarnation, find_free_incarnation, list_incarnations, list_names, mark_closed,
};
pub(crate) use state::EngineState;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use self::install::RefreshSchedule;
use self::log_probe::LogProbe;
use self::objects::IncarnationReader;
use self::tokens::TokenLists;
use crate::codec::u64_of;
use crate::context::Context;
use crate::env::Moment;
use crate::error::{Error, ErrorKind, Result};
use crate::index::vector::TrainingProgress;
use crate::manifest::Incarnation;
use crate::safeguard::Safeguard;
use crate::schema::{Schema, SchemaVersions};
use crate::settings::Settings;
use crate::storage::{IncarnationKeys, NamespaceKeys};
use crate::types::{NamespaceName, Sequence, TokenRecord};
use crate::view::View;

/// One incarnation of a namespace, opened.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) context: Context,
    pub(crate) name: NamespaceName,
    pub(crate) incarnation: Incarnation,
    pub(crate) names: NamespaceKeys,
    pub(crate) keys: IncarnationKeys,
    pub(crate) schema: Arc<Schema>,
    /// The versions of the schema that segments and entries may have been written with; `schema` is the current one.
    schemas: SchemaVersions,
    /// The id of this process in the entries it writes.
    writer: Uuid,
    state: Mutex<EngineState>,
    probe: LogProbe,
    /// How far the indexing of each flush and compaction under way is.
    pub(crate) indexing: Mutex<Vec<Arc<TrainingProgress>>>,
    refresh: RefreshSchedule,
    tokens: TokenLists,
}

/// What of the tail is not flushed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backlog {
    pub(crate) bytes: usize,
    pub(crate) entries: u64,
}

impl Backlog {
    /// Whether a flush is due.
    pub(crate) fn calls_for_flush(self, settings: &Settings) -> bool {
        self.bytes > settings.tail_bytes_flush || self.entries > u64_of(settings.tail_entries_flush)
    }
}

impl Engine {
    fn new(context: Context, name: NamespaceName, incarnation: Incarnation, state: EngineState) -> Self {
        let names = NamespaceKeys::new(&name);
        let keys = names.incarnation(incarnation.number);
        Self {
            writer: context.env.uuid(),
            context,
            name,
            incarnation,
            names,
            keys,
            schema: Arc::clone(state.manifest.schemas.current()),
            schemas: state.manifest.schemas.clone(),
            state: Mutex::new(state),
            probe: LogProbe::default(),
            indexing: Mutex::default(),
            refresh: RefreshSchedule::default(),
            tokens: TokenLists::default(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, EngineState> {
        // Each change of the state is completed before the lock is released, so a panic elsewhere leaves it sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> IncarnationReader<'_> {
        IncarnationReader {
            context: &self.context,
            incarnation: &self.incarnation,
            keys: &self.keys,
            schemas: &self.schemas,
        }
    }

    /// The state as it is known to this process.
    ///
    /// # Errors
    /// `Deleted` after the seal.
    pub(crate) fn view(&self) -> Result<View> {
        self.view_of_state(&self.state())
    }

    fn view_of_state(&self, state: &EngineState) -> Result<View> {
        if state.sealed {
            return Err(self.deleted_error());
        }
        let view = View::new(
            self.context.env.clone(),
            Arc::clone(&self.schema),
            Arc::clone(&self.context.settings),
            Arc::clone(&state.segments),
            state.memtable.layers().to_vec(),
            (state.sequence, state.manifest.number),
        );
        Ok(view.with_live(&state.live))
    }

    /// The state to flush, and the writes with a token since its manifest. Entries that are applied from here on stay
    /// apart from it in the tail.
    ///
    /// # Errors
    /// `Deleted` after the seal.
    pub(crate) fn begin_flush(&self) -> Result<(BaseState, Vec<TokenRecord>)> {
        // Under one lock: an entry that came in between would be in the tokens and not in the segment, or be merged
        // into a layer that the flush is about to drop.
        let mut state = self.state();
        let base = self.base_of_state(&state)?;
        let tokens = state.tokens.iter().cloned().collect();
        state.memtable.begin_flush(base.view.sequence);
        Ok((base, tokens))
    }

    fn deleted_error(&self) -> Error {
        Error::new(ErrorKind::Deleted, format!("the namespace was deleted. name=`{}`", self.name))
    }

    fn is_fresh(&self, seen: Moment, rule: Safeguard) -> bool {
        self.context.is_fresh(seen, rule)
    }

    /// How much of the tail is not flushed.
    pub(crate) fn backlog(&self) -> Backlog {
        let state = self.state();
        // invariant: `sequence` never falls behind `flushed_through`; the subtraction saturates only to bound an
        // estimate.
        let entries = state.sequence.0.saturating_sub(state.manifest.flushed_through.0);
        Backlog { bytes: state.memtable.bytes(), entries }
    }

    /// The error of a process that is always overtaken.
    pub(crate) fn overtaken_error(&self) -> Error {
        failures::overtaken(&self.name)
    }

    /// Looks for the reason why a file of manifest number `known` is gone. A newer manifest that replaced that one is
    /// no error, and is known here from then on.
    ///
    /// # Errors
    /// `Corrupt` if there is no newer manifest: the file is lost.
    pub(crate) async fn explain_missing_file(&self, known: u64, cause: &Error) -> Result<()> {
        let newest = self.refresh_newest_manifest().await?;
        if newest.number > known { Ok(()) } else { Err(failures::missing_object(&self.keys, cause)) }
    }

    pub(crate) fn sequence(&self) -> Sequence {
        self.state().sequence
    }
}
