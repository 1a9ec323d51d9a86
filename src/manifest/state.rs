//! The manifest itself: what it holds, how the next is made from it, and its bytes.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::incarnation::{Incarnation, created_by};
use super::tokens::TokensMeta;
use crate::codec::{CodecError, FeatureUser, Featured, Features, Frame, UnknownFields};
use crate::index::vector::CentroidsMeta;
use crate::schema::SchemaVersions;
use crate::segment::SegmentMeta;
use crate::storage::NUMBER_MAX;
use crate::types::{ColumnId, ObjectId, Sequence};

const FRAME: Frame = Frame { what: "manifest", version: 1 };
/// How many ancestors a manifest remembers: by them a slow committer finds out whether its commit counts. One that is more
/// manifests late cannot, and treats its commit as lost, which costs it the work and nothing else.
const RING_MAX: usize = 64;

/// The whole state of a namespace up to `flushed_through`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) number: u64,
    /// Distinguishes this manifest from others that were made for the same number.
    pub(crate) nonce: Uuid,
    /// The incarnation of the namespace.
    pub(crate) incarnation: Uuid,
    /// Entries up to here are in segments.
    pub(crate) flushed_through: Sequence,
    /// The batch of that entry: the next entry of the log names it.
    pub(crate) flushed_batch: Uuid,
    /// Objects below these are not searched for.
    pub(crate) floors: Floors,
    /// The versions of the schema that the segments were written with, and the current one.
    pub(crate) schemas: SchemaVersions,
    pub(crate) segments: Vec<SegmentMeta>,
    /// The centroid set that new segments are indexed by, by vector column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) centroids: BTreeMap<ColumnId, CentroidsMeta>,
    /// The list of the last writes with an idempotency token; `None` if there was none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tokens: Option<TokensMeta>,
    /// Segments that entries up to `flushed_through` link and that had no live row any more when they were flushed. Earlier
    /// manifests need them with their tails, and no manifest names them among its segments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) dropped: Vec<ObjectId>,
    /// The last manifests before this one, oldest first: number and nonce.
    pub(crate) ring: Vec<(u64, Uuid)>,
    #[serde(default, skip_serializing_if = "Features::is_empty")]
    pub(crate) features: Features,
    pub(crate) created_ms: i64,
    pub(crate) created_by: String,
    #[serde(flatten)]
    pub(crate) unknown: UnknownFields,
}

/// How far garbage collection has been: below a floor there may be nothing left. Only collection raises floors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Floors {
    pub(crate) manifest: u64,
    pub(crate) segment: u64,
    pub(crate) wal: Sequence,
    #[serde(flatten)]
    unknown: UnknownFields,
}

impl Floors {
    /// Raises the floors to a manifest that covers the log up to `flushed_through`. They never fall.
    pub(crate) fn raise(&mut self, manifest: u64, flushed_through: Sequence) {
        self.manifest = self.manifest.max(manifest);
        self.segment = self.segment.max(manifest);
        self.wal = self.wal.max(flushed_through);
    }
}

impl Manifest {
    /// The state of a new incarnation: no object holds it, its number is 0.
    pub(crate) fn genesis(incarnation: &Incarnation) -> Self {
        Self {
            number: 0,
            nonce: Uuid::nil(),
            incarnation: incarnation.id,
            flushed_through: Sequence::ZERO,
            flushed_batch: Uuid::nil(),
            floors: Floors::default(),
            schemas: SchemaVersions::new(incarnation.schema.clone()),
            segments: Vec::new(),
            centroids: BTreeMap::new(),
            tokens: None,
            dropped: Vec::new(),
            ring: Vec::new(),
            features: Features::default(),
            created_ms: incarnation.created_ms,
            created_by: incarnation.created_by.clone(),
            unknown: UnknownFields::new(),
        }
    }

    /// The manifest after this one, equal but for its identity.
    pub(crate) fn successor(&self, nonce: Uuid, created_ms: i64) -> Self {
        let mut next = self.clone();
        // Number and nonce: two processes may make manifests of the same number, and one of them loses.
        next.ring.push((self.number, self.nonce));
        // invariant: a ring that is not full yet drops nothing, which is what saturation gives.
        let old = next.ring.len().saturating_sub(RING_MAX);
        next.ring.drain(..old);
        next.number += 1;
        next.dropped.clear();
        next.nonce = nonce;
        next.created_ms = created_ms;
        next.created_by = created_by();
        next
    }

