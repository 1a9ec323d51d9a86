//! The object HINT: advice where to look first.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::state::Manifest;
use crate::codec::{CodecError, Frame};
use crate::storage::{ObjectKey, StorageBackend};
use crate::types::Sequence;

/// The largest manifest of which the hint has a copy. A copy saves a round trip when a namespace is opened; a larger one
/// would cost every flush more than that. More than half of a manifest may be tokens of writes.
const COPIED_BYTES_MAX: usize = 512 << 10;
/// Limits a hint: the copy of a manifest, and a few numbers.
const HINT_BYTES_MAX: u64 = 1 << 20;

const FRAME: Frame = Frame { what: "hint", version: 1 };

/// The object HINT: where to look first. It may be stale, torn or absent: nothing but speed depends on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Hint {
    pub(crate) incarnation: u32,
    /// The number of the newest manifest that its writer knew.
    pub(crate) number: u64,
    pub(crate) flushed_through: Sequence,
    /// A copy of that manifest, if it is small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) manifest: Option<Manifest>,
}

impl Hint {
    pub(crate) fn new(incarnation: u32, manifest: &Manifest, encoded: &Bytes) -> Self {
        let is_small = encoded.len() <= COPIED_BYTES_MAX;
        Self {
            incarnation,
            number: manifest.number,
            flushed_through: manifest.flushed_through,
            manifest: is_small.then(|| manifest.clone()),
        }
    }

    /// The hint of a name. `None` if it is absent, cannot be read or is damaged: as only speed depends on it, none of
    /// these may keep a namespace from being opened.
    pub(crate) async fn read(backend: &Arc<dyn StorageBackend>, key: &ObjectKey) -> Option<Self> {
        let bytes = backend.get_bounded(key, HINT_BYTES_MAX).await.ok()?;
        Self::decode(&bytes).ok().map(Self::without_invalid_manifest)
    }

    /// The numbers are of use even where the copy is of a manifest that this version cannot read.
    fn without_invalid_manifest(mut self) -> Self {
        self.manifest = self.manifest.filter(|manifest| manifest.validate().is_ok());
        self
    }

    pub(crate) fn encode(&self) -> Result<Bytes, CodecError> {
        FRAME.encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        FRAME.decode(bytes)
    }
}
