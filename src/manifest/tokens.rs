//! The list of tokens: the last writes with an idempotency token up to a manifest, in an object of their own.
//!
//! ```text
//! "ETOK" | version u16 | zero u16 | count u32 | records, packed | XXH3-64 of all before
//! ```
//!
//! Only writers need it, so no manifest has it inside: each opening of a namespace would read it, and each flush and
//! compaction write it. Packed records are described at [`pack_tokens`].

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::{
    CodecError, Reader, UnknownFields, Unpacker, check_trailer, hex, push_trailer, to_u32, u64_of,
};
use crate::error::{Error, Result};
use crate::storage::{IncarnationKeys, PutMode, StorageBackend, fetch_named};
use crate::types::{ObjectId, TokenLog, TokenRecord, pack_tokens, unpack_tokens};

const WHAT: &str = "token list";
const MAGIC: [u8; 4] = *b"ETOK";
const VERSION: u16 = 1;
/// How many tokens are remembered: the window in which a write may be repeated. A count and not a time, for processes do
/// not share a clock. The list is in memory as a whole where writes have tokens.
const TOKENS_MAX: usize = 10_000;
/// Limits a list, of records of up to 67 bytes: a reader never allocates more for one, whatever the manifest claims.
const LIST_BYTES_MAX: u64 = 1 << 20;

/// A list of tokens as its manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokensMeta {
    /// The name, made as that of a segment.
    pub(crate) id: ObjectId,
    size: u64,
    /// How many records it has.
    count: u32,
    #[serde(with = "hex")]
    checksum: u64,
    #[serde(flatten)]
    unknown: UnknownFields,
}

/// A list with later writes behind it, of which the oldest are forgotten.
pub(crate) fn extend_tokens(list: &TokenLog, later: impl IntoIterator<Item = TokenRecord>) -> TokenLog {
    let mut extended = list.clone();
    extended.extend(later);
    extended.keep_last(TOKENS_MAX);
    extended
}

impl TokensMeta {
    /// Writes a list, for the manifest to name.
    pub(crate) async fn write(
        backend: &Arc<dyn StorageBackend>,
        keys: &IncarnationKeys,
        id: ObjectId,
        list: &TokenLog,
    ) -> Result<Self> {
        let count = to_u32(u64_of(list.len()), "the number of tokens")?;
        let (bytes, checksum) = encode(list, count);
        let size = u64_of(bytes.len());
        // The name is unique: an overwrite can only repeat an earlier attempt of the same put.
        backend.put(&keys.tokens(id), bytes.into(), PutMode::Overwrite).await?;
        Ok(Self { id, size, count, checksum, unknown: UnknownFields::new() })
    }

    /// Reads the list. One round trip.
    pub(crate) async fn read(
        &self,
        backend: &Arc<dyn StorageBackend>,
        keys: &IncarnationKeys,
    ) -> Result<TokenLog> {
        let key = keys.tokens(self.id);
        if self.size > LIST_BYTES_MAX {
            return Err(Error::corrupt(key, "the list of tokens is too large"));
        }
        let fetch = || backend.get_bounded(&key, self.size);
        fetch_named(&key, fetch, |bytes| decode(bytes, self)).await
    }
}

/// The object and its checksum.
fn encode(list: &TokenLog, count: u32) -> (Bytes, u64) {
    let records = pack_tokens(list.iter());
    let mut bytes = Vec::with_capacity(records.bytes().len() + 20);
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend([0; 2]);
    bytes.extend(count.to_le_bytes());
    bytes.extend(records.bytes());
    let checksum = push_trailer(&mut bytes);
    (bytes.into(), checksum)
}

