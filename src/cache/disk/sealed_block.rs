//! Blocks as foyer stores them, each with a checksum.
//!
//! foyer's codec is implemented by hand, and on types of this module alone: another crate may turn on foyer's `serde`
//! feature, which gives the codec to every type with `serde` and so conflicts with implementations for such types.

use std::io::{self, Read, Write};

use bytes::Bytes;
use foyer::Code;

use crate::cache::block::BlockKey;
use crate::codec::checksum;
use crate::storage::ObjectKey;

/// A block with a checksum over it and its key. With the key, because an index that points to the wrong entry would
/// otherwise return a sound block of another object.
#[derive(Clone, Debug)]
pub(super) struct SealedBlock {
    checksum: u64,
    block: Bytes,
}

impl SealedBlock {
    pub(super) fn new(key: &BlockKey, block: Bytes) -> Self {
        Self { checksum: keyed_checksum(key, &block), block }
    }

    /// The block, if it is undamaged and belongs to `key`.
    pub(super) fn open(self, key: &BlockKey) -> Option<Bytes> {
        (self.checksum == keyed_checksum(key, &self.block)).then_some(self.block)
    }
}

fn keyed_checksum(key: &BlockKey, block: &[u8]) -> u64 {
    let name = format!("{}/{}..{}", key.object, key.start, key.end);
    // Rotated, so that a block whose bytes are its own name does not cancel out to zero.
    checksum(block) ^ checksum(name.as_bytes()).rotate_left(1)
}

impl Code for BlockKey {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        self.start.encode(writer)?;
        self.end.encode(writer)?;
        writer.write_all(self.object.as_str().as_bytes()).map_err(foyer::Error::io_error)
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        let (start, end) = (u64::decode(reader)?, u64::decode(reader)?);
        let mut object = String::new();
        // No length before it: foyer passes a reader of exactly the bytes of the key.
        reader.read_to_string(&mut object).map_err(foyer::Error::io_error)?;
        let object = ObjectKey::new(object).map_err(|e| foyer::Error::io_error(io::Error::other(e)))?;
        Ok(Self { object: object.into(), start, end })
    }

    fn estimated_size(&self) -> usize {
        16 + self.object.as_str().len()
    }
}

impl Code for SealedBlock {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        self.checksum.encode(writer)?;
        writer.write_all(&self.block).map_err(foyer::Error::io_error)
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        let checksum = u64::decode(reader)?;
        let mut block = Vec::new();
        // As with the key, exactly the bytes of the value.
        reader.read_to_end(&mut block).map_err(foyer::Error::io_error)?;
        Ok(Self { checksum, block: block.into() })
    }

    fn estimated_size(&self) -> usize {
        8 + self.block.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::{FuzzTarget, join_parts, split_parts};

    #[test]
    fn fuzz_disk_block() {
        let key = BlockKey { object: ObjectKey::new("ns/a/b").unwrap().into(), start: 5, end: 9 };
        let (mut name, mut block) = (Vec::new(), Vec::new());
        key.encode(&mut name).unwrap();
        SealedBlock::new(&key, Bytes::from_static(b"data")).encode(&mut block).unwrap();
        FuzzTarget::new("disk_block", [join_parts([&name, &block])]).memory(8, 64 << 10).run(|input| {
            let [name, block] = split_parts(input);
            let found = BlockKey::decode(&mut &*name).map_err(|e| e.to_string())?;
            let opened = SealedBlock::decode(&mut &*block).map_err(|e| e.to_string())?.open(&found);
            // Nothing else than what was sealed comes out under any name.
            assert!(opened.as_ref().is_none_or(|opened| found == key && opened == &b"data"[..]));
            opened.map(drop).ok_or_else(|| "damaged".to_owned())
        });
    }
}
