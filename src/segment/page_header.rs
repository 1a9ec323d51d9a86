//! The header of a Parquet page, as far as to tell what the page takes in memory before anything is decompressed.
//!
//! The decoder of Parquet allocates what a header declares, up to 2 GiB, and a few bytes of zstd may well decompress to
//! that. It has no limit of its own, so the header is read here first: a struct of Thrift's compact protocol, in which
//! each field has a byte with its type and its distance from the number of the field before it.
//!
//! **Invariant:** where this parser and that of Parquet could read a header differently, it is refused here. Parquet
//! reads a field that it knows as its own type, whatever type the header states.

use std::ops::Range;

use parquet::errors::ParquetError;

use super::checksums::VerifiedBlocks;
use crate::codec::{CodecError, Reader};

const WHAT: &str = "page header";
/// A header has some twenty bytes, as pages have no statistics of their own.
const HEADER_BYTES_MAX: u64 = 1 << 10;
/// No page that is written comes near it: pages end at 32 KiB, after at most 1 MiB or a single value, which has at most
/// 8 MiB.
const PAGE_BYTES_MAX: i64 = 64 << 20;

/// Types of Thrift. The two of truth values are the values themselves.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const STRUCT: u8 = 12;
/// The field of the header with the size of the page when it is decompressed.
const UNCOMPRESSED_SIZE: u64 = 2;
/// Statistics are a struct in a struct in the header.
const DEPTH_MAX: u8 = 3;

/// A struct of the header whose fields Parquet knows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Header,
    DataPage,
    DictionaryPage,
    DataPageV2,
    /// All other structs: Parquet skips their fields by the types that are stated.
    Other,
}

/// Checks what the pages at the beginnings of these ranges declare.
pub(super) fn check_page_sizes(ranges: &[Range<u64>], blocks: &VerifiedBlocks) -> Result<(), ParquetError> {
    for range in ranges {
        let header = range.start..range.end.min(range.start.saturating_add(HEADER_BYTES_MAX));
        let header = blocks.read_range(&header);
        check_page_size(&header.ok_or_else(|| ParquetError::General("a page was not read".to_owned()))?)?;
    }
    Ok(())
}

/// Checks that a page, which begins with its header, declares no more bytes than a page can have.
fn check_page_size(page: &[u8]) -> Result<(), ParquetError> {
    let declared = HeaderParser(Reader::new(WHAT, page)).read_struct(Known::Header, DEPTH_MAX);
    match declared.map_err(|e| ParquetError::General(e.to_string()))? {
        Some(bytes) if (0..=PAGE_BYTES_MAX).contains(&bytes) => Ok(()),
        Some(bytes) => Err(ParquetError::General(format!("a page of {bytes} bytes"))),
        None => Err(ParquetError::General("a page without a size".to_owned())),
    }
}

struct HeaderParser<'a>(Reader<'a>);

impl HeaderParser<'_> {
    /// Reads a struct to its end. Returns the size that the header declares, if it is the header.
    fn read_struct(&mut self, known: Known, depth: u8) -> Result<Option<i64>, CodecError> {
        let Some(depth) = depth.checked_sub(1) else { return Err(malformed("it nests too deep")) };
        let (mut id, mut declared) = (0_u64, None);
        loop {
            let [byte] = self.0.take(1)? else { return Err(malformed("it is cut")) };
            let (delta, kind) = (byte >> 4, byte & 0xf);
            if kind == 0 {
                return Ok(declared);
            }
            // A field may also state its number in full, even that of a field before it. No writer does that here.
            if delta == 0 {
                return Err(malformed("its fields are not in order"));
            }
            id += u64::from(delta);
            if known
                .expected_type(id)
                .is_some_and(|expected| kind != expected && (kind, expected) != (FALSE, TRUE))
            {
                return Err(malformed("a field is of another type"));
            }
            match kind {
                TRUE | FALSE => {}
                I32 | I64 => {
                    let number = self.read_number()?;
                    if known == Known::Header && id == UNCOMPRESSED_SIZE {
                        declared = Some(number);
                    }
                }
                BINARY => {
                    let length = usize::try_from(self.0.varint()?);
                    self.0.take(length.map_err(|_| malformed("a text is too long"))?)?;
                }
                STRUCT => drop(self.read_struct(known.nested(id), depth)?),
                _ => return Err(malformed("a field is of an unknown type")),
            }
        }
    }

    /// A signed number: its lowest bit is the sign.
    fn read_number(&mut self) -> Result<i64, CodecError> {
        let bits = self.0.varint()?;
        Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed())
    }
}

