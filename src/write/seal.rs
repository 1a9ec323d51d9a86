//! The seal: the last entry of an incarnation, by which a namespace is deleted.

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::engine::{AppendOutcome, Engine, EntryDraft};
use crate::error::Result;
use crate::memtable::MemRows;
use crate::types::Sequence;
use crate::wal::{EntryBody, EntryKind};

/// Appends the seal and returns its sequence.
pub(crate) fn seal(engine: &Arc<Engine>) -> BoxFuture<'_, Result<Sequence>> {
    Box::pin(async move {
        let batch = engine.context.env.uuid();
        // Competes for its number like any entry. A writer that races it either lands before it or reads the seal and
        // stops, so no acknowledged write is ever behind it. There is no limit of attempts: who deletes a namespace
        // wants the writers to lose.
        loop {
            let base = engine.base_state()?;
            let rows = MemRows::empty(&engine.schema)?.rows().clone();
            let body = EntryBody { rows, deletes: Vec::new(), segments: Vec::new(), tokens: Vec::new() };
            let draft = EntryDraft { kind: EntryKind::Seal, batch, body, linked: Vec::new() };
            if let AppendOutcome::Appended(sequence) = engine.append(&base, &draft).await? {
                return Ok(sequence);
            }
            engine.catch_up().await?;
        }
    })
}