    /// Offers centroid sets that were made for some new segments. Further ones are indexed by the set of each column that
    /// was trained on the most rows.
    // Only new sets are offered. A segment that was begun before all rows got a set that fits them would bring the old one
    // back with it, which may have been trained on more.
    pub(crate) fn offer_centroids(&mut self, sets: &BTreeMap<ColumnId, CentroidsMeta>) {
        for (column, set) in sets {
            let current = self.centroids.get(column);
            if current.is_none_or(|current| current.trained < set.trained) {
                self.centroids.insert(*column, *set);
            }
        }
    }

    /// Whether the manifest of this number and nonce is this one or one of the ancestors it remembers.
    pub(crate) fn descends_from(&self, number: u64, nonce: Uuid) -> bool {
        (self.number, self.nonce) == (number, nonce) || self.ring.contains(&(number, nonce))
    }

    /// Checks each segment by the schema that it was written with.
    pub(crate) fn check_segments(&self) -> Result<(), CodecError> {
        self.segments.iter().try_for_each(|meta| meta.check_version(&self.schemas))
    }

    pub(crate) fn encode(&self) -> Result<Bytes, CodecError> {
        FRAME.encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let manifest: Self = FRAME.decode_featured(bytes)?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// Checks what its shape alone does not guarantee.
    pub(crate) fn validate(&self) -> Result<(), CodecError> {
        let what = FRAME.what;
        // Of a copy in a hint too, which was not decoded by itself.
        self.features.check(what, FeatureUser::Readers)?;
        if self.number > NUMBER_MAX || self.flushed_through.0 > NUMBER_MAX {
            return Err(CodecError::malformed(what, "a number beyond the last that objects can have"));
        }
        let mut seen = HashSet::new();
        // A segment that is named twice would answer twice.
        if !self.segments.iter().all(|s| seen.insert(s.id)) {
            return Err(CodecError::malformed(what, "a segment is named twice"));
        }
        Ok(())
    }

    /// Checks that this version knows what a writer must.
    pub(crate) fn check_writable(&self) -> Result<(), CodecError> {
        self.features.check(FRAME.what, FeatureUser::Writers)
    }
}

impl Featured for Manifest {
    fn features(&self) -> &Features {
        &self.features
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;
    use crate::types::IdKind;

    fn genesis() -> Manifest {
        let schema = Schema::builder(IdKind::U64).build().unwrap();
        Manifest::genesis(&Incarnation::new("n", 1, Uuid::from_u128(9), schema, 5))
    }

    #[test]
    fn a_manifest_reads_back_and_damage_is_noticed() {
        let manifest = genesis().successor(Uuid::from_u128(1), 7);
        let bytes = manifest.encode().unwrap();
        let read = Manifest::decode(&bytes).unwrap();
        assert_eq!((read.number, read.nonce, read.ring.len()), (1, manifest.nonce, 1));
        for at in 0..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[at] ^= 0x10;
            assert!(Manifest::decode(&bad).is_err(), "byte {at}");
        }
    }

    #[test]
    fn an_unknown_feature_is_refused() {
        let features = |json| serde_json::from_str::<Features>(json).unwrap();
        let requires = |features| Manifest { features, ..genesis() }.encode().unwrap();
        let error = Manifest::decode(&requires(features(r#"{"read": ["time-machine"]}"#))).unwrap_err();
        assert!(
            matches!(&error, CodecError::Feature { names, .. } if names.contains("time-machine")),
            "{error}"
        );
        let read = Manifest::decode(&requires(features(r#"{"write": ["time-machine"]}"#))).unwrap();
        assert!(read.check_writable().is_err() && genesis().check_writable().is_ok());
    }

    #[test]
    fn ancestors_are_remembered_up_to_a_limit() {
        let mut manifest = genesis();
        for n in 1..=100u128 {
            manifest = manifest.successor(Uuid::from_u128(n), 0);
        }
        assert!(manifest.descends_from(100, Uuid::from_u128(100)));
        assert!(manifest.descends_from(36, Uuid::from_u128(36)));
        assert!(!manifest.descends_from(35, Uuid::from_u128(35)) && manifest.ring.len() == RING_MAX);
    }
}
