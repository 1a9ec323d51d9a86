//! Dead rows of a linked segment in JSON: the gaps between the rows, packed. Rows that die together are often neighbours,
//! so most gaps take a byte; the portable format of roaring bitmaps would need a binary section of its own.

use roaring::RoaringBitmap;
use serde::de::Error as _;
use serde::{Deserializer, Serializer};

use crate::codec::{Packer, Unpacker};

pub(super) fn serialize<S: Serializer>(rows: &RoaringBitmap, to: S) -> Result<S::Ok, S::Error> {
    let (mut packer, mut next) = (Packer::default(), 0);
    for row in rows {
        packer.push_number(u64::from(row) - next);
        next = u64::from(row) + 1;
    }
    packer.serialize(to)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<RoaringBitmap, D::Error> {
    let mut unpacker = Unpacker::deserialize(from)?;
    let (mut rows, mut next) = (RoaringBitmap::new(), 0u64);
    while !unpacker.is_empty() {
        let row = unpacker.read_number().and_then(|gap| next.checked_add(gap));
        let row = row.and_then(|row| u32::try_from(row).ok());
        // Gaps count from the row after the last, so rows ascend and none is repeated, whatever the bytes.
        let row = row.ok_or_else(|| D::Error::custom("a dead row beyond 32 bits"))?;
        rows.insert(row);
        next = u64::from(row) + 1;
    }
    Ok(rows)
}