fn decode(bytes: &[u8], meta: &TokensMeta) -> Result<TokenLog, CodecError> {
    if u64_of(bytes.len()) != meta.size {
        return Err(CodecError::Truncated { what: WHAT });
    }
    let (body, checksum) = check_trailer(WHAT, bytes)?;
    // A sound list that is not this one may stand under its name.
    if checksum != meta.checksum {
        return Err(CodecError::Checksum { what: WHAT });
    }
    let mut reader = Reader::new(WHAT, body);
    reader.magic(MAGIC)?;
    reader.version(VERSION)?;
    reader.u16()?;
    let count = reader.u32()?;
    let records = unpack_tokens(Unpacker::new(reader.rest().to_vec()))
        .ok_or_else(|| CodecError::malformed(WHAT, "a record ends early or has unknown flags"))?;
    if count != meta.count || u64_of(records.len()) != u64::from(count) {
        return Err(CodecError::malformed(WHAT, "the number of records is not that of the manifest"));
    }
    Ok(records.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::codec::{TRAILER_BYTES, seal_trailer};
    use crate::fuzzing::FuzzTarget;
    use crate::types::{Sequence, WriteReceipt};

    fn records(numbers: std::ops::Range<u64>) -> impl Iterator<Item = TokenRecord> {
        numbers.map(|n| {
            let receipt = WriteReceipt { sequence: Sequence(n), upserted: n % 3, ..WriteReceipt::default() };
            TokenRecord { token: Uuid::from_u128(u128::from(n)), receipt }
        })
    }

    fn meta_of(bytes: &[u8], checksum: u64, count: u32) -> TokensMeta {
        let id = ObjectId { birth: 1, uuid: Uuid::nil() };
        TokensMeta { id, size: bytes.len() as u64, count, checksum, unknown: UnknownFields::new() }
    }

    #[test]
    fn a_list_reads_back_and_every_damage_is_noticed() {
        let list: TokenLog = records(0..40).collect();
        let (bytes, checksum) = encode(&list, 40);
        let meta = meta_of(&bytes, checksum, 40);
        assert!(decode(&bytes, &meta).unwrap().iter().eq(list.iter()));
        for at in 0..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[at] ^= 0x10;
            assert!(decode(&bad, &meta).is_err() && decode(&bytes[..at], &meta).is_err(), "byte {at}");
        }
        let json = serde_json::to_string(&meta).unwrap();
        assert_eq!(serde_json::from_str::<TokensMeta>(&json).unwrap(), meta);
    }

    #[test]
    fn forged_counts_and_records_are_errors() {
        let list: TokenLog = records(0..40).collect();
        for count in [0, 39, 41, u32::MAX] {
            let (bytes, checksum) = encode(&list, count);
            assert!(decode(&bytes, &meta_of(&bytes, checksum, count)).is_err(), "{count}");
            assert!(decode(&bytes, &meta_of(&bytes, checksum, 40)).is_err(), "{count}");
        }
        let mut torn = encode(&list, 40).0[..30].to_vec();
        let checksum = push_trailer(&mut torn);
        assert!(decode(&torn, &meta_of(&torn, checksum, 40)).is_err());
    }

    #[test]
    fn fuzz_token_list() {
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let seeds = [0, 1, 40].map(|count| encode(&records(0..count.into()).collect(), count).0);
        FuzzTarget::new("token_list", seeds.map(|seed| seed.to_vec())).memory(16, 64 << 10).run_sealed(
            |bytes| seal_trailer(bytes),
            |bytes| {
                // A manifest that was forged with the list names what is in it.
                let count = number(bytes.get(8..12).unwrap_or_default());
                let checksum = number(&bytes[bytes.len().saturating_sub(TRAILER_BYTES)..]);
                decode(bytes, &meta_of(bytes, checksum, u32::try_from(count).unwrap()))
            },
        );
    }

    #[test]
    fn the_last_tokens_are_remembered_and_the_longest_fit() {
        let list = extend_tokens(&records(0..9_000).collect(), records(9_000..10_005));
        assert_eq!(list.iter().next().map(|record| record.token), Some(Uuid::from_u128(5)));
        let longest = |n: u64| {
            let sequence = Sequence(if n.is_multiple_of(2) { u64::MAX } else { 0 });
            let most = u64::MAX;
            let (upserted, patched, deleted, skipped) = (most, most, most, most);
            let receipt =
                WriteReceipt { sequence, upserted, patched, deleted, skipped, ..WriteReceipt::default() };
            TokenRecord { token: Uuid::from_u128(u128::from(n)), receipt }
        };
        let longest = extend_tokens(&TokenLog::default(), (0..10_000).map(longest));
        assert!(u64_of(encode(&longest, 10_000).0.len()) <= LIST_BYTES_MAX);
    }
}
