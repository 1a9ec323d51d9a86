//! Numbers and bytes packed: numbers as LEB128, 7 bits a byte and the lowest first. In a string of JSON all of it is
//! base64.
//!
//! For lists of thousands of small numbers, of which JSON would make several bytes each and an allocation a value.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// Packs numbers and bytes.
#[derive(Debug, Default)]
pub(crate) struct Packer(Vec<u8>);

/// Unpacks them in the same order. Every read is `None` past the end.
#[derive(Debug)]
pub(crate) struct Unpacker {
    bytes: Vec<u8>,
    at: usize,
}

impl Packer {
    #[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
    pub(crate) fn push_number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl Unpacker {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        Ok(Self::new(bytes))
    }

    pub(crate) fn read_number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            let bits = u64::from(byte & 0x7f);
            // Nine bytes hold 63 bits: the tenth has room for one, and more would be lost by the shift.
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(crate) fn read_bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.bytes.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(*bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back_and_what_is_cut_does_not() {
        let numbers = [0, 1, 0x7f, 0x80, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX];
        let mut packer = Packer::default();
        for number in numbers {
            packer.push_number(number);
            packer.push_bytes(&[7, 8]);
        }
        let bytes = packer.0;
        let mut unpacker = Unpacker { bytes: bytes.clone(), at: 0 };
        for number in numbers {
            assert_eq!((unpacker.read_number(), unpacker.read_bytes()), (Some(number), Some([7, 8])));
        }
        assert!(
            unpacker.is_empty() && unpacker.read_number().is_none() && unpacker.read_bytes::<1>().is_none()
        );
        let mut cut = Unpacker { bytes: bytes[..bytes.len() - 3].to_vec(), at: bytes.len() - 12 };
        assert_eq!(cut.read_number(), None);
        // More than 64 bits.
        assert_eq!(Unpacker { bytes: [[0xff; 9].as_slice(), &[2]].concat(), at: 0 }.read_number(), None);
    }
}