impl Known {
    /// The type of a field that Parquet reads without a look at the type that is stated.
    fn expected_type(self, id: u64) -> Option<u8> {
        match (self, id) {
            (Self::Header | Self::DataPage, 1..=4)
            | (Self::DictionaryPage, 1..=2)
            | (Self::DataPageV2, 1..=6) => Some(I32),
            (Self::DictionaryPage, 3) | (Self::DataPageV2, 7) => Some(TRUE),
            (Self::Header, 5..=8) | (Self::DataPage, 5) | (Self::DataPageV2, 8) => Some(STRUCT),
            _ => None,
        }
    }

    /// The struct in a field.
    fn nested(self, id: u64) -> Self {
        match (self, id) {
            (Self::Header, 5) => Self::DataPage,
            (Self::Header, 7) => Self::DictionaryPage,
            (Self::Header, 8) => Self::DataPageV2,
            _ => Self::Other,
        }
    }
}

fn malformed(why: &str) -> CodecError {
    CodecError::malformed(WHAT, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number as the protocol writes it.
    fn varint(number: i64) -> Vec<u8> {
        let mut bits = (number << 1 ^ number >> 63).cast_unsigned();
        let mut bytes = Vec::new();
        while bits >= 0x80 {
            bytes.push(u8::try_from(bits & 0x7f).unwrap() | 0x80);
            bits >>= 7;
        }
        bytes.push(u8::try_from(bits).unwrap());
        bytes
    }

    /// The header of a data page of so many bytes.
    fn header(bytes: i64) -> Vec<u8> {
        let numbers = [0, bytes, 100].map(|number| [&[0x15][..], &varint(number)].concat()).concat();
        let data_page = [7, 0, 3, 3].map(|number| [&[0x15][..], &varint(number)].concat()).concat();
        [&numbers, &[0x2c][..], &data_page, &[0, 0]].concat()
    }

    #[test]
    fn a_page_declares_its_size_and_no_more_than_a_page_can_have() {
        for bytes in [0, 1, 300, PAGE_BYTES_MAX] {
            assert!(check_page_size(&[&header(bytes)[..], b"the page"].concat()).is_ok(), "{bytes}");
        }
        for bytes in [-1, PAGE_BYTES_MAX + 1, i64::from(i32::MAX), i64::from(i32::MAX) + 1] {
            assert!(check_page_size(&header(bytes)).is_err(), "{bytes}");
        }
        let sound = header(300);
        assert!((0..sound.len()).all(|end| check_page_size(&sound[..end]).is_err()));
    }

    #[test]
    fn a_second_size_behind_the_first_is_refused() {
        let huge = [&[0x15][..], &varint(i64::from(i32::MAX))].concat();
        let mut twice = header(300);
        // The number of the field in full: 2, as the protocol writes it.
        twice.splice(twice.len() - 1..twice.len() - 1, [&[0x05, 0x04][..], &huge[1..]].concat());
        assert!(check_page_size(&twice).is_err());
        // A number of the data page that is stated as text would hide the fields behind it from this parser alone.
        let mut hidden = header(300);
        let data_page = hidden.iter().position(|byte| *byte == 0x2c).unwrap();
        hidden[data_page + 1] = 0x18;
        assert!(check_page_size(&hidden).is_err());
    }
}
