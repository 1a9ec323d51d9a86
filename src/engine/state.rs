//! What a process knows of a namespace.

use std::sync::Arc;

use uuid::Uuid;

use super::load::Opened;
use crate::env::Moment;
use crate::error::Result;
use crate::manifest::Manifest;
use crate::memtable::{Layer, Source, Tail};
use crate::types::{Sequence, TokenLog, TokenRecord};
use crate::view::Part;
use crate::wal::{EntryHead, EntryKind};

/// A manifest, its segments, and the log up to `sequence`.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) segments: Arc<Vec<Part>>,
    pub(crate) tail: Tail,
    pub(crate) sequence: Sequence,
    /// The batch of the entry at `sequence`.
    pub(crate) last_batch: Uuid,
    /// Just before a request that proved the entry after `sequence` absent.
    pub(crate) verified: Moment,
    pub(crate) sealed: bool,
    /// Writes with a token since the manifest, oldest first.
    pub(crate) tokens: TokenLog,
    /// Who wrote the entries of the tail.
    writers: Writers,
}

/// Who wrote some entries.
#[derive(Clone, Copy, Debug)]
enum Writers {
    None,
    One(Uuid),
    Several,
}

impl State {
    /// The state of a manifest, before any entry of its tail.
    pub(super) fn new(manifest: Arc<Manifest>, segments: Vec<Part>, verified: Moment) -> Self {
        Self {
            sequence: manifest.flushed_through,
            last_batch: manifest.flushed_batch,
            manifest,
            segments: Arc::new(segments),
            tail: Tail::default(),
            verified,
            sealed: false,
            tokens: TokenLog::default(),
            writers: Writers::None,
        }
    }

    /// The segments that are open, of the manifest and of the tail.
    pub(super) fn opened(&self) -> Vec<Opened> {
        let parts = self.segments.iter().map(|part| &part.source);
        let layers = self.tail.layers().iter().map(|layer| layer.source());
        let segment = |source: &Source| match source {
            Source::Segment(segment) => Some((Arc::clone(segment), None)),
            Source::Run(_) => None,
        };
        parts.chain(layers).filter_map(segment).collect()
    }

    /// Applies the entry after `sequence`. One that was applied already, by a reader that was quicker, is no
    /// news.
    pub(super) fn apply(
        &mut self,
        head: &EntryHead,
        layers: Vec<Layer>,
        tokens: &[TokenRecord],
    ) -> Result<()> {
        if head.sequence != self.sequence.next() {
            return Ok(());
        }
        let mut tail = self.tail.clone();
        for layer in layers {
            tail.push(layer)?;
        }
        self.tail = tail;
        self.sequence = head.sequence;
        self.last_batch = head.batch;
        self.sealed |= head.kind == EntryKind::Seal;
        self.tokens.extend(tokens.iter().cloned());
        self.writers = match self.writers {
            Writers::None => Writers::One(head.writer),
            Writers::One(writer) if writer == head.writer => self.writers,
            Writers::One(_) | Writers::Several => Writers::Several,
        };
        Ok(())
    }

    /// Whether several processes wrote what is in the tail, each of which may be about to flush it.
    pub(crate) fn has_several_writers(&self) -> bool {
        matches!(self.writers, Writers::Several)
    }

    /// Goes over to a newer manifest. The log may be known further than it reaches, or less far.
    pub(super) fn install(&mut self, manifest: Arc<Manifest>, segments: Vec<Part>) {
        if manifest.number <= self.manifest.number {
            return;
        }
        let flushed = manifest.flushed_through;
        self.tail.drop_through(flushed);
        self.tokens.forget_through(flushed);
        if flushed > self.sequence {
            self.sequence = flushed;
            self.last_batch = manifest.flushed_batch;
        }
        if self.tail.layers().is_empty() {
            self.writers = Writers::None;
        }
        self.manifest = manifest;
        self.segments = Arc::new(segments);
    }
}
