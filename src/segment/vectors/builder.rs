//! Writing the vectors of a column: their arrays become parts of the file, without a copy.

use arrow::array::{Array, ArrayRef, AsArray};
use bytes::Bytes;
use roaring::RoaringBitmap;

use super::checksums::{are_resident, row_checksum};
use super::components::array_components;
use super::header::{HEADER_BYTES, Header, RECORDS_START, row_bytes};
use crate::codec::{put_bitmap, u64_of, usize_of};
use crate::error::{Error, Result};
use crate::schema::VectorColumn;
use crate::segment::sections::{BuiltFile, SectionFileBuilder};

/// Takes the vectors of a column as they come.
#[derive(Debug)]
pub(in crate::segment) struct ExactVectorsBuilder {
    shape: VectorColumn,
    seed: u32,
    /// The records of the index.
    records: Vec<u8>,
    /// The components of the rows: the buffers of their arrays.
    components: Vec<Bytes>,
    checksums: Vec<u8>,
    nulls: RoaringBitmap,
    rows: u32,
}

impl ExactVectorsBuilder {
    /// For `rows` rows. `seed` is that of [`row_checksum_seed`](super::row_checksum_seed), `records` those of the index.
    pub(in crate::segment) fn new(shape: VectorColumn, seed: u32, rows: u32, records: Vec<u8>) -> Self {
        Self {
            shape,
            seed,
            records,
            components: Vec::new(),
            checksums: Vec::with_capacity(usize_of(rows) * 4),
            nulls: RoaringBitmap::new(),
            rows: 0,
        }
    }

    /// Adds rows: an array of the column's Arrow type. The builder keeps the values of the array, and the file is made
    /// of them.
    pub(in crate::segment) fn push_array(&mut self, array: &ArrayRef) -> Result<()> {
        let list = array.as_fixed_size_list_opt().filter(|list| *list.data_type() == self.shape.arrow_type());
        let list = list.ok_or_else(|| Error::internal("vectors are not of the type of their column"))?;
        let width = row_bytes(self.shape);
        let components = array_components(list, self.shape.element, width)?;
        for (at, vector) in components.chunks_exact(width).enumerate() {
            if list.is_null(at) {
                self.nulls.insert(self.rows);
            }
            self.checksums.extend(row_checksum(self.seed, self.rows, vector));
            self.rows += 1;
        }
        self.components.push(components);
        Ok(())
    }

    /// The file, and what is read of it first.
    pub(in crate::segment) fn finish(self) -> Result<VectorFile> {
        let is_resident = are_resident(u64_of(self.checksums.len()));
        let header = self.header(is_resident).encode()?;
        let mut head = header.clone();
        put_bitmap(&mut head, &self.nulls)?;
        let mut file = SectionFileBuilder::default();
        file.push_bytes(header);
        file.push_bytes(self.records);
        file.pad_to_multiple(HEADER_BYTES);
        for components in self.components {
            file.push_bytes(components);
        }
        let checksums = if is_resident {
            Some(self.checksums)
        } else {
            file.pad_to_multiple(HEADER_BYTES);
            file.push_bytes(self.checksums);
            None
        };
        Ok(VectorFile { file: file.finish(), head, checksums })
    }

    /// The header of the file, which is laid out as [`Self::finish`] does.
    fn header(&self, is_resident: bool) -> Header {
        let align = |offset: u64| offset.next_multiple_of(u64_of(HEADER_BYTES));
        let components = align(RECORDS_START + u64_of(self.records.len()));
        let length = u64::from(self.rows) * u64_of(row_bytes(self.shape));
        let checksums = if is_resident { None } else { Some(align(components + length)) };
        Header { shape: self.shape, rows: self.rows, components, checksums }
    }
}

/// The vectors of a column as a file, and its heads.
#[derive(Debug)]
pub(in crate::segment) struct VectorFile {
    pub(in crate::segment) file: BuiltFile,
    pub(in crate::segment) head: Vec<u8>,
    /// The checksums of the rows, if they are few: then they are not in the file.
    pub(in crate::segment) checksums: Option<Vec<u8>>,
}
