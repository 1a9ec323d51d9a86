//! What manifests and the log refer to: the one place where all kinds of references are listed.
//!
//! Records are taken apart field by field, so that a field that is added does not compile before somebody has decided here
//! whether it refers to an object.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::engine::BaseState;
use crate::manifest::Manifest;
use crate::memtable::PartSource;
use crate::safeguard::{Safeguard, Safeguards};
use crate::segment::SegmentMeta;
use crate::storage::{IncarnationObject, SegmentFile};
use crate::types::{ObjectId, Sequence};

/// What a record refers to, apart from manifests and entries, which go by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reference {
    /// All files of a segment but those of dead rows.
    Segment(ObjectId),
    /// A file of dead rows.
    Deletes {
        segment: ObjectId,
        manifest: u64,
        nonce: Uuid,
    },
    Centroids(ObjectId),
    Tokens(ObjectId),
}

/// What an object is kept or deleted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is never deleted: a marker of the incarnation.
    Stays,
    /// A manifest of this number.
    Manifest(u64),
    /// An entry of the log.
    Entry(Sequence),
    /// It stays as long as something refers to it, or may come to refer to it because of its birth.
    Referred { by: Reference, birth: u64 },
}

impl Fate {
    /// That of an object.
    pub(super) fn of(object: IncarnationObject, safeguards: Safeguards) -> Self {
        match object {
            IncarnationObject::Open | IncarnationObject::Closed => Self::Stays,
            IncarnationObject::Manifest(number) => Self::Manifest(number),
            IncarnationObject::Entry(sequence) => Self::Entry(sequence),
            IncarnationObject::SegmentFile(segment, SegmentFile::Deletes { manifest, nonce }) => {
                let by = Reference::Deletes { segment, manifest, nonce };
                // The manifest that it was written for is the first that may name it, however old the segment is: it was
                // made when the one before was the newest.
                let own = safeguards.hold(Safeguard::DeletesBirth);
                Self::Referred { by, birth: if own { manifest.saturating_sub(1) } else { segment.birth } }
            }
            IncarnationObject::SegmentFile(
                id,
                SegmentFile::Rows | SegmentFile::Index | SegmentFile::Text | SegmentFile::Vector(_),
            ) => Self::Referred { by: Reference::Segment(id), birth: id.birth },
            IncarnationObject::Centroids(id) => {
                Self::Referred { by: Reference::Centroids(id), birth: id.birth }
            }
            IncarnationObject::Tokens(id) => Self::Referred { by: Reference::Tokens(id), birth: id.birth },
        }
    }
}

/// Adds what a manifest refers to.
pub(super) fn add_manifest(manifest: &Manifest, safeguards: Safeguards, to: &mut BTreeSet<Reference>) {
    let Manifest {
        segments,
        centroids,
        tokens,
        dropped,
        // The entry that the log goes on from is kept by its number.
        flushed_through: _,
        // These name manifests, which nobody reads again.
        ring: _,
        number: _,
        nonce: _,
        incarnation: _,
        flushed_batch: _,
        floors: _,
        schemas: _,
        features: _,
        created_ms: _,
        created_by: _,
        // What another version added refers to names that this one does not know, or comes with a feature.
        unknown: _,
    } = manifest;
    for meta in segments {
        add_segment(meta, safeguards, to);
    }
    to.extend(centroids.values().map(|set| Reference::Centroids(set.id)));
    to.extend(tokens.iter().map(|list| Reference::Tokens(list.id)));
    if safeguards.hold(Safeguard::KeptDropped) {
        to.extend(dropped.iter().map(|id| Reference::Segment(*id)));
    }
}

/// Adds what the tail of the log refers to: segments that its entries link.
pub(super) fn add_links(tail: &BaseState, safeguards: Safeguards, to: &mut BTreeSet<Reference>) {
    if !safeguards.hold(Safeguard::KeptLinks) {
        return;
    }
    for layer in &tail.view.layers {
        match layer.source() {
            // Layers of linked segments are never merged: each link of the tail has one.
            PartSource::Segment(segment) => add_segment(segment.meta(), safeguards, to),
            PartSource::Memory(_) => {}
        }
    }
}

/// Adds a segment and what it refers to.
fn add_segment(meta: &SegmentMeta, safeguards: Safeguards, to: &mut BTreeSet<Reference>) {
    let SegmentMeta {
        id,
        // Files of the segment, which stay together.
        parquet: _,
        index: _,
        vectors: _,
        text: _,
        deletes,
        centroids,
        schema: _,
        order: _,
        rows: _,
        sequences: _,
        id_min: _,
        id_max: _,
        statistics: _,
        unfit: _,
        unknown: _,
    } = meta;
    to.insert(Reference::Segment(*id));
    to.extend(deletes.iter().map(|file| Reference::Deletes {
        segment: *id,
        manifest: file.manifest,
        nonce: file.nonce,
    }));
    if safeguards.hold(Safeguard::KeptCentroids) {
        to.extend(centroids.values().map(|set| Reference::Centroids(set.id)));
    }
}
