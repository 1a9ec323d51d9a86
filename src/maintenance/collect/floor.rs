//! The floor of a collection: from when on no correct process refers to what was born below it.

use std::sync::Arc;

use super::super::{CommitAttempts, STARTS_MAX};
use super::retained::Retained;
use crate::engine::{Engine, EntryDraft};
use crate::error::{Error, ErrorKind, Result};
use crate::memtable::MemRows;
use crate::safeguard::Safeguard;
use crate::wal::{EntryBody, EntryKind};

/// Raises the floor to the oldest manifest that lives, and adds to what has to stay all that refers to something born below
/// it. From then on nothing else will.
pub(super) async fn raise_floor(engine: &Arc<Engine>, retained: &mut Retained) -> Result<()> {
    commit_floor(engine, retained).await?;
    if engine.context.safeguards.hold(Safeguard::LogFence) {
        fence_log(engine).await?;
    }
    // Manifests after the floor name what their predecessors name, what entries link, and what was born above it.
    if retained.read_known(engine).await? { Ok(()) } else { Err(engine.overtaken_error()) }
}

/// Commits a manifest with the floor, unless there is one already.
async fn commit_floor(engine: &Arc<Engine>, retained: &Retained) -> Result<()> {
    let (oldest, flushed_through) = retained.floors();
    let mut attempts = CommitAttempts::new(engine);
    loop {
        engine.refresh_for_commit().await?;
        let newest = engine.base_state()?.manifest;
        if newest.floors.segment >= oldest {
            return Ok(());
        }
        let env = &engine.context.env;
        let mut next = newest.successor(env.uuid(), env.wall_ms());
        next.floors.raise(oldest, flushed_through);
        if engine.commit_manifest(next).await? {
            return Ok(());
        }
        attempts.record_loss().await?;
    }
}

/// Returns once an entry is known that was put after the floor was raised. A writer links a segment born below the floor
/// only in an entry that it prepared before, for a number that was free then: that number is not above this entry's.
async fn fence_log(engine: &Arc<Engine>) -> Result<()> {
    for _ in 0..STARTS_MAX {
        engine.catch_up().await?;
        let base = engine.base_state()?;
        // An empty entry, which changes nothing. If another takes the number first, its entry serves as well: it was not
        // there after the floor was raised.
        let rows = MemRows::empty(&engine.schema)?.rows().clone();
        let body = EntryBody { rows, deletes: Vec::new(), segments: Vec::new(), tokens: Vec::new() };
        let batch = engine.context.env.uuid();
        let draft = EntryDraft { kind: EntryKind::Data, batch, body, linked: Vec::new() };
        match engine.append(&base, &draft).await {
            Ok(_) if engine.sequence() > base.view.sequence => return Ok(()),
            Ok(_) => {}
            Err(error) if error.is(ErrorKind::Indeterminate) => {
                let why = format!("the log could not be fenced: {error}");
                return Err(Error::new(ErrorKind::Unavailable, why));
            }
            Err(error) => return Err(error),
        }
    }
    Err(engine.overtaken_error())
}
