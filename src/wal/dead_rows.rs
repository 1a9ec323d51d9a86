//! Dead rows of a linked segment as JSON has them: the gaps between the rows, packed. Rows that die together are often
//! neighbours, and most gaps take a byte.

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
        let row = row.ok_or_else(|| D::Error::custom("rows that cannot be"))?;
        rows.insert(row);
        next = u64::from(row) + 1;
    }
    Ok(rows)
}
