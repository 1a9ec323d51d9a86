//! What a process knows of a namespace: a manifest, its segments, and the log up to a sequence.

use std::sync::Arc;

use roaring::RoaringBitmap;
use uuid::Uuid;

use super::writable::TailFeatures;
use crate::env::Moment;
use crate::error::Result;
use crate::manifest::Manifest;
use crate::memtable::{Layer, Memtable, PartSource};
use crate::segment::Segment;
use crate::types::{Sequence, TokenLog, TokenRecord};
use crate::view::{LiveCache, Part};
use crate::wal::{EntryHead, EntryKind};

/// A manifest, its segments, and the log up to `sequence`.
#[derive(Clone, Debug)]
pub(crate) struct EngineState {
    pub(crate) manifest: Arc<Manifest>,
    /// Just before a request that showed the manifest to be the newest.
    pub(super) manifest_newest_at: Moment,
    pub(crate) segments: Arc<Vec<Part>>,
    pub(crate) memtable: Memtable,
    /// What is known of the live rows of the segments and the layers.
    pub(crate) live: Arc<LiveCache>,
    pub(crate) sequence: Sequence,
    /// The batch of the entry at `sequence`.
    pub(crate) last_batch: Uuid,
    /// Just before a request that proved the entry after `sequence` absent.
    pub(crate) verified: Moment,
    pub(crate) sealed: bool,
    /// Writes with a token since the manifest, oldest first.
    pub(crate) tokens: TokenLog,
    /// Which processes wrote the entries of the tail.
    writers: TailWriters,
    /// What these entries require of writers.
    pub(super) tail_features: TailFeatures,
}

/// Which processes wrote the entries of the tail, as far as a flush needs it.
#[derive(Clone, Copy, Debug)]
enum TailWriters {
    None,
    One(Uuid),
    Several,
}

/// A segment that is open, and the dead rows as of its own meta if they have been read.
#[derive(Clone)]
pub(super) struct OpenedSegment {
    pub(super) segment: Arc<Segment>,
    pub(super) dead: Option<Arc<RoaringBitmap>>,
}

impl EngineState {
    /// The state of a manifest, before any entry of its tail. `newest_at` is just before the manifests were listed, and
    /// `verified` just before the log was.
    pub(super) fn new(
        manifest: Arc<Manifest>,
        segments: Vec<Part>,
        newest_at: Moment,
        verified: Moment,
    ) -> Self {
        Self {
            manifest_newest_at: newest_at,
            sequence: manifest.flushed_through,
            last_batch: manifest.flushed_batch,
            manifest,
            segments: Arc::new(segments),
            memtable: Memtable::default(),
            live: Arc::default(),
            verified,
            sealed: false,
            tokens: TokenLog::default(),
            writers: TailWriters::None,
            tail_features: TailFeatures::default(),
        }
    }

    /// The segments that are open, of the manifest and of the tail.
    pub(super) fn opened_segments(&self) -> Vec<OpenedSegment> {
        let parts = self.segments.iter().map(|part| &part.source);
        let layers = self.memtable.layers().iter().map(|layer| layer.source());
        // The dead rows that are known here are of the manifest's meta, not of the meta the segment was opened by.
        let opened = |source: &PartSource| match source {
            PartSource::Segment(segment) => Some(OpenedSegment { segment: Arc::clone(segment), dead: None }),
            PartSource::Memory(_) => None,
        };
        parts.chain(layers).filter_map(opened).collect()
    }

    /// Applies the entry after `sequence`. An entry that a quicker reader of this process has applied already changes
    /// nothing.
    pub(super) fn apply_entry(
        &mut self,
        head: &EntryHead,
        layers: Vec<Layer>,
        tokens: &[TokenRecord],
    ) -> Result<()> {
        if head.sequence != self.sequence.next() {
            return Ok(());
        }
        // Pushing a layer may fail halfway: the state changes only once the whole entry is in the new tail.
        let mut tail = self.memtable.clone();
        for layer in layers {
            tail.push(layer)?;
        }
        self.memtable = tail;
        self.renew_live_rows();
        self.sequence = head.sequence;
        self.last_batch = head.batch;
        self.sealed |= head.kind == EntryKind::Seal;
        self.tokens.extend(tokens.iter().cloned());
        self.tail_features.apply_entry(head);
        self.writers = match self.writers {
            TailWriters::None => TailWriters::One(head.writer),
            TailWriters::One(writer) if writer == head.writer => self.writers,
            TailWriters::One(_) | TailWriters::Several => TailWriters::Several,
        };
        Ok(())
    }

    /// Whether several processes wrote what is in the tail, each of which may be about to flush it.
    pub(crate) fn has_several_writers(&self) -> bool {
        matches!(self.writers, TailWriters::Several)
    }

    /// Records that a request sent at `sent` showed no newer manifest than the one that is known now.
    pub(super) fn record_newest_manifest(&mut self, sent: Moment) {
        // Requests overlap, and the answer of an older one must not take the time back.
        if self.manifest_newest_at.is_before(sent) {
            self.manifest_newest_at = sent;
        }
    }

    /// Replaces the manifest by a newer one. The log may be known further than the manifest reaches, or less far.
    pub(super) fn install_manifest(&mut self, manifest: Arc<Manifest>, segments: Vec<Part>) {
        // Two tasks may have read manifests at once; the one that finishes last must not take the state back.
        if manifest.number <= self.manifest.number {
            return;
        }
        let flushed = manifest.flushed_through;
        self.memtable.drop_through(flushed);
        self.tokens.forget_through(flushed);
        self.tail_features.forget_through(flushed);
        if flushed > self.sequence {
            // Entries in between were never read here: their rows come with the segments. `verified` stays, for this
            // proves nothing about the entry after `flushed`.
            self.sequence = flushed;
            self.last_batch = manifest.flushed_batch;
        }
        if self.memtable.layers().is_empty() {
            self.writers = TailWriters::None;
        }
        self.manifest = manifest;
        self.segments = Arc::new(segments);
        self.renew_live_rows();
    }

    /// To be called after each change of the segments or the layers.
    fn renew_live_rows(&mut self) {
        // Nothing is looked up here, under the lock of the state: the first query does.
        let layers = self.memtable.layers().iter().map(|layer| layer.id());
        let parts = self.segments.iter().map(|part| part.id).chain(layers);
        self.live = Arc::new(self.live.successor(parts));
    }
}
