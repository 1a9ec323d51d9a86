//! Recent writes by their idempotency tokens: a repeated write is answered with its receipt and not applied again.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use super::{Sequence, WriteReceipt};
use crate::codec::{Packer, Unpacker, u64_of};
use crate::error::{Error, Result};

/// A write remembered by its idempotency token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenRecord {
    pub(crate) token: Uuid,
    pub(crate) receipt: WriteReceipt,
}

/// Writes with tokens in the order of the log, found by their token.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenLog {
    records: VecDeque<TokenRecord>,
    /// The number of the newest record of each token, counted from the first record ever: dropping records at the front
    /// does not renumber the others.
    numbers: HashMap<Uuid, u64>,
    /// The number of records that were dropped.
    dropped: u64,
}

impl TokenLog {
    /// The receipt of the write with this token.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::error::ErrorKind) if the number of the token is not that of its record: `None`
    /// would let the write be applied a second time.
    pub(crate) fn find_receipt(&self, token: Uuid) -> Result<Option<&WriteReceipt>> {
        let Some(number) = self.numbers.get(&token) else { return Ok(None) };
        let index = number.checked_sub(self.dropped).and_then(|index| usize::try_from(index).ok());
        match index.and_then(|index| self.records.get(index)) {
            Some(record) if record.token == token => Ok(Some(&record.receipt)),
            Some(_) | None => Err(Error::internal("a token is not at its place in the log of tokens")),
        }
    }

    pub(crate) fn push(&mut self, record: TokenRecord) {
        self.numbers.insert(record.token, self.dropped + u64_of(self.records.len()));
        self.records.push_back(record);
    }

    /// Drops the oldest records, down to `max` of them.
    pub(crate) fn keep_last(&mut self, max: usize) {
        while self.records.len() > max {
            self.drop_oldest();
        }
    }

    /// Drops the writes up to a sequence.
    pub(crate) fn forget_through(&mut self, sequence: Sequence) {
        while self.records.front().is_some_and(|record| record.receipt.sequence <= sequence) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.records.pop_front() else { return };
        // The token may have been logged again since. Its number is then that of the newer record, which stays.
        if self.numbers.get(&oldest.token) == Some(&self.dropped) {
            self.numbers.remove(&oldest.token);
        }
        self.dropped += 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &TokenRecord> {
        self.records.iter()
    }
}

impl Extend<TokenRecord> for TokenLog {
    fn extend<T: IntoIterator<Item = TokenRecord>>(&mut self, records: T) {
        records.into_iter().for_each(|record| self.push(record));
    }
}

impl FromIterator<TokenRecord> for TokenLog {
    fn from_iter<T: IntoIterator<Item = TokenRecord>>(records: T) -> Self {
        let mut log = Self::default();
        log.extend(records);
        log
    }
}

/// The flag of each count of a receipt. Zeros are not written: most writes have one count.
const COUNTS: [u8; 4] = [2, 4, 8, 16];
const REMAINING: u8 = 1;

/// Packs records: the token, a byte of flags, the sequence less that of the record before, and the counts that the flags
/// announce.
pub(crate) fn pack_tokens<'a>(records: impl IntoIterator<Item = &'a TokenRecord>) -> Packer {
    let (mut packer, mut before) = (Packer::default(), 0u64);
    for TokenRecord { token, receipt } in records {
        let counts = [receipt.upserted, receipt.patched, receipt.deleted, receipt.skipped];
        let present = counts.iter().zip(COUNTS).filter(|(count, _)| **count > 0);
        let flags =
            present.map(|(_, bit)| bit).fold(u8::from(receipt.rows_remaining), |flags, bit| flags | bit);
        packer.push_bytes(token.as_bytes());
        packer.push_bytes(&[flags]);
        // Neighbours are a few entries apart, so that most differences take one byte. They wrap, since decoding forged
        // ones must not panic.
        packer.push_number(receipt.sequence.0.wrapping_sub(before));
        counts.into_iter().filter(|count| *count > 0).for_each(|count| packer.push_number(count));
        before = receipt.sequence.0;
    }
    packer
}

