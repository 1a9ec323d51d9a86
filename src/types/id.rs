//! Ids of documents, log entries and objects on the store.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ID_BYTES_MAX;
use crate::error::{Error, Result};

/// The kind of the ids of a namespace. All its documents have the same.
///
/// ```
/// use elacsym::{DocumentId, IdKind, Schema};
///
/// let schema = Schema::builder(IdKind::String).build()?;
/// assert_eq!(schema.id(), DocumentId::from("isbn-7").kind());
/// # Ok::<_, elacsym::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum IdKind {
    /// Unsigned 64-bit numbers.
    U64,
    /// 128-bit UUIDs.
    Uuid,
    /// Strings of 1 to 64 bytes.
    String,
}

impl IdKind {
    /// The Arrow type of the id column.
    #[must_use]
    pub fn arrow_type(self) -> DataType {
        match self {
            Self::U64 => DataType::UInt64,
            Self::Uuid => DataType::FixedSizeBinary(16),
            Self::String => DataType::Utf8,
        }
    }
}

impl fmt::Display for IdKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::U64 => "u64",
            Self::Uuid => "uuid",
            Self::String => "string",
        })
    }
}

/// The id of a document. Ids of one kind order as numbers, as bytes (UUID) or as UTF-8 bytes (strings).
///
/// ```
/// use elacsym::{Document, DocumentId};
///
/// let document = Document::new(7);
/// assert_eq!(*document.id(), 7);
/// assert_eq!(document.id().as_u64(), Some(7));
/// assert_eq!(DocumentId::from("isbn-7").as_str(), Some("isbn-7"));
/// ```
// The derived order of the variants never decides anything, as a namespace has ids of one kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DocumentId {
    /// A number below zero, so that signed numbers convert. No document has such an id: whatever is asked with one is
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid).
    Negative(i64),
    /// A number.
    U64(u64),
    /// A UUID.
    Uuid(Uuid),
    /// A string of 1 to 64 bytes.
    // Shared: an id is cloned wherever rows are looked up, compared or deleted by it.
    String(Arc<str>),
}

impl DocumentId {
    /// The kind of this id.
    #[must_use]
    pub fn kind(&self) -> IdKind {
        match self {
            Self::U64(_) | Self::Negative(_) => IdKind::U64,
            Self::Uuid(_) => IdKind::Uuid,
            Self::String(_) => IdKind::String,
        }
    }

    /// The number, if it is one.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        if let Self::U64(id) = self { Some(*id) } else { None }
    }

    /// The UUID, if it is one.
    #[must_use]
    pub fn as_uuid(&self) -> Option<Uuid> {
        if let Self::Uuid(id) = self { Some(*id) } else { None }
    }

    /// The text, if it is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(id) = self { Some(id) } else { None }
    }

    /// Checks the id against the kind of a namespace and the limit on strings.
    pub(crate) fn check(&self, kind: IdKind) -> Result<()> {
        if self.kind() != kind {
            return Err(Error::invalid(format!(
                "wrong kind of id: the namespace uses {kind}, this is {}. id=`{self}`",
                self.kind()
            )));
        }
        match self {
            Self::Negative(id) => Err(Error::invalid(format!("an id is not below zero. id=`{id}`"))),
            Self::String(id) if id.is_empty() => Err(Error::invalid("empty string id")),
            Self::String(id) if id.len() > ID_BYTES_MAX => Err(Error::invalid(format!(
                "string id of {} bytes: at most {ID_BYTES_MAX} are allowed. id=`{}…`",
                id.len(),
                id.chars().take(16).collect::<String>()
            ))),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U64(id) => id.fmt(f),
            Self::Negative(id) => id.fmt(f),
            Self::Uuid(id) => id.fmt(f),
            Self::String(id) => id.fmt(f),
        }
    }
}

/// Items of a slice that is iterated.
macro_rules! from_reference {
    ($($type:ty),*) => {$(
        impl From<&$type> for DocumentId {
            fn from(id: &$type) -> Self {
                Self::from(id.clone())
            }
        }
    )*};
}

macro_rules! from_unsigned {
    ($($type:ty),*) => {$(
        impl From<$type> for DocumentId {
            fn from(id: $type) -> Self {
                // invariant: no unsigned type here is wider than 64 bits.
                Self::U64(u64::try_from(id).unwrap_or(u64::MAX))
            }
        }
        from_reference!($type);
    )*};
}

