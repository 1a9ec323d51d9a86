//! The manifest: the whole state of a namespace up to a place in its log, as numbered JSON.
//!
//! A manifest is derived from the log and is never acknowledged to a user: one that is lost costs work, not
//! data. It is committed by putting the next number if it is absent.
//!
//! **Invariant:** manifest n+1 was made from manifest n, and names each segment once.

mod incarnation;
mod store;

pub(crate) use incarnation::{CLOSED_BYTES_MAX, Closed, Hint, Incarnation, OPEN_BYTES_MAX};
pub(crate) use store::{Commit, Page, commit, latest, read};

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::codec::{CodecError, Frame};
use crate::index::vector::CentroidsMeta;
use crate::schema::Schema;
use crate::segment::SegmentMeta;
use crate::storage::NUMBER_MAX;
use crate::types::{Sequence, TokenLog, TokenRecord};

const FRAME: Frame = Frame { what: "manifest", version: 1 };
/// Ancestors a manifest remembers: by them a committer that was slow learns whether its commit counts.
const RING: usize = 64;
/// Idempotency tokens a manifest remembers.
const TOKENS: usize = 10_000;

/// The whole state of a namespace up to `flushed_through`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) number: u64,
    /// What tells this manifest from another that tried for the same number.
    pub(crate) nonce: Uuid,
    /// The incarnation of the namespace.
    pub(crate) incarnation: Uuid,
    /// Entries up to here are in segments.
    pub(crate) flushed_through: Sequence,
    /// The batch of that entry: where the chain of the log goes on.
    pub(crate) flushed_batch: Uuid,
    /// Below these, collection has been.
    pub(crate) floors: Floors,
    pub(crate) schema: Schema,
    pub(crate) segments: Vec<SegmentMeta>,
    /// The centroid set that new segments are indexed by, by vector column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) centroids: BTreeMap<String, CentroidsMeta>,
    /// The newest writes with an idempotency token, oldest first.
    pub(crate) tokens: TokenLog,
    /// The last manifests before this one: number and nonce.
    pub(crate) ring: Vec<(u64, Uuid)>,
    /// What a reader must know to read this: none yet.
    pub(crate) features: Vec<String>,
    pub(crate) created_ms: i64,
    pub(crate) created_by: String,
}

/// What collection has passed: nothing below a floor is looked for. Raised by collection alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Floors {
    pub(crate) manifest: u64,
    pub(crate) segment: u64,
    pub(crate) wal: Sequence,
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
            schema: incarnation.schema.clone(),
            segments: Vec::new(),
            centroids: BTreeMap::new(),
            tokens: TokenLog::default(),
            ring: Vec::new(),
            features: Vec::new(),
            created_ms: incarnation.created_ms,
            created_by: incarnation.created_by.clone(),
        }
    }

    /// The manifest after this one, equal but for its identity.
    pub(crate) fn successor(&self, nonce: Uuid, created_ms: i64) -> Self {
        let mut next = self.clone();
        next.ring.push((self.number, self.nonce));
        let old = next.ring.len().saturating_sub(RING);
        next.ring.drain(..old);
        next.number += 1;
        next.nonce = nonce;
        next.created_ms = created_ms;
        next.created_by = created_by();
        next
    }

    /// Adds segments. Of the centroid sets, those that were trained on the most rows serve from here on.
    pub(crate) fn add(&mut self, metas: impl IntoIterator<Item = SegmentMeta>) {
        for meta in metas {
            for (column, set) in &meta.centroids {
                let known = self.centroids.get(column);
                if known.is_none_or(|known| known.trained < set.trained) {
                    self.centroids.insert(column.clone(), *set);
                }
            }
            self.segments.push(meta);
        }
    }

    /// Appends writes with tokens; the oldest are forgotten.
    pub(crate) fn remember(&mut self, tokens: impl IntoIterator<Item = TokenRecord>) {
        self.tokens.extend(tokens);
        self.tokens.keep_last(TOKENS);
    }

    /// Whether the manifest of this number and nonce is this one or one of the ancestors it remembers.
    pub(crate) fn descends_from(&self, number: u64, nonce: Uuid) -> bool {
        (self.number, self.nonce) == (number, nonce) || self.ring.contains(&(number, nonce))
    }

    pub(crate) fn encode(&self) -> Result<Bytes, CodecError> {
        FRAME.encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        // First what it asks of a reader: a newer manifest may be of another shape.
        #[derive(Deserialize)]
        struct Needs {
            features: Vec<String>,
        }
        let what = FRAME.what;
        let Needs { features } = FRAME.decode(bytes)?;
        if !features.is_empty() {
            return Err(CodecError::Feature { what, bits: features.len() as u64 });
        }
        let manifest: Self = FRAME.decode(bytes)?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// What the shape alone does not hold.
    pub(crate) fn validate(&self) -> Result<(), CodecError> {
        let what = FRAME.what;
        if !self.features.is_empty() {
            return Err(CodecError::Feature { what, bits: self.features.len() as u64 });
        }
        if self.number > NUMBER_MAX || self.flushed_through.0 > NUMBER_MAX {
            return Err(CodecError::malformed(what, "a number beyond all counting"));
        }
        let mut seen = HashSet::new();
        if !self.segments.iter().all(|s| seen.insert(s.id)) {
            return Err(CodecError::malformed(what, "a segment is named twice"));
        }
        Ok(())
    }
}

/// What wrote an object: the name and version of this crate.
pub(crate) fn created_by() -> String {
    concat!("elacsym ", env!("CARGO_PKG_VERSION")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{IdKind, WriteReceipt};

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
        let manifest = Manifest { features: vec!["time-machine".into()], ..genesis() };
        let error = Manifest::decode(&manifest.encode().unwrap()).unwrap_err();
        assert!(matches!(error, CodecError::Feature { .. }), "{error}");
    }

    #[test]
    fn ancestors_and_tokens_are_remembered_up_to_a_limit() {
        let mut manifest = genesis();
        for n in 1..=100u128 {
            manifest = manifest.successor(Uuid::from_u128(n), 0);
        }
        assert!(manifest.descends_from(100, Uuid::from_u128(100)));
        assert!(manifest.descends_from(36, Uuid::from_u128(36)));
        assert!(!manifest.descends_from(35, Uuid::from_u128(35)) && manifest.ring.len() == RING);
        let token = |n| TokenRecord { token: Uuid::from_u128(n), receipt: WriteReceipt::default() };
        manifest.remember((0..TOKENS as u128 + 5).map(token));
        assert_eq!(manifest.tokens.iter().next().map(|t| t.token), Some(Uuid::from_u128(5)));
    }
}