/// Unpacks all records. `None` if one ends early or has unknown flags.
pub(crate) fn unpack_tokens(mut unpacker: Unpacker) -> Option<Vec<TokenRecord>> {
    let (mut records, mut before) = (Vec::new(), 0);
    while !unpacker.is_empty() {
        let record = unpack_record(&mut unpacker, before)?;
        before = record.receipt.sequence.0;
        records.push(record);
    }
    Some(records)
}

fn unpack_record(unpacker: &mut Unpacker, before: u64) -> Option<TokenRecord> {
    let token = Uuid::from_bytes(unpacker.read_bytes()?);
    let [flags] = unpacker.read_bytes()?;
    let sequence = Sequence(before.wrapping_add(unpacker.read_number()?));
    let mut counts = [0; 4];
    for (count, bit) in counts.iter_mut().zip(COUNTS) {
        if flags & bit > 0 {
            *count = unpacker.read_number()?;
        }
    }
    let [upserted, patched, deleted, skipped] = counts;
    // An unknown flag announces bytes that this version cannot skip.
    let known = COUNTS.iter().fold(REMAINING, |known, bit| known | bit);
    let rows_remaining = flags & REMAINING > 0;
    let receipt = WriteReceipt {
        sequence,
        upserted,
        patched,
        deleted,
        skipped,
        rows_remaining,
        ..WriteReceipt::default()
    };
    (flags & !known == 0).then_some(TokenRecord { token, receipt })
}

/// Packed records in a string of JSON.
pub(crate) mod packed_tokens {
    use serde::de::Error;
    use serde::{Deserializer, Serializer};

    use super::{TokenRecord, Unpacker, pack_tokens, unpack_tokens};

    pub(crate) fn serialize<S: Serializer>(records: &[TokenRecord], to: S) -> Result<S::Ok, S::Error> {
        pack_tokens(records).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<TokenRecord>, D::Error> {
        let records = unpack_tokens(Unpacker::deserialize(from)?);
        records.ok_or_else(|| D::Error::custom("a record of tokens ends early or has unknown flags"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u64) -> TokenRecord {
        let receipt = WriteReceipt {
            sequence: Sequence(1_000 + n / 3),
            upserted: n % 4,
            patched: u64::from(n == 7),
            deleted: n * 1_000,
            skipped: n % 2,
            rows_remaining: n.is_multiple_of(5),
            ..WriteReceipt::default()
        };
        TokenRecord { token: Uuid::from_u128((u128::from(n) << 64) | 1), receipt }
    }

    #[test]
    fn a_log_reads_back_and_a_torn_one_does_not() {
        let log: TokenLog = (0..50).map(record).collect();
        let packed = pack_tokens(log.iter()).bytes().to_vec();
        let read: TokenLog = unpack_tokens(Unpacker::new(packed.clone())).unwrap().into_iter().collect();
        assert!(read.iter().eq(log.iter()));
        assert!((0..50).all(|n| read.find_receipt(record(n).token).unwrap() == Some(&record(n).receipt)));
        assert!(unpack_tokens(Unpacker::new(packed[..packed.len() - 1].to_vec())).is_none());
        let from_json = |json: serde_json::Value| packed_tokens::deserialize(json);
        assert!(from_json("AAAA".into()).is_err() && from_json("not base64".into()).is_err());
    }

    #[test]
    fn what_is_forgotten_is_not_found_and_the_rest_is() {
        let mut log: TokenLog = (0..30).map(record).collect();
        log.keep_last(20);
        log.forget_through(record(12).receipt.sequence);
        log.push(record(3));
        let found = |log: &TokenLog, n| log.find_receipt(record(n).token).unwrap().is_some();
        // Entries 12, 13 and 14 are of one sequence.
        assert!((0..30).all(|n| found(&log, n) == (n == 3 || n >= 15)));
        assert_eq!(log.iter().count(), 16);
        log.keep_last(0);
        assert!(!found(&log, 3) && log.numbers.is_empty());
    }
}
