//! The small objects around an incarnation of a namespace: OPEN, CLOSED and the hint.

use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Manifest, created_by};
use crate::codec::{CodecError, Frame};
use crate::schema::Schema;
use crate::storage::{ObjectKey, StorageBackend};
use crate::types::Sequence;

/// The largest manifest that the hint carries along: more than half of it may be tokens of writes.
const CARRIED_BYTES_MAX: usize = 512 << 10;
/// No hint is larger: the manifest, and some numbers.
const HINT_BYTES_MAX: u64 = 1 << 20;
/// No OPEN is larger: it is the schema, mostly.
pub(crate) const OPEN_BYTES_MAX: u64 = 64 << 20;
/// No CLOSED is larger.
pub(crate) const CLOSED_BYTES_MAX: u64 = 64 << 10;

/// The object OPEN: one incarnation of a name begins.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Incarnation {
    /// The name as given, for people: the folder has it in an encoded form.
    pub(crate) name: String,
    pub(crate) number: u32,
    pub(crate) id: Uuid,
    pub(crate) schema: Schema,
    pub(crate) created_ms: i64,
    pub(crate) created_by: String,
}

/// The object CLOSED: the incarnation was sealed, and a new one may begin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Closed {
    /// The sequence of the seal.
    pub(crate) sealed: Sequence,
}

/// The object HINT: where to look first. It may be stale, torn or absent: nothing but speed depends on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Hint {
    pub(crate) incarnation: u32,
    pub(crate) number: u64,
    pub(crate) flushed_through: Sequence,
    /// The manifest itself, if it is small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) manifest: Option<Manifest>,
}

impl Incarnation {
    pub(crate) fn new(name: &str, number: u32, id: Uuid, schema: Schema, created_ms: i64) -> Self {
        Self { name: name.to_owned(), number, id, schema, created_ms, created_by: created_by() }
    }
}

impl Hint {
    /// The hint of a name. Only speed depends on it: whatever is wrong with it, there is none.
    pub(crate) async fn read(backend: &Arc<dyn StorageBackend>, key: &ObjectKey) -> Option<Self> {
        let bytes = backend.get_bounded(key, HINT_BYTES_MAX).await.ok()?;
        Self::decode(&bytes).ok().map(Self::checked)
    }

    /// Without the copy of the manifest, if that is not one we can read.
    fn checked(mut self) -> Self {
        self.manifest = self.manifest.filter(|manifest| manifest.validate().is_ok());
        self
    }

    pub(crate) fn new(incarnation: u32, manifest: &Manifest, encoded: &Bytes) -> Self {
        let small = encoded.len() <= CARRIED_BYTES_MAX;
        Self {
            incarnation,
            number: manifest.number,
            flushed_through: manifest.flushed_through,
            manifest: small.then(|| manifest.clone()),
        }
    }
}

macro_rules! framed {
    ($($type:ty, $what:literal;)*) => {$(
        impl $type {
            pub(crate) fn encode(&self) -> Result<Bytes, CodecError> {
                Frame { what: $what, version: 1 }.encode(self)
            }

            pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CodecError>
            where
                Self: DeserializeOwned,
            {
                Frame { what: $what, version: 1 }.decode(bytes)
            }
        }
    )*};
}

framed! {
    Incarnation, "incarnation";
    Hint, "hint";
}

impl Closed {
    /// Nobody reads it back: that it is there says all.
    pub(crate) fn encode(&self) -> Result<Bytes, CodecError> {
        Frame { what: "closed", version: 1 }.encode(self)
    }
}
