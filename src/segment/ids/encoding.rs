//! Ids as bytes.

use arrow::array::{FixedSizeBinaryArray, StringArray, UInt64Array};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::error::ArrowError;

use crate::codec::{CodecError, Reader, put_len_u16};
use crate::error::Result;
use crate::schema::Ids;
use crate::types::IdKind;

/// How a head names the kind of its ids.
pub(super) fn kind_code(kind: IdKind) -> u16 {
    match kind {
        IdKind::U64 => 1,
        IdKind::Uuid => 2,
        IdKind::String => 3,
    }
}

/// Ids that are collected for a block.
#[derive(Debug, Default)]
pub(super) struct EncodedIds {
    /// Of strings alone: lengths stand together before the bytes, so that a reader can skip to any id.
    lengths: Vec<u8>,
    bytes: Vec<u8>,
}

impl EncodedIds {
    pub(super) fn push_id(&mut self, ids: &Ids, at: usize) -> Result<()> {
        match ids {
            Ids::U64(ids) => self.bytes.extend(ids.value(at).to_le_bytes()),
            Ids::Uuid(ids) => self.bytes.extend(ids.value(at)),
            Ids::String(ids) => {
                let id = ids.value(at);
                put_len_u16(&mut self.lengths, id.len())?;
                self.bytes.extend(id.as_bytes());
            }
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.lengths.len() + self.bytes.len()
    }

    /// Moves the ids to the end of `out`, which leaves none here.
    pub(super) fn append_to(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.lengths);
        out.append(&mut self.bytes);
    }
}

/// Reads `count` ids; `what` names the format in errors.
pub(super) fn decode_ids(
    what: &'static str,
    kind: IdKind,
    count: usize,
    reader: &mut Reader<'_>,
) -> Result<Ids, CodecError> {
    let bad = |e: ArrowError| CodecError::malformed(what, e);
    // A count from the store may be anything: a saturated product is more than the reader has left, which it reports.
    Ok(match kind {
        IdKind::U64 => {
            let (ids, _) = reader.take(count.saturating_mul(8))?.as_chunks::<8>();
            Ids::U64(UInt64Array::from_iter_values(ids.iter().map(|id| u64::from_le_bytes(*id))))
        }
        IdKind::Uuid => {
            let ids = Buffer::from(reader.take(count.saturating_mul(16))?);
            Ids::Uuid(FixedSizeBinaryArray::try_new(16, ids, None).map_err(bad)?)
        }
        IdKind::String => {
            let (lengths, _) = reader.take(count.saturating_mul(2))?.as_chunks::<2>();
            let lengths = || lengths.iter().map(|length| usize::from(u16::from_le_bytes(*length)));
            // The lengths are in memory, so their sum is far from the end of `usize`. It passes that of an `i32`,
            // by which Arrow counts, only in a head of 30,000 times the largest segment.
            let bytes = reader.take(lengths().sum())?;
            if i32::try_from(bytes.len()).is_err() {
                return Err(CodecError::malformed(what, "too many bytes of ids"));
            }
            let offsets = OffsetBuffer::from_lengths(lengths());
            // Checks that the bytes are UTF-8, and each id for itself.
            Ids::String(StringArray::try_new(offsets, Buffer::from(bytes), None).map_err(bad)?)
        }
    })
}