macro_rules! from_signed {
    ($($type:ty),*) => {$(
        impl From<$type> for DocumentId {
            fn from(id: $type) -> Self {
                // invariant: no signed type here is wider than 64 bits.
                u64::try_from(id).map_or_else(|_| Self::Negative(i64::try_from(id).unwrap_or(i64::MIN)), Self::U64)
            }
        }
        from_reference!($type);
    )*};
}

macro_rules! equal_as_ids {
    ($($type:ty),*) => {$(
        impl PartialEq<$type> for DocumentId {
            fn eq(&self, id: &$type) -> bool {
                let id = Self::from(*id);
                *self == id
            }
        }
    )*};
}

from_unsigned! { u8, u16, u32, usize }
from_signed! { i8, i16, i32, i64, isize }
equal_as_ids! { u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, Uuid }

impl From<u64> for DocumentId {
    fn from(id: u64) -> Self {
        Self::U64(id)
    }
}

impl PartialEq<str> for DocumentId {
    fn eq(&self, id: &str) -> bool {
        self.as_str() == Some(id)
    }
}

impl PartialEq<&str> for DocumentId {
    fn eq(&self, id: &&str) -> bool {
        self.as_str() == Some(*id)
    }
}

from_reference! { u64, &str, String, Uuid, DocumentId }

impl From<Uuid> for DocumentId {
    fn from(id: Uuid) -> Self {
        Self::Uuid(id)
    }
}

impl From<&str> for DocumentId {
    fn from(id: &str) -> Self {
        Self::String(id.into())
    }
}

impl From<String> for DocumentId {
    fn from(id: String) -> Self {
        Self::String(id.into())
    }
}

/// The number of a log entry, which defines the total order of a namespace. The first entry is 1.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::*;
/// # let schema = Schema::builder(IdKind::U64).build()?;
/// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
/// let receipt = docs.write(Document::new(1)).await?;
/// // Sent along with the answer to a write, and back with the next question.
/// let text = receipt.sequence.to_string();
/// let sequence = Sequence(text.parse().unwrap());
/// let snapshot = docs.snapshot(Consistency::AtLeast(sequence)).await?;
/// assert_eq!(snapshot.count().await?, 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);

    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        // invariant: a log never has 2⁶⁴ entries. A number that came from forged bytes must not panic either.
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of what a job uploads before anything refers to it, a segment, a centroid set or a list of tokens: its birth,
/// and a UUID.
///
/// The birth is a logical clock that counts manifests. No manifest up to the birth refers to what the job makes, so a
/// name alone tells what may still be on its way into a manifest. Clocks of machines play no part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct ObjectId {
    /// The newest manifest known when the job began.
    pub(crate) birth: u64,
    /// Makes the name unique.
    pub(crate) uuid: Uuid,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 20 digits hold every u64, so that listings of the store are in the order of birth.
        write!(f, "{:020}-{}", self.birth, self.uuid.simple())
    }
}

impl FromStr for ObjectId {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let parse = || {
            let (birth, uuid) = name.split_once('-')?;
            Some(Self { birth: birth.parse().ok()?, uuid: Uuid::try_parse(uuid).ok()? })
        };
        // One spelling: what parses may have a sign, fewer digits, hyphens or capitals, and fewer digits would not sort
        // by birth.
        let id = parse().filter(|id| id.to_string() == name);
        id.ok_or_else(|| Error::invalid("not a birth and a UUID"))
    }
}

impl TryFrom<String> for ObjectId {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<ObjectId> for String {
    fn from(id: ObjectId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_id_reads_back_and_others_are_refused() {
        let id = ObjectId { birth: 7, uuid: Uuid::from_u128(0xabc) };
        assert_eq!(id.to_string().parse::<ObjectId>().unwrap(), id);
        for name in [
            "",
            "7-abc",
            "../x",
            "00000000000000000007",
            "+0000000000000000007-00000000000000000000000000000abc",
            "00000000000000000007-00000000000000000000000000000ABC",
            "00000000000000000007-00000000-0000-0000-0000-000000000abc",
        ] {
            assert!(name.parse::<ObjectId>().is_err(), "{name}");
        }
    }

    #[test]
    fn ids_are_checked_against_kind_and_length() {
        assert!(DocumentId::from(1).check(IdKind::U64).is_ok());
        assert!(DocumentId::from(1).check(IdKind::String).is_err());
        assert!(DocumentId::from("").check(IdKind::String).is_err());
        assert!(DocumentId::from("x".repeat(64)).check(IdKind::String).is_ok());
        assert!(DocumentId::from("x".repeat(65)).check(IdKind::String).is_err());
    }
}
