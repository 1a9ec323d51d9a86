//! The object HINT: advice where to look first.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::state::Manifest;
use crate::codec::{CodecError, Frame};
use crate::storage::{ObjectKey, StorageBackend};
use crate::types::Sequence;

/// The largest manifest that the hint has a copy of. A copy saves a round trip when a namespace is opened; a larger one
/// would cost every flush more than that.
const COPIED_BYTES_MAX: usize = 512 << 10;
/// Limits a hint: the copy of a manifest, and a few numbers.
const HINT_BYTES_MAX: u64 = 1 << 20;

const FRAME: Frame = Frame { what: "hint", version: 1 };

/// The object HINT: where to look first. It may be stale, torn or absent: nothing but speed depends on it, so it is the
/// one object that is overwritten.
#[derive(Clone, Debug)]
pub(crate) struct Hint {
    pub(crate) incarnation: u32,
    /// The number of the newest manifest that its writer knew.
    pub(crate) number: u64,
    pub(crate) flushed_through: Sequence,
    /// A copy of that manifest, if it is small.
    pub(crate) manifest: Option<Arc<Manifest>>,
}

/// The fields of a hint as they are stored; `M` is a manifest, owned or borrowed.
#[derive(Serialize, Deserialize)]
struct HintFields<M> {
    incarnation: u32,
    number: u64,
    flushed_through: Sequence,
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    manifest: Option<M>,
}

impl Hint {
    /// The object of a hint to a manifest whose own object has `manifest_bytes`.
    pub(crate) fn encode(
        incarnation: u32,
        manifest: &Manifest,
        manifest_bytes: usize,
    ) -> Result<Bytes, CodecError> {
        FRAME.encode(&HintFields {
            incarnation,
            number: manifest.number,
            flushed_through: manifest.flushed_through,
            manifest: (manifest_bytes <= COPIED_BYTES_MAX).then_some(manifest),
        })
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let fields: HintFields<Manifest> = FRAME.decode(bytes)?;
        // The numbers are of use even where the copy is of a manifest that this version cannot read.
        let manifest = fields.manifest.filter(|manifest| manifest.validate().is_ok()).map(Arc::new);
        let HintFields { incarnation, number, flushed_through, .. } = fields;
        Ok(Self { incarnation, number, flushed_through, manifest })
    }

    /// The hint of a name. `None` if it is absent, cannot be read or is damaged: as only speed depends on it, none of
    /// these may keep a namespace from being opened.
    pub(crate) async fn read(backend: &Arc<dyn StorageBackend>, key: &ObjectKey) -> Option<Self> {
        let bytes = backend.get_bounded(key, HINT_BYTES_MAX).await.ok()?;
        Self::decode(&bytes).ok()
    }
}
