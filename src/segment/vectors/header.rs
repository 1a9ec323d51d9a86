//! The header of a vector file: what its rows are, and where its parts lie.

use super::WHAT;
use crate::codec::{CodecError, Reader, put_len_u32, u64_of, usize_of};
use crate::error::Result;
use crate::schema::VectorColumn;
use crate::types::VectorType;

const MAGIC: [u8; 4] = *b"EVEC";
const VERSION: u16 = 1;
/// A cache line: the records, the components and the checksums begin at multiples of it.
pub(super) const HEADER_BYTES: usize = 64;
/// Where the records of the index begin, if there is one.
pub(in crate::segment) const RECORDS_START: u64 = HEADER_BYTES as u64;

/// The header of the vectors of a column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) shape: VectorColumn,
    pub(super) rows: u32,
    /// The offset of the first row.
    pub(super) components: u64,
    /// The offset of the first checksum, unless the checksums are a head of the segment.
    pub(super) checksums: Option<u64>,
}

impl Header {
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend(element_code(self.shape.element).to_le_bytes());
        put_len_u32(&mut header, self.shape.dimension)?;
        header.extend(self.rows.to_le_bytes());
        // invariant: no checksum lies at 0, where the header is.
        for number in [self.components, self.checksums.unwrap_or(0)] {
            header.extend(number.to_le_bytes());
        }
        header.resize(HEADER_BYTES, 0);
        Ok(header)
    }

    /// Decodes a header, which must be that of vectors of this shape.
    pub(super) fn decode(shape: VectorColumn, bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(WHAT, bytes);
        reader.magic(MAGIC)?;
        reader.version(VERSION)?;
        let (element, dimension) = (reader.u16()?, usize_of(reader.u32()?));
        if element != element_code(shape.element) || dimension != shape.dimension {
            return Err(CodecError::malformed(WHAT, "the header is not of this column"));
        }
        let (rows, components, checksums) = (reader.u32()?, reader.u64()?, reader.u64()?);
        Ok(Self { shape, rows, components, checksums: Some(checksums).filter(|offset| *offset != 0) })
    }

    /// The offset behind the components of the last row.
    pub(super) fn components_end(&self) -> Option<u64> {
        let length = u64::from(self.rows).checked_mul(u64_of(row_bytes(self.shape)))?;
        self.components.checked_add(length)
    }
}

/// The bytes of the components of a row.
pub(super) fn row_bytes(shape: VectorColumn) -> usize {
    shape.dimension * shape.element.size()
}

fn element_code(element: VectorType) -> u16 {
    match element {
        VectorType::F32 => 1,
        VectorType::F16 => 2,
        VectorType::I8 => 3,
    }
}
