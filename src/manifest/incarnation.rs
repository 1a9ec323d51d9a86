//! The objects at the ends of an incarnation of a namespace: OPEN and CLOSED.
//!
//! Each incarnation has a prefix of its own, so a request of an old one that arrives late, even after the name was created
//! again, cannot touch the new one.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::codec::{CodecError, FeatureUser, Featured, Features, Frame};
use crate::schema::Schema;
use crate::types::Sequence;

/// Limits an OPEN, which is mostly the schema.
pub(crate) const OPEN_BYTES_MAX: u64 = 64 << 20;
/// Limits a CLOSED.
pub(crate) const CLOSED_BYTES_MAX: u64 = 64 << 10;

const OPEN_FRAME: Frame = Frame { what: "incarnation", version: 1 };
const CLOSED_FRAME: Frame = Frame { what: "closed", version: 1 };

/// The object OPEN: an incarnation of a name begins.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Incarnation {
    /// The name as given, for people: the folder has it in an encoded form.
    pub(crate) name: String,
    pub(crate) number: u32,
    /// Is in every manifest and entry. A folder that was restored from a backup over another would mix two incarnations
    /// of the same number, and this reveals it.
    pub(crate) id: Uuid,
    pub(crate) schema: Schema,
    #[serde(default, skip_serializing_if = "Features::is_empty")]
    pub(crate) features: Features,
    pub(crate) created_ms: i64,
    pub(crate) created_by: String,
}

/// The object CLOSED: the incarnation was sealed, and a new one may begin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Closed {
    /// The sequence of the seal.
    pub(crate) sealed: Sequence,
}

impl Incarnation {
    pub(crate) fn new(name: &str, number: u32, id: Uuid, schema: Schema, created_ms: i64) -> Self {
        Self {
            name: name.to_owned(),
            number,
            id,
            schema,
            features: Features::default(),
            created_ms,
            created_by: created_by(),
        }
    }

    pub(crate) fn encode(&self) -> Result<Bytes, CodecError> {
        OPEN_FRAME.encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        OPEN_FRAME.decode_featured(bytes)
    }

    /// Checks that this version knows what a writer must.
    pub(crate) fn check_writable(&self) -> Result<(), CodecError> {
        self.features.check(OPEN_FRAME.what, FeatureUser::Writers)
    }
}

impl Featured for Incarnation {
    fn features(&self) -> &Features {
        &self.features
    }
}

impl Closed {
    /// There is no `decode`: that the object exists is all that a reader needs.
    pub(crate) fn encode(&self) -> Result<Bytes, CodecError> {
        CLOSED_FRAME.encode(self)
    }
}

/// What wrote an object: the name and version of this crate.
pub(crate) fn created_by() -> String {
    concat!("elacsym ", env!("CARGO_PKG_VERSION")).to_owned()
}
